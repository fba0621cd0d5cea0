"""ResumeTraining: a callback of Keras by which a training that was stopped goes on as if it had not been."""

from __future__ import annotations

import datetime
import os
import sys
import time
from typing import Any

import keras

from kseq.arguments import choice, path_text, spelled, whole
from kseq.errors import ArgumentError
from kseq.training.checkpoints import CheckpointFolder
from kseq.training.keras_fit import find_fit
from kseq.training.position import ON_CHANGE
from kseq.training.sequence import ShardSequence
from kseq.training.training_run import TrainingRun

__all__ = ["ResumeTraining"]


class ResumeTraining(keras.callbacks.Callback):
    """Lets a `fit` that was stopped, by whatever, go on in mid-epoch with the very samples that come next.

    The same script, started again, finds the last checkpoint in the folder and goes on from there: with the weights, the
    optimizer, the random generators, the metrics of the epoch and the place in the data. On one process and with deterministic
    operations, it ends with the same weights, bit for bit, as a run that was never stopped. A run that is complete trains
    nothing more, unless `epochs` is larger now.

    Checkpoints are written whole or not at all: every `every`, at the end of each epoch after its validation, and at the end of
    `fit`. A damaged one is passed over. While a `fit` goes on, other processes of the machine cannot train with its folder. On
    several ranks, rank 0 writes and all read, so that all of them must see the folder; the number of ranks, and `batch_size`,
    may be others than before. One run takes one folder. Several `fit`s of one script take one and the same object.

    What is kept: all variables of the model and of the optimizer, with the states of Keras's seed generators; the buffers of
    torch modules; the metrics; the random generators of Python, numpy, torch and Keras; what `EarlyStopping`,
    `ReduceLROnPlateau` and `ModelCheckpoint` have counted; the history that `fit` returns; the epoch of a `ShardSequence` for
    validation. What other callbacks, layers or a `train_step` keep in Python is not.

    Args:
        folder: Where the checkpoints are; it is made if need be.
        every: A whole number: steps between checkpoints. A `datetime.timedelta`: time between them. `"epoch"`: none within
            epochs.
        keep: How many of the last checkpoints are kept, 1 or more; besides, that of the end of each `fit`.
        on_change: `"fail"`: refuse to go on with another dataset, split, seed or order of the samples. `"warn"`: go on after as
            many samples of the epoch, and say so.

    Raises:
        ArgumentError: If an argument is not allowed. In `fit`: if it does not train on a `ShardSequence`, or if the checkpoint
            is of another model or other data.
        LockedError: In `fit`: if another process trains with this folder.
        ReadError: If the folder cannot be read.
        WriteError: If a checkpoint cannot be written.

    Examples:
        >>> train = kseq.ShardSequence("flowers", "train")
        >>> model.fit(train, epochs=10, callbacks=[kseq.ResumeTraining("checkpoints", every=500)])
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int | datetime.timedelta | str = "epoch",
        keep: int = 3,
        on_change: str = "fail",
    ) -> None:
        super().__init__()
        self._every = _check_every(every)
        self._folder = CheckpointFolder(os.path.abspath(path_text("folder", folder)), whole("keep", keep, 1))
        self._on_change = choice("on_change", on_change, ON_CHANGE)
        # How many fits with this callback have ended.
        self._num_fits = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Called by Keras: restores the last checkpoint, if there is one."""
        fit = find_fit(sys._getframe(1))
        if fit is None:
            raise ArgumentError(
                f"{self._folder.path}: ResumeTraining is called, and not by keras.Model.fit: in a loop of your own, keep "
                "kseq.Batches.state_dict() with your checkpoints"
            )
        sequence = getattr(fit.adapter, "py_dataset", None)
        if not isinstance(sequence, ShardSequence):
            found = type(fit.adapter if sequence is None else sequence).__name__
            raise ArgumentError(
                f"{self._folder.path}: ResumeTraining goes on in the middle of a kseq.ShardSequence, fit trains on a {found}: "
                "give fit the ShardSequence itself, or take keras.callbacks.BackupAndRestore"
            )
        others = [callback for callback in fit.callbacks if not isinstance(callback, TrainingRun)]
        run = TrainingRun(self._folder, fit, sequence, others, number=self._num_fits, is_due=self._is_due, on_end=self._end)
        # Last in the list, so that it keeps what all others have done.
        fit.callbacks[:] = [*others, run]
        fit.call_in_its_thread()
        run.set_model(self._model)
        run.set_params(self.params)
        run.restore(self._on_change)

    def _end(self) -> None:
        self._num_fits += 1

    def _is_due(self, num_steps: int, last_time: float) -> bool:
        """Whether a checkpoint is to be written, after so many steps since the last one."""
        if isinstance(self._every, int):
            return num_steps >= self._every
        return self._every is not None and time.monotonic() - last_time >= self._every


def _check_every(every: Any) -> int | float | None:
    """Steps as an int, seconds as a float, or None for epochs alone."""
    if isinstance(every, str) and every == "epoch":
        return None
    if isinstance(every, datetime.timedelta) and every > datetime.timedelta(0):
        return every.total_seconds()
    try:
        return whole("every", every, 1)
    except ArgumentError:
        raise ArgumentError(
            f"{spelled('every', every)}: allowed are a whole number of steps, 1 or more; a time above 0, such as "
            "datetime.timedelta(minutes=10); and 'epoch'"
        ) from None
