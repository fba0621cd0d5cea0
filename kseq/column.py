"""A field of all samples of a dataset as the arrays of a column, and the same with other values for some of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kseq.fields import Field
from kseq.index import Index
from kseq.joining import Piece, joined
from kseq.shards import OpenShards

__all__ = ["Column", "column_of", "empty_column", "rows_of", "with_values", "without"]

# Arrays called as in a shard: `NAME`, or `NAME/values` and `NAME/offsets`.
Column = dict[str, np.ndarray]


def empty_column(field: Field, num_samples: int) -> Column:
    """Zeros for every sample, or where lengths differ, nothing."""
    shape = tuple(length or 0 for length in field.shape)
    if not field.is_ragged:
        return {field.name: np.zeros((num_samples, *shape), field.dtype)}
    return {f"{field.name}/values": np.empty(shape, field.dtype), f"{field.name}/offsets": np.zeros(num_samples + 1, "<u8")}


def column_of(index: Index, field: Field) -> Column:
    """What a field, neither image nor mask, is now: the index's column, or what the shards hold, one after the other.

    Raises:
        DamagedError: Where a shard is damaged.
    """
    names = list(empty_column(field, 0))
    if all(name in index.columns for name in names):
        return {name: index.columns[name] for name in names}
    shards = OpenShards((index,))
    return joined(field, (Piece(index.shard_path(place), shards.get(place).array) for place in range(index.num_shards)))


def rows_of(column: Column, field: Field, ids: np.ndarray) -> list[np.ndarray]:
    """The value of each of some samples."""
    if not field.is_ragged:
        return list(column[field.name][ids])
    values, offsets = column[f"{field.name}/values"], column[f"{field.name}/offsets"]
    return [values[start:end] for start, end in zip(offsets[ids].tolist(), offsets[ids + 1].tolist(), strict=True)]


def with_values(column: Column, field: Field, ids: np.ndarray, values: Sequence[np.ndarray]) -> Column:
    """The column with other values for some samples.

    Args:
        column: All samples', as `column_of` gives it; it stays as it is.
        field: What it is of.
        ids: `(n,)` int64 sample ids, each once.
        values: Of each of them.
    """
    if not len(ids):
        return column
    if not field.is_ragged:
        array = column[field.name].copy()
        array[ids] = np.stack([np.asarray(each) for each in values])
        return {field.name: array}
    flat, offsets = column[f"{field.name}/values"], column[f"{field.name}/offsets"].astype(np.int64)
    before = np.diff(offsets)
    counts, stays = before.copy(), np.ones(len(before), bool)
    counts[ids], stays[ids] = [len(each) for each in values], False
    made = np.empty((int(counts.sum()), *flat.shape[1:]), flat.dtype)
    # Elements stay in the order of their samples, so those of all that stay can be copied at once.
    old = np.repeat(stays, counts)
    made[old] = flat[np.repeat(stays, before)]
    made[~old] = np.concatenate([np.asarray(values[place], flat.dtype) for place in np.argsort(ids)])
    return {f"{field.name}/values": made, f"{field.name}/offsets": np.concatenate([[0], np.cumsum(counts)]).astype("<u8")}


def without(columns: dict[str, np.ndarray], name: str) -> Column:
    """Columns but for those of a field, of whichever kind it was."""
    return {each: array for each, array in columns.items() if each.partition("/")[0] != name}
