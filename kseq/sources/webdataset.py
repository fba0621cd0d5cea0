"""WebDataset: tar files in which the files of a sample share a key, read in place.

The rules:

- A key is the path up to the first dot of the file's name; what follows is the column (`a/0001.seg.png`: key `a/0001`, column
  `seg.png`). The files of a sample lie next to each other. A file without a key (a name that begins with a dot) is left alone.
- The image is the first of jpg, jpeg, png, webp, bmp, gif, tif and tiff that a sample has, or what `--image` says.
- The label is the column `cls`, a number or a name; or else the folder that the key lies in.
- A column `json.NAME` is what the sample's json file has under that name.
- A file's name, or its folder's, says the split: `train-000000.tar`.
- A sample is called FILE/KEY. Of a tar that is cut off, the whole samples are packed, and the rest is listed.
- Compressed tars cannot be read in place, and are refused.

Source: the WebDataset format, github.com/webdataset/webdataset.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from kseq.errors import ImageError, SourceError
from kseq.sources.columns import Columns
from kseq.sources.drafts import Record, draft_samples
from kseq.sources.files import IMAGE_SUFFIXES, Source, read_piece
from kseq.sources.many import find_files, name_below, split_of

__all__ = ["WebDatasetSource"]

# What stands for the first of the usual images; no file has this as its column.
_ANY_IMAGE, _FOLDER = "(image)", "(folder)"
_JPEG_FIRST = sorted((suffix[1:] for suffix in IMAGE_SUFFIXES), key=lambda each: (each not in ("jpg", "jpeg", "png"), each))


class _Member(NamedTuple):
    """A file in a tar: its key and column, where its bytes begin, and how many they are."""

    key: str
    column: str
    offset: int
    size: int


class _Sample(NamedTuple):
    """The files of a sample; or, instead of them, why there are none."""

    file: int
    key: str
    members: dict[str, tuple[int, int, int]]
    refused: str | None = None


@dataclass(frozen=True)
class WebDatasetSource(Source):
    """The samples of such files, in their order; the place of an image is file, offset and size.

    Attributes:
        files: Their paths.
    """

    files: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str, columns: Columns, class_names: Sequence[str] | None = None) -> WebDatasetSource:
        """Find every file in the tars, and read labels.

        Args:
            path: A tar, a folder of them, or a pattern.
            columns: Which column says what.
            class_names: All classes, in the order of their numbers; None for those found.

        Raises:
            SourceError: Where the files are no tars, or no sample in them can be packed.
        """
        files = find_files(path, lambda name: name.endswith(".tar"), "tar files")
        samples = [sample for number, file in enumerate(files) for sample in _samples(number, file)]
        reader = _Reader(files)
        found = columns.find(path, _names(samples, columns, reader), {"image": (_ANY_IMAGE,), "label": ("cls", _FOLDER)})
        asked = [name for _, name in found.named() if name not in found.pixels]
        cells = {name: [reader.cell(sample, name) for sample in samples] for name in dict.fromkeys(asked)}
        records = [_record(sample, name_below(path, files[sample.file]), found.pixels) for sample in samples]
        draft = draft_samples(path, found, cells, records, class_names)
        return cls(path, draft.class_names, draft.images, draft.fields, tuple(files))

    def fetch(self, place: tuple[int, int, int]) -> bytes:
        """The bytes of the image at a place."""
        number, offset, size = place
        return read_piece(self.files[number], offset, size)


def _samples(number: int, path: str) -> Iterator[_Sample]:
    members = _members(path)
    for key, group in groupby(members, key=lambda each: each.key):
        found: dict[str, tuple[int, int, int]] = {}
        refused = None
        for each in group:
            if each.size < 0:
                refused = "the tar is cut off here, or damaged"
            found[each.column] = number, each.offset, each.size
        yield _Sample(number, key, found, refused)


def _members(path: str) -> Iterator[_Member]:
    """The files of a tar; one of size -1 where it breaks off."""
    num_bytes = os.path.getsize(path)
    last = ""
    try:
        # Without "r:", a compressed tar would be unpacked on the way, and its offsets be of no use.
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, _, column = name.partition(".")
                if not member.isfile() or not stem:
                    continue
                last = f"{folder}/{stem}" if folder else stem
                is_whole = member.offset_data + member.size <= num_bytes
                yield _Member(last, column.lower(), member.offset_data, member.size if is_whole else -1)
                if not is_whole:
                    return
    except tarfile.ReadError as error:
        if not last:
            raise SourceError(f"{path}: is not a tar file that can be read in place: {error}") from error
        yield _Member(f"(after {last})", "", 0, -1)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


def _names(samples: Sequence[_Sample], columns: Columns, reader: _Reader) -> list[str]:
    """All columns that there are."""
    names = dict.fromkeys(column for sample in samples for column in sample.members)
    asked = [name for _, name in columns.named()]
    if any(name.startswith("json.") for name in asked):
        names |= dict.fromkeys(f"json.{name}" for sample in samples for name in reader.json(sample))
    if any(_image(sample) for sample in samples):
        names[_ANY_IMAGE] = None
    if samples and all("/" in sample.key for sample in samples if not sample.refused):
        names[_FOLDER] = None
    return list(names)


def _image(sample: _Sample) -> tuple[int, int, int] | None:
    return next((sample.members[name] for name in _JPEG_FIRST if name in sample.members), None)


def _record(sample: _Sample, name: str, pixels: Sequence[str]) -> Record:
    places = [_image(sample) if column == _ANY_IMAGE else sample.members.get(column) for column in pixels]
    missing = [column for column, place in zip(pixels, places, strict=True) if place is None]
    refused = sample.refused or (f"has no {missing[0].strip('()')}" if missing else None)
    num_bytes = sum(place[2] for place in places if place is not None)
    return Record(os.fsencode(f"{name}/{sample.key}"), tuple(places), num_bytes, split_of(name), refused)


class _Reader:
    """Reads what is small: labels, texts, json."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files

    def cell(self, sample: _Sample, column: str) -> Any:
        """The text of a column, or what its json has."""
        if column == _FOLDER:
            return sample.key.split("/")[-2] if "/" in sample.key else None
        if column.startswith("json."):
            return self.json(sample).get(column[5:])
        return self._text(sample, column)

    def json(self, sample: _Sample) -> dict[str, Any]:
        text = self._text(sample, "json")
        try:
            found = json.loads(text) if text is not None else {}
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{self._files[sample.file]}: {sample.key}.json is not JSON: {error}") from error
        return found if isinstance(found, dict) else {}

    def _text(self, sample: _Sample, column: str) -> str | None:
        if sample.refused or column not in sample.members:
            return None
        number, offset, size = sample.members[column]
        try:
            return read_piece(self._files[number], offset, size).decode(errors="surrogateescape").strip()
        except ImageError as error:
            raise SourceError(f"{self._files[number]}: {error}") from error
