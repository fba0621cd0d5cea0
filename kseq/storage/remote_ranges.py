"""Ranges of remote files: read many at once, neighbours merged, and kept in memory until they are used."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from kseq.errors import DamagedError, ReadError
from kseq.storage.remote_files import RemoteFiles

__all__ = ["RangeMemory", "RemoteSource", "read_together"]

# Two ranges of a file with so few bytes between them are read as one, as long as they are not larger than this together: a
# request takes as long as so many bytes do.
_MOST_GAP, _MOST_MERGED = 64 << 10, 8 << 20

# So many bytes that were read ahead of their use stay in memory, for all files of a dataset.
_MOST_KEPT = 256 << 20


class RangeMemory:
    """Ranges of the files below a URL that were read before they are used. Safe to use from many threads, and after a fork.

    Args:
        files: The files.
        most_bytes: How many bytes are kept: those that were read last.
    """

    def __init__(self, files: RemoteFiles, most_bytes: int = _MOST_KEPT) -> None:
        self.files = files
        self._most_bytes = most_bytes
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        # By file and start, the oldest first; and by file where ranges start, rising.
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._starts: dict[str, list[int]] = {}
        self._num_bytes = 0
        # Guards all of these. Nothing is read under it.
        self._lock = threading.Lock()

    def read_ahead(self, wanted: Iterable[tuple[str, int, int]]) -> None:
        """Read ranges, each a file's name and the bytes from a start up to an end, unless they are kept already.

        Raises:
            KseqError: As `RemoteFiles.read_ranges` does.
        """
        merged = _merge(one for one in wanted if one[2] > one[1] and self._find(*one) is None)
        if not merged:
            return
        names, starts, ends = (list(column) for column in zip(*merged, strict=True))
        for name, start, data in zip(names, starts, self.files.read_ranges(names, starts, ends), strict=True):
            self._keep(name, start, data)

    def read(self, name: str, start: int, end: int) -> memoryview:
        """A range of a file; errors as of `RemoteFiles.read`."""
        found = self._find(name, start, end)
        return memoryview(self.files.read(name, start, end)) if found is None else found

    def _find(self, name: str, start: int, end: int) -> memoryview | None:
        if self._process != os.getpid():
            # A thread that a child does not have may hold the lock.
            self._reset()
        with self._lock:
            starts = self._starts.get(name, [])
            position = bisect_right(starts, start) - 1
            if position < 0:
                return None
            first = starts[position]
            data = self._kept[name, first]
        return memoryview(data)[start - first : end - first] if end - first <= len(data) else None

    def _keep(self, name: str, start: int, data: bytes) -> None:
        with self._lock:
            old = self._kept.pop((name, start), None)
            if old is None:
                insort(self._starts.setdefault(name, []), start)
            self._kept[name, start] = data
            self._num_bytes += len(data) - len(old or b"")
            while self._num_bytes > self._most_bytes and len(self._kept) > 1:
                (oldest, first), dropped = self._kept.popitem(last=False)
                self._num_bytes -= len(dropped)
                self._starts[oldest].remove(first)


def _merge(wanted: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The same ranges, those of neighbours in a file as one."""
    merged: list[tuple[str, int, int]] = []
    for name, start, end in sorted(wanted):
        if merged:
            last_name, first, last = merged[-1]
            if name == last_name and start <= last + _MOST_GAP and max(end, last) - first <= _MOST_MERGED:
                merged[-1] = (name, first, max(end, last))
                continue
        merged.append((name, start, end))
    return merged


class RemoteSource:
    """The bytes of a remote file, as `kseq.storage.pread_array.PreadArray` reads them.

    Args:
        memory: What reads ranges, and keeps those that were read ahead.
        name: Of the file.
        num_bytes: The size that it should have.

    Attributes:
        path: Its URL, for messages.
        memory: As passed.
        name: As passed.
        num_bytes: As passed.
    """

    def __init__(self, memory: RangeMemory, name: str, num_bytes: int) -> None:
        self.path = memory.files.shown(name)
        self.num_bytes = num_bytes
        self.memory = memory
        self.name = name

    def read(self, start: int, end: int) -> memoryview:
        """The bytes from `start` up to `end`.

        Raises:
            DamagedError: If the file is shorter than it should be.
            ReadError: If the store refuses, or does not answer.
            DatasetNotFoundError: If there is no such file.
        """
        try:
            return self.memory.read(self.name, start, end)
        except ReadError as error:
            raise self._blame(error) from None

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fill buffers of bytes, one after the other, with the bytes from `offset` on; errors as of `read`."""
        data, start = self.read(offset, offset + sum(map(len, buffers))), 0
        for buffer in buffers:
            buffer[:] = data[start : start + len(buffer)]
            start += len(buffer)

    def ask_ahead(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Nothing: a batch that is read ahead asks for its own ranges, see `wanted`."""

    def prepare(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Read ranges of bytes, many at once; errors as of `read`."""
        read_together((self, start, end) for start, end in ranges)

    def _blame(self, error: ReadError) -> ReadError | DamagedError:
        """The error of a range that could not be read: DamagedError if the file has another size."""
        try:
            size = self.memory.files.size(self.name)
        except (ReadError, FileNotFoundError):
            return error
        if size == self.num_bytes:
            return error
        return DamagedError(f"{self.path}: has {size} bytes, expected are {self.num_bytes}")


def read_together(wanted: Iterable[tuple[RemoteSource, int, int]]) -> None:
    """Read ranges of several files into memory, each a file and the bytes from a start up to an end, many at once.

    Raises:
        DamagedError: If a file is shorter than it should be.
        ReadError: If the store refuses, or does not answer.
        DatasetNotFoundError: If there is no such file.
    """
    memories: dict[int, RangeMemory] = {}
    ranges: dict[int, list[tuple[str, int, int]]] = {}
    for source, start, end in wanted:
        memories[id(source.memory)] = source.memory
        ranges.setdefault(id(source.memory), []).append((source.name, start, end))
    for key, memory in memories.items():
        memory.read_ahead(ranges[key])
