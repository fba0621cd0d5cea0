"""Folders that are called like no class: refused where they would become classes, and parts of a known layout named.

The rules:

- Folders that would be classes and are all called like none (`images`, `labels`, `gt`) are refused if there is but one, if one
  of them holds no image, or if images of two have the same names, more than half of those of the smallest: those are
  annotations, masks or pairs. Where they only have a word or a number that says so (`ch4_images`, `ch4_gt`), they are refused
  if one with such a word holds files, and no image. A class may be empty.
- A part of a data set of YOLO, COCO or Pascal VOC (`images`, `labels/train`, `Annotations`) is refused with the command for the
  whole.
"""

from __future__ import annotations

import os
import re

from kseq.arguments import spelled, spelled_call
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.sources.base import Source
from kseq.sources.class_names import is_no_class_name, is_structure_name
from kseq.sources.layouts import COCO_NAME, find_layout
from kseq.sources.listing import list_folder
from kseq.sources.split_names import folder_split
from kseq.sources.tar_samples import unpack_command

__all__ = ["describe_around", "refuse_no_classes"]


# Among more files, none is looked for that is called like another.
_MOST_COMPARED = 200_000

_SUFFIXES = tuple(suffix.encode() for suffix in (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES))


def refuse_no_classes(path: str, source: Source, source_format: str, *, is_here: bool) -> None:
    """Raise SourceError if the folders that were taken for classes are called like no class, and there is but one, or one has
    no image, or images of two have the same names.

    Args:
        path: The folder or the archive.
        source: What was found in it.
        source_format: Packs the folders as classes.
        is_here: Whether an archive lies on this machine, where a shell unpacks it.
    """
    class_names = source.class_names
    twin = _find_twin(source) if class_names and len(source.images) <= _MOST_COMPARED else None
    if twin is None and not (class_names and all(map(_is_part, class_names))):
        return
    stems: dict[int, set[str]] = {number: set() for number in range(len(class_names))}
    filled = set()
    for image in source.images:
        filled.add(image.label)
        stem, suffix = os.path.splitext(os.fsdecode(image.path).rpartition("/")[2])
        # Whether a file is an image is known when it is read; a sample in a tar has no suffix.
        if image.rejection is None and suffix.lower() in ("", *IMAGE_SUFFIXES, *ARRAY_SUFFIXES):
            stems[image.label].add(stem)
    sizes = list(map(len, stems.values()))
    num_shared = sum(sizes) - len(set.union(*stems.values()))
    of_others = (name for number, name in enumerate(class_names) if number in filled and not stems[number])
    if twin is None and not all(map(is_no_class_name, class_names)) and not any(map(_has_word, of_others)):
        return
    if twin is None and len(sizes) > 1 and min(sizes) > 0 and 2 * num_shared <= min(sizes):
        return
    is_folder = os.path.isdir(path)
    inner = [name for name in class_names if is_folder and _holds_folders(os.path.join(path, name))]
    if not is_folder:
        is_tar = source_format == "webdataset" and os.path.isfile(path)
        unpack = unpack_command(path, is_here=is_here) if is_tar else "unpack it, and give that folder"
        way_out = f"more layouts are known in a folder: {unpack}"
    elif len(inner) == 1:
        way_out = f"{spelled_call('pack', os.path.join(path, inner[0]), 'DATASET')} packs the folders in one of them as classes"
    else:
        table = spelled_call("pack", "table.csv", "DATASET", root=path)
        way_out = (
            f"list the images in a table (image,label, or image,xmin,ymin,xmax,ymax,class): {table}; or "
            f"{spelled('columns.label', '')} packs images alone"
        )
    why = f"are called like no class, and what lies in them is of no known layout: {way_out}"
    if twin is not None:
        why = (
            f"are no classes: {twin} holds no image, and files called like the images of others, as annotations are: {way_out}"
        )
    raise SourceError(
        f"{path}: its folders ({', '.join(class_names[:5])}) {why}; {spelled('source_format', source_format)} packs them as "
        "classes"
    )


def _find_twin(source: Source) -> str | None:
    """A class whose folder has no image, and most files of which are called like images of others; None if there is none."""
    if not _lacks_images(source):
        return None
    named: dict[int, set[str]] = {number: set() for number in range(len(source.class_names))}
    others: dict[int, set[str]] = {number: set() for number in range(len(source.class_names))}
    for image in source.images:
        stem, suffix = os.path.splitext(os.fsdecode(image.path).rpartition("/")[2])
        if image.label in named:
            is_image = image.rejection is None and suffix.lower() in ("", *IMAGE_SUFFIXES, *ARRAY_SUFFIXES)
            (named if is_image else others)[image.label].add(stem)
    known = set().union(*named.values())
    twins = (number for number, stems in others.items() if stems and not named[number] and 2 * len(stems & known) > len(stems))
    return next((source.class_names[number] for number in twins), None)


def _lacks_images(source: Source) -> bool:
    """Whether a class has files and no image among them, which most collections are told by at once not to have."""
    images = source.images
    without: set[int] = set()
    known = {-1}
    for label, is_rejected, path in zip(images.labels.tolist(), images.is_rejected.tolist(), images.paths, strict=True):
        if label not in known:
            name = path.rpartition(b"/")[2].lower()
            is_image = not is_rejected and (b"." not in name[1:] or name.endswith(_SUFFIXES))
            (known if is_image else without).add(label)
    return bool(without - known)


def _is_part(name: str) -> bool:
    """Whether a folder is called like no class, or has a word in its name that is."""
    return is_structure_name(name) or _has_word(name)


def _has_word(name: str) -> bool:
    return is_no_class_name(name) or any(map(is_no_class_name, re.split(r"[\W_]+", name)))


def _holds_folders(folder: str) -> bool:
    """Whether a folder holds folders with images."""
    return any("/" in image for image in list_folder(folder).images)


def describe_around(path: str) -> str:
    """Of which layout the folder around a part of it is, such as `images` of YOLO's, and how it is packed; empty if of none."""
    folder = os.path.abspath(path)
    if not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    for _ in range(2):
        name = os.path.basename(folder)
        if not name or not (is_no_class_name(name) or folder_split(name)):
            return ""
        path, folder = os.path.dirname(path.rstrip("/")) or ".", os.path.dirname(folder)
        layout = find_layout(list_folder(folder))
        if layout is not None and layout.is_certain and layout.name in (COCO_NAME, "YOLO", "Pascal VOC", "images and masks"):
            return f"; {path} looks like {layout.name} ({layout.evidence}): {spelled_call('pack', path, 'DATASET')}"
    return ""
