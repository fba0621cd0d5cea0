"""Which epoch each batch of a Sequence belongs to, whoever reads it and in which way."""

from __future__ import annotations

import operator
import os
import threading
import warnings
from types import FrameType
from typing import Any, NamedTuple

from kseq.training.callers import find_keras_call, find_place
from kseq.training.epoch_count import EpochCount, Pass
from kseq.training.keras_adapter import adapt
from kseq.training.keras_fit import KerasFit, find_fit, forget_initial_epoch
from kseq.training.keras_passes import KerasPasses
from kseq.training.plain_loops import PlainLoops

__all__ = ["Located", "Passes"]


class Located(NamedTuple):
    """A batch that was asked for.

    Attributes:
        epoch: Its epoch.
        number: Its number in the epoch.
        is_look: Whether Keras itself asks, to learn shapes alone.
        adapter: The adapter of Keras that asks; None if somebody else does.
    """

    epoch: int
    number: int
    is_look: bool = False
    adapter: Any = None


class Passes:
    """The passes over one Sequence: a pass belongs to whoever iterates, and stays in one epoch from beginning to end.

    The rule:

    1. `epoch` is one more than the highest epoch of which a pass is complete, or what was set. A pass begins with it, and keeps
       it. So two passes that begin before either is complete are of the same epoch, and one that breaks off is begun again.
    2. The passes of one `fit`, and of one `generator()`, follow each other: after a complete pass of epoch `e` comes `e + 1`,
       even if others have read meanwhile; unless `epoch` was set.
    3. Keras's pass is known by the generator with which Keras iterates (see `callers`). In it, the first number that Keras asks
       for is batch 0, the next one batch 1, whatever the numbers are: Keras's own shuffling changes nothing. The pass is
       complete when Keras says that its epoch ended after the last batch. What Keras reads to learn shapes is no pass.
    4. An iterator's pass is complete when the iterator ends or, once the last of several batches was handed out, when it is let
       go or another pass begins.
    5. `sequence[i]` in one's own program is batch `i` of `epoch`. Numbers 0, 1, ... up to the last one, asked for in turn by
       one place of the program, are a pass, complete with the last number; in the thread that made the Sequence, so that
       workers that share out numbers never count. Numbers in other orders leave the epoch as it is. `on_epoch_end`, called by
       one's own program after some number was asked for, ends the epoch too.
    6. The first epoch of a `fit(initial_epoch=e)`, or of one that goes on in epoch `e` of Keras's by other means, is that of a
       run which was never stopped, unless `epoch` was set since the last pass.
    7. After `set`, the pass of that epoch begins with a batch within it.
    8. A copy, by fork or pickle, has an epoch of its own, the one of its original at that moment. Its plain loops do not count.

    Reading `epoch`, `len`, `num_batches`, or a batch by its number changes nothing of any other pass.

    Args:
        num_batches: How many batches there are in an epoch.
        keras_module: The module of Keras's `PyDataset`.
        name: What messages call the Sequence.
        warns: Whether to say once when a plain loop does not count: if epochs differ at all.
    """

    def __init__(self, num_batches: int, keras_module: str, name: str, *, warns: bool = True) -> None:
        self._num_batches = num_batches
        self._keras_module = keras_module
        self._count = EpochCount()
        self._keras = KerasPasses(self._count)
        self._plain = PlainLoops(self._count, name, warns)
        # What follows on the batch that a loop of one's own has got last.
        self._next_in_loop = -1, 0
        self._name = name
        self._has_warned = False
        # Guards all of the above; held for moments.
        # It may be taken again by the thread that holds it, where an iterator is let go.
        self._lock = threading.RLock()
        self._process = os.getpid()

    def _locked(self) -> threading.RLock:
        if self._process != os.getpid():
            # After a fork: a thread that is not here may have held it.
            self._lock, self._process = threading.RLock(), os.getpid()
        return self._lock

    @property
    def epoch(self) -> int:
        """The epoch with which the next pass begins."""
        return self._count.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.set(value, 0)

    @property
    def start(self) -> int:
        """The number of the batch with which the next pass begins."""
        return self._count.start

    def set(self, epoch: int, start: int, *, is_chosen: bool = True) -> None:
        """Let the next pass begin with a batch of an epoch.

        Args:
            epoch: The epoch.
            start: The number of the batch.
            is_chosen: Whether a `fit` with another `initial_epoch` begins there too.
        """
        with self._locked():
            self._count.set(epoch, start, is_chosen=is_chosen)
            self._next_in_loop = epoch, start

    def note_read(self, epoch: int, number: int) -> None:
        """An iterator hands out a batch."""
        self._next_in_loop = epoch, number + 1

    def next_in_loop(self) -> tuple[int, int]:
        """The epoch and the number of the batch that comes next in a loop of one's own: after the one that it got last."""
        with self._locked():
            epoch, number = self._next_in_loop
            return (epoch, number) if epoch >= self._count.epoch else (self._count.epoch, self._count.start)

    def make_copy(self, epoch: int, start: int) -> None:
        """Be the passes of a copy that begins with a batch of an epoch."""
        self._count.set(epoch, start)
        self._plain.is_copy = True

    def locate(self, sequence: Any, number: int, caller: FrameType) -> Located:
        """Which batch `sequence[number]` is.

        Args:
            sequence: The Sequence.
            number: The number; one that is not in [0, num_batches) is returned as it is, and changes nothing.
            caller: Who calls `sequence[number]`.
        """
        number = operator.index(number)
        call = find_keras_call(caller, sequence, self._keras_module)
        with self._locked():
            if call is not None:
                is_look = call.generator is None and call.frame is caller
                return Located(*self._keras.locate(call, number, self._length(sequence)), is_look, call.adapter)
            if not 0 <= number < self._num_batches:
                return Located(self._count.epoch, number)
            epoch = self._plain.locate(find_place(caller), number, self._length(sequence))
            self._next_in_loop = epoch, number + 1
            return Located(epoch, number)

    def on_num_batches_read(self, sequence: Any, caller: FrameType) -> int:
        """What `sequence.num_batches` is to who reads it; to Keras's generator, which reads it once, a pass begins.

        Whoever reads it within a batch, which Keras has asked for, only looks.
        """
        call = find_keras_call(caller, sequence, self._keras_module)
        if call is not None and call.frame is caller:
            with self._locked():
                self._keras.begin(call, self._length(sequence))
                # A pass that begins within an epoch has fewer.
                return len(sequence) - self._keras.start(call)
        return len(sequence)

    def on_workers_read(self, sequence: Any, caller: FrameType) -> None:
        """Somebody has read `sequence.workers`: Keras does so when it makes an adapter."""
        call = find_keras_call(caller, sequence, self._keras_module)
        if call is not None and call.is_over_this and call.frame is caller:
            adapt(call.adapter, caller)

    def _length(self, sequence: Any) -> int:
        """Batches per pass: fewer than there are if a subclass with a `__len__` of its own says so."""
        return min(len(sequence), self._num_batches)

    def on_epoch_begin(self, sequence: Any, caller: FrameType) -> None:
        """Somebody has called `sequence.on_epoch_begin`: Keras does so when it begins an epoch of its own."""
        call = find_keras_call(caller, sequence, self._keras_module)
        fit = find_fit(caller) if call is not None and call.is_over_this else None
        if call is None or fit is None or fit.adapter is not call.adapter:
            return
        length = self._length(sequence)
        with self._locked():
            if fit.is_first_epoch:
                self._warn_of_backups(fit)
            if fit.is_first_epoch and fit.initial_epoch > 0 and not self._count.is_chosen:
                self._count.set(*fit.position_of(fit.initial_epoch, length), is_chosen=False)
            if fit.begins_pass:
                fit.set_num_left(self._keras.num_left(call, length))

    def _warn_of_backups(self, fit: KerasFit) -> None:
        backups = [callback for callback in fit.callbacks if type(callback).__name__ == "BackupAndRestore"]
        for save_freq in (getattr(callback, "save_freq", "epoch") for callback in backups):
            if save_freq != "epoch" and save_freq is not False and not self._has_warned:
                self._has_warned = True
                warnings.warn(
                    f"{self._name}: BackupAndRestore(save_freq={save_freq}) keeps no place within an epoch: a run that goes on "
                    "begins that epoch again, and trains on its first samples twice: take kseq.ResumeTraining",
                    stacklevel=2,
                )

    def position(self, adapter: Any, num_taken: int) -> tuple[int, int]:
        """The epoch and the number of the batch that follows on those that a training took.

        Args:
            adapter: Keras's adapter.
            num_taken: How many batches the training took of the pass that is going on; 0 if none is, or none were.
        """
        with self._locked():
            return self._keras.position(adapter, num_taken)

    def on_epoch_end(self, sequence: Any, caller: FrameType) -> None:
        """Somebody has called `sequence.on_epoch_end`."""
        call = find_keras_call(caller, sequence, self._keras_module)
        if call is not None and call.is_reset and call.is_over_this:
            forget_initial_epoch(call.frame)
        with self._locked():
            if call is None or not self._keras.end(call):
                self._plain.end()

    def find(self, sequence: Any, number: int, caller: FrameType) -> tuple[int, int]:
        """The epoch and the number of the batch that `sequence[number]` was just before, or would be now; changes nothing."""
        call = find_keras_call(caller, sequence, self._keras_module)
        with self._locked():
            found = None if call is None else self._keras.peek(call, number)
            return (self._plain.epoch_read(number), number) if found is None else found

    def begin(self, after: Pass | None = None) -> Pass:
        """An iterator begins a pass; one that follows on another, complete one is of the epoch after that."""
        with self._locked():
            return self._count.begin(after)

    def will_finish(self, served: Pass) -> None:
        """An iterator hands out its last batch."""
        with self._locked():
            self._count.will_finish(served)

    def finish(self, served: Pass) -> None:
        """An iterator has ended, or was let go, after it handed out its last batch."""
        with self._locked():
            self._count.finish(served)
