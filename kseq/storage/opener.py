"""Opens the files of a dataset for reading: the only module that does.

Shards and indexes are read through an `Opener`. `LocalOpener` opens files of the file system and maps them into memory;
another way to the same bytes is one more implementation of `Opener` and `DatasetFile`, which `opener_for` and
`absolute_path` choose by the path.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from kseq.errors import DamagedError, DatasetNotFoundError, ReadError
from kseq.platforms.files import open_to_read, read_at
from kseq.platforms.maps import Span, map_file

__all__ = ["DatasetFile", "LocalOpener", "Opener", "absolute_path", "opener_for"]


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
    def map(self) -> np.ndarray:
        """`(num_bytes,)` uint8, read-only: the whole file, without a copy. The array outlives the open file.

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
        """


@dataclass(frozen=True)
class LocalOpener(Opener):
    """Opens files of the file system, and maps them.

    Args:
        span: The stretch of addresses to map a file into; None for any free addresses.
        offset: Where in `span` a file begins, in bytes: a multiple of the page size.
    """

    span: Span | None = None
    offset: int = 0

    def open(self, path: str) -> DatasetFile:
        try:
            descriptor = open_to_read(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DatasetNotFoundError(f"{path}: there is no such file") from error
        except OSError as error:
            raise ReadError(f"{path}: cannot be opened: {error.strerror}") from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise DamagedError(f"{path}: is not a regular file")
        return _LocalFile(path, descriptor, status.st_size, self)

    def names(self, folder: str) -> list[str]:
        if not os.path.exists(folder):
            raise DatasetNotFoundError(f"{folder}: there is no such folder")
        if not os.path.isdir(folder):
            raise DatasetNotFoundError(f"{folder}: is a file, expected is the folder of a dataset")
        return os.listdir(folder)


class _LocalFile(DatasetFile):
    def __init__(self, path: str, descriptor: int, num_bytes: int, opener: LocalOpener) -> None:
        self.path = path
        self.num_bytes = num_bytes
        self._descriptor = descriptor
        self._opener = opener

    def read(self, start: int, end: int) -> bytes:
        try:
            data = read_at(self._descriptor, end - start, start)
        except OSError as error:
            raise ReadError(f"{self.path}: cannot be read: {error.strerror}") from error
        if len(data) != end - start:
            raise DamagedError(f"{self.path}: ends at byte {start + len(data)}, expected are {end} bytes or more")
        return data

    def map(self) -> np.ndarray:
        span, offset = self._opener.span, self._opener.offset
        try:
            if span is None:
                return map_file(self._descriptor, self.num_bytes)
            return span.map_file(offset, self._descriptor, self.num_bytes)
        except OSError as error:
            raise ReadError(f"{self.path}: cannot be mapped: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._descriptor)


def opener_for(path: str, span: Span | None = None, offset: int = 0) -> Opener:
    """What opens a file of a dataset, or lists its folder.

    Args:
        path: The path of the file or the folder.
        span: The stretch of addresses to map a file into; None for any free addresses.
        offset: Where in `span` the file begins, in bytes.
    """
    return LocalOpener(span, offset)


def absolute_path(path: str) -> str:
    """The path of a dataset that stays right when the program changes its working directory."""
    return os.path.abspath(path)
