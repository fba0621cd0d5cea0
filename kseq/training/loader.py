"""Batches filled by threads or processes, some of them read ahead; no Keras."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Mapping
from concurrent.futures import CancelledError, Future
from itertools import pairwise

import numpy as np

from kseq.arguments import seconds, whole
from kseq.errors import ArgumentError, ClosedError, WorkerDiedError
from kseq.ordering.epoch_order import Order
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.training.batch_maker import BatchMaker
from kseq.training.buffers import ArraySpec, AttachedBuffers, BufferPool
from kseq.workers import IDLE_SECONDS, WorkerPool

__all__ = ["Loader"]

# The samples of so many batches are computed at once: for 4,096 samples that takes about twice as long as for 128.
_ORDERED_AT_ONCE = 32

# Batches that were read ahead take at most this much memory, whatever their number.
_AHEAD_BYTES = 1 << 30

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


class _Pending:
    """A batch whose rows are being filled.

    Args:
        arrays: The arrays of the batch.
        fillings: What is done when some of its rows are filled.
    """

    def __init__(self, arrays: dict[str, np.ndarray], fillings: list[Future]) -> None:
        self._arrays = arrays
        self._fillings = fillings
        self.num_bytes = sum(array.nbytes for array in arrays.values())

    def wait(self) -> dict[str, np.ndarray]:
        for filling in self._fillings:
            filling.result()
        return self._arrays

    def cancel(self) -> None:
        for filling in self._fillings:
            filling.cancel()


class Loader:
    """Makes any batch of any epoch, and reads ahead while the batch numbers come in sequence.

    The workers share the rows of a batch. Safe to use from many threads and after a fork.

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
        self._pending: OrderedDict[tuple[int, int], _Pending] = OrderedDict()
        self._expected: tuple[int, int] = (-1, -1)
        # The epoch, and its batches that the disk was asked for. No lock: at worst, it is asked twice for some.
        self._asked = (-1, range(0))
        # Guards `_pending` and `_expected`, and that nothing is added to the first once `_closed` is set. Batches are begun and
        # awaited without it.
        self._lock = threading.Lock()
        # Held by the one thread that begins batches ahead; other threads do not wait for it. Guards `_ordered`.
        self._ahead = threading.Lock()
        self._ordered: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        # Last: a thread that finds its own process here may use all of the above.
        self._process = os.getpid()

    def _start_in_child(self) -> None:
        """Start anew: a fork copies neither the threads nor a usable state of the locks."""
        with self._starting:
            if self._process != os.getpid() and not self._closed:
                self._start()

    def batch(self, epoch: int, batch_number: int) -> dict[str, np.ndarray]:
        """One batch: its arrays by field name.

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
            pending, in_sequence = self._find(epoch, batch_number)
            if pending is None:
                # Out of sequence only once in an epoch: Keras may be shuffling the numbers.
                if in_sequence or epoch != self._asked[0]:
                    self._ask_ahead(epoch, batch_number)
                pending = self._begin(epoch, *self._samples(epoch, batch_number))
            if in_sequence:
                self._read_ahead(epoch, batch_number)
            return pending.wait()
        except (CancelledError, ClosedError) as error:
            raise self._closed_error() from error
        except WorkerDiedError as error:
            raise WorkerDiedError(f"{self._maker.dataset.path}: {error}") from error

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"{self._maker.dataset.path}: the sequence was closed")

    def _fill_here(self, epoch: int, batch_number: int) -> dict[str, np.ndarray]:
        sample_ids, turns = self._samples(epoch, batch_number)
        arrays = self._buffers.take(self._maker.specs(sample_ids)).arrays
        self._maker.fill(arrays, 0, sample_ids, epoch, turns)
        return arrays

    def sample_ids(self, epoch: int, batch_number: int) -> np.ndarray:
        """`(n,)` int64: the samples of a batch."""
        return self._samples(epoch, batch_number)[0]

    def _samples(self, epoch: int, batch_number: int) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` int64 sample ids of a batch, and `(n,)` int64 turns, see `Order.draw_batches`."""
        ((positions, turns),) = self._order.draw_batches(epoch, range(batch_number, batch_number + 1))
        return self._maker.dataset.sample_ids(positions), turns

    def _find(self, epoch: int, batch_number: int) -> tuple[_Pending | None, bool]:
        """The batch if it was begun ahead, and whether the numbers come in sequence."""
        with self._lock:
            pending = self._pending.pop((epoch, batch_number), None)
            in_sequence = pending is not None or batch_number == 0 or (epoch, batch_number) == self._expected
            self._expected = (epoch, batch_number + 1)
            # Batches that were begun near another number are of no use any more.
            near = range(batch_number - self._depth, batch_number + self._depth + 1) if in_sequence else ()
            for key in [key for key in self._pending if key[0] != epoch or key[1] not in near]:
                self._pending.pop(key).cancel()
            return pending, in_sequence

    def _read_ahead(self, epoch: int, batch_number: int) -> None:
        """Begin the next batches of the epoch, as many as may wait."""
        if not self._ahead.acquire(blocking=False):
            return
        try:
            numbers = range(batch_number + 1, min(batch_number + 1 + self._depth, self._order.num_batches))
            with self._lock:
                unknown = [number for number in numbers if (epoch, number) not in self._pending]
            for number in unknown:
                self._ask_ahead(epoch, number)
                pending = self._begin(epoch, *self._next_samples(epoch, number))
                with self._lock:
                    if self._closed:
                        pending.cancel()
                        return
                    self._pending[epoch, number] = pending
                    if sum(each.num_bytes for each in self._pending.values()) >= _AHEAD_BYTES:
                        # Batches whose samples differ in length may be larger than they were thought to be.
                        return
        finally:
            self._ahead.release()

    def _ask_ahead(self, epoch: int, batch_number: int) -> None:
        """Ask the operating system to read what a shuffle by blocks needs soon."""
        asked_epoch, asked = self._asked
        positions, asked = self._order.read_ahead(epoch, batch_number, asked if asked_epoch == epoch else range(0))
        self._asked = (epoch, asked)
        dataset = self._maker.dataset
        for start in range(0, len(positions), self._piece):
            self._advance.submit(_will_need, dataset, dataset.sample_ids(positions[start : start + self._piece]))

    def _next_samples(self, epoch: int, batch_number: int) -> tuple[np.ndarray, np.ndarray]:
        """The same as `_samples`, faster for batches that are begun one after the other."""
        if (epoch, batch_number) not in self._ordered:
            numbers = range(batch_number, min(batch_number + _ORDERED_AT_ONCE, self._order.num_batches))
            drawn = self._order.draw_batches(epoch, numbers)
            sample_ids = self._maker.dataset.sample_ids(np.concatenate([positions for positions, _ in drawn]))
            ids_of_batches = np.split(sample_ids, np.cumsum([len(turns) for _, turns in drawn])[:-1])
            pairs = ((ids, turns) for ids, (_, turns) in zip(ids_of_batches, drawn, strict=True))
            self._ordered = {(epoch, number): pair for number, pair in zip(numbers, pairs, strict=True)}
        return self._ordered.pop((epoch, batch_number))

    def _begin(self, epoch: int, sample_ids: np.ndarray, turns: np.ndarray) -> _Pending:
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
        return _Pending(buffer.arrays, fillings)

    def _drop_pending(self) -> None:
        with self._lock:
            dropped, self._pending = self._pending, OrderedDict()
        for pending in dropped.values():
            pending.cancel()

    def close(self) -> None:
        """End the workers, close the files and free the memory; batches that were handed out stay valid."""
        self._closed = True
        if self._process == os.getpid():
            self._drop_pending()
            self._advance.close()
            self._pool.close()
            self._buffers.close()
            self._maker.dataset.close()
