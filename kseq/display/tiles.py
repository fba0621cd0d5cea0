"""Tile: an image with what is drawn over it and said of it."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseq.display.eye_pixels import as_rgb, color_mask, fit
from kseq.display.words import format_count, format_names, visible

__all__ = ["DrawnBox", "DrawnPoint", "Tile", "color_of", "in_words", "make_tile"]

# How much of the image is seen through a mask.
_THROUGH_MASK = 0.55

# The kinds of fields whose words need no name before them.
_SAID_BY_THEMSELVES = ("label", "labels", "boxes")

# Of a sample, so many boxes and points are drawn, and so many words are said of a field.
_MOST_SHAPES, _LONGEST_CAPTION = 60, 80


class DrawnBox(NamedTuple):
    """A box, in shares of the image.

    Attributes:
        left: From 0 to 1, as are `top`, `right` and `bottom`.
        top: See `left`.
        right: See `left`.
        bottom: See `left`.
        number: Of its class or, without classes, of the box: says its colour.
        name: Of its class; empty without classes.
    """

    left: float
    top: float
    right: float
    bottom: float
    number: int
    name: str


class DrawnPoint(NamedTuple):
    """A point of an object, in shares of the image."""

    x: float
    y: float
    number: int


@dataclass(frozen=True)
class Tile:
    """An image with what is drawn over it and said of it.

    Attributes:
        pixels: `(height, width, 3)` uint8, RGB, masks blended in.
        caption: What is said of it, a line for each field.
        boxes: Drawn over it.
        points: Drawn over it.
        problem: Why there is no image; empty if there is one.
    """

    pixels: np.ndarray
    caption: tuple[str, ...] = ()
    boxes: tuple[DrawnBox, ...] = ()
    points: tuple[DrawnPoint, ...] = ()
    problem: str = ""

    def with_line(self, line: str) -> Tile:
        """The same with one more line in its caption."""
        return replace(self, caption=(*self.caption, line))

    @classmethod
    def broken(cls, problem: str, side: int = 96) -> Tile:
        """A tile for an image that cannot be read: a crossed square, and why."""
        pixels = np.full((side, side, 3), 60, np.uint8)
        for start, end in (((0, 0), (side, side)), ((side, 0), (0, side))):
            cv2.line(pixels, start, end, (160, 60, 60), 3, cv2.LINE_AA)
        return cls(pixels, (visible(problem, 2 * _LONGEST_CAPTION),), problem=problem)


def color_of(number: int) -> tuple[int, int, int]:
    """The RGB of a class or an object: neighbouring numbers have colours far from each other."""
    shares = colorsys.hls_to_rgb((number * 137.5 + 205) % 360 / 360, 0.6, 0.9)
    red, green, blue = (round(255 * share) for share in shares)
    return red, green, blue


def make_tile(
    pixels: np.ndarray,
    side: int,
    size: tuple[int, int],
    values: Sequence[Mapping[str, Any]] = (),
    masks: Sequence[np.ndarray] = (),
    title: str = "",
) -> Tile:
    """A tile of an image and the values that go with it.

    Args:
        pixels: `(height, width, channels)` of any dtype.
        side: How many pixels the longer side of the tile has at most.
        size: Height and width that the values refer to, in pixels.
        values: What each field holds that is no pixels: `name` and `kind`, and what `describe_value` says of it.
        masks: `(height, width, 1)` each.
        title: The first line of the caption.
    """
    shown = as_rgb(fit(pixels, side))
    for mask in masks:
        shown = _blend(shown, color_mask(mask))
    boxes, points = _drawn(values, size)
    lines = [visible(title, _LONGEST_CAPTION)] if title else []
    # Where boxes have labels, these say how many there are.
    said = [value for value in values if value["kind"] != "boxes" or not any(other["kind"] == "labels" for other in values)]
    for value in said:
        words = in_words(value)
        lines.append(visible(words if value["kind"] in _SAID_BY_THEMSELVES else f"{value['name']}: {words}", _LONGEST_CAPTION))
    return Tile(shown, tuple(lines), boxes, points)


def _blend(pixels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    fitted = cv2.resize(colors, (width, height), interpolation=cv2.INTER_NEAREST)
    is_covered = fitted[:, :, 3:] > 0
    blended = pixels * (1 - _THROUGH_MASK) + fitted[:, :, :3] * _THROUGH_MASK
    return np.where(is_covered, blended, pixels).astype(np.uint8)


def _drawn(values: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> tuple[tuple[DrawnBox, ...], tuple[DrawnPoint, ...]]:
    height, width = size
    has_names = [value for value in values if value.get("names") and value.get("shape")]
    names: Mapping[str, Any] = next((value for value in has_names if value["kind"] == "labels"), next(iter(has_names), {}))
    classes = names.get("classes", [])
    boxes, points = [], []
    for value in values:
        shapes = value.get("shapes") or {}
        for position, (left, top, right, bottom) in enumerate(shapes.get("boxes", ())[:_MOST_SHAPES]):
            is_named = position < len(classes)
            number, name = (classes[position], visible(names["names"][position], 24)) if is_named else (position, "")
            boxes.append(DrawnBox(left / width, top / height, right / width, bottom / height, number, name))
        for number, joints in enumerate(shapes.get("points", ())[:_MOST_SHAPES]):
            points += [DrawnPoint(x / width, y / height, number) for x, y, is_seen in joints if is_seen]
    return tuple(boxes), tuple(points[: 4 * _MOST_SHAPES])


def in_words(value: Mapping[str, Any]) -> str:
    """What a field of a sample holds, in words."""
    if "text" in value:
        return str(value["text"])
    if "names" in value:
        return format_names(value["names"]) or "none"
    shapes = value.get("shapes") or {}
    if "boxes" in shapes:
        count = len(shapes["boxes"]) + shapes["num_left_out"]
        return format_count(count, "box") + (f", {_MOST_SHAPES} of them drawn" if count > _MOST_SHAPES else "")
    if "points" in shapes:
        return format_count(len(shapes["points"]) + shapes["num_left_out"], "object")
    return _numbers_in_words(value.get("numbers"))


def _numbers_in_words(numbers: Any) -> str:
    if isinstance(numbers, list):
        shown = ", ".join(map(_numbers_in_words, numbers[:6]))
        return f"[{shown}{', …' if len(numbers) > 6 else ''}]"
    return f"{numbers:.4g}" if isinstance(numbers, float) else str(numbers)
