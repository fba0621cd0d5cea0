"""Files that appear whole or not at all."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from kseq.errors import DatasetExistsError, KseqError, WriteError
from kseq.storage.layout import TEMPORARY_PREFIX

__all__ = [
    "copy_into",
    "exchange",
    "flush",
    "link_or_copy",
    "publishing",
    "publishing_folder",
    "remove_file",
    "remove_half_written",
    "remove_temporary",
    "spare_name",
    "start_writing",
]

_COPY_BYTES = 1 << 20

# <linux/fs.h>: two files or folders take each other's names, at once.
_RENAME_EXCHANGE = 2
# <fcntl.h>: paths are relative to where the process is.
_AT_FDCWD = -100

# <linux/fs.h>: begin to write what is not being written yet, and wait for nothing.
_SYNC_FILE_RANGE_WRITE = 2


def spare_name(path: str) -> str:
    """A name in the folder of `path` that nobody else takes; what is left under it counts as half written."""
    folder, name = os.path.split(os.path.abspath(path))
    # Not by the process's number: that may be the same on several machines, and in a container each time.
    return os.path.join(folder, f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{name}")


@contextmanager
def publishing(path: str) -> Iterator[str]:
    """Gives a temporary path in the folder of `path`; the file that the block makes there becomes `path`.

    The file is flushed to the disk, renamed, and the folder flushed. If the block raises or makes no file,
    `path` stays as it was. What lies beside the temporary file, under names that begin with its own, goes.
    Flushing is tried once: after a failure the system may have dropped what it was to write, and a second try would succeed.

    Raises:
        WriteError: Where the operating system refuses.
    """
    temporary = spare_name(path)
    folder = os.path.dirname(temporary)
    try:
        try:
            yield temporary
            if os.path.exists(temporary):
                flush(temporary)
                _give_name(temporary, path)
        finally:
            remove_temporary(folder, os.path.basename(temporary))
    except KseqError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error


def _give_name(temporary: str, path: str) -> None:
    """Rename a file within its folder, so that its name is on the disk."""
    is_new = not os.path.exists(path)
    os.replace(temporary, path)
    try:
        flush(os.path.dirname(temporary))
    except OSError:
        # A name that may be gone after a crash must not count as published.
        if is_new:
            os.unlink(path)
        raise


@contextmanager
def publishing_folder(path: str) -> Iterator[str]:
    """Gives an empty folder beside `path`, which becomes `path` at the end of the block, or goes if the block raises.

    The files in it are flushed to the disk by who writes them, or not.

    Raises:
        DatasetExistsError: Where something lies at `path`.
        WriteError: Where the operating system refuses.
    """
    parent, name = os.path.split(os.path.abspath(path))
    temporary = spare_name(path)
    if os.path.lexists(path):
        raise DatasetExistsError(f"{path}: exists already, expected is a folder to make")
    try:
        os.makedirs(temporary)
        yield temporary
        flush(temporary)
        os.rename(temporary, os.path.join(parent, name))
        flush(parent)
    except KseqError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_temporary(folder: str, prefix: str = TEMPORARY_PREFIX) -> None:
    """Remove what was left half written in `folder`, by anyone or under names with this prefix.

    Raises:
        WriteError: Where the operating system refuses.
    """
    _clear(folder, lambda name: name.startswith(prefix))


def copy_into(target: BinaryIO, offset: int, source_path: str, start: int, end: int) -> None:
    """Copy the bytes from `start` up to `end` of a file over those of an open one, from `offset` on."""
    with open(source_path, "rb") as source:
        source.seek(start)
        target.seek(offset)
        while start < end and (piece := source.read(min(_COPY_BYTES, end - start))):
            target.write(piece)
            start += len(piece)


def link_or_copy(source_path: str, target_path: str, *, copy: bool = False) -> bool:
    """Give a file a second name, in place of what is there; where the file system cannot do that, make a copy.

    Args:
        source_path: The file.
        target_path: Its second name.
        copy: Make a copy in any case.

    Returns:
        Whether it has two names now.
    """
    spare = spare_name(target_path)
    try:
        is_linked = not copy and _can_link(source_path, spare)
        if not is_linked:
            shutil.copyfile(source_path, spare)
            flush(spare)
        os.replace(spare, target_path)
        return is_linked
    finally:
        with suppress(FileNotFoundError):
            os.unlink(spare)


def _can_link(source_path: str, target_path: str) -> bool:
    try:
        os.link(source_path, target_path)
    except OSError:
        return False
    return True


def start_writing(descriptor: int, start: int, end: int) -> None:
    """Ask the operating system to begin to write a part of a file to the disk, so that a flush later finds less to do.

    Linux's sync_file_range(2); elsewhere this does nothing.
    """
    if (call := _system_call("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)) is not None:
        # Whether it can or not: the flush will tell.
        call(descriptor, start, end - start, _SYNC_FILE_RANGE_WRITE)


def remove_half_written(path: str) -> None:
    """Remove what processes left that died while they made `path`, or files whose names begin with its name.

    Raises:
        WriteError: Where the operating system refuses.
    """
    folder, name = os.path.split(os.path.abspath(path))
    _clear(folder, lambda each: each.startswith(TEMPORARY_PREFIX) and f"-{name}" in each)


def _clear(folder: str, is_left: Callable[[str], bool]) -> None:
    try:
        for name in filter(is_left, os.listdir(folder)):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
    except FileNotFoundError:
        # The folder went, and all in it.
        return
    except OSError as error:
        raise WriteError(f"{folder}: cannot be cleared of what is half written: {error.strerror}") from error


def remove_file(path: str) -> None:
    """Remove a file, if it is there.

    Raises:
        WriteError: Where the operating system refuses.
    """
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise WriteError(f"{path}: cannot be removed: {error.strerror}") from error


def exchange(one: str, other: str) -> bool:
    """Let two files or folders take each other's names, so that there is no moment without either.

    Linux's renameat2(2). Returns whether it was done: elsewhere, and on a file system that cannot, nothing is.
    """
    call = _system_call("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call is not None and call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def flush(path: str) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Raises:
        OSError: Where the operating system refuses; then it is not to be tried again on this file.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@functools.cache
def _system_call(name: str, *kinds: Any) -> Callable[..., int] | None:
    """A function of the C library, which other systems do not have; it takes arguments of these kinds."""
    call: Any = getattr(ctypes.CDLL(None), name, None)
    if call is not None:
        call.argtypes = kinds
    return call
