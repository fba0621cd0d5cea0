"""A table of images: CSV, JSON Lines or Parquet, with a column of paths and columns of their labels and other values.

The rules for rows that cannot be packed as they are; a rejected row is listed with the reason:

- A label that is empty, null or NaN (in a CSV also the word) is no label, and its row is rejected.
- A row whose label is not among the given class names is rejected.
- A row with a path that an earlier row has is rejected, whatever its label: in two splits the image would be a leak. With
  several images in a row, that holds for all of them together.
- A row without a path, or with a path that is no text, is rejected, and listed by its number. A label that is a list or an
  object is no label.

Rows are counted from 1, the first below the names of the columns. Classes are numbered in the order of the numbers if every
label is a whole number, else in the order of their names. What other columns may hold is said at the top of
`kseq/sources/cell_types.py`, how text is encoded at the top of `kseq/sources/text.py`.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from kseq.errors import ArgumentError, SourceError
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import FileSource
from kseq.sources.column_roles import Columns, find_columns, pixel_columns, used_columns
from kseq.sources.links import LinkRule
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.text import open_text

__all__ = ["CSV", "JSONL", "TABLE_FORMATS", "Table", "TableFormat", "TableSource", "table_format"]

_DELIMITERS = ",;\t|"
# Enough rows that their number costs nothing, few enough that they fit into a cache.
_ROWS_PER_BLOCK = 10_000
_SHOWN = 40

# Given names of columns, yields some rows at a time: for each column the cells of these rows.
_ReadBlocks = Callable[[Sequence[str]], Iterator[Sequence[Sequence[Any]]]]


@dataclass(frozen=True)
class Table:
    """The cells of a table, by column.

    Attributes:
        path: The file.
        names: The names of the columns, in their order.
    """

    path: str
    names: Sequence[str]
    _read_blocks: _ReadBlocks

    @classmethod
    def open(cls, path: str, table_format: str) -> Table:
        """Open a table of one of `TABLE_FORMATS`.

        Raises:
            SourceError: If the file cannot be read as such a table.
        """
        with _naming_file(path):
            return cls(path, *TABLE_FORMATS[table_format].open(path))

    def read(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        """The cells of some columns, from the first row to the last.

        Raises:
            SourceError: If the file cannot be read as such a table.
        """
        cells: dict[str, list[Any]] = {name: [] for name in columns}
        with _naming_file(self.path):
            for block in self._read_blocks(list(cells)):
                for column, block_cells in zip(cells.values(), block, strict=True):
                    column += block_cells
        return cells


@contextmanager
def _naming_file(path: str) -> Iterator[None]:
    """Turns errors of reading into a SourceError that names the file."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeError as error:
        raise SourceError(f"{path}: is not UTF-8: {error}") from error
    except csv.Error as error:
        raise SourceError(f"{path}: is not a CSV that can be read: {error}") from error


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
            table_format: One of `TABLE_FORMATS`.
            columns: Which column holds what.
            root: The folder that paths are relative to; None for the folder of the table.
            class_names: All classes, in the order of their numbers; None for the classes that the table names.
            follow_links: Follow links out of that folder.

        Raises:
            SourceError: If the file cannot be read as such a table, lacks a column, or no row can be packed.
        """
        root = check_root(path, root)
        table = Table.open(path, table_format)
        columns = find_columns(columns, path, table.names)
        cells = table.read([name for _, name in used_columns(columns)])
        samples = _found_samples(LinkRule(root, follow_links), columns, cells)
        assembled = assemble_samples(path, columns, cells, samples, class_names)
        return cls(root, assembled.class_names, assembled.images, assembled.fields)

    @classmethod
    def open(cls, request: SourceRequest, table_format: str) -> TableSource:
        """Open a path of one of `TABLE_FORMATS` as a source."""
        check_is_file(request.path, table_format)
        return cls.load(
            request.path,
            table_format,
            request.columns,
            request.root,
            request.class_names,
            follow_links=request.follow_links,
        )


def _found_samples(links: LinkRule, columns: Columns, cells: Mapping[str, Sequence[Any]]) -> Iterator[FoundSample]:
    path_columns = [_paths(cells[name]) for name in pixel_columns(columns)]
    are_valid = all(all(paths) and not any(b"\0" in path for path in paths) for paths in path_columns)
    # Several rows may share a mask, but not an image.
    num_images = len(columns.image)
    first_rows: dict[Any, int] = {}
    for row, paths in enumerate(zip(*path_columns, strict=True), start=1):
        first_row = first_rows.setdefault(paths[0] if num_images == 1 else paths[:num_images], row)
        rejection, num_bytes = None if are_valid else _invalid_path(paths), 0
        if rejection is None and first_row < row:
            rejection = f"names an image again: that of row {first_row}"
        for path in () if rejection else paths:
            size, rejection = links.inspect(path)
            if rejection:
                break
            num_bytes += size
        yield FoundSample(paths[0] or b"(row %d)" % row, paths, num_bytes, None, rejection)


def _invalid_path(paths: Sequence[bytes]) -> str | None:
    """Why the paths of a row are none."""
    for path in paths:
        if not path:
            return "names no image" if not paths[0] else "lacks a path"
        if b"\0" in path:
            return "has a path with a zero byte, which no path has"
    return None


def _paths(cells: Sequence[Any]) -> list[bytes]:
    """The paths in a column; empty for a cell that is missing or no text."""
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
    while block := list(islice(rows, _ROWS_PER_BLOCK)):
        yield block


def _open_csv(path: str) -> tuple[list[str], _ReadBlocks]:
    """A CSV with the names of the columns in the first line; the delimiter is the one that this line has most of."""
    with open_text(path) as file:
        head = file.readline()
    if not head.strip():
        raise SourceError(f"{path}: is empty, expected is a first line with the names of the columns")
    delimiter = max(_DELIMITERS, key=head.count)

    def read_lines() -> Iterator[list[str]]:
        with open_text(path) as file:
            yield from csv.reader(file, delimiter=delimiter, strict=True)

    def read_blocks(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        numbers = [names.index(name) for name in asked]
        lines = read_lines()
        next(lines)
        start = 1
        for block in _blocks(filter(None, lines)):
            _check_lengths(path, start, block, len(names))
            start += len(block)
            columns = list(zip(*block, strict=True))
            yield [_share_equal(columns[number]) for number in numbers]

    names = [name.strip() for name in next(read_lines())]
    return names, read_blocks


def _check_lengths(path: str, start: int, block: Sequence[Sequence[str]], expected: int) -> None:
    if set(map(len, block)) != {expected}:
        row, cells = next((row, cells) for row, cells in enumerate(block, start) if len(cells) != expected)
        raise SourceError(f"{path}: row {row} has {len(cells)} cells, the first line names {expected} columns")


def _share_equal(cells: Sequence[str]) -> Sequence[str]:
    """The same cells; where many are equal, these are one object: a million class names need memory."""
    distinct = {cell: cell for cell in cells}
    return [distinct[cell] for cell in cells] if 2 * len(distinct) < len(cells) else cells


def _open_jsonl(path: str) -> tuple[list[str], _ReadBlocks]:
    """JSON Lines: an object on each line. The first line names the columns; a name that a later line lacks counts as null."""

    def read_objects() -> Iterator[dict[str, Any]]:
        with open_text(path, strict=True) as file:
            number = 0
            for line in file:
                if not line.strip():
                    continue
                number += 1
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise SourceError(f"{path}: row {number} is not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise SourceError(f"{path}: row {number} is {line.strip()[:_SHOWN]}, expected is an object in braces")
                yield row

    def read_blocks(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        for block in _blocks(read_objects()):
            yield [[row.get(name) for row in block] for name in asked]

    try:
        return list(next(read_objects())), read_blocks
    except StopIteration:
        raise SourceError(f"{path}: is empty, expected is an object on each line") from None


def _open_parquet(path: str) -> tuple[list[str], _ReadBlocks]:
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

    def read_blocks(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        try:
            for batch in file.iter_batches(columns=list(asked)):
                yield [batch.column(name).to_pylist() for name in asked]
        except pyarrow.ArrowException as error:
            raise SourceError(f"{path}: is not a Parquet file that can be read: {error}") from error

    return list(file.schema_arrow.names), read_blocks


class TableFormat(NamedTuple):
    """One of the formats of tables.

    Attributes:
        file_names: A regular expression for the end of the name of a file, in upper or lower case.
        open: Gives the names of the columns, and what reads their cells.
    """

    file_names: str
    open: Callable[[str], tuple[list[str], _ReadBlocks]]


TABLE_FORMATS = {
    "csv": TableFormat(r"\.[ct]sv", _open_csv),
    "jsonl": TableFormat(r"\.(jsonl|ndjson)", _open_jsonl),
    "parquet": TableFormat(r"\.(parquet|pq)", _open_parquet),
}


def table_format(path: str) -> str | None:
    """Which of `TABLE_FORMATS` a file is, by its name; None if its name is that of no table."""
    formats = TABLE_FORMATS.items()
    return next((name for name, table in formats if re.search(rf"{table.file_names}$", path, re.IGNORECASE)), None)


CSV = SourceFormat(
    "csv",
    lambda request: TableSource.open(request, "csv"),
    (".csv", ".tsv"),
    TABLE_FORMATS["csv"].file_names,
    has_columns=True,
    has_root=True,
    has_links=True,
)
JSONL = SourceFormat(
    "jsonl",
    lambda request: TableSource.open(request, "jsonl"),
    (".jsonl", ".ndjson"),
    TABLE_FORMATS["jsonl"].file_names,
    has_columns=True,
    has_root=True,
    has_links=True,
)
