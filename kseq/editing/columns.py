"""The values of a field for all samples, as the arrays of a column of the index.

A column has the arrays that a shard has of the field: `NAME`, or for values of different lengths `NAME/values` and
`NAME/offsets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kseq.errors import DamagedError
from kseq.reading.shard_cache import ShardCache
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.index_schema import column_schema

__all__ = [
    "ColumnArrays",
    "FieldArrays",
    "concatenate_column",
    "empty_column",
    "has_column",
    "make_column",
    "read_column",
    "replace_values",
    "select_values",
    "without_field",
]

# Array name to array.
ColumnArrays = dict[str, np.ndarray]


class FieldArrays(NamedTuple):
    """The arrays of a field for some samples, those of one shard or of one index.

    Attributes:
        path: The file, for messages.
        array: Gives an array by its name.
        new_numbers: The new number of each class, see `kseq.storage.class_union.class_numbers`; None if classes keep theirs.
    """

    path: str
    array: Callable[[str], np.ndarray]
    new_numbers: np.ndarray | None = None


def has_column(index: Index, field: Field) -> bool:
    """Whether the index has a column of a field, so that the arrays of the shards do not count."""
    return any(name in index.columns for name in column_schema(field, index.num_samples))


def empty_column(field: Field, num_samples: int) -> ColumnArrays:
    """A column of zeros or, for values of different lengths, of empty values."""
    shape = _fixed_shape(field)
    if not field.is_ragged:
        return {field.name: np.zeros((num_samples, *shape), field.dtype)}
    return {f"{field.name}/values": np.empty(shape, field.dtype), f"{field.name}/offsets": np.zeros(num_samples + 1, "<u8")}


def make_column(field: Field, values: Sequence[np.ndarray]) -> ColumnArrays:
    """A column of the values of some samples, at least one."""
    if not field.is_ragged:
        return {field.name: np.stack(values)}
    offsets = np.cumsum([0, *map(len, values)]).astype("<u8")
    return {f"{field.name}/values": np.concatenate(values), f"{field.name}/offsets": offsets}


def read_column(index: Index, field: Field) -> ColumnArrays:
    """The current values of a field that is no image and no mask: from the index, or else from the shards.

    Raises:
        DamagedError: If a shard is damaged.
    """
    names = list(empty_column(field, 0))
    if all(name in index.columns for name in names):
        return {name: index.columns[name] for name in names}
    shards = ShardCache((index,))
    parts = (FieldArrays(index.shard_path(number), shards.get(number).array) for number in range(index.num_shards))
    return concatenate_column(field, parts)


def select_values(column: ColumnArrays, field: Field, ids: np.ndarray) -> list[np.ndarray]:
    """The values of some samples, given their `(n,)` sample ids."""
    if not field.is_ragged:
        return list(column[field.name][ids])
    elements, offsets = column[f"{field.name}/values"], column[f"{field.name}/offsets"]
    return [elements[start:end] for start, end in zip(offsets[ids].tolist(), offsets[ids + 1].tolist(), strict=True)]


def replace_values(column: ColumnArrays, field: Field, ids: np.ndarray, values: Sequence[np.ndarray]) -> ColumnArrays:
    """A copy of a column with other values for some samples.

    Args:
        column: The column of the field, for all samples.
        field: The field.
        ids: `(n,)` int64 sample ids, each once.
        values: The new value of each of these samples.
    """
    if not len(ids):
        return column
    if not field.is_ragged:
        array = column[field.name].copy()
        array[ids] = np.stack([np.asarray(value) for value in values])
        return {field.name: array}
    old_elements, old_offsets = column[f"{field.name}/values"], column[f"{field.name}/offsets"].astype(np.int64)
    old_counts = np.diff(old_offsets)
    counts, is_kept = old_counts.copy(), np.ones(len(old_counts), bool)
    counts[ids], is_kept[ids] = [len(value) for value in values], False
    elements = np.empty((int(counts.sum()), *old_elements.shape[1:]), old_elements.dtype)
    # Elements stay in the order of their samples, so the elements of all samples that keep theirs are copied at once.
    is_old = np.repeat(is_kept, counts)
    elements[is_old] = old_elements[np.repeat(is_kept, old_counts)]
    elements[~is_old] = np.concatenate([np.asarray(values[number], elements.dtype) for number in np.argsort(ids)])
    return {f"{field.name}/values": elements, f"{field.name}/offsets": np.concatenate([[0], np.cumsum(counts)]).astype("<u8")}


def without_field(columns: ColumnArrays, name: str) -> ColumnArrays:
    """The columns of an index without those of one field."""
    return {array_name: array for array_name, array in columns.items() if array_name.partition("/")[0] != name}


def concatenate_column(field: Field, parts: Iterable[FieldArrays]) -> ColumnArrays:
    """A column that holds the values of one part after those of the other.

    Raises:
        DamagedError: If the offsets of a part are broken.
    """
    if not field.is_ragged:
        empty = np.empty((0, *_fixed_shape(field)), field.dtype)
        return {field.name: np.concatenate([empty, *(_renumbered(field, field.name, part) for part in parts)])}
    elements = [np.empty((0, *_fixed_shape(field)[1:]), field.dtype)]
    offsets, total = [np.zeros(1, "<u8")], 0
    for part in parts:
        part_elements, part_offsets = _renumbered(field, f"{field.name}/values", part), part.array(f"{field.name}/offsets")
        _check_offsets(f"{part.path}: {field.name}/offsets", part_offsets, len(part_elements))
        elements.append(part_elements)
        offsets.append(part_offsets[1:] + np.uint64(total))
        total += len(part_elements)
    return {f"{field.name}/values": np.concatenate(elements), f"{field.name}/offsets": np.concatenate(offsets)}


def _fixed_shape(field: Field) -> tuple[int, ...]:
    """The shape of one value, with 0 in place of a length that differs between samples."""
    return tuple(length or 0 for length in field.shape)


def _renumbered(field: Field, name: str, part: FieldArrays) -> np.ndarray:
    return field.handler.renumber(part.array(name), part.new_numbers)


def _check_offsets(name: str, offsets: np.ndarray, count: int) -> None:
    if int(offsets[0]) != 0 or int(offsets[-1]) != count or (offsets[1:] < offsets[:-1]).any():
        raise DamagedError(f"{name} do not rise from 0 to {count}: bytes have changed")
