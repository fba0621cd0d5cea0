"""Boxes around objects in records of TensorFlow: those of its detection API, and those of TensorFlow Datasets.

The rules:

- The sides of boxes are `image/object/bbox/xmin`, `ymin`, `xmax` and `ymax`, or features of these names with another beginning;
  or `.../bbox`, with ymin, xmin, ymax, xmax of each box (TensorFlow Datasets). They are shares of the image.
- Where more than half of the records with boxes have sides above 2, sides are pixels, which a note says. A record with a side
  far outside of 0 to 1 is rejected otherwise.
- The classes of boxes are `.../class/label` and `.../class/text` beside `.../bbox`, or `.../label` and `.../text`.
- Objects that `.../is_crowd` marks are left out, and counted. `difficult`, `truncated` and `group_of` objects are objects.
- `boxes`, as `kseq export` writes it, has the boxes in pixels, as JSON: it takes the place of the shares, which are rounded.
- Where `image/height` and `image/width` are the size of the pixels before EXIF turns them, boxes are turned too.

Source: `object_detection/core/standard_fields.py` in github.com/tensorflow/models; the features of TensorFlow Datasets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kseq.errors import ImageError
from kseq.images.bounding_boxes import turn_boxes
from kseq.images.formats import read_header
from kseq.sources.cell_types import Rejection
from kseq.sources.example_message import Features
from kseq.sources.record_classes import ClassPair
from kseq.sources.text import decode_name

__all__ = ["BoxFeatures", "RecordBoxes", "find_box_features", "image_side", "looks_like_pixels"]

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FLAT = "bbox"
# The feature of `kseq export` that has the boxes in pixels.
_PIXEL_BOXES = "boxes"
_NUMBERS = ("class/label", "label", "class/id", "category_id")
_TEXTS = ("class/text", "text", "class/name")
_CROWDS = ("is_crowd", "iscrowd")

# A box may reach out of its image; pixels lie much farther away. As for YOLO.
_LEAST_SHARE, _MOST_SHARE = -1.0, 2.0
# Records have float32: 0.3 is 0.30000001 there, and would be 30.000002 pixels of 100.
_DECIMALS = 7


class RecordBoxes(NamedTuple):
    """The boxes of a record.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels of each.
        classes: What the record says of the class of each; empty if it says nothing.
        num_crowds: How many objects were left out as crowds.
        largest: The largest side as the record has it; 0 without boxes.
    """

    boxes: list[list[float]]
    classes: list[ClassPair]
    num_crowds: int
    largest: float


@dataclass(frozen=True)
class BoxFeatures:
    """Which features hold boxes and their classes.

    Attributes:
        sides: The features of x1, y1, x2 and y2; or the one that has all.
        number: The feature of the numbers of classes; None if there is none.
        text: The feature of their names.
        crowd: The feature that marks crowds.
        pixels: The feature that has the boxes in pixels, as JSON.
        are_pixels: Whether the sides are pixels, not shares.
    """

    sides: tuple[str, ...]
    number: str | None
    text: str | None
    crowd: str | None
    pixels: str | None
    are_pixels: bool = False

    @property
    def used(self) -> set[str]:
        """All features that are read."""
        return {name for name in (*self.sides, self.number, self.text, self.crowd, self.pixels) if name is not None}

    @property
    def has_classes(self) -> bool:
        """Whether boxes have classes."""
        return self.number is not None or self.text is not None

    def read(self, features: Features, image: bytes) -> RecordBoxes | Rejection:
        """The boxes of a record, or why they cannot be read.

        Args:
            features: The features of the record.
            image: What the feature of its image has, whose size boxes need.
        """
        try:
            shares, exact = self._sides(features), self._exact(features)
            largest = float(np.abs(shares).max()) if shares.size else 0.0
            count = len(shares) if self.sides[0] in features or exact is None else len(exact)
            classes, crowds = self._classes(features, count), self._crowds(features, count)
            if exact is not None and len(exact) == count:
                boxes = exact
            elif not count or self.are_pixels:
                boxes = shares
            elif shares.min() < _LEAST_SHARE or largest > _MOST_SHARE:
                return Rejection(f"has {largest:g} as a side of a box, allowed are shares of the image, 0 to 1")
            else:
                boxes = _scaled(shares, features, image)
        except ImageError as error:
            return Rejection(str(error))
        kept = [number for number in range(count) if not crowds[number]]
        return RecordBoxes(
            boxes[kept].tolist(), [classes[number] for number in kept] if classes else [], count - len(kept), largest
        )

    def _sides(self, features: Features) -> np.ndarray:
        """`(n, 4)` float64: the sides as the record has them."""
        columns = [features.get(name, []) for name in self.sides]
        if any(not isinstance(value, (int, float)) for column in columns for value in column):
            raise ImageError(f"has something that is no number in feature {self.sides[0]!r}")
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            counts = ", ".join(f"{len(column)} {name}" for name, column in zip(self.sides, columns, strict=True))
            raise ImageError(f"has {counts}, expected are as many of each")
        if len(columns) > 1:
            return np.round(np.array(columns, np.float64).T.reshape(-1, 4), _DECIMALS)
        if len(columns[0]) % 4:
            raise ImageError(f"has {len(columns[0])} numbers in feature {self.sides[0]!r}, expected are four for each box")
        return np.round(np.array(columns[0], np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]], _DECIMALS)

    def _exact(self, features: Features) -> np.ndarray | None:
        """`(n, 4)` float64: the boxes in pixels; None if the record does not have them so."""
        values = features.get(self.pixels, []) if self.pixels is not None else []
        try:
            return np.array(json.loads(values[0]), np.float64).reshape(-1, 4) if len(values) == 1 else None
        except (ValueError, TypeError, RecursionError):
            return None

    def _classes(self, features: Features, count: int) -> list[ClassPair]:
        numbers = features.get(self.number, []) if self.number is not None else []
        texts = [
            decode_name(text) if isinstance(text, bytes) else str(text)
            for text in (features.get(self.text, []) if self.text is not None else [])
        ]
        if count and self.has_classes and not numbers and not texts:
            raise ImageError(f"has {count} boxes and no classes of them ({self.text or self.number})")
        for name, values in ((self.number, numbers), (self.text, texts)):
            if values and len(values) != count:
                raise ImageError(f"has {count} boxes and {len(values)} {name}, expected are as many")
        if any(not isinstance(number, int) and not float(number).is_integer() for number in numbers):
            raise ImageError(f"has something that is no whole number in feature {self.number!r}")
        # -1 stands for no class.
        known = [int(number) if number >= 0 else None for number in numbers] or [None] * count
        return list(map(ClassPair, known, texts or [""] * count)) if self.has_classes else []

    def _crowds(self, features: Features, count: int) -> Sequence[bool]:
        marks = features.get(self.crowd, []) if self.crowd is not None else []
        return list(map(bool, marks)) if len(marks) == count else [False] * count


def find_box_features(names: Iterable[str]) -> BoxFeatures | None:
    """Which features hold boxes; None if none do. Of several kinds of boxes, those of the detection API, else the first."""
    known = set(names)
    heads = sorted(name.removesuffix(_SIDES[0]) for name in known if name.endswith(f"/{_SIDES[0]}"))
    heads.sort(key=lambda head: head != "image/object/bbox/")
    for head in heads:
        sides = tuple(f"{head}{side}" for side in _SIDES)
        if known.issuperset(sides):
            around = head.removesuffix("/").removesuffix("bbox")
            return _with_classes(sides, around, known, _PIXEL_BOXES if _PIXEL_BOXES in known else None)
    flat = next(iter(sorted(name for name in known if name.rpartition("/")[2] == _FLAT)), None)
    return None if flat is None else _with_classes((flat,), flat.removesuffix(_FLAT), known, None)


def _with_classes(sides: tuple[str, ...], around: str, known: set[str], pixels: str | None) -> BoxFeatures:
    def first(ends: Sequence[str]) -> str | None:
        return next((around + end for end in ends if around + end in known), None)

    # At the top of a record, these are the features of the image itself.
    if not around:
        return BoxFeatures(sides, None, None, None, pixels)
    return BoxFeatures(sides, first(_NUMBERS), first(_TEXTS), first(_CROWDS), pixels)


def looks_like_pixels(largest: float) -> bool:
    """Whether the largest side of the boxes of a record is one of pixels."""
    return largest > _MOST_SHARE


def image_side(features: Features, name: str) -> int | None:
    """The `height` or `width` that a record says of its image; None if it does not."""
    values = features.get(name) or features.get(f"image/{name}")
    return values[0] if values and isinstance(values[0], int) and values[0] > 0 else None


def _scaled(shares: np.ndarray, features: Features, image: bytes) -> np.ndarray:
    """Boxes in pixels of the upright image.

    Raises:
        ImageError: If the size of the image is not known.
    """
    said = image_side(features, "height"), image_side(features, "width")
    orientation = 1
    try:
        header = read_header(image)
        height, width, orientation = header.height, header.width, header.orientation
    except ImageError as error:
        if said[0] is None or said[1] is None:
            raise ImageError(f"has boxes in shares of its image, whose size cannot be read: {error}") from error
        height, width = said[0], said[1]
    if orientation > 4 and height != width and said == (width, height):
        stored = shares * np.array([height, width] * 2)
        return turn_boxes(stored.astype(np.float32), orientation, width, height).astype(np.float64)
    return shares * np.array([width, height] * 2)
