"""Class numbers by what a cell of a table says: the name of a class, or its number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kseq.arguments import spelled
from kseq.errors import SourceError
from kseq.sources.cell_types import parse_class_name
from kseq.storage.class_names import no_such_class

__all__ = ["ClassLookup"]

_NUMBER = re.compile(r"-?[0-9]{1,18}")
# The start of a cell that a message shows.
_SHOWN = 40


class ClassLookup:
    """Finds class numbers by names or, if no class has a number as its name, by numbers.

    Args:
        names: The name of each class, in the order of their numbers.
        add: Whether unknown names become classes after the others, in the order in which they appear.

    Attributes:
        names: The names, with those that were added.
    """

    def __init__(self, names: Sequence[str], *, add: bool = False) -> None:
        self.names = list(names)
        self._add = add
        self._numbers = {name: number for number, name in enumerate(names)}
        self._takes_numbers = bool(names) and not any(_NUMBER.fullmatch(name) for name in names)

    def find(self, cell: Any) -> int:
        """The number of the class that a cell names.

        Raises:
            SourceError: If the cell names no class.
        """
        name = parse_class_name(cell)
        if name is None:
            is_empty = cell is None or str(cell).strip() == ""
            raise SourceError("has no label" if is_empty else f"{str(cell)[:_SHOWN]!r} is no class")
        if name in self._numbers:
            return self._numbers[name]
        if self._takes_numbers and _NUMBER.fullmatch(name):
            if not 0 <= int(name) < len(self.names):
                raise SourceError(f"{name} is no class number, allowed are 0 to {len(self.names) - 1}")
            return int(name)
        if not self._add:
            raise SourceError(f"{no_such_class(name, self.names)} ({spelled('add_classes', True)} makes new ones)")
        self._numbers[name] = len(self.names)
        self.names.append(name)
        return self._numbers[name]
