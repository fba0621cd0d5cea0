"""What every source of image files gives: where each image is, what is known of it, and its bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from kseq.errors import ImageError

__all__ = ["SPLITS", "FileSource", "SourceImage"]

# What people call splits, in lower case, and what kseq calls them.
SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}


class SourceImage(NamedTuple):
    """One image file that was found or named: where, and what its source says of it. A tuple, since there may be millions.

    Attributes:
        path: Below the source's root, as bytes, with `/` between folders; or absolute.
        label: Class number, -1 where there is none.
        split: `"train"`, `"val"`, `"test"`, or None where the source does not say.
        num_bytes: Its size on disk.
        refused: Why it cannot be packed, where that is known before it is read.
        group: What it must share its split with; None for nothing.
    """

    path: bytes
    label: int
    split: str | None
    num_bytes: int
    refused: str | None = None
    group: str | None = None


Files = TypeVar("Files", bound="FileSource")


@dataclass(frozen=True)
class FileSource:
    """Image files below a folder, in the order in which they are to be packed.

    Attributes:
        root: The folder.
        class_names: The class of each label number.
        images: What there is.
    """

    root: str
    class_names: tuple[str, ...]
    images: list[SourceImage] = field(repr=False)

    def part(self: Files, images: Sequence[SourceImage]) -> Files:
        """A source of some of its images, for a process that needs to know of no others."""
        return replace(self, class_names=(), images=list(images))

    def read(self, image: SourceImage) -> bytes:
        """The bytes of one image file.

        Raises:
            ImageError: Where it was refused, cannot be read, or is a pipe or another thing that never ends.
        """
        if image.refused is not None:
            raise ImageError(image.refused)
        path = os.path.join(os.fsencode(self.root), image.path)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ImageError("is not a regular file")
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror}") from error
