"""What to say of class folders that may be meant otherwise: those that hold folders, and those that are called like splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kseq.arguments import spelled
from kseq.sources.class_names import is_no_class_name
from kseq.sources.folder_tree import Entry, Tree, is_named_like_image
from kseq.sources.path_labels import INNERMOST_FOLDER
from kseq.sources.split_names import SPLITS, folder_split

__all__ = ["are_splits", "describe_inner_folders", "describe_split_words", "folders_in_folders"]

# How many names a message shows.
_SHOWN = 4
# The words of a name, also where capitals begin them: `trainA`, `cats_train`.
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


class InnerFolders(NamedTuple):
    """The folders in class folders.

    Attributes:
        names: Their names, by the names of the class folders.
        are_all: Whether every class folder holds folders, and no image beside them; empty ones do not count.
    """

    names: dict[str, list[str]]
    are_all: bool


def folders_in_folders(tree: Tree, folders: Sequence[Entry]) -> InnerFolders:
    """The folders in some folders, up to the first that holds none: folders of images are not listed twice."""
    found: dict[str, list[str]] = {}
    has_images = False
    for folder in folders:
        entries = tree.entries(folder)
        inner = [entry.name for entry in entries if entry.is_folder]
        if entries and not inner:
            return InnerFolders(found, False)
        if inner:
            found[folder.name] = inner
            has_images = has_images or any(map(is_named_like_image, entries))
    return InnerFolders(found, not has_images)


def are_splits(inner: InnerFolders) -> bool:
    """Whether the folders in the class folders are splits: `CLASS/train/IMAGE`."""
    splits = [[folder_split(folder) for folder in folders] for folders in inner.names.values()]
    known = {split for found in splits for split in found}
    is_plain = all(None not in found and len(set(found)) == len(found) for found in splits)
    return inner.are_all and is_plain and len(known) > 1 and "train" in known


def describe_inner_folders(root: str, inner: InnerFolders) -> Iterator[str]:
    """What to say of class folders that hold folders and no image: which of them are the classes nobody can know."""
    names = {folder for folders in inner.names.values() for folder in folders}
    splits = sorted(name for name in names if folder_split(name) is not None)
    outer = next(iter(inner.names), "")
    if splits:
        yield (
            f"{root}: folders in class folders are called like splits ({_some(splits)}), and are not used: expected are none "
            "but splits, and no image beside them, in every class folder"
        )
    elif inner.are_all and not all(map(is_no_class_name, names)):
        yield (
            f"{root}: the class folders hold folders, such as {outer}/{inner.names[outer][0]}, and the outer ones "
            f"({_some(inner.names)}) are the classes: {spelled('label_pattern', INNERMOST_FOLDER)} takes the inner ones"
        )


def describe_split_words(root: str, class_names: Iterable[str]) -> Iterator[str]:
    """What to say of classes that are called like parts of splits, such as `trainA` and `testA`."""
    by_split: dict[str, str] = {}
    for name in sorted(class_names):
        splits = [SPLITS[word.lower()] for word in _WORDS.findall(name) if word.lower() in SPLITS]
        if not splits:
            return
        by_split.setdefault(splits[0], name)
    if "train" in by_split and len(by_split) > 1:
        yield (
            f"{root}: the folders {_some(by_split.values())} are packed as classes, though their names say splits: "
            "splits are folders train, val and test around the class folders"
        )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
