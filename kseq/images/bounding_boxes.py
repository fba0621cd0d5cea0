"""Boxes around objects in an image: checked, and moved along when the image is cropped, resized and mirrored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kseq.errors import ImageError
from kseq.images.rectangle import Rectangle

__all__ = ["check_boxes", "flip_boxes", "move_boxes", "transform_boxes"]


def check_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes, clipped to their image.

    Args:
        boxes: `(n, 4)` numbers: x1, y1, x2, y2 in pixels, from the left and upper edge of the upright image.
        height: Of that image.
        width: Of that image.

    Returns:
        `(n, 4)` float32.

    Raises:
        ImageError: At a box that is not finite, has no area, or lies outside of the image.
    """
    given = np.asarray(boxes, np.float32).reshape(-1, 4)
    clipped = np.clip(given, 0, np.array([width, height, width, height], np.float32))
    right = np.isfinite(given).all(axis=1) & (clipped[:, :2] < clipped[:, 2:]).all(axis=1)
    if not right.all():
        number = int(np.flatnonzero(~right)[0])
        found = ", ".join(f"{each:g}" for each in given[number].tolist())
        raise ImageError(
            f"box {number} is {found}, allowed are x1 < x2 and y1 < y2 that meet the image of {width} x {height} pixels"
        )
    return clipped


def transform_boxes(boxes: np.ndarray, source: Rectangle, target: Rectangle) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of an image of which one box is kept, and resized to fill a box of another.

    A box stays if its centre is in what is kept, clipped to that (W. Liu et al., "SSD: Single Shot MultiBox Detector", 2016,
    section 2.2).

    Args:
        boxes: `(n, 4)` float32: x1, y1, x2, y2 in pixels.
        source: What is kept.
        target: What it fills.

    Returns:
        `(m, 4)` float32: those that stay; and `(n,)` bool: which they are.
    """
    corner = np.array([source.left, source.top], np.float32)
    size = np.array([source.width, source.height], np.float32)
    inside = boxes.reshape(-1, 2, 2) - corner
    centres = inside.mean(axis=1)
    stay: np.ndarray = ((centres >= 0) & (centres <= size)).all(axis=1)
    factor = np.array([target.width, target.height], np.float32) / size
    moved = np.clip(inside[stay], 0, size) * factor + np.array([target.left, target.top], np.float32)
    return moved.reshape(-1, 4), stay


def flip_boxes(boxes: np.ndarray, down: Any, across: Any, height: int, width: int) -> np.ndarray:
    """Boxes of an image that is mirrored top to bottom (`down`), left to right (`across`), or both."""
    x1, y1, x2, y2 = boxes.T
    if across:
        x1, x2 = width - x2, width - x1
    if down:
        y1, y2 = height - y2, height - y1
    return np.stack([x1, y1, x2, y2], axis=1)


def move_boxes(
    boxes: np.ndarray, move_points: Callable[[np.ndarray], np.ndarray], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of an image whose points move: the smallest upright boxes around their four corners.

    A box stays if its centre is in the image, clipped to it, as in `transform_boxes`.

    Args:
        boxes: `(n, 4)` float32: x1, y1, x2, y2 in pixels.
        move_points: Says where points go: `(m, 2)` float32 x and y, in pixels, to the same.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        `(m, 4)` float32: the boxes that stay, moved; and `(n,)` bool: which of the boxes stay.
    """
    corners = move_points(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)).reshape(-1, 4, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)
    size = np.array([width, height], np.float32)
    centres = (low + high) / 2
    stay: np.ndarray = ((centres >= 0) & (centres <= size)).all(axis=1)
    moved = np.concatenate([np.clip(low[stay], 0, size), np.clip(high[stay], 0, size)], axis=1)
    return moved.astype(np.float32, copy=False), stay
