"""What every source gives: where each image is, what is known of it, and the values of its sample; and image files."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from kseq.errors import ImageError, saying
from kseq.images.formats import detect_format
from kseq.storage.fields import IMAGE, LABEL, Field

__all__ = ["SPLITS", "FileSource", "Source", "SourceImage", "read_file", "read_piece"]

# What people call splits, in lower case, and what kseq calls them.
SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}


class SourceImage(NamedTuple):
    """One sample that was found or named: where its image is, and what its source says of it. A tuple: there may be millions.

    Attributes:
        path: What it is called, as bytes: of a file, its path below the source's root, with `/` between folders, or absolute.
        label: Class number, -1 where there is none.
        split: `"train"`, `"val"`, `"test"`, or None where the source does not say.
        num_bytes: The size of its files on disk.
        refused: Why it cannot be packed, where that is known before it is read.
        group: What it must share its split with; None for nothing.
        more: For each field of the source after the first and the label: its value, or of an image or a mask, its place.
        place: Where its source finds the image, where `path` does not say that.
    """

    path: bytes
    label: int
    split: str | None
    num_bytes: int
    refused: str | None = None
    group: str | None = None
    more: tuple[Any, ...] = ()
    place: Any = None


Self = TypeVar("Self", bound="Source")


@dataclass(frozen=True)
class Source:
    """Samples in the order in which they are to be packed, each of which any process can read by itself.

    Attributes:
        root: The folder or file, for messages.
        class_names: The class of each label number.
        images: What there is.
        fields: What each sample holds, the first being an image, the second the label, if there is one. How images are stored
            is not the source's affair: theirs are as `kseq.storage.fields.IMAGE`.
    """

    root: str
    class_names: tuple[str, ...]
    images: list[SourceImage] = field(repr=False)
    fields: tuple[Field, ...] = (IMAGE, LABEL)

    def part(self: Self, images: Sequence[SourceImage]) -> Self:
        """A source of some of its images, for a process that needs to know of no others."""
        return replace(self, class_names=(), images=list(images))

    def read(self, image: SourceImage) -> dict[str, Any]:
        """The values of one sample, as `kseq.packing.encode.encode_sample` takes them.

        Raises:
            ImageError: Where it was refused, or cannot be read.
        """
        if image.refused is not None:
            raise ImageError(image.refused)
        first, *others = self.fields
        values = {first.name: self.fetch(image.path if image.place is None else image.place)}
        if others and others[0].kind == "label":
            values[others.pop(0).name] = np.array(image.label, np.int32)
        for each, value in zip(others, image.more, strict=True):
            with saying(f"its {each.name}"):
                values[each.name] = self.fetch(value) if each.is_pixels else value
        return values

    def fetch(self, place: Any) -> bytes | np.ndarray:
        """The bytes of one image file, or its pixels.

        Args:
            place: What `SourceImage` says of where it is.

        Raises:
            ImageError: Where it cannot be read.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class FileSource(Source):
    """Image files below the folder `root`; their places are paths."""

    def fetch(self, place: bytes) -> bytes:
        """The bytes of one image file.

        Raises:
            ImageError: Where it cannot be read, or is a pipe or another thing that never ends.
        """
        return read_file(os.path.join(os.fsencode(self.root), place))


def read_file(path: str | bytes) -> bytes:
    """The bytes of an image file.

    Raises:
        NotAnImageError: Where it begins like no image: a film of some gigabytes is not read on.
        ImageError: Where it cannot be read, or is a pipe or another thing that never ends.
    """
    if b"\0" in os.fsencode(path):
        raise ImageError("has a path with a zero byte, which no path has")
    try:
        # Looked at twice: opening a device can do things, and what is opened may be another than what was looked at.
        _check_regular(os.stat(path))
        with open(path, "rb", opener=_open_at_once) as file:
            _check_regular(os.fstat(file.fileno()))
            detect_format(os.pread(file.fileno(), 16, 0))
            return file.read()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise ImageError("is larger than memory") from error


def _open_at_once(path: Any, flags: int) -> int:
    """A pipe would be waited for until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("is not a regular file")


def read_piece(path: str, offset: int, size: int) -> bytes:
    """Some bytes of a file that holds many samples.

    Raises:
        ImageError: Where they cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            found = os.pread(file.fileno(), size, offset)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    if len(found) < size:
        raise ImageError(f"breaks off after {len(found)} of {size} bytes")
    return found
