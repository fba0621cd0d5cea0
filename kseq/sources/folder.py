"""A folder of images: `class/.../image`, or the same below `train`, `val` and `test`.

The rules:

- Hidden files and folders (a leading dot) are left alone. Every other file in a class folder counts as found; beside the class
  folders, those named like an image do, and are listed.
- A class folder without an image is a class all the same.
- A link to a file is followed if what it leads to lies below the folder that is packed: it is the same collection. One that
  leads out of it, and every link to a folder, is listed with the reason, unless `follow_links` says to follow them. Then a link
  to a folder that it lies in itself is listed, since it would never end.
- The same holds for the paths of a table, of COCO's and of YOLO's files, below their root. A path that is absolute, or leaves
  the root by `..`, was written so by its author: it is followed wherever it leads.
- A folder that cannot be read is listed; all else is packed. So is what is no regular file: a pipe, a socket, a device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kseq.errors import SourceError
from kseq.sources.files import IMAGE_SUFFIXES, SPLITS, FileSource, SourceImage
from kseq.sources.links import Links

__all__ = ["FolderSource"]


@dataclass(frozen=True)
class FolderSource(FileSource):
    """All images below a folder, sorted by split, class and path, so that their order is the same everywhere.

    The classes are numbered in the order of their names, unless another order was asked for.
    """

    @classmethod
    def scan(cls, root: str, class_names: Sequence[str] | None = None, *, follow_links: bool = False) -> FolderSource:
        """Look through a folder.

        Args:
            root: The folder.
            class_names: Another order of the classes than the sorted one; all of them.
            follow_links: Follow links out of the folder, and links to folders.

        Raises:
            SourceError: Where there is no such folder, or nothing in it that can be packed.
        """
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is {'a file' if os.path.exists(root) else 'not there'}, expected is a folder of images")
        tree = _Tree(root, follow_links)
        places: list[tuple[str | None, _Entry]] = [(split, each) for each, split in _find_splits(tree)] or [(None, tree.top)]
        found = sorted({each.name for _, place in places for each in tree.folders(place)})
        if not found:
            raise SourceError(
                f"{root}: holds no class folder{_beside(tree)}, expected is {root}/CLASS/IMAGE or {root}/train/CLASS/IMAGE"
            )
        names = _order_classes(root, found, class_names)
        images = [image for split, place in places for image in _scan_split(tree, place, split, names)]
        if places[0][1] is not tree.top:
            images += [_left_out(each, None) for each in tree.entries(tree.top) if each.refused is not None]
        if not any(image.label >= 0 for image in images):
            raise SourceError(
                f"{root}: no file in its class folders ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
            )
        return cls(root, names, images)


class _Entry(NamedTuple):
    """Something in a folder.

    Attributes:
        path: Below the root.
        name: The end of it.
        is_folder: Whether there is more in it, to be gone through.
        num_bytes: Of a file.
        refused: Why it is not to be read.
        above: Where links to folders are followed, which folders these are: this one, and those that it lies in.
    """

    path: str
    name: str
    is_folder: bool
    num_bytes: int = 0
    refused: str | None = None
    above: frozenset[tuple[int, int]] = frozenset()


class _Tree:
    """The folders below a root.

    Attributes:
        root: As given.
        top: The root itself.
    """

    def __init__(self, root: str, follow_links: bool) -> None:
        self.root = root
        self._links = Links(root, follow_links)
        self.top = _Entry("", "", True, above=frozenset([_identity(root)] if follow_links else []))

    def entries(self, folder: _Entry) -> list[_Entry]:
        """What lies in a folder, sorted by name; of one that cannot be read, itself, refused.

        Raises:
            SourceError: Where it is the root that cannot be read.
        """
        path = os.path.join(self.root, folder.path)
        try:
            with os.scandir(path) as entries:
                found = sorted(
                    (each for each in entries if not each.name.startswith(".")), key=lambda each: os.fsencode(each.name)
                )
        except OSError as error:
            if folder is self.top:
                raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
            return [folder._replace(is_folder=False, refused=f"cannot be read: {error.strerror}")]
        return [self._entry(folder, each) for each in found]

    def folders(self, folder: _Entry) -> list[_Entry]:
        """The folders in a folder."""
        return [each for each in self.entries(folder) if each.is_folder]

    def _entry(self, folder: _Entry, entry: os.DirEntry[str]) -> _Entry:
        path = f"{folder.path}/{entry.name}" if folder.path else entry.name
        if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir(follow_symlinks=False):
            return self._folder(folder, entry, path)
        if entry.is_symlink():
            return _Entry(path, entry.name, False, *self._links.look(os.fsencode(path)))
        return _Entry(path, entry.name, False, _size(entry))

    def _folder(self, folder: _Entry, entry: os.DirEntry[str], path: str) -> _Entry:
        if not self._links.follow:
            reason = "is a link to a folder (--follow-links follows it)" if entry.is_symlink() else None
            return _Entry(path, entry.name, reason is None, 0, reason)
        identity = _identity(entry.path)
        if identity in folder.above:
            return _Entry(path, entry.name, False, 0, "is a link to a folder that it lies in")
        return _Entry(path, entry.name, True, above=folder.above | {identity})


def _identity(folder: str) -> tuple[int, int]:
    try:
        found = os.stat(folder)
    except OSError:
        # Listing it will fail, and tell why.
        return 0, 0
    return found.st_dev, found.st_ino


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        # Reading it will fail, and tell why.
        return 0


def _beside(tree: _Tree) -> str:
    """What else lies in a root that has no class folder."""
    entries = tree.entries(tree.top)
    refused = next((each for each in entries if each.refused is not None), None)
    if refused is not None:
        return f" (but {refused.path}: {refused.refused})"
    loose = sum(each.name.lower().endswith(IMAGE_SUFFIXES) for each in entries)
    return f" (but {loose} images)" if loose else ""


def _find_splits(tree: _Tree) -> list[tuple[_Entry, str]]:
    """The folders below the root with their splits, if they are splits; nothing if they are classes.

    A class may be called `train` as well (beside `bus`): what tells is whether class folders lie inside.
    """
    root, folders = tree.root, tree.folders(tree.top)
    named = [(each, SPLITS[each.name.lower()]) for each in folders if each.name.lower() in SPLITS]
    shown = ", ".join(each.name for each, _ in named)
    with_classes = [each for each, _ in named if tree.folders(each)]
    others = [each.name for each in folders if each.name.lower() not in SPLITS]
    if not named or (others and not with_classes):
        return []
    if others:
        raise SourceError(
            f"{root}: holds split folders ({shown}) beside others ({', '.join(others[:5])}): "
            "expected are splits only or classes only"
        )
    if not with_classes:
        raise SourceError(
            f"{os.path.join(root, named[0][0].path)}: holds no class folder, expected is {root}/train/CLASS/IMAGE"
        )
    if len({split for _, split in named}) < len(named):
        raise SourceError(f"{root}: two of its folders mean the same split: {shown}")
    return named


def _order_classes(root: str, found: list[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    if wanted is None:
        return tuple(found)
    if sorted(wanted) != found:
        raise SourceError(f"{root}: class_names are {', '.join(wanted)}, the class folders are {', '.join(found)}")
    return tuple(wanted)


def _scan_split(tree: _Tree, place: _Entry, split: str | None, class_names: tuple[str, ...]) -> Iterator[SourceImage]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for each in tree.entries(place):
        if each.is_folder:
            yield from _images(tree, each, numbers[each.name], split)
        elif each.refused is not None:
            yield _left_out(each, split)
        elif each.name.lower().endswith(IMAGE_SUFFIXES):
            yield SourceImage(os.fsencode(each.path), -1, split, each.num_bytes, "lies in no class folder")


def _images(tree: _Tree, folder: _Entry, label: int, split: str | None) -> Iterator[SourceImage]:
    # Not by recursion: folders may lie deeper in each other than Python's calls may.
    levels = [iter(tree.entries(folder))]
    while levels:
        each = next(levels[-1], None)
        if each is None:
            levels.pop()
        elif each.is_folder:
            levels.append(iter(tree.entries(each)))
        else:
            yield SourceImage(os.fsencode(each.path), label, split, each.num_bytes, each.refused)


def _left_out(entry: _Entry, split: str | None) -> SourceImage:
    return SourceImage(os.fsencode(entry.path), -1, split, 0, entry.refused)
