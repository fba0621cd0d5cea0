"""Tables in CSV, JSON Lines and Parquet files, read column by column.

The rules:

- A CSV has the names of the columns in the first line that is not blank. The delimiter is the one of `,;\\t|` that this line
  has most of, or that a line before it says, as Excel has it (`sep=;`). A space after the delimiter is none of a cell where the
  first line has some, or a quote follows it in the second. Cells that are empty, at the end of a row that has more than there
  are columns, are no cells; rows of empty cells are no rows.
- JSON Lines have an object on each line, perhaps with a comma behind it, or are one list of objects. The first 4,096 name the
  columns; a name that a line lacks counts as null.
- Parquet is read by pyarrow, only the columns that are asked for.
- A row that cannot be read (with cells too many or too few, that is no JSON, that is not well encoded) is a fault of that row
  alone. A quote that does not end takes all that follows into its row.
- How text is encoded is said at the top of `kseq/sources/text.py`. Rows are counted from 1, the first below the names.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple, TextIO

from kseq.errors import ArgumentError, KseqError, SourceError, one_line
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.cell_types import Rejection
from kseq.sources.spooled_column import BLOCK_ROWS, SpooledColumn
from kseq.sources.text import is_well_encoded, open_text

__all__ = ["TABLE_FORMATS", "Block", "Table", "TableFormat", "table_format"]

_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r"(?i)sep=([,;\t|])")
# Of each column of a Parquet file at a time: a row group may be as large as the file.
_READ_BYTES = 1 << 18
# The start of a line that a message shows.
_SHOWN = 40

# Of a cell: boxes, outlines and pixels are long, where Python's csv takes 128 KiB.
_MOST_LETTERS = 1 << 28


class Block(NamedTuple):
    """Some rows of a table: for each column the cells, and for each row why it cannot be read; no list if all can."""

    columns: Sequence[Sequence[Any]]
    faults: Sequence[str | None] = ()


# Given names of columns, yields some rows at a time.
ReadBlocks = Callable[[Sequence[str]], Iterator[Block]]


@dataclass(frozen=True)
class Table:
    """The cells of a table, by column.

    Attributes:
        path: The file.
        names: The names of the columns, in their order.
        read_blocks: Given names of columns, yields some rows at a time.
    """

    path: str
    names: Sequence[str]
    read_blocks: ReadBlocks

    @classmethod
    def open(cls, path: str, table_format: str) -> Table:
        """Open a table of one of `TABLE_FORMATS`.

        Raises:
            SourceError: If the file cannot be read as such a table.
        """
        with _naming_file(path):
            return cls(path, *TABLE_FORMATS[table_format].open(path))

    def head(self) -> dict[str, list[Any]]:
        """The cells of the first rows, by column; those of a row that cannot be read are None.

        Raises:
            SourceError: If the file cannot be read as such a table.
        """
        names = list(dict.fromkeys(self.names))
        with _naming_file(self.path):
            block = next(self.read_blocks(names), Block([[]] * len(names)))
        return dict(zip(names, map(list, block.columns), strict=True))

    def read(self, columns: Sequence[str], faults: SpooledColumn | None = None) -> dict[str, SpooledColumn]:
        """The cells of some columns, from the first row to the last.

        Args:
            columns: The names of the columns.
            faults: Gets for each row the reason why it cannot be read, or None; its cells are None then. Without it, a row that
                cannot be read is an error.

        Raises:
            SourceError: If the file cannot be read as such a table.
        """
        cells = {name: SpooledColumn() for name in columns}
        num_rows = 0
        with _naming_file(self.path):
            for block in self.read_blocks(list(cells)):
                for column, block_cells in zip(cells.values(), block.columns, strict=True):
                    column.extend(block_cells)
                count = len(block.columns[0])
                if faults is not None:
                    faults.extend(block.faults or [None] * count)
                elif block.faults:
                    row, fault = next((row, fault) for row, fault in enumerate(block.faults, 1) if fault)
                    raise SourceError(f"{self.path}: row {num_rows + row} {fault}")
                num_rows += count
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
        raise SourceError(f"{path}: is not UTF-8: {error}: save it as UTF-8") from error
    except csv.Error as error:
        raise SourceError(f"{path}: is not a CSV that can be read: {error}") from error


def _blocks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while block := list(islice(rows, BLOCK_ROWS)):
        yield block


def _open_csv(path: str) -> tuple[list[str], ReadBlocks]:
    """A CSV with the names of the columns in the first line; the delimiter is the one that this line has most of."""
    form = _find_csv_form(path)
    delimiter = form.delimiter
    with open_text(path) as file:
        names = [name.strip() for name in next(form.rows(file))]
    image = next((name for name in names if name.lower().endswith(IMAGE_SUFFIXES)), None)
    if image is not None:
        raise SourceError(
            f"{path}: its first line has {image!r}, which looks like an image, expected are the names of columns: add a line "
            f"such as {delimiter.join(['image', 'label'])} before it"
        )
    while len(names) > 1 and not names[-1]:
        # Spreadsheets write a delimiter after the last column.
        names.pop()

    # The first of those that are called alike.
    places = {name: number for number, name in reversed(list(enumerate(names)))}

    def read_blocks(asked: Sequence[str]) -> Iterator[Block]:
        numbers = [places[name] for name in asked]
        with open_text(path) as file, _long_cells():
            lines = form.rows(file)
            next(lines)
            while rows := _read_csv_rows(lines):
                faults: Sequence[str | None] = ()
                if set(map(len, rows)) != {len(names)}:
                    faults = [_fit_row(row, len(names)) for row in rows]
                columns = list(zip(*rows, strict=True))
                yield Block([columns[number] for number in numbers], faults if any(faults) else ())

    return names, read_blocks


class _CsvForm(NamedTuple):
    """How a CSV is written.

    Attributes:
        num_before: How many lines come before the one with the names of the columns.
        delimiter: What stands between cells.
        has_spaces: Whether a space follows it.
    """

    num_before: int
    delimiter: str
    has_spaces: bool

    def rows(self, file: TextIO) -> Iterator[list[str]]:
        """The rows of an open file, from that with the names of the columns on."""
        for _ in range(self.num_before):
            file.readline()
        return csv.reader(file, delimiter=self.delimiter, skipinitialspace=self.has_spaces, strict=True)


def _find_csv_form(path: str) -> _CsvForm:
    """The form of a CSV, by its first lines: blank ones, and that of Excel with the delimiter (`sep=;`), come before the names.

    Raises:
        SourceError: If it has no line with names.
    """
    said, num_before, head = None, 0, ""
    with open_text(path) as file:
        for line in file:
            found = _SEPARATOR.fullmatch(line.strip('"\r\n '))
            if found is None and line.strip():
                head = line
                break
            said = said if found is None else found[1]
            num_before += 1
        second = file.readline()
    if not head:
        raise SourceError(f"{path}: is empty, expected is a first line with the names of the columns")
    delimiter = said or max(_DELIMITERS, key=head.count)
    return _CsvForm(num_before, delimiter, f"{delimiter} " in head or f'{delimiter} "' in second)


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells of a CSV be as long as they are."""
    limit = csv.field_size_limit(_MOST_LETTERS)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _has_cell(row: list[str]) -> bool:
    # Of most rows the first cell is seen alone.
    return any(row) and any(map(str.strip, row))


def _read_csv_rows(lines: Iterator[list[str]]) -> list[list[Any]]:
    """The next rows; in place of one that is broken, a list with the fault alone. Rows of empty cells are skipped."""
    rows: list[list[Any]] = []
    while len(rows) < BLOCK_ROWS:
        try:
            # What was read before an error stays in the list.
            rows.extend(islice(filter(_has_cell, lines), BLOCK_ROWS - len(rows)))
        except csv.Error as error:
            reason = "a quote in it does not end" if "unexpected end" in str(error) else one_line(error)
            rows.append([Rejection(f"is not CSV: {reason}")])
        else:
            if len(rows) < BLOCK_ROWS:
                break
    return rows


def _fit_row(row: list[Any], expected: int) -> str | None:
    """Why a row has not a cell for each column; None if it has. It is given as many cells as there are columns."""
    if len(row) == expected:
        return None
    fault: str | None = row[0] if row and isinstance(row[0], Rejection) else None
    if fault is None and (len(row) < expected or any(cell.strip() for cell in row[expected:])):
        fault = f"has {len(row)} cells, the first line names {expected} columns"
    row[:] = row[:expected] if fault is None else [None] * expected
    return fault


def _open_jsonl(path: str) -> tuple[list[str], ReadBlocks]:
    """JSON Lines: an object on each line. The first lines name the columns; a name that a line lacks counts as null."""

    def read_objects() -> Iterator[dict[str, Any] | Rejection]:
        with open_text(path) as file:
            lines = filter(str.strip, file)
            first = next(lines, "")
            objects = _parse_list(first, lines) if first.lstrip().startswith("[") else None
            yield from map(_parse_object, chain([first] if first else [], lines)) if objects is None else objects

    def read_blocks(asked: Sequence[str]) -> Iterator[Block]:
        for block in _blocks(read_objects()):
            faults = [row if isinstance(row, Rejection) else None for row in block]
            rows: list[Any] = [{} if isinstance(row, Rejection) else row for row in block]
            yield Block([[row.get(name) for row in rows] for name in asked], faults if any(faults) else ())

    first = list(islice(read_objects(), BLOCK_ROWS))
    if not first:
        raise SourceError(f"{path}: is empty, expected is an object on each line")
    names = dict.fromkeys(name for row in first if not isinstance(row, Rejection) for name in row)
    if not names:
        fault = next((row for row in first if isinstance(row, Rejection)), "is an object without names")
        raise SourceError(f"{path}: row 1 {fault}")
    return list(names), read_blocks


def _parse_list(first: str, lines: Iterator[str]) -> list[dict[str, Any] | Rejection] | None:
    """The objects of a file that is one list of them; None if its first line is a list of something else.

    Args:
        first: The first line.
        lines: The others, which are read where the list goes on in them.
    """
    try:
        values = json.loads(first)
    except (ValueError, RecursionError):
        try:
            values = json.loads(first + "".join(lines))
        except (ValueError, RecursionError) as error:
            return [Rejection(f"is not JSON: {one_line(error)}")]
    if not any(isinstance(value, dict) for value in values):
        return None
    return [value if isinstance(value, dict) else _no_object(json.dumps(value)) for value in values]


def _no_object(text: str) -> Rejection:
    return Rejection(f"is {text.strip()[:_SHOWN]}, expected is an object in braces")


def _parse_object(line: str) -> dict[str, Any] | Rejection:
    """The object on a line."""
    if not is_well_encoded(line):
        return Rejection(f"is not UTF-8: {line.strip()[:_SHOWN]}")
    try:
        # A list of objects without its brackets has commas.
        row = json.loads(line.rstrip().removesuffix(","))
    except (ValueError, RecursionError) as error:
        return Rejection(f"is not JSON: {one_line(error)}")
    return row if isinstance(row, dict) else _no_object(line)


def _open_parquet(path: str) -> tuple[list[str], ReadBlocks]:
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

    def read_blocks(asked: Sequence[str]) -> Iterator[Block]:
        try:
            for batch in file.iter_batches(BLOCK_ROWS, columns=list(asked), use_threads=False):
                yield Block([batch.column(name).to_pylist() for name in asked])
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
    open: Callable[[str], tuple[list[str], ReadBlocks]]


TABLE_FORMATS = {
    "csv": TableFormat(r"\.[ct]sv", _open_csv),
    "jsonl": TableFormat(r"\.(jsonl|ndjson)", _open_jsonl),
    "parquet": TableFormat(r"\.(parquet|pq)", _open_parquet),
}


def table_format(path: str) -> str | None:
    """Which of `TABLE_FORMATS` a file is, by its name; None if its name is that of no table."""
    formats = TABLE_FORMATS.items()
    return next((name for name, table in formats if re.search(rf"{table.file_names}$", path, re.IGNORECASE)), None)
