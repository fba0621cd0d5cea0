"""Rectangles of pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Rectangle"]


class Rectangle(NamedTuple):
    """A rectangle of pixels: rows `top` to `top + height - 1`, columns `left` to `left + width - 1`.

    The four may be whole numbers, or int64 arrays of one shape: a rectangle for each of several images.
    """

    top: Any
    left: Any
    height: Any
    width: Any

    def each(self) -> list[Rectangle]:
        """Of `(n,)` arrays: the rectangles one by one, in whole numbers."""
        return [Rectangle(*four) for four in zip(*(np.asarray(side).tolist() for side in self), strict=True)]

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """The view of `(height, width, channels)` pixels that lies inside."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def within(self, outer: Rectangle) -> Rectangle:
        """The same rectangle, counted from the corner of one that holds it."""
        return Rectangle(self.top - outer.top, self.left - outer.left, self.height, self.width)

    def shrunk(self, factor: Any, height: Any, width: Any) -> Rectangle:
        """The nearest rectangle of whole pixels in an image that was `height` x `width` and is `factor` times smaller.

        Sides of that image are rounded up, as libjpeg does.
        """
        rows, columns = -(-height // factor), -(-width // factor)
        top, left = np.minimum(_rounded(self.top, factor), rows - 1), np.minimum(_rounded(self.left, factor), columns - 1)
        return Rectangle(
            top,
            left,
            np.minimum(np.maximum(_rounded(self.height, factor), 1), rows - top),
            np.minimum(np.maximum(_rounded(self.width, factor), 1), columns - left),
        )

    def times(self, factor: Any) -> Rectangle:
        """The same rectangle in an image that is `factor` times larger."""
        return Rectangle(factor * self.top, factor * self.left, factor * self.height, factor * self.width)


def _rounded(length: Any, factor: Any) -> Any:
    return np.rint(np.asarray(length) / factor).astype(np.int64)
