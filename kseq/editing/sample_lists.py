"""The samples of a dataset that a file names.

The rules, besides those of `kseq/editing/sample_names.py`: a sample id must exist, and a source must be that of one sample;
several samples of one source are allowed if all but one of them were dropped.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.editing.sample_names import SampleNames, parse_sample_id, read_sample_names
from kseq.errors import SourceError
from kseq.platforms.files import path_bytes
from kseq.reading.shard_cache import ShardCache
from kseq.storage.index import Index

__all__ = ["SampleList", "find_sources", "read_cells", "read_sample_list"]


@dataclass(frozen=True)
class SampleList:
    """What a file says of samples, row by row.

    Attributes:
        path: The file.
        ids: `(n,)` int64 sample ids that exist, also of dropped samples, as often as the file names them.
        rows: The number of each row, for messages: the line of a list, the row of a table, counted from 1.
        columns: The cells of the other columns, `n` of each, by name; empty for a list.
        num_unknown: The number of rows that were left out, since no sample has their source.
    """

    path: str
    ids: np.ndarray
    rows: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    num_unknown: int


def read_sample_list(
    index: Index,
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    *,
    once: bool = False,
    missing_ok: bool = False,
) -> SampleList:
    """Find the samples that a file names.

    The sources of all samples are searched, with memory for the names in the file alone.

    Args:
        index: The index of the dataset.
        path: The file.
        columns: The other columns of the table to read; None for all.
        once: Refuse a file that names a sample twice.
        missing_ok: Leave out, and count, the rows whose source no sample has; a sample id must exist in any case.

    Raises:
        SourceError: If the file cannot be read or lacks a column, or if a row names no sample or several.
        DamagedError: If a shard is damaged.
    """
    names = read_sample_names(path, columns)
    ids = None if names.ids is None else _check_ids(index, names)
    if names.sources is not None:
        ids = _find_sources(index, names, ids, missing_ok=missing_ok)
    assert ids is not None
    if once:
        _check_once(names, ids)
    kept = [number for number, sample_id in enumerate(ids) if sample_id is not None]
    if len(kept) == len(ids):
        return SampleList(names.path, np.array(ids, np.int64), names.rows, names.columns, 0)
    kept_columns = {name: [cells[number] for number in kept] for name, cells in names.columns.items()}
    kept_ids = np.array([ids[number] for number in kept], np.int64)
    return SampleList(names.path, kept_ids, [names.rows[number] for number in kept], kept_columns, len(ids) - len(kept))


def find_sources(index: Index, sources: Sequence[str | bytes], *, missing_ok: bool = False) -> tuple[np.ndarray, int]:
    """The samples that came from some sources.

    Args:
        index: The index of the dataset.
        sources: Sources as `ShardDataset.source` tells them.
        missing_ok: Leave out, and count, the sources that no sample has.

    Returns:
        `(n,)` int64 sample ids, and the number of sources that were left out.

    Raises:
        SourceError: If a source is that of no sample, or of several.
        DamagedError: If a shard is damaged.
    """
    names = SampleNames("sources", range(1, len(sources) + 1), None, sources)
    ids = _find_sources(index, names, None, missing_ok=missing_ok)
    known = [sample_id for sample_id in ids if sample_id is not None]
    return np.array(known, np.int64), len(ids) - len(known)


def read_cells(
    index: Index, path: str | os.PathLike[str], column: str | None, usual: Sequence[str]
) -> tuple[SampleList, Sequence[Any]]:
    """The samples that a table names, each once, and the cells of one column.

    Args:
        index: The index of the dataset.
        path: The table.
        column: The column; None for the first usual name that there is, or for the only column beside that of the samples.
        usual: The usual names of the column.

    Raises:
        SourceError: If the file cannot be read, names no sample or one twice, or if it is not clear which column is meant.
    """
    samples = read_sample_list(index, path, None if column is None else [column], once=True)
    if column is not None:
        return samples, samples.columns[column]
    column = next((name for name in usual if name in samples.columns), None)
    if column is None and len(samples.columns) == 1:
        column = next(iter(samples.columns))
    if column is None:
        others = ", ".join(samples.columns) or "none beside that of the samples"
        raise SourceError(
            f"{samples.path}: which column has the values? No column is called {usual[0]}, there is {others}: name it by "
            f"{spelled('column')}"
        )
    return samples, samples.columns[column]


def _check_ids(index: Index, names: SampleNames) -> list[int | None]:
    """The sample ids of a file, all of which exist."""
    assert names.ids is not None
    count, ids = index.num_samples, [parse_sample_id(cell) for cell in names.ids]
    for row, cell, sample_id in zip(names.rows, names.ids, ids, strict=True):
        if sample_id is None or not 0 <= sample_id < count:
            raise SourceError(f"{names.path}: row {row}: {cell!r} is no sample id, allowed are 0 to {count - 1}")
    return ids


def _find_sources(
    index: Index, names: SampleNames, given_ids: Sequence[int | None] | None, *, missing_ok: bool
) -> list[int | None]:
    """The sample id of each row, None for a row that is left out.

    Args:
        index: The index of the dataset.
        names: The sources, row by row.
        given_ids: The sample id that each row gives beside the source; they must agree.
        missing_ok: Leave out rows whose source no sample has.
    """
    assert names.sources is not None
    sources = [_source_bytes(cell) for cell in names.sources]
    ids_by_source = _ids_by_source(index, set(sources))
    dropped = set(index.dropped.tolist())
    ids: list[int | None] = []
    for number, source in enumerate(sources):
        candidates = ids_by_source.get(source, [])
        row = f"{names.path}: row {names.rows[number]}: {names.sources[number]!r}"
        if given_ids is not None:
            if given_ids[number] not in candidates:
                raise SourceError(f"{row} is not the source of sample {given_ids[number]}, which the row names too")
            ids.append(given_ids[number])
            continue
        if len(candidates) > 1:
            candidates = [sample_id for sample_id in candidates if sample_id not in dropped] or candidates[:1]
        if len(candidates) > 1:
            raise SourceError(f"{row} is the source of several samples ({candidates[0]}, {candidates[1]}): name them by id")
        if not candidates and not (missing_ok and source):
            raise SourceError(f"{row} is the source of no sample, sources are such as {_first_source(index)!r}")
        ids.append(candidates[0] if candidates else None)
    return ids


def _source_bytes(cell: Any) -> bytes:
    """The source that a cell names; empty if it is no text."""
    try:
        return path_bytes(cell) if isinstance(cell, (str, bytes)) else b""
    except UnicodeEncodeError:
        return b""


def _ids_by_source(index: Index, sources: Collection[bytes]) -> dict[bytes, list[int]]:
    """The ids of all samples that came from some sources, by source."""
    ids_by_source: dict[bytes, list[int]] = {}
    for sample_id, source in enumerate(ShardCache((index,)).each("source/bytes", "source/offsets")):
        if source in sources:
            ids_by_source.setdefault(source, []).append(sample_id)
    return ids_by_source


def _first_source(index: Index) -> str:
    """The source of the first sample."""
    return os.fsdecode(next(iter(ShardCache((index,)).each("source/bytes", "source/offsets")), b""))


def _check_once(names: SampleNames, ids: Sequence[int | None]) -> None:
    """Raise SourceError if a sample is named twice."""
    first_rows: dict[int, int] = {}
    for row, sample_id in zip(names.rows, ids, strict=True):
        if sample_id is not None and first_rows.setdefault(sample_id, row) != row:
            raise SourceError(f"{names.path}: row {row} names sample {sample_id} again, after row {first_rows[sample_id]}")
