"""Run by test_keras.py in a process for each backend: trainings that record what their steps really receive.

Arguments: the path of the numbered dataset, and the names of scenarios.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import threading
import time
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


class Receiving(Recording):
    """Notes what its steps are given and trains on nothing, which takes most of the time of a fit and changes no order."""

    def train_step(self, *arguments: Any) -> Any:
        self._note("train", arguments[-1])
        return self._nothing(arguments)

    def test_step(self, *arguments: Any) -> Any:
        self._note("val", arguments[-1])
        return self._nothing(arguments)

    def _nothing(self, arguments: tuple[Any, ...]) -> Any:
        logs = {"loss": 0.0}
        return (logs, arguments[0]) if len(arguments) > 1 else logs


def make_model(built: bool, kind: type[Recording] = Recording, **compiling: Any) -> Recording:
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation="softmax"),
    ]
    model = kind([keras.Input((4, 4, 3)), *layers] if built else layers)
    model.records = []
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True, **compiling)
    return model


class Call(keras.callbacks.Callback):
    """Calls a function after a batch or an epoch."""

    def __init__(self, on_batch: Callable[[int], Any] | None = None, on_epoch: Callable[[int], Any] | None = None) -> None:
        super().__init__()
        self._on_batch, self._on_epoch = on_batch, on_epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._on_batch is not None:
            self._on_batch(batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._on_epoch is not None:
            self._on_epoch(epoch)


class Fits:
    """Trainings in a row on one Sequence, by names: which batches each pass received, as pairs of epoch and number."""

    def __init__(self, path: str, batch_size: int, built: bool) -> None:
        self.train = kseq.ShardSequence(path, "train", batch_size=batch_size, seed=3)
        self.built = built
        self.model = make_model(built, Receiving)
        # Evaluates and predicts beside it.
        self.other = make_model(built, Receiving)
        self.numbers = {
            tuple(self.train.sample_ids(number, epoch).tolist()): (epoch, number)
            for epoch in range(12)
            for number in range(len(self.train))
        }
        self.found: dict[str, Any] = {}

    def named(self, records: Records, phase: str) -> list[tuple[int, int]]:
        return [self.numbers[tuple(ids)] for name, ids, _ in records if name == phase]

    def fit(self, name: str, *callbacks: Any, epoch: int | None = 0, source: Any = None, **arguments: Any) -> None:
        """One fit, from an epoch on that is set, and what it received; an error on purpose is swallowed."""
        if epoch is not None:
            self.train.epoch = epoch
        if not self.built:
            self.model = make_model(built=False, kind=Receiving)
        self.model.records.clear()
        with contextlib.suppress(FloatingPointError):
            source = self.train if source is None else source
            self.model.fit(source, verbose=0, callbacks=list(callbacks), **{"epochs": 2, **arguments})
        self.found[name] = {"train": self.named(self.model.records, "train"), "epoch": self.train.epoch}

    def evaluate(self, *_: Any) -> None:
        self.other.evaluate(self.train, verbose=0)

    def predict(self, *_: Any) -> None:
        self.other.predict(self.train, verbose=0)

    def inner(self, name: str, *callbacks: Any) -> None:
        """A fit in which the other model reads the Sequence too."""
        self.other.records.clear()
        self.fit(name, *callbacks)
        phase = self.other.records[0][0]
        self.found[name]["inner"] = self.named(self.other.records, phase)

    def look(self, *_: Any) -> None:
        """Everything that looks at a Sequence, and reads no pass."""
        train = self.train
        str((train, len(train), train.num_batches, train.num_samples, train.epoch, train.sample_ids(0), train.split))
        next(iter(train))
        if len(train) > 1:
            # One batch is a whole loop.
            str(train[len(train) - 1])

    def stop(self, _: int) -> None:
        # TensorFlow fetches to the end meanwhile.
        time.sleep(0.3)
        self.model.stop_training = True

    def fail(self, _: int) -> None:
        time.sleep(0.3)
        raise FloatingPointError("on purpose")


class Doubled(kseq.ShardSequence):
    """A subclass that does something to each batch, and to each epoch."""

    ended = 0

    def __getitem__(self, index: int) -> Any:
        images, labels = super().__getitem__(index)
        return images, labels * 1

    def on_epoch_end(self) -> None:
        self.ended += 1
        super().on_epoch_end()


class Looking(kseq.ShardSequence):
    """A subclass that looks at itself for each batch, and has an `on_epoch_end` that does not call the one of its base."""

    def __getitem__(self, index: int) -> Any:
        images, labels = super().__getitem__(index % self.num_batches)
        assert self.sample_ids(index).tolist() == numbers_of(images).tolist()
        return images, labels

    def on_epoch_end(self) -> None:
        str(self)


class Counting(kseq.ShardSequence):
    """A subclass that says itself how many batches there are."""

    @property
    def num_batches(self) -> int:
        return len(self)


class Shorter(kseq.ShardSequence):
    """A subclass that serves one batch less, if there are several."""

    def __len__(self) -> int:
        return max(1, super().__len__() - 1)


class Around(keras.utils.PyDataset):
    """A Sequence of the user around one of kseq."""

    def __init__(self, inner: kseq.ShardSequence) -> None:
        super().__init__()
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        images, labels = self.inner[index]
        return images, labels


def scenario_fits(path: str, batch_size: int, built: bool) -> dict[str, Any]:
    """All the ways in which a fit goes over a Sequence."""
    fits = Fits(path, batch_size, built)
    train, fit = fits.train, fits.fit
    fit("plain")
    fit("goes on", epoch=None)
    fit("not shuffled by Keras", shuffle=False)
    fit("looked at", Call(fits.look, fits.look))
    fits.inner("evaluated after a batch", Call(lambda batch: fits.evaluate() if batch == 0 else None))
    fits.inner("evaluated after each epoch", Call(None, fits.evaluate))
    fits.inner("predicted after a batch", Call(lambda batch: fits.predict() if batch == 0 else None))
    fits.inner("predicted after each epoch", Call(None, fits.predict))
    fit("stopped", Call(fits.stop))
    fit("after stopped", epoch=None, epochs=1)
    fit("failed", Call(fits.fail))
    fit("after failed", epoch=None, epochs=1)
    fit("equal steps", steps_per_epoch=len(train))
    fit("fewer steps", epochs=4, steps_per_epoch=max(1, len(train) // 2))
    fit("one step", epochs=1, steps_per_epoch=1)
    fit("after one step", epoch=None, epochs=1)
    fit("more steps", steps_per_epoch=len(train) + 2)
    fit("later epochs", initial_epoch=3, epochs=5)
    fit("set within", Call(None, lambda epoch: setattr(train, "epoch", 7)))
    with kseq.ShardSequence(path, "val", batch_size=batch_size) as val:
        fit("validated", validation_data=val, validation_freq=2, epochs=4)
        ids = [val.sample_ids(number, 0).tolist() for number in range(len(val))]
        fits.found["validated"]["val"] = [ids.index(found) for name, found, _ in fits.model.records if name == "val"]
    fit("validated by itself", validation_data=train)
    fits.found["validated by itself"]["inner"] = fits.named(fits.model.records, "val")
    fit("another Sequence around it", source=Around(train))
    fit("another Sequence again", source=Around(train), epoch=None, epochs=1)
    at_once = 1 if keras.backend.backend() == "torch" else 2
    fits.built, fits.model = True, make_model(built, Receiving, steps_per_execution=at_once)
    fit("several steps at once")
    for kind in (Doubled, Looking, Counting, Shorter):
        with kind(path, "train", batch_size=batch_size, seed=3) as subclassed:
            name = f"of a subclass, {kind.__name__}"
            fit(name, source=subclassed)
            fits.found[name]["epoch"] = subclassed.epoch
    train.close()
    return fits.found


def scenario_loops(path: str) -> dict[str, Any]:
    """Loops of one's own beside a fit."""
    fits = Fits(path, BATCH, built=True)
    train = fits.train
    found: list[Any] = []

    def loop(*_: Any) -> None:
        found.append([fits.numbers[tuple(numbers_of(train[number][0]).tolist())] for number in range(len(train))])

    def iterate(*_: Any) -> None:
        found.append([fits.numbers[tuple(numbers_of(images).tolist())] for images, _ in train])

    def in_a_thread(*_: Any) -> None:
        thread = threading.Thread(target=iterate)
        thread.start()
        thread.join()

    for name, do in (("loop", loop), ("iterator", iterate), ("thread", in_a_thread)):
        found.clear()
        fits.fit(name, Call(lambda batch, do=do: do() if batch == 1 else None))
        fits.found[name]["inner"] = list(found)
    train.close()
    return fits.found


def fit(model: Recording, train: kseq.ShardSequence, **arguments: Any) -> dict[str, Any]:
    """One fit, and what it received."""
    model.records.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(train, verbose=0, **arguments)
    ours = [str(warning.message) for warning in caught if "kseq" in str(warning.message)]
    return {"records": list(model.records), "epoch": train.epoch, "warnings": ours}


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
    path, *names = sys.argv[1:]
    scenarios: dict[str, Callable[[], Any]] = {
        **{
            f"{80 // size} batches, {'built' if built else 'not built'}": lambda size=size, built=built: scenario_fits(
                path, size, built
            )
            for size in (16, 40, 80)
            for built in (True, False)
        },
        "loops": lambda: scenario_loops(path),
        "held": lambda: scenario_held(path),
        **{f"workers {count}": lambda count=count: scenario_workers(path, count, False) for count in (0, 1, 2, 4)},
        "processes 2": lambda: scenario_workers(path, 2, True),
    }
    print(json.dumps({name: scenarios[name]() for name in names}))


if __name__ == "__main__":
    main()
