"""`verify`: reads every byte of a dataset and lists what is damaged."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kseq.arguments import is_url, path_or_url
from kseq.display.progress_bar import progress_shown
from kseq.errors import KseqError, WriteError
from kseq.reading.dataset import open_remote
from kseq.storage.index import Index
from kseq.storage.layout import shard_name
from kseq.storage.open_shard import CopyOpener
from kseq.storage.opener import opener_for
from kseq.storage.remote_folder import RemoteFolder
from kseq.storage.report import Report
from kseq.storage.shard_reader import ShardReader
from kseq.storage.url_place import spool_folder

__all__ = ["VerifyReport", "verify"]


@dataclass(frozen=True)
class VerifyReport(Report):
    """What `kseq.verify` found.

    Attributes:
        path: The dataset's folder.
        num_samples: How many samples the shards hold, dropped samples included.
        num_shards: How many shards there are.
        num_bytes: The size of the shards, in bytes.
        damaged: A line for each thing that is not as it should be; empty if the dataset is undamaged.
    """

    path: str
    num_samples: int
    num_shards: int
    num_bytes: int
    damaged: list[str] = field(repr=False)


def verify(
    dataset: str | os.PathLike[str],
    *,
    progress: Callable[[int, int], None] | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> VerifyReport:
    """Read every byte of a dataset and compare it with the checksums and digests that were stored when it was written.

    Damage is reported, not raised, and so is what the disk or the store cannot read of a shard. Under a URL, each shard is
    fetched into the folder for temporary files, and removed again; no cache is asked.

    Args:
        dataset: The dataset's folder, or its URL.
        progress: A function that is called after each shard with how many samples are done and there are.
            None: a bar where a person looks, on a terminal or in a notebook, else nothing. False: nothing. True: a bar.
        storage_options: Of a URL: what fsspec's file system gets, see `ShardDataset`.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        DamagedError: If the index itself cannot be read.
        FormatError: If the dataset was written by a newer kseq.
        ReadError: If the index cannot be read.
        WriteError: If the folder for temporary files has no room for a shard.
    """
    folder = path_or_url("dataset", dataset)
    index = Index.open(folder, remote=open_remote(folder, None, 0 if is_url(folder) else None, storage_options))
    damaged = index.check_all() + _check_ids("dropped", lambda: index.remaining)
    for name, ids in index.splits.items():
        damaged += _check_ids(f"split {name}", functools.partial(index.check_ids, ids))
    with progress_shown(progress, "samples") as show:
        for number in range(index.num_shards):
            damaged += _check_shard(index, number) if index.remote is None else _check_remote_shard(index, number, index.remote)
            if show is not None:
                show(int(index.starts[number + 1]), index.num_samples)
    return VerifyReport(index.path, index.num_samples, index.num_shards, int(index.num_bytes.sum()), damaged)


def _check_shard(index: Index, number: int) -> list[str]:
    path = index.shard_path(number)
    try:
        # Not by a map: where a disk cannot read a page of one, the operating system would end the process.
        return ShardReader(path, index.stored_fields, index.entry(number), opener_for(path, "pread")).check_all()
    except KseqError as error:
        return [str(error)]


def _check_remote_shard(index: Index, number: int, remote: RemoteFolder) -> list[str]:
    entry, path = index.entry(number), index.shard_path(number)
    name = shard_name(entry.number)
    with spool_folder() as folder:
        copy = os.path.join(folder, name)
        try:
            remote.files.get(name, copy)
            return ShardReader(path, index.stored_fields, entry, CopyOpener(copy)).check_all()
        except WriteError:
            # This machine has no room for a copy, which says nothing of the shard.
            raise
        except KseqError as error:
            return [str(error)]


def _check_ids(name: str, check: Callable[[], object]) -> list[str]:
    try:
        check()
    except KseqError as error:
        return [f"{error} ({name})"]
    return []
