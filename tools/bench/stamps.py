"""Folders that are made once: a stamp beside each says what it holds, and is there only while the folder is complete."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable

__all__ = ["make_once"]


def make_once(folder: str, content: str, make: Callable[[], object]) -> None:
    """Have `make` fill a folder, unless it holds `content` already, in full; what else lies there is removed before.

    Raises:
        OSError: Where the old folder cannot be removed, or the stamp not be written.
    """
    stamp = f"{folder}.made"
    if os.path.isdir(folder) and _read(stamp) == content:
        return
    # First of all, so that a folder is not believed whose making was interrupted.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(stamp)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    make()
    with open(stamp, "w") as file:
        file.write(content)


def _read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None
