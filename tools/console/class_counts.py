"""How many samples of each class a dataset's splits have, before and after a change."""

from __future__ import annotations

import kseq
from kseq.arguments import path_text

from ..console.text import format_splits, printable, sort_splits

__all__ = ["count", "format_change"]


def count(path: str) -> kseq.SplitCounts:
    """What the splits of a dataset have now."""
    with kseq.ShardDataset(path_text("dataset", path)) as dataset:
        return dataset.counts()


def format_change(before: kseq.SplitCounts, after: kseq.SplitCounts) -> str:
    """A table of classes by splits, with the sums; a cell is `BEFORE -> AFTER` where they differ."""
    splits = sort_splits({**before.splits, **after.splits})
    has_classes = bool(before.class_counts or after.class_counts)
    rows = [["class" if has_classes else "", *splits]]
    if has_classes:
        old, new = _by_name(before), _by_name(after)
        for name in dict.fromkeys([*before.class_names, *after.class_names]):
            cells = [_cell(_of_class(old, split, name), _of_class(new, split, name)) for split in splits]
            rows.append([printable(name), *cells])
    rows.append(["all", *(_cell(before.splits.get(split), after.splits.get(split)) for split in splits)])
    return format_splits(rows)


def _by_name(counts: kseq.SplitCounts) -> dict[str, dict[str, int]]:
    """Split name to class name to the number of samples."""
    return {split: dict(zip(counts.class_names, counts.class_counts.get(split, ()), strict=False)) for split in counts.splits}


def _of_class(counts: dict[str, dict[str, int]], split: str, class_name: str) -> int | None:
    """How many samples of a class a split has; None if there is no such split."""
    return counts[split].get(class_name, 0) if split in counts else None


def _cell(before: int | None, after: int | None) -> str:
    old, new = ("-" if count is None else f"{count:,}" for count in (before, after))
    return new if old == new else f"{old} -> {new}"
