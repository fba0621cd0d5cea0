"""Parts of encoded images: for each of several, the pixels in a box, at a cost that goes with the box."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kseq.images.codecs import decode, decode_shrunk, upright
from kseq.images.formats import is_jpeg
from kseq.images.jpeg_tiles import TileCuts
from kseq.images.rectangle import Rectangle

__all__ = ["CropDecoder", "EncodedImages"]

# Where tiles of more than this share of the image are needed, cutting them out costs more than it saves (measured).
_MOST_CUT = 0.87


class EncodedImages(NamedTuple):
    """Several encoded images as they are stored.

    Attributes:
        data: Of each, `(n,)` uint8: its bytes, of any known format.
        sizes: `(images, 2)` int64: height and width of the upright image.
        orientations: `(images,)` uint8: EXIF's, 1 to 8.
        tiles: Of each, what `jpeg_tiles.find_tiles` gave for its bytes; `(0,)` for images that are not stored upright.
    """

    data: list[np.ndarray]
    sizes: np.ndarray
    orientations: np.ndarray
    tiles: list[np.ndarray]


class CropDecoder:
    """A box of each of several encoded images, about to be resized to one size.

    Args:
        stored: The images.
        boxes: `(images, 4)` int64: top, left, height and width, inside the upright image.
        target: Height and width that each box is to be resized to.
    """

    def __init__(self, stored: EncodedImages, boxes: np.ndarray, target: tuple[int, int]) -> None:
        self._stored = stored
        height, width = stored.sizes.T
        box = Rectangle(*boxes.T)
        shrinks = _shrinks(box, target)
        inner = box.shrunk(shrinks, height, width)
        # Upsampling of the chroma looks one (shrunken) pixel over the edge.
        self._cuts = TileCuts(stored.data, stored.tiles, stored.sizes, inner.times(shrinks), shrinks, _MOST_CUT)
        self._exist = self._cuts.exist.tolist()
        self._covered = self._cuts.covered.each()
        self._in_covered = inner.within(self._cuts.covered.shrunk(shrinks, height, width)).each()
        self._inner, self._boxes = inner.each(), box.each()
        self._shrinks, self._orientations = shrinks.tolist(), stored.orientations.tolist()
        self._sizes = stored.sizes.tolist()

    def decode(self, number: int, color_mode: str) -> np.ndarray:
        """The part of one image.

        Args:
            number: Which, from 0 on.
            color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.

        Returns:
            `(height, width, channels)` uint8, upright: the pixels in its box; of a JPEG whose box is at least twice (or four or
            eight times) as high and as wide as the target, those of the image decoded at a half (a quarter, an eighth) of its
            size, under the box nearest to its box there. The same whether a JPEG was decoded whole or in part.

        Raises:
            ImageError: Where its bytes are broken.
            DamagedError: Where what is stored of its tiles does not go with them.
        """
        data, orientation = self._stored.data[number], self._orientations[number]
        if is_jpeg(data) and (orientation == 1 or self._shrinks[number] > 1):
            try:
                return self._decode_jpeg(number, color_mode, orientation)
            except ValueError:
                # What simplejpeg does not do, or broken: the plain way knows more, or says what is wrong.
                pass
        return self._boxes[number].of(decode(data, color_mode, orientation))

    def _decode_jpeg(self, number: int, color_mode: str, orientation: int) -> np.ndarray:
        shrink = self._shrinks[number]
        if self._exist[number]:
            _, _, *size = self._covered[number]
            return self._in_covered[number].of(decode_shrunk(self._cuts.cut(number), color_mode, shrink, *size))
        size = self._sizes[number] if orientation < 5 else self._sizes[number][::-1]
        pixels = decode_shrunk(self._stored.data[number], color_mode, shrink, *size)
        return self._inner[number].of(upright(pixels, orientation))


def _shrinks(box: Rectangle, target: tuple[int, int]) -> np.ndarray:
    """How many times smaller each box may be decoded, and still cover the target: 1, 2, 4 or 8."""
    most = np.minimum(box.height // target[0], box.width // target[1])
    shrinks: np.ndarray = 1 << np.searchsorted([2, 4, 8], most, side="right")
    return shrinks
