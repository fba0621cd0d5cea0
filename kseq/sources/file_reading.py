"""Reading the files of a source: whole image files, or byte ranges of files that hold many samples."""

from __future__ import annotations

import os
import stat

from kseq.errors import ImageError
from kseq.images.formats import HEAD_BYTES, check_start
from kseq.platforms.files import open_without_waiting, read_at

__all__ = ["file_stamp", "file_version", "read_file", "read_range"]

# Most photos are read at once.
_FIRST_BYTES = 1 << 20


def read_file(path: str | bytes) -> bytes:
    """The bytes of an image file.

    Raises:
        NotAnImageError: If the file does not begin like an image. The rest of it is not read: it may be a film of some
            gigabytes.
        ImageError: If the file cannot be read, or is no regular file, such as a pipe, which might never end.
    """
    if b"\0" in os.fsencode(path):
        raise ImageError("has a path with a zero byte, which no path has")
    try:
        # Checked twice: opening a device can have effects, and the file may be replaced between the check and the opening.
        _check_regular(os.stat(path))
        with open(path, "rb", buffering=0, opener=open_without_waiting) as file:
            status = os.fstat(file.fileno())
            _check_regular(status)
            # One byte more than the size tells whether it has more: it may grow, and some file systems say 0 of any file.
            data = file.read(min(max(status.st_size + 1, HEAD_BYTES), _FIRST_BYTES))
            check_start(data[:HEAD_BYTES])
            return data if len(data) == status.st_size < _FIRST_BYTES else data + file.read()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise ImageError("is larger than memory") from error


def read_range(path: str, offset: int, size: int) -> bytes:
    """`size` bytes of a file that holds many samples.

    Raises:
        ImageError: If the file cannot be read, or ends before.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            data = read_at(file.fileno(), size, offset)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    if len(data) < size:
        raise ImageError(f"breaks off after {len(data)} of {size} bytes")
    return data


def file_version(path: str) -> tuple[int, int, int]:
    """Inode, size and modification time of a file: what is cached of a file is cached under these.

    Raises:
        OSError: If there is no such file.
    """
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns


def file_stamp(path: str | bytes) -> tuple[int, int]:
    """The size of a file and the time of its last writing, in nanoseconds; 0 and 0 if there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("is not a regular file")
