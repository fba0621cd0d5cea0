"""Building the shards of a packing: in this process, in worker processes, or on an executor of the caller."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import numpy as np

from kseq.arguments import choice, spelled, whole
from kseq.errors import ArgumentError, ImageError
from kseq.packing.build_shard import ShardTask, build_shard
from kseq.packing.executor_runner import build_on_executor
from kseq.packing.listed_images import listing_images
from kseq.packing.plan import Plan
from kseq.packing.process_runner import build_in_processes
from kseq.packing.progress import Progress
from kseq.platforms.processes import usable_cores
from kseq.storage.fields import Field
from kseq.storage.rejected import with_remedy

__all__ = ["build_shards", "check_run_arguments"]


def check_run_arguments(on_error: str, workers: int | None, executor: Executor | None, niceness: int) -> None:
    """Raise ArgumentError if a value is not allowed, or `executor` is given and anything about workers of kseq's own."""
    choice("on_error", on_error, ("skip", "fail"))
    whole("niceness", niceness, 0, 19)
    if workers is not None:
        whole("workers", workers, 0)
    if executor is not None and (workers is not None or niceness):
        name = "niceness" if workers is None else "workers"
        raise ArgumentError(f"{spelled(name)} and {spelled('executor')} exclude each other: give one of the two")


def build_shards(
    plan: Plan,
    paths: Mapping[int, str],
    workers: int | None,
    executor: Executor | None,
    niceness: int,
    progress: Callable[[int, int], None] | None,
    *,
    stop_at_error: bool,
    fields: tuple[Field, ...] | None = None,
    built: Callable[[int, np.ndarray], None] | None = None,
) -> None:
    """Build some shards of a plan.

    Args:
        plan: The plan.
        paths: The number of each shard to build and the file to make; all in one folder.
        workers: How many processes; 0 to build in this process, None for one process for each core.
        executor: Builds the shards instead. Shards over which its workers die are built by processes of this machine.
        niceness: By how many steps the processes stand back from others.
        progress: Called now and then with how many images are done and how many there are.
        stop_at_error: Raise at the first image that cannot be packed, instead of listing it.
        fields: What each sample of the shards holds; None for what the plan says.
        built: Called when a shard is whole, with its number and `(rows,)` uint64, the checksums of the images of its samples.
            While it does not return, no further shard is begun.

    Raises:
        ArgumentError: If the executor cannot be used, or its workers do not see the same files.
        ImageError: At the first broken image, if a task says so.
        WriteError: If the disk refuses.
        WorkerDiedError: If workers die whatever they do; shards that are whole stay.
    """
    total = len(plan.source.images)
    num_left = sum(len(plan.shard_images(number)) for number in paths)
    counter = Progress(total - num_left, total, progress)
    if not paths:
        counter.show()
        return
    stored_fields, source = fields or plan.fields(), plan.source.without_images()
    with listing_images(plan, paths, os.path.dirname(next(iter(paths.values())))) as images:
        tasks = [
            ShardTask(path, plan.dataset_id, number, source, images[number], stored_fields, plan.settings, stop_at_error)
            for number, path in paths.items()
        ]
        _run_tasks(tasks, workers, executor, niceness, counter, built or _ignore)


def _ignore(_: int, __: np.ndarray) -> None:
    """Nobody asks when a shard is whole."""


def _run_tasks(
    tasks: list[ShardTask],
    workers: int | None,
    executor: Executor | None,
    niceness: int,
    progress: Progress,
    built: Callable[[int, np.ndarray], None],
) -> None:
    progress.show()
    try:
        if executor is not None:
            tasks = build_on_executor(executor, tasks, progress, built)
        if workers == 0:
            for task in tasks:
                checksums = build_shard(task, progress.add)
                assert checksums is not None
                built(task.number, checksums)
        elif tasks:
            build_in_processes(tasks, usable_cores() if workers is None else workers, niceness, progress, built)
    except ImageError as error:
        # A worker process does not know how the caller spells arguments.
        raise type(error)(with_remedy(str(error))) from error
