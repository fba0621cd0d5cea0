"""Byte-identical images of a source, found before its plan is made: what becomes of the copies.

The rules:

- Images are compared as their files have them, before anything is decoded. Of image files, only those are read whose size
  another file has. A sample with several images is a copy where all of them are; an image that cannot be read is none.
- `drop` keeps the first sample in the order of the source, whatever its split and its label, and rejects the others. The reason
  names the first, and says where the label or another target differs.
- `group` keeps copies in one split where splits are drawn, with the groups that they are in. Splits that the source tells stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kseq.errors import ImageError
from kseq.sources.base import FileSource, Source, SourceImage
from kseq.sources.spooled_column import SpooledColumn
from kseq.storage.checksums import checksum

__all__ = ["DUPLICATES", "drop_copies", "find_copies"]

DUPLICATES = ("keep", "drop", "group")
"""The allowed values of the argument `duplicates`."""


def find_copies(source: Source) -> np.ndarray:
    """For each image of a source the number of the first that is byte-identical, its own if none is: `(n,)` int64.

    Raises:
        ReadError: If the file system behind a URL cannot be reached.
    """
    numbers = np.flatnonzero(_may_have_copies(source))
    images = (image for _, image in source.images.where(_is_among(numbers, len(source.images))))
    names = [field.name for field in source.fields if field.is_image]
    firsts = np.arange(len(source.images))
    known: dict[int, int] = {}
    for number, image in zip(numbers.tolist(), source.reading_ahead(images), strict=True):
        try:
            values = source.read(image)
        except ImageError:
            continue
        firsts[number] = known.setdefault(_checksum([values[name] for name in names]), number)
    return firsts


def drop_copies(source: Source, firsts: np.ndarray) -> Source:
    """The source with all copies rejected; `firsts` is what `find_copies` gives."""
    images = source.images
    is_copy = firsts != np.arange(len(images))
    if not is_copy.any():
        return source
    reasons = dict(_reasons(source, firsts, is_copy))
    rejections = SpooledColumn(reasons.get(number, reason) for number, reason in enumerate(images.rejections))
    left = replace(
        images,
        columns={**images.columns, "rejection": rejections},
        is_rejected=images.is_rejected | is_copy,
        num_bytes=np.where(is_copy, 0, images.num_bytes),
    )
    return replace(source, images=left)


def _may_have_copies(source: Source) -> np.ndarray:
    """`(n,)` bool: which images must be read."""
    images = source.images
    is_usable = ~images.is_rejected
    if not isinstance(source, FileSource) or sum(field.is_pixels for field in source.fields) > 1:
        # What such a source says of sizes is not only of images.
        return is_usable
    _, sizes, counts = np.unique(images.num_bytes[is_usable], return_inverse=True, return_counts=True)
    is_usable[is_usable] = (counts[sizes] > 1) | (images.num_bytes[is_usable] == 0)
    return is_usable


def _is_among(numbers: np.ndarray, count: int) -> np.ndarray:
    is_among = np.zeros(count, bool)
    is_among[numbers] = True
    return is_among


def _checksum(values: list[bytes | np.ndarray]) -> int:
    """Of the images of a sample: bytes, or pixels with their shape."""
    parts = []
    for value in values:
        pixels = isinstance(value, np.ndarray)
        parts += [
            checksum(repr(np.shape(value) if pixels else 0).encode()),
            checksum(np.ascontiguousarray(value) if pixels else value),
        ]
    return checksum(np.array(parts, np.uint64))


def _reasons(source: Source, firsts: np.ndarray, is_copy: np.ndarray) -> Iterator[tuple[int, str]]:
    for number, image in source.images.where(is_copy):
        first = source.images[int(firsts[number])]
        differs = "" if _targets(source, image) == _targets(source, first) else " with another label or other targets"
        yield number, f"is byte-identical to an earlier image{differs}: {os.fsdecode(first.path)}"


def _targets(source: Source, image: SourceImage) -> str:
    """The label and the other values of a sample besides images, as text that is equal where they are."""
    others = [field for field in source.fields[1:] if not field.is_label]
    values = [np.asarray(value) for field, value in zip(others, image.values, strict=False) if not field.is_image]
    return repr((image.label, [(value.shape, value.tolist()) for value in values]))
