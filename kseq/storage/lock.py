"""A lock on the folder of a dataset: only one process at a time changes it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from kseq.errors import LockedError, WriteError
from kseq.platforms.files import lock_file, read_at
from kseq.platforms.forks import at_fork
from kseq.platforms.processes import boot_id, pid_namespace, process_start
from kseq.platforms.stop_signals import stopping_once
from kseq.storage.layout import LOCK_NAME

__all__ = ["locked"]

# A process that has just got the kernel's lock writes its name at once; another one waits for that name so long, in seconds.
_WRITTEN_WITHIN = 1.0


# The descriptors of the lock files that this process has open.
_descriptors: set[int] = set()


def _close_descriptors() -> None:
    """Close inherited lock files: the kernel's lock lasts as long as anybody has the file open, and a child may outlive us."""
    while _descriptors:
        os.close(_descriptors.pop())


at_fork(after_in_child=_close_descriptors)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Lock the folder of a dataset for this process until the end of the block. Readers are not locked out.

    Code that changes a dataset does so within such a block, and reads the state of the folder only there::

        with locked(path):
            index = Index.open(path)
            ...

    The lock is the file `kseq.storage.layout.LOCK_NAME` in the folder. It says which process holds the lock: host, process id,
    and when the process and its machine were started. The file is removed at the end of the block, however the block ends. If
    the process is killed, the file stays, and the next `locked` takes the lock over if that process has ended (another one may
    have its process id by now) or its machine was restarted. Whether a process of another machine still runs cannot be known;
    then the error says which file to remove.

    Two threads of one process exclude each other as two processes do, and a block inside a block on the same folder is refused.
    If a process forks inside the block, the end of the block in the child has no effect.

    If the file system has the kernel's flock(2), it guards the file, so that only one of several processes takes a lock over.
    On a network file system without it, the creation of the file decides.

    Args:
        folder: The folder of the dataset, which exists.

    Raises:
        LockedError: If another process holds the lock; the message names its host and process id.
        WriteError: If the operating system refuses, or there is no such folder.
    """
    path = os.path.join(folder, LOCK_NAME)
    this = _this_process()
    # Who presses Ctrl-C twice would else keep the lock, or what the block is about to remove.
    with stopping_once():
        try:
            descriptor = _take(path, this)
        except LockedError:
            raise
        except OSError as error:
            raise WriteError(f"{folder}: cannot be locked: {error.strerror}") from error
        try:
            yield
        finally:
            _release(path, descriptor, this)


@dataclass(frozen=True)
class _Process:
    """What tells a process from all others on all machines.

    Attributes:
        host: The name of its machine.
        boot: The random id that the kernel drew when the machine was started; the name again if it draws none.
        namespace: The namespace of its process id: every container has its own.
        pid: Its process id.
        start: When it began, in ticks since the machine was started; "" if the kernel does not tell.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    start: str


def _this_process() -> _Process:
    return _Process(socket.gethostname(), boot_id(), pid_namespace(), os.getpid(), process_start(os.getpid()) or "")


def _take(path: str, this: _Process) -> int:
    """Take the lock; returns a descriptor of the lock file, which names this process now.

    Raises:
        LockedError: If another process holds the lock.
    """
    while True:
        descriptor, is_new = _open(path)
        try:
            is_guarded = _guard(path, descriptor)
            if is_guarded and not _is_at(path, descriptor):
                # Its owner has removed the file since it was opened.
                os.close(descriptor)
                continue
            owner = _read_owner(descriptor)
            if owner is None and not is_guarded and not is_new:
                raise _refusal(path, None, is_running=False)
            if owner is not None and not _has_ended(owner, this, is_guarded):
                raise _refusal(path, owner, is_running=owner.boot == this.boot)
            _write_owner(path, descriptor, this)
        except BaseException:
            os.close(descriptor)
            raise
        _descriptors.add(descriptor)
        return descriptor


def _open(path: str) -> tuple[int, bool]:
    """Open the lock file, and create it if necessary; returns a descriptor, and whether it was created."""
    while True:
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR), False


def _guard(path: str, descriptor: int) -> bool:
    """Take the kernel's lock on the file, which lasts as long as it is open; False if the file system has no such locks.

    Raises:
        LockedError: If another process has it.
    """
    try:
        return lock_file(descriptor)
    except BlockingIOError:
        raise _refusal(path, _wait_for_owner(descriptor), is_running=True) from None


def _is_at(path: str, descriptor: int) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read_owner(descriptor: int) -> _Process | None:
    """The process that a lock file names; None if it names none."""
    try:
        return _Process(**json.loads(read_at(descriptor, 1 << 16, 0)))
    except (ValueError, TypeError):
        return None


def _wait_for_owner(descriptor: int) -> _Process | None:
    """The same, after waiting for a process that has just got the lock to write its name."""
    deadline = time.monotonic() + _WRITTEN_WITHIN
    while (owner := _read_owner(descriptor)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return owner


def _has_ended(owner: _Process, this: _Process, is_guarded: bool) -> bool:
    """Whether the process that a lock file names is known to have ended."""
    if owner.boot != this.boot:
        return owner.host == this.host
    if owner.namespace != this.namespace:
        # Processes of another container cannot be seen, but this one would still have the kernel's lock.
        return is_guarded
    return process_start(owner.pid) != owner.start


def _refusal(path: str, owner: _Process | None, *, is_running: bool) -> LockedError:
    who = "another process" if owner is None else f"process {owner.pid} on {owner.host}"
    advice = "wait until it is done" if is_running else f"if that has ended, remove {path}"
    return LockedError(f"{os.path.dirname(path)}: is being changed by {who}: {advice}")


def _write_owner(path: str, descriptor: int, this: _Process) -> None:
    """Write the name of this process into the lock file."""
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(asdict(this)).encode())
    except OSError:
        # For example on a full disk. No other process holds the lock, so the file can be removed.
        os.unlink(path)
        raise


def _release(path: str, descriptor: int, this: _Process) -> None:
    if descriptor not in _descriptors:
        # In a forked child.
        return
    is_left = False
    # The folder may have been exchanged for another one, which this process has locked too.
    with suppress(OSError):
        with open(path, "rb") as file:
            is_owner = _read_owner(file.fileno()) == this
        if is_owner:
            is_left = not _remove(path, descriptor)
    _descriptors.discard(descriptor)
    os.close(descriptor)
    if is_left:
        # Refused if somebody has opened it meanwhile.
        with suppress(OSError):
            os.unlink(path)


def _remove(path: str, descriptor: int) -> bool:
    """Remove the lock file while it is open, so that nobody takes the lock of a file that is about to go; False on Windows,
    which removes no open file: then whoever opens it finds no owner in it."""
    try:
        os.unlink(path)
    except PermissionError:
        os.ftruncate(descriptor, 0)
        return False
    return True
