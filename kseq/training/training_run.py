"""One `fit` that may be stopped and go on: what is kept of it and when, and how it goes on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import keras

from kseq.errors import ArgumentError
from kseq.training.checkpoints import Checkpoint, CheckpointFolder
from kseq.training.keras_fit import KerasFit
from kseq.training.sequence import ShardSequence
from kseq.training.training_state import (
    get_callbacks,
    get_history,
    get_metrics,
    get_random,
    get_variables,
    set_callbacks,
    set_history,
    set_metrics,
    set_random,
    set_torch_random,
    set_variables,
)

__all__ = ["TrainingRun"]

# A newer kseq may keep more; what an older one does not know, it refuses.
_VERSION = 1


class TrainingRun(keras.callbacks.Callback):
    """One `fit` with a ResumeTraining: a callback that Keras calls after all others.

    Args:
        folder: Where its checkpoints are.
        fit: The `fit`.
        sequence: What it trains on.
        others: The other callbacks.
        number: How many `fit`s of the script have ended before.
        is_due: Whether a checkpoint is to be written, after so many steps and at this time since the last one.
        on_end: Called when the `fit` has ended.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        fit: KerasFit,
        sequence: ShardSequence,
        others: list[Any],
        *,
        number: int,
        is_due: Callable[[int, float], bool],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__()
        self._folder = folder
        self._fit = fit
        self._sequence = sequence
        self._others = others
        self._number = number
        self._is_due = is_due
        self._on_end = on_end
        self._writes = sequence.batches.rank == 0
        # What was restored, until the training has begun; and where in the data that is.
        self._restored: Checkpoint | None = None
        self._position = 0, 0
        # Whether there is nothing left to train.
        self._is_over = False
        # The epoch of Keras's, its steps, and how many batches of the pass they took.
        self._epoch = 0
        self._steps = 0
        self._num_taken = 0
        # Since the last checkpoint.
        self._unsaved_steps = 0
        self._last_time = time.monotonic()

    # Going on.

    def restore(self, on_change: str) -> None:
        """Restore the last checkpoint of this fit, if there is one."""
        if self._writes:
            self._folder.lock()
            self._folder.remove_half_written()
        found = self._folder.newest(lambda state: state.get("fit") == self._number)
        if found is not None:
            self._restore(found, on_change)
            return
        later = self._folder.newest(lambda state: state.get("fit", -1) > self._number)
        if later is not None:
            self._skip(later)

    def _restore(self, found: Checkpoint, on_change: str) -> None:
        state = found.state
        if state.get("version") != _VERSION:
            raise ArgumentError(
                f"{found.path}: has version {state.get('version')!r}, this kseq reads version {_VERSION}: update kseq"
            )
        self._position = self._sequence.load_state_dict(state["data"], on_change=on_change)
        set_variables(self.model, found.arrays, self._batch(), found.path)
        self._restored = found
        self._epoch, self._steps = state["epoch"], state["step"]
        self._convert_steps(found)
        self._is_over = state["is_stopped"] or self._epoch >= self._fit.epochs
        if self._is_over:
            # As the training has left it, which may be within a pass that is to be begun again.
            self._sequence.batches.forget_state()
            self._sequence._passes.set(state["next_epoch"], 0, is_chosen=False)
        validation = self._other_validation
        if validation is not None and state["validation_epoch"] is not None:
            validation.epoch = state["validation_epoch"]
        # Keras takes 0 for none.
        self.model._initial_epoch = self._fit.epochs if self._is_over else self._epoch or None
        self._tell(found)

    def _skip(self, later: Checkpoint) -> None:
        """Train nothing in a fit whose end is not known any more, since a later one goes on."""
        self._is_over = True
        self.model._initial_epoch = self._fit.epochs
        warnings.warn(
            f"{later.path}: fit number {later.state['fit']} has begun, and the checkpoint of the end of number {self._number} "
            "is gone: this one trains nothing, and leaves the model as it is",
            stacklevel=6,
        )

    def _convert_steps(self, found: Checkpoint) -> None:
        """Count the steps of the epoch in batches of this run, if another global batch was given."""
        data, batches = found.state["data"], self._sequence.batches
        # An older kseq kept no number for all ranks together.
        before = data.get("global_batch_size", data["batch_size"] * data["world_size"])
        if before == batches.global_batch_size:
            return
        was = f"{before} samples on {data['world_size']} ranks"
        now = f"{batches.global_batch_size} on {batches.world_size}"
        text = f"{found.path}: a step had {was}, and has now {now}: goes on with the samples that come next"
        if self._steps and self._position[0] != data["epoch"]:
            text += f"; too few are left of epoch {self._epoch + 1}, which ends here without validation"
            self._epoch, self._steps = self._epoch + 1, 0
        elif self._steps and not self._fit.steps_per_epoch:
            self._steps = self._position[1]
        warnings.warn(text, stacklevel=7)

    def _tell(self, found: Checkpoint) -> None:
        state = found.state
        if state["backend"] != keras.backend.backend():
            warnings.warn(
                f"{found.path}: was written on {state['backend']}, and goes on on {keras.backend.backend()}: the weights are "
                "the same, random operations are not",
                stacklevel=7,
            )
        if self._is_over and state["is_ended"]:
            how = "was stopped" if state["is_stopped"] else "is complete"
            way_out = "" if state["is_stopped"] else ", or more epochs to go on"
            warnings.warn(
                f"{found.path}: the training {how} after epoch {self._epoch} of {self._fit.epochs}: nothing is trained: take "
                f"another folder to begin anew{way_out}",
                stacklevel=7,
            )

    def _batch(self) -> Any:
        """A batch, as Keras takes it to make variables with."""
        epoch, number = self._position
        batch = self._sequence.batches.batch(epoch, min(number, len(self._sequence) - 1))
        return batch if isinstance(batch, tuple) else (batch,)

    # What Keras calls.

    def on_train_begin(self, logs: Any = None) -> None:
        if self._restored is not None:
            state = self._restored.state
            set_history(self.model, state["history"])
            if not state["is_ended"] or not self._is_over:
                set_callbacks(self._others, state["callbacks"], self._restored.arrays, self._restored.path)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._num_taken = epoch, self._fit.num_taken
        restored = self._restored
        if restored is None:
            self._steps = 0
            return
        self.model._initial_epoch = None
        if self._position[1] == 0:
            self._set_random(restored)
            # With `steps_per_epoch`, Keras makes the next iterator at the end of a pass, before the checkpoint of that end.
            self._restored = restored if self._fit.steps_per_epoch else None
            return
        # It would draw for fewer batches than a whole pass has; kseq serves them by turn in any case.
        self._fit.keep_from_shuffling()
        if self._steps:
            self._fit.begin_within_epoch(self._steps)
            self._set_metrics(restored)
        # Before the first batch is read, for which a function of the user's may draw.
        self._set_random(restored)

    def _set_metrics(self, restored: Checkpoint) -> None:
        if not set_metrics(self.model, restored.arrays, self._batch()):
            warnings.warn(
                f"{restored.path}: has other metrics than the model: those of epoch {self._epoch + 1} are of the samples that "
                "were left of it",
                stacklevel=6,
            )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._restored is not None:
            # Once more: when an iterator is made, torch draws a number, as it had before the checkpoint was written.
            if self._writes:
                set_torch_random(self._restored.arrays)
            self._restored = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        taken = self._fit.num_taken
        num_new = taken - self._num_taken if taken > self._num_taken else taken
        self._num_taken = taken
        self._steps += num_new
        self._unsaved_steps += num_new
        if self._writes and self._is_due(self._unsaved_steps, self._last_time) and not self._ends_epoch():
            self._save(self._epoch, self._steps)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._fit.end_epoch()
        self._epoch, self._steps = epoch + 1, 0
        if self._writes:
            self._save(self._epoch, 0)

    def on_train_end(self, logs: Any = None) -> None:
        self.model._initial_epoch = None
        restored = self._restored
        if restored is not None:
            self._set_random(restored)
        is_known = self._is_over and (restored is None or restored.state["is_ended"])
        try:
            if self._writes and not is_known:
                self._save(self._epoch, 0, is_ended=True)
        finally:
            if self._fit.callbacks and self._fit.callbacks[-1] is self:
                self._fit.callbacks.pop()
            self._folder.unlock()
        self._on_end()

    @property
    def _other_validation(self) -> ShardSequence | None:
        """The sequence of the validation; None where there is none, or it is the one of the training, whose place is kept."""
        validation = self._fit.validation_data
        return validation if isinstance(validation, ShardSequence) and validation is not self._sequence else None

    def _ends_epoch(self) -> bool:
        """Whether the epoch ends with this step: then all is kept after its validation."""
        steps = self._fit.steps_per_epoch
        return bool(self._fit.ends_pass or (steps and self._steps >= steps) or self.model.stop_training)

    def _set_random(self, restored: Checkpoint) -> None:
        # Other ranks have states of their own, which nobody has kept.
        if self._writes:
            set_random(restored.state["random"], restored.arrays)

    # Keeping.

    def _save(self, epoch: int, step: int, *, is_ended: bool = False) -> None:
        sequence, model, restored = self._sequence, self.model, self._restored
        data_epoch, number = sequence._passes.position(self._fit.adapter, self._fit.num_taken)
        number = min(number, len(sequence.batches))
        counted, callback_arrays = get_callbacks(self._others)
        random_states, random_arrays = get_random()
        validation = self._other_validation
        state = {
            "version": _VERSION,
            "fit": self._number,
            "epoch": epoch,
            "step": step,
            "is_stopped": bool(model.stop_training) or (restored is not None and restored.state["is_stopped"]),
            "is_ended": is_ended,
            "data": sequence.batches.state_dict(data_epoch, number),
            "next_epoch": sequence.epoch,
            "validation_epoch": None if validation is None else validation.epoch,
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "callbacks": counted,
            "history": get_history(model),
            "random": random_states,
        }
        arrays = {**get_variables(model), **get_metrics(model), **callback_arrays, **random_arrays}
        path = self._folder.write(state, arrays, is_kept=is_ended)
        if is_ended:
            self._folder.remove_before(path, lambda old: old.get("fit") == self._number and bool(old.get("is_kept")))
        self._unsaved_steps, self._last_time = 0, time.monotonic()
