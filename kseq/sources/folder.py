"""A folder of images: `CLASS/.../IMAGE`, or the same below `train`, `val` and `test`.

The rules:

- Which folders are splits and which are classes: see `kseq/sources/class_folders.py`; what classes are called and how they are
  numbered: `kseq/sources/class_names.py`.
- Without classes (`Columns(label="")`), images may lie anywhere.
- Hidden files and folders (a leading dot) are skipped, and so is what systems keep beside files: `__MACOSX`, `@eaDir`,
  `$RECYCLE.BIN`, `lost+found`, `Thumbs.db` and the like, see `kseq/sources/folder_tree.py`. Every other
  file in a class folder counts as found; beside the class folders, files that are named like an image count as found, and are
  rejected.
- Images of a class that is not among the class names that were given are rejected.
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

from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.images.other_files import OTHER_SUFFIXES
from kseq.sources.base import FileSource, ImageTable, SourceImage
from kseq.sources.class_folders import ClassFolders, find_class_folders
from kseq.sources.class_names import folder_class_name
from kseq.sources.folder_tree import Entry, FolderTree, Tree, is_hidden, is_named_like_image
from kseq.sources.listing import Listing
from kseq.sources.source_format import SourceFormat
from kseq.storage.fields import IMAGE, LABEL, Field

__all__ = ["FOLDER", "FolderSource", "label_fields", "scan_classes"]

# How many names a message shows.
_SHOWN = 5


@dataclass(frozen=True)
class FolderSource(FileSource):
    """All images below a folder, sorted by split, class and path, so that their order is the same everywhere.

    The classes are numbered in the order of their names, unless another order was asked for.
    """

    @classmethod
    def scan(
        cls,
        root: str,
        class_names: Sequence[str] | None = None,
        *,
        follow_links: bool = False,
        has_classes: bool = True,
    ) -> FolderSource:
        """Find the images of a folder.

        Args:
            root: The folder.
            class_names: The classes that are wanted, in the order of their numbers; None for all, in the order of their names.
            follow_links: Follow links out of the folder, and links to folders.
            has_classes: Whether the images have classes.

        Raises:
            SourceError: If there is no such folder, or nothing in it can be packed.
        """
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is {'a file' if os.path.exists(root) else 'not there'}, expected is a folder of images")
        folders, images = scan_classes(FolderTree(root, follow_links), class_names, has_classes=has_classes)
        return cls(root, folders.class_names, images, label_fields(has_classes), notes=folders.notes)


def _is_folder(listing: Listing) -> bool:
    """Whether a folder has an image below one of its folders, at any depth; other files may lie beside it."""
    if any("/" in image for image in listing.images):
        return True
    # It may lie deeper than the listing goes.
    for parent, folders, names in os.walk(listing.path):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        if parent != listing.path and any(
            name.lower().endswith((*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)) and not name.startswith(".") for name in names
        ):
            return True
    return False


FOLDER = SourceFormat(
    "folder",
    lambda request: FolderSource.scan(
        request.path, request.class_names, follow_links=request.follow_links, has_classes=request.columns.label != ""
    ),
    is_folder=_is_folder,
    may_lack_label=True,
    has_links=True,
    downloads=None,
)


def scan_classes(
    tree: Tree,
    class_names: Sequence[str] | None,
    others: Iterable[SourceImage] = (),
    *,
    has_classes: bool = True,
) -> tuple[ClassFolders, ImageTable]:
    """The classes and the images of a tree of class folders, on a disk or in an archive.

    Args:
        tree: The tree.
        class_names: The classes that are wanted, in the order of their numbers; None for all, in the order of their names.
        others: Samples to list after those of the tree.
        has_classes: Whether images have classes.

    Raises:
        SourceError: If nothing in the tree can be packed.
    """
    folders = find_class_folders(tree, class_names, has_classes=has_classes)
    in_folders = chain.from_iterable(_scan_split(tree, folder, split, folders, has_classes) for split, folder in folders.splits)
    outside = (_misplaced(entry, None) for folder in folders.outside for entry in tree.entries(folder) if _counts(entry))
    images = ImageTable.of(chain(in_folders, outside, others))
    if has_classes and not (images.labels >= 0).any():
        names = folders.class_names
        more = ", ..." if len(names) > _SHOWN else ""
        raise SourceError(f"{tree.root}: no file in its class folders ({', '.join(names[:_SHOWN])}{more})")
    if not len(images):
        raise SourceError(f"{tree.root}: holds no image, expected are files called {', '.join(IMAGE_SUFFIXES)}")
    return folders, images


def label_fields(has_classes: bool) -> tuple[Field, ...]:
    """The fields of images that may have classes."""
    return (IMAGE, LABEL) if has_classes else (IMAGE,)


def _scan_split(
    tree: Tree, folder: Entry, split: str | None, folders: ClassFolders, has_classes: bool
) -> Iterator[SourceImage]:
    numbers = {name: number for number, name in enumerate(folders.class_names)}
    for entry in tree.entries(folder):
        if entry.is_folder:
            name = folder_class_name(entry.name)
            label = numbers.get(name, -1)
            left_out = f"is of the class {name!r}, which is not among the class names" if has_classes and label < 0 else None
            for file in tree.files(entry):
                own_split = folders.place(os.path.dirname(file.path))[0] if folders.has_inner_splits else split
                yield SourceImage(os.fsencode(file.path), label, own_split, file.num_bytes, file.rejection or left_out)
        elif not _counts(entry):
            continue
        elif has_classes:
            yield _misplaced(entry, split)
        else:
            yield SourceImage(os.fsencode(entry.path), -1, split, entry.num_bytes, entry.rejection)


def _counts(entry: Entry) -> bool:
    """Whether a file that lies in no class folder counts as found."""
    # A photo of a kind that is not read is left out by name, not passed over.
    return entry.rejection is not None or is_named_like_image(entry) or entry.name.lower().endswith(OTHER_SUFFIXES)


def _misplaced(entry: Entry, split: str | None) -> SourceImage:
    if entry.rejection is not None:
        return SourceImage(os.fsencode(entry.path), -1, split, 0, entry.rejection)
    return SourceImage(os.fsencode(entry.path), -1, split, entry.num_bytes, "lies in no class folder")
