"""Readers of the stored pixels of some samples: fitted to the size of the batch, cut out, or whole.

Each reader is a function of the number of a sample and of an array `(height, width, channels)` of the stored dtype, of the size
of the batch.
It returns pixels that may be changed, and puts them into this array if they have that size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from kseq.errors import DamagedError, ImageError
from kseq.images.crop_decoding import CropDecoder
from kseq.images.pixel_form import recolor
from kseq.images.rectangle import Rectangle
from kseq.images.resize import Placement, crop_reductions, placement, reductions, resize, resize_to
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field
from kseq.storage.shard_reader import ShardReader
from kseq.training.image_spec import ImageSpec

__all__ = ["PixelReader", "cut_reader", "fitted_reader", "whole_reader"]

PixelReader = Callable[[int, np.ndarray], np.ndarray]

# Images of at most about so many pixels together, or a single one, are looked up for decoding at a time.
_MOST_PIXELS = 1 << 23


def fitted_reader(samples: LocatedSamples, field: Field, spec: ImageSpec) -> PixelReader:
    """Reads pixels resized to the size of the batch."""
    is_resized = field.shape[:2] != (spec.height, spec.width)
    if is_resized and field.encoded and field.handler.decodes_crops:
        return _resizing_reader(samples, field, spec)

    def read(number: int, out: np.ndarray) -> np.ndarray:
        reader, row = samples[number]
        if field.encoded and field.is_image and field.shape[:2] == (spec.height, spec.width):
            return reader.decode(field.name, row, spec.color_mode, out)
        pixels = recolor(_stored_pixels(field, spec, reader, row), spec.color_mode)
        resize_to(pixels, out, spec.fit, spec.interpolation, spec.antialias)
        return out

    return read


def _resizing_reader(samples: LocatedSamples, field: Field, spec: ImageSpec) -> PixelReader:
    """Reads encoded pixels resized to the size of the batch; of a JPEG, decodes no more than that needs."""
    sizes = samples.sizes(field.name).tolist()
    placements = [placement(height, width, spec.height, spec.width, spec.fit) for height, width in sizes]
    sources = np.array([placement.source for placement in placements]).reshape(-1, 4)
    targets = np.array([placement.target for placement in placements]).reshape(-1, 4)
    shrink = reductions if spec.is_averaging else None
    pixels_in_box = _cut_decoder(samples, field, spec, sources, targets[:, 2:], shrink)

    def read(number: int, out: np.ndarray) -> np.ndarray:
        part = pixels_in_box(number)
        whole = Placement(Rectangle(0, 0, *part.shape[:2]), placements[number].target)
        whole.fill(part, out, spec.interpolation, spec.antialias)
        return out

    return read


def whole_reader(samples: LocatedSamples, field: Field, spec: ImageSpec) -> PixelReader:
    """Reads pixels in their stored size, into memory of their own."""

    def read(number: int, out: np.ndarray) -> np.ndarray:
        pixels = recolor(_stored_pixels(field, spec, *samples[number]), spec.color_mode)
        # Raw pixels are a view of the file, Pillow's may not be changed.
        return np.require(pixels, requirements=["C", "W"]) if field.encoded else np.array(pixels)

    return read


def cut_reader(
    samples: LocatedSamples,
    field: Field,
    spec: ImageSpec,
    boxes: np.ndarray,
    size: tuple[int, int],
) -> PixelReader:
    """Reads a box of each image, resized to one size; of a JPEG, decodes little more than the box.

    Args:
        samples: The `n` samples.
        field: An image or a mask.
        spec: Says the colour mode and the interpolation.
        boxes: `(n, 4)` int64: top, left, height and width, inside the stored image.
        size: Height and width that each box is resized to.
    """
    if field.encoded and field.handler.decodes_crops:
        shrink = reductions if spec.is_averaging else crop_reductions
        pixels_in_box = _cut_decoder(samples, field, spec, boxes, np.broadcast_to(np.array(size), (len(boxes), 2)), shrink)
    else:
        pixels_in_box = _cut_slices(samples, field, spec, boxes)

    def read(number: int, out: np.ndarray) -> np.ndarray:
        pixels = out if size == out.shape[:2] else np.empty((*size, out.shape[2]), out.dtype)
        resize(pixels_in_box(number), pixels, spec.interpolation, spec.antialias)
        return pixels

    return read


def _cut_decoder(
    samples: LocatedSamples,
    field: Field,
    spec: ImageSpec,
    boxes: np.ndarray,
    sizes: np.ndarray,
    shrink: Callable[..., np.ndarray] | None,
) -> Callable[[int], np.ndarray]:
    """Decodes boxes that are to be resized to `sizes`, `(n, 2)`; `shrink` says how much smaller they may be decoded."""
    # The colours of most JPEGs are stored at half the height and width: to smooth them is of use where that is shown.
    is_fast = np.full(len(boxes), spec.decode == "fast") & (boxes[:, 2:] >= 2 * sizes).all(1)
    shrinks = np.ones(len(boxes), np.int64)
    if shrink is not None and spec.decode == "fast":
        shrinks = shrink(boxes[:, 2], boxes[:, 3], sizes[:, 0], sizes[:, 1])
    # With `read="pread"`, the stored bytes of the images that a decoder knows are in memory: of a few that are large.
    groups = np.cumsum(np.minimum(samples.sizes(field.name).prod(1), _MOST_PIXELS)) // _MOST_PIXELS
    firsts = np.searchsorted(groups, groups).tolist()

    @functools.lru_cache(maxsize=1)
    def decoder_from(first: int) -> CropDecoder:
        last = int(np.searchsorted(groups, groups[first], side="right"))
        images = samples.part(first, last).encoded_images(field.name)
        return CropDecoder(images, boxes[first:last], shrinks[first:last], is_fast[first:last])

    def decode(number: int) -> np.ndarray:
        first = firsts[number]
        decoder = decoder_from(first)
        try:
            return decoder.decode(number - first, spec.color_mode or "rgb")
        except (ImageError, DamagedError) as error:
            raise samples.error_at(number, error) from error

    return decode


def _cut_slices(
    samples: LocatedSamples,
    field: Field,
    spec: ImageSpec,
    boxes: np.ndarray,
) -> Callable[[int], np.ndarray]:
    rectangles = Rectangle(*boxes.T).to_list()
    return lambda number: recolor(rectangles[number].crop(_stored_pixels(field, spec, *samples[number])), spec.color_mode)


def _stored_pixels(field: Field, spec: ImageSpec, reader: ShardReader, row: int) -> np.ndarray:
    """`(height, width, channels)` of one sample; of the channels of the batch if they are decoded."""
    if not field.encoded:
        pixels: np.ndarray = reader.array(field.name)[row]
        return pixels
    return reader.decode(field.name, row, spec.color_mode)
