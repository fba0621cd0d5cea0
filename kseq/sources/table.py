"""A table of images: CSV, JSON Lines or Parquet, with a column of paths and columns of what goes with them.

The rules for a row that is not as the others; such a row is refused, and listed with the reason:

- A label that is empty, null or NaN (in a CSV also the word) is none.
- A label that is not among the class names that were asked for is unknown.
- A path that an earlier row has already is refused the second time, whatever its label: in two splits it would be a leak. Where
  there are several images, that holds for all of them together.
- A row without a path, or with one that is no text, is listed by its number. A label that is a list or an object is none.

Rows are counted from 1, the first below the names of the columns. Where every label is a whole number, classes are numbered in
the order of these numbers, else in the order of their names. What other columns may hold is at the top of
`kseq/sources/cell_types.py`.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TextIO

from kseq.errors import ArgumentError, SourceError
from kseq.sources.assemble import Record, draft_samples
from kseq.sources.base import FileSource
from kseq.sources.column_roles import Columns
from kseq.sources.links import Links

__all__ = ["ENDS", "FORMATS", "Table", "TableSource", "table_format", "text_encoding"]

_DELIMITERS = ",;\t|"
# What begins a file in UTF-16, which some spreadsheets write.
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# Rows that are read at a time: enough that their number costs nothing, few enough that they fit into a cache.
_AT_ONCE = 10_000

# The cells of some columns, some rows at a time: for each column, those of these rows.
_Rows = Callable[[Sequence[str]], Iterator[Sequence[Sequence[Any]]]]


@dataclass(frozen=True)
class Table:
    """The cells of a table, by column.

    Attributes:
        path: The file.
        names: Of its columns, in their order.
    """

    path: str
    names: Sequence[str]
    _rows: _Rows

    @classmethod
    def open(cls, path: str, table_format: str) -> Table:
        """A table of one of `FORMATS`.

        Raises:
            SourceError: Where the file cannot be read as such a table.
        """
        with _reading(path):
            return cls(path, *FORMATS[table_format](path))

    def read(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        """The cells of some columns, from the first row to the last.

        Raises:
            SourceError: Where the file cannot be read as such a table.
        """
        cells: dict[str, list[Any]] = {name: [] for name in columns}
        with _reading(self.path):
            for some in self._rows(list(cells)):
                for column, more in zip(cells.values(), some, strict=True):
                    column += more
        return cells


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Says which file it is that cannot be read."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeError as error:
        raise SourceError(f"{path}: is not UTF-8: {error}") from error


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
        *,
        follow_links: bool = False,
    ) -> TableSource:
        """Read a table.

        Args:
            path: The file.
            table_format: One of `FORMATS`.
            columns: Which column says what.
            root: The folder that paths are relative to; None for the table's own.
            class_names: All classes, in the order of their numbers; None for those found, in theirs.
            follow_links: Follow links out of that folder.

        Raises:
            SourceError: Where the file cannot be read as such a table, lacks a column, or no row can be packed.
        """
        root = os.path.dirname(path) or "." if root is None else root
        if not os.path.isdir(root):
            raise SourceError(f"{root}: is not a folder, expected is the one that the paths in {path} are relative to")
        table = Table.open(path, table_format)
        found = columns.find(path, table.names)
        cells = table.read([name for _, name in found.named()])
        draft = draft_samples(path, found, cells, _records(Links(root, follow_links), found, cells), class_names)
        return cls(root, draft.class_names, draft.images, draft.fields)


def _records(links: Links, columns: Columns, cells: Mapping[str, Sequence[Any]]) -> Iterator[Record]:
    places = [_paths(cells[name]) for name in columns.pixels]
    are_paths = all(all(column) and not any(b"\0" in path for path in column) for column in places)
    # A mask may be named as often as a table likes.
    num_images = len(columns.image)
    seen: dict[Any, int] = {}
    for row, paths in enumerate(zip(*places, strict=True), start=1):
        earlier = seen.setdefault(paths[0] if num_images == 1 else paths[:num_images], row)
        refused, size = None if are_paths else _refused(paths), 0
        if refused is None and earlier < row:
            refused = f"names an image again: that of row {earlier}"
        for path in () if refused else paths:
            found, refused = links.look(path)
            if refused:
                break
            size += found
        yield Record(paths[0] or b"(row %d)" % row, paths, size, None, refused)


def _refused(paths: Sequence[bytes]) -> str | None:
    for path in paths:
        if not path:
            return "names no image" if not paths[0] else "lacks a path"
        if b"\0" in path:
            return "has a path with a zero byte, which no path has"
    return None


def _paths(cells: Sequence[Any]) -> list[bytes]:
    """Nothing where a cell is none, or no text."""
    try:
        return list(map(os.fsencode, cells))
    except (TypeError, UnicodeEncodeError):
        return list(map(_path, cells))


def _path(cell: Any) -> bytes:
    try:
        return os.fsencode(cell) if isinstance(cell, (str, bytes)) else b""
    except UnicodeEncodeError:
        return b""


def _blocks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while block := list(islice(rows, _AT_ONCE)):
        yield block


def text_encoding(head: bytes) -> str:
    """UTF-8, or UTF-16 where a file begins with its mark."""
    return "utf-16" if head[:2] in _UTF16_MARKS else "utf-8-sig"


def _open_text(path: str) -> TextIO:
    with open(path, "rb") as binary:
        encoding = text_encoding(binary.read(2))
    # Names of files may be other bytes than UTF-8: they come out as they went in.
    return open(path, encoding=encoding, errors="surrogateescape", newline="")


def _open_csv(path: str) -> tuple[list[str], _Rows]:
    """A CSV with names in its first line, in UTF-8, or UTF-16 with its mark; its delimiter is what this line has most of."""
    with _open_text(path) as file:
        head = file.readline()
    if not head.strip():
        raise SourceError(f"{path}: is empty, expected is a first line with the names of the columns")
    delimiter = max(_DELIMITERS, key=head.count)

    def lines() -> Iterator[list[str]]:
        with _open_text(path) as file:
            yield from csv.reader(file, delimiter=delimiter, strict=True)

    def rows(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        places = [names.index(name) for name in asked]
        read = lines()
        next(read)
        start = 1
        for block in _blocks(filter(None, read)):
            _check_lengths(path, start, block, len(names))
            start += len(block)
            columns = list(zip(*block, strict=True))
            yield [_shared(columns[place]) for place in places]

    def checked(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        try:
            yield from rows(asked)
        except csv.Error as error:
            raise SourceError(f"{path}: is not a CSV that can be read: {error}") from error

    names = [name.strip() for name in next(lines())]
    return names, checked


def _check_lengths(path: str, start: int, block: Sequence[Sequence[str]], expected: int) -> None:
    if set(map(len, block)) != {expected}:
        row, cells = next((row, cells) for row, cells in enumerate(block, start) if len(cells) != expected)
        raise SourceError(f"{path}: row {row} has {len(cells)} cells, the first line names {expected} columns")


def _shared(cells: Sequence[str]) -> Sequence[str]:
    """The same cells; those that are equal are one object, where many are: a million class names take room."""
    distinct = {cell: cell for cell in cells}
    return [distinct[cell] for cell in cells] if 2 * len(distinct) < len(cells) else cells


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

    def rows(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        for block in _blocks(objects()):
            yield [[each.get(name) for each in block] for name in asked]

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

    def rows(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        try:
            for batch in file.iter_batches(columns=list(asked)):
                yield [batch.column(name).to_pylist() for name in asked]
        except pyarrow.ArrowException as error:
            raise SourceError(f"{path}: is not a Parquet file that can be read: {error}") from error

    return list(file.schema_arrow.names), rows


# What `TableSource.load` can read.
FORMATS: dict[str, Callable[[str], tuple[list[str], _Rows]]] = {
    "csv": _open_csv,
    "jsonl": _open_jsonl,
    "parquet": _open_parquet,
}

# What the end of a file's name says of it.
ENDS = {r"\.[ct]sv": "csv", r"\.(jsonl|ndjson)": "jsonl", r"\.(parquet|pq)": "parquet"}


def table_format(path: str) -> str | None:
    """Which of `FORMATS` a file is, by its name; None for none."""
    return next((each for end, each in ENDS.items() if re.search(rf"{end}$", path, re.IGNORECASE)), None)
