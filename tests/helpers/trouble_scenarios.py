"""Run by test_fit_trouble.py in a process for each backend: trainings in which something goes wrong, one after the other.

Prints what was found as JSON, and then ends with an error in reading that nobody catches, with batches in flight.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kseq
from kseq.training import waiting
from tests.helpers.trouble import OwnError, Trouble

OPTIONS: dict[str, Any] = {"batch_size": 8, "shuffle": False, "seed": 3}


def make_model() -> keras.Sequential:
    layers = [
        keras.Input((4, 4, 3)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    # TensorFlow would compile each model by XLA, which takes seconds.
    jit = "auto" if keras.backend.backend() == "jax" else False
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit)
    return model


def outcome(call: Callable[[], Any]) -> dict[str, Any]:
    """What becomes of a call: its error, and what Python prints last of it; how long it took; what was told meanwhile."""
    begun, found = time.monotonic(), {"error": "", "text": "", "kinds": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except BaseException as error:
            found = {
                "error": type(error).__name__,
                "text": "".join(traceback.format_exception_only(type(error), error)),
                "kinds": [kind.__name__ for kind in type(error).__mro__],
            }
    told = [str(warning.message) for warning in caught if warning.filename == "<kseq>"]
    return {**found, "seconds": time.monotonic() - begun, "told": told}


class Scenarios:
    """All scenarios, on one model and two datasets: one as it should be, and one in which the bytes of sample 18 changed."""

    def __init__(self, path: str, damaged: str, folder: str) -> None:
        self.path, self.damaged, self.folder = path, damaged, Path(folder)
        self.model = make_model()
        self.found: dict[str, Any] = {}

    def fit(self, name: str, path: str | None = None, *, fit: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """A fit, what becomes of it, and whether another one works after it."""
        with kseq.ShardSequence(path or self.path, "all", **{**OPTIONS, **options}) as train:
            self.found[name] = outcome(lambda: self.model.fit(train, verbose=0, **(fit or {})))
            gc.collect()
            self.found[name]["looked"] = sum(map(len, train._looked._batches.values()))
        if self.found[name]["error"] == "KeyboardInterrupt":
            # On jax, Keras loses the variables if Ctrl-C comes within a step.
            self.model = make_model()
        with kseq.ShardSequence(self.path, "all", **OPTIONS) as again:
            self.found[name]["again"] = len(self.model.fit(again, verbose=0).history["loss"])
        return self.found[name]

    def errors(self) -> None:
        def fails(_: Any) -> Any:
            raise OwnError("function", 0)

        for processes in (False, True):
            how = {"use_multiprocessing": processes, "workers": 2}
            self.fit(f"damaged, {how}", self.damaged, **how)
            self.fit(f"augmentation, {how}", augment=Trouble(18, "raise"), **how)
        self.fit("function", augment=fails)
        self.fit("function of a batch", augment=kseq.BatchFunction(fails))
        with kseq.ShardSequence(self.damaged, "all", **OPTIONS) as damaged:
            self.found["evaluate"] = outcome(lambda: self.model.evaluate(damaged, verbose=0))
            self.found["predict"] = outcome(lambda: self.model.predict(damaged, verbose=0))
            self.found["validation"] = outcome(lambda: self.model.fit(damaged, validation_data=damaged, verbose=0))

    def interrupts(self) -> None:
        for name, what, after in (("runs", "nothing", 1.0), ("hangs", "hang", 3.0)):
            pressed: list[float] = []

            def press(after: float = after, pressed: list[float] = pressed) -> None:
                time.sleep(after)
                pressed.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=press).start()
            epochs = {"epochs": 100_000} if what == "nothing" else {"epochs": 2}
            found = self.fit(f"Ctrl-C while it {name}", augment=Trouble(58, what, self.folder), workers=2, fit=epochs)
            found["seconds"] = time.monotonic() - pressed[0] if not found["error"] else found["seconds"] - after

    def waits(self) -> None:
        self.fit("deadline", augment=Trouble(58, "hang", self.folder), workers=2, timeout=4)
        for on_error in ("skip", "substitute"):
            self.fit(on_error, self.damaged, on_error=on_error, fit={"epochs": 2})
        deaths = self.folder / "deaths"
        deaths.mkdir()
        self.fit("killed", augment=Trouble(58, "killed", deaths), workers=2, use_multiprocessing=True)

    def trials(self) -> None:
        """What is left of sequences that were dropped after a fit: alive ones, open files, and memory files."""

        class Stop(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if batch == 3:
                    self.model.stop_training = True

        def trial(path: str, number: int) -> list[Any]:
            processes = {"use_multiprocessing": number == 0, "workers": 2}
            train = kseq.ShardSequence(path, "all", **OPTIONS, **processes, read="pread")
            val = kseq.ShardSequence(self.path, "val", **OPTIONS, workers=2, read="pread")
            callbacks = [Stop()] if number % 2 else []
            outcome(lambda: self.model.fit(train, validation_data=val, verbose=0, callbacks=callbacks))
            return [weakref.ref(train), weakref.ref(val), weakref.ref(train.batches._loader._buffers)]

        alive: list[Any] = []
        counts = []
        for number in range(4):
            for path in (self.path, self.damaged):
                alive += trial(path, number)
                gc.collect()
            ending = time.monotonic() + 60
            while [ref for ref in alive if ref() is not None] and time.monotonic() < ending:
                time.sleep(0.05)
                gc.collect()
            counts.append(len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0)
        self.found["trials"] = {"alive": len([ref for ref in alive if ref() is not None]), "files": counts}


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What is told is counted, and to start processes takes longer than five seconds where the machine is busy.
    waiting._TELL_AFTER = 500.0
    scenarios = Scenarios(*sys.argv[1:])
    scenarios.errors()
    scenarios.waits()
    scenarios.trials()
    scenarios.interrupts()
    print(json.dumps(scenarios.found), flush=True)
    train = kseq.ShardSequence(sys.argv[2], "all", **OPTIONS, use_multiprocessing=True, workers=2)
    print(time.time(), flush=True)
    scenarios.model.fit(train, verbose=0)


if __name__ == "__main__":
    np.random.seed(0)
    main()
