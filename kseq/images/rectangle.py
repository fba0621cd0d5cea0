"""Rectangles of pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Rectangle"]


class Rectangle(NamedTuple):
    """A rectangle of pixels: rows `top` to `top + height - 1`, columns `left` to `left + width - 1`.

    The four numbers may be whole numbers, or int64 arrays of one shape: a rectangle for each of several images.
    """

    top: Any
    left: Any
    height: Any
    width: Any

    def to_list(self) -> list[Rectangle]:
        """The rectangles of `(n,)` arrays one by one, in whole numbers."""
        sides = (np.asarray(side).tolist() for side in self)
        return [Rectangle(*numbers) for numbers in zip(*sides, strict=True)]

    def crop(self, pixels: np.ndarray) -> np.ndarray:
        """The part of `(height, width, channels)` pixels that lies inside, as a view."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def relative_to(self, outer: Rectangle) -> Rectangle:
        """The same rectangle, counted from the upper left corner of another that contains it."""
        return Rectangle(self.top - outer.top, self.left - outer.left, self.height, self.width)

    def shrink(self, factor: Any, height: Any, width: Any) -> Rectangle:
        """The rectangle with the nearest edges of whole pixels in an image that was `height` x `width`, shrunk by `factor`.

        The sides of the shrunk image are rounded up, as libjpeg does. The rectangle has at least one pixel.
        """
        rows, columns = -(-height // factor), -(-width // factor)
        top, left = np.minimum(_divide(self.top, factor), rows - 1), np.minimum(_divide(self.left, factor), columns - 1)
        bottom, right = _divide(self.top + self.height, factor), _divide(self.left + self.width, factor)
        return Rectangle(top, left, np.clip(bottom, top + 1, rows) - top, np.clip(right, left + 1, columns) - left)

    def enlarge(self, factor: Any) -> Rectangle:
        """The same rectangle in an image that is enlarged by a whole factor."""
        return Rectangle(factor * self.top, factor * self.left, factor * self.height, factor * self.width)


def _divide(length: Any, factor: Any) -> Any:
    """The quotient, rounded to a whole number."""
    return np.rint(np.asarray(length) / factor).astype(np.int64)
