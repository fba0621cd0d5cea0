"""Building shards on an executor of the caller: its workers may be threads, processes, or on other machines."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ArgumentError, ImageError, KseqError, WriteError, one_line, tell
from kseq.packing.build_shard import ShardTask, build_shard
from kseq.packing.progress import PROGRESS_INTERVAL, Progress
from kseq.platforms.files import remove, rename
from kseq.storage.atomic import remove_half_written, spare_name
from kseq.storage.layout import SHARD_PREFIX

__all__ = ["build_on_executor"]

# An executor does not say how many workers it has. So many tasks keep them busy, without a million tasks in memory.
_MOST_SUBMITTED = 256

# Seconds between two checks of a worker whether to stop.
_CHECK_INTERVAL = 0.5
# Seconds until the machine of a worker sees a new file: network file systems may show it late.
_VISIBLE_WITHIN = 5.0
# Seconds until workers have stopped.
_STOPPED_WITHIN = 4.0


def build_on_executor(
    executor: Executor, tasks: list[ShardTask], progress: Progress, built: Callable[[int, np.ndarray], None]
) -> list[ShardTask]:
    """Build shards, each by a worker of the executor, which is not shut down.

    Args:
        executor: Anything with the interface of `concurrent.futures.Executor`.
        tasks: The shards to build.
        progress: Counts the images of shards that are done.
        built: Called when a shard is whole, as in `kseq.packing.run.build_shards`.

    Returns:
        The tasks that are left: workers died over them, the executor failed with them, or nobody can read their first image.

    Raises:
        ArgumentError: If the executor takes no task, or its workers do not see the same files.
        ImageError: At the first broken image, if a task says so.
        WriteError: If the disk refuses.
    """
    if not tasks:
        return []
    folder = os.path.dirname(tasks[0].path)
    # Threads share the list of ignored warnings. If two threads change and restore it, the second restores the wrong list.
    with warnings.catch_warnings(), _beacon(folder) as beacon:
        try:
            return _build_all(executor, tasks, beacon, progress, built)
        finally:
            remove_half_written(os.path.join(folder, SHARD_PREFIX))


# The name of the beacon ends with this once the workers are to stop.
_STOP_SUFFIX = "-stop"
_SHARED = "allowed are workers that share the file system with the process that packs"


@contextmanager
def _beacon(folder: str) -> Iterator[str]:
    """A file that each worker must see when it starts, else it has another file system. When the file is gone, workers stop."""
    path = spare_name(os.path.join(folder, "beacon"))
    try:
        with open(path, "x"):
            pass
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        yield path
    finally:
        for name in (path, path + _STOP_SUFFIX):
            with suppress(FileNotFoundError):
                remove(name)


def _build_all(
    executor: Executor, tasks: list[ShardTask], beacon: str, progress: Progress, built: Callable[[int, np.ndarray], None]
) -> list[ShardTask]:
    waiting: dict[Future, ShardTask] = {}
    failures: list[str] = []
    rest, left = iter(tasks), []
    try:
        while True:
            for task in islice(rest, _MOST_SUBMITTED - len(waiting)):
                try:
                    waiting[_submit(executor, task, beacon)] = task
                except BrokenExecutor:
                    left += [task, *rest]
            if not waiting:
                if failures:
                    tell(f"the executor failed with {len(failures)} shards, which this machine builds itself: {failures[0]}")
                return left
            for future in wait(waiting, PROGRESS_INTERVAL, FIRST_COMPLETED).done:
                task = waiting.pop(future)
                checksums = _checksums(future, task, failures)
                if checksums is None:
                    left.append(task)
                else:
                    progress.add(task.images.num_images)
                    built(task.number, checksums)
            progress.show()
    except BaseException:
        _stop(executor, beacon, waiting)
        raise


def _submit(executor: Executor, task: ShardTask, beacon: str) -> Future:
    try:
        # Pickled here: Dask looks into its arguments, and would take the same task a second time for done.
        future = executor.submit(_build, pickle.dumps(task), beacon)
    except BrokenExecutor:
        raise
    except (AttributeError, RuntimeError) as error:
        raise ArgumentError(f"{spelled('executor', executor)}: takes no task: {error}") from error
    if not isinstance(future, Future):
        raise ArgumentError(
            f"{spelled('executor', executor)}: gives a {type(future).__name__}, expected is a concurrent.futures.Future "
            "(for a Dask client, take client.get_executor())"
        )
    return future


def _checksums(future: Future, task: ShardTask, failures: list[str]) -> np.ndarray | None:
    """The checksums of the images of a shard that is built; None if the executor failed with it.

    What is not an error of kseq may be a fault of the executor, such as what Dask raises when workers died over a task several
    times, or when one dies while its result is on the way. It is noted in `failures`. If it is a fault of the task, building
    the shard here shows it again.
    """
    try:
        checksums: np.ndarray | None = future.result()
        return checksums
    except (BrokenExecutor, CancelledError):
        return None
    except _UnreadableError as error:
        if not _can_read_first(task):
            return None
        raise ArgumentError(f"a worker of the executor {error}, which this process can: {_SHARED}") from None
    except ImportError as error:
        raise ArgumentError(
            f"a worker of the executor cannot import what it needs ({error}): install kseq in its environment"
        ) from error
    except KseqError:
        raise
    except Exception as error:
        failures.append(f"{type(error).__name__}: {one_line(error)}")
        return None


def _stop(executor: Executor, beacon: str, waiting: dict[Future, ShardTask]) -> None:
    # Renamed, not removed, so that a task that starts only now returns at once and does not wait for a file to appear.
    with suppress(OSError):
        rename(beacon, beacon + _STOP_SUFFIX)
    # If a worker dies, the manager of this executor marks all tasks as failed, in Python 3.11 even those that were cancelled:
    # that ends the manager, and whoever shuts the executor down waits for ever. Its tasks see the file anyway.
    if not isinstance(executor, ProcessPoolExecutor):
        for future in waiting:
            future.cancel()
    wait(waiting, _STOPPED_WITHIN)


class _UnreadableError(Exception):
    """A worker cannot read the first image of a shard: nobody can, or the worker does not share the file system."""


def _build(pickled: bytes, beacon: str) -> np.ndarray | None:
    """In a worker: build a shard. Returns the checksums of its images; None if it was stopped."""
    task: ShardTask = pickle.loads(pickled)
    deadline = time.monotonic() + _VISIBLE_WITHIN
    while not os.path.exists(beacon):
        if os.path.exists(beacon + _STOP_SUFFIX):
            return None
        if time.monotonic() > deadline:
            raise ArgumentError(f"a worker of the executor on {socket.gethostname()} does not see {beacon}: {_SHARED}")
        time.sleep(_CHECK_INTERVAL)
    if not _can_read_first(task):
        raise _UnreadableError(f"on {socket.gethostname()} cannot read images of {task.source.place}")
    return build_shard(task, _BeaconCheck(beacon).is_there)


def _can_read_first(task: ShardTask) -> bool:
    """Whether the first image of a shard can be read, of those that are not rejected anyway."""
    try:
        first = next((image for image in task.images.read() if image.rejection is None), None)
        if first is not None:
            task.source.read(first)
    except ImageError:
        return False
    return True


class _BeaconCheck:
    """Checks now and then whether the beacon is still there."""

    def __init__(self, beacon: str) -> None:
        self._beacon = beacon
        self._next = time.monotonic() + _CHECK_INTERVAL

    def is_there(self, _: int) -> bool:
        """Whether to go on."""
        if time.monotonic() < self._next:
            return True
        self._next = time.monotonic() + _CHECK_INTERVAL
        try:
            # Opened, since network file systems may keep the status of a file for a minute.
            os.close(os.open(self._beacon, os.O_RDONLY))
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ESTALE)
        return True
