"""Where a packing writes to: a folder of this machine; `url_destination` has the other kind."""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from kseq.packing.disk_space import free_bytes
from kseq.packing.pack_report import PackReport
from kseq.packing.pack_result import PackResult, read_pack_result
from kseq.packing.plan import Plan
from kseq.packing.resume import (
    advising_to_resume,
    find_shards,
    first_number,
    has_unfinished_packing,
    open_shard,
    resumable,
)
from kseq.packing.resume_record import ResumeRecord
from kseq.packing.settings import format_settings
from kseq.storage.index import Contents
from kseq.storage.index_writer import write_index
from kseq.storage.layout import INDEX_NAME, shard_name
from kseq.storage.output_folder import check_target, target_folder

__all__ = ["BuildShards", "Destination", "FolderDestination", "kept_notes", "publish"]

# Builds some shards of a plan, given the number of each and the file to make; calls the function with each number when its file
# is whole, and with the checksums of its images.
BuildShards = Callable[[Plan, Mapping[int, str], Callable[[int, np.ndarray], None]], None]


class Destination(ABC):
    """Where a packing writes to.

    Attributes:
        name: The folder or the URL, for messages and the report.
    """

    name: str

    @abstractmethod
    def opened(self) -> AbstractContextManager[str]:
        """A folder of this machine to build in, until the end of the block.

        Raises:
            DatasetExistsError: If something lies at the destination that must not be changed.
            LockedError: If another process packs there.
            WriteError: If it cannot be written.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise DatasetExistsError if something lies at the destination that must not be changed."""

    @abstractmethod
    def count_finished(self, plan: Plan, arguments: Mapping[str, Any]) -> int:
        """How many shards an earlier run has built, if that may be gone on with; nothing is written.

        Raises:
            DatasetExistsError: If other images were packed there, or with other settings.
        """

    @abstractmethod
    def pack(self, plan: Plan, arguments: Mapping[str, Any], build: BuildShards) -> PackReport:
        """Build the shards that are not there yet, and publish the index.

        Args:
            plan: The plan.
            arguments: The arguments of `kseq.pack` that are not part of the image settings.
            build: Builds shards.

        Raises:
            DatasetExistsError: If other images were packed there, or with other settings.
            WriteError: If it cannot be written.
        """

    @abstractmethod
    def free_bytes(self) -> int:
        """How many bytes are free there; 0 if that is not known."""


class FolderDestination(Destination):
    """A folder of this machine.

    Args:
        target: The folder.
        overwrite: Whether a dataset that lies there is replaced.
        resume: Whether an unfinished packing that lies there is gone on with.
    """

    def __init__(self, target: str, *, overwrite: bool, resume: bool) -> None:
        self.name = os.path.normpath(target)
        self._overwrite = overwrite
        self._resume = resume
        self._folder = ""

    @contextmanager
    def opened(self) -> Iterator[str]:
        with (
            advising_to_resume(lambda: has_unfinished_packing(self.name)),
            target_folder(self.name, overwrite=self._overwrite, resume=self._resume) as self._folder,
        ):
            yield self._folder

    def check(self) -> None:
        check_target(self.name, overwrite=self._overwrite, resume=self._resume)

    def count_finished(self, plan: Plan, arguments: Mapping[str, Any]) -> int:
        return len(find_shards(self.name, plan, ResumeRecord.of(plan, arguments))) if self._resume else 0

    def pack(self, plan: Plan, arguments: Mapping[str, Any], build: BuildShards) -> PackReport:
        with resumable(self._folder, plan, arguments) as finished:
            first = first_number(self._folder)
            paths = {
                number: os.path.abspath(os.path.join(self._folder, shard_name(first + number)))
                for number in range(plan.num_shards)
                if number not in finished
            }
            checksums: dict[int, np.ndarray] = {}
            build(plan, paths, checksums.__setitem__)
            result = read_pack_result(plan, functools.partial(open_shard, plan, self._folder, first=first), first, checksums)
            return publish(result, self._folder, len(finished))

    def free_bytes(self) -> int:
        return free_bytes(self.name)


def publish(result: PackResult, folder: str, num_resumed: int) -> PackReport:
    """Write the index that makes the shards a dataset.

    Args:
        result: What the shards hold.
        folder: Where the index is written.
        num_resumed: How many of the shards an earlier run has built.

    Raises:
        WriteError: If the disk refuses.
    """
    plan, splits = result.plan, result.splits()
    report = result.report(splits, num_resumed=num_resumed, num_bytes=0)
    contents = Contents(
        dataset_id=plan.dataset_id,
        fields=result.fields,
        class_names=plan.source.class_names,
        shards=result.entries,
        splits=splits,
        rejected=result.rejected,
        settings=format_settings(plan.settings),
        box_facts=result.box_facts,
        packing_notes=kept_notes(report.lines, plan.source.place),
    )
    write_index(folder, contents)
    return replace(report, num_bytes=result.num_bytes + os.path.getsize(os.path.join(folder, INDEX_NAME)))


def kept_notes(lines: Sequence[str], root: str) -> list[str]:
    """Lines as an index keeps them: without the path of the source, on which the bytes of a dataset do not depend."""
    return [line.removeprefix(f"{root}: ") for line in lines]
