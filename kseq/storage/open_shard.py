"""Opens the shards that an index lists, wherever they lie."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress

from kseq.errors import DamagedError
from kseq.platforms.maps import Span
from kseq.storage.index import Index
from kseq.storage.layout import shard_name
from kseq.storage.opener import DatasetFile, Opener, opener_for
from kseq.storage.shard_reader import ShardReader

__all__ = ["CopyOpener", "fetch_shard", "has_shard", "open_shard"]


def open_shard(
    index: Index,
    position: int,
    span: Span | None = None,
    offset: int = 0,
    first_id: int | None = None,
    note_checked: Callable[[], object] | None = None,
) -> ShardReader:
    """Open a shard.

    Args:
        index: The index.
        position: Of the shard in its list.
        span: The stretch of addresses to map the file into; None for any free addresses.
        offset: Where in `span` the file begins, in bytes.
        first_id: The sample id of its first row, for messages; None where there are no sample ids.
        note_checked: Called if it was fetched, and every byte of its arrays compared with its digest.

    Raises:
        DatasetNotFoundError: If there is no such file.
        DamagedError: If it is truncated, or not the shard that the index says.
        ReadError: If the operating system or the store refuses.
    """
    path, entry, remote = index.shard_path(position), index.entry(position), index.remote
    local = opener_for(path, index.read, span, offset)
    if remote is None:
        return ShardReader(path, index.stored_fields, entry, local, first_id)
    name = shard_name(entry.number)
    shown = remote.shown_shard(name, index.dataset_id, entry)
    check = functools.partial(_check_copy, index, position, note_checked)
    opener = remote.shard_opener(name, index.dataset_id, entry, check, local)
    with suppress(DamagedError):
        return ShardReader(shown, index.stored_fields, entry, opener, first_id)
    # What lies in the cache may have changed since it was checked.
    remote.forget_shard(name, index.dataset_id, entry)
    return ShardReader(shown, index.stored_fields, entry, opener, first_id)


def fetch_shard(index: Index, position: int, note_checked: Callable[[], object] | None = None) -> None:
    """Fetch a shard into the cache of its dataset, unless it is there; nothing where there is no cache.

    Args:
        index: The index.
        position: Of the shard in its list.
        note_checked: As of `open_shard`.

    Raises:
        KseqError: As `open_shard` does, and WriteError if the cache cannot be written.
    """
    if index.remote is not None and index.remote.cache is not None:
        entry = index.entry(position)
        check = functools.partial(_check_copy, index, position, note_checked)
        index.remote.fetch_shard(shard_name(entry.number), index.dataset_id, entry, check)


def has_shard(index: Index, position: int) -> bool:
    """Whether a shard can be opened without asking a store for all of it."""
    if index.remote is None or index.remote.cache is None:
        return True
    entry = index.entry(position)
    return index.remote.has_shard(shard_name(entry.number), index.dataset_id, entry)


def _check_copy(index: Index, position: int, note_checked: Callable[[], object] | None, copy: str) -> None:
    """Read all of the local copy of a shard, and note that it is right.

    Raises:
        DamagedError: Unless it is what the index says, every byte of its arrays.
    """
    path = index.shard_path(position)
    ShardReader(path, index.stored_fields, index.entry(position), CopyOpener(copy, index.read)).check_digest()
    if note_checked is not None:
        note_checked()


class CopyOpener(Opener):
    """Opens a local copy of a file, whatever path is asked for, which messages name."""

    def __init__(self, copy: str, read: str = "pread") -> None:
        self._copy = copy
        self._read = read

    def open(self, path: str) -> DatasetFile:
        return opener_for(self._copy, self._read).open(self._copy, path)

    def names(self, folder: str) -> list[str]:
        raise NotImplementedError
