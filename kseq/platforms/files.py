"""Files: opening, reading, flushing, replacing and locking them, and the names that they can have."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:
    msvcrt = None  # type: ignore[assignment]

__all__ = [
    "exchange",
    "flush",
    "flush_file",
    "is_file_name",
    "lock_file",
    "open_to_read",
    "open_without_waiting",
    "read_at",
    "remove",
    "remove_folder",
    "rename",
    "replace",
    "start_writing",
]

_IS_WINDOWS = os.name == "nt"

# Windows translates line ends without the second. Without the third, opening a named pipe waits for a writer.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
# Windows flushes only what was opened for writing.
_FLUSH_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0) if _IS_WINDOWS else os.O_RDONLY

# What a file system says that cannot do a thing at all: CIFS and FUSE flush no folder, SMB does not know F_FULLFSYNC, Windows
# opens no folder. A disk that is full or fails says something else.
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY}
_NOT_ALLOWED = {errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}

# What Windows says of a file that somebody has open: access denied (also while the file is mapped, or is being replaced),
# sharing violation, lock violation, user-mapped section.
_IN_USE = frozenset({5, 32, 33, 1224})
# A reader has an index open for some milliseconds, a virus scanner a new file for a second or so.
_RELEASED_WITHIN = 5.0
_PAUSE = 0.02

# Where Windows locks: others cannot read a byte that is locked, and no lock file is so long.
_LOCKED_BYTE = 1 << 30

# One of them is held from seeking to the end of reading, where no call does both. Descriptors share them, since a lock for each
# descriptor would have to end with it.
_READ_LOCKS = [threading.Lock() for _ in range(16)]

# Windows keeps these for devices, whatever their suffix, in every folder.
_PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in "123456789¹²³"}
_DEVICES = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$"} | _PORTS)
_NOT_IN_NAMES = frozenset('<>:"/\\|?*')

# Linux's <linux/fs.h>: exchange the names of two files or folders; begin to write pages, and do not wait.
_RENAME_EXCHANGE, _SYNC_FILE_RANGE_WRITE = 2, 2
# Linux's <fcntl.h>: paths are relative to the working directory.
_AT_FDCWD = -100


def open_to_read(path: str) -> int:
    """A descriptor of a file. It is not inherited, and opening a pipe does not wait for another process to write to it.

    Raises:
        OSError: If the operating system refuses. Windows may refuse while the file is being replaced: then it is asked again.
    """
    if not _IS_WINDOWS:
        return os.open(path, _READ_FLAGS)
    deadline = time.monotonic() + _RELEASED_WITHIN
    while True:
        try:
            return os.open(path, _READ_FLAGS)
        except PermissionError:
            if os.path.isdir(path) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def open_without_waiting(path: Any, flags: int) -> int:
    """The `opener` of a file that may turn out to be a pipe: opening that would wait until another process writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_at(descriptor: int, num_bytes: int, offset: int) -> bytes:
    """Up to `num_bytes` of an open file, from `offset` on; from any thread. Nobody reads from the descriptor in another way.

    Raises:
        OSError: If the operating system refuses.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, num_bytes, offset)
    with _READ_LOCKS[descriptor % len(_READ_LOCKS)]:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, num_bytes)


def flush(path: str) -> None:
    """Wait until the data of a file, or the names in a folder, are on the disk. Nothing happens where no folder can be flushed.

    Raises:
        OSError: If the operating system refuses. Do not try again with the same file: after a failure, the system may have
            dropped the data, and a second try would succeed without writing them.
    """
    try:
        descriptor = os.open(path, _FLUSH_FLAGS)
        try:
            flush_file(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED | _NOT_ALLOWED or not os.path.isdir(path):
            raise


def flush_file(descriptor: int) -> None:
    """Wait until the data of an open file are on the disk.

    Raises:
        OSError: If the operating system refuses.
    """
    if hasattr(fcntl, "F_FULLFSYNC"):
        # On macOS, fsync leaves the data in the memory of the disk.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
    os.fsync(descriptor)


def replace(source: str, target: str) -> None:
    """Rename a file; a file that has the name `target` already is replaced. On Windows, wait for those who read that one.

    Raises:
        OSError: If the operating system refuses.
    """
    _patiently(os.replace, source, target)


def rename(source: str, target: str) -> None:
    """Rename a file or a folder to a name that is free. On Windows, wait for those who have it open.

    Raises:
        OSError: If the operating system refuses.
    """
    _patiently(os.rename, source, target)


def remove(path: str) -> None:
    """Remove a file. On Windows, wait for those who have it open.

    Raises:
        OSError: If the operating system refuses.
    """
    _patiently(os.unlink, path)


def remove_folder(path: str) -> None:
    """Remove an empty folder. On Windows, wait for those who have it open.

    Raises:
        OSError: If the operating system refuses.
    """
    _patiently(os.rmdir, path)


def _patiently(call: Callable[..., None], *paths: str) -> None:
    deadline = None
    while True:
        try:
            return call(*paths)
        except OSError as error:
            # Only Windows gives this number.
            if getattr(error, "winerror", None) not in _IN_USE:
                raise
            now = time.monotonic()
            deadline = now + _RELEASED_WITHIN if deadline is None else deadline
            if now >= deadline:
                reason = (
                    f"{error.strerror} (for {_RELEASED_WITHIN:.0f} seconds: end the program that has it open, and try again)"
                )
                raise PermissionError(error.errno, reason, error.filename) from error
            time.sleep(_PAUSE)


def lock_file(descriptor: int) -> bool:
    """Take the kernel's lock on an open file, which lasts as long as it is open; False if there are no such locks.

    Raises:
        BlockingIOError: If somebody else has it.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            return False
        return True
    if msvcrt is None:
        return False
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EDEADLK):
            raise BlockingIOError(error.errno, error.strerror) from error
        return False
    return True


def is_file_name(name: str) -> bool:
    """Whether a file can have this name, one part of a path, by the rules of this system that it does not tell by an error.

    Windows writes `a:b` to a hidden stream of the file `a`, and `con.jpg` to a device; `a\\b` is a file in a folder, and a dot
    or a space at the end is dropped. A name that another file has in other letters is refused by the file system.
    """
    return not _IS_WINDOWS or _is_windows_name(name)


def _is_windows_name(name: str) -> bool:
    has_bad_character = any(character in _NOT_IN_NAMES or ord(character) < 32 for character in name)
    return not has_bad_character and name[-1:] not in ("", ".", " ") and name.partition(".")[0].rstrip().lower() not in _DEVICES


def exchange(one: str, other: str) -> bool:
    """Exchange the names of two files or folders, so that both exist at every moment.

    It is Linux's renameat2(2). On other systems, and on file systems that cannot, nothing is done.

    Returns:
        Whether the names were exchanged.
    """
    call = _system_call("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call is not None and call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def start_writing(descriptor: int, start: int, end: int) -> None:
    """Ask the operating system to begin to write a range of a file to the disk, so that a later flush has less to do.

    It is Linux's sync_file_range(2); on other systems, nothing is done.
    """
    if (call := _system_call("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)) is not None:
        # The result does not matter: the flush reports errors.
        call(descriptor, start, end - start, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _system_call(name: str, *types: Any) -> Callable[..., int] | None:
    """A function of the C library that takes arguments of these types; None on systems that do not have it."""
    try:
        call: Any = getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):
        # Windows has no library without a name.
        return None
    if call is not None:
        call.argtypes = types
    return call
