"""The `fit` of Keras that is running, found among the callers: which epoch it is in, and how it begins within one.

Keras says none of this to a Sequence, and little to a callback. From 3.10 to 3.16, `fit` is a function of the model whose
variables have the names that are read here, and `trainers/epoch_iterator.py` is one for all backends.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["KerasFit", "find_fit", "forget_initial_epoch"]

# Between `fit` and a Sequence or a callback are its iterator, its adapter, the list of callbacks, and functions of the user.
_MOST_FRAMES = 40

# Where an iterator of Keras keeps how many batches a whole pass has, while it goes through a part of one.
_WHOLE_PASS = "_kseq_num_batches"


class KerasFit:
    """A `fit` that is running.

    Args:
        variables: The local variables of its function.

    Attributes:
        iterator: Keras's `EpochIterator`.
        adapter: The adapter that `iterator` goes through.
        epochs: How many epochs of Keras's there are to be in the end.
        initial_epoch: The first one of this `fit`.
        epoch: The one that is going on; None before the first.
        validation_data: What is given to `evaluate`; None for nothing.
        steps_per_epoch: The argument of `fit`.
    """

    def __init__(self, variables: dict[str, Any]) -> None:
        self.iterator = variables["epoch_iterator"]
        self.adapter = self.iterator.data_adapter
        self.epochs: int = variables.get("epochs", 1)
        self.initial_epoch: int = variables.get("initial_epoch", 0)
        self.epoch: int | None = variables.get("epoch")
        self.validation_data = variables.get("val_x")
        self.steps_per_epoch: int | None = self.iterator.steps_per_epoch
        self._callbacks = variables.get("callbacks")
        self._shuffle = getattr(self.adapter, "shuffle", False)

    @property
    def callbacks(self) -> list[Any]:
        """The list of all callbacks, which is Keras's own."""
        return getattr(self._callbacks, "callbacks", None) or []

    @property
    def is_first_epoch(self) -> bool:
        return self.epoch is None or self.epoch == self.initial_epoch

    @property
    def begins_pass(self) -> bool:
        """Whether the epoch that begins also begins a pass over the data."""
        return self.iterator.steps_per_epoch is None or self.iterator._current_iterator is None or not self.num_taken

    @property
    def num_taken(self) -> int:
        """How many batches the training took of the pass that is going on; 0 if it took the last one."""
        return self.iterator._steps_seen

    @property
    def ends_pass(self) -> bool:
        """Whether the batches that the training took are all of the pass."""
        return bool(self.iterator._num_batches) and self.num_taken >= self.iterator._num_batches

    def position_of(self, epoch: int, num_batches: int) -> tuple[int, int]:
        """The epoch of the data and the batch with which an epoch of Keras's begins, in a run that was never stopped."""
        steps = min(self.steps_per_epoch or num_batches, num_batches)
        # Where a pass is not divided evenly, Keras breaks off the last of its epochs.
        epochs_per_pass = -(-num_batches // steps)
        return epoch // epochs_per_pass, epoch % epochs_per_pass * steps

    def set_num_left(self, num_left: int | None) -> None:
        """Let the pass that begins have so many batches; None for all."""
        attributes = vars(self.iterator)
        if num_left is not None:
            attributes.setdefault(_WHOLE_PASS, self.iterator._num_batches)
            self.iterator._num_batches = num_left
        elif _WHOLE_PASS in attributes:
            self.iterator._num_batches = attributes.pop(_WHOLE_PASS)

    def begin_within_epoch(self, num_steps: int) -> None:
        """Let the epoch that begins go on after so many steps, and the numbers of its batches too."""
        if self.steps_per_epoch:
            self.iterator.steps_per_epoch = max(self.steps_per_epoch - num_steps, 1)
        iterator = self.iterator
        steps = iterator._enumerate_iterator

        def enumerate_iterator() -> Iterator[tuple[Any, ...]]:
            # Its class has this function too.
            del iterator._enumerate_iterator
            for *numbers, batches in steps():
                yield *(number + num_steps for number in numbers), batches

        iterator._enumerate_iterator = enumerate_iterator

    def keep_from_shuffling(self) -> None:
        """Let the pass that begins draw no random numbers."""
        self.adapter.shuffle = False

    def end_epoch(self) -> None:
        """Whatever was changed for an epoch is over."""
        self.iterator.steps_per_epoch = self.steps_per_epoch
        self.adapter.shuffle = self._shuffle

    def call_in_its_thread(self) -> None:
        """Keep Keras from calling callbacks in other threads, which lag behind the training."""
        callbacks: Any = self._callbacks
        if hasattr(callbacks, "_async_train"):
            callbacks._async_train = False


def find_fit(frame: FrameType | None) -> KerasFit | None:
    """The innermost `fit` among the callers of a function; None without one.

    Args:
        frame: The caller of the function.
    """
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return None
        if frame.f_code.co_name == "fit" and hasattr(frame.f_locals.get("epoch_iterator"), "data_adapter"):
            return KerasFit(frame.f_locals)
        frame = frame.f_back
    return None


def forget_initial_epoch(frame: FrameType) -> None:
    """Make a model forget the epoch with which an earlier `fit` of it went on.

    `BackupAndRestore` leaves it on the model, and every later `fit` would begin there: with fewer epochs, it would do nothing.

    Args:
        frame: Of Keras's adapter, which is called when a `fit` is prepared, before its callbacks are.
    """
    reset = frame.f_back
    fit = None if reset is None else reset.f_back
    if fit is not None and fit.f_code.co_name == "fit":
        model: Any = fit.f_locals.get("self")
        if getattr(model, "_initial_epoch", None):
            model._initial_epoch = None
