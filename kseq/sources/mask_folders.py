"""Images in one folder and their masks in another, or beside them, told by their names: `images/1.jpg` and `masks/1.png`.

The rules:

- Which files are masks, and which mask goes with which image, is said in `kseq/sources/mask_pairs.py`.
- A sample is an image with its mask, packed as a table with the columns `image` and `mask` would be. An image without a mask
  is rejected; masks without an image, other masks of an image, and files in folders of maps are counted, a line each.
- The split is that of a folder, see `kseq/sources/split_names.py`; the column `split` has it.
- There is no label. The column `folder` has the folders that say neither image, mask nor split: `Columns(label="folder")` makes
  classes of them, `Columns(group="folder")` keeps those of one in one split. Where masks lie beside their images, in several
  folders whose names have no digit, as those of patients and dates have, the folders are the classes.
- All of that holds for a folder and for a zip, whose members are read in place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kseq.arguments import counted, spelled, spelled_call
from kseq.errors import ArgumentError, SourceError
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import FileSource, SourceImage, describe_first
from kseq.sources.class_names import folder_class_name
from kseq.sources.column_roles import Columns, find_columns, used_columns
from kseq.sources.folder_tree import Entry, FolderTree, is_named_like_image
from kseq.sources.mask_pairs import Pairing, describe_paths, pair_masks
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.zip_archive import read_zip_tree

__all__ = ["MASK_FOLDERS"]

# The columns that it has, as a table has them; what those of images and masks are, and what the others may be.
_COLUMNS = ("image", "mask", "folder", "split")
_ALLOWED, _TEXTS = {"image": ("image",), "mask": ("mask",)}, ("folder", "split")
_SHOWN = 3
_NO_MASK = "has no mask of its name"


def _open(request: SourceRequest) -> FileSource:
    """Open such a folder or zip as a source.

    Raises:
        ArgumentError: If columns have other roles than those of images, masks and folders, or links are followed in a zip.
        SourceError: If it is none, or no image has a mask.
    """
    path = request.path
    is_zip = os.path.isfile(path)
    if is_zip and request.follow_links:
        raise ArgumentError(f"{path}: {spelled('follow_links', True)} goes with a folder, found a zip")
    entries, misplaced = _list_zip(path) if is_zip else _list_folder(path, follow_links=request.follow_links)
    files = {entry.path: entry for entry in entries if is_named_like_image(entry)}
    pairing = pair_masks(files)
    samples = [_sample(pairing, image, files) for image in pairing.pairs]
    # A folder that cannot be read may hold images.
    samples += [_rejected(os.fsencode(entry.path), entry.rejection) for entry in entries if _is_broken(entry)]
    samples += [_rejected(image.path, image.rejection) for image in misplaced]
    _check_some(path, samples)
    columns = _find_columns(path, request.columns, pairing)
    folders = [folder_class_name(pairing.folders.get(os.fsdecode(sample.name), "")) for sample in samples]
    cells = {"folder": SpooledColumn(folders), "split": SpooledColumn(sample.split for sample in samples)}
    assembled = assemble_samples(path, columns, cells, samples, request.class_names)
    return FileSource(
        "" if is_zip else path,
        assembled.class_names,
        assembled.images,
        assembled.fields,
        request.storage_options,
        archive=path if is_zip else None,
        box_facts=assembled.box_facts,
        notes=tuple(_notes(path, columns, pairing)),
    )


MASK_FOLDERS = SourceFormat("masks", _open, has_columns=True, has_links=True, downloads=None)


def _is_broken(entry: Entry) -> bool:
    return entry.rejection is not None and not is_named_like_image(entry)


def _sample(pairing: Pairing, image: str, files: Mapping[str, Entry]) -> FoundSample:
    """An image with its mask, or why it is rejected."""
    name, mask = os.fsencode(image), pairing.pairs[image]
    rejection = files[image].rejection
    if mask is None:
        return _rejected(name, rejection or pairing.faults.get(image, _NO_MASK))
    of_mask = files[mask].rejection
    if rejection is None and of_mask is not None:
        rejection = f"has the mask {describe_paths([mask])}, which {of_mask}"
    split = pairing.splits[image] or pairing.splits[mask]
    num_bytes = files[image].num_bytes + files[mask].num_bytes
    return FoundSample(name, (name, os.fsencode(mask)), num_bytes, split, rejection, is_sample=False)


def _rejected(name: bytes, reason: str | None) -> FoundSample:
    return FoundSample(name, (name, b""), 0, None, reason or "", is_sample=False)


def _check_some(path: str, samples: Sequence[FoundSample]) -> None:
    """Raise SourceError if no image has a mask."""
    if all(sample.rejection is not None for sample in samples):
        first = (SourceImage(sample.name, -1, None, 0, sample.rejection) for sample in samples)
        table, given = spelled_call("pack", "table.csv", "DATASET"), spelled("columns", label="", mask="mask")
        raise SourceError(
            f"{path}: none of its {counted(len(samples), 'image', 'images')} has a mask{describe_first(first)}: a mask is "
            "called as its image, in a folder of its own (images/1.jpg and masks/1.png) or beside it (1.jpg and 1_mask.png); "
            f"or list both in a table with the columns image and mask: {table} with {given}"
        )


def _list_folder(path: str, *, follow_links: bool) -> tuple[list[Entry], list[SourceImage]]:
    if not os.path.isdir(path):
        raise SourceError(f"{path}: is not there, expected is a folder or a zip of images and masks")
    tree = FolderTree(path, follow_links)
    return list(tree.files(tree.top)), []


def _list_zip(path: str) -> tuple[list[Entry], list[SourceImage]]:
    tree, misplaced = read_zip_tree(path)
    return list(tree.files(tree.top)), misplaced


def _find_columns(path: str, columns: Columns, pairing: Pairing) -> Columns:
    """The columns, with those of the mask, of the split and, where folders are classes, of the label."""
    _check_columns(path, columns)
    label = columns.label
    if label is None:
        label = "folder" if _are_classes(pairing) else ""
    asked = replace(columns, mask=columns.mask or "mask", split=columns.split or "split", label=label)
    return find_columns(asked, path, _COLUMNS)


def _check_columns(path: str, columns: Columns) -> None:
    """Raise ArgumentError if columns have other roles than they can have here."""
    roles = used_columns(columns)
    for role, name in roles:
        allowed = _ALLOWED.get(role, _TEXTS)
        if name not in allowed or roles.count((role, name)) > 1:
            once = ", once" if role in _ALLOWED else ""
            raise ArgumentError(f"{path}: {spelled(f'columns.{role}', name)}: allowed is {' or '.join(allowed)}{once}")


def _are_classes(pairing: Pairing) -> bool:
    """Whether the folders around images with their masks are classes."""
    names = set(pairing.folders.values())
    return not pairing.are_apart and len(names) > 1 and all(re.fullmatch(r"[^/\d]+", name) for name in names)


def _notes(path: str, columns: Columns, pairing: Pairing) -> Iterator[str]:
    """What was taken for what, and what was left out."""
    image, mask = next((image, mask) for image, mask in pairing.pairs.items() if mask is not None)
    as_classes = spelled("source_format", "zip" if os.path.isfile(path) else "folder")
    labelled = " and the folders around them as classes" if columns.label == "folder" else ", without classes"
    yield (
        f"{path}: taken for images with masks{labelled}: {describe_paths([image])} goes with {describe_paths([mask])} "
        f"({as_classes} packs its folders as classes)"
    )
    folders = sorted(set(pairing.folders.values()) - {""})
    if len(folders) > 1 and "folder" not in (columns.label, columns.group):
        shown = ", ".join(folders[:_SHOWN])
        yield (
            f"{path}: the folders around the images ({shown}) are not used: {spelled('columns.label', 'folder')} packs them as "
            f"classes, {spelled('columns.group', 'folder')} keeps each in one split"
        )
    bare = [image for image, mask in pairing.pairs.items() if mask is None and image not in pairing.faults]
    if bare:
        yield (
            f"{path}: {_first(bare, 'image has no mask', 'images have no mask')}: give each one, all 0 where there is nothing, "
            f"or pack them apart with {spelled('columns.label', '')}"
        )
    for paths, one, several, why in (
        (pairing.strays, "mask has no image of its name", "masks have no image of their name", ""),
        (
            pairing.unused,
            "mask is not used",
            "masks are not used",
            ": an image has one, and a table with the columns image and mask may name others",
        ),
        (pairing.maps, "file in a folder of maps is not used", "files in folders of maps are not used", ""),
    ):
        if paths:
            yield f"{path}: {_first(paths, one, several)}{why}"


def _first(paths: Sequence[str], one: str, several: str) -> str:
    return f"{counted(len(paths), one, several)} (first: {describe_paths(paths[:1])})"
