"""Going on with an unfinished packing: which shards it has, and whether they belong to the same plan."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import DatasetExistsError, KseqError, SourceError
from kseq.packing.disk_space import check_disk_space
from kseq.packing.plan import Plan
from kseq.packing.resume_record import ResumeRecord, describe_settings
from kseq.packing.settings import format_settings
from kseq.platforms.interrupts import unhidden
from kseq.storage.atomic import remove_file
from kseq.storage.index import Index
from kseq.storage.layout import INDEX_NAME, LAST_INDEX_NAME, RESUME_RECORD_NAME, is_packed_file, shard_name
from kseq.storage.output_folder import remove_dataset_files
from kseq.storage.shard_reader import ShardReader

__all__ = [
    "advising_to_resume",
    "check_index",
    "find_shards",
    "first_number",
    "has_unfinished_packing",
    "images_in",
    "open_shard",
    "other_packing",
    "resumable",
]


def first_number(folder: str) -> int:
    """The number in the file name of the first shard of a packing: not 0 where the dataset replaced another inside its folder.

    Raises:
        KseqError: If there is an index that cannot be read.
    """
    return int(Index.open(folder).numbers.min()) if os.path.exists(os.path.join(folder, INDEX_NAME)) else 0


def open_shard(plan: Plan, folder: str, number: int, first: int = 0) -> ShardReader:
    """Open a shard of this plan.

    Args:
        plan: The plan.
        folder: The folder of the dataset.
        number: The number of the shard in the plan.
        first: The number in the file name of the first shard.

    Raises:
        KseqError: If there is no such shard, or it belongs to another plan.
    """
    reader = ShardReader(os.path.join(folder, shard_name(first + number)), plan.fields())
    reader.check_origin(plan.dataset_id, number)
    return reader


@contextmanager
def resumable(folder: str, plan: Plan, arguments: Mapping[str, Any]) -> Iterator[set[int]]:
    """Gives the numbers of the shards that the folder has already, and keeps a record of the plan there until the block ends.

    Args:
        folder: The folder to pack into.
        plan: What is to be packed.
        arguments: The arguments of `kseq.pack` that are not part of the image settings.

    Raises:
        DatasetExistsError: If other images were packed there, or with other settings.
        WriteError: If the operating system refuses, or the disk cannot hold the shards that are to be built.
    """
    record = ResumeRecord.of(plan, arguments)
    shards = find_shards(folder, plan, record)
    check_disk_space(folder, plan, [number for number in range(plan.num_shards) if number not in shards])
    record.write(folder)
    try:
        yield shards
    except SourceError:
        # Nothing could be packed, so nothing can be resumed. An error here must not hide why.
        with suppress(KseqError, OSError):
            remove_dataset_files(folder)
        raise
    remove_file(os.path.join(folder, RESUME_RECORD_NAME))


def has_unfinished_packing(folder: str) -> bool:
    """Whether a packing was begun in a folder that another call can go on with."""
    return os.path.exists(os.path.join(folder, RESUME_RECORD_NAME))


@contextmanager
def advising_to_resume(stays: Callable[[], bool]) -> Iterator[None]:
    """Adds to a KeyboardInterrupt of the block how to go on.

    Args:
        stays: Says whether anything stays to go on with.
    """
    try:
        with unhidden():
            yield
    except KeyboardInterrupt as interrupt:
        if stays():
            interrupt.args = (f"what is packed stays, the same call with {spelled('resume', True)} goes on",)
        raise


def find_shards(folder: str, plan: Plan, record: ResumeRecord) -> set[int]:
    """The numbers of the shards of this plan that an earlier run published; publishing is atomic, so they are whole.

    Args:
        folder: The folder of the dataset, or where it is to be made.
        plan: What is to be packed.
        record: The record of that plan.

    Raises:
        DatasetExistsError: If other images were packed there, or with other settings, or images have changed since.
    """
    names = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    packed_files = {name for name in names if is_packed_file(name)}
    try:
        first = first_number(folder)
    except KseqError as error:
        raise other_packing(folder, [str(error)]) from error
    numbers = {number for number in range(plan.num_shards) if shard_name(first + number) in names}
    if packed_files and (earlier := ResumeRecord.read(folder)) is not None:
        differences = earlier.differences(record, images_in(plan, numbers))
        if differences:
            raise other_packing(folder, differences)
    try:
        if INDEX_NAME in names:
            check_index(folder, Index.open(folder), plan, has_previous=LAST_INDEX_NAME in names)
        for number in numbers:
            open_shard(plan, folder, number, first)
    except DatasetExistsError:
        raise
    except KseqError as error:
        raise other_packing(folder, [str(error)]) from error
    unknown = sorted(packed_files - {INDEX_NAME} - {shard_name(first + number) for number in numbers})
    if unknown:
        raise other_packing(folder, [f"{unknown[0]} is none of its {plan.num_shards} shards"])
    return numbers


def check_index(folder: str, index: Index, plan: Plan, *, has_previous: bool) -> None:
    """Raise DatasetExistsError unless an index was made by this plan and was not changed since.

    Args:
        folder: The folder or the URL, for messages.
        index: The index.
        plan: The plan.
        has_previous: Whether the index before the last change lies beside it.
    """
    if index.changes or has_previous:
        change = index.changes[-1] if index.changes else "a change that was undone"
        raise DatasetExistsError(
            f"{folder}: was changed since it was packed ({change}), so packing cannot go on: "
            f"{spelled('overwrite', True)} starts anew"
        )
    if index.dataset_id != plan.dataset_id:
        raise other_packing(folder, describe_settings(index.parse_settings(), json.loads(format_settings(plan.settings))))


def other_packing(folder: str, differences: Sequence[str]) -> DatasetExistsError:
    """The error to raise if what lies in a folder, or at a URL, is not of the plan; `differences` are in words."""
    details = f": {'; '.join(differences)}" if differences else ""
    return DatasetExistsError(
        f"{folder}: was packed from other images or with other settings{details} ({spelled('overwrite', True)} starts anew)"
    )


def images_in(plan: Plan, numbers: set[int]) -> np.ndarray:
    """`(images,)` bool: the images of a plan that lie in some shards."""
    is_packed = np.zeros(plan.shard_starts[-1], bool)
    for number in numbers:
        is_packed[plan.shard_starts[number] : plan.shard_starts[number + 1]] = True
    return is_packed
