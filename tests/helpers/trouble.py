"""Augmentations that make trouble at one sample of `write_numbered`, in a module that worker processes can import."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

import kseq


class OwnError(Exception):
    """An error of a user, whose class wants other arguments than the error has."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"my {what} failed")
        self.number = number


def is_worker() -> bool:
    return multiprocessing.parent_process() is not None


class Trouble(kseq.Augmentation):
    """Makes trouble when it gets a sample.

    Args:
        number: The sample.
        what: `"raise"`; `"hang"`, until there is a file `go on` in the folder, where a file `hangs` tells of it; `"killed"`,
            `"segfault"` or `"exit"`, in worker processes alone; `"memory"`, in all processes.
        folder: Where a file is made each time.
        at_most: After so many times, the sample is harmless.
    """

    def __init__(self, number: int, what: str, folder: str | Path = "", at_most: int = 1000) -> None:
        self.number = number
        self.what = what
        self.folder = str(folder)
        self.at_most = at_most

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        if int(pixels[0, 0, 0]) + 256 * int(pixels[0, 0, 1]) == self.number:
            self._make()
        return pixels

    def _make(self) -> None:
        if self.what == "raise":
            raise OwnError("augmentation", self.number)
        if self.what == "memory":
            raise MemoryError
        if self.what == "hang":
            (Path(self.folder) / "hangs").touch()
            while not os.path.exists(os.path.join(self.folder, "go on")):
                time.sleep(0.02)
        elif is_worker():
            self._die()

    def _die(self) -> None:
        deaths = len(os.listdir(self.folder))
        if deaths >= self.at_most:
            return
        (Path(self.folder) / f"{deaths}-{os.getpid()}").touch()
        if self.what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "segfault":
            ctypes.string_at(0)
        os._exit(7)
