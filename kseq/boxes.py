"""Rectangles of pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Box"]


class Box(NamedTuple):
    """A rectangle of pixels: rows `top` to `top + height - 1`, columns `left` to `left + width - 1`."""

    top: int
    left: int
    height: int
    width: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """The view of `(height, width, channels)` pixels that lies inside."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def within(self, outer: Box) -> Box:
        """The same rectangle, counted from the corner of one that holds it."""
        return Box(self.top - outer.top, self.left - outer.left, self.height, self.width)

    def shrunk(self, factor: int, height: int, width: int) -> Box:
        """The nearest rectangle of whole pixels in an image that was `height` x `width` and is `factor` times smaller.

        Sides of that image are rounded up, as libjpeg does.
        """
        if factor == 1:
            return self
        rows, columns = -(-height // factor), -(-width // factor)
        top, left = min(round(self.top / factor), rows - 1), min(round(self.left / factor), columns - 1)
        return Box(
            top,
            left,
            min(max(round(self.height / factor), 1), rows - top),
            min(max(round(self.width / factor), 1), columns - left),
        )

    def times(self, factor: int) -> Box:
        """The same rectangle in an image that is `factor` times larger."""
        return Box(factor * self.top, factor * self.left, factor * self.height, factor * self.width)
