"""Run in processes that are killed: a script that trains with ResumeTraining, and notes what each of its steps received."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kseq
from tests.helpers.photos import numbers_of

BATCH = 7


class Recording(keras.Sequential):
    """Writes the samples of each training step, by their pixels, to a file."""

    note: Any = None

    # On jax a step is given a state first; the data come last on every backend.
    def train_step(self, *arguments: Any) -> Any:
        if self.note is not None:
            x, _, _ = keras.utils.unpack_x_y_sample_weight(arguments[-1])
            self.note(numbers_of(keras.ops.convert_to_numpy(x)).tolist())
        return super().train_step(*arguments)


class Notes(keras.callbacks.Callback):
    """Notes the epoch and number of each step, and kills the process after some of them."""

    def __init__(self, path: Path, kill_after: int | None) -> None:
        super().__init__()
        self.path = path
        self.num_left = kill_after
        self.fit = 0
        self.place: tuple[int, int] = (0, 0)
        self.epoch = 0
        self.ids: list[int] | None = None

    def note(self, ids: list[int]) -> None:
        self.ids = ids

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps([self.fit, self.epoch, batch, self.ids]) + "\n")
        self._count()

    def _count(self) -> None:
        if self.num_left is not None:
            self.num_left -= 1
            if self.num_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    # Between the last step of an epoch and its end, too.
    def on_test_end(self, logs: Any = None) -> None:
        self._count()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._count()


def make_model(options: dict[str, Any]) -> Recording:
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.BatchNormalization(),
        # Without a seed: its states are all that says what it drops.
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3, activation="softmax"),
    ]
    return Recording(layers if options.get("unbuilt") else [keras.Input((4, 4, 3)), *layers])


def compile_model(model: Recording, options: dict[str, Any], rate: float) -> None:
    optimizer = keras.optimizers.Adam(rate, use_ema=bool(options.get("ema")))
    model.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=bool(options.get("eager", True))
    )


def make_sequence(dataset: str, options: dict[str, Any], split: str = "train") -> kseq.ShardSequence:
    sampling = dict(options.get("sampling", {})) if split == "train" else {}
    if sampling.pop("weighted", False):
        sampling["sampling_weights"] = [1 + number % 3 for number in range(80)]
    if "mixed" in sampling:
        dataset = {dataset: 0.7, sampling.pop("mixed"): 0.3}
        split = None
    return kseq.ShardSequence(
        dataset,
        split,
        batch_size=options.get("batch_size", BATCH),
        seed=5,
        workers=options.get("workers", 1),
        use_multiprocessing=bool(options.get("processes")),
        augment=[kseq.RandomFlip()],
        read=options.get("read", "auto"),
        **sampling,
    )


def train(dataset: str, folder: Path, options: dict[str, Any], kill_after: int | None) -> None:
    """The script of a user: the same, however often it is started."""
    keras.utils.set_random_seed(1)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    sequence = make_sequence(dataset, options)
    validation = make_sequence(dataset, options, "val") if options.get("validation") else None
    model = make_model(options)
    notes = Notes(folder / "steps.jsonl", kill_after)
    model.note = notes.note if options.get("eager", True) else None
    resume = kseq.ResumeTraining(folder / "checkpoints", every=options.get("every", 2))
    callbacks = [resume, notes]
    if validation is not None:
        callbacks += [
            keras.callbacks.ReduceLROnPlateau(patience=0, min_delta=0.5, factor=0.5),
            keras.callbacks.EarlyStopping(patience=options.get("patience", 9), restore_best_weights=True),
        ]
    histories = []
    for number in range(options.get("fits", 1)):
        compile_model(model, options, 0.01 / (number + 1))
        notes.fit = number
        history = model.fit(
            sequence,
            epochs=options.get("epochs", 3),
            steps_per_epoch=options.get("steps_per_epoch"),
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        )
        histories.append({"epoch": history.epoch, "history": history.history})
    values = [keras.ops.convert_to_numpy(variable) for variable in [*model.variables, *model.optimizer.variables]]
    np.savez(folder / "weights.npz", *values)
    (folder / "done.json").write_text(json.dumps({"histories": histories, "epoch": sequence.epoch}))
    sequence.close()


def main() -> None:
    dataset, folder, options, kill_after = sys.argv[1:5]
    train(dataset, Path(folder), json.loads(options), int(kill_after) or None)
