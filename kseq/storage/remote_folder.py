"""The files of a dataset under a URL: through a cache of local copies, or range by range."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.errors import ArgumentError, DamagedError, DatasetNotFoundError
from kseq.storage.array_location import ArrayLocation
from kseq.storage.checksums import Digest
from kseq.storage.opener import DatasetFile, LocalOpener, MapOpener, Opener, PreadOpener, choose_read
from kseq.storage.pread_array import PreadArray, is_kept
from kseq.storage.remote_cache import FileCache, choose_cache
from kseq.storage.remote_files import RemoteFiles
from kseq.storage.remote_ranges import RangeMemory, RemoteSource
from kseq.storage.shard_entry import ShardEntry

__all__ = ["RemoteFolder", "open_remote_folder"]

# A copy may be removed between being found and being opened, by a process that needs room.
_MOST_TRIES = 3


@dataclass(frozen=True)
class RemoteFolder:
    """The folder of a dataset under a URL. Pickles to the URL, its options and the cache.

    Attributes:
        files: Its files.
        cache: Where copies of them lie; None to read ranges.
    """

    files: RemoteFiles
    cache: FileCache | None = None

    @functools.cached_property
    def memory(self) -> RangeMemory:
        """Ranges that were read ahead; without a cache."""
        return RangeMemory(self.files)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "cache": self.cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def choose_read(self, read: str) -> str:
        """`"map"` or `"pread"`: how the arrays of shards are read.

        Raises:
            ArgumentError: If a map is asked for, and there is no cache.
        """
        if self.cache is not None:
            return choose_read(_existing(self.cache.folder), read)
        if read == "map":
            raise ArgumentError(f"read='map': {self.files.url} is read without a cache, and only local copies can be mapped")
        return "pread"

    def check_room(self, num_bytes: np.ndarray) -> None:
        """Raise ArgumentError unless the cache has room for each shard of these sizes, `(shards,)`, in bytes."""
        most = None if self.cache is None else self.cache.most_bytes
        largest = int(num_bytes.max(initial=0))
        if most is not None and largest > most:
            raise ArgumentError(
                f"{self.files.url}: cache_bytes={most}: a shard has {largest} bytes, allowed is room for one, or 0 for no cache"
            )

    def open_index(self, name: str, check: Callable[[DatasetFile], None], read: str) -> DatasetFile:
        """Open an index: its copy, or all of it in memory.

        Args:
            name: Of the file.
            check: Raises DamagedError unless the file is whole; called when it has just been fetched.
            read: `"map"` or `"pread"`.

        Raises:
            DatasetNotFoundError: If there is no such file.
            DamagedError: If it is damaged.
            ReadError: If the store refuses, or does not answer.
        """
        size, version = self.files.entry(name)
        if size < 0:
            raise DatasetNotFoundError(f"{self.files.shown(name)}: is a folder, expected is a file")
        # An error if the server does not say how large it is.
        size = size or self.files.size(name)
        if self.cache is None:
            return self._index_in_memory(name, size, check)
        key = Digest(f"{self.files.source}\n{name}\n{size}\n{version}".encode()).hexdigest()
        copy = f"indexes/{key}"
        if version is None:
            # Nothing says whether the copy is of what lies there now.
            self.cache.forget(copy)

        def check_copy(path: str) -> None:
            with PreadOpener().open(path, self.files.shown(name)) as file:
                check(file)

        return self._open_copy(copy, name, size, check_copy, MapOpener() if read == "map" else PreadOpener())

    def _index_in_memory(self, name: str, size: int, check: Callable[[DatasetFile], None]) -> DatasetFile:
        step = 8 << 20
        starts = list(range(0, size, step))
        parts = self.files.read_ranges([name] * len(starts), starts, [min(start + step, size) for start in starts])
        file = _FileInMemory(self.files.shown(name), b"".join(parts))
        check(file)
        return file

    def fetch_shard(self, name: str, dataset_id: str, entry: ShardEntry, check: Callable[[str], None]) -> None:
        """Fetch a shard into the cache, unless it is there; nothing without a cache. Errors as of `FileCache.fetch`."""
        if self.cache is not None:
            copy = _copy_name(name, dataset_id, entry)
            self.cache.fetch(copy, entry.num_bytes, self._getter(name, entry.num_bytes), check)

    def has_shard(self, name: str, dataset_id: str, entry: ShardEntry) -> bool:
        """Whether a shard is in the cache."""
        return self.cache is not None and self.cache.has(_copy_name(name, dataset_id, entry), entry.num_bytes)

    def forget_shard(self, name: str, dataset_id: str, entry: ShardEntry) -> None:
        """Remove a shard from the cache."""
        if self.cache is not None:
            self.cache.forget(_copy_name(name, dataset_id, entry))

    def shown_shard(self, name: str, dataset_id: str, entry: ShardEntry) -> str:
        """What messages call a shard: its URL, and where its copy lies."""
        url = self.files.shown(name)
        if self.cache is None:
            return url
        return f"{url} (its copy {self.cache.path(_copy_name(name, dataset_id, entry))})"

    def shard_opener(
        self, name: str, dataset_id: str, entry: ShardEntry, check: Callable[[str], None], local: LocalOpener
    ) -> Opener:
        """What opens a shard.

        Args:
            name: Of its file.
            dataset_id: Of the dataset.
            entry: What the index says of it.
            check: Raises DamagedError unless the file at a path is that shard, with every byte.
            local: What opens its copy.
        """
        if self.cache is None:
            return _RangeOpener(self.memory, name, entry)
        copy = _copy_name(name, dataset_id, entry)
        shown = self.shown_shard(name, dataset_id, entry)
        return _CopyOpener(lambda: self._open_copy(copy, name, entry.num_bytes, check, local, shown))

    def _open_copy(
        self, copy: str, name: str, size: int, check: Callable[[str], None], local: LocalOpener, shown: str | None = None
    ) -> DatasetFile:
        """Open a copy, which is fetched if it is not in the cache."""
        assert self.cache is not None
        shown = shown or self.files.shown(name)

        def open_copy(path: str) -> DatasetFile | None:
            with suppress(DatasetNotFoundError):
                return local.open(path, shown)
            return None

        for _ in range(_MOST_TRIES):
            file = self.cache.open(copy, size, self._getter(name, size), check, open_copy)
            if file is not None:
                return file
        return local.open(self.cache.path(copy), shown)

    def _getter(self, name: str, size: int) -> Callable[[str, int], object]:
        return lambda path, start: self.files.get(name, path, size=size, start=start, is_flushed=True)


def open_remote_folder(
    url: str,
    storage_options: Mapping[str, Any] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = None,
) -> RemoteFolder:
    """The folder under a URL, by the arguments of `kseq.ShardDataset`.

    Raises:
        ArgumentError: If one is not allowed, or a package for such URLs is not installed.
    """
    return RemoteFolder(RemoteFiles(url, storage_options), choose_cache(cache_dir, cache_bytes))


def _copy_name(name: str, dataset_id: str, entry: ShardEntry) -> str:
    """Of a shard in the cache: by its content, so that what is packed again under the same URL has another name."""
    return f"{dataset_id}/{name.removesuffix('.h5')}-{entry.digest}"


def _existing(folder: str) -> str:
    """The folder, or the nearest one above it that is there."""
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


class _CopyOpener(Opener):
    """Opens the copy of a shard."""

    def __init__(self, open_copy: Callable[[], DatasetFile]) -> None:
        self._open_copy = open_copy

    def open(self, path: str) -> DatasetFile:
        return self._open_copy()

    def names(self, folder: str) -> list[str]:
        raise NotImplementedError


class _RangeOpener(Opener):
    """Opens a shard of which ranges are read."""

    def __init__(self, memory: RangeMemory, name: str, entry: ShardEntry) -> None:
        self._source = RemoteSource(memory, name, entry.num_bytes)
        self._entry = entry

    def open(self, path: str) -> DatasetFile:
        # In one go: the digest by which the shard is known, and what is read as a whole and kept, such as labels and offsets.
        entry = self._entry
        kept = [(one.offset, one.offset + one.num_bytes) for one in entry.arrays.values() if is_kept(one)]
        digest = (entry.digest_offset, entry.digest_offset + len(entry.digest))
        self._source.prepare([digest, *kept])
        return _RangeFile(self._source)

    def names(self, folder: str) -> list[str]:
        return list(self._source.memory.files.list())


class _RangeFile(DatasetFile):
    """A file of which ranges are read."""

    def __init__(self, source: RemoteSource) -> None:
        self.path = source.path
        self.num_bytes = source.num_bytes
        self._source = source

    def read(self, start: int, end: int) -> bytes:
        return bytes(self._source.read(start, end))

    def arrays(self, locations: Mapping[str, ArrayLocation]) -> dict[str, Any]:
        arrays = {name: PreadArray(self._source, location) for name, location in locations.items()}
        for name, location in locations.items():
            if is_kept(location):
                arrays[name].load()
        return dict(arrays)

    def close(self) -> None:
        """Nothing is open."""


class _FileInMemory(DatasetFile):
    """A file that was read as a whole."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.num_bytes = len(data)
        self._data = data

    def read(self, start: int, end: int) -> bytes:
        if end > self.num_bytes:
            raise DamagedError(f"{self.path}: ends at byte {self.num_bytes}, expected are {end} bytes or more")
        return self._data[start:end]

    def arrays(self, locations: Mapping[str, ArrayLocation]) -> dict[str, Any]:
        return {name: np.ndarray(shape, dtype, self._data, offset) for name, (offset, dtype, shape) in locations.items()}

    def close(self) -> None:
        """Nothing is open."""
