"""Files that name samples of a dataset: a list with one a line, or a table whose rows say something of each.

A list holds sample ids, if all its lines are whole numbers, else sources: where samples came from, as `ShardDataset.source`
tells it. Empty lines are passed over. A table (CSV, JSON Lines or Parquet, told by the end of its name) has a column `id` of
sample ids, or one of sources, called `source` or as tables call images (`path`, `image` and so on). Where it has both, they
must agree. The name of several samples is refused, unless all but one of them were dropped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import SourceError
from kseq.reading.shard_cache import ShardCache
from kseq.sources.column_roles import USUAL
from kseq.sources.table import Table, table_format
from kseq.sources.text import decode_text
from kseq.storage.index import Index

__all__ = ["SampleList", "find_sources", "read_cells", "read_sample_list"]

# Longer ones are names: no id has so many digits, and Python refuses to read very many.
_NUMBER = re.compile(r"\s*([0-9]{1,20})\s*")
_ID = "id"
_SOURCE = ("source", *USUAL["image"])


@dataclass(frozen=True)
class SampleList:
    """What a file says of samples, row by row.

    Attributes:
        path: The file.
        ids: `(n,)` int64 sample ids that exist, dropped ones among them, as often as they are named.
        rows: The number of each row, for messages: of a list its lines, of a table its rows, counted from 1.
        columns: The cells of the other columns, `n` of each, by name; a list has none.
        num_unknown: How many rows were left out since no sample has that source.
    """

    path: str
    ids: np.ndarray
    rows: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    num_unknown: int


@dataclass(frozen=True)
class _Names:
    """A file as it was read: of its rows, the ids or the sources, or both."""

    rows: Sequence[int]
    ids: Sequence[Any] | None
    sources: Sequence[Any] | None
    columns: Mapping[str, Sequence[Any]]


def read_sample_list(
    index: Index,
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    *,
    once: bool = False,
    missing_ok: bool = False,
) -> SampleList:
    """Find the samples that a file names.

    The sources of all samples are looked through, in memory that goes with the file alone.

    Args:
        index: Of the dataset.
        path: The file.
        columns: The other columns of the table that are wanted; None for all that it has.
        once: Refuse a file that names a sample twice.
        missing_ok: Leave out, and count, the rows whose source no sample has; a sample id must exist in any case.

    Raises:
        SourceError: Where the file cannot be read, lacks a column, or a row names no sample, or several.
        DamagedError: Where a shard is damaged.
    """
    path = os.fspath(path)
    kind = table_format(path)
    read = _read_list(path, columns) if kind is None else _read_table(path, kind, columns)
    ids = None if read.ids is None else _checked_ids(index, path, read)
    if read.sources is not None:
        ids = _find_sources(index, path, read, ids, missing_ok)
    assert ids is not None
    if once:
        _check_once(path, read.rows, ids)
    kept = [place for place, number in enumerate(ids) if number is not None]
    if len(kept) == len(ids):
        return SampleList(path, np.array(ids, np.int64), read.rows, read.columns, 0)
    others = {name: [cells[place] for place in kept] for name, cells in read.columns.items()}
    known = np.array([ids[place] for place in kept], np.int64)
    return SampleList(path, known, [read.rows[place] for place in kept], others, len(ids) - len(kept))


def find_sources(index: Index, sources: Sequence[str | bytes], *, missing_ok: bool = False) -> tuple[np.ndarray, int]:
    """The samples that came from some sources.

    Args:
        index: Of the dataset.
        sources: As `ShardDataset.source` tells them.
        missing_ok: Leave out, and count, the sources that no sample has.

    Returns:
        `(n,)` int64 sample ids, and how many sources were left out.

    Raises:
        SourceError: Where a source is that of no sample, or of several.
        DamagedError: Where a shard is damaged.
    """
    found = _find_sources(index, "sources", _Names(range(1, len(sources) + 1), None, sources, {}), None, missing_ok)
    known = [number for number in found if number is not None]
    return np.array(known, np.int64), len(found) - len(known)


def _read_list(path: str, columns: Sequence[str] | None) -> _Names:
    if columns:
        raise SourceError(
            f"{path}: is a list of samples, expected is a table with a column {columns[0]!r} (.csv, .jsonl or .parquet)"
        )
    try:
        # At one go: what `<(...)` of a shell gives cannot be read twice.
        with open(path, "rb") as file:
            data = file.read()
        lines = [line.rstrip("\r") for line in decode_text(data).split("\n")]
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise SourceError(f"{path}: is not text: {error}") from error
    rows = [row for row, line in enumerate(lines, start=1) if line]
    names = [line for line in lines if line]
    are_ids = all(_as_id(name) is not None for name in names)
    return _Names(rows, names if are_ids else None, None if are_ids else names, {})


def _read_table(path: str, kind: str, columns: Sequence[str] | None) -> _Names:
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError(f"{path}: is not a file, expected is a table ({kind})")
    table = Table.open(path, kind)
    source = next((name for name in _SOURCE if name in table.names), None)
    naming = [name for name in (_ID if _ID in table.names else None, source) if name is not None]
    if not naming:
        raise SourceError(
            f"{path}: which column names the samples? No column is called {_ID}, {', '.join(_SOURCE)}; "
            f"its columns are {', '.join(table.names)}"
        )
    others = [name for name in table.names if name not in naming] if columns is None else list(columns)
    for name in [*naming, *others]:
        if list(table.names).count(name) != 1:
            raise SourceError(
                f"{path}: has {list(table.names).count(name)} columns called {name!r}, expected is one; "
                f"its columns are {', '.join(table.names)}"
            )
    cells = table.read([*naming, *others])
    rows = range(1, len(cells[naming[0]]) + 1)
    return _Names(rows, cells.get(_ID), None if source is None else cells[source], {name: cells[name] for name in others})


def _as_id(value: Any) -> int | None:
    """The whole number that a cell is; None where it is none."""
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        return int(match[1]) if match else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _checked_ids(index: Index, path: str, read: _Names) -> list[int | None]:
    assert read.ids is not None
    count, ids = index.num_samples, [_as_id(value) for value in read.ids]
    for place, number in enumerate(ids):
        if number is None or not 0 <= number < count:
            raise SourceError(
                f"{path}: row {read.rows[place]}: {read.ids[place]!r} is no sample id, allowed are 0 to {count - 1}"
            )
    return ids


def _find_sources(
    index: Index, path: str, read: _Names, given: Sequence[int | None] | None, missing_ok: bool
) -> list[int | None]:
    """The sample id of each row, None for a row that is left out; where ids are `given`, they are compared."""
    assert read.sources is not None
    names = [_as_name(value) for value in read.sources]
    found = _samples_of(index, set(names))
    dropped = set(index.dropped.tolist())
    ids: list[int | None] = []
    for place, name in enumerate(names):
        candidates = found.get(name, [])
        if len(candidates) > 1 and given is None:
            candidates = [each for each in candidates if each not in dropped] or candidates[:1]
        number = candidates[0] if candidates else None
        if given is not None and given[place] in candidates:
            number = given[place]
        elif given is not None or len(candidates) > 1 or not (candidates or (missing_ok and name)):
            raise SourceError(_why_not(index, path, read, place, candidates, None if given is None else given[place]))
        ids.append(number)
    return ids


def _why_not(index: Index, path: str, read: _Names, place: int, candidates: Sequence[int], given: int | None) -> str:
    """What is wrong with a row that names a source."""
    assert read.sources is not None
    found = f"{path}: row {read.rows[place]}: {read.sources[place]!r}"
    if given is not None:
        return f"{found} is not the source of sample {given}, which the row names beside it"
    if candidates:
        return f"{found} is the source of several samples ({candidates[0]}, {candidates[1]}): name them by id"
    first = next(iter(ShardCache((index,)).each("source/bytes", "source/offsets")), b"")
    return f"{found} is the source of no sample, sources are such as {os.fsdecode(first)!r}"


def _as_name(value: Any) -> bytes:
    """The source that a cell names; nothing where it is no text."""
    try:
        return os.fsencode(value) if isinstance(value, (str, bytes)) else b""
    except UnicodeEncodeError:
        return b""


def _samples_of(index: Index, names: Collection[bytes]) -> dict[bytes, list[int]]:
    """The sample ids of each of some sources that there is."""
    found: dict[bytes, list[int]] = {}
    for number, name in enumerate(ShardCache((index,)).each("source/bytes", "source/offsets")):
        if name in names:
            found.setdefault(name, []).append(number)
    return found


def _check_once(path: str, rows: Sequence[int], ids: Sequence[int | None]) -> None:
    seen: dict[int, int] = {}
    for row, number in zip(rows, ids, strict=True):
        if number is not None and seen.setdefault(number, row) != row:
            raise SourceError(f"{path}: row {row} names sample {number} again, after row {seen[number]}")


def read_cells(
    index: Index, path: str | os.PathLike[str], column: str | None, usual: Sequence[str]
) -> tuple[SampleList, Sequence[Any]]:
    """The samples that a table names, each once, and what a column says of each.

    Args:
        index: Of the dataset.
        path: The table.
        column: The column; None for the first of the usual names that there is, or the only one beside that of the samples.
        usual: What it is usually called.

    Raises:
        SourceError: Where the file cannot be read, names no sample or one twice, or which column is meant is open.
    """
    named = read_sample_list(index, path, None if column is None else [column], once=True)
    if column is not None:
        return named, named.columns[column]
    found = next((name for name in usual if name in named.columns), None)
    if found is None and len(named.columns) == 1:
        found = next(iter(named.columns))
    if found is None:
        others = ", ".join(named.columns) or "none beside that of the samples"
        raise SourceError(
            f"{named.path}: which column has the values? No column is called {usual[0]}, there is {others}: name it by "
            f"{spelled('column')}"
        )
    return named, named.columns[found]
