"""How many samples each split of a dataset has, and how many of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kseq.display.charts import class_table
from kseq.display.html import frame
from kseq.errors import DamagedError
from kseq.reading.shard_cache import ShardCache
from kseq.storage.index import Index

__all__ = ["SplitCounts", "add_counts", "count_dataset", "count_splits", "read_labels"]

_COUNTED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class SplitCounts:
    """How many samples each split has, and how many of each class.

    Attributes:
        splits: Split name to the number of its samples.
        class_names: The class name of each label number.
        class_counts: Split name to the number of samples of each class; empty if samples have no label.
    """

    splits: dict[str, int]
    class_names: tuple[str, ...] = field(repr=False)
    class_counts: dict[str, list[int]] = field(repr=False)

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each class."""
        return frame("SplitCounts", lambda: [class_table(self.splits, self.class_names, self.class_counts)])


def read_labels(index: Index) -> np.ndarray | None:
    """`(samples,)`: the label of each sample, as the smallest unsigned integers that hold them; None if samples have no label.

    Raises:
        DamagedError: If a shard is damaged, or a label is the number of no class.
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
    """How many samples each of some splits has, and how many of each class.

    Args:
        index: The index of the dataset.
        splits: Split name to `(n,)` sample ids.
        labels: What `read_labels` returned.

    Raises:
        DamagedError: If a sample id does not exist.
    """
    class_counts: dict[str, list[int]] = {}
    for name, ids in splits.items():
        index.check_ids(ids)
        if labels is None:
            continue
        counts = np.zeros(len(index.class_names), np.int64)
        for start in range(0, len(ids), _COUNTED_AT_ONCE):
            counts += np.bincount(labels[ids[start : start + _COUNTED_AT_ONCE]], minlength=len(counts))
        class_counts[name] = counts.tolist()
    return SplitCounts({name: len(ids) for name, ids in splits.items()}, index.class_names, class_counts)


def count_dataset(index: Index) -> SplitCounts:
    """`count_splits` of the splits that a dataset has.

    Raises:
        DamagedError: If a shard is damaged, or a split or label is not what it must be.
    """
    return count_splits(index, index.splits, read_labels(index))


def add_counts(counts: Sequence[SplitCounts]) -> SplitCounts:
    """The sums of the counts of datasets that have the same classes, for all splits that any of them has."""
    splits: dict[str, int] = {}
    class_counts: dict[str, list[int]] = {}
    for one in counts:
        for name, size in one.splits.items():
            splits[name] = splits.get(name, 0) + size
        for name, sizes in one.class_counts.items():
            sums = class_counts.get(name, [0] * len(sizes))
            class_counts[name] = [total + size for total, size in zip(sums, sizes, strict=True)]
    return SplitCounts(splits, counts[0].class_names, class_counts)
