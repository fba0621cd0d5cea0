"""WebDataset: tar files in which the files of a sample share a key, read in place.

The rules:

- A key is the path up to the first dot of the file's name; what follows is the column, in lower case (`a/0001.seg.png`: key
  `a/0001`, column `seg.png`). The files of a sample lie next to each other. A file without a key (a name that begins with a
  dot) is left alone.
- The image is the first of jpg, jpeg, png, webp, bmp, gif, tif and tiff that a sample has, or what `--image` says: a column,
  or where none is called so, one without such an end (`left` for `left.jpg` and `left.png`); so it is with masks.
- The label is the column `cls`, a number or a name; or else the folder that the key lies in.
- A column `json.NAME` is what the sample's json file has under that name.
- A file's name, or its folder's, says the split: `train-000000.tar`, `photos-val-000000.tar`, `test/000000.tar`.
- A sample is called FILE/KEY. One that lacks its image, has a column twice, has a link (which is not followed) or a json file
  that is none is listed, as is a tar among others that cannot be read at all.
- Of a tar that is cut off, or has a broken header, the whole samples before that are packed, and the rest is listed as one. So
  it is where something follows after the end mark, as in tars that were joined, or where there is no end mark.
- Compressed tars cannot be read in place, and are refused. A tar has no checksums of what is in it: whether an image is whole,
  decoding it tells.

Source: the WebDataset format, github.com/webdataset/webdataset; for the blocks of a tar, POSIX.1-2017, "pax", ustar
Interchange Format.
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
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.assemble import Record, draft_samples
from kseq.sources.base import Source, read_piece
from kseq.sources.cell_types import Refused
from kseq.sources.column_roles import Columns
from kseq.sources.file_sets import SourceFile, compression, find_files, read_files, split_of

__all__ = ["TARS", "WebDatasetSource"]

# What their names end with; compressed ones are told what to do.
TARS = r"\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2|txz)"

# What stands for the first of the usual images; no file has this as its column.
_ANY_IMAGE, _FOLDER = "(image)", "(folder)"
_IMAGES = tuple(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
_PIECE_BYTES = 1 << 20


class _Member(NamedTuple):
    """A file in a tar: its key and column, where its bytes begin, and how many they are; or why they cannot be read."""

    key: str
    column: str
    offset: int
    size: int
    refused: str | None = None


class _Sample(NamedTuple):
    """The files of a sample, by column; or, instead of them, why there are none."""

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
        files = find_files(path, TARS, "tar files")
        read = read_files(path, files, lambda number, file: list(_samples(number, file.path)))
        samples = [sample for _, each in read if not isinstance(each, Refused) for sample in each]
        if not samples:
            raise SourceError(f"{path}: holds no sample, expected are files such as 0001.jpg and 0001.cls")
        reader = _Reader([file.path for file in files])
        found = columns.find(path, _names(samples, columns, reader), {"image": (_ANY_IMAGE,), "label": ("cls", _FOLDER)})
        asked = found.others
        records: list[Record] = []
        rows: list[list[Any]] = []
        for file, each in read:
            if isinstance(each, Refused):
                records.append(Record.of_file(file.name, each, len(found.pixels)))
                rows.append([None] * len(asked))
                continue
            for sample in each:
                row, refused = _row(reader, sample, asked)
                records.append(_record(sample, file, found.pixels, refused))
                rows.append(row)
        cells = {name: [row[place] for row in rows] for place, name in enumerate(asked)}
        draft = draft_samples(path, found, cells, records, class_names)
        return cls(path, draft.class_names, draft.images, draft.fields, tuple(file.path for file in files))

    def fetch(self, place: tuple[int, int, int]) -> bytes:
        """The bytes of the image at a place."""
        number, offset, size = place
        return read_piece(self.files[number], offset, size)


def _samples(number: int, path: str) -> Iterator[_Sample]:
    for key, group in groupby(_members(path), key=lambda each: each.key):
        found: dict[str, tuple[int, int, int]] = {}
        refused = None
        for each in group:
            twice = f"has {each.column!r} twice" if each.column in found else None
            refused = refused or each.refused or twice
            found[each.column] = number, each.offset, each.size
        yield _Sample(number, key, found, refused)


def _members(path: str) -> Iterator[_Member]:
    """The files of a tar; where it breaks off, one that says so."""
    last = ""
    try:
        num_bytes = os.path.getsize(path)
        # Without "r:", a compressed tar would be unpacked on the way, and its offsets be of no use.
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                # Or they would all be kept, two kilobytes each.
                getattr(tar, "members", []).clear()
                folders = [each for each in member.name.split("/") if each not in ("", ".")]
                stem, _, column = folders.pop().partition(".") if folders else ("", "", "")
                if not stem or not (member.isfile() or member.islnk() or member.issym()):
                    continue
                last = "/".join([*folders, stem])
                is_whole = member.offset_data + member.size <= num_bytes
                yield _Member(last, column.lower(), member.offset_data, member.size, _refused(member, is_whole))
                if not is_whole:
                    return
            broken = _after_last(path, tar.offset)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        if not last:
            raise SourceError(f"{path}: {_no_tar(path, error)}") from error
        broken = "has a broken header"
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    if broken:
        yield _Member(f"(after {last})", "", 0, 0, f"the tar {broken} here: what comes after is lost")


def _refused(member: tarfile.TarInfo, is_whole: bool) -> str | None:
    if not member.isfile():
        return f"is a link to {member.linkname}, links in a tar are not followed"
    if member.issparse():
        return "is stored with holes (a sparse file), which cannot be read in place"
    return None if is_whole else "the tar is cut off here, or damaged"


def _after_last(path: str, offset: int) -> str | None:
    """What is wrong where a tar should end: with two blocks of zeros, and nothing but zeros behind them."""
    with open(path, "rb") as file:
        file.seek(offset)
        if len(start := file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            return "has no end mark: it may be cut off"
        if any(start):
            return "has a broken header"
        while piece := file.read(_PIECE_BYTES):
            if any(piece):
                return "goes on after an end mark (of tars that were joined, say)"
    return None


def _no_tar(path: str, error: Exception) -> str:
    with open(path, "rb") as file:
        command = compression(file.read(8))
    if command:
        return f"is compressed, expected is a tar that can be read in place: decompress it first ({command} {path})"
    return f"is not a tar file that can be read in place: {error}"


def _names(samples: Sequence[_Sample], columns: Columns, reader: _Reader) -> list[str]:
    """All columns that there are."""
    whole = [sample for sample in samples if not sample.refused]
    names = dict.fromkeys(column for sample in whole for column in sample.members)
    asked = [name for _, name in columns.named()]
    if any(name.startswith("json.") for name in asked):
        names |= dict.fromkeys(f"json.{name}" for sample in whole for name in reader.json(sample) or ())
    for name, of in ((_ANY_IMAGE, ""), *((name, f"{name}.") for name in columns.pixels)):
        if any(_image(sample, of) for sample in whole):
            names[name] = None
    if whole and all("/" in sample.key for sample in whole):
        names[_FOLDER] = None
    return list(names)


def _image(sample: _Sample, of: str = "") -> tuple[int, int, int] | None:
    """The first of the usual images, among the columns that begin with `of`."""
    return next((sample.members[f"{of}{name}"] for name in _IMAGES if f"{of}{name}" in sample.members), None)


def _place(sample: _Sample, column: str) -> tuple[int, int, int] | None:
    """Where the image is that a column means."""
    if column == _ANY_IMAGE:
        return _image(sample)
    return sample.members.get(column) or _image(sample, f"{column}.")


def _row(reader: _Reader, sample: _Sample, columns: Sequence[str]) -> tuple[list[Any], str | None]:
    """The cells of a sample, and why it cannot be packed."""
    if sample.refused:
        return [None] * len(columns), sample.refused
    try:
        return [reader.cell(sample, name) for name in columns], None
    except ImageError as error:
        return [None] * len(columns), str(error)


def _record(sample: _Sample, file: SourceFile, pixels: Sequence[str], refused: str | None) -> Record:
    places = [_place(sample, column) for column in pixels]
    missing = [column for column, place in zip(pixels, places, strict=True) if place is None]
    refused = refused or (f"has no {missing[0].strip('()')}" if missing else None)
    num_bytes = sum(place[2] for place in places if place is not None)
    return Record(os.fsencode(f"{file.name}/{sample.key}"), tuple(places), num_bytes, split_of(file.name), refused)


class _Reader:
    """Reads what is small: labels, texts, json."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files

    def cell(self, sample: _Sample, column: str) -> Any:
        """The text of a column, or what its json has.

        Raises:
            ImageError: Where it cannot be read.
        """
        if column == _FOLDER:
            return sample.key.split("/")[-2] if "/" in sample.key else None
        if not column.startswith("json."):
            return self._text(sample, column)
        found = self.json(sample)
        if found is None:
            raise ImageError("has a json file that is not JSON, or no object in braces")
        return found.get(column[5:])

    def json(self, sample: _Sample) -> dict[str, Any] | None:
        """What the json file of a sample holds, nothing where it has none; None where it cannot be told."""
        try:
            text = self._text(sample, "json")
            found = json.loads(text) if text is not None else {}
        except (ImageError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def _text(self, sample: _Sample, column: str) -> str | None:
        if column not in sample.members:
            return None
        number, offset, size = sample.members[column]
        return read_piece(self._files[number], offset, size).decode(errors="surrogateescape").strip()
