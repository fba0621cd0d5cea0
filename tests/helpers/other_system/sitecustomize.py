"""Makes a Python on Linux lack what Windows or macOS lacks: every process that has this folder on its path runs this first.

`KSEQ_SYSTEM` says which. Python itself stays that of Linux (`os.name`, `sys.platform`), so that its library still works. Like
Windows, `windows` refuses to replace, rename and remove files that a process has open or mapped, and has a `msvcrt`; it locks
with Linux's own locks.
"""

from __future__ import annotations

import builtins
import collections
import contextlib
import ctypes
import errno
import fcntl
import importlib
import mmap
import os
import shutil
import signal
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

# What neither of them has.
CALLS = ("memfd_create", "sched_getaffinity", "sched_setaffinity", "posix_fadvise", "copy_file_range", "splice", "eventfd")
MADVICE = tuple(name for name in dir(mmap) if name.startswith(("MADV_", "MAP_POPULATE", "MAP_NORESERVE")))

# What Windows lacks besides.
WINDOWS_CALLS = (
    *("register_at_fork", "fork", "forkpty", "posix_spawn", "posix_spawnp", "pread", "preadv", "pwrite", "pwritev", "statvfs"),
    *("fstatvfs", "nice", "getpriority", "setpriority", "killpg", "getpgid", "setsid", "getuid", "geteuid", "getgid"),
    *("getegid", "fchmod", "chown", "fchown", "lchown", "mkfifo", "mknod", "sysconf", "confstr", "getloadavg", "sync"),
    *("fdatasync", "O_NONBLOCK", "O_DIRECTORY", "O_SYNC", "O_CLOEXEC", "wait", "wait3", "wait4"),
)
WINDOWS_SIGNALS = ("SIGKILL", "SIGSTOP", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGCHLD", "pthread_sigmask", "pthread_kill", "alarm")
WINDOWS_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")
WINDOWS_MAPS = ("MAP_SHARED", "MAP_PRIVATE", "MAP_ANONYMOUS", "PROT_READ", "PROT_WRITE")


def take_away(module: types.ModuleType, names: tuple[str, ...]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def hide_proc() -> None:
    """Linux's /proc is not there, for Python; the true functions stay in this module's own hands."""

    def hiding(call: Callable[..., Any]) -> Callable[..., Any]:
        def hidden(path: Any, *args: Any, **options: Any) -> Any:
            if isinstance(path, str) and path.startswith("/proc/"):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return call(path, *args, **options)

        return hidden

    builtins.open = hiding(builtins.open)
    os.stat, os.readlink, os.open = hiding(os.stat), hiding(os.readlink), hiding(os.open)


class Library(ctypes.CDLL):
    """A C library, which has a name."""

    def __init__(self, name: str | None, *args: Any, **options: Any) -> None:
        if name is None:
            raise TypeError("a library without a name")
        super().__init__(name, *args, **options)


_listdir, _readlink, _open, _realpath = os.listdir, os.readlink, builtins.open, os.path.realpath


_group = os.getpgrp()


def is_of_this_run(process: str) -> bool:
    # Another process may end meanwhile.
    with contextlib.suppress(OSError), _open(f"/proc/{process}/stat", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[2]) == _group
    return False


def is_open(path: str, *, below: bool = False) -> bool:
    """Whether a process of this process group has a file open or mapped; `below`: a file in that folder."""

    def names(process: str) -> Iterator[str]:
        # Processes end and close files meanwhile.
        with contextlib.suppress(OSError):
            for number in _listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    yield _readlink(f"/proc/{process}/fd/{number}")
            with _open(f"/proc/{process}/maps") as file:
                yield from (line.split(maxsplit=5)[-1].rstrip("\n") for line in file if "/" in line)

    processes = filter(is_of_this_run, filter(str.isdigit, _listdir("/proc")))
    found = (name for process in processes for name in names(process))
    return any(name == path or (below and name.startswith(path + "/")) for name in found)


def refuse_what_is_open() -> None:
    """What others have open keeps its name and its contents."""

    def refusing(call: Callable[..., Any], *, below: bool) -> Callable[..., Any]:
        def refused(*paths: Any, **options: Any) -> Any:
            for path in map(os.fsdecode, paths):
                if is_open(_realpath(os.path.dirname(path)) + "/" + os.path.basename(path), below=below):
                    error = PermissionError(errno.EACCES, "The process cannot access the file", path)
                    error.winerror = 32
                    raise error
            return call(*paths, **options)

        return refused

    os.replace, os.rename = refusing(os.replace, below=True), refusing(os.rename, below=True)
    os.unlink = os.remove = refusing(os.unlink, below=False)


def make_msvcrt() -> types.ModuleType:
    module = types.ModuleType("msvcrt")

    def locking(descriptor: int, mode: int, num_bytes: int) -> None:
        assert (mode, num_bytes) == (2, 1)
        # Others cannot read what is locked, so that it must lie behind the contents.
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > os.fstat(descriptor).st_size
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None

    module.LK_NBLCK, module.locking = 2, locking
    return module


def keep_library_whole() -> None:
    """Python's own modules that start processes go on with all that Linux has."""
    names = ("heap", "popen_spawn_posix", "resource_tracker", "spawn", "synchronize", "util")
    modules = [importlib.import_module(name) for name in ("subprocess", *(f"multiprocessing.{name}" for name in names))]
    for taken in (os, signal):
        whole = types.ModuleType(taken.__name__)
        vars(whole).update(vars(taken))
        for module in modules:
            if hasattr(module, taken.__name__):
                setattr(module, taken.__name__, whole)


def become_bare() -> None:
    """Neither a Unix nor Windows: nothing locks."""
    keep_library_whole()
    status = os.statvfs
    usage = collections.namedtuple("usage", "total used free")

    def disk_usage(path: str) -> Any:
        found = status(path)
        return usage(found.f_blocks * found.f_frsize, 0, found.f_bavail * found.f_frsize)

    shutil.disk_usage = disk_usage
    take_away(os, WINDOWS_CALLS)
    take_away(signal, WINDOWS_SIGNALS)
    take_away(mmap, WINDOWS_MAPS)
    sys.modules |= dict.fromkeys(WINDOWS_MODULES)


def become_windows() -> None:
    become_bare()
    refuse_what_is_open()
    sys.modules["msvcrt"] = make_msvcrt()


def become_macos() -> None:
    # Its number on macOS; Linux answers EINVAL, as a file system that does not have it.
    fcntl.F_FULLFSYNC = 51


take_away(os, CALLS)
take_away(mmap, MADVICE)
ctypes.CDLL = Library
{"windows": become_windows, "macos": become_macos, "bare": become_bare}[os.environ["KSEQ_SYSTEM"]]()
hide_proc()
