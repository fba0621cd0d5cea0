"""Local copies of remote files in a folder that several processes share; the least recently used go when room is needed."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from kseq.arguments import path_text, spelled, whole
from kseq.errors import ArgumentError, DamagedError, KseqError, WriteError
from kseq.platforms.files import flush, lock_file, remove_unless_in_use, replace
from kseq.platforms.folders import cache_folder
from kseq.platforms.forks import at_fork
from kseq.storage.layout import COPY_SUFFIX

__all__ = ["FileCache", "choose_cache"]

# What is added to the name of a copy until it is whole, after the size that it will have. Nothing but copies is ever removed
# from the folder: somebody may give a folder that holds their own files.
_PART = ".part"

# Seconds between two looks at a file that another process or thread fetches, and how long it may stand still until we fetch it
# ourselves: whoever fetches it may be stopped, or lie on a machine that was lost.
_PAUSE, _PATIENCE = 0.05, 150.0

# Without a limit, so much of the disk stays free, as far as older copies can be removed for it. What was used in the last
# hour goes only where a file would not fit on the disk at all: where others have filled the disk, each file would else go
# before it is read again.
_FREE_SHARE, _IN_USE_SECONDS = 0.05, 3600.0

# What a process that died left half-fetched goes after so many seconds, unless it is taken over.
_PART_SECONDS = 24 * 3600.0

Opened = TypeVar("Opened")

# Descriptors of locked files: the kernel's lock lasts as long as anybody has the file open, and a child may outlive us.
_locked: set[int] = set()


class _UnderWay:
    """What this process fetches: the path of each unfinished copy, and the size that it will have."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sizes: dict[str, int] = {}
        # Guards it, and the removal of copies for what comes to it: two that look for room at once would take the same.
        self.changed = threading.Condition()


_under_way = _UnderWay()


def _begin_anew() -> None:
    while _locked:
        os.close(_locked.pop())
    # A thread of the parent, which a child does not have, may hold the lock.
    _under_way.reset()


at_fork(after_in_child=_begin_anew)


class _Kept(NamedTuple):
    """A file in the cache."""

    used: float
    num_bytes: int
    path: str


@dataclass(frozen=True)
class FileCache:
    """A folder of local copies. Safe to use from many threads and processes, and on several machines that share the folder.

    Whoever needs a file that is not there locks its unfinished copy, `NAME.part`, and fetches it; others wait for that. The
    lock is the kernel's, and ends with the process: then the next one goes on with what was fetched. Where a file system has no
    such locks, each process fetches for itself. A copy gets its name once it is checked, and never changes afterwards. When a
    process opens it, its time is set, which says how recently it was used.

    To a limit, what is under way counts with the size that it will have. Where that leaves no room, this process waits until
    one of its own is done; a file that is larger than the limit is fetched alone. What other processes have under way may
    come on top.

    Args:
        folder: The folder; it is made when it is needed.
        most_bytes: How many bytes all copies may take. None for what the disk has, but for a twentieth; copies that were
            used in the last hour stay even then, while there is room for the next one.
    """

    folder: str
    most_bytes: int | None = None

    def fetch(self, name: str, num_bytes: int, get: Callable[[str, int], object], check: Callable[[str], None]) -> str:
        """The path of a whole copy, which is fetched if it is not there; arguments and errors are those of `open`.

        It may be removed for room before it is opened. Once it is open or mapped, that does no harm.
        """
        return self.open(name, num_bytes, get, check, str)

    def open(
        self,
        name: str,
        num_bytes: int,
        get: Callable[[str, int], object],
        check: Callable[[str], None],
        open_copy: Callable[[str], Opened],
    ) -> Opened:
        """What `open_copy` makes of the path of a whole copy, which is fetched if it is not there.

        Args:
            name: Of the copy, a folder and a name in it, with `/` between them.
            num_bytes: The size of the file.
            get: Writes the file to a path, when the first so many bytes are there already.
            check: Raises DamagedError unless the file at a path is the right one.
            open_copy: Opens a path. Nobody in this process removes for room what was just fetched until then; another process
                may do so.

        Raises:
            DamagedError: If what was fetched is not the right file.
            WriteError: If the operating system refuses to write into the folder.
            KseqError: What `get` and `open_copy` raise.
        """
        path = self.path(name)
        if _is_whole(path, num_bytes):
            return open_copy(path)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with _wait_for_part(path, num_bytes) as part:
                if part is not None:
                    with self._room(num_bytes, part):
                        _complete(part, num_bytes, get, check)
                        # A name that outlives a loss of power must not stand for bytes that do not.
                        flush(part)
                        replace(part, path)
                        return open_copy(path)
        except OSError as error:
            if isinstance(error, KseqError):
                raise
            raise WriteError(
                f"{self.folder}: the cache cannot be written: {error.strerror} (cache_dir names another folder, cache_bytes=0 "
                "does without)"
            ) from error
        return open_copy(path)

    def has(self, name: str, num_bytes: int) -> bool:
        """Whether there is a whole copy."""
        return _is_whole(self.path(name), num_bytes, is_used=False)

    def forget(self, name: str) -> None:
        """Remove a copy."""
        with suppress(OSError):
            remove_unless_in_use(self.path(name))

    def path(self, name: str) -> str:
        """Where a copy lies, or would lie."""
        return os.path.join(self.folder, *name.split("/")) + COPY_SUFFIX

    @contextmanager
    def _room(self, num_bytes: int, part: str) -> Iterator[None]:
        """Room for a copy of so many bytes that goes to `part`, until the end of the block; waits for it where others fetch."""
        with _under_way.changed:
            while not self._make_room(num_bytes, part) and any(path.startswith(self.folder) for path in _under_way.sizes):
                _under_way.changed.wait(_PAUSE * 20)
            _under_way.sizes[part] = num_bytes
        try:
            yield
        finally:
            with _under_way.changed:
                _under_way.sizes.pop(part, None)
                _under_way.changed.notify_all()

    def _make_room(self, num_bytes: int, part: str) -> bool:
        """Remove the copies that were used least recently, until there is room for one of so many bytes, to go to `part`.

        Returns:
            False if that takes the end of something that is under way.
        """
        kept = sorted(one for one in self._all_kept() if one.path != part)
        if self.most_bytes is None:
            disk, hour_ago = shutil.disk_usage(self.folder), time.time() - _IN_USE_SECONDS
            old = [one for one in kept if one.used < hour_ago]
            removed = _remove(old, num_bytes + int(disk.total * _FREE_SHARE) - disk.free)
            _remove(kept[len(old) :], num_bytes - disk.free - removed)
            return True
        too_many = sum(one.num_bytes for one in kept) + num_bytes - self.most_bytes
        return _remove(kept, too_many) >= too_many

    def _all_kept(self) -> Iterator[_Kept]:
        for folder in _scan(self.folder):
            for file in _scan(folder.path) if folder.is_dir(follow_symlinks=False) else ():
                if COPY_SUFFIX in file.name:
                    with suppress(OSError):
                        status = file.stat(follow_symlinks=False)
                        yield _Kept(status.st_mtime, _counted_bytes(file.path, status), file.path)


def _remove(kept: list[_Kept], num_bytes: int) -> int:
    """Remove files in their order until so many bytes are free; how many have become free."""
    removed = 0
    for one in kept:
        if removed >= num_bytes:
            break
        if one.path.endswith(_PART) and time.time() - one.used < _PART_SECONDS:
            continue
        with suppress(OSError):
            remove_unless_in_use(one.path)
            removed += one.num_bytes
    return removed


def _counted_bytes(path: str, status: os.stat_result) -> int:
    """How much of a limit a file takes: if somebody fetches it, what it will have; if that process has died, what it has."""
    size, is_part = path.removesuffix(_PART).rpartition(".")[2], path.endswith(_PART)
    if is_part and size.isdecimal() and (path in _under_way.sizes or time.time() - status.st_mtime < _PATIENCE):
        return int(size)
    return status.st_size


def _scan(folder: str) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []


def _is_whole(path: str, num_bytes: int, *, is_used: bool = True) -> bool:
    try:
        if os.stat(path).st_size != num_bytes:
            return False
    except OSError:
        return False
    if is_used:
        # Of another user's folder it may not be allowed.
        with suppress(OSError):
            os.utime(path)
    return True


@contextmanager
def _wait_for_part(path: str, num_bytes: int) -> Iterator[str | None]:
    """The path of the unfinished copy, locked for this thread; None once somebody else has finished it."""
    part, size, moved = f"{path}.{num_bytes}{_PART}", -1, time.monotonic()
    while not _is_whole(path, num_bytes):
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        _locked.add(descriptor)
        try:
            is_locked = lock_file(descriptor)
            # Whoever had the lock before has perhaps given the file its name, or removed it.
            if is_locked and _is_same(descriptor, part):
                if not _is_whole(path, num_bytes):
                    yield part
                    return
                os.unlink(part)
            if not is_locked:
                break
        except BlockingIOError:
            now = os.fstat(descriptor).st_size
            if now != size:
                size, moved = now, time.monotonic()
            if time.monotonic() - moved > _PATIENCE:
                break
        finally:
            if descriptor in _locked:
                _locked.discard(descriptor)
                os.close(descriptor)
        # Sooner, if a thread of this process has done it.
        with _under_way.changed:
            _under_way.changed.wait(_PAUSE)
    else:
        yield None
        return
    # No locks, or whoever holds it stands still: a copy of our own.
    own = f"{path}.{os.getpid()}-{time.monotonic_ns()}.{num_bytes}{_PART}"
    try:
        yield own
    finally:
        with suppress(OSError):
            os.unlink(own)


def _is_same(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _complete(part: str, num_bytes: int, get: Callable[[str, int], object], check: Callable[[str], None]) -> None:
    """Fetch what is missing of an unfinished copy, and check it; if what a dead process left is wrong, fetch it anew."""
    try:
        start = os.stat(part).st_size
    except OSError:
        start = 0
    start = start if start <= num_bytes else 0
    if start < num_bytes:
        get(part, start)
    try:
        check(part)
    except DamagedError:
        if not start:
            os.unlink(part)
            raise
        get(part, 0)
        check(part)


def choose_cache(cache_dir: str | os.PathLike[str] | None, cache_bytes: int | None) -> FileCache | None:
    """The cache that the arguments of a dataset ask for; None for none.

    Raises:
        ArgumentError: If the folder is no path, or the number of bytes is below 0.
    """
    folder = cache_folder("kseq") if cache_dir is None else os.path.abspath(path_text("cache_dir", cache_dir))
    if cache_bytes is None:
        return FileCache(folder)
    most = whole("cache_bytes", cache_bytes, 0)
    if most == 0 and cache_dir is not None:
        raise ArgumentError(f"{spelled('cache_dir', cache_dir)}: cache_bytes=0 means no cache: give one of the two")
    return FileCache(folder, most) if most else None
