"""A folder of images: `class/.../image`, or the same below `train`, `val` and `test`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kseq.errors import SourceError
from kseq.sources.files import IMAGE_SUFFIXES, SPLITS, FileSource, SourceImage

__all__ = ["FolderSource"]


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
        split_folders = _find_splits(root)
        places: list[tuple[str | None, str]] = [(split, name) for name, split in split_folders.items()] or [(None, "")]
        found = sorted({name for _, place in places for name in _folders(os.path.join(root, place))})
        if not found:
            loose = sum(each.name.lower().endswith(IMAGE_SUFFIXES) for each in _entries(root))
            beside = f" (but {loose} images)" if loose else ""
            raise SourceError(
                f"{root}: holds no class folder{beside}, expected is {root}/CLASS/IMAGE or {root}/train/CLASS/IMAGE"
            )
        names = _order_classes(root, found, class_names)
        images = [image for split, place in places for image in _scan_split(root, place, split, names)]
        if not any(image.label >= 0 for image in images):
            raise SourceError(
                f"{root}: no file in its class folders ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
            )
        return cls(root, names, images)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((each for each in entries if not each.name.startswith(".")), key=lambda each: os.fsencode(each.name))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {error.strerror}") from error


def _folders(folder: str) -> list[str]:
    return [each.name for each in _entries(folder) if each.is_dir(follow_symlinks=False)]


def _find_splits(root: str) -> dict[str, str]:
    """Folder name to split, if the folders below `root` are splits; empty if they are classes.

    A class may be called `train` as well (beside `bus`): what tells is whether class folders lie inside.
    """
    folders = _folders(root)
    named = {name: SPLITS[name.lower()] for name in folders if name.lower() in SPLITS}
    with_classes = {name: split for name, split in named.items() if _folders(os.path.join(root, name))}
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


def _scan_split(root: str, place: str, split: str | None, class_names: tuple[str, ...]) -> Iterator[SourceImage]:
    numbers = {name: number for number, name in enumerate(class_names)}
    folder = os.path.join(root, place)
    for each in _entries(folder):
        if each.is_dir(follow_symlinks=False):
            label = numbers[each.name]
            yield from _images(root, f"{place}/{each.name}" if place else each.name, label, split)
        elif each.name.lower().endswith(IMAGE_SUFFIXES):
            path = f"{place}/{each.name}" if place else each.name
            yield SourceImage(os.fsencode(path), -1, split, _size(each), "lies in no class folder")


def _images(root: str, place: str, label: int, split: str | None) -> Iterator[SourceImage]:
    for each in _entries(os.path.join(root, place)):
        path = f"{place}/{each.name}"
        if each.is_dir(follow_symlinks=False):
            yield from _images(root, path, label, split)
        elif not each.is_dir():
            yield SourceImage(os.fsencode(path), label, split, _size(each))


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        # A dangling link, say: reading it will fail, and tell why.
        return 0
