"""Who reads the batches of an epoch in sequence, and what was begun ahead for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from kseq.training.stage_times import NO_TIMES, StageTimes, sum_times

__all__ = ["MOST_READERS", "DamagedRow", "Drawn", "Filled", "LoadedBatch", "Pending", "Reader", "Readers", "Rows"]

# So many passes at once are read ahead: two iterators, say, and an evaluation. Others read when they are asked.
MOST_READERS = 4

# So many batches at the beginning are looked at before a pass, by Keras for their shapes: what follows on them stays.
_MOST_LOOKS = 2

# After so many batches for others, a pass that asks for none has broken off, or waits for a whole evaluation.
_PATIENCE = 16


class DamagedRow(NamedTuple):
    """A row of a batch that could not be filled, since its sample is damaged, and what is wrong with that."""

    row: int
    reason: str


class Filled(NamedTuple):
    """What filling some rows came to: those that are damaged, and the time that it took."""

    damaged: Sequence[DamagedRow] = ()
    times: StageTimes = NO_TIMES

    def then(self, other: Filled) -> Filled:
        """What filling these rows and others came to."""
        return Filled([*self.damaged, *other.damaged], sum_times(self.times, other.times))


class LoadedBatch(NamedTuple):
    """A filled batch.

    Attributes:
        arrays: Its arrays by field name.
        positions: `(n,)` int64: where its samples are in the split.
        is_counted: `(n,)` bool: whether each row counts, or only fills the batch up; it belongs to this batch alone.
        damaged: The rows that hold no sample; none unless damage is tolerated.
        times: What it took to fill it.
    """

    arrays: dict[str, np.ndarray]
    positions: np.ndarray
    is_counted: np.ndarray
    damaged: Sequence[DamagedRow] = ()
    times: StageTimes = NO_TIMES


class Drawn(NamedTuple):
    """The samples of a batch: `(n,)` int64 sample ids, turns, positions in the split, and `(n,)` bool whether rows count.

    All but the sample ids are those of a `kseq.ordering.epoch_order.DrawnBatch`.
    """

    sample_ids: np.ndarray
    turns: np.ndarray
    positions: np.ndarray
    is_counted: np.ndarray


class Rows(NamedTuple):
    """Some rows of a batch, which one worker fills.

    Attributes:
        start: The first of them.
        sample_ids: `(n,)` int64: what goes into them.
        epoch: The epoch that augmentations are drawn for.
        turns: `(n,)` int64: how often each sample came before in the epoch.
    """

    start: int
    sample_ids: np.ndarray
    epoch: int
    turns: np.ndarray

    def singles(self) -> list[Rows]:
        """The rows one by one."""
        count = len(self.sample_ids)
        return [Rows(self.start + at, self.sample_ids[at : at + 1], self.epoch, self.turns[at : at + 1]) for at in range(count)]


class Pending:
    """A batch whose rows are being filled.

    Args:
        arrays: The arrays of the batch.
        name: By which worker processes map them; None if only this process fills them.
        drawn: Its samples.

    Attributes:
        arrays: As passed.
        name: As passed.
    """

    def __init__(self, arrays: dict[str, np.ndarray], name: str | None, drawn: Drawn) -> None:
        self.arrays = arrays
        self.name = name
        self._drawn = drawn
        self._fillings: deque[tuple[Future, Rows]] = deque()
        self.num_bytes = sum(array.nbytes for array in arrays.values())

    def add(self, filling: Future, rows: Rows) -> None:
        """Some of its rows are being filled: `filling` is done when they are."""
        self._fillings.append((filling, rows))

    @property
    def unfilled(self) -> np.ndarray:
        """`(n,)` int64: the samples that are still waited for."""
        # The first rows, whose turn it is, may have to be filled again.
        ids = [rows.sample_ids for at, (filling, rows) in enumerate(list(self._fillings)) if at == 0 or not filling.done()]
        return np.concatenate([np.empty(0, np.int64), *ids])

    def wait(self, finish: Callable[[Future, Rows], Filled]) -> LoadedBatch:
        """The batch; `finish` waits for some of its rows, or fills them otherwise."""
        filled: Filled | None = None
        try:
            while self._fillings:
                more = finish(*self._fillings[0])
                filled = more if filled is None else filled.then(more)
                self._fillings.popleft()
        except BaseException:
            # An error refers to the variables of all functions that it went through. If they referred to the future that holds
            # the error, only the garbage collector would free the arrays.
            self._fillings.clear()
            raise
        return LoadedBatch(self.arrays, self._drawn.positions, self._drawn.is_counted, *(filled or ()))

    def cancel(self) -> None:
        for filling, _ in list(self._fillings):
            filling.cancel()


class Reader:
    """Somebody who asks for the batches of an epoch in sequence, and what was begun ahead for them.

    Args:
        epoch: The epoch.
        number: The batch that is asked for first.
    """

    def __init__(self, epoch: int, number: int) -> None:
        self.epoch = epoch
        self.next_number = number
        # By batch number.
        self.pending: dict[int, Pending] = {}
        # When it asked last, in batches that anybody asked for.
        self.last_call = 0
        # Held by the one thread that begins batches ahead; other threads do not wait for it. Guards `ordered`.
        self.ahead = threading.Lock()
        self.ordered: dict[int, Drawn] = {}

    def take(self, number: int, depth: int) -> tuple[Pending | None, list[Pending]]:
        """The batch if it was begun ahead, and those that were begun near another number, which are of no use any more."""
        self.next_number = number + 1
        pending = self.pending.pop(number, None)
        far = [other for other in self.pending if abs(other - number) > depth + _MOST_LOOKS]
        return pending, [self.pending.pop(other) for other in far]


class Readers:
    """All that read at once, each in a sequence of its own. Safe to use from many threads.

    Args:
        num_batches: Batches per epoch.
        depth: How many batches are begun ahead for one reader.
        most: How many for all readers together.
    """

    def __init__(self, num_batches: int, depth: int, most: int) -> None:
        self._num_batches = num_batches
        self._depth = depth
        self._most = most
        self._readers: list[Reader] = []
        self._num_calls = 0
        # The epochs and numbers that would follow on batches that came in no sequence yet.
        self._continuations: deque[tuple[int, int]] = deque(maxlen=2 * MOST_READERS)
        self._closed = False
        # Guards all of these, and of each reader all but the order. Batches are begun and awaited without it.
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Reader]:
        with self._lock:
            return iter(list(self._readers))

    def find(self, epoch: int, batch_number: int) -> tuple[Reader | None, Pending | None]:
        """Whose sequence a batch belongs to, if to any, and the batch if it was begun ahead."""
        with self._lock:
            self._num_calls += 1
            gone = [reader for reader in self._readers if self._has_ended(reader)]
            self._readers = [reader for reader in self._readers if reader not in gone]
            useless = [pending for reader in gone for pending in reader.pending.values()]
            pending = None
            reader = self._reader_of(epoch, batch_number)
            if reader is None:
                self._continuations.append((epoch, batch_number + 1))
            else:
                reader.last_call = self._num_calls
                pending, far = reader.take(batch_number, self._depth)
                useless += far
        # Without the lock, since it calls back.
        for other in useless:
            other.cancel()
        return reader, pending

    def _has_ended(self, reader: Reader) -> bool:
        has_all = reader.next_number >= self._num_batches and not reader.pending
        return has_all or reader.last_call + _PATIENCE < self._num_calls

    def _reader_of(self, epoch: int, batch_number: int) -> Reader | None:
        readers = [reader for reader in self._readers if reader.epoch == epoch]
        for reader in readers:
            if reader.next_number == batch_number:
                return reader
        for reader in readers:
            # Several threads share a sequence.
            if batch_number in reader.pending:
                return reader
        if batch_number == 0:
            # Somebody had a look at the beginning: what was read ahead serves the pass that follows.
            near = [reader for reader in readers if reader.next_number <= self._depth]
            return near[0] if near else self._new_reader(epoch, batch_number)
        if (epoch, batch_number) in self._continuations:
            self._continuations.remove((epoch, batch_number))
            return self._new_reader(epoch, batch_number)
        return None

    def _new_reader(self, epoch: int, batch_number: int) -> Reader | None:
        """None if there are enough: to drop what was begun for another would only move the trouble to that one."""
        if self._closed or len(self._readers) >= MOST_READERS:
            return None
        reader = Reader(epoch, batch_number)
        self._readers.append(reader)
        return reader

    def missing(self, reader: Reader, batch_number: int) -> list[int]:
        """The batches behind one that are to be begun for a reader."""
        with self._lock:
            depth = max(1, min(self._depth, self._most // max(len(self._readers), 1)))
            last = min(batch_number + 1 + depth, self._num_batches)
            return [number for number in range(batch_number + 1, last) if number not in reader.pending]

    def add(self, reader: Reader, number: int, pending: Pending) -> bool:
        """Keep a batch that was begun for a reader; False, and it is cancelled, where the reader has gone meanwhile."""
        with self._lock:
            is_wanted = not self._closed and reader in self._readers
            if is_wanted:
                reader.pending[number] = pending
        if not is_wanted:
            pending.cancel()
        return is_wanted

    @property
    def num_bytes(self) -> int:
        """The memory of all batches that were begun ahead."""
        with self._lock:
            return sum(pending.num_bytes for reader in self._readers for pending in reader.pending.values())

    def drop(self, reader: Reader | None) -> None:
        """Forget a reader, and what was begun ahead for it."""
        self._drop([reader] if reader is not None else [])

    def close(self) -> None:
        """Forget all; nothing is kept from now on."""
        with self._lock:
            self._closed = True
            everyone = self._readers
        self._drop(everyone)

    def _drop(self, dropped: list[Reader]) -> None:
        with self._lock:
            pending = [pending for reader in dropped if reader in self._readers for pending in reader.pending.values()]
            self._readers = [reader for reader in self._readers if reader not in dropped]
        for other in pending:
            other.cancel()
