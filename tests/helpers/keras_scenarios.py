"""Run by test_keras.py in a process for each backend: trainings that record what their steps really receive."""

from __future__ import annotations

import contextlib
import gc
import json
import random
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import kseq
from tests.helpers.photos import numbers_of

BATCH = 16
Records = list[tuple[str, list[int], list[int]]]


class Recording(keras.Sequential):
    """Notes the samples, by their pixels, and the labels of every batch that a step is given."""

    records: Records

    def _note(self, phase: str, data: Any) -> None:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        labels = [] if y is None else keras.ops.convert_to_numpy(y).tolist()
        self.records.append((phase, numbers_of(keras.ops.convert_to_numpy(x)).tolist(), labels))

    # On jax a step is given a state first; the data come last on every backend.
    def train_step(self, *arguments: Any) -> Any:
        self._note("train", arguments[-1])
        return super().train_step(*arguments)

    def test_step(self, *arguments: Any) -> Any:
        self._note("val", arguments[-1])
        return super().test_step(*arguments)

    def predict_step(self, *arguments: Any) -> Any:
        self._note("predict", arguments[-1])
        return super().predict_step(*arguments)


def make_model(built: bool) -> Recording:
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation="softmax"),
    ]
    model = Recording([keras.Input((4, 4, 3)), *layers] if built else layers)
    model.records = []
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


class StopAt(keras.callbacks.Callback):
    """Ends the training after a number of batches: politely, or by an error."""

    def __init__(self, batches: int, error: bool) -> None:
        super().__init__()
        self.batches, self.error = batches, error

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch + 1 == self.batches:
            if self.error:
                raise FloatingPointError("on purpose")
            self.model.stop_training = True


def fit(model: Recording, train: kseq.ShardSequence, *callbacks: Any, **arguments: Any) -> dict[str, Any]:
    """One fit, and what it received; an error on purpose is swallowed."""
    model.records.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(FloatingPointError):
            model.fit(train, verbose=0, callbacks=list(callbacks), **{"shuffle": False, **arguments})
    ours = [str(warning.message) for warning in caught if "shuffle=False" in str(warning.message)]
    return {"records": list(model.records), "epoch": train.epoch, "warnings": ours}


def scenario_fits(path: str, built: bool) -> dict[str, Any]:
    """Fits in a row on one Sequence: plain, with validation, shuffled by Keras, broken off in two ways, and over steps."""
    train, val = kseq.ShardSequence(path, "train", batch_size=BATCH, seed=3), kseq.ShardSequence(path, "val", batch_size=BATCH)
    model = make_model(built)
    # Keras draws the order of the numbers from Python's generator; one in a hundred of five batches hardly looks shuffled.
    random.seed(1)
    result = {
        "plain": fit(model, train, epochs=2),
        "validated": fit(model, train, epochs=2, validation_data=val),
        "shuffled": fit(model, train, epochs=2, shuffle=True),
        "shuffled again": fit(model, train, epochs=1, shuffle=True),
        "stopped": fit(model, train, StopAt(2, error=False), epochs=1),
        "after stopped": fit(model, train, epochs=1),
        "failed": fit(model, train, StopAt(2, error=True), epochs=1),
        "after failed": fit(model, train, epochs=1),
        "equal steps": fit(model, train, epochs=2, steps_per_epoch=5),
        "fewer steps": fit(model, train, epochs=5, steps_per_epoch=3),
    }
    train.epoch = 20
    result["more steps"] = fit(model, train, epochs=2, steps_per_epoch=7)
    result["expected"] = {epoch: [train.sample_ids(number, epoch).tolist() for number in range(5)] for epoch in range(25)}
    return result


def scenario_workers(path: str, workers: int, processes: bool) -> dict[str, Any]:
    """Fit, evaluate and predict with a number of workers."""
    arguments: dict[str, Any] = {"batch_size": BATCH, "workers": workers, "use_multiprocessing": processes}
    model = make_model(built=True)
    before = set(threading.enumerate())
    with kseq.ShardSequence(path, "train", seed=3, **arguments) as train, kseq.ShardSequence(path, "val", **arguments) as val:
        result = {"fit": fit(model, train, epochs=2, validation_data=val)}
        model.records.clear()
        model.evaluate(val, verbose=0)
        result["evaluate"] = {"records": list(model.records)}
        model.records.clear()
        rows = model.predict(val, verbose=0)
        result["predict"] = {"records": list(model.records), "rows": len(rows)}
        pixels = kseq.ShardDataset(path, "val").read(range(20))["image"]
        alone = np.concatenate([model.predict_on_batch(pixels[number : number + 1]) for number in range(20)])
        result["predict"]["in order"] = bool(np.allclose(rows, alone, atol=1e-5))
    result["threads"] = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("kseq_")]
    return result


def scenario_short(path: str, built: bool) -> dict[str, Any]:
    """A Sequence of one batch, which Keras's look at shapes takes in as a whole."""
    train = kseq.ShardSequence(path, "train", batch_size=80, seed=3)
    model = make_model(built)
    result = {"first": fit(model, train, epochs=2), "second": fit(model, train, epochs=2)}
    result["expected"] = [train.sample_ids(0, epoch).tolist() for epoch in range(4)]
    return result


def scenario_held(path: str) -> bool:
    """Tensors of early batches keep their contents while many more batches are read."""
    train = kseq.ShardSequence(path, "train", batch_size=BATCH)
    batches = train.generator()
    held = [keras.ops.convert_to_tensor(next(batches)[0]) for _ in range(8)]
    copies = [np.array(keras.ops.convert_to_numpy(buffer)) for buffer in held]
    for _ in range(100):
        next(batches)
    gc.collect()
    return all(np.array_equal(keras.ops.convert_to_numpy(buffer), copy) for buffer, copy in zip(held, copies, strict=True))


def main() -> None:
    path = sys.argv[1]
    scenarios: dict[str, Callable[[], Any]] = {
        "fits, built": lambda: scenario_fits(path, True),
        "fits, not built": lambda: scenario_fits(path, False),
        "short, built": lambda: scenario_short(path, True),
        "short, not built": lambda: scenario_short(path, False),
        "held": lambda: scenario_held(path),
        **{f"workers {count}": lambda count=count: scenario_workers(path, count, False) for count in (0, 1, 2, 4)},
        "processes 2": lambda: scenario_workers(path, 2, True),
    }
    print(json.dumps({name: scenario() for name, scenario in scenarios.items()}))


if __name__ == "__main__":
    main()
