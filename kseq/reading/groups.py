"""Groups of samples that stay together in a split: those with the same value of a field."""

from __future__ import annotations

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ArgumentError
from kseq.reading.shard_cache import ShardCache
from kseq.storage.fields import Field
from kseq.storage.index import Index

__all__ = ["number_groups", "read_groups"]


def read_groups(index: Index, name: str) -> np.ndarray:
    """`(samples,)` int64: the same number for all samples with the same value; a sample with an empty text or NaN is alone.

    Args:
        index: The index of the dataset.
        name: The name of a field: a label, numbers or text.

    Raises:
        ArgumentError: If there is no such field, or it is of another kind.
        DamagedError: If a shard is damaged.
    """
    fields = {field.name: field for field in index.fields}
    if name not in fields:
        raise ArgumentError(f"{index.path}: {spelled('group', name)}: has no such field, its fields are {', '.join(fields)}")
    field = fields[name]
    if not field.handler.can_group:
        raise ArgumentError(
            f"{index.path}: {spelled('group', name)}: is {field.kind}, allowed are a label, text, "
            "and numbers, as many in each sample"
        )
    return _group_by_bytes(index, name) if field.is_ragged else _group_by_numbers(index, field)


def _group_by_bytes(index: Index, name: str) -> np.ndarray:
    numbers: dict[bytes, int] = {}
    groups = np.empty(index.num_samples, np.int64)
    for sample_id, value in enumerate(ShardCache((index,)).each(f"{name}/values", f"{name}/offsets")):
        # The numbers of samples that are alone are below 0.
        groups[sample_id] = numbers.setdefault(value, len(numbers)) if value else -1 - sample_id
    return groups


def _group_by_numbers(index: Index, field: Field) -> np.ndarray:
    values: np.ndarray = np.empty((index.num_samples, *(length or 0 for length in field.shape)), field.dtype)
    ShardCache((index,)).copy_all(field.name, values)
    rows = values.reshape(len(values), -1)
    # numpy sorts whole rows more slowly than numbers.
    inverse = np.unique(rows[:, 0] if rows.shape[1] == 1 else rows, axis=0, return_inverse=True)[1]
    groups: np.ndarray = inverse.reshape(-1).astype(np.int64)
    alone = np.flatnonzero(np.isnan(rows).any(axis=1)) if rows.dtype.kind == "f" else np.empty(0, np.int64)
    groups[alone] = -1 - alone
    return groups


def number_groups(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups of some samples from 0, in the order of their first samples.

    Args:
        groups: `(n,)` int64, as `read_groups` returns them.

    Returns:
        `(n,)` int64: the number of each sample's group. `(groups,)` int64: the position of the first sample of each group.
    """
    _, firsts, inverse = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(firsts, kind="stable")
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(len(order))
    return numbers[inverse.reshape(-1)], firsts[order]
