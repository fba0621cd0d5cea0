"""Building shards in worker processes of kseq's own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import get_context
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import WorkerDiedError
from kseq.packing.build_shard import ShardTask, build_shard
from kseq.packing.crash_isolation import build_isolated
from kseq.packing.progress import PROGRESS_INTERVAL, Progress
from kseq.packing.worker_process import OUT_OF_MEMORY_CODE, cause_of_death
from kseq.processes import ProcessDiedError, ProcessPool
from kseq.storage.atomic import remove_half_written
from kseq.threads import INTERRUPTED_SECONDS, ThreadPool

__all__ = ["build_in_processes"]

# After this many deaths, each image of the shard is encoded in a process of its own, so that only that one dies.
_ISOLATE_AFTER = 2

# After this many deaths, the cause is not an image.
_MOST_DEATHS = 5


def build_in_processes(
    tasks: list[ShardTask], workers: int, niceness: int, progress: Progress, built: Callable[[int, np.ndarray], None]
) -> None:
    """Build shards, each in one of several processes.

    A shard whose process dies is built again. If that process dies too, each image of the shard is encoded in a process of its
    own, and an image that kills it is left out. The other processes go on meanwhile.

    Args:
        tasks: The shards to build, at least one.
        workers: How many processes, at least 1.
        niceness: By how many steps they stand back from others.
        progress: Counts the images that are done.
        built: Called when a shard is whole, as in `kseq.packing.run.build_shards`.

    Raises:
        ImageError: At the first broken image, if a task says so.
        WriteError: If the disk refuses.
        WorkerDiedError: If processes die whatever they do; shards that are whole stay.
    """
    waiting = deque((task, 0) for task in tasks)
    builders = [_Builder(niceness) for _ in range(min(workers, len(tasks)))]
    try:
        while _assign(waiting, builders):
            for builder in _wait_for_some(builders):
                task = builder.task
                if isinstance(result := builder.finish(), int):
                    waiting.append((task, result))
                else:
                    progress.add(task.images.num_images)
                    built(task.number, result)
            progress.show(sum(builder.num_done for builder in builders))
    except BaseException as error:
        for builder in builders:
            builder.stop()
        # Who interrupts does not wait for one that hangs; what it has written of a shard is removed with the rest.
        _close(builders, None if isinstance(error, Exception) else INTERRUPTED_SECONDS)
        raise
    _close(builders)


def _close(builders: list[_Builder], patience: float | None = None) -> None:
    """End the processes when they have stopped; those that are at work after so many seconds at once."""
    with ThreadPool(len(builders)) as threads:
        for ended in [threads.submit(builder.close, patience) for builder in builders]:
            ended.result()


def _assign(waiting: deque[tuple[ShardTask, int]], builders: Iterable[_Builder]) -> bool:
    """Give tasks to idle builders. Returns whether any builder works."""
    for builder in builders:
        if builder.future is None and waiting:
            builder.start(*waiting.popleft())
    return any(builder.future is not None for builder in builders)


def _wait_for_some(builders: Iterable[_Builder]) -> list[_Builder]:
    """The builders whose task has ended, after a short wait."""
    busy = {builder.future: builder for builder in builders if builder.future is not None}
    return [busy[future] for future in wait(busy, PROGRESS_INTERVAL, FIRST_COMPLETED).done]


class _Builder:
    """A process that builds one shard after the other.

    Attributes:
        task: The last task that was started.
        future: The result of that task; None while the builder is idle.
    """

    task: ShardTask

    def __init__(self, niceness: int) -> None:
        # How many images of the shard are done, written by the process; whether to stop, written by this one.
        self._shared = get_context("spawn").RawArray("Q", 2)
        self._worker = ProcessPool(1, _remember_shared, (self._shared,), niceness=niceness)
        self._deaths = 0
        self.future: Future | None = None

    @property
    def num_done(self) -> int:
        """How many images of the shard are done."""
        count: int = self._shared[0]
        return count

    def start(self, task: ShardTask, deaths: int) -> None:
        """Build a shard over which this many processes have died."""
        self.task, self._deaths = task, deaths
        self.future = self._worker.submit(_build_isolated if deaths >= _ISOLATE_AFTER else _build, task)

    def finish(self) -> np.ndarray | int:
        """Collect the result of the task; the builder is idle afterwards.

        Returns:
            If the shard is built, the checksums of its images; else how many processes have died over it.
        """
        assert self.future is not None
        future, self.future = self.future, None
        self._shared[0] = 0
        try:
            checksums: np.ndarray = future.result()
        except ProcessDiedError as error:
            return self._count_death(error)
        return checksums

    def _count_death(self, error: ProcessDiedError) -> int:
        remove_half_written(self.task.path)
        self._deaths += 1
        if self._deaths == _MOST_DEATHS:
            raise WorkerDiedError(
                f"{self.task.path}: {self._deaths} worker processes died while they built it "
                f"(the last {cause_of_death(error)}), whatever its images: "
                f"{spelled('resume', True)} goes on from the shards that are whole"
            ) from error
        return self._deaths

    def stop(self) -> None:
        """Ask the process to stop after the image that it encodes."""
        self._shared[1] = 1

    def close(self, patience: float | None) -> None:
        """End the process when it has stopped, or after so many seconds."""
        self._worker.shutdown(cancel_futures=True, patience=patience)


# In a worker process: the array that it shares with its builder.
_shared: Any = None


def _remember_shared(shared: Any) -> None:
    global _shared
    _shared = shared


def _build(task: ShardTask) -> np.ndarray | None:
    try:
        return build_shard(task, _report)
    except (MemoryError, WorkerDiedError):
        os._exit(OUT_OF_MEMORY_CODE)


def _build_isolated(task: ShardTask) -> np.ndarray | None:
    return build_isolated(task, _report)


def _report(count: int) -> bool:
    _shared[0] += count
    return not _shared[1]
