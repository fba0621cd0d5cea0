"""Groups of samples that stay together: those with the same value of a field."""

from __future__ import annotations

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ArgumentError
from kseq.reading.shard_cache import ShardCache
from kseq.storage.fields import Field
from kseq.storage.index import Index

__all__ = ["read_groups", "units_of"]


def read_groups(index: Index, name: str) -> np.ndarray:
    """`(samples,)` int64: the same number for all samples whose values are equal; an empty text, or NaN, equals none.

    Args:
        index: Of the dataset.
        name: Of the field: a label, numbers or text.

    Raises:
        ArgumentError: Where there is no such field, or it is of another kind.
        DamagedError: Where a shard is damaged.
    """
    known = {each.name: each for each in index.fields}
    if name not in known:
        raise ArgumentError(f"{index.path}: {spelled('group', name)}: has no such field, its fields are {', '.join(known)}")
    found = known[name]
    if not found.handler.can_group:
        raise ArgumentError(
            f"{index.path}: {spelled('group', name)}: is {found.kind}, allowed are a label, text, "
            "and numbers, as many in each sample"
        )
    return _ragged_groups(index, name) if found.is_ragged else _number_groups(index, found)


def _ragged_groups(index: Index, name: str) -> np.ndarray:
    numbers: dict[bytes, int] = {}
    groups = np.empty(index.num_samples, np.int64)
    for place, value in enumerate(ShardCache((index,)).each(f"{name}/values", f"{name}/offsets")):
        # Those that are empty count down from -1.
        groups[place] = numbers.setdefault(value, len(numbers)) if value else -1 - place
    return groups


def _number_groups(index: Index, found: Field) -> np.ndarray:
    values: np.ndarray = np.empty((index.num_samples, *(length or 0 for length in found.shape)), found.dtype)
    ShardCache((index,)).copy_all(found.name, values)
    rows = values.reshape(len(values), -1)
    # Whole rows are compared by a slower sort.
    alike = np.unique(rows[:, 0] if rows.shape[1] == 1 else rows, axis=0, return_inverse=True)[1]
    groups: np.ndarray = alike.reshape(-1).astype(np.int64)
    alone = np.flatnonzero(np.isnan(rows).any(axis=1)) if rows.dtype.kind == "f" else np.empty(0, np.int64)
    groups[alone] = -1 - alone
    return groups


def units_of(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The groups of some samples, numbered in the order in which they come first.

    Args:
        groups: `(n,)` int64, as `read_groups` gives them.

    Returns:
        `(n,)` int64: the number of each sample's group; `(groups,)` int64: where each has its first sample.
    """
    _, firsts, units = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(firsts, kind="stable")
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(len(order))
    return numbers[units.reshape(-1)], firsts[order]
