"""Tables in CSV, JSON Lines and Parquet files, read column by column.

The rules:

- A CSV has the names of the columns in the first line. The delimiter is the one of `,;\\t|` that this line has most of.
- JSON Lines have an object on each line. The first line names the columns; a name that a later line lacks counts as null.
- Parquet is read by pyarrow, only the columns that are asked for.
- How text is encoded is said at the top of `kseq/sources/text.py`. Rows are counted from 1, the first below the names.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from kseq.errors import ArgumentError, KseqError, SourceError
from kseq.sources.spooled_column import BLOCK_ROWS, SpooledColumn
from kseq.sources.text import open_text

__all__ = ["TABLE_FORMATS", "Table", "TableFormat", "table_format"]

_DELIMITERS = ",;\t|"
# Of each column of a Parquet file at a time: a row group may be as large as the file.
_READ_BYTES = 1 << 18
# The start of a line that a message shows.
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

    def read(self, columns: Sequence[str]) -> dict[str, SpooledColumn]:
        """The cells of some columns, from the first row to the last.

        Raises:
            SourceError: If the file cannot be read as such a table.
        """
        cells = {name: SpooledColumn() for name in columns}
        with _naming_file(self.path):
            for block in self._read_blocks(list(cells)):
                for column, block_cells in zip(cells.values(), block, strict=True):
                    column.extend(block_cells)
        return cells


@contextmanager
def _naming_file(path: str) -> Iterator[None]:
    """Turns errors of reading into a SourceError that names the file."""
    try:
        yield
    except KseqError:
        # Such as of a disk that cannot hold what is known of the samples.
        raise
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeError as error:
        raise SourceError(f"{path}: is not UTF-8: {error}") from error
    except csv.Error as error:
        raise SourceError(f"{path}: is not a CSV that can be read: {error}") from error


def _blocks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while block := list(islice(rows, BLOCK_ROWS)):
        yield block


def _open_csv(path: str) -> tuple[list[str], _ReadBlocks]:
    """A CSV with the names of the columns in the first line; the delimiter is the one that this line has most of."""
    with open_text(path) as file:
        head = file.readline()
    if not head.strip():
        raise SourceError(f"{path}: is empty, expected is a first line with the names of the columns")
    delimiter = max(_DELIMITERS, key=head.count)

    def read_blocks(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        numbers = [names.index(name) for name in asked]
        start = 1
        with open_text(path) as file:
            lines = csv.reader(file, delimiter=delimiter, strict=True)
            next(lines)
            for block in _blocks(filter(None, lines)):
                _check_lengths(path, start, block, len(names))
                start += len(block)
                columns = list(zip(*block, strict=True))
                yield [columns[number] for number in numbers]

    with open_text(path) as file:
        names = [name.strip() for name in next(csv.reader(file, delimiter=delimiter, strict=True))]
    return names, read_blocks


def _check_lengths(path: str, start: int, block: Sequence[Sequence[str]], expected: int) -> None:
    if set(map(len, block)) != {expected}:
        row, cells = next((row, cells) for row, cells in enumerate(block, start) if len(cells) != expected)
        raise SourceError(f"{path}: row {row} has {len(cells)} cells, the first line names {expected} columns")


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
        file = pyarrow.parquet.ParquetFile(path, buffer_size=_READ_BYTES)
    except pyarrow.ArrowException as error:
        raise SourceError(f"{path}: is not a Parquet file that can be read: {error}") from error

    def read_blocks(asked: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        try:
            for batch in file.iter_batches(BLOCK_ROWS, columns=list(asked), use_threads=False):
                yield [batch.column(name).to_pylist() for name in asked]
        except pyarrow.ArrowException as error:
            raise SourceError(f"{path}: is not a Parquet file that can be read: {error}") from error
        finally:
            # Arrow would keep tens of megabytes for its next file.
            pyarrow.default_memory_pool().release_unused()

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
