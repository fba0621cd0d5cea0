"""One file, all files of a kind in a folder, or all that a pattern matches; and what their names say of splits."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import braceexpand

from kseq.errors import SourceError
from kseq.sources.base import SPLITS
from kseq.sources.cell_types import Refused

__all__ = ["SourceFile", "compression", "find_files", "is_pattern", "match_files", "read_files", "split_of", "stamp"]

_LETTERS = re.compile(r"[a-z]+")
# What files begin with that were compressed as a whole, and what undoes it.
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}

Found = TypeVar("Found")


class SourceFile(NamedTuple):
    """One of the files of a source.

    Attributes:
        path: Where it is.
        name: What it is called: its path below the source; of a pattern, below the last folder before anything is left open.
    """

    path: str
    name: str


def is_pattern(path: str) -> bool:
    """Whether a path is no file but a pattern: of `glob`, such as `photos/train-*.tar`, or of braces, as in a shell:
    `train-{000000..000009}.tar`, `{train,val}/*.tar`."""
    return not os.path.exists(path) and (glob.has_magic(path) or len(_alternatives(path)) > 1)


def match_files(path: str) -> list[str]:
    """All that a pattern matches, sorted by name.

    Raises:
        SourceError: Where nothing matches one of its alternatives: a shard that was named is missing.
    """
    found: set[str] = set()
    for alternative in _alternatives(path):
        matched = [alternative] if os.path.exists(alternative) else glob.glob(alternative, recursive=True)
        if not matched:
            part = "this pattern" if alternative == path else f"{alternative}, which is part of this pattern"
            raise SourceError(f"{path}: no file matches {part}")
        found.update(matched)
    return sorted(found, key=os.fsencode)


def find_files(path: str, ends: str, kind: str) -> list[SourceFile]:
    """The files of a source, sorted by name. Hidden ones (a leading dot) in a folder are left alone.

    Args:
        path: A file, a folder, or a pattern.
        ends: What the name of a file in a folder ends with, as a regular expression.
        kind: What they are, for messages.

    Raises:
        SourceError: Where there is none.
    """
    if os.path.isdir(path):
        head, found = path, _walk(path, re.compile(rf"{ends}$", re.IGNORECASE))
    elif is_pattern(path):
        head, found = _fixed_head(path), match_files(path)
    else:
        head, found = os.path.dirname(path), [path]
    files = [SourceFile(each, os.path.relpath(each, head or ".")) for each in found if os.path.isfile(each)]
    if not files:
        raise SourceError(f"{path}: is not there, or holds no file, expected is one of {kind} or more")
    return files


def read_files(
    path: str, files: Sequence[SourceFile], read: Callable[[int, SourceFile], Found]
) -> list[tuple[SourceFile, Found | Refused]]:
    """What each file holds, or why that cannot be known: one that is damaged does not stop the others.

    Args:
        path: The source, for messages.
        files: At least one.
        read: Given the number of a file and the file; raises SourceError.

    Raises:
        SourceError: Where none can be read.
    """
    found: list[tuple[SourceFile, Found | Refused]] = []
    errors: list[SourceError] = []
    for number, file in enumerate(files):
        try:
            found.append((file, read(number, file)))
        except SourceError as error:
            errors.append(error)
            found.append((file, Refused(str(error).removeprefix(f"{file.path}: "))))
    if len(errors) == len(files):
        raise errors[0] if len(files) == 1 else SourceError(f"{path}: none of its {len(files)} files can be read, {errors[0]}")
    return found


def split_of(name: str) -> str | None:
    """The split that a file's name or one of its folders says: `train-0001.tar`, `val/0001.tar`, `mnist-test.tfrecord`.

    What tells is the first word, or the only one that is a split; the name goes before its folders. None where nothing does.
    """
    for part in reversed(name.lower().split("/")):
        words = _LETTERS.findall(part)
        splits = [SPLITS[word] for word in words if word in SPLITS]
        if splits and (len(set(splits)) == 1 or words[0] in SPLITS):
            return splits[0]
    return None


def compression(start: bytes) -> str | None:
    """The command that undoes the compression of a file that begins so; None for no compression that is known."""
    return next((command for mark, command in _COMPRESSED.items() if start.startswith(mark)), None)


def stamp(path: str) -> tuple[int, int, int]:
    """What tells a file from what lay at its path before: what is kept in memory of it is kept under this."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _alternatives(path: str) -> list[str]:
    try:
        return list(braceexpand.braceexpand(path, escape=False))
    except ValueError:
        # Braces that are not closed, say: then they are part of a name.
        return [path]


def _walk(folder: str, ends: re.Pattern[str]) -> list[str]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [os.path.join(place, name) for name in names if ends.search(name) and not name.startswith(".")]
    return sorted(found, key=os.fsencode)


def _fixed_head(pattern: str) -> str:
    """The folders of a pattern up to the first part that is one itself."""
    head = ""
    for part in pattern.split("/")[:-1]:
        if glob.has_magic(part) or "{" in part:
            break
        head = f"{head}{part}/"
    return head
