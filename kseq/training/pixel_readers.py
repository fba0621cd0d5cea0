"""Readers of the stored pixels of some samples: fitted to the size of the batch, cut out, or whole.

Each reader is a function of the number of a sample and of an array `(height, width, channels)` uint8 of the size of the batch.
It returns pixels that may be changed, and puts them into this array if they have that size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kseq.errors import DamagedError, ImageError
from kseq.images.codecs import recolor
from kseq.images.crop_decoding import CropDecoder
from kseq.images.rectangle import Rectangle
from kseq.images.resize import resize, resize_to
from kseq.reading.dataset import ShardDataset
from kseq.storage.fields import Field
from kseq.storage.shard_reader import ShardReader
from kseq.training.image_spec import ImageSpec

__all__ = ["PixelReader", "cut_reader", "fitted_reader", "whole_reader"]

PixelReader = Callable[[int, np.ndarray], np.ndarray]


def fitted_reader(dataset: ShardDataset, field: Field, spec: ImageSpec, sample_ids: np.ndarray) -> PixelReader:
    """Reads pixels resized to the size of the batch."""
    rows = list(dataset.places(sample_ids))

    def read(number: int, out: np.ndarray) -> np.ndarray:
        reader, row = rows[number]
        if field.encoded and field.content == "image" and field.shape[:2] == (spec.height, spec.width):
            return reader.decode(field.name, row, spec.color_mode, out)
        pixels = recolor(_stored_pixels(field, spec, reader, row), spec.color_mode)
        resize_to(pixels, out, spec.fit, spec.interpolation)
        return out

    return read


def whole_reader(dataset: ShardDataset, field: Field, spec: ImageSpec, sample_ids: np.ndarray) -> PixelReader:
    """Reads pixels in their stored size, into memory of their own."""
    rows = list(dataset.places(sample_ids))

    def read(number: int, out: np.ndarray) -> np.ndarray:
        pixels = recolor(_stored_pixels(field, spec, *rows[number]), spec.color_mode)
        return np.require(pixels, requirements=["C", "W"])

    return read


def cut_reader(
    dataset: ShardDataset,
    field: Field,
    spec: ImageSpec,
    sample_ids: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int],
) -> PixelReader:
    """Reads a box of each image, resized to one size; of a JPEG, decodes little more than the box.

    Args:
        dataset: Where the samples are.
        field: An image or a mask.
        spec: Says the colour mode and the interpolation.
        sample_ids: `(n,)` int64.
        boxes: `(n, 4)` int64: top, left, height and width, inside the stored image.
        size: Height and width that each box is resized to.
    """
    cut = _cut_decoder if field.encoded and field.content == "image" else _cut_slices
    pixels_in_box = cut(dataset, field, spec, sample_ids, boxes, size)

    def read(number: int, out: np.ndarray) -> np.ndarray:
        pixels = out if size == out.shape[:2] else np.empty((*size, out.shape[2]), np.uint8)
        resize(pixels_in_box(number), pixels, spec.interpolation)
        return pixels

    return read


def _cut_decoder(
    dataset: ShardDataset,
    field: Field,
    spec: ImageSpec,
    sample_ids: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int],
) -> Callable[[int], np.ndarray]:
    decoder = CropDecoder(dataset.stored(field.name, sample_ids), boxes, size)

    def decode(number: int) -> np.ndarray:
        try:
            return decoder.decode(number, spec.color_mode)
        except (ImageError, DamagedError) as error:
            raise dataset.at(int(sample_ids[number]), error) from error

    return decode


def _cut_slices(
    dataset: ShardDataset,
    field: Field,
    spec: ImageSpec,
    sample_ids: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int],
) -> Callable[[int], np.ndarray]:
    rows, rectangles = list(dataset.places(sample_ids)), Rectangle(*boxes.T).each()
    return lambda number: recolor(rectangles[number].of(_stored_pixels(field, spec, *rows[number])), spec.color_mode)


def _stored_pixels(field: Field, spec: ImageSpec, reader: ShardReader, row: int) -> np.ndarray:
    """`(height, width, channels)` uint8 of one sample; of the channels of the batch if they are decoded."""
    if not field.encoded:
        pixels: np.ndarray = reader.array(field.name)[row]
        return pixels
    if field.content == "mask":
        return reader.decode_mask(field.name, row)
    return reader.decode(field.name, row, spec.color_mode)
