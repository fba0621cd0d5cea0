"""The passes of Keras over a Sequence, each known by the generator with which Keras iterates.

What Keras does, from 3.10 to 3.16 (`trainers/data_adapters/py_dataset_adapter.py`, `trainers/epoch_iterator.py`):

- `PyDatasetAdapter._finite_generator` is a pass. When it starts, it reads `num_batches`; then it asks for each number, in an
  order that Keras may have shuffled. On tensorflow, tf.data runs it in threads of its own, and fetches ahead.
- Before, `get_tf_dataset` reads up to two batches to learn shapes. On jax and torch a generator is started for that, if the
  model is not built, and thrown away by `EpochIterator.reset`, which calls `on_epoch_end`.
- `on_epoch_end` also ends each epoch of Keras's, unless that breaks off. With `steps_per_epoch`, one generator serves several
  of them, until the training has taken its last batch.
"""

from __future__ import annotations

import weakref
from typing import Any

from kseq.training.callers import KerasCall, KerasGenerator
from kseq.training.epoch_count import EpochCount, Pass

__all__ = ["KerasPasses"]


class _Tickets:
    """A pass of Keras: which batch each number is that Keras asks for.

    Args:
        current: The pass.
        generator: Keras's generator.
        batches: The numbers of the batches that it serves, in their order.
        is_addressed: Whether a number is the batch of this number.
    """

    def __init__(self, current: Pass, generator: KerasGenerator | None, batches: range, is_addressed: bool) -> None:
        self.current = current
        self.generator = generator
        self.is_addressed = is_addressed
        self._batches = batches
        self._num_taken = 0
        # What each number got; empty as long as each got the batch of its own number.
        self._by_number: dict[int, int] = {}

    def batch(self, number: int) -> int:
        """The batch for a number: the next one, or the same as before for a number that came already."""
        batch = self.peek(number)
        if not self.is_complete and not self._came(number):
            if self._by_number or batch != self._batches[self._num_taken] or batch != number:
                self._by_number = self._by_number or {taken: taken for taken in self._batches[: self._num_taken]}
                self._by_number[number] = batch
            self._num_taken += 1
        return batch

    def peek(self, number: int) -> int:
        """The batch that a number has got, or would get now."""
        if self._came(number):
            return self._by_number.get(number, number)
        return number if self.is_addressed or self.is_complete else self._batches[self._num_taken]

    def _came(self, number: int) -> bool:
        return number in (self._by_number or self._batches[: self._num_taken])

    @property
    def is_complete(self) -> bool:
        return self._num_taken >= len(self._batches)


class _Iteration:
    """All passes of one adapter of Keras: the one that is going on, and the last one that was complete."""

    def __init__(self) -> None:
        self.tickets: _Tickets | None = None
        self.last: Pass | None = None

    def finish(self, count: EpochCount) -> None:
        """Count the pass that is going on if all its batches were served."""
        if self.tickets is not None and self.tickets.is_complete:
            self.last = self.tickets.current
            count.finish(self.last)


class KerasPasses:
    """Which epoch and batch each call of Keras is for; not safe to use from several threads at once.

    Args:
        count: Counts the epochs.
    """

    def __init__(self, count: EpochCount) -> None:
        self._count = count
        self._iterations: weakref.WeakKeyDictionary[Any, _Iteration] = weakref.WeakKeyDictionary()

    def start(self, call: KerasCall) -> int:
        """The number of the batch with which the pass of a generator of Keras's begins."""
        iteration = self._iterations.get(call.adapter)
        tickets = None if iteration is None or call.generator is None else iteration.tickets
        return 0 if tickets is None else tickets.current.start

    def num_left(self, call: KerasCall, length: int) -> int | None:
        """How many batches the next pass of Keras's has if it begins within an epoch; None for a whole pass."""
        start = self._count.first_number(self._count.expected(self._iteration(call.adapter).last))
        return length - start if start else None

    def position(self, adapter: Any, num_taken: int) -> tuple[int, int]:
        """The epoch and the number of the batch that an adapter serves next.

        Args:
            adapter: Keras's adapter.
            num_taken: How many batches the training took of the pass that is going on; 0 if none is, or none were.
        """
        iteration = self._iteration(adapter)
        if num_taken and iteration.tickets is not None:
            current = iteration.tickets.current
            return current.epoch, current.start + num_taken
        epoch = self._count.expected(iteration.last)
        return epoch, self._count.first_number(epoch)

    def begin(self, call: KerasCall, length: int) -> None:
        """Keras has read `num_batches`: a generator of it does so when it starts."""
        if call.generator is not None:
            self._begin(self._iteration(call.adapter), call, length)

    def locate(self, call: KerasCall, number: int, length: int) -> tuple[int, int]:
        """The epoch and the number of the batch that Keras is to get for a number, in a pass of `length` batches."""
        iteration = self._iteration(call.adapter)
        if call.generator is None:
            epoch = self._count.expected(iteration.last)
            first = self._count.first_number(epoch)
            return epoch, first + number % (length - first)
        tickets = iteration.tickets
        is_over = tickets is not None and tickets.is_addressed and tickets.is_complete
        if tickets is None or tickets.generator != call.generator or is_over:
            tickets = self._begin(iteration, call, length)
        batch = tickets.batch(number)
        if tickets.is_addressed:
            # Another Sequence reads this one: Keras does not say here when its epochs end.
            iteration.finish(self._count)
        return tickets.current.epoch, batch

    def peek(self, call: KerasCall, number: int) -> tuple[int, int] | None:
        """What `locate` has returned for a number in the pass that is going on, or would return; None without such a pass."""
        iteration = self._iterations.get(call.adapter)
        tickets = None if iteration is None else iteration.tickets
        if tickets is None or tickets.generator is None or tickets.generator != call.generator:
            return None
        return tickets.current.epoch, tickets.peek(number)

    def end(self, call: KerasCall) -> bool:
        """Keras has called `on_epoch_end`; False if that says nothing of a pass here."""
        iteration = self._iterations.get(call.adapter)
        if call.is_reset:
            if iteration is not None:
                iteration.tickets = None
            return True
        if iteration is None or iteration.tickets is None:
            return False
        if not call.is_within_pass:
            iteration.finish(self._count)
            # Keras's next generator may get the place in memory that this one had.
            iteration.tickets.generator = None
        return True

    def _iteration(self, adapter: Any) -> _Iteration:
        return self._iterations.setdefault(adapter, _Iteration())

    def _begin(self, iteration: _Iteration, call: KerasCall, length: int) -> _Tickets:
        # Keras starts no other generator before the one before has served its last batch, unless it has reset its iterator.
        iteration.finish(self._count)
        current = self._count.begin(iteration.last)
        iteration.tickets = _Tickets(current, call.generator, range(current.start, length), is_addressed=not call.is_over_this)
        return iteration.tickets
