"""Folders and tables beside images that say that the folders are no classes: masks, maps, pairs, tables that name the images.

The rules:

- Two folders that have images of the same names, one of them called like masks or maps, are images and masks. What tools add
  to the name of a mask (`_segmentation`, `_L`) makes no other name. It is certain where every folder of images is one of both.
  Images of classes may be counted (`1.jpg`, `img_2.jpg`), so that theirs are the same names too (`mask`, `nomask`): such names
  are certain where the masks have the same proportions, and another suffix or no colours. So are images of the same folder
  that add `_mask` to the names of more than half of the others, if they are PNG files or of that kind.
- Folders that are called like images and masks, and none like a class, are such if most names have the same numbers.
  What is certain to be masks is packed as `kseq/sources/mask_folders.py` says.
- A CSV or JSON Lines file of which cells name the images is a table of them. It is certain where all images lie in one folder,
  or in folders that are called like none of classes: `images_001`, `train_v2`, `patient7`, or by the first signs of the names.
  Numbers name images where their column is called like one of images; in a log of a training they count epochs.
- Two folders that are called like pairs (`low` and `high`) and whose images have the same names are pairs; where the names are
  numbers alone, as those of classes may be, only if the images of one number have the same proportions too.
- JPEG files beside PNG files of the same names and proportions are images with masks or maps.
- Where no folder is called like a class, any table and any file of annotations is named.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain, takewhile, zip_longest
from typing import NamedTuple

from kseq.arguments import spelled, spelled_call
from kseq.images.formats import JPEG, PNG
from kseq.sources.class_names import structure_rest
from kseq.sources.listing import LISTED_HEAD, Listing, folder_of, stem_of
from kseq.sources.mask_names import MAP_FOLDER, MASK_FOLDER, MASK_NAME, numbers_in
from kseq.sources.split_names import split_of_path

__all__ = ["MASKS", "Beside", "find_beside"]

MASKS = "masks"
"""The name of the format of images with masks."""

# What names of masks and of their images begin with and end in.
_ENDS = re.compile(
    r"^(mask|msk|seg|label|image|img)[_-](?=.)|[_-]?(mask|segmentation|seg|gt|labels?|lab|l|depth|disparity|heatmap|image|img|"
    r"input|rgb|sat|leftimg8bit|gt(fine|coarse)_[a-z]+)$"
)

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
# A number with or without a word before it: `0001`, `img_1`, `Photo (2)`.
_COUNTED = re.compile(r"([^\W\d_]*)[ _-]*\(?0*\d{1,5}\)?")
# Names of columns of images; of others, numbers in their cells name none.
_IMAGE_COLUMN = re.compile(r"image|img|photo|picture|file|path|name|uid|(?<![a-z])ids?(?![a-z])|(?<=[a-z])I[dD](?![a-z])")
# The first signs of names that may be a folder, and how long the names are at least.
_SHARD, _LEAST_NAME = re.compile(r"[0-9a-f]{1,3}"), 8
_IF_CLASSES = "; if they are classes, nothing is to be done"
# How many pairs of images and texts, and how many tables, are opened.
_OPENED, _MOST_TABLES = 8, 20


class Beside(NamedTuple):
    """What lies beside images: as `Layout` has it."""

    name: str
    evidence: str
    way_out: str
    is_certain: bool
    source_format: str | None = None


def find_beside(listing: Listing) -> Beside | None:
    """What says that the folders of a collection are no classes; None if nothing does."""
    if not listing.images:
        return None
    finders = (_find_masks, _find_named_masks, _find_table, _find_pairs, _find_twins, _find_any_table, _find_annotations)
    for find in (*finders, _find_other_masks):
        found = find(listing)
        if found is not None:
            return found
    return None


def _by_stem(listing: Listing) -> dict[str, dict[str, str]]:
    """For each folder its images by their names, without what says of which kind they are."""
    found: dict[str, dict[str, str]] = {}
    for image in listing.images:
        found.setdefault(folder_of(image), {})[_ENDS.sub("", stem_of(image).lower())] = image
    return found


def _find_masks(listing: Listing) -> Beside | None:
    if not any(called.search(folder) for folder in listing.image_folders for called in (MASK_FOLDER, MAP_FOLDER)):
        return None
    by_stem = _by_stem(listing)
    for called, role in ((MASK_FOLDER, "mask"), (MAP_FOLDER, "map")):
        masks = {folder: names for folder, names in by_stem.items() if called.search(folder)}
        of_masks = dict(chain.from_iterable(names.items() for names in masks.values()))
        # Masks of other splits are often kept back.
        others = [
            names
            for folder, names in by_stem.items()
            if folder not in masks and (names.keys() & of_masks.keys() or not _is_kept_back(f"{folder}/"))
        ]
        found = next((folder for folder, names in masks.items() if any(names.keys() & own.keys() for own in others)), None)
        if found is None:
            continue
        pairs = {stem: (own[stem], of_masks[stem]) for own in others for stem in own.keys() & of_masks.keys()}
        are_pairs = all(2 * len(own.keys() & of_masks.keys()) > len(own) for own in others)
        is_certain = listing.has_no_class or (are_pairs and (not _are_counted(pairs) or _are_masked(listing, pairs)))
        return _masks(listing, f"{found}/", is_certain=is_certain) if role == "mask" else _maps(f"{found}/", is_certain)
    return None


def _find_named_masks(listing: Listing) -> Beside | None:
    """Images that are called as others in their folder, with `_mask` behind, perhaps in place of another word."""
    by_name = {name.rpartition(".")[0]: name for name in listing.images}
    found = {name: match["image"] for name in by_name if (match := MASK_NAME.fullmatch(name)) is not None}
    if not found:
        return None
    folders = {folder_of(name) for name in found}
    # Masks of other splits are often kept back.
    others = [name for name in by_name if name not in found and (folder_of(name) in folders or not _is_kept_back(name))]
    images = {_ENDS.sub("", name): by_name[name] for name in others} | {name: by_name[name] for name in others}
    pairs = {image: (images[image], by_name[mask]) for mask, image in found.items() if image in images}
    if not pairs or 2 * len(pairs) <= len(others):
        return None
    are_png = all(mask.lower().endswith(PNG.suffixes) for _, mask in pairs.values())
    return _masks(listing, min(mask for _, mask in pairs.values()), is_certain=are_png or _are_masked(listing, pairs))


def _is_kept_back(path: str) -> bool:
    return split_of_path(path) in ("val", "test")


def _find_other_masks(listing: Listing) -> Beside | None:
    """Folders that are called like images and masks, and like no class, whose images have the same numbers in other names."""
    masks = [image for image in listing.images if MASK_FOLDER.search(folder_of(image))]
    if not listing.has_no_class or not masks:
        return None
    numbers = {numbers_in(stem_of(mask)) for mask in masks} - {()}
    others = [image for image in listing.images if not MASK_FOLDER.search(folder_of(image))]
    num_shared = sum(numbers_in(stem_of(image)) in numbers for image in others)
    return _masks(listing, f"{folder_of(masks[0])}/", is_certain=True) if 2 * num_shared > len(others) else None


def _masks(listing: Listing, evidence: str, *, is_certain: bool) -> Beside:
    """Images with masks, which are packed as such where that is certain."""
    way_out = spelled_call("pack", listing.path, "DATASET", source_format=MASKS)
    return Beside("images and masks", evidence, way_out if is_certain else way_out + _IF_CLASSES, is_certain, MASKS)


def _maps(evidence: str, is_certain: bool) -> Beside:
    given = spelled("columns", label="", targets={"map": "map"}, kinds={"map": "map"})
    way_out = (
        f"list both in a table with the columns image and map: {spelled_call('pack', 'table.csv', 'DATASET')} with {given}"
    )
    return Beside("images and maps", evidence, way_out if is_certain else way_out + _IF_CLASSES, is_certain)


def _are_counted(stems: Iterable[str]) -> bool:
    """Whether names are numbers, all with the same word before them or none: images of several classes may be called so."""
    matches = [_COUNTED.fullmatch(stem) for stem in stems]
    return all(matches) and len({match[1] for match in matches if match is not None}) == 1


def _are_masked(listing: Listing, pairs: Mapping[str, tuple[str, str]]) -> bool:
    """Whether the first images look like such with masks: of the same proportions, and of another suffix or without colours."""
    return all(
        _go_together(listing, image, mask)
        and (
            image.rpartition(".")[2].lower() != mask.rpartition(".")[2].lower()
            or (listing.is_colored(image) is True and listing.is_colored(mask) is False)
        )
        for _, (image, mask) in sorted(pairs.items())[:_OPENED]
    )


def _tables(listing: Listing) -> list[str]:
    """The tables, those of what is to be found last, as Kaggle's competitions have them too."""
    texts = [name for name in listing.ending(".txt")[:_OPENED] if _NAMES.match(listing.head(name))]
    tables = [*listing.ending(".csv", ".tsv", ".jsonl"), *texts]
    tables.sort(key=lambda name: re.search(r"submission|test", name, re.IGNORECASE) is not None)
    # There may be one for each image.
    return tables[:_MOST_TABLES]


def _find_table(listing: Listing) -> Beside | None:
    for name in _tables(listing):
        text = listing.head(name)
        cells = _cells(text)
        named = list(_named_images(listing, cells, _numbers(text)))
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
        text = listing.head(name)
        roots = Counter(root for _, root in _named_images(listing, _cells(text), _numbers(text))).most_common(1)
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


def _numbers(text: str) -> set[str]:
    """The numbers in those columns of the beginning of a table that are called like columns of images."""
    lines = text.replace('"', "").splitlines()
    names = re.split(r"[,;\t|]", lines[0]) if lines else []
    places = [place for place, name in enumerate(names) if _IMAGE_COLUMN.search(name) or _IMAGE_COLUMN.search(name.lower())]
    rows = (re.split(r"[,;\t|]", line) for line in lines[1:]) if places else ()
    return {row[place].strip() for row in rows for place in places if place < len(row)}


def _named_images(listing: Listing, cells: Mapping[str, str], numbers: Container[str]) -> Iterator[tuple[str, str]]:
    """The images that cells name, each with the folder that the name is relative to; those of `numbers` may be numbers."""
    for image in listing.images:
        for whole in (image, image.rpartition(".")[0]):
            parts = whole.split("/")
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            end = next((end for end in ends if end.lower() in cells and (not end.isdecimal() or end in numbers)), None)
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
    levels = list(zip_longest(*folders, fillvalue=""))
    if all(map(_are_parts, levels)):
        return True
    num_shared = _num_shared(folder_of(image).split("/") for image in listing.images)
    return all(_is_below_shards(image.split("/")[num_shared:]) for image in listing.images)


def _are_parts(names: Iterable[str]) -> bool:
    """Whether folders beside each other are parts of a collection; those that are numbered from 0 or 1 on may be classes."""
    distinct = set(names) - {""}
    rests = {structure_rest(name) for name in distinct}
    numbers = sorted(int(name) for name in distinct if name.isdecimal())
    are_counted = len(numbers) == len(distinct) and numbers[0] < 2 and numbers == [*range(numbers[0], numbers[-1] + 1)]
    return None not in rests and len(rests) == 1 and not are_counted


def _is_below_shards(parts: Sequence[str]) -> bool:
    """Whether the folders of an image are called by the first signs of its name: `0/a/0ab1.png`."""
    *folders, name = (part.lower() for part in parts)
    stem = name.rpartition(".")[0]
    is_long = len(folders) > 1 or len(stem) >= _LEAST_NAME
    return is_long and stem.isalnum() and all(map(_SHARD.fullmatch, folders)) and stem.startswith("".join(folders))


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
        way_out = f"list both in a table with the columns image and target: {table} with {given}{_IF_CLASSES}"
        return Beside("pairs of images", f"{called[1][0]}/", way_out, listing.has_no_class)
    return None


def _go_together(listing: Listing, image: str, other: str) -> bool:
    """Whether two images have the same proportions; nothing speaks against it where a size is not known."""
    sizes = [size for size in (listing.size(image), listing.size(other)) if size is not None]
    return len({width * sizes[0][0] == height * sizes[0][1] for height, width in sizes}) < 2


def _find_twins(listing: Listing) -> Beside | None:
    """JPEG files with PNG files of the same names beside them."""
    by_suffix: dict[str, dict[str, str]] = {suffix: {} for suffix in (*JPEG.suffixes, *PNG.suffixes)}
    for image in listing.images:
        stem, _, suffix = image.rpartition(".")
        by_suffix.get(f".{suffix.lower()}", {})[stem] = image
    jpegs, pngs = (dict(chain.from_iterable(by_suffix[end].items() for end in kind.suffixes)) for kind in (JPEG, PNG))
    twins = {stem: (jpegs[stem], pngs[stem]) for stem in jpegs.keys() & pngs.keys()}
    if not twins or 2 * len(twins) <= len(jpegs):
        return None
    some = [pair for _, pair in sorted(twins.items())[:_OPENED]]
    if not listing.has_no_class and not all(_go_together(listing, *pair) for pair in some):
        # Of classes, JPEG files may be counted, and PNG files too.
        return None
    are_gray = all(listing.is_colored(png) is False for _, png in some)
    are_one = len(_folders(listing)) == 1 and (are_gray or not _are_counted(map(stem_of, jpegs.values())))
    is_certain = listing.has_no_class or are_one
    call = spelled_call("pack", listing.path, "DATASET", source_format=MASKS)
    given = spelled("columns", label="", targets={"map": "map"}, kinds={"map": "map"})
    way_out = f"{call} packs the PNG files as masks; maps go into a table with the columns image and map: {given}"
    way_out = way_out if is_certain else way_out + _IF_CLASSES
    return Beside("images with masks or maps of the same names", min(pngs[stem] for stem in twins), way_out, is_certain)


def _find_annotations(listing: Listing) -> Beside | None:
    """A file of annotations of no known form, where no folder is called like a class, or there is but one and it names images
    of that."""
    files = listing.ending(".json", ".odgt", ".mat", ".pkl")
    if not files or not (listing.has_no_class or len(_folders(listing)) == 1):
        return None
    text = listing.head(files[0]).lstrip()
    names_images = any(f"{stem_of(image)}." in text for image in listing.images)
    if not (names_images or listing.has_no_class):
        return None
    if text.startswith("[") and listing.is_folder and names_images:
        call = spelled_call("pack", os.path.join(listing.path, files[0]), "DATASET", source_format="jsonl")
        return Beside("images and a list of them", files[0], call, listing.has_no_class)
    table = spelled_call("pack", "table.csv", "DATASET", root=listing.path)
    columns = "image,label, or image,xmin,ymin,xmax,ymax,class"
    way_out = f"list them in a table ({columns}): {table}"
    return Beside("images and annotations of another form", files[0], way_out, listing.has_no_class)
