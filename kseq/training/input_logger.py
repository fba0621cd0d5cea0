"""InputLogger: a callback of Keras that logs what a model is trained on."""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import keras

from kseq.arguments import path_text, whole
from kseq.display.words import visible
from kseq.errors import ArgumentError, KseqError
from kseq.training.batch_look import draw_batch
from kseq.training.batches_inside import dataset_of
from kseq.training.keras_fit import find_fit
from kseq.training.run_logs import RunLog, open_tensorboard, wandb_log
from kseq.training.sequence import ShardSequence, next_position

__all__ = ["InputLogger"]


class InputLogger(keras.callbacks.Callback):
    """Logs what a model is trained on to TensorBoard, to Weights & Biases, or to both.

    - The dataset, when `fit` begins: its path, split and digest, how many samples it has, and what the batches are like.
    - A picture of what the model gets, when an epoch begins: rows of its first batch, with boxes, masks and points drawn over
      them, and labels. The batch is made once more for it, which takes as long as reading a batch does.
    - The share of a step that waits for input, when an epoch has ended, if [`InputMonitor`][kseq.InputMonitor] is listed too.

    Of several ranks, the first one logs. If a picture cannot be drawn, whatever the reason, a warning says so, and the training
    goes on.

    Args:
        log_dir: The folder for TensorBoard's event files, the same as for `keras.callbacks.TensorBoard`: they lie in `input`
            below it. It takes tensorboard, and TensorFlow or PyTorch.
        run: A run of Weights & Biases, which `wandb.init()` returns.
        every: Epochs from one picture to the next, 1 or more.
        rows: How many rows of a batch a picture shows, 1 to 64.

    Raises:
        ArgumentError: If an argument is not allowed, there is neither `log_dir` nor `run`, or tensorboard or wandb is missing.
            In `fit`: if it does not train on a `ShardSequence`.
        WriteError: In `fit`: if the folder cannot be made.

    Examples:
        >>> model.fit(train, epochs=10, callbacks=[kseq.InputLogger("logs"), keras.callbacks.TensorBoard("logs")])
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] | None = None, *, run: Any = None, every: int = 1, rows: int = 16
    ) -> None:
        super().__init__()
        if log_dir is None and run is None:
            raise ArgumentError(
                "log_dir=None, run=None: give log_dir for TensorBoard's files, run for Weights & Biases, or both"
            )
        self._every, self._rows = whole("every", every, 1), whole("rows", rows, 1, 64)
        self._folder = None if log_dir is None else os.path.join(path_text("log_dir", log_dir), "input")
        self._run_logs = [] if run is None else [wandb_log(run)]
        self._logs: list[RunLog] = []
        # Not the Sequence, which would live as long as this; a `fit` holds it.
        self._sequence: weakref.ref[ShardSequence] | None = None
        # The epoch that ended last and its logs, until the share that waits is in them.
        self._ended: tuple[int, Mapping[str, Any]] = 0, {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Called by Keras: logs the dataset."""
        fit = find_fit(sys._getframe(1))
        sequence = None if fit is None else getattr(fit.adapter, "py_dataset", None)
        if not isinstance(sequence, ShardSequence):
            found = "is not called by fit" if fit is None else f"fit trains on a {type(sequence or fit.adapter).__name__}"
            raise ArgumentError(f"InputLogger logs a kseq.ShardSequence, found: {found}: give fit the ShardSequence itself")
        self._end()
        self._sequence, batches = weakref.ref(sequence), sequence.batches
        if batches.rank == 0:
            events = [] if self._folder is None else [open_tensorboard(self._folder)]
            self._logs = [*events, *self._run_logs]
        facts = {
            "dataset": dataset_of(batches).path,
            "split": batches.split,
            "digest": batches.digest,
            "num_samples": batches.num_samples,
            "global_batch_size": batches.global_batch_size,
            "batches": repr(sequence),
        }
        for log in self._logs:
            log.write_facts({name: visible(str(value), 1000) for name, value in facts.items()})
            log.flush()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras: logs a picture of what comes first."""
        self._log_wait()
        sequence = None if self._sequence is None else self._sequence()
        if sequence is None or not self._logs or epoch % self._every:
            return
        fit = find_fit(sys._getframe(1))
        pass_number, number = next_position(sequence)
        if fit is not None and not fit.begins_pass:
            # With steps_per_epoch, a pass goes on over several epochs of Keras.
            number = min(fit.num_taken, len(sequence) - 1)
        try:
            pixels = draw_batch(sequence.batches, pass_number, number, self._rows)
        except Exception as error:
            # Also what a function of the user raises: if the training meets it too, it says so with its place.
            name = "" if isinstance(error, KseqError) else f"{type(error).__name__}: "
            warnings.warn(f"the picture of epoch {epoch + 1} is left out: {name}{error}", stacklevel=2)
            return
        for log in self._logs:
            log.write_picture("input/batch", pixels, f"batch {number} of epoch {pass_number} of {sequence.split}", epoch)
            log.flush()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras: logs the share that waits for input, if it was measured."""
        self._ended = epoch, {} if logs is None else logs
        self._log_wait()

    def on_train_end(self, logs: Any = None) -> None:
        """Called by Keras: writes what is left."""
        self._log_wait()
        self._end()

    def _log_wait(self) -> None:
        """Log the share of the epoch that has ended: a monitor that is listed later puts it into the same logs only then."""
        epoch, logs = self._ended
        share = logs.get("input_wait")
        if share is None:
            return
        self._ended = 0, {}
        for log in self._logs:
            log.write_number("input/wait", float(share), epoch)
            log.flush()

    def _end(self) -> None:
        """Nothing is left of a `fit`, also of one that broke off."""
        for log in self._logs:
            log.close()
        self._logs, self._sequence, self._ended = [], None, (0, {})
