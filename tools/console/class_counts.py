"""How many samples of each class a dataset's splits have, also before and after a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kseq.reading.label_counts import SplitCounts, count_splits, read_labels
from kseq.storage.index import Index

from ..console.text import format_splits, in_order, printable

__all__ = ["Counts", "count", "format_change"]


@dataclass(frozen=True)
class Counts:
    """What a dataset holds.

    Attributes:
        class_names: The class of each label number.
        found: How many samples are where.
    """

    class_names: Sequence[str]
    found: SplitCounts

    def of(self, split: str, name: str) -> int | None:
        """How many samples of a class a split has; None where there is no such split."""
        if split not in self.found.splits:
            return None
        return dict(zip(self.class_names, self.found.classes.get(split, ()), strict=False)).get(name, 0)


def count(path: str) -> Counts:
    """What a dataset holds now."""
    index = Index.open(path)
    return Counts(index.class_names, count_splits(index, index.splits, read_labels(index)))


def format_change(before: Counts, now: Counts) -> str:
    """A table of classes by splits, with the sums, `BEFORE -> NOW` where they differ."""
    names = in_order({**before.found.splits, **now.found.splits})
    has_classes = bool(before.found.classes or now.found.classes)
    rows = [["class" if has_classes else "", *names]]
    for each in dict.fromkeys([*before.class_names, *now.class_names]) if has_classes else ():
        rows.append([printable(each), *(_cell(before.of(split, each), now.of(split, each)) for split in names)])
    rows.append(["all", *(_cell(before.found.splits.get(split), now.found.splits.get(split)) for split in names)])
    return format_splits(rows)


def _cell(before: int | None, now: int | None) -> str:
    shown = ["-" if count is None else f"{count:,}" for count in (before, now)]
    return shown[1] if before == now else " -> ".join(shown)
