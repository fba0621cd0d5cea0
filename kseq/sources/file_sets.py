"""The files of a source: one file, the files of a kind in a folder, or all files that a pattern matches."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import braceexpand

from kseq.errors import SourceError
from kseq.platforms.files import with_slashes
from kseq.sources.cell_types import Rejection
from kseq.sources.split_names import SPLITS

__all__ = ["SourceFile", "find_files", "is_pattern", "match_files", "read_files", "split_from_name"]

_LETTERS = re.compile(r"[a-z]+")

Contents = TypeVar("Contents")


class SourceFile(NamedTuple):
    """One of the files of a source.

    Attributes:
        path: The path of the file.
        name: The path below the source; of a pattern, the path below its last folder without a wildcard.
    """

    path: str
    name: str


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern and not a file: with wildcards as in `glob` (`photos/train-*.tar`), or with braces as in a
    shell (`train-{000000..000009}.tar`, `{train,val}/*.tar`)."""
    return not os.path.exists(path) and (glob.has_magic(path) or len(_expand_braces(path)) > 1)


def match_files(path: str) -> list[str]:
    """All files that a pattern matches, sorted by name.

    Raises:
        SourceError: If one of the alternatives in braces matches nothing: a file that was named is missing.
    """
    paths: set[str] = set()
    for alternative in _expand_braces(path):
        matched = [alternative] if os.path.exists(alternative) else glob.glob(alternative, recursive=True)
        if not matched:
            pattern = "this pattern" if alternative == path else f"{alternative}, which is part of this pattern"
            raise SourceError(f"{path}: no file matches {pattern}")
        paths.update(matched)
    return sorted(paths, key=os.fsencode)


def find_files(path: str, file_names: str, description: str) -> list[SourceFile]:
    """The files of a source, sorted by name; hidden files in a folder (a leading dot) are skipped.

    Args:
        path: A file, a folder, or a pattern.
        file_names: A regular expression for the end of the name of a file in a folder.
        description: What the files are, for messages.

    Raises:
        SourceError: If there is no such file.
    """
    if os.path.isdir(path):
        head, paths = path, _walk(path, re.compile(rf"{file_names}$", re.IGNORECASE))
    elif is_pattern(path):
        head, paths = _fixed_head(path), match_files(path)
    else:
        head, paths = os.path.dirname(path), [path]
    files = [SourceFile(file, with_slashes(os.path.relpath(file, head or "."))) for file in paths if os.path.isfile(file)]
    if not files:
        raise SourceError(f"{path}: is not there, or holds no file, expected is one of {description} or more")
    return files


def read_files(
    path: str, files: Sequence[SourceFile], read: Callable[[int, SourceFile], Contents]
) -> Iterator[tuple[SourceFile, Contents | Rejection]]:
    """What each file holds, or why it cannot be read: a damaged file does not stop the others.

    Files are read one after the other, when they are asked for: there may be thousands, with millions of samples each.

    Args:
        path: The source, for messages.
        files: At least one.
        read: Called with the number of a file and the file; raises SourceError.

    Raises:
        SourceError: At the end, if no file can be read.
    """
    errors: list[SourceError] = []
    for number, file in enumerate(files):
        try:
            contents = read(number, file)
        except SourceError as error:
            errors.append(error)
            yield file, Rejection(str(error).removeprefix(f"{file.path}: "))
        else:
            yield file, contents
    if len(errors) == len(files):
        raise errors[0] if len(files) == 1 else SourceError(f"{path}: none of its {len(files)} files can be read, {errors[0]}")


def split_from_name(name: str) -> str | None:
    """The split that the name of a file or of one of its folders tells: `train-0001.tar`, `val/0001.tar`,
    `mnist-test.tfrecord`.

    A part of the path tells a split if its first word is one, or if exactly one split is among its words. The name of the file
    comes before its folders. None if no part tells one.
    """
    for part in reversed(name.lower().split("/")):
        words = _LETTERS.findall(part)
        splits = [SPLITS[word] for word in words if word in SPLITS]
        if splits and (len(set(splits)) == 1 or words[0] in SPLITS):
            return splits[0]
    return None


def _expand_braces(path: str) -> list[str]:
    try:
        return list(braceexpand.braceexpand(path, escape=False))
    except ValueError:
        # Braces that are not closed, for example, are part of a name.
        return [path]


def _walk(folder: str, file_names: re.Pattern[str]) -> list[str]:
    paths = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [os.path.join(parent, name) for name in names if file_names.search(name) and not name.startswith(".")]
    return sorted(paths, key=os.fsencode)


def _fixed_head(pattern: str) -> str:
    """The folders of a pattern before the first wildcard or brace."""
    head = ""
    for part in with_slashes(pattern).split("/")[:-1]:
        if glob.has_magic(part) or "{" in part:
            break
        head = f"{head}{part}/"
    return head
