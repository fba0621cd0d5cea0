"""Processes: cores, forks, signals, priorities, and what tells a process from all others."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

__all__ = [
    "boot_id",
    "busy_seconds",
    "interrupts_blocked",
    "is_stopped",
    "lower_priority",
    "pid_namespace",
    "process_start",
    "usable_cores",
]

# In a line of Linux's /proc/stat: user, nice, system, irq, softirq. Not idle, iowait, and what other virtual machines take.
_BUSY = (1, 2, 3, 6, 7)

# Of Windows' OpenProcess: ask when it began, and wait for it to end.
_PROCESS_QUERY_LIMITED_INFORMATION, _SYNCHRONIZE = 0x1000, 0x100000
_WAIT_OBJECT_0 = 0
_ERROR_ACCESS_DENIED = 5


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_seconds() -> float | None:
    """How long the cores that this process may run on have worked since the machine was started, in all, for anybody.

    It is None where the system does not tell: it is Linux's proc_stat(5).
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    try:
        with open("/proc/stat", encoding="ascii") as file:
            cores = [line.split() for line in file if line.startswith("cpu")]
        ticks = sum(int(core[position]) for core in cores if core[0] in names for position in _BUSY)
    except (OSError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C: a new process inherits which signals are blocked, while it could install a handler only later.

    On Windows, nothing is blocked.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # It starts with the first process of a program, and at the end of that it would unblock Ctrl-C.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def lower_priority(steps: int) -> None:
    """Let this thread stand back from all others of the machine by steps of niceness, 0 to 19; on Linux alone.

    Elsewhere a process has one niceness for all its threads, and nothing is done.
    """
    if steps and sys.platform == "linux" and hasattr(os, "setpriority"):
        thread = threading.get_native_id()
        # A sandbox may forbid it, which only costs speed.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + steps)


def boot_id() -> str:
    """What the kernel drew at random when this machine was started; the name of the machine if it draws nothing."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip() or socket.gethostname()
    return socket.gethostname()


def pid_namespace() -> str:
    """The namespace of the process ids that this process sees: every container has its own; "" where there is none."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def process_start(pid: int) -> str | None:
    """When a process began, which no other process of this id has; "" if it runs and the system does not tell.

    Returns:
        None if there is no such process, or it has ended as a zombie.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, in parentheses, may hold anything. After it come the state and 18 other numbers, and then the start, in
            # ticks since the machine was started.
            state, *numbers = file.read().rpartition(")")[2].split()
        return None if state in "ZX" else numbers[18]
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return None
    return _start_on_windows(pid) if hasattr(ctypes, "WinDLL") else _start_without_proc(pid)


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, by SIGSTOP or a debugger; False if the system does not tell."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] in "Tt"
    return False


def _start_without_proc(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


def _start_on_windows(pid: int) -> str | None:
    """The same; not by `os.kill`, which on Windows ends the process."""
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]  # on Windows alone
    kernel.OpenProcess.restype = ctypes.c_void_p
    process = kernel.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION | _SYNCHRONIZE, False, pid)
    if not process:
        return "" if ctypes.get_last_error() == _ERROR_ACCESS_DENIED else None  # type: ignore[attr-defined]  # as above
    handle = ctypes.c_void_p(process)
    try:
        if kernel.WaitForSingleObject(handle, 0) == _WAIT_OBJECT_0:
            return None
        times = [ctypes.c_uint64() for _ in range(4)]
        return str(times[0].value) if kernel.GetProcessTimes(handle, *map(ctypes.byref, times)) else ""
    finally:
        kernel.CloseHandle(handle)
