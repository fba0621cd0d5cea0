"""Folders with an image and a PNG for each object in it, as of the Data Science Bowl 2018.

The rules:

- An image is `ID/images/ID.png` (or of another suffix), its objects are `ID/masks/*.png`, at any depth. Other images below the
  source are rejected.
- The pixels of a PNG that are not 0 are the object, the box around them is its box; all objects are of the class `object`. A
  PNG without such a pixel is left out, and counted. One that cannot be read rejects its image. Those of no image are counted.
- A mask is packed if `Columns(mask=...)` asks for one, see `kseq/sources/object_masks.py`; else a line says that it was not.
- An image without a folder of masks has no objects, and a line counts these images. A folder called like a split on the way is
  the split.

Source: the data page of the competition "2018 Data Science Bowl".
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kseq.arguments import counted
from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject
from kseq.sources.column_roles import mask_of_objects
from kseq.sources.folder_tree import Entry, FolderTree
from kseq.sources.listing import Listing
from kseq.sources.object_masks import describe_unused, read_object
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import split_of_path

__all__ = ["OBJECT_PNGS"]

_CLASS = "object"
_IMAGE = re.compile(r"(?P<folder>(?:.*/)?(?P<id>[^/]+))/images/(?P=id)\.\w+", re.DOTALL)
_MASK = re.compile(r"(?P<folder>.*)/masks/[^/]+", re.DOTALL)


@dataclass(frozen=True)
class ObjectPngsSource(AnnotatedSource):
    """The images of such a folder, in the order of their paths."""

    @classmethod
    def open(cls, request: SourceRequest) -> ObjectPngsSource:
        """Open such a folder as a source.

        Raises:
            SourceError: If it is none, or holds no image that can be packed.
        """
        root = request.path
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is no folder, expected is one of ID/images/ID.png and ID/masks/*.png")
        tree = FolderTree(root, request.follow_links)
        masks: dict[str, list[Entry]] = {}
        others: list[Entry] = []
        for entry in tree.files(tree.top):
            found = _MASK.fullmatch(entry.path)
            if found is not None:
                masks.setdefault(found["folder"], []).append(entry)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES) or entry.rejection is not None:
                others.append(entry)
        facts: Counter[str] = Counter()
        images = [_image(root, entry, masks, facts) for entry in others]
        kind = mask_of_objects(request.columns)
        notes = []
        num_objects = sum(len(image.objects) for image in images)
        if kind is None and num_objects:
            notes.append(f"{root}: {describe_unused(num_objects)}")
        num_bare = sum(not image.objects and image.rejection is None for image in images)
        if num_bare:
            notes.append(f"{root}: {counted(num_bare, 'image has', 'images have')} no PNG of an object")
        used = {found["folder"] for entry in others if (found := _IMAGE.fullmatch(entry.path)) is not None}
        num_strays = sum(len(entries) for folder, entries in masks.items() if folder not in used)
        if num_strays:
            notes.append(f"{root}: {counted(num_strays, 'PNG of an object has', 'PNGs of objects have')} no image, and no use")
        return cls.of(request, root, root, images, facts=facts, known_classes=[_CLASS], notes=notes)


def _image(root: str, entry: Entry, masks: dict[str, list[Entry]], facts: Counter[str]) -> AnnotatedImage:
    found = _IMAGE.fullmatch(entry.path)
    if entry.rejection is not None or found is None:
        reason = entry.rejection or "is neither ID/images/ID.png nor a PNG of an object"
        return AnnotatedImage(entry.path, rejection=reason)
    try:
        objects = list(_objects(root, masks.get(found["folder"], ()), facts))
    except ImageError as error:
        return AnnotatedImage(entry.path, rejection=str(error))
    return AnnotatedImage(entry.path, objects, split=split_of_path(entry.path))


def _objects(root: str, entries: Sequence[Entry], facts: Counter[str]) -> Iterator[FoundObject]:
    """The objects of an image.

    Raises:
        ImageError: If a PNG of one cannot be read.
    """
    for entry in entries:
        if entry.rejection is not None:
            raise ImageError(f"has an object whose PNG {entry.path} {entry.rejection}")
        path = os.path.abspath(os.path.join(root, entry.path))
        covered = read_object(path)
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        if not rows.size:
            facts["shapeless"] += 1
            continue
        box = [float(side) for side in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]
        yield FoundObject(_CLASS, box, outline={"file": path})


def _is_folder(listing: Listing) -> bool:
    """Whether a folder in it has an image called like it, and a folder of masks."""
    matches = map(_IMAGE.fullmatch, listing.images)
    return not {f"{match['folder']}/masks" for match in matches if match is not None}.isdisjoint(listing.folders)


OBJECT_PNGS = SourceFormat(
    "objectpngs", ObjectPngsSource.open, is_folder=_is_folder, has_links=True, has_outlines=True, downloads=None
)
