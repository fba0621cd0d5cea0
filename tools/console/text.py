"""Small tables, sizes and durations as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import kseq

__all__ = [
    "format_boxes",
    "format_bytes",
    "format_count",
    "format_counts",
    "format_names",
    "format_splits",
    "format_table",
    "printable",
    "sort_splits",
]

# Of a long list of names, so many are shown.
_MOST_NAMES = 10

# With more classes, boxes are not counted by class.
_MOST_BOX_CLASSES = 100

# A longer line would be broken by a usual terminal.
_LINE_LENGTH = 100


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


def format_splits(rows: Sequence[Sequence[str]]) -> str:
    """A table with a line for each class; with a line for each split if that makes a wide table narrower."""
    table = format_table(rows)
    if len(rows) >= len(rows[0]) or len(table.partition("\n")[0]) <= _LINE_LENGTH:
        return table
    _, *columns = zip(*rows, strict=True)
    return format_table([["split", *(row[0] for row in rows[1:])], *columns])


def format_counts(splits: Mapping[str, int], class_names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> str:
    """A table of classes by splits, with the sums; of the sums alone if samples have no label."""
    names = sort_splits(splits)
    rows = [["class" if counts else "", *names]]
    for number, name in enumerate(class_names if counts else ()):
        rows.append([printable(name), *(f"{counts[split][number]:,}" for split in names)])
    rows.append(["all", *(f"{splits[split]:,}" for split in names)])
    return format_splits(rows)


def format_boxes(boxes: kseq.BoxCounts) -> str:
    """A table of boxes by class and split; of the sums alone if boxes have no class or there are very many classes."""
    names = sort_splits(boxes.num_boxes)
    rows = [["boxes", *names]]
    if len(boxes.class_names) <= _MOST_BOX_CLASSES:
        for number, name in enumerate(boxes.class_names):
            rows.append([printable(name), *(f"{boxes.class_counts[split][number]:,}" for split in names)])
    rows.append(["all", *(f"{boxes.num_boxes[split]:,}" for split in names)])
    rows.append(["images without", *(f"{boxes.num_empty[split]:,}" for split in names)])
    return format_splits(rows)


def format_names(names: Sequence[str]) -> str:
    """Names on one line, of more than ten the first ten."""
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(map(printable, names[:_MOST_NAMES])) + more


def sort_splits(splits: Iterable[str]) -> list[str]:
    """Names of splits: train, val and test before others."""
    return sorted(splits, key=lambda name: (["train", "val", "test", name]).index(name))


def printable(text: str) -> str:
    """A text in which what a terminal cannot show, or what would break the line, is escaped: file names may hold anything."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )
