"""Processor time of other processes: how much a contestant took, and how much all others did meanwhile."""

from __future__ import annotations

import os
import time

__all__ = ["busy_seconds", "group_seconds"]

# Fields of /proc/PID/stat after the name, see proc_pid_stat(5): the process group, and what children took that have ended.
_GROUP, _CHILDREN = 2, slice(13, 15)
# Fields of the first line of /proc/stat, see proc_stat(5), that are no work: idle, iowait; and guests, which user time holds.
_USER_TO_STEAL, _IDLE = slice(1, 9), slice(4, 6)


def group_seconds(group: int) -> float | None:
    """User and system time of a process group so far, with that of children that have ended; None where no one tells."""
    try:
        names = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return None
    return sum(_process_seconds(int(name), group) for name in names)


def _process_seconds(process: int, group: int) -> float:
    try:
        with open(f"/proc/{process}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        if int(fields[_GROUP]) != group:
            return 0.0
        # What clock_getcpuclockid(3) computes: the table above counts in hundredths, an epoch may take a tenth.
        own = time.clock_gettime((~process << 3) | 2)
    except (OSError, IndexError):
        # It has ended meanwhile.
        return 0.0
    return own + sum(map(int, fields[_CHILDREN])) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float | None:
    """Processor time that the whole machine has worked since it started, over all cores; None where no one tells."""
    try:
        with open("/proc/stat") as file:
            fields = file.readline().split()
    except OSError:
        return None
    return (sum(map(int, fields[_USER_TO_STEAL])) - sum(map(int, fields[_IDLE]))) / os.sysconf("SC_CLK_TCK")
