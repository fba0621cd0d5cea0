"""How much memory a process has had."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["peak_kib", "resident_kib"]


def peak_kib() -> int:
    """The most memory that this program ever had, in KiB.

    `ru_maxrss` of Linux also counts what the process had before it ran this program: as a fork of the one that started it,
    which may be much larger, such as one that runs tests.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident_kib() -> tuple[int, int]:
    """What this program has in memory now, in KiB: its own, and of files that are mapped; (0, 0) if nothing tells."""
    status = Path("/proc/self/status")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.exists() else {}
    own, of_files, shared = (int(lines.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssFile", "RssShmem"))
    return own + shared, of_files
