"""What a sample of a source becomes once it is stored: its fields, and about how many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ArgumentError
from kseq.packing.settings import ImageSettings, image_form, map_form
from kseq.sources.base import ImageTable, Source
from kseq.storage.fields import Field

__all__ = ["estimate_bytes", "stored_field", "with_image_size"]

# Three bits a pixel: a photo at quality 90 (measured).
_JPEG_BITS_PER_PIXEL = 3
# About as many pixels are taken for images whose size nothing limits.
_PIXELS_OF_ANY_SIZE = 1 << 40


def with_image_size(settings: ImageSettings, source: Source) -> ImageSettings:
    """The settings with the size of the images of a source, where pixels are stored and the settings have none.

    Raises:
        ArgumentError: If the images have no one size that the source tells.
    """
    if settings.encoding != "raw" or settings.image_size is not None:
        return settings
    size = source.image_size()
    if size is None:
        raise ArgumentError(
            f"{spelled('encoding', 'raw')}: stores pixels of one size, give one, such as {spelled('image_size', (224, 224))}"
        )
    return replace(settings, image_size=size)


def stored_field(field: Field, settings: ImageSettings, size: tuple[int | None, int | None] = (None, None)) -> Field:
    """A field of a source in the form in which it is stored.

    Args:
        field: The field of the source.
        settings: How images are stored.
        size: The height and width of the images of the field; None where they differ.

    Raises:
        ArgumentError: If the field is stored as numbers, which need one size, and the settings have none.
    """
    if not field.is_pixels:
        return field
    encoded = settings.encoding != "raw" and field.handler.can_be_encoded
    if not encoded:
        if settings.image_size is None:
            example, found = spelled("images", encoding="raw", image_size=(224, 224)), spelled("encoding", settings.encoding)
            raise ArgumentError(
                f"field {field.name}: {field.kind} fields are numbers of one size, give one, such as {example}, found {found}"
            )
        size = settings.image_size
    dtype, channels = field.handler.stored_pixels(image_form(settings), map_form(settings))
    return replace(field, encoded=encoded, dtype=dtype, shape=(*size, channels))


def estimate_bytes(images: ImageTable, fields: Sequence[Field], settings: ImageSettings) -> np.ndarray:
    """`(n,)` int64: about how many bytes the images and masks of each sample will take in their shard.

    Args:
        images: The samples.
        fields: The stored fields of each sample.
        settings: How images are stored.
    """
    height, width = settings.image_size or (0, 0)
    numbers = [field for field in fields if field.is_pixels and not field.encoded]
    row_bytes = height * width * sum((field.shape[2] or 0) * np.dtype(field.dtype).itemsize for field in numbers)
    if settings.encoding == "raw":
        return np.full(len(images), row_bytes, np.int64)
    if settings.encoding == "keep":
        return images.num_bytes
    if settings.image_size is not None:
        most_pixels = height * width
    else:
        most_pixels = _PIXELS_OF_ANY_SIZE if settings.max_side is None else settings.max_side**2
    # A file with fewer bits a pixel keeps about its size.
    return row_bytes + np.minimum(images.num_bytes, most_pixels * _JPEG_BITS_PER_PIXEL // 8)
