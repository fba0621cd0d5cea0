"""Tables of how many samples or boxes the splits have of each class: long ones folded, folds of a cross-validation together."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import kseq

from .text import display_width, format_count, format_table, line_length, printable, shortened, sort_splits

__all__ = ["format_boxes", "format_change", "format_counts"]

# More classes than this are folded, to those that have most and those that have least.
_MOST_CLASSES = 20
_LARGEST, _SMALLEST = 8, 4

_FOLD = re.compile(r"(fold\d+)-(train|val)")

# Of a bar, in characters.
_LONGEST_BAR, _SHORTEST_BAR = 24, 6
_BLOCKS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class _Row:
    """A class of a table.

    Attributes:
        name: Of the class.
        cells: One for each column.
        size: By which classes are folded.
    """

    name: str
    cells: tuple[str, ...]
    size: int


def format_counts(
    splits: Mapping[str, int],
    class_names: Sequence[str],
    counts: Mapping[str, Sequence[int]],
    *,
    hint: str = "",
    with_all: bool = False,
    with_bars: bool = False,
) -> str:
    """A table of classes by splits, with the sums; of the sums alone if samples have no label.

    Args:
        splits: Split name to the number of its samples.
        class_names: The class of each number.
        counts: Split name to the number of samples of each class; empty if samples have no label.
        hint: How the classes are seen that are folded.
        with_all: Fold none.
        with_bars: Draw a bar for each class.
    """
    columns = _columns(splits)
    rows = _rows(columns, class_names if counts else (), counts)
    sums = [["all", *_cells(columns, splits)]]
    return _Table("class" if counts else "", columns, rows, sums).text(hint, with_all, with_bars)


def format_boxes(boxes: kseq.BoxCounts, *, hint: str = "", with_all: bool = False, with_bars: bool = False) -> str:
    """A table of boxes by class and split; of the sums alone if boxes have no class. Arguments as of `format_counts`."""
    columns = _columns(boxes.num_boxes)
    rows = _rows(columns, boxes.class_names, boxes.class_counts)
    sums = [["all", *_cells(columns, boxes.num_boxes)], ["images without", *_cells(columns, boxes.num_empty)]]
    return _Table("boxes", columns, rows, sums).text(hint, with_all, with_bars)


def format_change(before: kseq.SplitCounts, after: kseq.SplitCounts, *, hint: str = "") -> str:
    """A table of classes by the splits that are there now: a cell is `BEFORE -> AFTER` where these differ, of a split that was
    there before. Classes are folded by how much they changed. Below, the splits that are gone."""
    columns = _columns(after.splits)
    names = dict.fromkeys([*before.class_names, *after.class_names])
    old, new = _by_class(before), _by_class(after)
    rows = []
    for name in names if before.class_counts or after.class_counts else ():
        is_before, is_now = old.get(name, {}), new.get(name, {})
        size = sum(abs(is_now.get(split, 0) - is_before.get(split, 0)) for split in after.splits)
        # A split that is there has a number for each class, also for one that is new.
        counts_before = {split: is_before.get(split, 0) for split in before.splits}
        counts_now = {split: is_now.get(split, 0) for split in after.splits}
        rows.append(_Row(name, _changes(columns, counts_before, counts_now), size))
    sums = [["all", *_changes(columns, before.splits, after.splits)]]
    lines = [_Table("class" if rows else "", columns, rows, sums).text(hint, False, False)]
    gone = {title: splits for title, splits in _columns(before.splits).items() if not set(splits) <= set(after.splits)}
    texts = [f"{title} ({cell})" for title, cell in zip(gone, _cells(gone, before.splits), strict=True)]
    return "\n".join([*lines, *([f"no longer there: {', '.join(texts)}"] if gone else [])])


class _Table:
    """Classes by columns, with lines of sums.

    Args:
        title: Of the first column.
        columns: Title to the splits of each other column.
        rows: A class each.
        sums: A line each, cells of all columns.
    """

    def __init__(
        self, title: str, columns: Mapping[str, Sequence[str]], rows: Sequence[_Row], sums: Sequence[Sequence[str]]
    ) -> None:
        self._header = [title, *columns]
        self._rows = rows
        self._sums = sums
        self._has_folds = any(len(splits) > 1 for splits in columns.values())

    def text(self, hint: str, with_all: bool, with_bars: bool) -> str:
        """The table: a line for each class, or for each split where that is narrower than the line and the other is not."""
        first, last = (self._rows, []) if with_all else _fold(self._rows)
        shown = [*first, *last]
        lines = self._upright(shown, shorten=not with_all)
        upright, turned = format_table(lines).split("\n"), _turn(lines)
        folded = [_folded_line(self._rows, shown, hint)] if len(shown) < len(self._rows) else []
        widths, room = [_width(upright), _width(turned)], line_length()
        if not with_all and shown and min(widths) > room:
            sums = _turn([self._header, *self._sums])
            lines_shown = [*sums, f"{len(self._rows):,} classes, too wide to show{_in_parentheses(hint)}"]
        elif widths[0] <= max(room, widths[1]):
            lines_shown = _with_bars(upright, [row.size for row in shown]) if with_bars else upright
            lines_shown[1 + len(first) : 1 + len(first)] = [f"  {line}" for line in folded]
        else:
            lines_shown = [*turned, *folded]
        return "\n".join([*lines_shown, *(["in a fold: train/val"] if self._has_folds else [])])

    def _upright(self, rows: Sequence[_Row], *, shorten: bool) -> list[Sequence[str]]:
        names = (shortened(printable(row.name)) if shorten else printable(row.name) for row in rows)
        return [self._header, *([name, *row.cells] for name, row in zip(names, rows, strict=True)), *self._sums]


def _turn(lines: Sequence[Sequence[str]]) -> list[str]:
    """The table with a line for each column."""
    _, *columns = zip(*lines, strict=True)
    return format_table([["split", *(line[0] for line in lines[1:])], *columns]).split("\n")


def _width(lines: Sequence[str]) -> int:
    return max(map(display_width, lines))


def _fold(rows: Sequence[_Row]) -> tuple[Sequence[_Row], Sequence[_Row]]:
    """The rows to show before and behind those that are folded: all as they come, or the largest and the smallest."""
    if len(rows) <= _MOST_CLASSES:
        return rows, []
    falling = sorted(rows, key=lambda row: -row.size)
    return falling[:_LARGEST], falling[-_SMALLEST:]


def _folded_line(rows: Sequence[_Row], shown: Sequence[_Row], hint: str) -> str:
    names = {row.name for row in shown}
    sizes = [row.size for row in rows if row.name not in names]
    each = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    return f"... {format_count(len(sizes), 'more class')} of {each}{_in_parentheses(hint)}"


def _in_parentheses(hint: str) -> str:
    return f" ({hint})" if hint else ""


def _with_bars(lines: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """The lines of a table, with a bar behind the line of each size, where there is room."""
    width = _width(lines)
    longest = min(_LONGEST_BAR, line_length() - width - 2)
    if longest < _SHORTEST_BAR or not any(sizes):
        return list(lines)
    bars = ["", *(_bar(size / max(sizes), longest) for size in sizes)]
    bars += [""] * (len(lines) - len(bars))
    return [f"{line}{' ' * (width + 2 - display_width(line))}{bar}".rstrip() for line, bar in zip(lines, bars, strict=True)]


def _bar(share: float, longest: int) -> str:
    """A bar of eighths of a character, or of whole ones where stdout cannot show these."""
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#" * max(round(share * longest), share > 0)
    eighths = max(round(share * longest * 8), share > 0)
    return _BLOCKS[8] * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def _columns(splits: Mapping[str, int]) -> dict[str, list[str]]:
    """Title of each column to its splits: one, or the two of a fold."""
    columns: dict[str, list[str]] = {}
    for name in sort_splits(splits):
        match = _FOLD.fullmatch(name)
        has_both = match is not None and {f"{match[1]}-train", f"{match[1]}-val"} <= set(splits)
        columns.setdefault(match[1] if match and has_both else name, []).append(name)
    return columns


def _cells(columns: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple("/".join(f"{counts[split]:,}" for split in splits) for splits in columns.values())


def _rows(columns: Mapping[str, Sequence[str]], class_names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> list[_Row]:
    """A row for each class; `counts` has for each split the number of each class."""
    rows = []
    for number, name in enumerate(class_names):
        of_class = {split: numbers[number] for split, numbers in counts.items()}
        rows.append(_Row(name, _cells(columns, of_class), _size(columns, of_class)))
    return rows


def _size(columns: Mapping[str, Sequence[str]], of_class: Mapping[str, int]) -> int:
    """How many samples a class has: in all splits but folds, which share them out anew, or in the first fold."""
    alone = [splits[0] for splits in columns.values() if len(splits) == 1]
    first_fold = [split for splits in columns.values() for split in splits][:2]
    return sum(of_class[split] for split in alone or first_fold)


def _changes(columns: Mapping[str, Sequence[str]], before: Mapping[str, int], now: Mapping[str, int]) -> tuple[str, ...]:
    """A cell for each column: what was there and what is, if these differ and something was there."""
    cells = []
    for splits, cell in zip(columns.values(), _cells(columns, now), strict=True):
        is_new = not set(splits) <= set(before)
        old = cell if is_new else _cells({"": splits}, before)[0]
        cells.append(cell if old == cell else f"{old} -> {cell}")
    return tuple(cells)


def _by_class(counts: kseq.SplitCounts) -> dict[str, dict[str, int]]:
    """Class name to split name to the number of samples."""
    return {
        name: {split: numbers[number] for split, numbers in counts.class_counts.items()}
        for number, name in enumerate(counts.class_names)
    }
