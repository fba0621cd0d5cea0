"""Packing to a URL: shards are built in a temporary folder of this machine, and uploaded as they get whole.

The rules:

- A shard leaves this machine's disk when it has arrived and was read back. At most a shard for each worker, and `MOST_WAITING`
  that wait or are on their way, lie there: when more are whole, no further shard is begun.
- The index comes last. Until then, a dataset that is overwritten stays as it is: the new shards have other numbers. What only
  the old index named is removed at the end.
- What resuming needs, `.kseq-plan`, lies beside the shards, as in a folder. Shards that are there are read as a whole; what is
  damaged is built again.
- There are no locks at URLs. A record says what is packed there (`kseq/storage/writing_record.py`): a packing that finds that
  of another ends with an error before it uploads a shard or the index.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from kseq.arguments import shown_url, spelled
from kseq.errors import (
    DamagedError,
    DatasetExistsError,
    DatasetNotFoundError,
    FormatError,
    KseqError,
    SourceError,
    WriteError,
)
from kseq.packing.destination import BuildShards, Destination, publish
from kseq.packing.disk_space import check_disk_space
from kseq.packing.pack_report import PackReport
from kseq.packing.pack_result import ShardResult, join_shard_results, read_shard_result
from kseq.packing.plan import Plan
from kseq.packing.resume import advising_to_resume, check_index, images_in, other_packing
from kseq.packing.resume_record import ResumeRecord
from kseq.storage.atomic import remove_file
from kseq.storage.index import Index
from kseq.storage.layout import (
    INDEX_NAME,
    LAST_INDEX_NAME,
    RESUME_RECORD_NAME,
    WRITING_RECORD_NAME,
    is_dataset_file,
    shard_name,
    shard_number,
)
from kseq.storage.opener import opener_for
from kseq.storage.places import Place
from kseq.storage.shard_reader import ShardReader
from kseq.storage.url_place import place_at, spool_folder
from kseq.storage.writing_record import WritingRecord
from kseq.threads import ThreadPool

__all__ = ["UrlDestination"]

# So many shards are uploaded, or downloaded to be looked at, at a time; and so many may be whole and not uploaded yet.
_CONNECTIONS = 4
MOST_WAITING = 4


class UrlDestination(Destination):
    """A URL of any file system of fsspec that can be written.

    Args:
        url: The URL.
        storage_options: What the file system is made with.
        overwrite: Whether a dataset that lies there is replaced.
        resume: Whether an unfinished packing that lies there is gone on with.
        workers: How many processes build shards at a time.
    """

    def __init__(
        self, url: str, storage_options: Mapping[str, Any] | None, *, overwrite: bool, resume: bool, workers: int
    ) -> None:
        self.name = shown_url(url)
        self._url = url
        self._options = storage_options
        self._overwrite = overwrite
        self._resume = resume
        self._workers = workers
        self._folder = tempfile.gettempdir()
        self._has_begun = False

    @property
    def _place(self) -> Place:
        return place_at(self._url, self._folder, self._options)

    @contextmanager
    def opened(self) -> Iterator[str]:
        with spool_folder() as self._folder:
            self.check()
            with advising_to_resume(lambda: self._has_begun):
                yield self._folder

    def check(self) -> None:
        sizes = self._place.sizes()
        others = sorted(name for name, size in sizes.items() if size < 0 or not is_dataset_file(name))
        if others:
            raise DatasetExistsError(f"{self.name}: holds {others[0]!r}, which is not kseq's: take a new place")
        if sizes and not self._overwrite and not self._resume:
            state = "a dataset lies there (" if INDEX_NAME in sizes else "an unfinished packing or copy lies there ("
            way_out = "" if INDEX_NAME in sizes else f"{spelled('resume', True)} goes on with a packing, "
            raise DatasetExistsError(f"{self.name}: {state}{way_out}{spelled('overwrite', True)} replaces it)")

    def count_finished(self, plan: Plan, arguments: Mapping[str, Any]) -> int:
        with spool_folder() as self._folder:
            return len(self._find(plan, ResumeRecord.of(plan, arguments))[1])

    def free_bytes(self) -> int:
        return 0

    def pack(self, plan: Plan, arguments: Mapping[str, Any], build: BuildShards) -> PackReport:
        place, writing = self._place, WritingRecord(self._place, "pack", plan.dataset_id)
        record = ResumeRecord.of(plan, arguments)
        first, present = self._find(plan, record)
        results = self._read_present(plan, first, present)
        left = [number for number in range(plan.num_shards) if number not in results]
        num_resumed = len(results)
        check_disk_space(self._folder, plan, left[: self._workers + MOST_WAITING])
        writing.write()
        record.write(self._folder)
        place.store(os.path.join(self._folder, RESUME_RECORD_NAME), RESUME_RECORD_NAME)
        self._has_begun = True
        paths = {number: os.path.join(self._folder, shard_name(first + number)) for number in left}
        with _Uploads(place, writing, partial(_read_result, plan, first), paths) as uploads:
            build(plan, paths, uploads.add)
            results |= uploads.finish()
        try:
            result = join_shard_results(plan, (results[number] for number in sorted(results)))
        except SourceError:
            # Nothing could be packed, so nothing can be resumed. An error here must not hide why.
            with suppress(KseqError):
                for name in [*map(shard_name, range(first, first + plan.num_shards)), RESUME_RECORD_NAME, WRITING_RECORD_NAME]:
                    place.remove(name)
            raise
        report = publish(result, self._folder, num_resumed)
        writing.check()
        place.store(os.path.join(self._folder, INDEX_NAME), INDEX_NAME)
        used = {shard_name(entry.number) for entry in result.entries}
        for name in place.sizes():
            if name in (LAST_INDEX_NAME, RESUME_RECORD_NAME) or (shard_number(name) is not None and name not in used):
                place.remove(name)
        writing.remove()
        return report

    def _find(self, plan: Plan, record: ResumeRecord) -> tuple[int, set[int]]:
        """The number in the name of the first shard, and the numbers of the shards of the plan that are there already.

        Raises:
            DatasetExistsError: If other images were packed there, or with other settings, or the dataset was changed since.
        """
        place, sizes = self._place, self._place.sizes()
        index = self._open_index() if INDEX_NAME in sizes else None
        is_ours = index is not None and index.dataset_id == plan.dataset_id
        if not self._resume:
            return (0 if index is None else int(index.numbers.max()) + 1), set()
        earlier = self._earlier_record() if RESUME_RECORD_NAME in sizes else None
        if earlier is None and index is not None:
            check_index(self.name, index, plan, has_previous=LAST_INDEX_NAME in sizes)
        first = 0 if index is None else int(index.numbers.min()) if is_ours else int(index.numbers.max()) + 1
        numbers = {number for number in range(plan.num_shards) if shard_name(first + number) in sizes}
        if earlier is not None:
            differences = earlier.differences(record, images_in(plan, numbers))
            if differences:
                raise other_packing(self.name, differences)
        elif WRITING_RECORD_NAME in sizes and not WritingRecord(place, "pack", plan.dataset_id).is_there():
            raise other_packing(self.name, [])
        return first, numbers

    def _open_index(self) -> Index:
        """The index of the dataset that is there.

        Raises:
            DatasetExistsError: If it cannot be understood.
        """
        try:
            with self._place.at_hand(INDEX_NAME) as path:
                return Index.open(os.path.dirname(path), os.path.basename(path), read="pread")
        except (DamagedError, FormatError) as error:
            raise DatasetExistsError(
                f"{self.name}: holds an index that cannot be read: remove it, or take a new place"
            ) from error

    def _earlier_record(self) -> ResumeRecord | None:
        path = os.path.join(self._folder, RESUME_RECORD_NAME)
        self._place.fetch(RESUME_RECORD_NAME, path)
        return ResumeRecord.read(self._folder)

    def _read_present(self, plan: Plan, first: int, numbers: set[int]) -> dict[int, ShardResult]:
        """What the shards hold that are there already, by their numbers; without those that are damaged."""
        place = self._place

        def read(number: int) -> ShardResult | None:
            try:
                with place.at_hand(shard_name(first + number)) as path:
                    return _read_result(plan, first, number, path, is_checked=True)
            except (DamagedError, FormatError, DatasetNotFoundError):
                return None

        with ThreadPool(_CONNECTIONS) as threads:
            results = dict(zip(sorted(numbers), threads.map(read, sorted(numbers)), strict=True))
        return {number: result for number, result in results.items() if result is not None}


def _read_result(
    plan: Plan, first: int, number: int, path: str, checksums: np.ndarray | None = None, *, is_checked: bool = False
) -> ShardResult:
    """What a shard holds, a file of this machine.

    Args:
        plan: The plan.
        first: The number in the file name of the first shard.
        number: The number of the shard in the plan.
        path: The file.
        checksums: Of the images of its samples; None if they are not known.
        is_checked: Whether all of it is compared with its digest.

    Raises:
        DamagedError: If it is damaged, or of another plan.
        FormatError: If it is no shard.
    """
    reader = ShardReader(path, plan.fields(), opener=opener_for(path, "pread"))
    reader.check_origin(plan.dataset_id, number)
    if is_checked:
        reader.check_structure()
        reader.check_digest()
    return read_shard_result(plan, number, reader, first, checksums)


class _Uploads:
    """Shards on their way to a place, in threads: a context manager that waits for those that have begun.

    Who interrupts it does not wait for those that hang.

    Args:
        place: The place.
        writing: The record of what is written there.
        read_result: Reads what a shard holds, given its number in the plan, its file and the checksums of its images.
        paths: The number of each shard and its file.
    """

    def __init__(self, place: Place, writing: WritingRecord, read_result: Any, paths: Mapping[int, str]) -> None:
        self._place = place
        self._writing = writing
        self._read_result = read_result
        self._paths = paths
        self._threads = ThreadPool(_CONNECTIONS)
        self._pending: dict[Future[ShardResult], int] = {}
        self._results: dict[int, ShardResult] = {}

    def __enter__(self) -> _Uploads:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._threads.__exit__(kind, error, trace)

    def add(self, number: int, checksums: np.ndarray) -> None:
        """Upload a shard that is whole. Waits while too many are on their way.

        Raises:
            KseqError: If a shard could not be uploaded.
        """
        self._pending[self._threads.submit(self._send, number, checksums)] = number
        self._collect(MOST_WAITING)

    def finish(self) -> dict[int, ShardResult]:
        """Wait for all; returns what each shard holds, by its number.

        Raises:
            KseqError: If a shard could not be uploaded.
        """
        self._collect(0)
        return self._results

    def _collect(self, most: int) -> None:
        while True:
            for future in [future for future in self._pending if future.done()]:
                self._results[self._pending.pop(future)] = future.result()
            if len(self._pending) <= most:
                return
            wait(self._pending, return_when=FIRST_COMPLETED)

    def _send(self, number: int, checksums: np.ndarray) -> ShardResult:
        path = self._paths[number]
        result: ShardResult = self._read_result(number, path, checksums)
        self._writing.check()
        try:
            self._place.store(path, os.path.basename(path))
        except WriteError:
            # Who else writes there may be why.
            self._writing.check()
            raise
        remove_file(path)
        return result
