"""Which mask goes with which image, by the names of their files and folders.

The rules:

- Masks are told from images by their folders (`masks`, `train_masks`, `SegmentationClass`, `gtFine`, `trainannot`); else by a
  word at an end of their names (`a_mask.png` beside `a.png`); else, if nothing of that is there, PNG files beside JPEG files
  are masks. Folders of maps (`depth`) hold neither.
- A mask has the name of its image, without the suffix; or all masks add the same to that, before or behind it (`_mask`,
  `_labelIds`), where images may have something of their own (`_leftImg8bit`). What is added has a letter: `1` and `001` are two
  names. Names are compared in the composed form of Unicode, and without their capitals only where that finds more.
- Folders must agree, but for the words that say image or mask, and names that all images or all masks are in and no other:
  `train/images` goes with `train/masks`, `images/a` with `masks/a`, and also with `masks`.
- Of several masks of an image the one of the same folders counts, then the one whose name does not say colours, objects or
  edges, then the one with the shortest addition: of Cityscapes `labelIds`. Others are not used. If there are still several, the
  image is rejected; so are images that would share a mask, but for the one that lies in the same folders, or in `images`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from kseq.images.formats import JPEG, PNG
from kseq.sources.split_names import SPLITS, folder_split, loose_folder_split
from kseq.sources.text import describe_text

__all__ = ["MAP_FOLDER", "MASK_FOLDER", "MASK_NAME", "Pairing", "describe_paths", "pair_masks"]

MASK_FOLDER = re.compile(
    r"(?<![a-z])(masks?|msks?|segmentation[^\W_]*|trimaps?|gt(fine|coarse)?|ground_?truth|annotations?|ann_?dir|labels?|instances?|"
    r"silhouettes?)(?![a-z])|((?<![a-z])|(?<=train)|(?<=val)|(?<=test))annot(?![a-z])",
    re.IGNORECASE,
)
"""Words in the names of folders of masks."""

MAP_FOLDER = re.compile(r"(?<![a-z])(depths?(_?maps?)?|disparit(y|ies)|heat_?maps?)(?![a-z])", re.IGNORECASE)
"""Words in the names of folders of maps."""

MASK_NAME = re.compile(r"(?P<image>.*[^ _-])[ _-]+masks?", re.IGNORECASE | re.DOTALL)
"""The name of a mask that lies beside its image, without its suffix."""

_IMAGE_FOLDER = re.compile(
    r"(?<![a-z])((jpe?g)?images?|imgs?|photos?|pictures?|frames?|inputs?|rgb|leftimg8bit|originals?|data|dir|full|raw)(?![a-z])",
    re.IGNORECASE,
)
# The word at an end of the name of a mask.
_MASK_WORD = r"(masks?|segmentation|seg|gt|ground_?truth|labels?|annotation|annot|trimap)"
_MASK_STEM = re.compile(rf"{_MASK_WORD}[ _-].+|.+[ _.-]({_MASK_WORD}|lab|l)([ _-]?\(?\d+\)?)?", re.IGNORECASE | re.DOTALL)
# What says that a mask does not hold the classes of pixels.
_OTHER_MASK = re.compile(
    r"instance|object|colou?r|panoptic|polygon|edge|bound|border|contour|overlay|preview|visual|(?<![a-z])vis(?![a-z])",
    re.IGNORECASE,
)
# What the name of a second mask of an image ends in.
_ANOTHER = re.compile(r"[ _-]*\(?\d+\)?$")
# A word at an end of a name, with what sets it apart: `_leftImg8bit`, `img_`, `img` of `img1`.
_LAST_WORD = re.compile(r"[ _.-]+[^ _.-]*[^\W\d_][^ _.-]*$")
_FIRST_WORD = re.compile(r"[^ _.-]*[^\W\d_][^ _.-]*[ _.-]+|[^\W\d_]+(?=\d)")
_LETTER, _NUMBER = re.compile(r"[^\W\d_]"), re.compile(r"\d+", re.ASCII)
# What is added to names is learned from so many masks; it holds where it finds half as many pairs as any other does.
_LEARNED = 2000
_AGAIN = -1
_SHOWN, _MOST_DIGITS = 3, 100
_SPLIT_NAMES = frozenset(SPLITS.values())


class _File(NamedTuple):
    """A file: its path, its name without the suffix, and the words of its folders that must agree, sorted."""

    path: str
    stem: str
    place: tuple[str, ...]


class _Candidate(NamedTuple):
    """A mask that may be that of an image.

    Attributes:
        mask: The mask.
        form: 0 if its name is as those of most, a higher number if it is another one; `_AGAIN` if it is one more.
    """

    mask: _File
    form: int


class _Naming(NamedTuple):
    """How the names of masks follow from those of images.

    Attributes:
        own: What images have before and behind what their masks have too.
        added: What masks have before and behind it.
        others: What other masks have in place of that.
        is_folded: Whether capitals count for nothing.
        count: How many of the masks that were looked at agree.
    """

    own: tuple[str, str] = ("", "")
    added: tuple[str, str] = ("", "")
    others: tuple[tuple[str, str], ...] = ()
    is_folded: bool = False
    count: int = 0

    def core(self, stem: str) -> str:
        """What the name of an image has in common with that of its mask."""
        key = _key(stem, self.is_folded)
        return _between(key, self.own) or key

    def read(self, stem: str, cores: Container[str]) -> tuple[str, int]:
        """What the name of a mask has in common with that of an image, one of `cores`, and its form; `""` if nothing."""
        key = _key(stem, self.is_folded)
        for form, added in enumerate((self.added, *self.others)):
            core = _between(key, added)
            if core in cores:
                return core, form
        core = _between(_ANOTHER.sub("", key), self.added) if any(self.added) else ""
        return (core, _AGAIN) if core in cores else ("", 0)


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
    inner = {path: folders[num_shared:] for path, folders in parts.items()}
    maps = [path for path, folders in inner.items() if MAP_FOLDER.search("/".join(folders))]
    rest = list(inner.keys() - set(maps)) if maps else list(inner)
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
    folders = {path: "/".join(part for part in inner[path] if not _says_role(part)) for path in image_paths}
    return Pairing(pairs, faults, sorted(unused), sorted(strays), maps, folders, _splits(parts), are_apart)


def _find_masks(paths: Sequence[str], folders: Mapping[str, Sequence[str]]) -> tuple[set[str], bool]:
    """Which files are masks, and whether they lie in folders of their own."""
    found = {path for path in paths if MASK_FOLDER.search("/".join(folders[path]))}
    if 0 < len(found) < len(paths):
        return found, True
    found = {path for path in paths if _MASK_STEM.fullmatch(_stem(path))}
    if 0 < len(found) < len(paths):
        return found, False
    jpegs = {path for path in paths if path.lower().endswith(JPEG.suffixes)}
    return {path for path in paths if path.lower().endswith(PNG.suffixes)} if jpegs else set(), False


def _placed(
    image_paths: Sequence[str], mask_paths: Sequence[str], folders: Mapping[str, Sequence[str]], *, are_apart: bool
) -> tuple[list[_File], list[_File]]:
    """Images and masks with the words of their folders; what all of one and none of the other have says nothing."""
    sides = [
        {path: _words(folders[path], is_mask=is_mask and are_apart) for path in paths}
        for is_mask, paths in ((False, image_paths), (True, mask_paths))
    ]
    common = [set.intersection(*map(set, side.values())) if side else set() for side in sides]
    present = [set().union(*side.values()) for side in sides]
    dropped = [common[0] - present[1] - _SPLIT_NAMES, common[1] - present[0] - _SPLIT_NAMES]
    images, masks = (
        [_File(path, _stem(path), tuple(sorted(word for word in words if word not in without))) for path, words in side.items()]
        for side, without in zip(sides, dropped, strict=True)
    )
    return images, masks


def _words(folders: Sequence[str], *, is_mask: bool) -> list[str]:
    """The words of folders but for those that say image or mask, splits as kseq calls them."""
    text = " ".join(folders)
    text = _IMAGE_FOLDER.sub(" ", MASK_FOLDER.sub(" ", text) if is_mask else text)
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text).casefold())
    return [folder_split(word) or word for word in words]


def _says_role(folder: str) -> bool:
    """Whether the name of a folder around an image says image, mask or split, and no class."""
    return (_IMAGE_FOLDER.search(folder) or MASK_FOLDER.search(folder) or loose_folder_split(folder)) is not None


def _splits(parts: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """The split that the folders around each file say; among other words, if there are several, and one is train."""
    names = {name for folders in parts.values() for name in folders}
    loose = {name: loose_folder_split(name) for name in names}
    are_loose = "train" in loose.values() and len({*loose.values()} - {None}) > 1
    read = loose if are_loose else {name: folder_split(name) for name in names}
    return {path: next((read[name] for name in folders if read[name] is not None), None) for path, folders in parts.items()}


def _stem(path: str) -> str:
    return os.path.splitext(path.rpartition("/")[2])[0]


def _key(stem: str, is_folded: bool) -> str:
    composed = unicodedata.normalize("NFC", stem)
    return composed.casefold() if is_folded else composed


def _between(name: str, ends: tuple[str, str]) -> str:
    """What stands between two ends of a name; empty if it has not got them."""
    before, behind = ends
    fits = name.startswith(before) and name.endswith(behind) and len(name) > len(before) + len(behind)
    return name[len(before) : len(name) - len(behind)] if fits else ""


def _match(images: Sequence[_File], masks: Sequence[_File]) -> dict[str, list[_Candidate]]:
    """For each image the masks that may be its, by its name and its folders."""
    some = masks[:: len(masks) // _LEARNED + 1]
    namings = [_learn(images, some, own, is_folded) for is_folded in (False, True) for own in _own_words(images, is_folded)]
    # The first of equal ones: the plainest.
    naming = max(namings, key=lambda naming: naming.count)
    cores = {naming.core(image.stem) for image in images}
    by_core: dict[str, list[_Candidate]] = {}
    for mask in masks:
        core, form = naming.read(mask.stem, cores)
        by_core.setdefault(core, []).append(_Candidate(mask, form))
    return {image.path: _of_place(image, by_core.get(naming.core(image.stem), ())) for image in images}


def _own_words(images: Sequence[_File], is_folded: bool) -> Iterator[tuple[str, str]]:
    """What images may have before and behind what their masks have too: nothing, or a word that more than half have."""
    yield "", ""
    stems = [_key(image.stem, is_folded) for image in images]
    for pattern, is_first in ((_LAST_WORD, False), (_FIRST_WORD, True)):
        matches = [pattern.match(stem) if is_first else pattern.search(stem) for stem in stems]
        for word, count in Counter(match[0] for match in matches if match is not None).most_common(1):
            if 2 * count > len(stems):
                yield (word, "") if is_first else ("", word)


def _learn(images: Sequence[_File], masks: Sequence[_File], own: tuple[str, str], is_folded: bool) -> _Naming:
    """What masks add to the names of images that have something of their own."""
    naming = _Naming(own, is_folded=is_folded)
    cores = {naming.core(image.stem) for image in images}
    counts: Counter[tuple[str, str]] = Counter()
    for mask in masks:
        name = _key(mask.stem, is_folded)
        for cut in range(1, len(name) + 1):
            if name[:cut] in cores and _may_be_added(name[cut:], name[cut - 1], is_behind=True):
                counts["", name[cut:]] += 1
            if name[cut:] in cores and _may_be_added(name[:cut], name[cut], is_behind=False):
                counts[name[:cut], ""] += 1
    most = max(counts.values(), default=0)
    likely = sorted((added for added, count in counts.items() if 2 * count >= most), key=lambda added: _order(added, counts))
    return naming._replace(added=likely[0], others=tuple(likely[1:]), count=most) if likely else naming


def _may_be_added(text: str, neighbour: str, *, is_behind: bool) -> bool:
    """Whether all masks may have a text in their names beside a sign: a part of a number is none."""
    nearest = text[:1] if is_behind else text[-1:]
    return not text or (_LETTER.search(text) is not None and not (nearest.isdigit() and neighbour.isdigit()))


def _order(added: tuple[str, str], counts: Mapping[tuple[str, str], int]) -> tuple[bool, int, int, tuple[str, str]]:
    text = "".join(added)
    return _OTHER_MASK.search(text) is not None, -counts[added], len(text), added


def _of_place(image: _File, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """The masks whose folders agree with those of an image: of the same words, else of some of these, or of more."""
    same = [candidate for candidate in candidates if candidate.mask.place == image.place]
    own = Counter(image.place)
    return same or [candidate for candidate in candidates if (other := Counter(candidate.mask.place)) <= own or own <= other]


def _choose(image: _File, candidates: Sequence[_Candidate], faults: dict[str, str]) -> str | None:
    """The mask of an image; None if it has none, or several, which is noted as a fault."""
    ranked = sorted((_OTHER_MASK.search(mask.path) is not None, form, mask.path) for mask, form in candidates if form != _AGAIN)
    if not ranked:
        return None
    again = [mask.path for mask, form in candidates if form == _AGAIN]
    first = [path for *rank, path in ranked if rank == list(ranked[0][:2])] + again
    if len(first) == 1:
        return first[0]
    faults[image.path] = f"has {len(first)} masks, allowed is one: {describe_paths(first[:_SHOWN])}"
    return None


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
        if len(several) > 1:
            place = next(other.mask.place for other in candidates[several[0].path] if other.mask.path == mask)
            likely = [image for image in several if image.place == place] or several
            likely = [image for image in likely if _IMAGE_FOLDER.search(os.path.dirname(image.path))] or likely
            for image in several:
                if len(likely) > 1 or image != likely[0]:
                    other = next(other for other in (*likely, *several) if other != image)
                    pairs[image.path] = None
                    faults[image.path] = f"has the mask {describe_paths([mask])}, which {describe_paths([other.path])} has too"


def _name_alike(pairs: Mapping[str, str | None], faults: dict[str, str], strays: Iterable[str]) -> None:
    """Say of images without a mask which one has the same number, in another width."""
    by_numbers: dict[tuple[int, ...], list[str]] = {}
    for path in sorted(strays):
        by_numbers.setdefault(_numbers(path), []).append(path)
    for path, mask in pairs.items():
        alike = by_numbers.get(_numbers(path), []) if mask is None and path not in faults else []
        if len(alike) == 1 and _numbers(path):
            faults[path] = f"has no mask of its name: is it {describe_paths(alike)}? Their numbers are written alike in pairs"


def _numbers(path: str) -> tuple[int, ...]:
    # Of more digits, Python makes no number.
    return tuple(int(number) for number in _NUMBER.findall(_stem(path)) if len(number) < _MOST_DIGITS)


def describe_paths(paths: Iterable[str]) -> str:
    """Paths for messages, whatever bytes they have."""
    return ", ".join(map(describe_text, paths))
