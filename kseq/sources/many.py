"""One file, all files of a kind in a folder, or all that a pattern matches; and what their names say of splits."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable

from kseq.errors import SourceError
from kseq.sources.files import SPLITS

__all__ = ["find_files", "is_pattern", "name_below", "split_of"]

_LETTERS = re.compile(r"[a-z]+")


def is_pattern(path: str) -> bool:
    """Whether a path is no file but a pattern of `glob`, such as `photos/train-*.tar`."""
    return not os.path.exists(path) and glob.has_magic(path)


def find_files(path: str, is_one: Callable[[str], bool], kind: str) -> list[str]:
    """The files of a source, sorted by name.

    Args:
        path: A file, a folder, or a pattern.
        is_one: Whether a file in a folder is one, by its name.
        kind: What they are, for messages.

    Raises:
        SourceError: Where there is none.
    """
    if os.path.isdir(path):
        found = [os.path.join(place, name) for place, _, names in os.walk(path) for name in names if is_one(name)]
    else:
        found = glob.glob(path, recursive=True) if is_pattern(path) else [path]
    files = sorted((each for each in found if os.path.isfile(each)), key=os.fsencode)
    if not files:
        raise SourceError(f"{path}: is not there, or holds no file, expected is one of {kind} or more")
    return files


def name_below(path: str, file: str) -> str:
    """What a file of a source is called: its path below the source, or below the folder of the source's files."""
    return os.path.relpath(file, path) if os.path.isdir(path) else os.path.basename(file)


def split_of(name: str) -> str | None:
    """The split that a file's name or one of its folders says: `train-0001.tar`, `val/0001.tar`; None where none does."""
    for part in reversed(name.lower().split("/")):
        word = _LETTERS.match(part)
        if word is not None and word[0] in SPLITS:
            return SPLITS[word[0]]
    return None
