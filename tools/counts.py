"""How many samples of each class a dataset's splits have, also before and after a change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import kseq

from .table import format_table, in_order, printable

__all__ = ["Counts", "class_counts", "count", "format_change"]


@dataclass(frozen=True)
class Counts:
    """What a dataset holds.

    Attributes:
        class_names: The class of each label number.
        splits: Split name to the number of its samples.
        class_counts: Split name to the number of samples of each class; nothing where samples have no label.
    """

    class_names: tuple[str, ...]
    splits: dict[str, int]
    class_counts: dict[str, list[int]]

    def of(self, split: str, name: str) -> int:
        """How many samples of a class a split has; 0 where there is no such class or split."""
        return dict(zip(self.class_names, self.class_counts.get(split, ()), strict=False)).get(name, 0)


def count(path: str) -> Counts:
    """What a dataset holds now."""
    with kseq.ShardDataset(path) as dataset:
        return Counts(dataset.classes, dataset.splits, class_counts(dataset))


def class_counts(dataset: kseq.ShardDataset) -> dict[str, list[int]]:
    """For each split, the number of samples of each class; nothing where samples have no label."""
    counts: dict[str, list[int]] = {}
    if "label" not in dataset.fields:
        return counts
    for name, ids in dataset.index.splits.items():
        labels = np.empty(len(ids), dataset.fields["label"].dtype)
        dataset.gather("label", ids.astype(np.int64), labels)
        counts[name] = np.bincount(labels, minlength=len(dataset.classes)).tolist()
    return counts


def format_change(before: Counts, now: Counts) -> str:
    """A table of classes by splits, with the sums, `BEFORE -> NOW` where they differ."""
    names = in_order({**before.splits, **now.splits})
    has_classes = bool(before.class_counts or now.class_counts)
    rows = [["class" if has_classes else "", *names]]
    for each in dict.fromkeys([*before.class_names, *now.class_names]) if has_classes else ():
        rows.append([printable(each), *(_cell(before.of(split, each), now.of(split, each)) for split in names)])
    rows.append(["all", *(_cell(before.splits.get(split, 0), now.splits.get(split, 0)) for split in names)])
    return format_table(rows)


def _cell(before: int, now: int) -> str:
    return f"{now:,}" if before == now else f"{before:,} -> {now:,}"
