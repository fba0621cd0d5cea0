"""Small tables, sizes and durations as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kseq.labels import SplitCounts

__all__ = ["format_bytes", "format_change", "format_count", "format_counts", "format_table", "printable"]


def format_bytes(count: int) -> str:
    """`1536` to `1.5 KiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_count(count: int, thing: str) -> str:
    """`1 shard`, `1,000 shards`."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns, the first aligned left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def format_counts(splits: Mapping[str, int], class_names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> str:
    """A table of classes by splits, with the sums; of the sums alone where samples have no label."""
    names = sorted(splits, key=lambda name: (["train", "val", "test", name]).index(name))
    rows = [["class" if counts else "", *names]]
    for number, name in enumerate(class_names if counts else ()):
        rows.append([printable(name), *(f"{counts[split][number]:,}" for split in names)])
    rows.append(["all", *(f"{splits[split]:,}" for split in names)])
    return format_table(rows)


def format_change(class_names: Sequence[str], before: SplitCounts, after: SplitCounts) -> str:
    """A table of classes by splits: how many there are, or, of a split that has changed, how many there were and are."""
    names = sorted({**before.splits, **after.splits}, key=lambda name: (["train", "val", "test", name].index(name), name))

    def cell(was: int | None, now: int | None) -> str:
        shown = ["-" if count is None else f"{count:,}" for count in (was, now)]
        return shown[1] if was == now else " -> ".join(shown)

    rows = [["class" if after.classes else "", *names]]
    for number, name in enumerate(class_names if after.classes else ()):
        counts = [
            [side.classes[split][number] if split in side.classes else None for split in names] for side in (before, after)
        ]
        rows.append([printable(name), *map(cell, *counts)])
    rows.append(["all", *(cell(before.splits.get(split), after.splits.get(split)) for split in names)])
    return format_table(rows)


def printable(text: str) -> str:
    """A file name that may hold anything, so that it stays on its line and any terminal takes it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode() for each in text)
