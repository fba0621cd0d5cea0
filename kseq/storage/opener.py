"""Opens the files of a dataset for reading: the only module that does.

Shards and indexes are read through an `Opener`. `MapOpener` opens files of the file system and maps them into memory;
`PreadOpener` reads from them what is asked for. Another way to the same bytes is one more implementation of `Opener` and
`DatasetFile`: those of `kseq.storage.remote_folder` read what lies under a URL.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from kseq.arguments import is_url
from kseq.errors import DamagedError, DatasetNotFoundError, ReadError
from kseq.platforms.files import is_remote, open_to_read
from kseq.platforms.maps import Span, map_file
from kseq.storage.array_location import ArrayLocation
from kseq.storage.pread_array import OpenDescriptor, PreadArray

__all__ = [
    "READ",
    "DatasetFile",
    "LocalOpener",
    "MapOpener",
    "Opener",
    "PreadOpener",
    "absolute_path",
    "choose_read",
    "opener_for",
]

# The ways to get bytes, as users name them.
READ = ("auto", "map", "pread")


class DatasetFile(ABC):
    """A file of a dataset, open for reading: a context manager that closes it.

    Attributes:
        path: Its path, for messages.
        num_bytes: Its size when it was opened.
    """

    path: str
    num_bytes: int

    @abstractmethod
    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`.

        Raises:
            DamagedError: If the file ends before `end`.
            ReadError: If the operating system refuses.
        """

    @abstractmethod
    def arrays(self, locations: Mapping[str, ArrayLocation]) -> dict[str, Any]:
        """The arrays of the file by name, as numpy's or, read when they are indexed, as `PreadArray`.

        They outlive the open file. All of them must lie inside it.

        Raises:
            ReadError: If the operating system refuses.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file. Maps of it stay."""

    def __enter__(self) -> DatasetFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Opener(ABC):
    """A way to the bytes of a dataset's files."""

    @abstractmethod
    def open(self, path: str) -> DatasetFile:
        """Open a file.

        Raises:
            DatasetNotFoundError: If there is no such file.
            DamagedError: If it is not a regular file.
            ReadError: If the operating system refuses.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder.

        Raises:
            DatasetNotFoundError: If there is no such folder.
            ReadError: If the operating system refuses.
        """


class LocalOpener(Opener):
    """Opens files of the file system."""

    def open(self, path: str, shown: str | None = None) -> DatasetFile:
        """Open a file, which messages call `shown`, if that is given; errors as of `Opener.open`."""
        try:
            file, status = _open_with_status(path, shown or path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DatasetNotFoundError(f"{path}: there is no such file") from error
        except OSError as error:
            raise ReadError(f"{path}: cannot be opened: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(f"{path}: is not a regular file")
        return self._file(file, status.st_size)

    @abstractmethod
    def _file(self, file: OpenDescriptor, num_bytes: int) -> DatasetFile:
        """What reads an open file of that size."""

    def names(self, folder: str) -> list[str]:
        if not os.path.exists(folder):
            raise DatasetNotFoundError(f"{folder}: there is no such folder")
        if not os.path.isdir(folder):
            raise DatasetNotFoundError(f"{folder}: is a file, expected is the folder of a dataset")
        try:
            return os.listdir(folder)
        except OSError as error:
            raise ReadError(f"{folder}: cannot be listed: {error.strerror}") from error


def _open_with_status(path: str, shown: str) -> tuple[OpenDescriptor, os.stat_result]:
    descriptor = open_to_read(path)
    try:
        status = os.fstat(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return OpenDescriptor(shown, descriptor), status


@dataclass(frozen=True)
class MapOpener(LocalOpener):
    """Opens files of the file system, and maps them.

    Args:
        span: The stretch of addresses to map a file into; None for any free addresses.
        offset: Where in `span` a file begins, in bytes: a multiple of the page size.
    """

    span: Span | None = None
    offset: int = 0

    def _file(self, file: OpenDescriptor, num_bytes: int) -> DatasetFile:
        return _MappedFile(file, num_bytes, self)


@dataclass(frozen=True)
class PreadOpener(LocalOpener):
    """Opens files of the file system, and reads from them what is asked for: a failure is an exception."""

    def _file(self, file: OpenDescriptor, num_bytes: int) -> DatasetFile:
        return _PreadFile(file, num_bytes)


class _LocalFile(DatasetFile):
    """An open file of the file system."""

    def __init__(self, file: OpenDescriptor, num_bytes: int) -> None:
        self.path = file.path
        self.num_bytes = num_bytes
        self._file: OpenDescriptor | None = file

    @property
    def _opened(self) -> OpenDescriptor:
        assert self._file is not None
        return self._file

    def read(self, start: int, end: int) -> bytes:
        data = bytearray(end - start)
        self._opened.read_into([memoryview(data)], start)
        return bytes(data)

    def close(self) -> None:
        self._file = None


class _MappedFile(_LocalFile):
    def __init__(self, file: OpenDescriptor, num_bytes: int, opener: MapOpener) -> None:
        super().__init__(file, num_bytes)
        self._opener = opener

    def arrays(self, locations: Mapping[str, ArrayLocation]) -> dict[str, Any]:
        mapped = self._map()
        return {name: np.ndarray(shape, dtype, mapped, offset) for name, (offset, dtype, shape) in locations.items()}

    def _map(self) -> np.ndarray:
        span, offset = self._opener.span, self._opener.offset
        try:
            if span is None:
                return map_file(self._opened.descriptor, self.num_bytes)
            return span.map_file(offset, self._opened.descriptor, self.num_bytes)
        except OSError as error:
            raise ReadError(f"{self.path}: cannot be mapped: {error.strerror}") from error


class _PreadFile(_LocalFile):
    def arrays(self, locations: Mapping[str, ArrayLocation]) -> dict[str, Any]:
        return {name: PreadArray(self._opened, location) for name, location in locations.items()}


def choose_read(path: str, read: str) -> str:
    """`"map"` or `"pread"`: how the files of a dataset are read, for `"auto"` by the file system that its folder lies on."""
    if read != "auto":
        return read
    return "pread" if is_remote(path) else "map"


def opener_for(path: str, read: str = "auto", span: Span | None = None, offset: int = 0) -> LocalOpener:
    """What opens a file of a dataset, or lists its folder.

    Args:
        path: The path of the file or the folder.
        read: `"map"`, `"pread"`, or `"auto"`, see `choose_read`.
        span: The stretch of addresses to map a file into; None for any free addresses. Of use for `"map"` alone.
        offset: Where in `span` the file begins, in bytes.
    """
    return PreadOpener() if choose_read(path, read) == "pread" else MapOpener(span, offset)


def absolute_path(path: str) -> str:
    """The path or URL of a dataset that stays right when the program changes its working directory."""
    return path if is_url(path) else os.path.abspath(path)
