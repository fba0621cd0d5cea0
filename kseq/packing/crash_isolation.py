"""Building a shard whose images crash workers: each image is encoded alone in a process of its own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import numpy as np

from kseq.errors import ImageError, WorkerDiedError
from kseq.packing.build_shard import ShardTask, build_shard, read_sample
from kseq.packing.encode import EncodedSample
from kseq.packing.worker_process import OUT_OF_MEMORY_CODE, cause_of_death
from kseq.processes import ProcessDiedError, ProcessPool
from kseq.sources.base import SourceImage

__all__ = ["build_isolated"]

# Seconds between two checks whether to stop.
_CHECK_INTERVAL = 0.1

# The first death may be due to an earlier image; the second process has encoded nothing else.
_MOST_DEATHS = 2


def build_isolated(task: ShardTask, report: Callable[[int], bool]) -> np.ndarray | None:
    """Build a shard and publish it, as `build_shard` does, but encode each image in another process.

    An image over which two processes die is rejected; the reason says how they died.

    Raises:
        WorkerDiedError: If processes die before their first task.
    """
    worker = ProcessPool(1, _remember_task, (task,))
    try:
        return build_shard(task, report, lambda task, image: _read_in_worker(worker, image, report))
    except _StoppedError:
        return None
    finally:
        worker.shutdown(cancel_futures=True)


class _StoppedError(Exception):
    """The function that receives the progress asked to stop."""


def _read_in_worker(worker: ProcessPool, image: SourceImage, report: Callable[[int], bool]) -> EncodedSample:
    deaths = 0
    while True:
        try:
            return _wait_for(worker.submit(_read_sample, image), report)
        except ProcessDiedError as error:
            deaths += 1
            if deaths == _MOST_DEATHS:
                raise ImageError(f"a worker process died twice while it was packed ({cause_of_death(error)})") from error


def _wait_for(future: Future, report: Callable[[int], bool]) -> Any:
    while not wait([future], _CHECK_INTERVAL).done:
        if not report(0):
            raise _StoppedError
    return future.result()


# In the worker process: the task.
_task: ShardTask | None = None


def _remember_task(task: ShardTask) -> None:
    global _task
    _task = task
    warnings.filterwarnings("ignore", module="PIL")


def _read_sample(image: SourceImage) -> EncodedSample:
    assert _task is not None
    try:
        return read_sample(_task, image)
    except WorkerDiedError:
        os._exit(OUT_OF_MEMORY_CODE)
