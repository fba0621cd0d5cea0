"""Bounding boxes of objects in an image: their check, and where they go when the image is cropped, resized and flipped.

One rule holds for the boxes of every source, x1, y1, x2, y2 in pixels of the upright image:

- A box whose sides are not finite, or in the wrong order, rejects its image: there is an object, and nobody knows where.
- A box without width or height (`flat`) and a box outside of the image (`outside`) show no object: they are left out, and the
  others of the image stay.
- A box that reaches beyond the image ends at its edge. By more than a pixel, that is counted (`cut`).
- A box that is narrower or lower than a pixel stays, and is counted (`small`); inside the first pixel of the image, it
  probably has shares of the image for sides (`shares`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kseq.errors import ImageError
from kseq.images.rectangle import Rectangle

__all__ = ["ARE_PLACED", "check_boxes", "flip_boxes", "judge_boxes", "move_boxes", "transform_boxes", "turn_boxes"]

ARE_PLACED = "(boxes are placed)"
"""The key of a sample's values which says that its boxes are known to be those of the upright image."""

# Sides that were rounded may lie so many pixels beyond the image.
_ROUNDED = 1.0


def check_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bounding boxes, clipped to their image.

    Args:
        boxes: `(n, 4)` numbers: x1, y1, x2, y2 in pixels, from the left and upper edge of the upright image.
        height: Of that image, in pixels.
        width: Of that image, in pixels.

    Returns:
        `(n, 4)` float32.

    Raises:
        ImageError: If a box is not finite, or its sides are in the wrong order.
    """
    numbers = np.asarray(boxes, np.float32).reshape(-1, 4)
    is_right = np.isfinite(numbers).all(axis=1) & (numbers[:, :2] <= numbers[:, 2:]).all(axis=1)
    if not is_right.all():
        wrong = int(np.flatnonzero(~is_right)[0])
        sides = ", ".join(f"{side:g}" for side in numbers[wrong].tolist())
        raise ImageError(
            f"box {wrong} is {sides}, allowed are x1, y1, x2, y2 with x1 < x2 and y1 < y2, in the image of {width} x {height} "
            "pixels"
        )
    return np.clip(numbers, 0, np.array([width, height, width, height], np.float32))


def judge_boxes(boxes: np.ndarray, height: int, width: int) -> tuple[np.ndarray, dict[str, int]]:
    """Which boxes show an object, by the rule at the top of this module.

    Args:
        boxes: `(n, 4)` float32 as in `check_boxes`, which has let them pass, before they are clipped.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        `(n,)` bool: which boxes stay; and how many boxes are `flat`, `outside`, `cut`, `small` and `shares`, without zeros.
    """
    numbers = np.asarray(boxes, np.float32).reshape(-1, 4)
    limits = np.array([width, height], np.float32)
    low, high = numbers[:, :2], numbers[:, 2:]
    sides = high - low
    # Most images have nothing to count.
    if not numbers.size or (sides.min() >= 1 and low.min() >= -_ROUNDED and (high <= limits + _ROUNDED).all()):
        inside = (low < limits) & (high > 0)
        if inside.all():
            return np.ones(len(numbers), bool), {}
    is_flat = np.asarray((sides <= 0).any(axis=1))
    is_outside = ~is_flat & np.asarray((low >= limits) | (high <= 0)).any(axis=1)
    stays = ~(is_flat | is_outside)
    is_share = stays & (low >= 0).all(axis=1) & (high <= 1).all(axis=1)
    is_small = stays & ~is_share & (sides < 1).any(axis=1)
    is_cut = stays & ((low < -_ROUNDED) | (high > limits + _ROUNDED)).any(axis=1)
    kinds = {"flat": is_flat, "outside": is_outside, "cut": is_cut, "small": is_small, "shares": is_share}
    return stays, {name: int(count) for name, chosen in kinds.items() if (count := chosen.sum())}


def transform_boxes(boxes: np.ndarray, source: Rectangle, target: Rectangle) -> tuple[np.ndarray, np.ndarray]:
    """Bounding boxes of an image that is cropped and resized.

    A box stays if its centre is in the crop, clipped to the crop (W. Liu et al., "SSD: Single Shot MultiBox Detector", 2016,
    section 2.2).

    Args:
        boxes: `(n, 4)` float32: x1, y1, x2, y2 in pixels.
        source: The crop of the image.
        target: The rectangle that the crop fills after it is resized.

    Returns:
        `(m, 4)` float32: the boxes that stay, moved; and `(n,)` bool: which of the boxes stay.
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
    """Bounding boxes of an image that is flipped.

    Args:
        boxes: `(n, 4)` float32: x1, y1, x2, y2 in pixels.
        down: Whether top and bottom are exchanged.
        across: Whether left and right are exchanged.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        `(n, 4)` float32.
    """
    x1, y1, x2, y2 = boxes.T
    if across:
        x1, x2 = width - x2, width - x1
    if down:
        y1, y2 = height - y2, height - y1
    return np.stack([x1, y1, x2, y2], axis=1)


def turn_boxes(boxes: np.ndarray, orientation: int, height: int, width: int) -> np.ndarray:
    """Boxes of pixels as they are stored, on the upright image.

    Args:
        boxes: `(n, 4)` float32: x1, y1, x2, y2 in pixels.
        orientation: EXIF's, 1 to 8.
        height: Of the stored image, in pixels.
        width: Of the stored image, in pixels.

    Returns:
        `(n, 4)` float32.
    """
    if orientation > 4:
        boxes, height, width = boxes[:, [1, 0, 3, 2]], width, height
    return flip_boxes(boxes, orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7), height, width)


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
