"""Shapes that annotation tools draw, as polygons and boxes: rectangles and ellipses, turned or not, polygons, closed lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["are_sane", "ellipse_box", "ellipse_corners", "is_closed_line", "outline_box", "rectangle_corners", "turned_box"]

# An ellipse is drawn as a polygon of so many corners.
_ELLIPSE_CORNERS = 64


# Sides of boxes are stored as float32.
_FARTHEST = 1e30


def are_sane(numbers: Sequence[float]) -> bool:
    """Whether all numbers are finite, and so are their sums and products in float32."""
    return all(abs(number) <= _FARTHEST for number in numbers)


def rectangle_corners(box: Sequence[float], degrees: float = 0.0, about: tuple[float, float] = (0.0, 0.0)) -> list[float]:
    """The corners of a rectangle: x, y, x, y, ...

    Args:
        box: x1, y1, x2, y2 before it is turned.
        degrees: By how much it is turned, clockwise.
        about: The point that it is turned about, x and y.
    """
    x1, y1, x2, y2 = box
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    if degrees:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        moved = [(x - about[0], y - about[1]) for x, y in corners]
        corners = [(about[0] + x * cosine - y * sine, about[1] + x * sine + y * cosine) for x, y in moved]
    return [side for corner in corners for side in corner]


def turned_box(x: float, y: float, width: float, height: float, degrees: float, about: tuple[float, float]) -> list[float]:
    """The box around a turned box.

    Args:
        x: Of its left edge before it is turned, in pixels; `y`, `width` and `height` likewise.
        y: Of its upper edge.
        width: Its width.
        height: Its height.
        degrees: By how much it is turned, clockwise.
        about: The point that it is turned about, x and y.
    """
    corners = rectangle_corners([x, y, x + width, y + height], degrees, about)
    return [min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2])]


def ellipse_corners(x: float, y: float, across: float, down: float, degrees: float = 0.0) -> list[float]:
    """The corners of a polygon that is nearly an ellipse: x, y, x, y, ...

    Args:
        x: Of its middle.
        y: Of its middle.
        across: Half its width, before it is turned.
        down: Half its height.
        degrees: By how much it is turned, clockwise.
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turns = [2 * math.pi * number / _ELLIPSE_CORNERS for number in range(_ELLIPSE_CORNERS)]
    points = [(across * math.cos(turn), down * math.sin(turn)) for turn in turns]
    return [side for left, top in points for side in (x + left * cosine - top * sine, y + left * sine + top * cosine)]


def ellipse_box(x: float, y: float, across: float, down: float, degrees: float = 0.0) -> list[float]:
    """The box around an ellipse; the arguments are those of `ellipse_corners`."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    right, bottom = math.hypot(across * cosine, down * sine), math.hypot(across * sine, down * cosine)
    return [x - right, y - bottom, x + right, y + bottom]


def is_closed_line(points: Sequence[float]) -> bool:
    """Whether a line through x, y, x, y, ... ends where it begins, and so is the outline of something."""
    return len(points) >= 8 and list(points[:2]) == list(points[-2:])


def outline_box(points: Sequence[Any]) -> list[float] | None:
    """The box around points x, y, x, y, ...; None unless there are three points or more.

    Raises:
        ValueError: If something is no number.
        TypeError: The same.
    """
    numbers = [float(number) for number in points]
    if not are_sane(numbers):
        raise ValueError("a number is not finite")
    if len(numbers) < 6 or len(numbers) % 2:
        return None
    return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]
