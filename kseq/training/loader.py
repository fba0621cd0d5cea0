"""Batches filled by threads or processes, some of them read ahead; no Keras."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import threading
import weakref
from collections.abc import Collection, Mapping
from concurrent.futures import CancelledError, Future
from itertools import pairwise

import numpy as np

from kseq.arguments import seconds, whole
from kseq.errors import ArgumentError, ClosedError, KseqError, WorkerDiedError
from kseq.ordering.epoch_order import Order
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.training.batch_maker import BatchMaker
from kseq.training.buffers import ArraySpec, AttachedBuffers, BufferPool
from kseq.training.read_ahead import MOST_READERS, Drawn, LoadedBatch, Pending, Reader, Readers
from kseq.workers import IDLE_SECONDS, WorkerPool

__all__ = ["Loader"]

# The samples of so many batches are computed at once: for 4,096 samples that takes about twice as long as for 128.
_ORDERED_AT_ONCE = 32

# Batches that were read ahead take at most this much memory, whatever their number.
_AHEAD_BYTES = 1 << 30

# So many batches are begun with each one that is asked for: reading gets ahead step by step, so that the first batch does not
# wait for the others, and who wants a single one does not read many.
_MOST_BEGUN = 3

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
        self._readers = Readers(self._order.num_batches, self._depth, self._most)
        # By epoch, the batches that the disk was asked for. No lock: at worst, it is asked twice for some.
        self._asked: dict[int, range] = {}
        # Last: a thread that finds its own process here may use all of the above.
        self._process = os.getpid()

    def _start_in_child(self) -> None:
        """Start anew: a fork copies neither the threads nor a usable state of the locks."""
        with self._starting:
            if self._process != os.getpid() and not self._closed:
                self._start()

    def set_order(self, order: Order) -> None:
        """Go on in another order of the same samples; what was begun ahead is dropped."""
        self._order = order
        for reader in self._readers:
            self._readers.drop(reader)
        self._asked.clear()

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
            reader, pending = self._readers.find(epoch, batch_number)
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
                self._readers.drop(reader)
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

    def _samples(self, epoch: int, batch_number: int) -> Drawn:
        ((positions, turns),) = self._order.draw_batches(epoch, range(batch_number, batch_number + 1))
        return Drawn(self._maker.dataset.sample_ids(positions), turns, positions)

    def _read_ahead(self, reader: Reader, batch_number: int) -> None:
        """Begin the next batches of a sequence, as many as may wait."""
        if not reader.ahead.acquire(blocking=False):
            return
        try:
            for number in self._readers.missing(reader, batch_number)[:_MOST_BEGUN]:
                try:
                    self._ask_ahead(reader.epoch, number)
                    pending = self._begin(reader.epoch, *self._next_samples(reader, number))
                except KseqError:
                    # It is raised once that batch is asked for.
                    return
                if not self._readers.add(reader, number, pending):
                    return
                # Batches whose samples differ in length may be larger than they were thought to be.
                if self._readers.num_bytes >= _AHEAD_BYTES:
                    return
        finally:
            reader.ahead.release()

    def _ask_ahead(self, epoch: int, batch_number: int) -> None:
        """Ask the operating system to read what a shuffle by blocks needs soon."""
        positions, asked = self._order.read_ahead(epoch, batch_number, self._asked.get(epoch, range(0)))
        self._asked[epoch] = asked
        for old in list(self._asked)[:-MOST_READERS]:
            self._asked.pop(old, None)
        dataset = self._maker.dataset
        for start in range(0, len(positions), self._piece):
            self._advance.submit(_will_need, dataset, dataset.sample_ids(positions[start : start + self._piece]))

    def _next_samples(self, reader: Reader, batch_number: int) -> Drawn:
        """The same as `_samples`, faster for batches that are begun one after the other."""
        if batch_number not in reader.ordered:
            numbers = range(batch_number, min(batch_number + _ORDERED_AT_ONCE, self._order.num_batches))
            drawn = self._order.draw_batches(reader.epoch, numbers)
            sample_ids = self._maker.dataset.sample_ids(np.concatenate([positions for positions, _ in drawn]))
            ids_of_batches = np.split(sample_ids, np.cumsum([len(turns) for _, turns in drawn])[:-1])
            reader.ordered = {
                number: Drawn(ids, turns, positions)
                for number, ids, (positions, turns) in zip(numbers, ids_of_batches, drawn, strict=True)
            }
        return reader.ordered.pop(batch_number)

    def _begin(self, epoch: int, sample_ids: np.ndarray, turns: np.ndarray, positions: np.ndarray) -> Pending:
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
        return Pending(buffer.arrays, positions, fillings)

    def close(self) -> None:
        """End the workers, close the files and free the memory; batches that were handed out stay valid."""
        self._closed = True
        if self._process == os.getpid():
            self._readers.close()
            self._advance.close()
            self._pool.close()
            self._buffers.close()
            self._maker.dataset.close()
