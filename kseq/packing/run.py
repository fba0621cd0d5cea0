"""Building the shards of a packing: in this process, in worker processes, or on an executor of the caller."""

from __future__ import annotations

from concurrent.futures import Executor

from kseq.arguments import choice, spelled, whole
from kseq.errors import ArgumentError, ImageError
from kseq.packing.build_shard import ShardTask, build_shard
from kseq.packing.executor_runner import build_on_executor
from kseq.packing.process_runner import build_in_processes
from kseq.packing.progress import Progress
from kseq.platforms.processes import usable_cores
from kseq.storage.rejected import with_remedy

__all__ = ["check_run_arguments", "run_tasks"]


def check_run_arguments(on_error: str, workers: int | None, executor: Executor | None) -> None:
    """Raise ArgumentError if a value is not allowed, or both `workers` and `executor` are given."""
    choice("on_error", on_error, ("skip", "fail"))
    if workers is not None:
        whole("workers", workers, 0)
        if executor is not None:
            raise ArgumentError(f"{spelled('workers')} and {spelled('executor')} exclude each other: give one of the two")


def run_tasks(tasks: list[ShardTask], workers: int | None, executor: Executor | None, progress: Progress) -> None:
    """Build shards.

    Args:
        tasks: The shards to build.
        workers: How many processes; 0 to build in this process, None for one process for each core.
        executor: Builds the shards instead. Shards over which its workers die are built by processes of this machine.
        progress: Counts the images that are done.

    Raises:
        ArgumentError: If the executor cannot be used, or its workers do not see the same files.
        ImageError: At the first broken image, if a task says so.
        WriteError: If the disk refuses.
        WorkerDiedError: If workers die whatever they do; shards that are whole stay.
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
        # A worker process does not know how the caller spells arguments.
        raise type(error)(with_remedy(str(error))) from error
