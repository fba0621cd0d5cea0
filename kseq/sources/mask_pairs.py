"""Which image files are masks, and which mask goes with which image, by their folders and names.

The rules, besides those of names in `kseq/sources/mask_names.py`:

- Masks are told from images by their folders (`masks`, `train_masks`, `SegmentationClass`, `gtFine`, `trainannot`); else by a
  word at an end of their names (`a_mask.png` beside `a.png`); else, if nothing of that is there, PNG files beside JPEG files
  are masks. Folders of maps (`depth`) hold neither.
- Folders must agree, but for the words that say image or mask, and words that all images or all masks have and no other:
  `train/images` goes with `train/masks`, `images/a` with `masks/a`, and also with `masks`. A mask of the same words counts
  before one of fewer or of more.
- Masks in folders of objects, colours or edges are not used where there are others: of Pascal VOC `SegmentationClass` is.
- An image with several masks is rejected. So are images that would share a mask, but for the one that lies in the same folders,
  or in `images`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from kseq.images.formats import JPEG, PNG
from kseq.sources.listing import folder_of, stem_of
from kseq.sources.mask_names import (
    AGAIN,
    IMAGE_FOLDER,
    MAP_FOLDER,
    MASK_FOLDER,
    MASK_STEM,
    OTHER_MASK,
    learn_naming,
    numbers_in,
)
from kseq.sources.split_names import SPLITS, folder_split, loose_folder_split
from kseq.sources.text import describe_text

__all__ = ["Pairing", "describe_paths", "pair_masks"]

_SHOWN = 3
# The form of a mask in a folder of others than most.
_UNUSED = 1
_SPLIT_NAMES = frozenset(SPLITS.values())


class _File(NamedTuple):
    """A file: its path, its name without the suffix, and the words of its folders that must agree."""

    path: str
    stem: str
    place: frozenset[str]


class _Candidate(NamedTuple):
    """A mask that may be that of an image, and its form as of `Naming.read`: 0 for the form of all masks."""

    mask: _File
    form: int


class Pairing(NamedTuple):
    """Images and their masks.

    Attributes:
        pairs: Each image, in the order of their paths, and its mask; None if it has none.
        faults: Of images without one mask for them alone why that is so.
        unused: Other masks of images that have one.
        strays: Masks of no image.
        maps: Files in folders of maps.
        folders: Of each image the folders around it that say neither image, mask nor split, joined by `/`.
        splits: Of each image and mask the split that a folder says; None if none does.
        are_apart: Whether masks lie in folders of their own.
    """

    pairs: Mapping[str, str | None]
    faults: Mapping[str, str]
    unused: Sequence[str]
    strays: Sequence[str]
    maps: Sequence[str]
    folders: Mapping[str, str]
    splits: Mapping[str, str | None]
    are_apart: bool


def pair_masks(paths: Iterable[str]) -> Pairing:
    """Tell the images from the masks among some files, and find the mask of each image.

    Args:
        paths: Of image files below one folder, with `/` between folders.
    """
    parts = {path: path.split("/")[:-1] for path in paths}
    num_shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*parts.values(), strict=False)))
    inner = {path: "/".join(folders[num_shared:]) for path, folders in parts.items()}
    of_maps = {folder for folder in set(inner.values()) if MAP_FOLDER.search(folder)}
    maps = sorted(path for path, folder in inner.items() if folder in of_maps)
    rest = [path for path, folder in inner.items() if folder not in of_maps]
    mask_paths, are_apart = _find_masks(sorted(rest), inner)
    image_paths = sorted(set(rest) - mask_paths)
    images, masks = _placed(image_paths, sorted(mask_paths), inner, are_apart=are_apart)
    candidates = _match(images, masks)
    faults: dict[str, str] = {}
    pairs = {image.path: _choose(image, candidates[image.path], faults) for image in images}
    _refuse_shared(images, pairs, candidates, faults)
    claimed = {path: {candidate.mask.path for candidate in several} for path, several in candidates.items()}
    unused = set().union(*(claimed[path] for path, mask in pairs.items() if mask is not None)) - set(pairs.values())
    strays = mask_paths.difference(*claimed.values())
    _name_alike(pairs, faults, strays)
    folders = {path: "/".join(part for part in parts[path][num_shared:] if not _says_role(part)) for path in image_paths}
    return Pairing(pairs, faults, sorted(unused), sorted(strays), maps, folders, _splits(parts), are_apart)


def _find_masks(paths: Sequence[str], folders: Mapping[str, str]) -> tuple[set[str], bool]:
    """Which files are masks, and whether they lie in folders of their own."""
    of_masks = {folder for folder in {folders[path] for path in paths} if MASK_FOLDER.search(folder)}
    found = {path for path in paths if folders[path] in of_masks}
    if 0 < len(found) < len(paths):
        return found, True
    found = {path for path in paths if MASK_STEM.fullmatch(stem_of(path))}
    if 0 < len(found) < len(paths):
        return found, False
    jpegs = {path for path in paths if path.lower().endswith(JPEG.suffixes)}
    return {path for path in paths if path.lower().endswith(PNG.suffixes)} if jpegs else set(), False


def _placed(
    image_paths: Sequence[str], mask_paths: Sequence[str], folders: Mapping[str, str], *, are_apart: bool
) -> tuple[list[_File], list[_File]]:
    """Images and masks with the words of their folders; what all of one and none of the other have says nothing."""
    sides: list[dict[str, frozenset[str]]] = []
    for paths, is_mask in ((image_paths, False), (mask_paths, are_apart)):
        words = _find_words({folders[path] for path in paths}, is_mask=is_mask)
        sides.append({path: words[folders[path]] for path in paths})
    common = [frozenset.intersection(*side.values()) if side else frozenset[str]() for side in sides]
    present = [frozenset[str]().union(*side.values()) for side in sides]
    dropped = [common[0] - present[1] - _SPLIT_NAMES, common[1] - present[0] - _SPLIT_NAMES]
    images, masks = (
        [_File(path, stem_of(path), words - without) for path, words in side.items()]
        for side, without in zip(sides, dropped, strict=True)
    )
    return images, masks


def _find_words(folder_paths: Iterable[str], *, is_mask: bool) -> dict[str, frozenset[str]]:
    """For each path of a folder its words but for those that say image or mask, splits as kseq calls them."""
    found = {}
    for path in folder_paths:
        text = IMAGE_FOLDER.sub(" ", MASK_FOLDER.sub(" ", path) if is_mask else path)
        words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text).casefold())
        found[path] = frozenset(folder_split(word) or word for word in words)
    return found


def _says_role(folder: str) -> bool:
    """Whether the name of a folder around an image says image, mask or split, and no class."""
    return (IMAGE_FOLDER.search(folder) or MASK_FOLDER.search(folder) or loose_folder_split(folder)) is not None


def _splits(parts: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """The split that the folders around each file say; among other words, if there are several, and one is train."""
    names = {name for folders in parts.values() for name in folders}
    loose = {name: loose_folder_split(name) for name in names}
    are_loose = "train" in loose.values() and len({*loose.values()} - {None}) > 1
    read = loose if are_loose else {name: folder_split(name) for name in names}
    return {path: next((read[name] for name in folders if read[name] is not None), None) for path, folders in parts.items()}


def _match(images: Sequence[_File], masks: Sequence[_File]) -> dict[str, list[_Candidate]]:
    """For each image the masks that its name and its folders fit."""
    naming = learn_naming([image.stem for image in images], [mask.stem for mask in masks])
    cores = {image.path: naming.core(image.stem) for image in images}
    known = set(cores.values())
    are_others = [OTHER_MASK.search(folder_of(mask.path)) is not None for mask in masks]
    by_core: dict[str, dict[frozenset[str], list[_Candidate]]] = {}
    for mask, is_other in zip(masks, are_others, strict=True):
        core, form = naming.read(mask.stem, known)
        is_unused = is_other and not all(are_others) and form == 0
        found = _Candidate(mask, _UNUSED if is_unused else form)
        by_core.setdefault(core, {}).setdefault(mask.place, []).append(found)
    places = {mask.place for mask in masks}
    without = {image.place for image in images if image.place not in by_core.get(cores[image.path], {})}
    near = {place: _find_near(place, places) for place in without}
    return {
        image.path: _of_place(image.place, near.get(image.place, ()), by_core.get(cores[image.path], {})) for image in images
    }


def _find_near(place: frozenset[str], others: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """Places that have all words of one, or of which it has all."""
    return [other for other in others if other <= place or place <= other]


def _of_place(
    place: frozenset[str], near: Iterable[frozenset[str]], by_place: Mapping[frozenset[str], list[_Candidate]]
) -> list[_Candidate]:
    """The masks whose folders agree with those of an image: of the same words, else of some of these, or of more."""
    if place in by_place:
        return by_place[place]
    return [mask for other in near if other in by_place for mask in by_place[other]]


def _choose(image: _File, candidates: Sequence[_Candidate], faults: dict[str, str]) -> str | None:
    """The mask of an image; None if it has none, or several, which is noted as a fault."""
    found = [mask.path for mask, form in candidates if form == 0]
    found += [mask.path for mask, form in candidates if found and form == AGAIN]
    if len(found) > 1:
        faults[image.path] = f"has {len(found)} masks, allowed is one: {describe_paths(found[:_SHOWN])}"
    return found[0] if len(found) == 1 else None


def _refuse_shared(
    images: Sequence[_File],
    pairs: dict[str, str | None],
    candidates: Mapping[str, Sequence[_Candidate]],
    faults: dict[str, str],
) -> None:
    """Take the masks that several images have from all but the one that it is of."""
    owners: dict[str, list[_File]] = {}
    for image in images:
        mask = pairs[image.path]
        if mask is not None:
            owners.setdefault(mask, []).append(image)
    for mask, several in owners.items():
        if len(several) == 1:
            continue
        place = next(other.mask.place for other in candidates[several[0].path] if other.mask.path == mask)
        likely = [image for image in several if image.place == place] or several
        likely = [image for image in likely if IMAGE_FOLDER.search(folder_of(image.path))] or likely
        for image in several if len(likely) > 1 else [image for image in several if image != likely[0]]:
            other = next(other for other in (*likely, *several) if other != image)
            pairs[image.path] = None
            faults[image.path] = f"has the mask {describe_paths([mask])}, which {describe_paths([other.path])} has too"


def _name_alike(pairs: Mapping[str, str | None], faults: dict[str, str], strays: Iterable[str]) -> None:
    """Say of images without a mask which one has the same number, perhaps with more zeros."""
    by_numbers: dict[tuple[int, ...], list[str]] = {}
    for path in sorted(strays):
        by_numbers.setdefault(numbers_in(stem_of(path)), []).append(path)
    for path, mask in pairs.items():
        alike = by_numbers.get(numbers_in(stem_of(path)), []) if mask is None and path not in faults else []
        if len(alike) == 1 and numbers_in(stem_of(path)):
            faults[path] = f"has no mask of its name; {describe_paths(alike)} has its number, and another name"


def describe_paths(paths: Iterable[str]) -> str:
    """Paths for messages, whatever bytes they have."""
    return ", ".join(map(describe_text, paths))
