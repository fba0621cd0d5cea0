"""Going on with an unfinished packing: which shards are there, and whether they are of the same plan."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import DatasetExistsError, KseqError, SourceError
from kseq.packing.disk_space import check_disk_space
from kseq.packing.plan import Plan
from kseq.packing.resume_record import ResumeRecord
from kseq.storage.atomic import remove_file
from kseq.storage.index import Index
from kseq.storage.layout import INDEX_NAME, LAST_INDEX_NAME, RESUME_RECORD_NAME, is_packed_file, shard_name
from kseq.storage.output_folder import remove_dataset_files
from kseq.storage.shard_reader import ShardReader

__all__ = ["advising_to_resume", "open_shard", "resumable", "whole_shards"]


def open_shard(plan: Plan, folder: str, number: int) -> ShardReader:
    """A shard of this very plan.

    Raises:
        KseqError: Where there is none, or another.
    """
    reader = ShardReader(os.path.join(folder, shard_name(number)), plan.fields())
    reader.check_origin(plan.dataset_id, number)
    return reader


@contextmanager
def resumable(folder: str, plan: Plan, arguments: Mapping[str, Any]) -> Iterator[set[int]]:
    """Gives the numbers of the shards that are in the folder already; for a resume, keeps there what the plan was made from.

    Args:
        folder: The folder to pack into.
        plan: What is to be packed.
        arguments: Those of `kseq.pack` that the plan's settings do not hold.

    Raises:
        DatasetExistsError: Where other images were packed there, or with other settings.
        WriteError: Where the operating system refuses, or the disk cannot hold what is to be made.
    """
    now = ResumeRecord.of(plan, arguments)
    shards = whole_shards(folder, plan, now)
    check_disk_space(folder, plan, [number for number in range(plan.num_shards) if number not in shards])
    now.write(folder)
    try:
        yield shards
    except SourceError:
        # There was nothing to pack, so there is nothing to go on with.
        remove_dataset_files(folder)
        raise
    remove_file(os.path.join(folder, RESUME_RECORD_NAME))


@contextmanager
def advising_to_resume(folder: str) -> Iterator[None]:
    """Adds to a KeyboardInterrupt of the block, if an unfinished packing stays in the folder, how to go on with it."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if os.path.exists(os.path.join(folder, RESUME_RECORD_NAME)):
            interrupt.args = (f"what is packed stays, the same call with {spelled('resume', True)} goes on",)
        raise


def _check_unchanged(folder: str, index: Index, plan: Plan) -> None:
    """Raise DatasetExistsError unless an index is the one that this very plan has made, and nothing was changed since."""
    if index.changes or os.path.exists(os.path.join(folder, LAST_INDEX_NAME)):
        change = index.changes[-1] if index.changes else "what was taken back"
        raise DatasetExistsError(
            f"{folder}: was changed since it was packed ({change}), so it cannot be resumed: "
            f"{spelled('overwrite', True)} starts anew"
        )
    if index.dataset_id != plan.dataset_id:
        told = ResumeRecord.settings_told(json.loads(index.settings), json.loads(plan.settings.as_text()))
        raise _others(folder, f": {'; '.join(told)}" if told else "")


def whole_shards(folder: str, plan: Plan, now: ResumeRecord) -> set[int]:
    """The shards of this very plan that an earlier run published in a folder; they are whole, since publishing is atomic.

    Raises:
        DatasetExistsError: Where other images were packed there, or with other settings, or images have changed since.
    """
    names = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    numbers = {number for number in range(plan.num_shards) if shard_name(number) in names}
    found = {name for name in names if is_packed_file(name)}
    if found and (then := ResumeRecord.read(folder)) is not None:
        told = then.differences(now, _in_shards(plan, numbers))
        if told:
            raise _others(folder, f": {'; '.join(told)}")
    try:
        if INDEX_NAME in names:
            _check_unchanged(folder, Index.open(folder), plan)
        for number in numbers:
            open_shard(plan, folder, number)
    except DatasetExistsError:
        raise
    except KseqError as error:
        raise DatasetExistsError(
            f"{error} (it was packed from other images or with other settings: {spelled('overwrite', True)} starts anew)"
        ) from error
    others = sorted(found - {INDEX_NAME} - {shard_name(number) for number in numbers})
    if others:
        raise _others(os.path.join(folder, others[0]), "")
    return numbers


def _others(path: str, told: str) -> DatasetExistsError:
    remedy = f"{spelled('overwrite', True)} starts anew"
    return DatasetExistsError(f"{path}: was packed from other images or with other settings{told} ({remedy})")


def _in_shards(plan: Plan, numbers: set[int]) -> np.ndarray:
    """`(images,)` bool: which images of a plan lie in some shards."""
    packed = np.zeros(plan.shard_starts[-1], bool)
    for number in numbers:
        packed[plan.shard_starts[number] : plan.shard_starts[number + 1]] = True
    return packed
