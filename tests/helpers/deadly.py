"""A source with an image that worker processes die of; in a module of its own, which they can import."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from kseq.errors import ImageError
from kseq.sources.folder import FolderSource


@dataclass(frozen=True)
class DeadlySource(FolderSource):
    """A folder, with images that are deadly.

    Attributes:
        deadly: Their paths.
        how: `"killed"`, `"segfault"`, `"exit"`, `"memory"`, or a reason to reject them for.
        notes: A folder where a file is made for each death.
        at_most: After so many deaths, an image is harmless.
    """

    deadly: tuple[bytes, ...] = ()
    how: str = ""
    notes: str = ""
    at_most: int = 1000

    def fetch(self, place: bytes) -> bytes:
        if place in self.deadly:
            self._die()
        return super().fetch(place)

    def _die(self) -> None:
        if self.how == "memory":
            raise MemoryError
        if self.how not in ("killed", "segfault", "exit"):
            raise ImageError(self.how)
        deaths = len(os.listdir(self.notes))
        if deaths >= self.at_most:
            return
        (Path(self.notes) / f"{deaths}-{os.getpid()}").touch()
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "segfault":
            ctypes.string_at(0)
        os._exit(7)


@dataclass(frozen=True)
class CrampedSource(FolderSource):
    """A folder whose reader may take little more memory than it has when it begins."""

    more: int = 0

    def fetch(self, place: bytes) -> bytes:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + self.more,) * 2)
        return super().fetch(place)
