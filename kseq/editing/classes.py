"""The classes of a field of a packed dataset: what they are called, found by name, and given other names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kseq.arguments import spelled
from kseq.errors import ArgumentError, SourceError
from kseq.sources.cell_types import parse_class_name
from kseq.storage.compatibility import dataset_classes
from kseq.storage.fields import Field
from kseq.storage.index import Index

__all__ = ["ClassNumbers", "class_field", "class_names", "no_class", "with_class_names", "with_fields"]

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_MOST_NAMES = 10


def class_field(index: Index, name: str) -> Field:
    """The field of a name, which has classes.

    Raises:
        ArgumentError: Where there is none.
    """
    found = {each.name: each for each in index.fields if each.handler.has_class_names}
    if name in found:
        return found[name]
    others = {each.name: each.kind for each in index.fields}
    what = f"field {name!r} is {others[name]}" if name in others else f"there is no field {name!r}"
    raise ArgumentError(f"{index.path}: {what}, those with classes are {', '.join(found) or 'none'}")


def class_names(index: Index, field: Field) -> tuple[str, ...]:
    """The class of each number of a field."""
    return field.handler.class_names(index.class_names)


def with_class_names(index: Index, field: Field, names: Sequence[str]) -> dict[str, Any]:
    """What changes in the contents of an index where a field gets these class names."""
    if field.is_label:
        return {"class_names": tuple(names)}
    return with_fields(
        index, [replace(each, class_names=tuple(names)) if each.name == field.name else each for each in index.fields]
    )


def with_fields(index: Index, fields: Sequence[Field], label_names: Sequence[str] | None = None) -> dict[str, Any]:
    """What changes in the contents of an index where samples hold these fields.

    Args:
        index: As it is.
        fields: The fields.
        label_names: The classes of the label; None for those that it has.
    """
    names = dataset_classes(fields, index.class_names if label_names is None else label_names)
    return {"fields": tuple(fields), "class_names": names}


def no_class(names: Sequence[str], name: str) -> str:
    """That there is no class of a name, and what may have been meant."""
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"there is no class {name!r}: is it {' or '.join(map(repr, near))}?"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"there is no class {name!r}, there is {', '.join(map(repr, names[:_MOST_NAMES])) or 'none'}{more}"


class ClassNumbers:
    """Class numbers by what a cell says: a name, or where no class is called like a number, a number.

    Args:
        names: The class of each number.
        add: Names that are unknown become classes behind the others, in the order in which they come.

    Attributes:
        names: The classes, with those that were added.
    """

    def __init__(self, names: Sequence[str], *, add: bool = False) -> None:
        self.names = list(names)
        self._add = add
        self._numbers = {name: number for number, name in enumerate(names)}
        self._takes_numbers = bool(names) and not any(_NUMBER.fullmatch(name) for name in names)

    def find(self, cell: Any) -> int:
        """The number of the class that a cell names.

        Raises:
            SourceError: Where it names none.
        """
        name = parse_class_name(cell)
        if name is None:
            raise SourceError("has no label" if cell is None or str(cell).strip() == "" else f"{str(cell)[:40]!r} is no class")
        if name in self._numbers:
            return self._numbers[name]
        if self._takes_numbers and _NUMBER.fullmatch(name):
            if not 0 <= int(name) < len(self.names):
                raise SourceError(f"{name} is no class number, allowed are 0 to {len(self.names) - 1}")
            return int(name)
        if not self._add:
            raise SourceError(f"{no_class(self.names, name)} ({spelled('add_classes', True)} makes new ones)")
        self._numbers[name] = len(self.names)
        self.names.append(name)
        return self._numbers[name]
