"""Says which shard has become shorter while it was mapped, which ends the process that reads it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol

from kseq.platforms.bus_errors import explain_bus_errors
from kseq.platforms.forks import at_fork

__all__ = ["MappedShards", "name_shrunk_shards"]


class MappedShards(Protocol):
    """Shards that are read from maps."""

    def paths_and_sizes(self) -> Iterator[tuple[str, int]]:
        """The path and the expected size of each shard, in bytes; no file is opened."""


# By their ids. Each call of this dict's is one step for all threads, so that it needs no lock.
_mapped: dict[int, weakref.ref[MappedShards]] = {}
_is_ready = False
# Guards that one handler is set.
_lock = threading.Lock()


def name_shrunk_shards(shards: MappedShards) -> None:
    """From now on, as long as the object is there, let a line name those of its shards of which reading ends the process."""
    global _is_ready
    key = id(shards)
    _mapped[key] = weakref.ref(shards, lambda _: _mapped.pop(key, None))
    with _lock:
        if not _is_ready:
            explain_bus_errors(_explain)
            _is_ready = True


def _explain() -> str:
    advice = "read='pread' makes that an error that names the sample (SIGBUS ends the process)"
    checked = 0
    for reference in list(_mapped.values()):
        shards = reference()
        for path, expected in shards.paths_and_sizes() if shards is not None else ():
            checked += 1
            try:
                found = os.stat(path).st_size
            except OSError:
                # Removed or replaced: its map shows what it was.
                continue
            if found < expected:
                return (
                    f"{path}: has {found} bytes, expected are {expected}: it has become shorter while it was mapped; {advice}"
                )
    return (
        f"memory cannot be read or written: none of {checked} shards that are mapped has become shorter; their disk fails, or "
        f"another file does, or /dev/shm is full; of a disk, {advice}"
    )


def _forget_lock() -> None:
    """In a forked child: a thread that it does not have may hold the lock."""
    global _lock
    _lock = threading.Lock()


at_fork(after_in_child=_forget_lock)
