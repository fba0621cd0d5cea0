"""Running the tasks of a packing: in this process, or in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import Any

from kseq.build import ShardTask, build_shard
from kseq.errors import WorkerDiedError
from kseq.workers import process_pool

__all__ = ["Progress", "run_tasks"]

# Seconds between two calls of `progress`.
_PROGRESS_EVERY = 0.1


class Progress:
    """Counts images done and passes the number on.

    Args:
        done: How many are done.
        total: How many there are.
        call: Called with both numbers.
    """

    def __init__(self, done: int, total: int, call: Callable[[int, int], None] | None) -> None:
        self._done = done
        self._total = total
        self._call = call

    def show(self, more: int) -> bool:
        """Some more are done; True: go on."""
        self._done += more
        if self._call is not None:
            self._call(self._done, self._total)
        return True


def run_tasks(tasks: list[ShardTask], workers: int, progress: Progress) -> None:
    """Build shards.

    Args:
        tasks: What to build.
        workers: Processes; 0 to work in this one.
        progress: Told of images that are done.

    Raises:
        ImageError: At the first broken image, where a task says so.
        WriteError: Where the disk refuses.
        WorkerDiedError: Where a worker process was killed; shards that are whole stay.
    """
    progress.show(0)
    if workers == 0:
        for task in tasks:
            build_shard(task, progress.show)
        return
    shared = get_context("spawn")
    done, stop = shared.Value("Q", 0), shared.Event()
    with process_pool(min(workers, max(len(tasks), 1)), _remember_shared, (done, stop)) as executor:
        try:
            for _ in _as_completed(executor, tasks, 2 * workers):
                progress.show(_take_count(done))
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "a worker process was killed (out of memory?): --resume goes on from the shards that are whole, "
                "unless this run was to overwrite: then the old dataset stays as it was"
            ) from error
        except BaseException:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    progress.show(_take_count(done))


def _as_completed(executor: Executor, tasks: Iterable[ShardTask], most: int) -> Iterator[None]:
    """Run tasks, at most `most` handed over at a time; yields now and then, and when each is done."""
    waiting: set[Future] = set()
    rest = iter(tasks)
    while True:
        waiting |= {executor.submit(_build_in_worker, task) for task in islice(rest, most - len(waiting))}
        if not waiting:
            return
        done, waiting = wait(waiting, _PROGRESS_EVERY, FIRST_COMPLETED)
        for future in done:
            future.result()
        yield


def _take_count(counter: Any) -> int:
    with counter.get_lock():
        count: int = counter.value
        counter.value = 0
    return count


# In a worker process: the counter of images done, and the event that says to stop.
_shared: tuple[Any, Any] | None = None


def _remember_shared(done: Any, stop: Any) -> None:
    global _shared
    _shared = (done, stop)


def _build_in_worker(task: ShardTask) -> None:
    build_shard(task, _report_shared)


def _report_shared(more: int) -> bool:
    assert _shared is not None
    done, stop = _shared
    with done.get_lock():
        done.value += more
    return not stop.is_set()
