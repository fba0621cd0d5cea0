"""A table of images: CSV, JSON Lines or Parquet, with a column of paths and a column of classes.

The rules for a row that is not as the others; such a row is refused, and listed with the reason:

- A label that is empty, null or NaN (in a CSV also the word) is none.
- A label that is not among the class names that were asked for is unknown.
- A path that an earlier row has already is refused the second time, whatever its label: in two splits it would be a leak.
- A row without a path, or with one that is no text, is listed by its number. A label that is a list or an object is none.

Rows are counted from 1, the first below the names of the columns. Where every label is a whole number, classes are numbered in
the order of these numbers, else in the order of their names.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from kseq.errors import ArgumentError, SourceError
from kseq.sources.files import SPLITS, FileSource, SourceImage

__all__ = ["FORMATS", "Columns", "TableSource"]

# What the columns are called where nothing was said; the first that the table has.
_USUAL = {
    "image": ("image", "path", "file", "filename", "file_name", "filepath", "image_path", "image_file"),
    "label": ("label", "class", "class_name", "category"),
}
_DELIMITERS = ",;\t|"
_WHOLE = re.compile(r"-?\d{1,18}")
# What begins a file in UTF-16, which some spreadsheets write.
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# The cells of some columns, row by row.
_Rows = Callable[[Sequence[str]], Iterator[Sequence[Any]]]


@dataclass(frozen=True)
class Columns:
    """Which column of a table says what.

    Attributes:
        image: The path of the image; None for the first that is called `image`, `path`, `file`, `filename` or the like.
        label: Its class; None for the first that is called `label`, `class`, `class_name` or `category`.
        split: `train`, `val` (`validation`, `valid`) or `test`, in any case; an empty cell leaves it open. None for no column.
        group: Images with the same value, such as a patient, share a split; an empty cell is no group. None for no column.
    """

    image: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None

    def find(self, path: str, names: Sequence[str]) -> Columns:
        """The same with the columns that a table has.

        Raises:
            SourceError: Where it lacks one.
        """
        found: dict[str, str | None] = {}
        for each in fields(self):
            wanted = getattr(self, each.name)
            usual = _USUAL.get(each.name, ())
            found[each.name] = wanted if wanted is not None else next((name for name in usual if name in names), None)
            if wanted is not None and wanted not in names:
                raise SourceError(f"{path}: has no column {wanted!r}, its columns are {', '.join(names)}")
            if names.count(found[each.name]) > 1:
                raise SourceError(
                    f"{path}: has {names.count(found[each.name])} columns called {found[each.name]!r}, allowed is one"
                )
            if usual and found[each.name] is None:
                raise SourceError(
                    f"{path}: which column is the {each.name}? (--{each.name}) None is called {', '.join(usual)}; "
                    f"its columns are {', '.join(names)}"
                )
        return Columns(**found)


@dataclass(frozen=True)
class TableSource(FileSource):
    """The images that a table names, in the order of its rows."""

    @classmethod
    def load(
        cls,
        path: str,
        table_format: str,
        columns: Columns,
        root: str | None = None,
        class_names: Sequence[str] | None = None,
    ) -> TableSource:
        """Read a table.

        Args:
            path: The file.
            table_format: One of `FORMATS`.
            columns: Which column says what.
            root: The folder that paths are relative to; None for the table's own.
            class_names: All classes, in the order of their numbers; None for those found, in theirs.

        Raises:
            SourceError: Where the file cannot be read as such a table, lacks a column, or no row can be packed.
        """
        root = os.path.dirname(path) or "." if root is None else root
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is not a folder, expected is the one that the paths in {path} are relative to")
        try:
            names, rows = FORMATS[table_format](path)
            found = columns.find(path, names)
            chosen = [getattr(found, each.name) for each in fields(found)]
            cells = list(_fill(rows, chosen))
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise SourceError(f"{path}: is not UTF-8: {error}") from error
        labels = [_class_name(row[1]) for row in cells]
        classes = _sorted_names({label for label in labels if label is not None}) if class_names is None else class_names
        images = list(_images(path, root, cells, labels, classes))
        if all(image.refused for image in images):
            raise SourceError(f"{path}: none of its {len(images)} rows can be packed{_first_reason(images)}")
        return cls(root, tuple(classes), images)


def _fill(rows: _Rows, chosen: Sequence[str | None]) -> Iterator[tuple[Any, ...]]:
    """The cells of the chosen columns, None for those that are not."""
    asked = [name for name in chosen if name is not None]
    places = [asked.index(name) if name is not None else None for name in chosen]
    for row in rows(asked):
        yield tuple(None if place is None else row[place] for place in places)


def _images(
    path: str, root: str, cells: Iterable[tuple[Any, ...]], labels: Iterable[str | None], classes: Sequence[str]
) -> Iterator[SourceImage]:
    numbers = {name: number for number, name in enumerate(classes)}
    seen: dict[bytes, int] = {}
    for row, ((image, _, split, group), label) in enumerate(zip(cells, labels, strict=True), start=1):
        name = _path(image)
        refused = None
        if not name:
            refused = f"row {row} names no image"
        elif b"\0" in name:
            refused = f"row {row}: its path holds a zero byte, which no path does"
        elif name in seen:
            refused = f"row {row} names it again, after row {seen[name]}"
        elif label is None:
            refused = f"row {row} has no label"
        elif label not in numbers:
            refused = f"row {row} has the label {label!r}, which is not among the class names"
        seen.setdefault(name, row)
        yield SourceImage(
            name or b"(row %d)" % row,
            numbers.get(label, -1) if label is not None else -1,
            _split(path, row, split),
            0 if refused else _size(root, name),
            refused,
            None if _is_missing(group) else str(group),
        )


def _first_reason(images: Sequence[SourceImage]) -> str:
    return f" (first: {os.fsdecode(images[0].path)}: {images[0].refused})" if images else ""


def _path(value: Any) -> bytes:
    """Nothing where it is none, or no text."""
    try:
        return os.fsencode(value) if isinstance(value, (str, bytes)) else b""
    except UnicodeEncodeError:
        return b""


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _class_name(value: Any) -> str | None:
    if _is_missing(value) or isinstance(value, (list, dict)):
        return None
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    if not _path(text):
        return None
    return text if text and text.lower() != "nan" else None


def _sorted_names(names: set[str]) -> list[str]:
    return sorted(names, key=int) if all(_WHOLE.fullmatch(name) for name in names) else sorted(names)


def _split(path: str, row: int, value: Any) -> str | None:
    if _is_missing(value):
        return None
    found = SPLITS.get(str(value).strip().lower())
    if found is None:
        raise SourceError(f"{path}: row {row}: split {str(value)!r}, allowed are {', '.join(SPLITS)}")
    return found


def _size(root: str, name: bytes) -> int:
    try:
        return os.stat(os.path.join(os.fsencode(root), name)).st_size
    except (OSError, ValueError):
        # Reading it will fail, and tell why.
        return 0


def _open_csv(path: str) -> tuple[list[str], _Rows]:
    """A CSV with names in its first line, in UTF-8, or UTF-16 with its mark; its delimiter is what this line has most of."""
    with open(path, "rb") as binary:
        encoding = "utf-16" if binary.read(2) in _UTF16_MARKS else "utf-8-sig"
    # Names of files may be other bytes than UTF-8: they come out as they went in.
    opened = partial(open, path, encoding=encoding, errors="surrogateescape", newline="")
    with opened() as file:
        head = file.readline()
    if not head.strip():
        raise SourceError(f"{path}: is empty, expected is a first line with the names of the columns")
    delimiter = max(_DELIMITERS, key=head.count)

    def lines() -> Iterator[list[str]]:
        with opened() as file:
            yield from csv.reader(file, delimiter=delimiter, strict=True)

    def rows(asked: Sequence[str]) -> Iterator[Sequence[Any]]:
        places = [names.index(name) for name in asked]
        read = lines()
        next(read)
        for number, cells in enumerate((cells for cells in read if cells), start=1):
            if len(cells) != len(names):
                raise SourceError(f"{path}: row {number} has {len(cells)} cells, the first line names {len(names)} columns")
            yield [cells[place] for place in places]

    def checked(asked: Sequence[str]) -> Iterator[Sequence[Any]]:
        try:
            yield from rows(asked)
        except csv.Error as error:
            raise SourceError(f"{path}: is not a CSV that can be read: {error}") from error

    names = [name.strip() for name in next(lines())]
    return names, checked


def _open_jsonl(path: str) -> tuple[list[str], _Rows]:
    """JSON Lines: an object on each line; a name that a line lacks counts as null."""

    def objects() -> Iterator[dict[str, Any]]:
        with open(path, encoding="utf-8") as file:
            number = 0
            for line in file:
                if not line.strip():
                    continue
                number += 1
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise SourceError(f"{path}: row {number} is not JSON: {error}") from error
                if not isinstance(found, dict):
                    raise SourceError(f"{path}: row {number} is {line.strip()[:40]}, expected is an object in braces")
                yield found

    def rows(asked: Sequence[str]) -> Iterator[Sequence[Any]]:
        return ([each.get(name) for name in asked] for each in objects())

    try:
        return list(next(objects())), rows
    except StopIteration:
        raise SourceError(f"{path}: is empty, expected is an object on each line") from None


def _open_parquet(path: str) -> tuple[list[str], _Rows]:
    """Parquet, by pyarrow; only the columns that are asked for are read."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ArgumentError(f"{path}: a Parquet file needs pyarrow: pip install 'kseq[parquet]'") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise SourceError(f"{path}: is not a Parquet file that can be read: {error}") from error

    def rows(asked: Sequence[str]) -> Iterator[Sequence[Any]]:
        try:
            for batch in file.iter_batches(columns=list(dict.fromkeys(asked))):
                yield from zip(*(batch.column(name).to_pylist() for name in asked), strict=True)
        except pyarrow.ArrowException as error:
            raise SourceError(f"{path}: is not a Parquet file that can be read: {error}") from error

    return list(file.schema_arrow.names), rows


# What `TableSource.load` can read.
FORMATS: dict[str, Callable[[str], tuple[list[str], _Rows]]] = {
    "csv": _open_csv,
    "jsonl": _open_jsonl,
    "parquet": _open_parquet,
}
