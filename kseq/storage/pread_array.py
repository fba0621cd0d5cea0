"""Arrays that are read from an open file when they are indexed, so that a failing file is an exception.

A page of a mapped file that cannot be read ends the process (SIGBUS). A call that reads returns an error.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from kseq.errors import DamagedError, ReadError
from kseq.platforms.files import ask_ahead, read_into
from kseq.storage.array_location import ArrayLocation
from kseq.storage.read_times import note_read

__all__ = ["ByteSource", "OpenDescriptor", "PreadArray", "is_kept"]

# Arrays of a few bytes a row that are no larger than this are read as a whole, when they are first needed.
_KEPT_BYTES = 1 << 20
_SMALL_ROW = 16


class ByteSource(Protocol):
    """What the bytes of a file are read from, in any thread.

    Attributes:
        path: Of the file, for messages.
    """

    path: str

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fill buffers of bytes, one after the other, with the bytes from `offset` on.

        Raises:
            DamagedError: If the file ends before the last buffer is full.
            ReadError: If the operating system or the store refuses.
        """
        ...

    def ask_ahead(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Say which ranges of bytes, each from a start up to an end, are read soon."""
        ...

    def prepare(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Say which ranges of bytes are read next, one after the other, so that they can come all at once."""
        ...


class OpenDescriptor:
    """A file descriptor that is closed when nothing refers to it any more.

    Args:
        path: Of the file, for messages.
        descriptor: Open for reading.

    Attributes:
        path: As passed.
        descriptor: As passed.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def read_into(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fill buffers of bytes, one after the other, with the bytes from `offset` on.

        Raises:
            DamagedError: If the file ends before the last buffer is full.
            ReadError: If the operating system refuses.
        """
        wanted = sum(map(len, buffers))
        try:
            count = read_into(self.descriptor, buffers, offset)
        except OSError as error:
            raise ReadError(
                f"{self.path}: {wanted} bytes from byte {offset} cannot be read: {error.strerror} (open the dataset again when "
                "the file system works)"
            ) from error
        if count < wanted:
            raise DamagedError(f"{self.path}: ends at byte {offset + count}, expected are {offset + wanted} bytes or more")

    def ask_ahead(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Ask the operating system to read ranges of bytes soon."""
        for start, end in ranges:
            ask_ahead(self.descriptor, start, end - start)

    def prepare(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Nothing: a call for each range costs little."""

    def __del__(self) -> None:
        os.close(self.descriptor)


def is_kept(location: ArrayLocation) -> bool:
    """Whether an array is read as a whole when it is first needed, and kept."""
    row_bytes = np.dtype(location.dtype).itemsize * math.prod(location.shape[1:])
    return row_bytes <= _SMALL_ROW and location.num_bytes <= _KEPT_BYTES


class PreadArray:
    """An array in a file. Indexing it by a row, by rows or by a slice of rows reads these into a new numpy array.

    Args:
        file: The file.
        location: Where the array lies in it.

    Attributes:
        shape: Of the array.
        dtype: Of the array.
        nbytes: How many bytes it takes.
        is_kept: Whether it is read as a whole when it is first needed, and kept.
    """

    def __init__(self, file: ByteSource, location: ArrayLocation) -> None:
        self._file = file
        self._offset = location.offset
        self.shape = location.shape
        self.dtype = np.dtype(location.dtype)
        self.nbytes = location.num_bytes
        self._row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        self.is_kept = is_kept(location)
        self._kept: np.ndarray | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._whole().astype(self.dtype if dtype is None else dtype, copy=bool(copy))

    def __getitem__(self, key: Any) -> np.ndarray:
        """The elements of a row, of the rows of a slice in steps of 1, or of `(n,)` whole numbers of 0 or more.

        Raises:
            IndexError: If there is no such row.
            DamagedError: If the file has become shorter.
            ReadError: If the operating system refuses to read it.
        """
        if self.is_kept:
            kept: np.ndarray = self._whole()[key]
            return kept
        if isinstance(key, slice):
            start, end, _ = key.indices(len(self))
            return self._read(start, max(start, end))
        if isinstance(key, (int, np.integer)):
            row = int(key) + (len(self) if key < 0 else 0)
            self._check_rows(row, row)
            element: np.ndarray = self._read(row, row + 1)[0]
            return element
        rows = np.asarray(key)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        self.read_rows(rows, out, np.arange(len(rows)))
        return out

    def read_rows(self, rows: np.ndarray, out: np.ndarray, positions: np.ndarray) -> None:
        """Read some rows straight into other rows of an array. Neighbours in the file are read in one call.

        Args:
            rows: `(n,)` whole numbers, in any order.
            out: `(m, ...)` of the array's dtype, C-contiguous.
            positions: `(n,)` int64: into which row of `out` each goes.

        Raises:
            IndexError: If there is no such row.
            DamagedError: If the file has become shorter.
            ReadError: If the operating system refuses to read it.
        """
        if not len(rows):
            return
        if self.is_kept:
            out[positions] = self._whole()[rows]
            return
        order = np.argsort(rows, kind="stable")
        rising, targets = rows[order], positions[order].tolist()
        self._check_rows(int(rising[0]), int(rising[-1]))
        if not self._row_bytes:
            return
        size, data = self._row_bytes, memoryview(out.reshape(-1).view(np.uint8))
        runs = self._runs(rising)
        if len(runs) > 1:
            self._file.prepare(
                [
                    (self._offset + int(rising[one]) * size, self._offset + (int(rising[two - 1]) + 1) * size)
                    for one, two in runs
                ]
            )
        for start, end in runs:
            buffers = [data[target * size : (target + 1) * size] for target in targets[start:end]]
            self._read_into(buffers, self._offset + int(rising[start]) * size)

    def _runs(self, rising: np.ndarray) -> list[tuple[int, int]]:
        """The positions in rising rows at which a run of neighbours in the file begins, and ends."""
        edges = (np.flatnonzero(np.diff(rising) != 1) + 1).tolist()
        return list(zip([0, *edges], [*edges, len(rising)], strict=True))

    def _check_rows(self, first: int, last: int) -> None:
        if first < 0 or last >= len(self):
            raise IndexError(f"{self._file.path}: rows {first} to {last} are not in [0, {len(self)})")

    def load(self) -> None:
        """Read it as a whole now, if it is kept; errors as of `read_rows`."""
        if self.is_kept:
            self._whole()

    def _whole(self) -> np.ndarray:
        if self._kept is not None:
            return self._kept
        whole = self._read(0, len(self))
        # As a map: who changed what is kept would change what is read later.
        whole.flags.writeable = False
        if self.is_kept:
            self._kept = whole
        return whole

    def _read(self, start: int, end: int) -> np.ndarray:
        """The rows from `start` up to `end`, in a new array."""
        rows = np.empty((end - start, *self.shape[1:]), self.dtype)
        if rows.size:
            self._read_into([memoryview(rows.reshape(-1).view(np.uint8))], self._offset + start * self._row_bytes)
        return rows

    def _read_into(self, buffers: Sequence[memoryview], offset: int) -> None:
        started = time.perf_counter()
        self._file.read_into(buffers, offset)
        note_read(time.perf_counter() - started)

    def will_need(self, starts: np.ndarray, ends: np.ndarray) -> None:
        """Say that ranges of bytes, counted from the beginning of the array, are read soon."""
        self._file.ask_ahead(self.ranges(starts, ends))

    def ranges(self, starts: np.ndarray, ends: np.ndarray) -> list[tuple[int, int]]:
        """Where ranges of bytes, counted from the beginning of the array, begin and end in the file."""
        return list(zip((self._offset + starts).tolist(), (self._offset + ends).tolist(), strict=True))

    @property
    def file(self) -> ByteSource:
        """What the array is read from."""
        return self._file
