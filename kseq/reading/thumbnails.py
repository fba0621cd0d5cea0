"""Many images in one, so that a page of the grid takes one request."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import cv2
import numpy as np

from kseq.display.eye_pixels import as_rgb, encode_as_jpeg, fit
from kseq.display.montage import paint_tile
from kseq.display.tiles import make_tile
from kseq.errors import KseqError
from kseq.reading.described_values import describe_stored
from kseq.reading.reduced_images import read_reduced
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field

__all__ = ["COLUMNS", "make_sprite"]

# How many images lie side by side.
COLUMNS = 8

_QUALITY = 82
# Around images that do not fill their square; and of one that cannot be decoded.
_BACKGROUND, _BROKEN = (128, 128, 128), (160, 60, 60)


def make_sprite(
    samples: LocatedSamples, field: Field, side: int, threads: Executor, drawn: Sequence[Field], class_names: Sequence[str]
) -> bytes:
    """The bytes of a JPEG: the images of some samples, each in the middle of a square, `COLUMNS` in a row.

    In place of an image that cannot be decoded, there is a crossed square.

    Args:
        samples: The samples.
        field: An image or a mask.
        side: Of each square, in pixels.
        threads: Decode the images.
        drawn: What is drawn over the images, such as boxes, and labels, which say their colours.
        class_names: Those of the dataset.
    """
    count = len(samples)
    rows = -(-count // COLUMNS)
    sheet = np.empty((rows * side, min(count, COLUMNS) * side, 3), np.uint8)
    sheet[:] = _BACKGROUND
    samples.prepare()

    def draw(pixels: np.ndarray, position: int) -> np.ndarray:
        height, width = samples.part(position, position + 1).sizes(field.name)[0].tolist()
        values = [describe_stored(samples, position, one, class_names) for one in drawn]
        return paint_tile(make_tile(pixels, side, (height, width), values))

    def paint(position: int) -> None:
        row, column = divmod(position, COLUMNS)
        square = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
        try:
            pixels = _enlarge(as_rgb(fit(read_reduced(samples, position, field, side), side)), side)
            if drawn:
                pixels = draw(pixels, position)
        except (KseqError, MemoryError):
            _cross(square)
            return
        height, width = pixels.shape[:2]
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = pixels

    for _ in threads.map(paint, range(count)):
        pass
    return encode_as_jpeg(sheet, _QUALITY)


def _enlarge(pixels: np.ndarray, side: int) -> np.ndarray:
    """A small image so many whole times larger as fits into its square, each pixel as it is."""
    times = side // max(pixels.shape[:2])
    return pixels if times < 2 else pixels.repeat(times, axis=0).repeat(times, axis=1)


def _cross(square: np.ndarray) -> None:
    side = len(square)
    tile = np.full((side, side, 3), 60, np.uint8)
    cv2.line(tile, (0, 0), (side, side), _BROKEN, 3, cv2.LINE_AA)
    cv2.line(tile, (side, 0), (0, side), _BROKEN, 3, cv2.LINE_AA)
    square[:] = tile
