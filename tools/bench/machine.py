"""The machine that a table is measured on: its processor, its caches, and what else it does meanwhile."""

from __future__ import annotations

import glob
import os
import platform

from kseq.platforms.processes import usable_cores

from ..console.text import format_bytes, format_count

__all__ = ["ASSUMED_CACHE", "cache_bytes", "describe_machine", "load", "processor"]

# Where the system does not tell, as on macOS and in some virtual machines: more than most processors have.
ASSUMED_CACHE = 256 << 20

_CACHES = "/sys/devices/system/cpu"
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def describe_machine() -> str:
    """Processor, cores and last-level cache."""
    known = cache_bytes(_CACHES)
    cache = f"{format_bytes(known)} of last-level cache" if known else f"unknown cache ({format_bytes(ASSUMED_CACHE)} assumed)"
    return f"{processor()}, {format_count(usable_cores(), 'core')}, {cache}"


def processor() -> str:
    """The name of its model."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cache_bytes(folder: str = _CACHES) -> int:
    """The size of the last-level cache, of all that the cores of this process may use; 0 where the system does not tell."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(usable_cores())
    # By level, and by the cores that share it, so that none counts twice.
    sizes: dict[int, dict[str, int]] = {}
    for core in cores:
        for cache in glob.glob(os.path.join(folder, f"cpu{core}", "cache", "index*")):
            try:
                level, size, sharing = (_read(os.path.join(cache, name)) for name in ("level", "size", "shared_cpu_list"))
                sizes.setdefault(int(level), {})[sharing] = int(size.rstrip("KMG")) * _UNITS.get(size[-1:], 1)
            except (OSError, ValueError):
                continue
    return sum(sizes[max(sizes)].values()) if sizes else 0


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def load() -> str:
    """The mean number of processes that ran or waited in the last minute."""
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except OSError:
        return "unknown"
