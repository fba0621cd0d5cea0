"""Report: what a long call did, as people read it in a terminal and in a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kseq.display.charts import bar_table, class_table
from kseq.display.html import Child, details, element, frame, items, table
from kseq.display.words import format_bytes, format_count, format_names, format_numbers, sort_splits, visible
from kseq.storage.box_counts import BoxCounts
from kseq.storage.duplicate_counts import DuplicateCounts
from kseq.storage.rejected import Rejected, count_reasons

__all__ = ["Report"]

# So many lines are shown of notes and of what is damaged.
_MOST_LINES = 20
# What is said otherwise than field by field.
_SAID_APART = {"path", "class_counts", "boxes", "duplicates", "notes", "image_notes", "image_note_examples", "damaged"}


class Report:
    """The base of all reports, which are dataclasses: `str` gives a line for each fact, `_repr_html_` a table with charts."""

    def __str__(self) -> str:
        title, *facts = _title(self), *(f"{name}: {text}" for name, text in _facts(self))
        notes = [visible(line, 400) for line in _lines(self)]
        return "\n".join([title, *(f"  {line}" for line in [*facts, *notes])])

    def _repr_html_(self) -> str:
        """What a notebook shows: counts, a chart of classes and splits, rejected files by reason, and notes."""
        return frame(_title(self), lambda: _content(self))


def _title(report: Any) -> str:
    return f"{type(report).__name__}: {visible(report.path, 200)}"


def _facts(report: Any) -> Iterator[tuple[str, str]]:
    """What each field says, in words."""
    for field in dataclasses.fields(report):
        value = getattr(report, field.name)
        text = None if field.name in _SAID_APART else _in_words(field.name, value)
        if text:
            yield _name_of(field.name), text


def _name_of(name: str) -> str:
    return name.removeprefix("num_").replace("class_names", "classes").replace("_", " ")


def _in_words(name: str, value: Any) -> str:
    """A value of a report; empty if it says nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return format_bytes(value) if "bytes" in name else f"{value:,}"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, str):
        return visible(value, 400)
    if isinstance(value, Mapping):
        return _splits_in_words(value)
    if isinstance(value, (list, tuple)):
        return _list_in_words(name, value)
    splits = getattr(value, "splits", None)
    if isinstance(splits, Mapping):
        return _splits_in_words(splits)
    return value.describe() if hasattr(value, "describe") else ""


def _splits_in_words(sizes: Mapping[str, int]) -> str:
    return format_numbers({name: sizes[name] for name in sort_splits(sizes)})


def _list_in_words(name: str, values: Sequence[Any]) -> str:
    if name == "class_names":
        return f"{len(values):,}: {format_names(values, 10)}" if values else ""
    if values and isinstance(values[0], Rejected):
        return f"{format_count(len(values), 'file')} ({format_numbers(count_reasons(values), 5)})"
    if values and isinstance(values[0], str):
        return format_names(values)
    return "" if values and isinstance(values[0], int) else _lines_in_words([str(value) for value in values])


def _lines_in_words(lines: Sequence[str], most: int = 5) -> str:
    more = f"; and {len(lines) - most:,} more" if len(lines) > most else ""
    return "; ".join(visible(line, 100) for line in lines[:most]) + more


def _lines(report: Any) -> list[str]:
    """What a user should know beside the facts."""
    damaged = getattr(report, "damaged", None)
    lines = ["nothing is damaged"] if damaged == [] else [f"damaged: {line}" for line in damaged or ()]
    if hasattr(report, "lines"):
        lines += [f"note: {line}" for line in report.lines]
    boxes = getattr(report, "boxes", None)
    if isinstance(boxes, BoxCounts):
        lines += [f"boxes: {format_numbers(boxes.num_boxes)}", *boxes.lines]
    duplicates = getattr(report, "duplicates", None)
    if isinstance(duplicates, DuplicateCounts) and not hasattr(report, "lines"):
        lines += duplicates.lines
    more = [f"and {len(lines) - _MOST_LINES:,} more"] if len(lines) > _MOST_LINES else []
    return [*lines[:_MOST_LINES], *more]


def _content(report: Any) -> Iterator[Child]:
    yield table([[name, text] for name, text in _facts(report)])
    class_counts = getattr(report, "class_counts", None)
    splits = getattr(report, "splits", None)
    if splits:
        yield class_table(splits, getattr(report, "class_names", ()), class_counts or {})
    for name in ("before", "after"):
        counts = getattr(report, name, None)
        if counts is not None:
            yield details(name, class_table(counts.splits, counts.class_names, counts.class_counts))
    boxes = getattr(report, "boxes", None)
    if isinstance(boxes, BoxCounts) and boxes.class_counts:
        yield details("boxes", class_table(boxes.num_boxes, boxes.class_names, boxes.class_counts))
    rejected = getattr(report, "rejected", ())
    if rejected:
        yield element("p", f"left out: {format_count(len(rejected), 'file')}")
        yield bar_table("reason", count_reasons(rejected), "files")
    lines = _lines(report)
    if lines:
        yield items(lines)
