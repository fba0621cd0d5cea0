"""Files that appear whole or not at all."""

from __future__ import annotations

import ctypes
import functools
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kseq.errors import KseqError, WriteError

__all__ = ["TEMPORARY_PREFIX", "copy_into", "publishing", "remove_half_written", "remove_temporary", "start_writing"]

TEMPORARY_PREFIX = ".kseq-tmp-"
_COPY_BYTES = 1 << 20

# <linux/fs.h>: begin to write what is not being written yet, and wait for nothing.
_SYNC_FILE_RANGE_WRITE = 2


@contextmanager
def publishing(path: str) -> Iterator[str]:
    """Gives a temporary path in the folder of `path`; the file that the block makes there becomes `path`.

    The file is flushed to the disk, renamed, and the folder flushed. If the block raises or makes no file,
    `path` stays as it was. What lies beside the temporary file, under names that begin with its own, goes.

    Raises:
        WriteError: Where the operating system refuses.
    """
    folder, name = os.path.split(os.path.abspath(path))
    # Not by the process's number: on several machines that may be the same.
    temporary = os.path.join(folder, f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{name}")
    try:
        yield temporary
        if os.path.exists(temporary):
            _flush(temporary)
            os.replace(temporary, path)
            _flush(folder)
    except KseqError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        remove_temporary(folder, os.path.basename(temporary))


def remove_temporary(folder: str, prefix: str = TEMPORARY_PREFIX) -> None:
    """Remove what was left half written in `folder`, by anyone or under names with this prefix."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.startswith(prefix):
                os.unlink(os.path.join(folder, name))


def copy_into(source_path: str, start: int, end: int, target_path: str, offset: int) -> None:
    """Copy the bytes from `start` up to `end` of one file over those of another, from `offset` on."""
    with open(source_path, "rb") as source, open(target_path, "r+b") as target:
        source.seek(start)
        target.seek(offset)
        while start < end and (piece := source.read(min(_COPY_BYTES, end - start))):
            target.write(piece)
            start += len(piece)


def start_writing(descriptor: int, start: int, end: int) -> None:
    """Ask the operating system to begin to write a part of a file to the disk, so that a flush later finds less to do.

    Linux's sync_file_range(2); elsewhere this does nothing.
    """
    if (call := _sync_file_range()) is not None:
        # Whether it can or not: the flush will tell.
        call(descriptor, start, end - start, _SYNC_FILE_RANGE_WRITE)


def remove_half_written(path: str) -> None:
    """Remove what processes left that died while they made `path`, or files whose names begin with its name.

    Raises:
        WriteError: Where the operating system refuses.
    """
    folder, name = os.path.split(os.path.abspath(path))
    try:
        for each in os.listdir(folder):
            if each.startswith(TEMPORARY_PREFIX) and f"-{name}" in each:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, each))
    except OSError as error:
        raise WriteError(f"{folder}: cannot be cleared of what is half written: {error.strerror}") from error


@functools.cache
def _sync_file_range() -> Callable[..., int] | None:
    call: Any = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
