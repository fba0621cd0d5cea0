"""A lock on the folder of a dataset: only one process at a time changes it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from kseq.errors import LockedError, WriteError
from kseq.storage.layout import LOCK_NAME

__all__ = ["locked"]

# Who has the kernel's lock writes its name at once; a reader that comes in between waits that long.
_WRITTEN_WITHIN = 1.0


# The lock files that this process has open.
_held: set[int] = set()


def _close_held() -> None:
    """The kernel's lock lasts until nobody has the file open, and a forked child may live longer than this process."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_held)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keeps a dataset's folder to this process until the end of the block; readers are not kept out.

    Whatever changes a dataset does so within such a block, and looks at what lies in the folder only there::

        with locked(path):
            index = Index.open(path)
            ...

    The lock is the file `.kseq-lock` in the folder, and says which process has it: host, process id, when the process and its
    machine were started. It is gone at the end of the block, however that ends. If the process was killed, the file stays, and
    the next `locked` takes it over: where the process is gone (its number may belong to another by now) or its machine was
    restarted. Whether a process of another machine still runs cannot be known: then the error says which file to remove.

    Two threads of one process exclude each other as two processes do, and a block within a block on the same folder is refused.
    What a forked child does with the block that it inherited has no effect.

    Where the file system has the kernel's flock(2), it guards the file, so that of several processes that take over one gets
    it; on a network file system without it, the file's being made is what decides.

    Args:
        folder: That of the dataset; it exists.

    Raises:
        LockedError: Where another has it, naming its host and process.
        WriteError: Where the operating system refuses, or there is no such folder.
    """
    path = os.path.join(folder, LOCK_NAME)
    me = _this_process()
    try:
        descriptor = _take(path, me)
    except LockedError:
        raise
    except OSError as error:
        raise WriteError(f"{folder}: cannot be locked: {error.strerror}") from error
    try:
        yield
    finally:
        _release(path, descriptor, me)


@dataclass(frozen=True)
class _Process:
    """A process, told from all others on all machines.

    Attributes:
        host: The name of its machine.
        boot: What the kernel drew when the machine was started; where it draws nothing, the name again.
        namespace: What its process id is counted in: containers of one machine count for themselves.
        pid: Its process id.
        start: When it began, in ticks since the machine's start; "" where the kernel does not tell.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    start: str


def _this_process() -> _Process:
    host, boot, namespace = socket.gethostname(), "", ""
    with suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot = file.read().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return _Process(host, boot or host, namespace, os.getpid(), _start_of(os.getpid()) or "")


def _start_of(pid: int) -> str | None:
    """When a process began; None if there is none (or it has ended, and waits for its parent to notice)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, in parentheses, may hold anything; state is what follows, the start the twentieth.
            state, *others = file.read().rpartition(")")[2].split()
        return None if state in "ZX" else others[18]
    except OSError:
        return "" if not os.path.exists("/proc/self/stat") and _is_there(pid) else None


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _take(path: str, me: _Process) -> int:
    """A descriptor of the lock file, which says now that the lock is this process's."""
    while True:
        descriptor, is_new = _open(path)
        try:
            guarded = _guard(path, descriptor)
            if guarded and not _is_at(path, descriptor):
                # Its owner has removed it since it was opened.
                os.close(descriptor)
                continue
            owner = _read(descriptor)
            if owner is None and not guarded and not is_new:
                raise _refusal(path, None, certain=False)
            if owner is not None and not _is_gone(owner, me, guarded):
                raise _refusal(path, owner, certain=owner.boot == me.boot)
            _sign(path, descriptor, me)
        except BaseException:
            os.close(descriptor)
            raise
        _held.add(descriptor)
        return descriptor


def _open(path: str) -> tuple[int, bool]:
    """The lock file, and whether it was made by that."""
    while True:
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR), False


def _guard(path: str, descriptor: int) -> bool:
    """Take the kernel's lock on the file, for as long as it is open; False where its file system has none.

    Raises:
        LockedError: Where another process has it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _refusal(path, _read_soon(descriptor), certain=True) from None
    except OSError:
        return False
    return True


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> _Process | None:
    """Whose lock it is; None where nobody has written a name."""
    try:
        return _Process(**json.loads(os.pread(descriptor, 1 << 16, 0)))
    except (ValueError, TypeError):
        return None


def _read_soon(descriptor: int) -> _Process | None:
    deadline = time.monotonic() + _WRITTEN_WITHIN
    while (owner := _read(descriptor)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return owner


def _is_gone(owner: _Process, me: _Process, guarded: bool) -> bool:
    """Whether a process is known not to run any more."""
    if owner.boot != me.boot:
        return owner.host == me.host
    if owner.namespace != me.namespace:
        # It cannot be looked for, but would have the kernel's lock.
        return guarded
    return _start_of(owner.pid) != owner.start


def _refusal(path: str, owner: _Process | None, *, certain: bool) -> LockedError:
    who = "another process" if owner is None else f"process {owner.pid} on {owner.host}"
    advice = "wait until it is done" if certain else f"if that has ended, remove {path}"
    return LockedError(f"{os.path.dirname(path)}: is being changed by {who}: {advice}")


def _sign(path: str, descriptor: int, me: _Process) -> None:
    """Write whose lock it is."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(me)).encode(), 0)
    except OSError:
        # On a full disk, say. Nobody else has it.
        os.unlink(path)
        raise


def _release(path: str, descriptor: int, me: _Process) -> None:
    if descriptor not in _held:
        # In a forked child.
        return
    # The folder may have been exchanged for another since, which this process has locked as well.
    with suppress(OSError):
        with open(path, "rb") as file:
            is_mine = _read(file.fileno()) == me
        if is_mine:
            os.unlink(path)
    _held.discard(descriptor)
    os.close(descriptor)
