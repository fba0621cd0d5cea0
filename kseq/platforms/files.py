"""Files: opening, reading, flushing, replacing and locking them, and the names that they can have."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import gc
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # not on Windows
try:
    import msvcrt
except ImportError:
    msvcrt = None  # type: ignore[assignment]  # on Windows alone

__all__ = [
    "ask_ahead",
    "can_rename_folders_in_use",
    "can_replace_mapped_files",
    "exchange",
    "flush",
    "flush_file",
    "is_file_name",
    "is_remote",
    "lock_file",
    "mount_points",
    "open_to_read",
    "open_without_waiting",
    "path_bytes",
    "read_at",
    "read_into",
    "remove",
    "remove_folder",
    "remove_unless_in_use",
    "rename",
    "replace",
    "start_writing",
    "with_slashes",
]

# As in the standard library: no other system has this module.
_IS_WINDOWS = msvcrt is not None

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

# Linux's IOV_MAX: so many buffers may one call fill.
_MOST_BUFFERS = 1024

# NFS, SMB (three of them), Lustre, FUSE, 9P, Ceph, AFS, GPFS, BeeGFS, OCFS2, GFS2.
_REMOTE_KINDS = frozenset(
    {0x6969, 0x517B, 0xFE534D42, 0xFF534D42, 0x0BD00BD0, 0x65735546, 0x01021997, 0x00C36400, 0x5346414F}
    | {0x47504653, 0x19830326, 0x7461636F, 0x01161970}
)

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
    """Up to `num_bytes` of an open file, from `offset` on; from any thread. Its position stays where it was.

    Raises:
        OSError: If the operating system refuses.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, num_bytes, offset)
    with _READ_LOCKS[descriptor % len(_READ_LOCKS)]:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, offset, os.SEEK_SET)
        try:
            return os.read(descriptor, num_bytes)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)


def read_into(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
    """Fill buffers of bytes, one after the other, from `offset` of an open file on; from any thread, as `read_at`.

    Returns:
        How many bytes were read: fewer than asked for only at the end of the file.

    Raises:
        OSError: If the operating system refuses.
    """
    count = 0
    for start in range(0, len(buffers), _MOST_BUFFERS):
        part = buffers[start : start + _MOST_BUFFERS]
        wanted = sum(map(len, part))
        read = _read_once(descriptor, part, offset + count)
        while 0 < read < wanted:
            # A signal, or a file system that returns what it has: go on behind it.
            more = _read_once(descriptor, _behind(part, read), offset + count + read)
            if not more:
                return count + read
            read += more
        count += read
        if read < wanted:
            break
    return count


def _read_once(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, buffers, offset)
    data = read_at(descriptor, len(buffers[0]), offset)
    buffers[0][: len(data)] = data
    return len(data)


def _behind(buffers: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left of buffers whose first `count` bytes are filled."""
    left = []
    for buffer in buffers:
        if count < len(buffer):
            left.append(buffer[count:])
        count = max(count - len(buffer), 0)
    return left


def ask_ahead(descriptor: int, offset: int, num_bytes: int) -> None:
    """Ask the operating system to read a range of an open file soon, without waiting; nothing where it has no such call."""
    if hasattr(os, "posix_fadvise"):
        # Only advice, so that a failure does not matter.
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, offset, num_bytes, os.POSIX_FADV_WILLNEED)


def is_remote(path: str) -> bool:
    """Whether a path lies on a file system that may fail while it is read: of a network, or of a program (FUSE).

    The kinds are those of statfs(2) and <linux/magic.h>. False where the system does not say.
    """
    statfs = _system_call("statfs", ctypes.c_char_p, ctypes.c_char_p)
    if not sys.platform.startswith("linux") or statfs is None:
        return False
    # A struct statfs begins with the kind, a long; it takes 120 bytes.
    answer = ctypes.create_string_buffer(512)
    if statfs(os.fsencode(path), answer):
        return False
    kind: int = ctypes.c_long.from_buffer(answer).value
    return kind & 0xFFFFFFFF in _REMOTE_KINDS


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


def remove_unless_in_use(path: str) -> None:
    """Remove a file; on Windows, leave one that somebody has open.

    Raises:
        OSError: If the operating system refuses for another reason.
    """
    try:
        os.unlink(path)
    except OSError as error:
        if not _is_in_use(error):
            raise


def mount_points() -> set[str]:
    """The folders where something is mounted, as Linux tells: one of the same file system is known only so."""
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return {re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4]) for line in file}
    return set()


def can_replace_mapped_files() -> bool:
    """Whether a file can be replaced while somebody has it mapped: not on Windows, however long one waits."""
    return not _IS_WINDOWS


def can_rename_folders_in_use() -> bool:
    """Whether a folder can be renamed while somebody has a file in it open: not on Windows."""
    return not _IS_WINDOWS


def _is_in_use(error: OSError) -> bool:
    # Only Windows gives this number.
    return getattr(error, "winerror", None) in _IN_USE


def _patiently(call: Callable[..., None], *paths: str) -> None:
    deadline = None
    while True:
        try:
            return call(*paths)
        except OSError as error:
            if not _is_in_use(error):
                raise
            if deadline is None:
                # It may be garbage of this process that has the file mapped.
                gc.collect()
                deadline = time.monotonic() + _RELEASED_WITHIN
            elif time.monotonic() > deadline:
                advice = f"for {_RELEASED_WITHIN:.0f} seconds: end the program that has it open, and try again"
                raise PermissionError(error.errno, f"{error.strerror} ({advice})", error.filename) from error
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


def with_slashes(path: str) -> str:
    """A path with `/` between its parts, as sources are stored: a dataset is the same wherever it was packed."""
    return path.replace(os.sep, "/")


def _bytes_with_slashes(path: str | bytes) -> bytes:
    return os.fsencode(path).replace(os.fsencode(os.sep), b"/")


# The bytes of a path, with `/` between its parts.
path_bytes: Callable[[str | bytes], bytes] = os.fsencode if os.sep == "/" else _bytes_with_slashes


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
