"""Building shards on an executor that was given: its workers may be threads, processes, or on other machines."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager, suppress
from itertools import islice

from kseq.arguments import spelled
from kseq.errors import ArgumentError, ImageError, WriteError
from kseq.packing.build_shard import ShardTask, build_shard
from kseq.packing.progress import PROGRESS_EVERY, Progress
from kseq.storage.atomic import remove_half_written, spare_name
from kseq.storage.layout import SHARD_PREFIX

__all__ = ["build_on_executor"]

# An executor does not say how many workers it has; these keep them busy, and its memory free of a million tasks.
_MOST_AT_ONCE = 256

# Seconds: between two looks of a worker at whether it is to stop; for its machine to see a new file, which network file
# systems may be late to show; and for workers to stop.
_LOOK_EVERY = 0.5
_FILE_SEEN_AFTER = 5.0
_STOPPED_AFTER = 4.0


def build_on_executor(executor: Executor, tasks: list[ShardTask], progress: Progress) -> list[ShardTask]:
    """Build shards, each by a worker of the executor, which is not shut down.

    Args:
        executor: Anything with the interface of `concurrent.futures.Executor`.
        tasks: What to build.
        progress: Told of images that are done, when their shard is.

    Returns:
        The tasks that are left, since workers died over them, or since their first image can be read nowhere.

    Raises:
        ArgumentError: Where the executor takes no task, or its workers do not see the same files.
        ImageError: At the first broken image, where a task says so.
        WriteError: Where the disk refuses.
    """
    if not tasks:
        return []
    folder = os.path.dirname(tasks[0].path)
    # Threads share the list of warnings to ignore, and of two that set it and set it back the second brings back the wrong one.
    with warnings.catch_warnings(), _beacon(folder) as beacon:
        try:
            return _build_all(executor, tasks, beacon, progress)
        finally:
            remove_half_written(os.path.join(folder, SHARD_PREFIX))


# What the beacon's name ends with once the workers are to stop.
_STOP = "-stop"
_SHARED = "allowed are workers that share the file system with the process that packs"


@contextmanager
def _beacon(folder: str) -> Iterator[str]:
    """A file that each worker must see when it begins, or it is on another file system; when it is gone, it is to stop."""
    path = spare_name(os.path.join(folder, "beacon"))
    try:
        with open(path, "x"):
            pass
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        yield path
    finally:
        for name in (path, path + _STOP):
            with suppress(FileNotFoundError):
                os.unlink(name)


def _build_all(executor: Executor, tasks: list[ShardTask], beacon: str, progress: Progress) -> list[ShardTask]:
    waiting: dict[Future, ShardTask] = {}
    rest, left = iter(tasks), []
    try:
        while True:
            for task in islice(rest, _MOST_AT_ONCE - len(waiting)):
                try:
                    waiting[_submit(executor, task, beacon)] = task
                except BrokenExecutor:
                    left += [task, *rest]
            if not waiting:
                return left
            for future in wait(waiting, PROGRESS_EVERY, FIRST_COMPLETED).done:
                task = waiting.pop(future)
                if _is_built(future, task):
                    progress.add(len(task.source.images))
                else:
                    left.append(task)
            progress.show()
    except BaseException:
        _stop(beacon, waiting)
        raise


def _submit(executor: Executor, task: ShardTask, beacon: str) -> Future:
    try:
        # Pickled here, since Dask looks into what it is given, and takes the same task as before for done.
        future = executor.submit(_build, pickle.dumps(task), beacon)
    except BrokenExecutor:
        raise
    except (AttributeError, RuntimeError) as error:
        raise ArgumentError(f"{spelled('executor', executor)}: takes no task: {error}") from error
    if not isinstance(future, Future):
        raise ArgumentError(
            f"{spelled('executor', executor)}: gives a {type(future).__name__}, expected is a concurrent.futures.Future "
            "(of a Dask client, take client.get_executor())"
        )
    return future


def _is_built(future: Future, task: ShardTask) -> bool:
    """Whether a shard is built; False where workers died over it."""
    try:
        is_built: bool = future.result()
        return is_built
    except (BrokenExecutor, CancelledError):
        return False
    except _UnreadableError as error:
        if not _reads_first(task):
            return False
        raise ArgumentError(f"a worker of the executor {error}, which this process can: {_SHARED}") from None
    except ImportError as error:
        raise ArgumentError(
            f"a worker of the executor cannot import what it needs ({error}): install kseq in its environment"
        ) from error
    except Exception as error:
        # An error of Dask: workers died over this task again and again.
        distributed = sys.modules.get("distributed")
        if distributed is not None and isinstance(error, distributed.KilledWorker):
            return False
        raise


def _stop(beacon: str, waiting: dict[Future, ShardTask]) -> None:
    # Renamed rather than deleted, so that a task that starts only now returns at once, and does not wait for a file to appear.
    with suppress(OSError):
        os.rename(beacon, beacon + _STOP)
    for future in waiting:
        future.cancel()
    wait(waiting, _STOPPED_AFTER)


class _UnreadableError(Exception):
    """A worker cannot read the first image of a shard: nobody can, or it is on a file system that the worker does not share."""


def _build(pickled: bytes, beacon: str) -> bool:
    """In a worker: build a shard; False where it was told to stop."""
    task: ShardTask = pickle.loads(pickled)
    give_up = time.monotonic() + _FILE_SEEN_AFTER
    while not os.path.exists(beacon):
        if os.path.exists(beacon + _STOP):
            return False
        if time.monotonic() > give_up:
            raise ArgumentError(f"a worker of the executor on {socket.gethostname()} does not see {beacon}: {_SHARED}")
        time.sleep(_LOOK_EVERY)
    if not _reads_first(task):
        raise _UnreadableError(f"on {socket.gethostname()} cannot read images of {task.source.root}")
    return build_shard(task, _Lookout(beacon).look)


def _reads_first(task: ShardTask) -> bool:
    """Whether the first image of a shard can be read, of those that are not refused anyway."""
    try:
        for image in (each for each in task.source.images if each.rejection is None):
            task.source.read(image)
            break
    except ImageError:
        return False
    return True


class _Lookout:
    """Looks now and then whether the beacon is still there."""

    def __init__(self, beacon: str) -> None:
        self._beacon = beacon
        self._next = time.monotonic() + _LOOK_EVERY

    def look(self, _: int) -> bool:
        """Whether to go on."""
        if time.monotonic() < self._next:
            return True
        self._next = time.monotonic() + _LOOK_EVERY
        try:
            # Opened, since network file systems may remember for a minute what they know of a file.
            os.close(os.open(self._beacon, os.O_RDONLY))
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ESTALE)
        return True
