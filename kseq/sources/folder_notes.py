"""What to say of class folders that may be meant otherwise: those that hold folders, and those that are called like splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kseq.arguments import spelled_call
from kseq.sources.class_names import is_no_class_name
from kseq.sources.folder_tree import Entry, Tree, is_named_like_image
from kseq.sources.split_names import SPLITS, folder_split

__all__ = ["are_splits", "describe_inner_folders", "describe_split_words", "folders_in_folders"]

# How many names a message shows.
_SHOWN = 4
# The words of a name, also where capitals begin them: `trainA`, `cats_train`.
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def folders_in_folders(tree: Tree, folders: Sequence[Entry]) -> dict[str, list[str]]:
    """The names of the folders in some folders, by the names of these; empty if one of them holds an image itself.

    Empty folders do not count. Of folders of images, the first alone is listed.
    """
    found: dict[str, list[str]] = {}
    for folder in folders:
        entries = tree.entries(folder)
        inner = [entry.name for entry in entries if entry.is_folder]
        if entries and (not inner or any(map(is_named_like_image, entries))):
            return {}
        if inner:
            found[folder.name] = inner
    return found


def are_splits(inner: Mapping[str, Sequence[str]]) -> bool:
    """Whether the folders in the class folders are splits: `CLASS/train/IMAGE`."""
    splits = {name: [folder_split(folder) for folder in folders] for name, folders in inner.items()}
    known = {split for found in splits.values() for split in found}
    return len(known) > 1 and "train" in known and all(None not in it and len(set(it)) == len(it) for it in splits.values())


def describe_inner_folders(root: str, inner: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What to say of class folders that hold folders and no image: which of them are the classes nobody can know."""
    names = sorted({folder for folders in inner.values() for folder in folders})
    if not names or all(map(is_no_class_name, names)):
        return
    outer = next(iter(inner))
    calls = f"{spelled_call('pack')} one outer folder after the other, and {spelled_call('merge')} them"
    yield (
        f"{root}: the class folders hold folders, such as {outer}/{inner[outer][0]}, and the outer ones ({_some(inner)}) are "
        f"the classes: if the inner ones are, {calls}"
    )


def describe_split_words(root: str, class_names: Iterable[str]) -> Iterator[str]:
    """What to say of classes that are called like parts of splits, such as `trainA` and `testA`."""
    by_split: dict[str, str] = {}
    for name in sorted(class_names):
        for word in _WORDS.findall(name):
            if word.lower() in SPLITS:
                by_split.setdefault(SPLITS[word.lower()], name)
    if "train" in by_split and len(by_split) > 1:
        yield (
            f"{root}: the folders {_some(by_split.values())} are packed as classes, though their names say splits: "
            "splits are folders train, val and test around the class folders"
        )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
