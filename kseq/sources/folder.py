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

from kseq.arguments import spelled, spelled_call
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.base import SPLITS, FileSource, SourceImage
from kseq.sources.folder_tree import Entry, FolderTree, Tree
from kseq.storage.layout import INDEX_NAME
from kseq.storage.rejected import with_remedy

__all__ = ["FolderSource", "scan_classes"]


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
        return cls(root, *scan_classes(FolderTree(root, follow_links), class_names))


def scan_classes(tree: Tree, class_names: Sequence[str] | None) -> tuple[tuple[str, ...], list[SourceImage]]:
    """The classes and the images of folders that are laid out like this, wherever they lie.

    Raises:
        SourceError: Where there is nothing in them that can be packed.
    """
    root = tree.root
    places: list[tuple[str | None, Entry]] = [(split, each) for each, split in _find_splits(tree)] or [(None, tree.top)]
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
        raise SourceError(f"{root}: no file in its class folders ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})")
    return names, images


def _beside(tree: Tree) -> str:
    """What else lies in a root that has no class folder."""
    entries = tree.entries(tree.top)
    if any(each.name == INDEX_NAME for each in entries):
        return (
            f" (but a dataset: {spelled_call('export')} writes its images as files, {spelled_call('merge')} makes one dataset "
            "of several)"
        )
    refused = next((each for each in entries if each.refused is not None), None)
    if refused is not None:
        return f" (but {refused.path}: {with_remedy(refused.refused or '')})"
    loose = sum(each.name.lower().endswith(IMAGE_SUFFIXES) for each in entries)
    return f" (but {loose} images)" if loose else ""


def _find_splits(tree: Tree) -> list[tuple[Entry, str]]:
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
        raise SourceError(f"{root}: {spelled('class_names')} are {', '.join(wanted)}, the class folders are {', '.join(found)}")
    return tuple(wanted)


def _scan_split(tree: Tree, place: Entry, split: str | None, class_names: tuple[str, ...]) -> Iterator[SourceImage]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for each in tree.entries(place):
        if each.is_folder:
            label = numbers[each.name]
            for file in tree.files(each):
                yield SourceImage(os.fsencode(file.path), label, split, file.num_bytes, file.refused)
        elif each.refused is not None:
            yield _left_out(each, split)
        elif each.name.lower().endswith(IMAGE_SUFFIXES):
            yield SourceImage(os.fsencode(each.path), -1, split, each.num_bytes, "lies in no class folder")


def _left_out(entry: Entry, split: str | None) -> SourceImage:
    return SourceImage(os.fsencode(entry.path), -1, split, 0, entry.refused)
