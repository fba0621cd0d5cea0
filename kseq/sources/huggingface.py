"""Images in Parquet or Arrow files, as Hugging Face's datasets writes them: each a struct of its bytes and its path.

The rules:

- The files are Parquet, or a folder that `datasets.save_to_disk` wrote (Arrow). Their names say the split
  (`train-00000-of-00002.parquet`), or their folders (`train/data-00000-of-00001.arrow`). Where a folder's `state.json` names
  its files, others in it (`cache-....arrow`, which `map` leaves there) are left alone.
- An image without bytes is the file at its path, relative to the folder of the files.
- Where the files say the names of a class label (`ClassLabel`), these are the classes, in their order. Of several files each
  number has the name that its own file says, and the names that only later files have come after those of the first. Where some
  files say names and others do not, their numbers cannot be told, and all are refused.
- Which columns there are, the first file that can be read tells. One among others that lacks them, or that cannot be read, is
  listed as a whole. In a file that can be opened, images that cannot be read are listed one by one.
- A sample is called FILE/ROW, with the row counted from 0.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kseq.errors import ArgumentError, ImageError, NotAnImageError, SourceError
from kseq.images.formats import read_header
from kseq.sources.assemble import Record, draft_samples
from kseq.sources.base import Source, read_file
from kseq.sources.cell_types import Refused
from kseq.sources.column_roles import USUAL, Columns
from kseq.sources.file_sets import SourceFile, find_files, read_files, split_of, stamp

__all__ = ["HuggingFaceSource"]

_USUAL = {"image": ("image", "img", "jpg", *USUAL["image"]), "label": ("label", "labels", "fine_label", *USUAL["label"])}
_MARKS = ("dataset_info.json", "dataset_dict.json")

_STATE = "state.json"
_ENDS = r"\.(parquet|pq|arrow)"

# A row group can hold hundreds of megabytes of images: this many are kept for the rows that come next.
_KEPT_PARTS = 2


@dataclass(frozen=True)
class HuggingFaceSource(Source):
    """The rows of such files; the place of an image is file, part, row and column. A part is a row group, or a record batch.

    Attributes:
        files: Their paths.
    """

    files: tuple[str, ...] = ()

    @staticmethod
    def is_at(path: str) -> bool:
        """Whether a folder was written by `datasets.save_to_disk`."""
        return any(os.path.isfile(os.path.join(path, name)) for name in _MARKS)

    @staticmethod
    def has_images(path: str, columns: Columns) -> bool:
        """Whether the images of a Parquet file are in it, not only their paths, which may be bytes too: the first row tells."""
        schema = _open(path).schema
        found = columns.image or tuple(name for name in _USUAL["image"] if name in schema.names)[:1]
        return any(_is_image(schema, name) and not _holds_path(path, schema, name) for name in found)

    @classmethod
    def load(cls, path: str, columns: Columns, class_names: Sequence[str] | None = None) -> HuggingFaceSource:
        """Read all but the images.

        Args:
            path: A file, a folder of them, or a pattern.
            columns: Which say what.
            class_names: All classes, in the order of their numbers; None for those that the files name, or that are found.

        Raises:
            SourceError: Where the files cannot be read, or have no images.
        """
        files = _without_left_over(path, find_files(path, _ENDS, "Parquet or Arrow files"))
        columns = columns.find(path, _first_names(path, files), _USUAL)
        read = read_files(path, files, lambda number, file: _read(number, file, columns))
        named = _join_names(path, read)
        cells: dict[str, list[Any]] = {name: [] for name in columns.others}
        records: list[Record] = []
        for file, each in read:
            if isinstance(each, Refused):
                each = _Rows(
                    {name: [None] for name in columns.others}, [Record.of_file(file.name, each, len(columns.pixels))], None
                )
            records += each.records
            for name in columns.others:
                cells[name] += each.cells[name]
        draft = draft_samples(path, columns, cells, records, named if class_names is None else class_names)
        return cls(path, draft.class_names, draft.images, draft.fields, tuple(file.path for file in files))

    def fetch(self, place: tuple[int, int, int, str]) -> bytes:
        """The bytes of the image at a place.

        Raises:
            ImageError: Where there are none.
        """
        number, part, row, column = place
        cell = _images(self.files[number], part, column)[row].as_py()
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        if data is not None:
            return bytes(data)
        if not path or "\0" in path:
            raise ImageError("has neither bytes nor a path")
        return read_file(os.path.join(os.path.dirname(self.files[number]), path))


class _Rows(NamedTuple):
    """What a file holds: cells by column, a record for each row, and the class names that it says."""

    cells: dict[str, list[Any]]
    records: list[Record]
    names: list[str] | None


class _Parts:
    """A Parquet or Arrow file, whose rows come in parts.

    Attributes:
        schema: pyarrow's.
        num_rows: Of each part.
        num_bytes: About how large a row is.
    """

    def __init__(self, path: str) -> None:
        self._file: Any = None
        self._batches: list[Any] = []
        if path.endswith(".arrow"):
            self.schema, self._batches = _arrow_batches(path)
            self.num_rows = [batch.num_rows for batch in self._batches]
        else:
            self._file = _arrow().parquet.ParquetFile(path)
            self.schema = self._file.schema_arrow
            self.num_rows = [self._file.metadata.row_group(part).num_rows for part in range(self._file.num_row_groups)]
        # Names are decoded when they are asked for: broken ones are found here, where a file is opened.
        str(self.schema)
        self.num_bytes = os.path.getsize(path) // max(sum(self.num_rows), 1)

    def read(self, part: int, columns: Sequence[str]) -> Any:
        """A table of some columns of a part."""
        if self._file is not None:
            found = self._file.read_row_group(part, columns=list(columns))
        else:
            found = _arrow().Table.from_batches([self._batches[part]]).select(list(columns))
        # Arrow has no checksums, and believes offsets: wrong ones would end the process.
        found.validate(full=True)
        return found


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ArgumentError("Parquet and Arrow files need pyarrow: pip install 'kseq[parquet]'") from error
    return pyarrow


def _arrow_batches(path: str) -> tuple[Any, list[Any]]:
    """The schema and the record batches of a file as `datasets` writes it, mapped."""
    with _arrow().memory_map(path) as file:
        stream = _arrow().ipc.open_stream(file)
        return stream.schema, list(stream)


@functools.lru_cache(maxsize=16)
def _open_once(path: str, known: tuple[int, ...]) -> _Parts:
    return _Parts(path)


def _open(path: str) -> _Parts:
    """A file, kept open in this process for as long as it is the same.

    Raises:
        SourceError: Where it cannot be read.
    """
    pyarrow = _arrow()
    try:
        return _open_once(path, stamp(path))
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: is not a Parquet or Arrow file that can be read: {_line(error)}") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {_line(error)}") from error


@functools.lru_cache(maxsize=_KEPT_PARTS)
def _read_images(path: str, known: tuple[int, ...], part: int, column: str) -> Any:
    return _open(path).read(part, [column]).column(column)


def _images(path: str, part: int, column: str) -> Any:
    """A column of images, kept for the next: workers go through a part row by row."""
    try:
        return _read_images(path, stamp(path), part, column)
    except (_arrow().ArrowException, OSError, SourceError, UnicodeDecodeError) as error:
        raise ImageError(f"cannot be read: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _holds_path(path: str, schema: Any, name: str) -> bool:
    if _arrow().types.is_struct(schema.field(name).type) or not sum(_open(path).num_rows):
        return False
    try:
        read_header(_images(path, 0, name)[0].as_py() or b"")
    except NotAnImageError:
        return True
    except ImageError:
        return False
    return False


def _is_image(schema: Any, name: str) -> bool:
    """Whether a column holds encoded images: bytes, or a struct with `bytes`."""
    types = _arrow().types
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    if types.is_struct(kind):
        return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
    found: bool = types.is_binary(kind) or types.is_large_binary(kind)
    return found


def _without_left_over(path: str, files: Sequence[SourceFile]) -> list[SourceFile]:
    """Of folders in which `datasets` wrote which files make up the data, only these.

    Raises:
        SourceError: Where one of them is not there.
    """
    present = {file.path for file in files}
    left_over: set[str] = set()
    for folder in dict.fromkeys(os.path.dirname(file.path) for file in files):
        wanted = _data_files(folder)
        missing = [name for name in wanted or () if not os.path.exists(os.path.join(folder, name))]
        if missing:
            raise SourceError(f"{path}: {folder}/{_STATE} names {missing[0]!r}, which is not there")
        if wanted is not None:
            left_over |= {each for each in present if os.path.dirname(each) == folder and os.path.basename(each) not in wanted}
    return [file for file in files if file.path not in left_over]


def _data_files(folder: str) -> list[str] | None:
    try:
        with open(os.path.join(folder, _STATE), encoding="utf-8") as file:
            return [each["filename"] for each in json.load(file)["_data_files"]] or None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _first_names(path: str, files: Sequence[SourceFile]) -> list[str]:
    """The columns of the first file that can be read."""
    schemas = [each for _, each in read_files(path, files, lambda _, file: _open(file.path).schema)]
    return next(list(each.names) for each in schemas if not isinstance(each, Refused))


def _read(number: int, file: SourceFile, columns: Columns) -> _Rows:
    """All of a file but its images.

    Raises:
        SourceError: Where it cannot be read, or lacks a column.
    """
    path, opened = file.path, _open(file.path)
    for name in [*columns.pixels, *columns.others]:
        if name not in opened.schema.names:
            raise SourceError(f"{path}: has no column {name!r}, its columns are {', '.join(opened.schema.names)}")
        if name in columns.pixels and not _is_image(opened.schema, name):
            raise SourceError(f"{path}: column {name!r} is {opened.schema.field(name).type}, expected are images, as bytes")
    cells: dict[str, list[Any]] = {name: [] for name in columns.others}
    try:
        for part in range(len(opened.num_rows) if cells else 0):
            table = opened.read(part, list(cells))
            for name, column in cells.items():
                column += table.column(name).to_pylist()
    except (_arrow().ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {_line(error)}") from error
    names = _class_names(opened.schema, columns.label)
    if names is not None and columns.label is not None:
        numbers = range(len(names))
        cells[columns.label] = [names[cell] if cell in numbers else cell for cell in cells[columns.label]]
    return _Rows(cells, list(_records(number, opened, file.name, columns.pixels)), names)


def _records(number: int, opened: _Parts, name: str, pixels: Sequence[str]) -> Iterator[Record]:
    split = split_of(name)
    total = 0
    for part, count in enumerate(opened.num_rows):
        for row in range(count):
            places = tuple((number, part, row, column) for column in pixels)
            yield Record(os.fsencode(f"{name}/{total}"), places, opened.num_bytes, split)
            total += 1


def _class_names(schema: Any, label: str | None) -> list[str] | None:
    """What `datasets` writes beside the schema of a class label; None where it says nothing."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _join_names(path: str, read: Sequence[tuple[SourceFile, _Rows | Refused]]) -> list[str] | None:
    """The classes of all files, in the order in which they come; None where no file names any.

    Raises:
        SourceError: Where some files do and others do not.
    """
    named = {file.name: each.names for file, each in read if not isinstance(each, Refused) and each.records}
    silent = next((name for name, names in named.items() if names is None), None)
    if silent is not None and any(names is not None for names in named.values()):
        telling = next(name for name, names in named.items() if names is not None)
        raise SourceError(
            f"{path}: {telling} says the names of its classes, {silent} does not: what its numbers mean cannot be told"
        )
    return (
        None if silent is not None or not named else list(dict.fromkeys(name for each in named.values() for name in each or ()))
    )
