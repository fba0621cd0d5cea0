"""The names of classes and their order, by one rule for all sources.

The rules:

- Classes are numbered in the order of their names: as numbers if all of them are whole numbers ("2" comes before "10"), else
  as text, by the code points of Unicode. A source that numbers its classes itself (COCO, YOLO, Hugging Face) keeps its numbers.
- `1.0` is the class `1` where all names are whole numbers.
- A name is in the composed form of Unicode (NFC), in which most keyboards write it. Two names that look alike and differ in
  their form alone are one class. Names of files keep their bytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from decimal import Decimal

from kseq.sources.text import decode_folder

__all__ = [
    "WHOLE_NUMBER",
    "compose_class_name",
    "folder_class_name",
    "is_no_class_name",
    "is_structure_name",
    "like_names",
    "merge_whole_names",
    "sort_class_names",
    "structure_rest",
    "whole_class_name",
]

WHOLE_NUMBER = re.compile(r"-?\d{1,18}")
_WHOLE_AS_FLOAT = re.compile(r"-?\d{1,18}\.0*")
_NUMBER = re.compile(r"[-+]?\d{1,18}(\.\d{0,18})?")
_EXPONENT = re.compile(r"-?\d(\.\d*)?[eE][-+]?\d{1,2}")

# Folders that are called like this are no classes.
_NO_CLASS = re.compile(
    r"(jpegimages|images?|imgs?|img_?dir|photos?|pictures?|pics?|data(set)?s?|files?|annotations?|ann(_?dir)?|labels?|masks?|msks?|"
    r"segmentation\w*|panoptic\w*|depths?(_?maps?)?|disparit(y|ies)|heat_?maps?|"
    r"imagesets?|xmls?|jsons?|txts?|b(ounding_?)?box(es)?|keypoints|landmarks|captions|gt|ground_?truth|trimaps|"
    r"obj_\w+_data|meta|splits?|default)s?\d*",
    re.IGNORECASE,
)

# Words in the names of folders that are parts of a collection: `images_001`, `train_v2`, `HAM10000_images_part_1`.
_STRUCTURE = re.compile(
    r"images?|imgs?|photos?|pictures?|pics|frames?|jpe?gs?|pngs?|data|datasets?|files|parts?|shards?|batch(es)?|folds?|patients?|"
    r"subjects?|sub|cases?|study|studies|series|scans?|sessions?|sites?|cameras?|cam|videos?|sequences?|seq|train(ing)?|val(id)?|"
    r"validation|test(ing)?"
)
# What systems add to the name of a copy.
_COPY = re.compile(r"(?<=\S)(( - |[ _-])copy( ?\(?\d+\)?)?| \(\d+\))$", re.IGNORECASE)
_QUOTED = re.compile(r"^(['\"])(.+)\1$")
_LETTERS = re.compile(r"[a-z]+")


def compose_class_name(name: str) -> str:
    """A name in the composed form of Unicode."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folder_class_name(name: str) -> str:
    """The name of the class of a folder, without anything that is not well encoded."""
    return compose_class_name(decode_folder(name))


def sort_class_names(names: Iterable[str]) -> list[str]:
    """Class names in the order of their numbers: sorted as numbers if all of them are whole numbers, else as text."""
    distinct = sorted(set(names))
    whole = {name: whole_class_name(name) for name in distinct}
    # Stable, so that "01" and "1" have one order too.
    are_numbers = all(map(WHOLE_NUMBER.fullmatch, whole.values()))
    return sorted(distinct, key=lambda name: int(whole[name])) if are_numbers else distinct


def whole_class_name(name: str) -> str:
    """`1` for `1.0` and `1.0e+00`, as numpy writes it; any other name as it is."""
    if _WHOLE_AS_FLOAT.fullmatch(name):
        return name.partition(".")[0]
    number = float(name) if _EXPONENT.fullmatch(name) else 0.5
    return str(int(number)) if number.is_integer() else name


def merge_whole_names(names: Iterable[str]) -> dict[str, str]:
    """For each of some names of classes the one that it is counted as: `1` for `1.0`, where all are whole numbers."""
    whole = {name: whole_class_name(name) for name in names}
    return whole if all(map(WHOLE_NUMBER.fullmatch, whole.values())) else {name: name for name in whole}


def is_no_class_name(name: str) -> bool:
    """Whether folders of this name hold something else than a class: `images`, `Annotations`."""
    return _NO_CLASS.fullmatch(name) is not None


def is_structure_name(name: str) -> bool:
    """Whether folders of this name may be parts of a collection: it has a word that says so, or it is a number.

    A class may be called so too (`cat images`): it says something only beside a file that says what the classes are.
    """
    words = _LETTERS.findall(name.lower())
    return any(map(_STRUCTURE.fullmatch, words)) if words else name.isdecimal()


def structure_rest(name: str) -> tuple[str, ...] | None:
    """The words in the name of a part of a collection that do not say that it is one; None if nothing says it.

    Parts of one collection have the same: `HAM10000_images_part_1` and `_2`; `cat images` and `dog images` are classes.
    """
    if not is_structure_name(name):
        return None
    return tuple(word for word in _LETTERS.findall(name.lower()) if not _STRUCTURE.fullmatch(word))


def like_names(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """The names of classes that differ in capitals, spaces, what is not seen, quotes around them, ` copy`, or how a number is
    written (`01`, `1.0`, `1.50`) alone.

    Letters by themselves are classes of handwriting, `a` and `A` two of them.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        seen = "".join(letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
        seen = _QUOTED.sub(r"\2", _COPY.sub("", seen.strip()))
        if _NUMBER.fullmatch(seen):
            key = str(Decimal(seen).normalize())
        else:
            key = "_".join(re.split(r"[\s_-]+", seen.casefold())) if len(seen) > 1 else seen
        groups.setdefault(key, []).append(name)
    return (tuple(group) for group in groups.values() if len(group) > 1)
