"""Folders read as a whole, one file after the other."""

from __future__ import annotations

import contextlib
import os

__all__ = [
    "read_all",
    "tree_bytes",
]

_PIECE = 8 << 20


def read_all(folder: str) -> int:
    """Read every byte of every file of a folder, in order and in large pieces; returns how many there are."""
    piece, num_bytes = bytearray(_PIECE), 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            with open(os.path.join(parent, name), "rb", buffering=0) as file:
                while count := file.readinto(piece):
                    num_bytes += count
    return num_bytes


def tree_bytes(folder: str) -> int:
    """The sizes of all files in a folder, in bytes; 0 if there is no such folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
