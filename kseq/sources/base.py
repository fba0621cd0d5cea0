"""The base class of all sources: which samples there are, and how each of them is read.

To add a format (LMDB, say), write one module beside this one, and list its format in `kseq/sources/formats.py`. It holds

1. the rules of the format, at its top: what is an image, a label, a split; what is rejected;
2. a subclass of `Source`, a frozen dataclass, with a method `fetch(location)` that returns the bytes of one image file, or its
   pixels. Worker processes get the source by pickling, so it holds paths and numbers, never open files: `fetch` opens what it
   needs (a function with `kept_open` keeps it open for the next call, in each process for itself). If the samples do not lie
   in the one file `root`, `shared_files` names their files, so that resuming notices a file that was written again;
3. a function that opens a path as such a source, given a `SourceRequest`: it lists every sample, in the order in which samples
   are packed, without reading images: `ImageTable.of` makes a table of an iterable of `SourceImage`. Where samples have
   columns, `assemble_samples` turns the cells into fields, labels, splits and groups by the same rules for all formats. There
   may be millions of samples: keep what is known of each in a `SpooledColumn`, not in a list;
4. a `SourceFormat`: the name of the format, how it is recognised, and that function.

Everything that is found is packed or rejected: `found = packed + rejected`. A sample that cannot be packed is still listed,
with the reason: in `SourceImage.rejection` if the reason is known before its image is read, else as the message of the
ImageError that `fetch` raises. Such a message continues a sentence that begins with the sample, as in "is not a regular
file". SourceError is for a source that cannot be packed as a whole: its message begins with the path.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from kseq.arguments import is_url
from kseq.errors import ImageError, image_error_prefix
from kseq.sources.archive_members import read_member
from kseq.sources.file_reading import file_stamp, read_file
from kseq.sources.image_table import ImageTable, SourceImage
from kseq.sources.url_files import fetch_image, file_url, reading_ahead
from kseq.storage.checksums import checksum
from kseq.storage.fields import IMAGE, LABEL, Field
from kseq.storage.rejected import with_remedy

__all__ = ["FileSource", "ImageTable", "Source", "SourceImage", "common_size", "describe_first"]


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
        box_facts: What is counted of boxes before any image is read, by the names in `kseq.storage.box_counts`.
        notes: What was guessed, left out or ignored, a line each; the report of the packing shows them.
    """

    root: str
    class_names: tuple[str, ...]
    images: ImageTable = field(repr=False)
    fields: tuple[Field, ...] = (IMAGE, LABEL)
    box_facts: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def place(self) -> str:
        """What messages call the source: the folder or the file that it is."""
        return self.root

    def without_images(self: Self) -> Self:
        """The source without its samples, for a process that gets these in another way; it still reads them."""
        return replace(self, class_names=(), images=ImageTable.of([]))

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

        The default is `root`; a source of several such files, or of none, says so. With none, `stamp` tells whether an image
        was written again.
        """
        return (self.root,)

    def image_size(self) -> tuple[int, int] | None:
        """The height and width that all images have, in pixels; None where they differ, or files would have to be opened."""
        return None

    def stamp(self, location: Any) -> int:
        """A number in [0, 2**64) that differs if an image was written again, for a source without `shared_files`.

        Args:
            location: As in `fetch`.
        """
        return 0

    def image_stamps(self) -> np.ndarray:
        """`(n,)` uint64: for each sample one number of the stamps of all its images; 0 where `shared_files` have the images."""
        stamps = np.zeros(len(self.images), np.uint64)
        if self.shared_files():
            return stamps
        others = [other for other in self.fields[1:] if not other.is_label]
        positions = [position for position, other in enumerate(others) if other.is_pixels]
        rows = zip(self.images.paths, self.images.locations, self.images.value_rows, strict=True)
        for number, (path, location, values) in enumerate(rows):
            first = self.stamp(path if location is None else location)
            if positions:
                all_stamps = [first, *(self.stamp(values[position]) for position in positions)]
                first = checksum(np.array(all_stamps, np.uint64))
            stamps[number] = first
        return stamps

    def reading_ahead(self, images: Iterable[SourceImage]) -> Iterator[SourceImage]:
        """Gives the samples of a shard one by one. A source may prepare those that follow meanwhile."""
        return iter(images)

    def foresee_rejection(self, image: SourceImage) -> str | None:
        """Why a sample will be rejected, as far as a dry run can tell.

        Args:
            image: A sample that is rejected already, or whose size is 0.
        """
        return image.rejection

    def where_is(self, path: bytes) -> str | None:
        """Where a file lies that is not at the path that the source gives; None if that is not known.

        Asked when no image of the source can be packed, to name the way out.
        """
        return None

    def fetch(self, location: Any) -> bytes | np.ndarray:
        """The bytes of one image file, or pixels: `(height, width)` or `(height, width, channels)` uint8, or other numbers.

        Args:
            location: `SourceImage.location`, or `SourceImage.path` where that is None; for another image or a mask the entry of
                `SourceImage.values`.

        Raises:
            ImageError: If the image cannot be read.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class FileSource(Source):
    """Image files below `root`, a folder or a URL; the location of an image is its path, or a URL.

    Attributes:
        storage_options: What fsspec's file systems are made with, for images at URLs.
        archive: The zip or tar that the files lie in; None if they lie in none. `root` is the path in it then.
        archive_file: That, or the compressed file that it was unpacked from.
        outline: Of a folder at a URL, the folder of this machine that has a file for each of its files, see
            `kseq.sources.outline`; None for any other.
    """

    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    outline: str | None = None
    archive: str | None = None
    archive_file: str | None = None

    @property
    def place(self) -> str:
        return self.root if self.archive is None else self.archive

    def shared_files(self) -> Sequence[str]:
        return () if self.archive_file is None else (self.archive_file,)

    def stamp(self, location: bytes) -> int:
        """When the file was written last, in nanoseconds; of a file at a URL a number that stands for that, 0 if it is not
        known."""
        return file_stamp(os.path.join(os.fsencode(self.outline or self.root), location))[1] % (1 << 64)

    def reading_ahead(self, images: Iterable[SourceImage]) -> Iterator[SourceImage]:
        """Gives images one by one, while those at URLs that follow are read: one after the other, they would take too long."""
        return reading_ahead(images, self._urls, self.storage_options)

    def _urls(self, image: SourceImage) -> dict[str, int]:
        """The URLs of the files of a sample, as far as they lie at URLs, and the size of each, 0 if it is not known."""
        if image.rejection is not None:
            return {}
        locations = [image.path if image.location is None else image.location]
        if image.values:
            others = (other for other in self.fields[1:] if not other.is_label)
            locations += [value for other, value in zip(others, image.values, strict=False) if other.is_pixels]
        # This is asked of every image.
        if not (is_url(self.root) or any(map(is_url, locations))):
            return {}
        # Of several, only the sum is known.
        num_bytes = image.num_bytes if len(locations) == 1 else 0
        urls = {}
        for location in locations:
            with suppress(ImageError):
                if (url := file_url(self.root, os.fsdecode(location))) is not None:
                    urls[url] = num_bytes
        return urls

    def foresee_rejection(self, image: SourceImage) -> str | None:
        """A file of unknown size is read, since it may be missing."""
        if image.rejection is None and image.num_bytes == 0:
            try:
                self.read(image)
            except ImageError as error:
                return str(error)
        return image.rejection

    def fetch(self, location: bytes) -> bytes:
        """The bytes of one image file.

        Raises:
            ImageError: If the file cannot be read, or is no regular file, such as a pipe, which might never end.
            ReadError: If the file system behind a URL cannot be reached.
        """
        if self.archive is not None:
            return read_member(self.archive, posixpath.normpath(posixpath.join(self.root, os.fsdecode(location))))
        may_be_url = is_url(self.root) or is_url(location)
        url = file_url(self.root, os.fsdecode(location)) if may_be_url else None
        if url is not None:
            return fetch_image(url, self.storage_options)
        return read_file(os.path.join(os.fsencode(self.root), location))


def common_size(sizes: Iterable[Sequence[int]]) -> tuple[int, int] | None:
    """The height and width that some images have in common; None if they differ, or there are none.

    Args:
        sizes: Of each image the height, the width, and what may follow.
    """
    found = {tuple(size[:2]) for size in sizes}
    height, width = found.pop() if len(found) == 1 else (0, 0)
    return (height, width) if height and width else None


def describe_first(images: Iterable[SourceImage]) -> str:
    """The first of some rejected samples in parentheses, with the reason, for messages; empty if there are no samples."""
    first = next(iter(images), None)
    return "" if first is None else f" (first: {os.fsdecode(first.path)}: {with_remedy(first.rejection or '')})"
