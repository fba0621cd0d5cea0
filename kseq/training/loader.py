"""Batches filled by threads or processes, some of them read ahead; no Keras."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from itertools import pairwise

import numpy as np

from kseq.arguments import seconds, whole
from kseq.errors import ClosedError, KseqError, ReadTimeoutError
from kseq.ordering.epoch_order import Order
from kseq.platforms.processes import is_stopped
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.training import worker_process
from kseq.training.batch_maker import BatchMaker
from kseq.training.buffers import ArraySpec, BufferPool
from kseq.training.crowding import Crowding
from kseq.training.error_places import list_samples
from kseq.training.fetch_ahead import FetchAhead
from kseq.training.read_ahead import MOST_READERS, Drawn, Filled, LoadedBatch, Pending, Reader, Readers, Rows
from kseq.training.waiting import Patience, Wait
from kseq.training.worker_deaths import Filler, WorkerDeaths
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

# A batch is begun anew so many times at most because others gave its workers up.
_MOST_TRIES = 10

# So many shards are named of those that a wait is about.
_MOST_SHARDS_NAMED = 3


def _will_need(dataset: ShardDataset, sample_ids: np.ndarray) -> None:
    sample_reader(dataset).locate(sample_ids).will_need()


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
        timeout: A batch may take so many seconds; None for any time.
        crowded_workers: How many threads read while other jobs take the cores; no more than `workers` for as many as always.

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
        timeout: float | None = None,
        crowded_workers: int = 0,
    ) -> None:
        self._maker = maker
        self._order = order
        self._workers = whole("workers", workers, 0)
        self._processes = use_multiprocessing and workers > 0
        self._crowded_workers = crowded_workers if self._workers and not self._processes else 0
        most = max(1, _AHEAD_BYTES // max(maker.batch_bytes(order.batch_size), 1))
        # How many batches are begun ahead: for all readers together, and for one.
        self._most = most
        self._depth = min(whole("max_queue_size", max_queue_size, 1), most)
        self._idle_seconds = seconds("idle_seconds", idle_seconds)
        self._niceness = whole("niceness", niceness, 0, 19)
        self._patience = Patience(timeout)
        self._deaths = WorkerDeaths(maker.dataset.path)
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
        # Keeps what the next epoch begins with, and frees the memory of a backlog.
        on_idle = functools.partial(_trim, weakref.ref(self._buffers), self._depth + 2)
        self._pool = WorkerPool(
            self._workers,
            processes=processes,
            initializer=worker_process.prepare,
            initargs=(worker_process.pickle_maker(self._maker),) if processes else (),
            on_idle=on_idle,
            idle_seconds=self._idle_seconds,
            niceness=self._niceness,
        )
        self._in_processes = processes
        # Who fills batches, and how many they are; the second are more threads, of which Linux gives more of the cores where
        # other jobs want them. Elsewhere they would cost a tenth.
        self._crews = [(self._pool, self._workers)]
        if self._crowded_workers > self._workers:
            more = WorkerPool(
                self._crowded_workers,
                processes=False,
                on_idle=on_idle,
                idle_seconds=self._idle_seconds,
                niceness=self._niceness,
            )
            self._crews.append((more, self._crowded_workers))
        self._crowding = Crowding()
        # Asks the disk ahead; if it is slow, only this thread waits.
        self._advance = WorkerPool(1, processes=False, idle_seconds=self._idle_seconds, niceness=self._niceness)
        self._fetch_ahead = FetchAhead(self._maker.dataset, self._order)
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
        if self._process != os.getpid():
            # A fork starts anew, in this order.
            return
        for reader in self._readers:
            self._readers.drop(reader)
        self._asked.clear()
        self._fetch_ahead.close()
        self._fetch_ahead = FetchAhead(self._maker.dataset, order)

    def batch(self, epoch: int, batch_number: int) -> dict[str, np.ndarray]:
        """The arrays of one batch by field name, as `load` returns them."""
        return self.load(epoch, batch_number).arrays

    def load(self, epoch: int, batch_number: int) -> LoadedBatch:
        """One batch.

        The arrays belong to the caller: nothing writes to them while anything refers to them.

        Raises:
            OutOfRangeError: If there is no such batch number.
            DamagedError: If stored bytes have changed, or a shard is missing.
            ReadTimeoutError: If it takes longer than it may.
            WorkerDiedError: If worker processes die of it, or cannot be started.
            ClosedError: After `close`, or if it is called meanwhile.
        """
        if self._process != os.getpid():
            self._start_in_child()
        for _ in range(_MOST_TRIES):
            if self._closed:
                break
            try:
                return self._fill_here(epoch, batch_number) if self._workers == 0 else self._have_filled(epoch, batch_number)
            except CancelledError:
                # With workers that hung over another batch, those of this one were let go; or everything was closed.
                continue
            except ClosedError as error:
                raise self._closed_error() from error
            except Exception as error:
                # What is closed meanwhile, such as a buffer, may be missed first.
                if self._closed:
                    raise self._closed_error() from error
                raise
        raise self._closed_error()

    def _have_filled(self, epoch: int, batch_number: int) -> LoadedBatch:
        """A batch that workers fill, or have filled ahead."""
        reader, pending = self._readers.find(epoch, batch_number)
        if pending is None:
            # Out of sequence only once in an epoch: somebody may be asking for any numbers.
            if reader is not None or epoch not in self._asked:
                self._ask_ahead(epoch, batch_number)
            pending = self._begin(epoch, self.samples(epoch, batch_number))
        if reader is not None:
            self._read_ahead(reader, batch_number)
        wait = self._patience.begin(functools.partial(self._describe_wait, epoch, batch_number, pending))
        start = time.monotonic()
        try:
            loaded = pending.wait(self._finisher(pending, wait))
        except BaseException as error:
            # The same may have befallen what was begun ahead, and be over when that is asked for.
            self._readers.drop(reader)
            if wait.is_stuck and isinstance(error, (KeyboardInterrupt, ReadTimeoutError)):
                for pool, _ in self._crews:
                    pool.abandon()
                self._advance.abandon()
            raise
        if len(self._crews) > 1:
            self._crowding.waited(time.monotonic() - start)
        return loaded

    @property
    def num_workers(self) -> int:
        """How many threads or processes fill batches."""
        return self._workers

    @property
    def fills_here(self) -> bool:
        """Whether batches are filled in the thread that asks for them."""
        return self._workers == 0

    @property
    def _crew(self) -> tuple[WorkerPool, int]:
        """Who fills batches now, and how many they are."""
        return self._crews[-1 if self._crowding.is_crowded else 0]

    def _finisher(self, pending: Pending, wait: Wait) -> Callable[[Future, Rows], Filled]:
        """What waits for some rows of a batch."""
        if not self._in_processes:
            return wait.finish
        submit, fill_here = functools.partial(self._submit, pending), functools.partial(self._fill_rows_here, pending)
        return self._deaths.finisher(Filler(wait.finish, submit, fill_here, self._where, self._maker.tolerates_damage))

    def _describe_wait(self, epoch: int, batch_number: int, pending: Pending) -> str:
        """Who waits for what, in a line."""
        dataset = self._maker.dataset
        ids = pending.unfilled
        shards = [os.path.basename(path) for path in self._locate(ids).shard_paths()]
        named = ", ".join(shards[:_MOST_SHARDS_NAMED]) + (" and others" if len(shards) > _MOST_SHARDS_NAMED else "")
        stopped = [str(pid) for pid in self._pool.pids if is_stopped(pid)]
        reason = f" (worker process {', '.join(stopped)} is stopped)" if stopped else ""
        return (
            f"{dataset.path}, {dataset.split or 'all'}: waits for batch {batch_number} of epoch {epoch}, "
            f"for {list_samples(ids)} of {named}{reason}"
        )

    def _locate(self, sample_ids: np.ndarray) -> LocatedSamples:
        return sample_reader(self._maker.dataset).locate(sample_ids)

    def _where(self, rows: Rows) -> str:
        return self._locate(rows.sample_ids).where(0)

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"{self._maker.dataset.path}: it was closed")

    def _fill_here(self, epoch: int, batch_number: int) -> LoadedBatch:
        drawn = self.samples(epoch, batch_number)
        arrays = self._buffers.take(self._maker.specs(drawn.sample_ids)).arrays
        filled = self._maker.fill(arrays, 0, drawn.sample_ids, epoch, drawn.turns)
        return LoadedBatch(arrays, drawn.positions, drawn.is_counted, *filled)

    def sample_ids(self, epoch: int, batch_number: int) -> np.ndarray:
        """`(n,)` int64: the samples of a batch."""
        return self.samples(epoch, batch_number).sample_ids

    def samples(self, epoch: int, batch_number: int) -> Drawn:
        """Which samples a batch holds."""
        (drawn,) = self._order.draw_batches(epoch, range(batch_number, batch_number + 1))
        return Drawn(self._maker.dataset.sample_ids(drawn.positions), drawn.turns, drawn.positions, drawn.is_counted)

    def _read_ahead(self, reader: Reader, batch_number: int) -> None:
        """Begin the next batches of a sequence, as many as may wait."""
        if not reader.ahead.acquire(blocking=False):
            return
        try:
            for number in self._readers.missing(reader, batch_number)[:_MOST_BEGUN]:
                try:
                    self._ask_ahead(reader.epoch, number)
                    pending = self._begin(reader.epoch, self._next_samples(reader, number))
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
        """Ask the store, or the operating system, for what is needed soon."""
        self._fetch_ahead.ask(epoch, batch_number)
        positions, asked = self._order.read_ahead(epoch, batch_number, self._asked.get(epoch, range(0)))
        self._asked[epoch] = asked
        for old in list(self._asked)[:-MOST_READERS]:
            self._asked.pop(old, None)
        dataset = self._maker.dataset
        for start in range(0, len(positions), self._piece):
            self._advance.submit(_will_need, dataset, dataset.sample_ids(positions[start : start + self._piece]))

    def _next_samples(self, reader: Reader, batch_number: int) -> Drawn:
        """The same as `samples`, faster for batches that are begun one after the other."""
        if batch_number not in reader.ordered:
            numbers = range(batch_number, min(batch_number + _ORDERED_AT_ONCE, self._order.num_batches))
            batches = self._order.draw_batches(reader.epoch, numbers)
            sample_ids = self._maker.dataset.sample_ids(np.concatenate([batch.positions for batch in batches]))
            ids_of_batches = np.split(sample_ids, np.cumsum([len(batch.positions) for batch in batches])[:-1])
            reader.ordered = {
                number: Drawn(ids, batch.turns, batch.positions, batch.is_counted)
                for number, ids, batch in zip(numbers, ids_of_batches, batches, strict=True)
            }
        return reader.ordered.pop(batch_number)

    def _begin(self, epoch: int, drawn: Drawn) -> Pending:
        """Take a buffer and hand its rows to the workers."""
        sample_ids, turns = drawn.sample_ids, drawn.turns
        buffer = self._buffers.take(self._maker.specs(sample_ids))
        _, workers = self._crew
        count = max(1, min(workers, len(sample_ids) // self._least_rows))
        edges = [len(sample_ids) * number // count for number in range(count + 1)]
        parts = [Rows(start, sample_ids[start:end], epoch, turns[start:end]) for start, end in pairwise(edges)]
        pending = Pending(buffer.arrays, buffer.name, drawn)
        for rows in parts:
            pending.add(self._submit(pending, rows), rows)
        return pending

    def _submit(self, pending: Pending, rows: Rows) -> Future:
        """Have some rows of a batch filled by a worker."""
        if self._in_processes:
            specs = {name: ArraySpec(array.shape, array.dtype.str) for name, array in pending.arrays.items()}
            filling = self._pool.submit(worker_process.fill_rows, pending.name, self._buffers.names(), specs, *rows)
        else:
            filling = self._crew[0].submit(self._maker.fill, pending.arrays, *rows)
        # Keeps the pool from using the buffer again while a worker may still write to it, even if nobody waits.
        filling.add_done_callback(functools.partial(_keep_alive, pending.arrays))
        return filling

    def _fill_rows_here(self, pending: Pending, rows: Rows) -> Filled:
        return self._maker.fill(pending.arrays, *rows)

    def close(self) -> None:
        """End the workers, close the files and free the memory; batches that were handed out stay valid."""
        self._closed = True
        if self._process == os.getpid():
            self._readers.close()
            self._fetch_ahead.close()
            self._advance.close()
            for pool, _ in self._crews:
                pool.close()
            self._buffers.close()
            self._maker.dataset.close()
