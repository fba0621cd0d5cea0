"""A folder of images: `CLASS/.../IMAGE`, or the same below `train`, `val` and `test`.

The rules:

- Hidden files and folders (a leading dot) are skipped. Every other file in a class folder counts as found; beside the class
  folders, files that are named like an image count as found, and are rejected.
- A class folder without an image is a class.
- A link to a file is followed if it leads to a file below the folder that is packed: that is the same collection. A link out
  of the folder, and a link to a folder, is rejected, unless `follow_links` follows them. Then a link to a folder that the
  link lies in is rejected, since following it would never end.
- The same holds for the paths of a table, of a COCO file and of YOLO's files, below their root. A path that is absolute, or
  leaves the root by `..`, was written on purpose: it is followed wherever it leads.
- A folder that cannot be read is rejected, and all others are packed. A pipe, a socket or a device is rejected.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from kseq.arguments import spelled, spelled_call
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.base import SPLITS, FileSource, ImageTable, SourceImage
from kseq.sources.folder_tree import Entry, FolderTree, Tree
from kseq.sources.source_format import SourceFormat
from kseq.storage.layout import INDEX_NAME
from kseq.storage.rejected import with_remedy

__all__ = ["FOLDER", "FolderSource", "is_image_folder", "scan_classes"]

# How many names a message shows.
_SHOWN = 5


@dataclass(frozen=True)
class FolderSource(FileSource):
    """All images below a folder, sorted by split, class and path, so that their order is the same everywhere.

    The classes are numbered in the order of their names, unless another order was asked for.
    """

    @classmethod
    def scan(cls, root: str, class_names: Sequence[str] | None = None, *, follow_links: bool = False) -> FolderSource:
        """Find the images of a folder.

        Args:
            root: The folder.
            class_names: All classes, in the order of their numbers; None for the order of their names.
            follow_links: Follow links out of the folder, and links to folders.

        Raises:
            SourceError: If there is no such folder, or nothing in it can be packed.
        """
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is {'a file' if os.path.exists(root) else 'not there'}, expected is a folder of images")
        return cls(root, *scan_classes(FolderTree(root, follow_links), class_names))


def is_image_folder(path: str) -> bool:
    """Whether a folder has an image below one of its folders, at any depth; other files may lie beside it."""
    for parent, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if parent != path and any(name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".") for name in names):
            return True
    return False


FOLDER = SourceFormat(
    "folder",
    lambda request: FolderSource.scan(request.path, request.class_names, follow_links=request.follow_links),
    is_folder=is_image_folder,
    has_links=True,
    downloads=None,
)


def scan_classes(
    tree: Tree, class_names: Sequence[str] | None, others: Iterable[SourceImage] = ()
) -> tuple[tuple[str, ...], ImageTable]:
    """The classes and the images of a tree of class folders, on a disk or in an archive.

    Args:
        tree: The tree.
        class_names: All classes, in the order of their numbers; None for the order of their names.
        others: Samples to list after those of the tree.

    Raises:
        SourceError: If nothing in the tree can be packed.
    """
    root = tree.root
    split_folders: list[tuple[str | None, Entry]] = [(split, folder) for folder, split in _find_splits(tree)]
    folders = split_folders or [(None, tree.top)]
    class_folders = sorted({entry.name for _, folder in folders for entry in tree.folders(folder)})
    if not class_folders:
        raise SourceError(
            f"{root}: holds no class folder{_other_contents(tree)}, expected is {root}/CLASS/IMAGE or {root}/train/CLASS/IMAGE"
        )
    names = _order_classes(root, class_folders, class_names)
    outside = (
        [_rejected(entry, None) for entry in tree.entries(tree.top) if entry.rejection is not None] if split_folders else []
    )
    in_folders = (image for split, folder in folders for image in _scan_split(tree, folder, split, names))
    images = ImageTable.of(chain(in_folders, outside, others))
    if not (images.labels >= 0).any():
        more = ", ..." if len(names) > _SHOWN else ""
        raise SourceError(f"{root}: no file in its class folders ({', '.join(names[:_SHOWN])}{more})")
    return names, images


def _other_contents(tree: Tree) -> str:
    """What lies in a root that has no class folder."""
    entries = tree.entries(tree.top)
    if any(entry.name == INDEX_NAME for entry in entries):
        return (
            f" (but a dataset: {spelled_call('export')} writes its images as files, {spelled_call('merge')} makes one dataset "
            "of several)"
        )
    rejected = next((entry for entry in entries if entry.rejection is not None), None)
    if rejected is not None:
        return f" (but {rejected.path}: {with_remedy(rejected.rejection or '')})"
    num_images = sum(entry.name.lower().endswith(IMAGE_SUFFIXES) for entry in entries)
    return f" (but {num_images} images)" if num_images else ""


def _find_splits(tree: Tree) -> list[tuple[Entry, str]]:
    """The split folders below the root, each with its split; empty if the folders are classes.

    A class may be called `train` too (beside `bus`): a folder is a split if class folders lie in it.
    """
    root, folders = tree.root, tree.folders(tree.top)
    named = [(folder, SPLITS[folder.name.lower()]) for folder in folders if folder.name.lower() in SPLITS]
    names = ", ".join(folder.name for folder, _ in named)
    with_classes = [folder for folder, _ in named if tree.folders(folder)]
    others = [folder.name for folder in folders if folder.name.lower() not in SPLITS]
    if not named or (others and not with_classes):
        return []
    if others:
        raise SourceError(
            f"{root}: holds split folders ({names}) beside others ({', '.join(others[:_SHOWN])}): "
            "expected are splits only or classes only"
        )
    if not with_classes:
        raise SourceError(
            f"{os.path.join(root, named[0][0].path)}: holds no class folder, expected is {root}/train/CLASS/IMAGE"
        )
    if len({split for _, split in named}) < len(named):
        raise SourceError(f"{root}: two of its folders mean the same split: {names}")
    return named


def _order_classes(root: str, class_folders: list[str], class_names: Sequence[str] | None) -> tuple[str, ...]:
    if class_names is None:
        return tuple(class_folders)
    if sorted(class_names) != class_folders:
        given, actual = ", ".join(class_names), ", ".join(class_folders)
        raise SourceError(f"{root}: {spelled('class_names')} are {given}, the class folders are {actual}")
    return tuple(class_names)


def _scan_split(tree: Tree, folder: Entry, split: str | None, class_names: tuple[str, ...]) -> Iterator[SourceImage]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for entry in tree.entries(folder):
        if entry.is_folder:
            label = numbers[entry.name]
            for file in tree.files(entry):
                yield SourceImage(os.fsencode(file.path), label, split, file.num_bytes, file.rejection)
        elif entry.rejection is not None:
            yield _rejected(entry, split)
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            yield SourceImage(os.fsencode(entry.path), -1, split, entry.num_bytes, "lies in no class folder")


def _rejected(entry: Entry, split: str | None) -> SourceImage:
    return SourceImage(os.fsencode(entry.path), -1, split, 0, entry.rejection)
