"""The numbers of the classes that a column of labels names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kseq.arguments import spelled
from kseq.errors import SourceError, tell
from kseq.sources.cell_types import (
    Rejection,
    are_paths,
    describe_no_class,
    known_class_name,
    known_names,
    parse_class_name,
    spelled_class_name,
)
from kseq.sources.class_names import WHOLE_NUMBER, compose_class_name, merge_whole_names, sort_class_names, whole_class_name
from kseq.sources.list_cells import warn_of_odd_classes, warn_of_several
from kseq.sources.spooled_column import SpooledColumn, convert_distinct

__all__ = ["describe_ordered", "number_classes"]


def number_classes(
    column: str, cells: Sequence[Any], class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], SpooledColumn]:
    """The classes of a column of labels, and for each cell the class number, or a Rejection.

    Classes that look like several labels are told of.

    Args:
        column: What the column is called.
        cells: The labels.
        class_names: All classes, in the order of their numbers; None for the classes that the cells name.

    Raises:
        SourceError: If the labels are paths of files.
    """
    # Whoever names classes knows how: spaces at the ends count.
    known = known_names(class_names)
    names = convert_distinct(cells, lambda cell: _label_name(cell, known))
    distinct = {name for block in names.blocks() for name in set(block) if name is not None and not isinstance(name, Rejection)}
    numbers: dict[str, int] = {}
    if class_names is None:
        usable = {name for name in distinct if parse_class_name(name) is not None}
        if are_paths(usable):
            raise SourceError(
                f"label {column}: holds paths of files, such as {min(usable)!r}: "
                f"{spelled('columns', label='', mask=column)} packs masks, classes of pixels, and "
                f"{spelled('columns', label='', targets={'map': column}, kinds={'map': 'map'})} numbers, such as depth; "
                f"{spelled('class_names')} says which are names of classes"
            )
        warn_of_several(column, usable)
        warn_of_odd_classes(column, usable)
        merged = merge_whole_names(usable)
        if set(merged.values()) - {"-1", "1"} and all(name.isdecimal() for name in merged.values() if name != "-1"):
            # The tools that number classes write -1 where they know none.
            merged = {name: whole for name, whole in merged.items() if whole != "-1"}
        class_names = sort_class_names(merged.values())
        positions = {name: number for number, name in enumerate(class_names)}
        numbers = {name: positions[whole] for name, whole in merged.items()}
    class_names = [compose_class_name(name) for name in class_names]
    numbers |= {name: number for number, name in enumerate(class_names)}
    if not any(name in numbers or whole_class_name(name) in numbers for name in distinct):
        _check_commas(class_names, distinct)
        numbers |= _positions(column, distinct, class_names)
    for name in distinct - numbers.keys():
        whole = whole_class_name(name)
        if whole in numbers:
            numbers[name] = numbers[whole]
    return tuple(class_names), convert_distinct(names, lambda name: numbers[name] if name in numbers else _no_class(name))


def describe_ordered(column: str) -> str:
    """A line on classes that have the order of their categories."""
    return f"the classes of {column!r} are in the order of its categories ({spelled('class_names')} says another)"


def _check_commas(class_names: Sequence[str], names: Iterable[str]) -> None:
    """Raise SourceError if all class names are written as one, with commas."""
    parts = [part.strip() for part in class_names[0].split(",")] if len(class_names) == 1 else []
    if len(parts) > 1 and set(parts) & set(names):
        given = spelled("class_names", list(class_names))
        raise SourceError(
            f"{given}: is one name with commas in it, expected is each by itself: {spelled('class_names', parts)}"
        )


def _positions(column: str, names: Iterable[str], class_names: Sequence[str]) -> dict[str, int]:
    """The numbers of labels that are positions in the names of the classes; empty if they are names. A line tells of it."""
    whole = {name: whole_class_name(name) for name in names if parse_class_name(name) is not None}
    if not whole or not all(map(WHOLE_NUMBER.fullmatch, whole.values())):
        return {}
    found = {name: int(text) for name, text in whole.items() if text != "-1"}
    if not found or not set(found.values()) <= set(range(len(class_names))):
        return {}
    tell(f"label {column}: its numbers are taken for positions in {spelled('class_names')}: 0 is {class_names[0]!r}")
    return found


def _lone_label(cell: Any) -> Any:
    """What a list of one label holds; any other cell as it is, and a Rejection for one that is no label."""
    if isinstance(cell, list) and len(cell) == 1 and not isinstance(cell[0], (list, dict)):
        return cell[0]
    if isinstance(cell, list) and len(cell) > 1:
        return Rejection(f"has several labels: {str(cell)[:40]}, allowed is one")
    if isinstance(cell, dict):
        return Rejection(f"has an object as its label: {str(cell)[:40]}, allowed is the name of a class")
    return cell


def _label_name(cell: Any, known: frozenset[str]) -> str | None:
    """The name that a cell gives; a Rejection if it cannot be one."""
    label = _lone_label(cell)
    return label if isinstance(label, Rejection) else known_class_name(label, known) or spelled_class_name(label)


def _no_class(name: str | None) -> Rejection:
    if isinstance(name, Rejection):
        return name
    if name is None or parse_class_name(name) is None or whole_class_name(name) == "-1":
        return Rejection(describe_no_class(name))
    return Rejection(f"has a label that is not among the class names: {name!r}")
