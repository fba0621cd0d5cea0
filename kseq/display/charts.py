"""Tables with a bar in each row, as HTML and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kseq.display.html import Child, Markup, details, element, table
from kseq.display.words import sort_splits, visible

__all__ = ["bar_table", "class_table"]

# So many rows are shown at once, so many when they are asked for, and so many splits side by side.
_SHOWN, _MOST, _MOST_SPLITS = 10, 200, 6


def bar_table(head: str, counts: Mapping[str, int], unit: str) -> Markup:
    """A row with a bar for each of some counts; of many, the rest when it is asked for.

    Args:
        head: What is counted by.
        counts: Name to number.
        unit: What is counted.
    """
    most = max(counts.values(), default=0)
    rows: list[Sequence[Child]] = [[visible(name, 150), count, _bar(count, most)] for name, count in counts.items()]
    return _folded(rows, [head, unit, ""], (1,), head)


def class_table(splits: Mapping[str, int], class_names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Markup:
    """How many samples of each class each split has, with a bar for each class; without classes, a bar for each split.

    Args:
        splits: Split name to the number of its samples.
        class_names: The class name of each number.
        counts: Split name to the number of samples of each class; empty if samples have no classes.
    """
    names = sort_splits(splits)
    by_split = {name: splits[name] for name in names}
    if not counts or not class_names:
        return bar_table("split", by_split, "samples")
    totals = [sum(column) for column in zip(*(counts[name] for name in names), strict=True)]
    most = max(totals, default=0)
    shown = names if len(names) <= _MOST_SPLITS else []

    def sums(cell: Child) -> list[Child]:
        return [] if len(shown) == 1 else [cell]

    rows: list[Sequence[Child]] = [
        [visible(name), *(counts[split][number] for split in shown), *sums(total), _bar(total, most)]
        for number, (name, total) in enumerate(zip(class_names, totals, strict=False))
    ]
    rows.insert(0, ["all", *(splits[split] for split in shown), *sums(sum(splits.values())), ""])
    head = ["class", *shown, *([] if len(shown) == 1 else ["sum"]), ""]
    filled = _folded(rows, head, range(1, len(head) - 1), "class")
    return filled if shown else Markup(bar_table("split", by_split, "samples") + filled)


def _folded(rows: list[Sequence[Child]], head: Sequence[str], numbers: Sequence[int], thing: str) -> Markup:
    """A table; of many rows the first ones, and the others when they are asked for."""
    first = table(rows[:_SHOWN], head, numbers)
    rest = rows[_SHOWN:]
    if not rest:
        return first
    left = f" and {len(rest) - _MOST:,} that are not shown" if len(rest) > _MOST else ""
    ending = "es" if thing.endswith("s") else "s"
    return Markup(first + details(f"{min(len(rest), _MOST):,} more {thing}{ending}{left}", table(rest[:_MOST], head, numbers)))


def _bar(count: int, most: int) -> Markup:
    width = round(100 * count / most, 1) if most else 0
    drawn = element("rect", width=width, height=10)
    return element("svg", drawn, class_="kseq_bar", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")
