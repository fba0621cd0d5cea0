"""Folders and tables beside images that say that the folders are no classes: masks, maps, pairs, tables that name the images.

The rules:

- Two folders that have images of the same names, one of them called like masks or maps, are images and masks. What tools add
  to the name of a mask (`_segmentation`, `_L`) makes no other name. It is certain where every folder of images is one of both.
- A CSV or JSON Lines file of which cells name the images is a table of them. It is certain where all images lie in one folder,
  or in folders that are called like none of classes: `images_001`, `train_v2`, `patient7`, or by the first signs of the names.
- Two folders that are called like pairs (`low` and `high`) and whose images have the same names are pairs; where the names are
  numbers alone, as those of classes may be, only if the images of one number have the same proportions too.
- JPEG files beside PNG files of the same names are images with masks or maps.
- Where no folder is called like a class, any table and any file of annotations is named.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from kseq.arguments import spelled, spelled_call
from kseq.images.formats import JPEG, PNG
from kseq.sources.class_names import is_structure_name
from kseq.sources.listing import LISTED_HEAD, Listing, folder_of, stem_of

__all__ = ["Beside", "find_beside"]

_MASKS = re.compile(
    r"(?<![a-z])(masks?|msks?|segmentation\w*|trimaps?|gt|ground_?truth|annotations?|labels?|instances?|silhouettes?)(?![a-z])",
    re.IGNORECASE,
)
_MAPS = re.compile(r"(?<![a-z])(depths?(_?maps?)?|disparit(y|ies)|heat_?maps?)(?![a-z])", re.IGNORECASE)
# What names of masks and of their images end in.
_ENDS = re.compile(r"[_-]?(mask|segmentation|seg|gt|labels?|lab|l|depth|disparity|heatmap|image|img|input|rgb|sat)$")

# The first line of a table, with names of columns.
_NAMES = re.compile(r"(image|file|path|img)[\w ]*[,;\t|][\w ]+", re.IGNORECASE)

# Folders of images that belong to those of another, in lower case.
_PAIRS = (
    ("input", "target"),
    ("inputs", "targets"),
    ("source", "target"),
    ("noisy", "clean"),
    ("blur", "sharp"),
    ("low", "high"),
    ("lr", "hr"),
    ("lq", "gt"),
    ("before", "after"),
)
# What names of images of lower resolution end in.
_SCALE = re.compile(r"(?<=\d)x\d$")
# How many pairs of images are opened.
_OPENED = 8


class Beside(NamedTuple):
    """What lies beside images: as `Layout` has it."""

    name: str
    evidence: str
    way_out: str
    is_certain: bool


def find_beside(listing: Listing) -> Beside | None:
    """What says that the folders of a collection are no classes; None if nothing does."""
    if not listing.images:
        return None
    for find in (_find_masks, _find_table, _find_pairs, _find_twins, _find_any_table, _find_annotations):
        found = find(listing)
        if found is not None:
            return found
    return None


def _stems(listing: Listing) -> dict[str, set[str]]:
    """For each folder the names of its images, without what says of which kind they are."""
    stems: dict[str, set[str]] = {}
    for image in listing.images:
        stems.setdefault(folder_of(image), set()).add(_ENDS.sub("", stem_of(image).lower()))
    return stems


def _find_masks(listing: Listing) -> Beside | None:
    if not any(called.search(folder) for folder in listing.image_folders for called in (_MASKS, _MAPS)):
        return None
    stems = _stems(listing)
    for called, role in ((_MASKS, "mask"), (_MAPS, "map")):
        masks = {folder: names for folder, names in stems.items() if called.search(folder)}
        others = {folder: names for folder, names in stems.items() if folder not in masks}
        found = next((folder for folder, names in masks.items() if any(names & own for own in others.values())), None)
        if found is not None:
            of_masks = set[str]().union(*masks.values())
            are_pairs = all(2 * len(names & of_masks) > len(names) for names in others.values())
            return Beside(f"images and {role}s", f"{found}/", _table_way_out(role), are_pairs or listing.has_no_class)
    return None


def _table_way_out(role: str) -> str:
    """How images with masks or maps beside them are packed."""
    if role == "mask":
        given = spelled("columns", label="", mask=role)
    else:
        given = spelled("columns", label="", targets={role: role}, kinds={role: role})
    table = spelled_call("pack", "table.csv", "DATASET")
    return f"list both in a table with the columns image and {role}: {table} with {given}"


def _tables(listing: Listing) -> list[str]:
    """The tables, those of what is to be found last, as Kaggle's competitions have them too."""
    texts = [name for name in listing.ending(".txt")[:_OPENED] if _NAMES.match(listing.head(name))]
    tables = [*listing.ending(".csv", ".tsv", ".jsonl"), *texts]
    return sorted(tables, key=lambda name: re.search(r"submission|test", name, re.IGNORECASE) is not None)


def _find_table(listing: Listing) -> Beside | None:
    for name in _tables(listing):
        text = listing.head(name)
        cells = _cells(text)
        named = list(_named_images(listing, cells))
        is_long = len(text) > LISTED_HEAD
        if not named or not (is_long or 2 * len({image for image, _ in named}) > min(len(listing.images), text.count("\n"))):
            continue
        folders = _folders(listing)
        if any(part.lower() in cells for parts in folders for part in parts):
            # The table names the classes of the folders: it says something else of the images.
            continue
        roots = Counter(root for _, root in named).most_common(2)
        root = roots[0][0] if len(roots) == 1 else ""
        is_certain = len(folders) < 2 or listing.has_no_class or _are_structure(listing, folders)
        return Beside("images and a table of them", name, _table_call(listing, name, root), is_certain)
    return None


def _find_any_table(listing: Listing) -> Beside | None:
    if not listing.has_no_class:
        return None
    for name in _tables(listing):
        folders = listing.image_folders
        like = (folder for folder in folders if folder and folder.rpartition("/")[2].lower() in stem_of(name).lower())
        roots = Counter(root for _, root in _named_images(listing, _cells(listing.head(name)))).most_common(1)
        root = roots[0][0] if roots else next(like, folders[0])
        return Beside("images and a table", name, _table_call(listing, name, root), True)
    return None


def _table_call(listing: Listing, table: str, root: str) -> str:
    if not listing.is_folder:
        return f"unpack it, and pack the table ({spelled('root')} says where the images are)"
    csv = {"source_format": "csv"} if table.lower().endswith(".txt") else {}
    place = os.path.normpath(os.path.join(listing.path, root))
    return spelled_call("pack", os.path.join(listing.path, table), "DATASET", root=place, **csv)


def _cells(text: str) -> dict[str, str]:
    """The cells of the beginning of a table and the ends of those that are paths, in lower case, with what comes before."""
    found: dict[str, str] = {}
    for cell in re.split(r"[,;\t|\r\n]+", text.replace('"', "")):
        parts = cell.strip().replace("\\", "/").split("/")
        for start in range(len(parts)):
            found.setdefault("/".join(parts[start:]).lower(), "/".join(parts[:start]))
    found.pop("", None)
    return found


def _named_images(listing: Listing, cells: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The images that cells name, each with the folder that the name is relative to."""
    for image in listing.images:
        for whole in (image, image.rpartition(".")[0]):
            parts = whole.split("/")
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            end = next((end for end in ends if end.lower() in cells), None)
            if end is not None:
                before = cells[end.lower()]
                inner = whole[: len(whole) - len(end)].rstrip("/")
                yield image, _outside(listing.path, before) if before and not inner else inner
                break


def _outside(path: str, before: str) -> str:
    """The folder around a collection that names with more folders before them are relative to, from the collection."""
    names, parts = os.path.abspath(path).split(os.sep), [part for part in before.split("/") if part not in ("", ".")]
    return "/".join([".."] * len(parts)) if parts and names[-len(parts) :] == parts else ""


def _folders(listing: Listing) -> set[tuple[str, ...]]:
    """The folders of images, as the parts of their paths that not all of them have."""
    folders = {tuple(folder.split("/")) for folder in listing.image_folders}
    num_shared = _num_shared(folders)
    return {folder[num_shared:] for folder in folders}


def _num_shared(folders: Iterable[Sequence[str]]) -> int:
    """How many parts at the beginning all paths have."""
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False)))


def _are_structure(listing: Listing, folders: set[tuple[str, ...]]) -> bool:
    """Whether no folder can be a class: they are called like parts of a collection, or by the first signs of their images."""
    if all(is_structure_name(part) for parts in folders for part in parts):
        return True
    num_shared = _num_shared(folder_of(image).split("/") for image in listing.images)
    return all(stem_of(image).lower().startswith("".join(image.split("/")[num_shared:-1]).lower()) for image in listing.images)


def _find_pairs(listing: Listing) -> Beside | None:
    """Two folders of images that belong together, by their names and those of the images."""
    if len(listing.image_folders) != 2:
        return None
    by_folder: dict[str, dict[str, str]] = {}
    for image in listing.images:
        by_folder.setdefault(folder_of(image).lower(), {})[_SCALE.sub("", stem_of(image))] = image
    for pair in _PAIRS:
        words = [rf"(?<![a-z]){word}(?![a-z])" for word in pair]
        called = [[folder for folder in by_folder if re.search(word, folder)] for word in words]
        if [len(folders) for folders in called] != [1, 1]:
            continue
        first, second = (by_folder[folder] for (folder,) in called)
        shared = sorted(first.keys() & second.keys())
        # Numbers from 0 on are names of images of classes as well: those of pairs are the same on both sides.
        if len(by_folder) != 2 or 2 * len(shared) <= max(len(first), len(second)):
            continue
        if all(map(str.isdecimal, shared)) and not all(_go_together(listing, first[s], second[s]) for s in shared[:_OPENED]):
            continue
        table = spelled_call("pack", "table.csv", "DATASET")
        given = spelled("columns", label="", image=["image", "target"])
        way_out = (
            f"list both in a table with the columns image and target: {table} with {given}; if they are classes, nothing is to "
            "be done"
        )
        return Beside("pairs of images", f"{called[1][0]}/", way_out, listing.has_no_class)
    return None


def _go_together(listing: Listing, image: str, other: str) -> bool:
    """Whether two images have the same proportions; nothing speaks against it where a size is not known."""
    sizes = [size for size in (listing.size(image), listing.size(other)) if size is not None]
    return len({width * sizes[0][0] == height * sizes[0][1] for height, width in sizes}) < 2


def _find_twins(listing: Listing) -> Beside | None:
    """JPEG files with PNG files of the same names beside them."""
    names: dict[str, set[str]] = {suffix: set() for suffix in (*JPEG.suffixes, *PNG.suffixes)}
    for image in listing.images:
        stem, _, suffix = image.rpartition(".")
        names.get(f".{suffix.lower()}", set()).add(stem)
    jpegs = set[str]().union(*(names[suffix] for suffix in JPEG.suffixes))
    twins = jpegs & set[str]().union(*(names[suffix] for suffix in PNG.suffixes))
    if not twins or 2 * len(twins) <= len(jpegs):
        return None
    is_certain = listing.has_no_class or len(_folders(listing)) == 1
    name = f"{min(twins)}{PNG.suffixes[0]}"
    return Beside("images with masks or maps of the same names", name, _table_way_out("mask"), is_certain)


def _find_annotations(listing: Listing) -> Beside | None:
    """A file of annotations of no known form, where no folder is called like a class, or there is but one."""
    files = listing.ending(".json", ".odgt", ".mat", ".pkl")
    if not files or not (listing.has_no_class or len(_folders(listing)) == 1):
        return None
    text = listing.head(files[0]).lstrip()
    if text.startswith("[") and listing.is_folder and any(f"{stem_of(image)}." in text for image in listing.images):
        call = spelled_call("pack", os.path.join(listing.path, files[0]), "DATASET", source_format="jsonl")
        return Beside("images and a list of them", files[0], call, listing.has_no_class)
    table = spelled_call("pack", "table.csv", "DATASET", root=listing.path)
    columns = "image,label, or image,xmin,ymin,xmax,ymax,class"
    way_out = f"list them in a table ({columns}): {table}"
    return Beside("images and annotations of another form", files[0], way_out, listing.has_no_class)
