"""Where the things in an image go when its pixels move."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kseq.images.bounding_boxes import transform_boxes
from kseq.images.resize import Placement

__all__ = ["Movement"]


class Movement(NamedTuple):
    """One step by which an image is cropped, resized or changed in its shape.

    Attributes:
        move_points: Says where points go: `(n, 2)` float32 x and y, in pixels from the left and upper edge, to the same; they
            may go out of the image.
        move_boxes: Says where boxes go: `(n, 4)` float32 x1, y1, x2, y2 in pixels, to `(m, 4)` float32, those that stay in the
            image, moved; and `(n,)` bool: which of the boxes stay.
        height: Of the image after the step, in pixels.
        width: Of the image after the step, in pixels.
    """

    move_points: Callable[[np.ndarray], np.ndarray]
    move_boxes: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    height: int
    width: int

    @classmethod
    def of_placement(cls, placed: Placement, height: int, width: int) -> Movement:
        """One rectangle of the image is kept, and resized to a rectangle of a new image of `height` x `width` pixels."""
        move_boxes = functools.partial(transform_boxes, source=placed.source, target=placed.target)
        return cls(functools.partial(_place_points, placed), move_boxes, height, width)

    def are_inside(self, points: np.ndarray) -> np.ndarray:
        """`(...)` bool: which of `(..., 2)` moved points lie in the image."""
        edges = np.array([self.width, self.height], np.float32)
        inside: np.ndarray = np.logical_and(points >= 0, points <= edges).min(axis=-1)
        return inside


def _place_points(placed: Placement, points: np.ndarray) -> np.ndarray:
    source, target = placed
    factor = np.array([target.width / source.width, target.height / source.height], np.float32)
    moved: np.ndarray = (points - np.array([source.left, source.top], np.float32)) * factor
    return moved + np.array([target.left, target.top], np.float32)
