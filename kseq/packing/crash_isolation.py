"""Building a shard whose samples kill: each is encoded in a process beside, alone, and what kills it twice is left out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, wait
from dataclasses import replace
from typing import Any

from kseq.errors import ImageError, WorkerDiedError
from kseq.packing.build_shard import Sample, ShardTask, build_shard, read_sample
from kseq.packing.worker_process import NO_MEMORY, WorkerProcess
from kseq.sources.base import SourceImage

__all__ = ["build_isolated"]

# Seconds between two looks at whether to stop.
_LOOK_EVERY = 0.1

# The first time, what went before may have been the cause; the second time, the process did nothing else.
_MOST_DEATHS = 2


def build_isolated(task: ShardTask, report: Callable[[int], bool]) -> bool:
    """Build a shard and publish it, as `kseq.packing.build_shard.build_shard`, while processes die.

    An image whose process dies, and the next one's too, is listed among the rejected with how they died.

    Raises:
        WorkerDiedError: Where processes die before they can begin.
    """
    lane = WorkerProcess(_remember_task, (replace(task, source=task.source.select([])),))
    try:
        return build_shard(task, report, lambda task, image: _read_beside(lane, image, report))
    except _StoppedError:
        return False
    finally:
        lane.close()


class _StoppedError(Exception):
    """Whoever is told of the progress said to stop."""


def _read_beside(lane: WorkerProcess, image: SourceImage, report: Callable[[int], bool]) -> Sample:
    deaths = 0
    while True:
        try:
            return _result(lane.submit(_read_here, image), report)
        except BrokenExecutor as error:
            if isinstance(error, WorkerDiedError):
                raise
            how = lane.bury()
            deaths += how is not None
            if deaths == _MOST_DEATHS:
                raise ImageError(f"a worker process died twice while it was packed ({how})") from error


def _result(future: Future, report: Callable[[int], bool]) -> Any:
    while not wait([future], _LOOK_EVERY).done:
        if not report(0):
            raise _StoppedError
    return future.result()


# In the process beside: the task without its images.
_task: ShardTask | None = None


def _remember_task(task: ShardTask) -> None:
    global _task
    _task = task
    warnings.filterwarnings("ignore", module="PIL")


def _read_here(image: SourceImage) -> Sample:
    assert _task is not None
    try:
        return read_sample(_task, image)
    except WorkerDiedError:
        os._exit(NO_MEMORY)
