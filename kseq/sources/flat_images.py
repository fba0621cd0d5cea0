"""Files that hold images of one size as plain bytes, one after the other, with a header before them or labels between them."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ImageError, SourceError, one_line
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source, common_size
from kseq.sources.column_roles import Columns
from kseq.sources.file_reading import read_range
from kseq.sources.kept_open import kept_open

__all__ = ["FlatFile", "FlatImages", "FlatSource", "LabelledImages"]

_GZIP = b"\x1f\x8b"
_READ_BYTES = 1 << 20
_ERRORS = (OSError, EOFError, zlib.error)


class FlatFile(NamedTuple):
    """A file of plain bytes, which may be compressed by gzip.

    Attributes:
        path: The file.
        num_bytes: How many bytes it holds, unpacked.
        is_compressed: Whether it is compressed, whatever its name says.
    """

    path: str
    num_bytes: int
    is_compressed: bool

    @classmethod
    def open(cls, path: str) -> FlatFile:
        """Look at a file; one that is compressed is read once, and its checksum compared.

        Raises:
            SourceError: If it cannot be read.
        """
        try:
            with open(path, "rb") as file:
                is_compressed = file.read(len(_GZIP)) == _GZIP
            if not is_compressed:
                return cls(path, os.path.getsize(path), False)
            num_bytes = 0
            with gzip.open(path) as unpacked:
                while block := unpacked.read(_READ_BYTES):
                    num_bytes += len(block)
            return cls(path, num_bytes, True)
        except _ERRORS as error:
            raise SourceError(f"{path}: cannot be read: {one_line(error)}") from error

    def read(self, offset: int, size: int) -> bytes:
        """Some of the bytes.

        Raises:
            ImageError: If they cannot be read.
        """
        if not self.is_compressed:
            return read_range(self.path, offset, size)
        try:
            return _unpacked(self.path)[offset : offset + size]
        except _ERRORS as error:
            raise ImageError(f"cannot be read: {one_line(error)}") from error

    def array(self, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """An array in the file.

        Raises:
            SourceError: If it cannot be read.
        """
        try:
            data = self.read(offset, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        except ImageError as error:
            raise SourceError(f"{self.path}: {error}") from error
        return np.frombuffer(data, dtype).reshape(shape)


@kept_open(1)
def _unpacked(path: str) -> bytes:
    with gzip.open(path) as file:
        return file.read()


class FlatImages(NamedTuple):
    """The images of a file.

    Attributes:
        file: The file.
        name: What it is called below the source.
        num_images: How many images there are.
        shape: Of an image, as its bytes lie.
        axes: The axes of that shape in the order height, width, channels.
        offset: Where the first image begins.
        row_bytes: From the beginning of an image to that of the next.
        dtype: Of the numbers, as their bytes lie.
    """

    file: FlatFile
    name: str
    num_images: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    offset: int
    row_bytes: int
    dtype: str = "|u1"

    @property
    def image_bytes(self) -> int:
        """The size of an image."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def row(self, number: int) -> np.ndarray:
        """The pixels of an image: `(height, width)` or `(height, width, channels)` of the dtype.

        Raises:
            ImageError: If it cannot be read.
        """
        size = self.image_bytes
        data = self.file.read(self.offset + number * self.row_bytes, size)
        if len(data) < size:
            raise ImageError(f"breaks off after {len(data)} of {size} bytes")
        pixels = np.frombuffer(data, self.dtype).reshape(self.shape).transpose(self.axes)
        return np.ascontiguousarray(pixels, np.dtype(self.dtype).newbyteorder("="))


class LabelledImages(NamedTuple):
    """The images of a file with their labels.

    Attributes:
        images: The images.
        labels: A label for each, a number or a name; None if there are none.
        split: The split that the source tells.
    """

    images: FlatImages
    labels: Sequence[Any] | None
    split: str | None


@dataclass(frozen=True)
class FlatSource(Source):
    """The images of such files; the location of an image is the number of its file, and its row.

    Attributes:
        files: The images of each file.
    """

    files: tuple[FlatImages, ...] = ()

    @classmethod
    def of(
        cls,
        path: str,
        found: Sequence[LabelledImages],
        class_names: Sequence[str] | None,
        *,
        notes: Sequence[str] = (),
    ) -> FlatSource:
        """A source of some files.

        Args:
            path: The source.
            found: The files; all have labels, or none has.
            class_names: All classes, in the order of their numbers; None for the labels, sorted.
            notes: What a user should know of the source.

        Raises:
            SourceError: If no image can be packed.
        """
        has_labels = found[0].labels is not None
        cells = {"labels": [label for part in found for label in part.labels or ()]} if has_labels else {}
        columns = Columns(image="images", label="labels" if has_labels else None)
        assembled = assemble_samples(path, columns, cells, _samples(found), class_names)
        files = tuple(part.images for part in found)
        parts = (assembled.class_names, assembled.images, assembled.fields)
        return cls(path, *parts, files, box_facts=assembled.box_facts, notes=tuple(notes))

    def shared_files(self) -> Sequence[str]:
        return tuple(part.file.path for part in self.files)

    def image_size(self) -> tuple[int, int] | None:
        return common_size([part.shape[axis] for axis in part.axes] for part in self.files)

    def fetch(self, location: tuple[int, int]) -> np.ndarray:
        """The pixels of an image."""
        number, row = location
        return self.files[number].row(row)


def _samples(found: Sequence[LabelledImages]) -> Iterator[FoundSample]:
    for number, (images, _, split) in enumerate(found):
        for row in range(images.num_images):
            yield FoundSample(os.fsencode(f"{images.name}/{row}"), ((number, row),), images.image_bytes, split)
