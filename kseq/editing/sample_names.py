"""Files that name samples, as they are read: a list with one name on each line, or a table with a column of names.

The rules:

- A list holds sample ids if all of its lines are whole numbers, else sources: where samples came from, as `ShardDataset.source`
  tells it. Empty lines are skipped.
- A table (CSV, JSON Lines or Parquet, recognised by the end of its name) has a column `id` of sample ids, or a column of
  sources, called `source` or as tables call images (`path`, `image` and so on). If it has both, they must agree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kseq.errors import SourceError
from kseq.sources.column_roles import USUAL
from kseq.sources.table_files import Table, table_format
from kseq.sources.text import decode_text

__all__ = ["SampleNames", "parse_sample_id", "read_sample_names"]

# A longer number is a name: no sample id has so many digits, and Python refuses to read very long numbers.
_NUMBER = re.compile(r"\s*([0-9]{1,20})\s*")
_ID = "id"
_SOURCES = ("source", *USUAL["image"])


@dataclass(frozen=True)
class SampleNames:
    """What a file says, row by row.

    Attributes:
        path: The file, for messages.
        rows: The number of each row: the line of a list, the row of a table, counted from 1.
        ids: The sample id of each row; None if the file has no ids.
        sources: The source of each row; None if the file has no sources.
        columns: The cells of other columns, by name.
    """

    path: str
    rows: Sequence[int]
    ids: Sequence[Any] | None
    sources: Sequence[Any] | None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def read_sample_names(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> SampleNames:
    """Read a file that names samples.

    Args:
        path: The file.
        columns: The other columns of the table to read; None for all.

    Raises:
        SourceError: If the file cannot be read, or lacks a column.
    """
    path = os.fspath(path)
    table = table_format(path)
    return _read_list(path, columns) if table is None else _read_table(path, table, columns)


def parse_sample_id(value: Any) -> int | None:
    """The whole number in a cell; None if it holds none."""
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        return int(match[1]) if match else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_list(path: str, columns: Sequence[str] | None) -> SampleNames:
    if columns:
        raise SourceError(
            f"{path}: is a list of samples, expected is a table with a column {columns[0]!r} (.csv, .jsonl or .parquet)"
        )
    try:
        # Read as a whole: a shell's `<(...)` is a pipe, which cannot be read twice.
        with open(path, "rb") as file:
            lines = [line.rstrip("\r") for line in decode_text(file.read()).split("\n")]
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise SourceError(f"{path}: is not text: {error}") from error
    rows = [row for row, line in enumerate(lines, start=1) if line]
    names = [line for line in lines if line]
    are_ids = all(parse_sample_id(name) is not None for name in names)
    return SampleNames(path, rows, names if are_ids else None, None if are_ids else names)


def _read_table(path: str, format_name: str, columns: Sequence[str] | None) -> SampleNames:
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError(f"{path}: is not a file, expected is a table ({format_name})")
    table = Table.open(path, format_name)
    source = next((name for name in _SOURCES if name in table.names), None)
    naming = [name for name in (_ID if _ID in table.names else None, source) if name is not None]
    if not naming:
        raise SourceError(
            f"{path}: which column names the samples? No column is called {_ID}, {', '.join(_SOURCES)}; "
            f"its columns are {', '.join(table.names)}"
        )
    others = [name for name in table.names if name not in naming] if columns is None else list(columns)
    for name in [*naming, *others]:
        count = list(table.names).count(name)
        if count != 1:
            raise SourceError(
                f"{path}: has {count} columns called {name!r}, expected is one; its columns are {', '.join(table.names)}"
            )
    cells = table.read([*naming, *others])
    rows = range(1, len(cells[naming[0]]) + 1)
    sources = None if source is None else cells[source]
    return SampleNames(path, rows, cells.get(_ID), sources, {name: cells[name] for name in others})
