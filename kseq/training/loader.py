"""Batches filled by threads or processes, some of them read ahead; no Keras."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import threading
import weakref
from collections import deque
from collections.abc import Collection, Mapping
from concurrent.futures import CancelledError, Future
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from kseq.arguments import seconds, whole
from kseq.errors import ArgumentError, ClosedError, KseqError, WorkerDiedError
from kseq.ordering.epoch_order import Order
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.training.batch_maker import BatchMaker
from kseq.training.buffers import ArraySpec, AttachedBuffers, BufferPool
from kseq.workers import IDLE_SECONDS, WorkerPool

__all__ = ["LoadedBatch", "Loader"]

# The samples of so many batches are computed at once: for 4,096 samples that takes about twice as long as for 128.
_ORDERED_AT_ONCE = 32

# Batches that were read ahead take at most this much memory, whatever their number.
_AHEAD_BYTES = 1 << 30

# So many passes at once are read ahead: two iterators, say, and an evaluation. Others read when they are asked.
_MOST_READERS = 4

# So many batches at the beginning are looked at before a pass, by Keras for their shapes: what follows on them stays.
_MOST_LOOKS = 2

# After so many batches for others, a pass that asks for none has broken off, or waits for a whole evaluation.
_PATIENCE = 16

# The disk is asked for a window in about so many pieces: `close` waits for one of them, and drops the rest.
_PIECES_PER_WINDOW = 32

# In a worker process: what fills the batches, pickled and unpickled, and the buffers of the parent that are mapped here.
_pickled = b""
_maker: BatchMaker | None = None
_attached = AttachedBuffers()


def _start_worker(pickled: bytes) -> None:
    global _pickled
    _pickled = pickled


def _fill_in_worker(
    name: str,
    names: Collection[str],
    specs: Mapping[str, ArraySpec],
    start: int,
    sample_ids: np.ndarray,
    epoch: int,
    turns: np.ndarray,
) -> None:
    global _maker
    if _maker is None:
        # Not when the process starts: an error there would only end the process, here it reaches the caller.
        _maker = _unpickle(_pickled)
    _attached.forget_others(names)
    _maker.fill(_attached.arrays(name, specs), start, sample_ids, epoch, turns)


def _will_need(dataset: ShardDataset, sample_ids: np.ndarray) -> None:
    sample_reader(dataset).locate(sample_ids).will_need()


def _pickle(maker: BatchMaker) -> bytes:
    try:
        return pickle.dumps(maker)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ArgumentError(
            f"use_multiprocessing=True: augment cannot be sent to worker processes ({error}): "
            "define the classes of augmentations at the top level of a module"
        ) from error


def _unpickle(pickled: bytes) -> BatchMaker:
    try:
        maker: BatchMaker = pickle.loads(pickled)
    except (AttributeError, ImportError) as error:
        raise ArgumentError(
            f"use_multiprocessing=True: a worker process cannot load augment ({error}): "
            "define the classes of augmentations in a module that can be imported, not in the script itself"
        ) from error
    return maker


def _keep_alive(arrays: Mapping[str, np.ndarray], filling: Future) -> None:
    """Does nothing: as a callback of a future, it keeps the arrays alive until the future is done."""


def _trim(buffers: weakref.ref[BufferPool], most: int) -> None:
    """Free idle buffers.

    It gets a weak reference because in a forked child, the stack of the thread that would call this is never freed, and would
    keep the buffers.
    """
    pool = buffers()
    if pool is not None:
        pool.trim(most)


class LoadedBatch(NamedTuple):
    """A filled batch.

    Attributes:
        arrays: Its arrays by field name.
        positions: `(n,)` int64: where its samples are in the split.
    """

    arrays: dict[str, np.ndarray]
    positions: np.ndarray


class _Drawn(NamedTuple):
    """The samples of a batch: `(n,)` int64 sample ids, turns (see `Order.draw_batches`), and positions in the split."""

    sample_ids: np.ndarray
    turns: np.ndarray
    positions: np.ndarray


class _Pending:
    """A batch whose rows are being filled.

    Args:
        arrays: The arrays of the batch.
        positions: Where its samples are in the split.
        fillings: What is done when some of its rows are filled.
    """

    def __init__(self, arrays: dict[str, np.ndarray], positions: np.ndarray, fillings: list[Future]) -> None:
        self._arrays = arrays
        self._positions = positions
        self._fillings = fillings
        self.num_bytes = sum(array.nbytes for array in arrays.values())

    def wait(self) -> LoadedBatch:
        # An error refers to the variables of all functions that it went through. If they referred to the future that holds the
        # error, only the garbage collector would free the arrays.
        fillings, self._fillings = deque(self._fillings), []
        while fillings:
            fillings.popleft().result()
        return LoadedBatch(self._arrays, self._positions)

    def cancel(self) -> None:
        for filling in self._fillings:
            filling.cancel()


class _Reader:
    """Somebody who asks for the batches of an epoch in sequence, and what was begun ahead for them.

    Args:
        epoch: The epoch.
        number: The batch that is asked for first.
    """

    def __init__(self, epoch: int, number: int) -> None:
        self.epoch = epoch
        self.next_number = number
        # By batch number.
        self.pending: dict[int, _Pending] = {}
        # When it asked last, in batches that anybody asked for.
        self.last_call = 0
        # Held by the one thread that begins batches ahead; other threads do not wait for it. Guards `ordered`.
        self.ahead = threading.Lock()
        self.ordered: dict[int, _Drawn] = {}

    def take(self, number: int, depth: int) -> tuple[_Pending | None, list[_Pending]]:
        """The batch if it was begun ahead, and those that were begun near another number, which are of no use any more."""
        self.next_number = number + 1
        pending = self.pending.pop(number, None)
        far = [other for other in self.pending if abs(other - number) > depth + _MOST_LOOKS]
        return pending, [self.pending.pop(other) for other in far]


class Loader:
    """Makes any batch of any epoch, and reads ahead where batch numbers come in sequence.

    Several may read at once, each in a sequence of its own: who asks for the number that comes next in a sequence goes on with
    it. The workers share the rows of a batch. Safe to use from many threads and after a fork.

    Args:
        maker: Fills the rows.
        order: Says which samples each batch holds.
        workers: Threads or processes; 0 to read in the calling thread, without reading ahead.
        use_multiprocessing: Processes instead of threads.
        max_queue_size: How many batches to read ahead at most.
        idle_seconds: How long workers without a task stay.
        niceness: By how many steps, 0 to 19, workers stand back from all other threads of the machine; only on Linux.

    Raises:
        ArgumentError: If a number is not allowed, or if an augmentation cannot be sent to worker processes.
    """

    def __init__(
        self,
        maker: BatchMaker,
        order: Order,
        *,
        workers: int,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
        idle_seconds: float = IDLE_SECONDS,
        niceness: int = 0,
    ) -> None:
        self._maker = maker
        self._order = order
        self._workers = whole("workers", workers, 0)
        self._processes = use_multiprocessing and workers > 0
        most = max(1, _AHEAD_BYTES // max(maker.batch_bytes(order.batch_size), 1))
        # How many batches are begun ahead: for all readers together, and for one.
        self._most = most
        self._depth = min(whole("max_queue_size", max_queue_size, 1), most)
        self._idle_seconds = seconds("idle_seconds", idle_seconds)
        self._niceness = whole("niceness", niceness, 0, 19)
        # Fewer rows than this cost more to hand over than to fill.
        self._least_rows = maker.least_rows(order.batch_size)
        # For so many samples the disk is asked in one task: at least for a batch, so that it costs one task.
        self._piece = max(order.batch_size, order.window // _PIECES_PER_WINDOW)
        self._closed = False
        # Guards the start in a forked child, where several threads may notice at once that it is needed.
        self._starting = threading.Lock()
        self._start()

    def _start(self) -> None:
        # A process of a multiprocessing.Pool may have no children of its own.
        processes = self._processes and not multiprocessing.current_process().daemon
        self._buffers = BufferPool(shared=processes, most_bytes=2 * _AHEAD_BYTES)
        self._pool = WorkerPool(
            self._workers,
            processes=processes,
            initializer=_start_worker,
            initargs=(_pickle(self._maker),) if processes else (),
            # Keeps what the next epoch begins with, and frees the memory of a backlog.
            on_idle=functools.partial(_trim, weakref.ref(self._buffers), self._depth + 2),
            idle_seconds=self._idle_seconds,
            niceness=self._niceness,
        )
        self._in_processes = processes
        # Asks the disk ahead; if it is slow, only this thread waits.
        self._advance = WorkerPool(1, processes=False, idle_seconds=self._idle_seconds, niceness=self._niceness)
        self._readers: list[_Reader] = []
        self._num_calls = 0
        # The epochs and numbers that would follow on batches that came in no sequence yet.
        self._continuations: deque[tuple[int, int]] = deque(maxlen=2 * _MOST_READERS)
        # By epoch, the batches that the disk was asked for. No lock: at worst, it is asked twice for some.
        self._asked: dict[int, range] = {}
        # Guards `_readers` and all but the order of each, `_num_calls` and `_continuations`, and that nothing becomes pending
        # once `_closed` is set. Batches are begun and awaited without it.
        self._lock = threading.Lock()
        # Last: a thread that finds its own process here may use all of the above.
        self._process = os.getpid()

    def _start_in_child(self) -> None:
        """Start anew: a fork copies neither the threads nor a usable state of the locks."""
        with self._starting:
            if self._process != os.getpid() and not self._closed:
                self._start()

    def batch(self, epoch: int, batch_number: int) -> dict[str, np.ndarray]:
        """The arrays of one batch by field name, as `load` returns them."""
        return self.load(epoch, batch_number).arrays

    def load(self, epoch: int, batch_number: int) -> LoadedBatch:
        """One batch.

        The arrays belong to the caller: nothing writes to them while anything refers to them.

        Raises:
            OutOfRangeError: If there is no such batch number.
            DamagedError: If stored bytes have changed, or a shard is missing.
            WorkerDiedError: If a worker process was killed.
            ClosedError: After `close`, or if it is called meanwhile.
        """
        if self._process != os.getpid():
            self._start_in_child()
        if self._closed:
            raise self._closed_error()
        try:
            if self._workers == 0:
                return self._fill_here(epoch, batch_number)
            reader, pending = self._find(epoch, batch_number)
            if pending is None:
                # Out of sequence only once in an epoch: somebody may be asking for any numbers.
                if reader is not None or epoch not in self._asked:
                    self._ask_ahead(epoch, batch_number)
                pending = self._begin(epoch, *self._samples(epoch, batch_number))
            if reader is not None:
                self._read_ahead(reader, batch_number)
            try:
                return pending.wait()
            except Exception:
                # The same may have befallen what was begun ahead, and be over when that is asked for.
                self._drop(() if reader is None else (reader,))
                raise
        except (CancelledError, ClosedError) as error:
            raise self._closed_error() from error
        except WorkerDiedError as error:
            raise WorkerDiedError(f"{self._maker.dataset.path}: {error}") from error

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"{self._maker.dataset.path}: it was closed")

    def _fill_here(self, epoch: int, batch_number: int) -> LoadedBatch:
        drawn = self._samples(epoch, batch_number)
        arrays = self._buffers.take(self._maker.specs(drawn.sample_ids)).arrays
        self._maker.fill(arrays, 0, drawn.sample_ids, epoch, drawn.turns)
        return LoadedBatch(arrays, drawn.positions)

    def sample_ids(self, epoch: int, batch_number: int) -> np.ndarray:
        """`(n,)` int64: the samples of a batch."""
        return self._samples(epoch, batch_number).sample_ids

    def _samples(self, epoch: int, batch_number: int) -> _Drawn:
        ((positions, turns),) = self._order.draw_batches(epoch, range(batch_number, batch_number + 1))
        return _Drawn(self._maker.dataset.sample_ids(positions), turns, positions)

    def _find(self, epoch: int, batch_number: int) -> tuple[_Reader | None, _Pending | None]:
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

    def _has_ended(self, reader: _Reader) -> bool:
        has_all = reader.next_number >= self._order.num_batches and not reader.pending
        return has_all or reader.last_call + _PATIENCE < self._num_calls

    def _reader_of(self, epoch: int, batch_number: int) -> _Reader | None:
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

    def _new_reader(self, epoch: int, batch_number: int) -> _Reader | None:
        """None if there are enough: to drop what was begun for another would only move the trouble to that one."""
        if self._closed or len(self._readers) >= _MOST_READERS:
            return None
        reader = _Reader(epoch, batch_number)
        self._readers.append(reader)
        return reader

    def _read_ahead(self, reader: _Reader, batch_number: int) -> None:
        """Begin the next batches of a sequence, as many as may wait."""
        if not reader.ahead.acquire(blocking=False):
            return
        try:
            with self._lock:
                depth = max(1, min(self._depth, self._most // max(len(self._readers), 1)))
                last = min(batch_number + 1 + depth, self._order.num_batches)
                unknown = [number for number in range(batch_number + 1, last) if number not in reader.pending]
            for number in unknown:
                try:
                    self._ask_ahead(reader.epoch, number)
                    pending = self._begin(reader.epoch, *self._next_samples(reader, number))
                except KseqError:
                    # It is raised once that batch is asked for.
                    return
                with self._lock:
                    is_wanted = not self._closed and reader in self._readers
                    if is_wanted:
                        reader.pending[number] = pending
                    # Batches whose samples differ in length may be larger than they were thought to be.
                    is_enough = self._bytes_ahead() >= _AHEAD_BYTES
                if not is_wanted:
                    pending.cancel()
                if not is_wanted or is_enough:
                    return
        finally:
            reader.ahead.release()

    def _bytes_ahead(self) -> int:
        """The memory of all batches that were begun ahead."""
        return sum(pending.num_bytes for reader in self._readers for pending in reader.pending.values())

    def _ask_ahead(self, epoch: int, batch_number: int) -> None:
        """Ask the operating system to read what a shuffle by blocks needs soon."""
        positions, asked = self._order.read_ahead(epoch, batch_number, self._asked.get(epoch, range(0)))
        self._asked[epoch] = asked
        for old in list(self._asked)[:-_MOST_READERS]:
            self._asked.pop(old, None)
        dataset = self._maker.dataset
        for start in range(0, len(positions), self._piece):
            self._advance.submit(_will_need, dataset, dataset.sample_ids(positions[start : start + self._piece]))

    def _next_samples(self, reader: _Reader, batch_number: int) -> _Drawn:
        """The same as `_samples`, faster for batches that are begun one after the other."""
        if batch_number not in reader.ordered:
            numbers = range(batch_number, min(batch_number + _ORDERED_AT_ONCE, self._order.num_batches))
            drawn = self._order.draw_batches(reader.epoch, numbers)
            sample_ids = self._maker.dataset.sample_ids(np.concatenate([positions for positions, _ in drawn]))
            ids_of_batches = np.split(sample_ids, np.cumsum([len(turns) for _, turns in drawn])[:-1])
            reader.ordered = {
                number: _Drawn(ids, turns, positions)
                for number, ids, (positions, turns) in zip(numbers, ids_of_batches, drawn, strict=True)
            }
        return reader.ordered.pop(batch_number)

    def _begin(self, epoch: int, sample_ids: np.ndarray, turns: np.ndarray, positions: np.ndarray) -> _Pending:
        """Take a buffer and hand its rows to the workers."""
        specs = self._maker.specs(sample_ids)
        buffer = self._buffers.take(specs)
        count = max(1, min(self._workers, len(sample_ids) // self._least_rows))
        edges = [len(sample_ids) * number // count for number in range(count + 1)]
        names = self._buffers.names() if self._in_processes else ()
        fillings = []
        for start, end in pairwise(edges):
            samples = (sample_ids[start:end], epoch, turns[start:end])
            if self._in_processes:
                filling = self._pool.submit(_fill_in_worker, buffer.name, names, specs, start, *samples)
            else:
                filling = self._pool.submit(self._maker.fill, buffer.arrays, start, *samples)
            # Keeps the pool from using the buffer again while a worker may still write to it, even if nobody waits.
            filling.add_done_callback(functools.partial(_keep_alive, buffer.arrays))
            fillings.append(filling)
        return _Pending(buffer.arrays, positions, fillings)

    def _drop(self, readers: Collection[_Reader] | None = None) -> None:
        """Forget readers, all of them by default, and what was begun ahead for them."""
        with self._lock:
            dropped = [reader for reader in self._readers if readers is None or reader in readers]
            self._readers = [reader for reader in self._readers if reader not in dropped]
            pending = [pending for reader in dropped for pending in reader.pending.values()]
        for other in pending:
            other.cancel()

    def close(self) -> None:
        """End the workers, close the files and free the memory; batches that were handed out stay valid."""
        self._closed = True
        if self._process == os.getpid():
            self._drop()
            self._advance.close()
            self._pool.close()
            self._buffers.close()
            self._maker.dataset.close()
