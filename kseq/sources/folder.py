"""A folder of images: `class/.../image`, or the same below `train`, `val` and `test`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from kseq.errors import SourceError
from kseq.sources.files import IMAGE_SUFFIXES, SPLITS, FileSource, SourceImage

__all__ = ["Entries", "Entry", "FolderSource", "scan_classes"]


class Entry(Protocol):
    """A file or a folder in a folder, as `os.DirEntry` tells of it."""

    @property
    def name(self) -> str: ...

    def is_dir(self, *, follow_symlinks: bool = True) -> bool: ...

    def stat(self) -> Any: ...


# What lies in a folder, given its path below the source, sorted by name, without what is hidden.
Entries = Callable[[str], Sequence[Entry]]


@dataclass(frozen=True)
class FolderSource(FileSource):
    """All images below a folder, sorted by split, class and path, so that their order is the same everywhere.

    Hidden files and folders (a leading dot) are left alone, links to files are followed, links to folders are not.
    Every other file in a class folder counts as found; beside the class folders, those named like an image do.

    The classes are numbered in the order of their names, unless another order was asked for.
    """

    @classmethod
    def scan(cls, root: str, class_names: Sequence[str] | None = None) -> FolderSource:
        """Look through a folder.

        Args:
            root: The folder.
            class_names: Another order of the classes than the sorted one; all of them.

        Raises:
            SourceError: Where there is no such folder, or nothing in it that can be packed.
        """
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is {'a file' if os.path.exists(root) else 'not there'}, expected is a folder of images")
        return cls(root, *scan_classes(root, partial(_entries, root), class_names))


def scan_classes(root: str, entries: Entries, class_names: Sequence[str] | None) -> tuple[tuple[str, ...], list[SourceImage]]:
    """The classes and images of a folder, wherever it lies.

    Raises:
        SourceError: Where nothing in it can be packed.
    """
    split_folders = _find_splits(root, entries)
    places: list[tuple[str | None, str]] = [(split, name) for name, split in split_folders.items()] or [(None, "")]
    found = sorted({name for _, place in places for name in _folders(entries, place)})
    if not found:
        loose = sum(each.name.lower().endswith(IMAGE_SUFFIXES) for each in entries(""))
        beside = f" (but {loose} images)" if loose else ""
        raise SourceError(f"{root}: holds no class folder{beside}, expected is {root}/CLASS/IMAGE or {root}/train/CLASS/IMAGE")
    names = _order_classes(root, found, class_names)
    images = [image for split, place in places for image in _scan_split(entries, place, split, names)]
    if not any(image.label >= 0 for image in images):
        raise SourceError(f"{root}: no file in its class folders ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})")
    return names, images


def _entries(root: str, place: str) -> list[os.DirEntry[str]]:
    folder = os.path.join(root, place)
    try:
        with os.scandir(folder) as entries:
            return sorted((each for each in entries if not each.name.startswith(".")), key=lambda each: os.fsencode(each.name))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {error.strerror}") from error


def _folders(entries: Entries, place: str) -> list[str]:
    return [each.name for each in entries(place) if each.is_dir(follow_symlinks=False)]


def _find_splits(root: str, entries: Entries) -> dict[str, str]:
    """Folder name to split, if the folders below `root` are splits; empty if they are classes.

    A class may be called `train` as well (beside `bus`): what tells is whether class folders lie inside.
    """
    folders = _folders(entries, "")
    named = {name: SPLITS[name.lower()] for name in folders if name.lower() in SPLITS}
    with_classes = {name: split for name, split in named.items() if _folders(entries, name)}
    others = [name for name in folders if name not in named]
    if not named or (others and not with_classes):
        return {}
    if others:
        raise SourceError(
            f"{root}: holds split folders ({', '.join(named)}) beside others ({', '.join(others[:5])}): "
            "expected are splits only or classes only"
        )
    if not with_classes:
        raise SourceError(
            f"{os.path.join(root, next(iter(named)))}: holds no class folder, expected is {root}/train/CLASS/IMAGE"
        )
    if len(set(named.values())) < len(named):
        raise SourceError(f"{root}: two of its folders mean the same split: {', '.join(named)}")
    return named


def _order_classes(root: str, found: list[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    if wanted is None:
        return tuple(found)
    if sorted(wanted) != found:
        raise SourceError(f"{root}: class_names are {', '.join(wanted)}, the class folders are {', '.join(found)}")
    return tuple(wanted)


def _scan_split(entries: Entries, place: str, split: str | None, class_names: tuple[str, ...]) -> Iterator[SourceImage]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for each in entries(place):
        if each.is_dir(follow_symlinks=False):
            label = numbers[each.name]
            yield from _images(entries, f"{place}/{each.name}" if place else each.name, label, split)
        elif each.name.lower().endswith(IMAGE_SUFFIXES):
            path = f"{place}/{each.name}" if place else each.name
            yield SourceImage(os.fsencode(path), -1, split, _size(each), "lies in no class folder")


def _images(entries: Entries, place: str, label: int, split: str | None) -> Iterator[SourceImage]:
    for each in entries(place):
        path = f"{place}/{each.name}"
        if each.is_dir(follow_symlinks=False):
            yield from _images(entries, path, label, split)
        elif not each.is_dir():
            yield SourceImage(os.fsencode(path), label, split, _size(each))


def _size(entry: Entry) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        # A dangling link, say: reading it will fail, and tell why.
        return 0
