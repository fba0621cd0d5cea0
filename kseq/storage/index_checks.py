"""What an index says is looked at before it is believed: that its arrays fit each other, its fields, and the shards."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kseq.errors import ArgumentError, DamagedError, FormatError
from kseq.storage.array_schema import ArraySchema
from kseq.storage.checksums import DIGEST_BYTES
from kseq.storage.index_schema import check_split_name, column_schema, describe_shard_arrays
from kseq.storage.layout import shard_name
from kseq.storage.opener import opener_for
from kseq.storage.shard_schema import shard_schema
from kseq.storage.strings import read_text

if TYPE_CHECKING:
    from kseq.storage.index import Index

__all__ = ["check_counts", "check_index"]

# What an index says takes memory before the first shard is opened: flags for many rows, room for large ones. A shard that is
# said to have more rows than this, or larger ones, is looked at before.
_MOST_UNSEEN_ROWS, _MOST_UNSEEN_ROW_BYTES = 1 << 20, 1 << 24


def check_index(index: Index) -> None:
    """Raise unless everything but the values of large arrays is as it must be, in time proportional to the number of shards.

    Raises:
        FormatError: If it holds something that is not allowed.
        DamagedError: If it does not fit its shards.
    """
    _check_lengths(index)
    _check_names(index)
    _check_locations(index)
    _check_sizes(index)
    _check_columns(index)


def _check_lengths(index: Index) -> None:
    """Raise FormatError unless all arrays of the shard table have the same length."""
    names = [name for name in index.file.arrays if name.startswith("shards/")]
    lengths = {name: len(index.file.arrays[name]) for name in names}
    if len(set(lengths.values())) != 1:
        raise FormatError(f"{index.file.path}: the arrays under shards have different lengths: {lengths}")


def _check_columns(index: Index) -> None:
    """Raise FormatError unless the columns are those that the fields need, with a value for each sample."""
    stored = {field.name for field in index.stored_fields}
    expected: dict[str, ArraySchema] = {}
    for field in index.fields:
        schema = column_schema(field, index.num_samples)
        if field.name not in stored or any(name in index.columns for name in schema):
            expected |= schema
    counted = {name: array.shape for name, array in index.lengths.items()}
    if counted != {field.name: (index.num_samples,) for field in index.stored_fields if field.is_ragged}:
        raise FormatError(
            f"{index.file.path}: has lengths of the fields {counted}, expected are {index.num_samples} of each that differs"
        )
    for name in {**expected, **index.columns}:
        array, allowed = index.columns.get(name), expected.get(name)
        if array is None or allowed is None or not allowed.allows(array.dtype, array.shape):
            actual = "missing" if array is None else f"{array.dtype} {array.shape}"
            raise FormatError(f"{index.file.path}: the column {name!r} is {actual}, expected is {allowed or 'none'}")


def _check_names(index: Index) -> None:
    """Raise FormatError unless fields differ in their names, and splits have names that are no paths."""
    for fields in (index.fields, index.stored_fields):
        if len({field.name for field in fields}) != len(fields):
            raise FormatError(f"{index.file.path}: two fields have one name: {', '.join(field.name for field in fields)}")
    for name in index.splits:
        try:
            check_split_name(name)
        except ArgumentError as error:
            raise FormatError(f"{index.file.path}: {error}") from error


def _check_locations(index: Index) -> None:
    """Raise unless every array of every shard lies inside the file, and is as long as the rows of the shard ask for."""
    path, arrays = index.file.path, index.file.arrays
    described, expected = read_text(arrays["shard_arrays"]), describe_shard_arrays(index.stored_fields)
    if described != expected:
        raise FormatError(f"{path}: shard_arrays is {described[:80]!r}, expected for its fields is {expected[:80]!r}")
    names, num_bytes = list(index.shard_arrays), index.num_bytes
    shape = (index.num_shards, len(names))
    offsets, lengths = arrays["shards/offsets"], arrays["shards/lengths"]
    if offsets.shape != shape or lengths.shape != shape:
        raise FormatError(f"{path}: shards/offsets and shards/lengths are {offsets.shape} and {lengths.shape}, not {shape}")
    rows = np.diff(index.starts).astype("<u8")
    # What each length is of 0 rows and of 1 row says how it depends on the rows.
    of_none, of_one = (shard_schema(index.stored_fields, count) for count in (0, 1))
    is_wrong = np.zeros(shape, bool)
    for column, name in enumerate(names):
        none, one, row_bytes = of_none[name].shape[0], of_one[name].shape[0], _row_bytes(index.shard_arrays[name])
        starts, counts = offsets[:, column], lengths[:, column]
        is_wrong[:, column] = counts > (num_bytes - np.minimum(starts, num_bytes)) // row_bytes
        has_elements = (counts > 0) & (0 not in index.shard_arrays[name].shape[1:])
        is_wrong[:, column] |= (starts == 0) == has_elements
        if none is not None and one is not None:
            is_wrong[:, column] |= counts != none + rows * np.uint64(one - none)
    is_wrong[:, 0] |= arrays["shards/digest_offset"] > num_bytes - np.minimum(2 * DIGEST_BYTES, num_bytes)
    if is_wrong.any():
        shard, column = (int(number) for number in np.argwhere(is_wrong)[0])
        raise DamagedError(
            f"{path}: says of {shard_name(int(index.numbers[shard]))} that {names[column]!r} has {lengths[shard, column]} "
            f"elements from byte {offsets[shard, column]}, and the digest lies at byte "
            f"{arrays['shards/digest_offset'][shard]}: allowed is {rows[shard]} rows inside its {num_bytes[shard]} bytes"
        )


def _check_sizes(index: Index) -> None:
    """Raise DamagedError unless shards of very many rows, or one of very large rows, exist and have their size."""
    rows = np.diff(index.starts)
    positions = np.flatnonzero(rows > _MOST_UNSEEN_ROWS).tolist()
    if max(map(_row_bytes, index.shard_arrays.values())) > _MOST_UNSEEN_ROW_BYTES:
        positions += np.flatnonzero(rows > 0)[:1].tolist()
    for position in positions:
        _check_shard_size(index, position)


def _check_shard_size(index: Index, position: int) -> None:
    """Raise DamagedError unless the file of a shard has the size that the index says."""
    path = index.shard_path(position)
    if index.remote is not None:
        num_bytes = index.remote.files.size(shard_name(int(index.numbers[position])))
    else:
        with opener_for(path, index.read).open(path) as file:
            num_bytes = file.num_bytes
    if num_bytes != index.num_bytes[position]:
        raise DamagedError(f"{path}: has {num_bytes} bytes, expected are {index.num_bytes[position]}")


def check_counts(index: Index, field: str, ids: np.ndarray, counts: np.ndarray) -> None:
    """Raise DamagedError unless the shards of some samples can have so many elements of a field in each."""
    column = list(index.shard_arrays).index(f"{field}/values")
    shards = np.searchsorted(index.starts, ids, side="right") - 1
    most = index.file.arrays["shards/lengths"][shards, column]
    for position in np.flatnonzero(counts > most)[:1].tolist():
        raise DamagedError(
            f"{index.file.path}: says that sample {ids[position]} has {counts[position]} elements of {field}, allowed are "
            f"the {most[position]} of its shard"
        )
    element_bytes = _row_bytes(index.shard_arrays[f"{field}/values"])
    for shard in sorted(set(shards[counts > _MOST_UNSEEN_ROW_BYTES // element_bytes].tolist())):
        _check_shard_size(index, shard)


def _row_bytes(schema: ArraySchema) -> int:
    """The size of what one element of the first axis takes; at least 1."""
    return max(1, np.dtype(schema.dtype).itemsize * math.prod(length or 0 for length in schema.shape[1:]))
