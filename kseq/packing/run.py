"""Who builds the shards of a packing: this process, processes of its own, or an executor that was given."""

from __future__ import annotations

from concurrent.futures import Executor

from kseq.arguments import spelled, whole
from kseq.errors import ArgumentError, ImageError
from kseq.packing.build_shard import ShardTask, build_shard
from kseq.packing.executor_runner import build_on_executor
from kseq.packing.process_runner import build_in_processes
from kseq.packing.progress import Progress
from kseq.storage.rejected import with_remedy
from kseq.workers import usable_cores

__all__ = ["check_workers", "run_tasks"]


def check_workers(workers: int | None, executor: Executor | None) -> None:
    """Raise ArgumentError unless who is to build shards is said once, and `workers` is a number of 0 or more."""
    if workers is not None:
        whole("workers", workers, 0)
        if executor is not None:
            raise ArgumentError(f"{spelled('workers')} and {spelled('executor')} exclude each other: give one of the two")


def run_tasks(tasks: list[ShardTask], workers: int | None, executor: Executor | None, progress: Progress) -> None:
    """Build shards.

    Args:
        tasks: What to build.
        workers: Processes; 0 to work in this one, None for as many as there are cores.
        executor: Builds them instead; what its workers die over is left to processes of this one.
        progress: Told of images that are done.

    Raises:
        ArgumentError: Where the executor cannot be used, or its workers do not see the same files.
        ImageError: At the first broken image, where a task says so.
        WriteError: Where the disk refuses.
        WorkerDiedError: Where workers die whatever they do; shards that are whole stay.
    """
    progress.show()
    try:
        if executor is not None:
            tasks = build_on_executor(executor, tasks, progress)
        if workers == 0:
            for task in tasks:
                build_shard(task, progress.add)
        elif tasks:
            build_in_processes(tasks, usable_cores() if workers is None else workers, progress)
    except ImageError as error:
        # It may come from a process that does not know who has called.
        raise type(error)(with_remedy(str(error))) from error
