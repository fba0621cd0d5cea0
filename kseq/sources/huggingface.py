"""Images in Parquet or Arrow files, as Hugging Face's datasets writes them: each a struct of its bytes and its path.

The rules:

- The files are Parquet, or a folder that `datasets.save_to_disk` wrote (Arrow). Their names say the split
  (`train-00000-of-00002.parquet`), or their folders (`train/data-00000-of-00001.arrow`).
- An image without bytes is the file at its path, below the folder of the files.
- Where the files say the names of a class label (`ClassLabel`), these are the classes, in their order.
- A sample is called FILE/ROW, with the row counted from 0.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kseq.errors import ArgumentError, ImageError, NotAnImageError, SourceError
from kseq.images import read_header
from kseq.sources.columns import USUAL, Columns
from kseq.sources.drafts import Record, draft_samples
from kseq.sources.files import Source, read_file
from kseq.sources.many import find_files, name_below, split_of

__all__ = ["HuggingFaceSource"]

_USUAL = {"image": ("image", "img", "jpg", *USUAL["image"]), "label": ("label", "labels", "fine_label", *USUAL["label"])}
_MARKS = ("dataset_info.json", "dataset_dict.json")

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
        files = find_files(path, lambda name: name.endswith((".parquet", ".arrow")), "Parquet or Arrow files")
        schema = _open(files[0]).schema
        found = columns.find(path, schema.names, _USUAL)
        for name in found.pixels:
            if not _is_image(schema, name):
                raise SourceError(f"{files[0]}: column {name!r} is {schema.field(name).type}, expected are images, as bytes")
        asked = list(dict.fromkeys(name for _, name in found.named() if name not in found.pixels))
        cells: dict[str, list[Any]] = {name: [] for name in asked}
        records: list[Record] = []
        for number, file in enumerate(files):
            _read(file, asked, cells)
            records += _records(number, file, name_below(path, file), found.pixels)
        named = _name_labels(schema, found, cells)
        draft = draft_samples(path, found, cells, records, named if class_names is None else class_names)
        return cls(path, draft.class_names, draft.images, draft.fields, tuple(files))

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
        if not path:
            raise ImageError("has neither bytes nor a path")
        return read_file(os.path.join(os.path.dirname(self.files[number]), path))


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
            self._batches = _arrow_batches(path)
            self.schema = self._batches[0].schema
            self.num_rows = [batch.num_rows for batch in self._batches]
        else:
            self._file = _arrow().parquet.ParquetFile(path)
            self.schema = self._file.schema_arrow
            self.num_rows = [self._file.metadata.row_group(part).num_rows for part in range(self._file.num_row_groups)]
        self.num_bytes = os.path.getsize(path) // max(sum(self.num_rows), 1)

    def read(self, part: int, columns: Sequence[str]) -> Any:
        """A table of some columns of a part; of a struct, a column may be one of its fields (`image.path`)."""
        if self._file is not None:
            return self._file.read_row_group(part, columns=list(columns))
        return _arrow().Table.from_batches([self._batches[part]]).select(list(columns))


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ArgumentError("Parquet and Arrow files need pyarrow: pip install 'kseq[parquet]'") from error
    return pyarrow


def _arrow_batches(path: str) -> list[Any]:
    """The record batches of a file as `datasets` writes it, mapped."""
    with _arrow().memory_map(path) as file:
        return list(_arrow().ipc.open_stream(file))


@functools.lru_cache(maxsize=16)
def _open_once(path: str) -> _Parts:
    return _Parts(path)


def _open(path: str) -> _Parts:
    """A file, kept open in this process.

    Raises:
        SourceError: Where it cannot be read.
    """
    pyarrow = _arrow()
    try:
        return _open_once(path)
    except pyarrow.ArrowException as error:
        raise SourceError(f"{path}: is not a Parquet or Arrow file that can be read: {error}") from error
    except (OSError, IndexError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


@functools.lru_cache(maxsize=_KEPT_PARTS)
def _images(path: str, part: int, column: str) -> Any:
    """A column of images; workers go through a part row by row."""
    try:
        return _open(path).read(part, [column]).column(column)
    except (_arrow().ArrowException, OSError, SourceError) as error:
        raise ImageError(f"cannot be read: {' '.join(str(error).split())}") from error


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


def _read(path: str, asked: Sequence[str], cells: dict[str, list[Any]]) -> None:
    """Add the cells of a file."""
    file = _open(path)
    missing = [name for name in asked if name not in file.schema.names]
    if missing:
        raise SourceError(f"{path}: has no column {missing[0]!r}, its columns are {', '.join(file.schema.names)}")
    try:
        for part in range(len(file.num_rows) if asked else 0):
            table = file.read(part, asked)
            for name in asked:
                cells[name] += table.column(name).to_pylist()
    except (_arrow().ArrowException, OSError) as error:
        raise SourceError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def _records(number: int, path: str, name: str, pixels: Sequence[str]) -> Iterator[Record]:
    file = _open(path)
    split = split_of(name)
    total = 0
    for part, count in enumerate(file.num_rows):
        for row in range(count):
            places = tuple((number, part, row, column) for column in pixels)
            yield Record(os.fsencode(f"{name}/{total}"), places, file.num_bytes, split)
            total += 1


def _name_labels(schema: Any, columns: Columns, cells: dict[str, list[Any]]) -> list[str] | None:
    """Class names from what `datasets` writes beside the schema; labels become these names. None where it says nothing."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names: list[str] = features[columns.label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    if columns.label is not None:
        numbers = range(len(names))
        cells[columns.label] = [names[cell] if cell in numbers else cell for cell in cells[columns.label]]
    return names
