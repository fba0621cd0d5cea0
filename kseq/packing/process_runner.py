"""Building shards in worker processes of kseq's own, and what becomes of a shard whose process dies."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ThreadPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

from kseq.arguments import spelled
from kseq.errors import WorkerDiedError
from kseq.packing.build_shard import ShardTask, build_shard
from kseq.packing.crash_isolation import build_isolated
from kseq.packing.progress import PROGRESS_EVERY, Progress
from kseq.packing.worker_process import NO_MEMORY, WorkerProcess
from kseq.storage.atomic import remove_half_written

__all__ = ["build_in_processes"]

# After so many deaths a shard is built carefully, its samples in processes beside, so that only they die.
_CARE_AFTER = 2

# After so many it is not the images that kill.
_MOST_DEATHS = 5


def build_in_processes(tasks: list[ShardTask], workers: int, progress: Progress) -> None:
    """Build shards, each in one of several processes.

    A shard whose process dies is built again; if that one dies too, each of its samples is encoded in a process of its own, and
    the one that kills it is left out. What other processes are at is not disturbed.

    Args:
        tasks: What to build, at least one.
        workers: How many processes, at least 1.
        progress: Told of images that are done.

    Raises:
        ImageError: At the first broken image, where a task says so.
        WriteError: Where the disk refuses.
        WorkerDiedError: Where processes die whatever they do; shards that are whole stay.
    """
    waiting = deque((task, 0) for task in tasks)
    builders = [_Builder() for _ in range(min(workers, len(tasks)))]
    try:
        while _hand_out(waiting, builders):
            for builder in _done(builders):
                task = builder.task
                if (deaths := builder.end()) is None:
                    progress.add(len(task.source.images))
                else:
                    waiting.append((task, deaths))
            progress.show(sum(builder.under_way for builder in builders))
    except BaseException:
        for builder in builders:
            builder.stop()
        raise
    finally:
        with ThreadPoolExecutor(len(builders)) as together:
            list(together.map(_Builder.close, builders))


def _hand_out(waiting: deque[tuple[ShardTask, int]], builders: Iterable[_Builder]) -> bool:
    """Give builders that are idle something to do; whether any is at work."""
    for builder in builders:
        if builder.future is None and waiting:
            builder.begin(*waiting.popleft())
    return any(builder.future is not None for builder in builders)


def _done(builders: Iterable[_Builder]) -> list[_Builder]:
    """Those that have ended what they were at, soon."""
    busy = {builder.future: builder for builder in builders if builder.future is not None}
    return [busy[future] for future in wait(busy, PROGRESS_EVERY, FIRST_COMPLETED).done]


class _Builder:
    """A process that builds one shard after the other.

    Attributes:
        task: What it is at, or was.
        future: Done when that is; None where it is idle.
    """

    task: ShardTask

    def __init__(self) -> None:
        # How many images of the shard are done, and whether to stop: of each, one process writes, the other reads.
        self._shared = get_context("spawn").RawArray("Q", 2)
        self._lane = WorkerProcess(_remember_shared, (self._shared,))
        self._deaths = 0
        self.future: Future | None = None

    @property
    def under_way(self) -> int:
        """How many images of the shard that it is at are done."""
        count: int = self._shared[0]
        return count

    def begin(self, task: ShardTask, deaths: int) -> None:
        """Build a shard, over which so many processes have died."""
        self.task, self._deaths = task, deaths
        self.future = self._lane.submit(_build_carefully if deaths >= _CARE_AFTER else _build, task)

    def end(self) -> int | None:
        """See what became of the shard; this is idle then.

        Returns:
            None where it is built, else how many processes have died over it.
        """
        assert self.future is not None
        future, self.future = self.future, None
        self._shared[0] = 0
        try:
            future.result()
        except BrokenExecutor as error:
            if isinstance(error, WorkerDiedError):
                raise
            return self._bury()
        return None

    def _bury(self) -> int:
        how = self._lane.bury()
        remove_half_written(self.task.path)
        self._deaths += how is not None
        if self._deaths == _MOST_DEATHS:
            raise WorkerDiedError(
                f"{self.task.path}: {self._deaths} worker processes died while they built it (the last {how}), "
                f"whatever its images: {spelled('resume', True)} goes on from the shards that are whole"
            )
        return self._deaths

    def stop(self) -> None:
        """Let it end after the image that it is at."""
        self._shared[1] = 1

    def close(self) -> None:
        """End its process when it has done what it is at."""
        self._lane.close()


# In a worker process: what the builder shares with it.
_shared: Any = None


def _remember_shared(shared: Any) -> None:
    global _shared
    _shared = shared


def _build(task: ShardTask) -> None:
    try:
        build_shard(task, _report)
    except (MemoryError, WorkerDiedError):
        os._exit(NO_MEMORY)


def _build_carefully(task: ShardTask) -> None:
    build_isolated(task, _report)


def _report(more: int) -> bool:
    _shared[0] += more
    return not _shared[1]
