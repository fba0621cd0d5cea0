"""Images of a dataset at a reduced scale, for who only looks at them."""

from __future__ import annotations

import threading

import numpy as np

from kseq.errors import ImageError
from kseq.images.codecs import decode
from kseq.images.formats import check_stored_format, is_jpeg
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field

__all__ = ["read_reduced"]

# An image of more pixels is decoded alone, so that several at once do not take all memory; of still more, not at all.
_LARGE, _MOST_PIXELS = 16_000_000, 400_000_000
_one_large = threading.Lock()


def read_reduced(samples: LocatedSamples, position: int, field: Field, side: int) -> np.ndarray:
    """An image or mask whose longer side is `side` pixels or somewhat more, or as it is if that is smaller.

    A JPEG is decoded at a half, a quarter or an eighth of its size.

    Args:
        samples: Some samples.
        position: Which of them, in [0, len(samples)).
        field: An image or a mask.
        side: In pixels.

    Returns:
        `(height, width, channels)` uint8, upright; other dtypes where the field has another.

    Raises:
        KseqError: If it cannot be read.
    """
    one = samples.part(position, position + 1)
    if not field.encoded:
        pixels: np.ndarray = one.values(field.name)[0]
        return pixels
    encoded = one.encoded_images(field.name)
    data, orientation = encoded.data[0], int(encoded.orientations[0])
    height, width = encoded.sizes[0].tolist()
    if height * width > _MOST_PIXELS:
        raise ImageError(f"has {height} x {width} pixels, which is more than is shown here")
    check_stored_format(data)
    if not is_jpeg(data) or not field.is_image:
        if height * width > _LARGE:
            with _one_large:
                return field.handler.decode(data, orientation, (height, width))
        return field.handler.decode(data, orientation, (height, width))
    reduction = next((times for times in (8, 4, 2) if max(height, width) >= times * side), 1)
    return decode(data, field.color_mode or "rgb", orientation, size=(height, width), reduction=reduction, fast=True)
