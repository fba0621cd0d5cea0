"""The base class of all sources: which samples there are, and how each of them is read.

To add a format (LMDB, say), write one module beside this one, and list its format in `kseq/sources/registry.py`. It holds

1. the rules of the format, at its top: what is an image, a label, a split; what is rejected;
2. a subclass of `Source`, a frozen dataclass, with a method `fetch(location)` that returns the bytes of one image file, or its
   pixels. Worker processes get the source by pickling, so it holds paths and numbers, never open files: `fetch` opens what it
   needs (a function with `kept_open` keeps it open for the next call, in each process for itself). If the samples do not lie
   in the one file `root`, `shared_files` names their files, so that resuming notices a file that was written again;
3. a function that opens a path as such a source, given a `SourceRequest`: it lists every sample as a `SourceImage`, in the
   order in which samples are packed, without reading images. Where samples have columns, `assemble_samples` turns the cells
   into fields, labels, splits and groups by the same rules for all formats;
4. a `SourceFormat`: the name of the format, how it is recognised, and that function.

Everything that is found is packed or rejected: `found = packed + rejected`. A sample that cannot be packed is still listed,
with the reason: in `SourceImage.rejection` if the reason is known before its image is read, else as the message of the
ImageError that `fetch` raises. Such a message continues a sentence that begins with the sample, as in "is not a regular
file". SourceError is for a source that cannot be packed as a whole: its message begins with the path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from kseq.errors import ImageError, image_error_prefix
from kseq.sources.file_reading import read_file
from kseq.storage.fields import IMAGE, LABEL, Field
from kseq.storage.rejected import with_remedy

__all__ = ["SPLITS", "FileSource", "Source", "SourceImage", "describe_first"]

# What people call splits, in lower case, and what kseq calls them.
SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}


class SourceImage(NamedTuple):
    """One sample that was found, or that a table names. A tuple, since there may be millions.

    Attributes:
        path: The name of the sample, as bytes: for an image file its path below the root of the source, with `/` between
            folders, or its absolute path.
        label: The class number; -1 for no label.
        split: `"train"`, `"val"` or `"test"`; None if the source does not say.
        num_bytes: The size of the image files, in bytes; for a range of a larger file, the size of that.
        rejection: Why the sample cannot be packed, if that is known before its image is read; else None.
        group: Samples with the same group go into the same split; None for no group.
        values: One entry for each field of the source after the first image and the label: the value, or for another image or a
            mask its location.
        location: Where `Source.fetch` finds the first image; None if that is `path`.
    """

    path: bytes
    label: int
    split: str | None
    num_bytes: int
    rejection: str | None = None
    group: str | None = None
    values: tuple[Any, ...] = ()
    location: Any = None


Self = TypeVar("Self", bound="Source")


@dataclass(frozen=True)
class Source:
    """Samples in the order in which they are packed; any process can read each of them on its own.

    Attributes:
        root: The folder or file, for messages.
        class_names: The name of the class of each label number.
        images: All samples that were found, those that are rejected too.
        fields: What each sample holds. The first field is an image; the second is the label, if there is one. How images are
            stored is decided when they are packed: here image fields are like `kseq.storage.fields.IMAGE`.
    """

    root: str
    class_names: tuple[str, ...]
    images: list[SourceImage] = field(repr=False)
    fields: tuple[Field, ...] = (IMAGE, LABEL)

    def select(self: Self, images: Sequence[SourceImage]) -> Self:
        """A source of some of the samples, for a process that needs no others."""
        return replace(self, class_names=(), images=list(images))

    def read(self, image: SourceImage) -> dict[str, Any]:
        """The values of one sample, in the form that `kseq.packing.encode.encode_sample` takes.

        Returns:
            Field name to value: the bytes of an image file, pixels, or an array.

        Raises:
            ImageError: If the sample is rejected, or cannot be read.
        """
        if image.rejection is not None:
            raise ImageError(image.rejection)
        first, *others = self.fields
        values = {first.name: self.fetch(image.path if image.location is None else image.location)}
        if others and others[0].is_label:
            values[others.pop(0).name] = np.array(image.label, np.int32)
        for other, value in zip(others, image.values, strict=True):
            with image_error_prefix(f"its {other.name}"):
                values[other.name] = self.fetch(value) if other.is_pixels else value
        return values

    def shared_files(self) -> Sequence[str]:
        """The files that hold many samples each: if one is written again, an unfinished packing does not go on.

        The default is `root`; a source of several such files, or of none, says so.
        """
        return (self.root,)

    def fetch(self, location: Any) -> bytes | np.ndarray:
        """The bytes of one image file, or pixels: `(height, width)` or `(height, width, channels)` uint8.

        Args:
            location: `SourceImage.location`, or `SourceImage.path` where that is None; for another image or a mask the entry of
                `SourceImage.values`.

        Raises:
            ImageError: If the image cannot be read.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class FileSource(Source):
    """Image files below the folder `root`; the location of an image is its path."""

    def shared_files(self) -> Sequence[str]:
        return ()

    def fetch(self, location: bytes) -> bytes:
        """The bytes of one image file.

        Raises:
            ImageError: If the file cannot be read, or is no regular file, such as a pipe, which might never end.
        """
        return read_file(os.path.join(os.fsencode(self.root), location))


def describe_first(images: Sequence[SourceImage]) -> str:
    """The first of some rejected samples in parentheses, with the reason, for messages; empty if there are no samples."""
    if not images:
        return ""
    return f" (first: {os.fsdecode(images[0].path)}: {with_remedy(images[0].rejection or '')})"
