"""A field of all samples as the arrays of a column: read, joined end to end, and with other values for some samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kseq.errors import DamagedError
from kseq.reading.shard_cache import ShardCache
from kseq.storage.fields import Field
from kseq.storage.index import Index

__all__ = ["Column", "Piece", "column_of", "empty_column", "joined", "rows_of", "with_values", "without"]

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
    shards = ShardCache((index,))
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


class Piece(NamedTuple):
    """A field of some samples.

    Attributes:
        path: Where it lies, for messages.
        array: Gives an array by the name that it has in a shard: `NAME`, or `NAME/values` and `NAME/offsets`.
        numbers: What its class numbers become, see `kseq.storage.compatibility.class_numbers`.
    """

    path: str
    array: Callable[[str], np.ndarray]
    numbers: np.ndarray | None = None


def joined(field: Field, pieces: Iterable[Piece]) -> dict[str, np.ndarray]:
    """The arrays of a column that holds one piece after the other.

    Raises:
        DamagedError: Where offsets are broken.
    """
    if not field.is_ragged:
        shape = tuple(length or 0 for length in field.shape)
        rows = [field.handler.renumber(each.array(field.name), each.numbers) for each in pieces]
        return {field.name: np.concatenate([np.empty((0, *shape), field.dtype), *rows])}
    values = [np.empty((0, *(length or 0 for length in field.shape[1:])), field.dtype)]
    offsets, total = [np.zeros(1, "<u8")], 0
    for each in pieces:
        found, its = each.array(f"{field.name}/values"), each.array(f"{field.name}/offsets")
        if int(its[0]) != 0 or int(its[-1]) != len(found) or (its[1:] < its[:-1]).any():
            raise DamagedError(f"{each.path}: {field.name}/offsets do not rise from 0 to {len(found)}: bytes have changed")
        values.append(field.handler.renumber(found, each.numbers))
        offsets.append(its[1:] + np.uint64(total))
        total += len(found)
    return {f"{field.name}/values": np.concatenate(values), f"{field.name}/offsets": np.concatenate(offsets)}
