"""The labels of all samples of a dataset, and how many of each class are in each split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kseq.errors import DamagedError
from kseq.reading.shard_cache import ShardCache
from kseq.storage.index import Index

__all__ = ["SplitCounts", "count_splits", "read_labels"]

_COUNTED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class SplitCounts:
    """How many samples are where.

    Attributes:
        splits: Split name to the number of its samples.
        classes: Split name to the number of samples of each class; nothing where samples have no label.
    """

    splits: dict[str, int]
    classes: dict[str, list[int]]


def read_labels(index: Index) -> np.ndarray | None:
    """`(samples,)`: the label of each sample, in the smallest unsigned integers that hold them; None where there is none.

    Raises:
        DamagedError: Where a shard is damaged, or a label is that of no class.
    """
    if not any(field.is_label for field in index.fields):
        return None
    count = len(index.class_names)
    labels = np.empty(index.num_samples, np.min_scalar_type(count))
    ShardCache((index,)).copy_all("label", labels)
    if labels.size and int(labels.max()) >= count:
        raise DamagedError(f"{index.path}: has a label {int(labels.max())}, allowed is below {count}: bytes have changed")
    return labels


def count_splits(index: Index, splits: Mapping[str, np.ndarray], labels: np.ndarray | None) -> SplitCounts:
    """How many samples each of some splits has, and of each class.

    Args:
        index: Of the dataset.
        splits: Split name to `(n,)` sample ids.
        labels: What `read_labels` gave.

    Raises:
        DamagedError: Where a sample id does not exist.
    """
    classes: dict[str, list[int]] = {}
    for name, ids in splits.items():
        index.check_ids(ids)
        if labels is None:
            continue
        counts = np.zeros(len(index.class_names), np.int64)
        for start in range(0, len(ids), _COUNTED_AT_ONCE):
            counts += np.bincount(labels[ids[start : start + _COUNTED_AT_ONCE]], minlength=len(counts))
        classes[name] = counts.tolist()
    return SplitCounts({name: len(ids) for name, ids in splits.items()}, classes)
