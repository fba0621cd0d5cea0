"""Decodes crops of encoded images at a cost that depends on the crop, not on the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kseq.errors import ImageError
from kseq.images.codecs import check_size, decode, decode_shrunk, shrunk_rectangle, upright
from kseq.images.formats import SIMPLEJPEG_ERRORS, check_stored_format, is_jpeg
from kseq.images.jpeg_tiles import TileCuts
from kseq.images.rectangle import Rectangle

__all__ = ["CropDecoder", "EncodedImages"]

# If the tiles of a crop cover more than this share of the image, cutting them out costs more than it saves (measured).
_MOST_CUT = 0.87


class EncodedImages(NamedTuple):
    """Several encoded images as they are stored.

    Attributes:
        data: For each image, `(n,)` uint8: its bytes, of any known format.
        sizes: `(images, 2)` int64: height and width of the upright image.
        orientations: `(images,)` uint8: EXIF's, 1 to 8.
        tiles: For each image, what `jpeg_tiles.find_tiles` returned for its bytes; `(0,)` for an image that is not stored
            upright.
    """

    data: list[np.ndarray]
    sizes: np.ndarray
    orientations: np.ndarray
    tiles: list[np.ndarray]


class CropDecoder:
    """Decodes one crop of each of several encoded images, which is to be resized afterwards.

    Args:
        images: The images.
        crops: `(images, 4)` int64: top, left, height and width, inside the upright image.
        shrinks: `(images,)` int64: how many times smaller to decode each crop if it is of a JPEG: 1, 2, 4 or 8.
        fast: `(images,)` bool: whether to decode the colours of a JPEG the fast way, see `kseq.images.codecs.decode`.
    """

    def __init__(self, images: EncodedImages, crops: np.ndarray, shrinks: np.ndarray, fast: np.ndarray) -> None:
        self._images, self._fast = images, fast.tolist()
        height, width = images.sizes.T
        crop = Rectangle(*crops.T)
        shrunk = shrunk_rectangle(crop, shrinks, height, width, images.orientations)
        # Upsampling of the chroma reads one (shrunk) pixel beyond the edge.
        self._cuts = TileCuts(images.data, images.tiles, images.sizes, shrunk.enlarge(shrinks), shrinks, _MOST_CUT)
        self._exist = self._cuts.exist.tolist()
        self._covered = self._cuts.covered.to_list()
        self._in_covered = shrunk.relative_to(self._cuts.covered.shrink(shrinks, height, width)).to_list()
        self._shrunk_crops, self._crops = shrunk.to_list(), crop.to_list()
        self._shrinks, self._orientations = shrinks.tolist(), images.orientations.tolist()
        self._sizes = images.sizes.tolist()

    def decode(self, number: int, color_mode: str) -> np.ndarray:
        """The crop of one image.

        Of a JPEG that is decoded smaller, the crop is the nearest rectangle of whole pixels there. Whether a JPEG is decoded as
        a whole or in part makes no difference to the pixels.

        Args:
            number: The image, from 0 on.
            color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.

        Returns:
            `(height, width, channels)` uint8, upright.

        Raises:
            ImageError: If its bytes are broken, of another size than `sizes` says, or take more memory than there is.
            DamagedError: If its record of tiles does not fit its bytes.
        """
        height, width = self._sizes[number]
        try:
            return self._decode(number, color_mode, (height, width))
        except MemoryError as error:
            raise ImageError(f"takes more memory than there is: {height} x {width} pixels") from error

    def _decode(self, number: int, color_mode: str, size: tuple[int, int]) -> np.ndarray:
        data, orientation = self._images.data[number], self._orientations[number]
        check_stored_format(data)
        if is_jpeg(data) and (orientation == 1 or self._shrinks[number] > 1):
            try:
                return self._decode_jpeg(number, color_mode, orientation)
            except SIMPLEJPEG_ERRORS:
                # Broken, or of a kind that simplejpeg does not decode: `decode` handles it, or says what is wrong.
                pass
        return self._crops[number].crop(decode(data, color_mode, orientation, size=size, fast=self._fast[number]))

    def _decode_jpeg(self, number: int, color_mode: str, orientation: int) -> np.ndarray:
        shrink = self._shrinks[number]
        if self._exist[number]:
            _, _, height, width = self._covered[number]
            tiles = decode_shrunk(self._cuts.cut(number), color_mode, shrink, height, width, self._fast[number])
            return self._in_covered[number].crop(tiles)
        height, width = self._sizes[number]
        check_size(self._images.data[number], orientation, (height, width))
        size = (height, width) if orientation < 5 else (width, height)
        pixels = decode_shrunk(self._images.data[number], color_mode, shrink, *size, self._fast[number])
        return self._shrunk_crops[number].crop(upright(pixels, orientation))
