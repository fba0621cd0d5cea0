"""The names and the order of classes that records number and name: by numbers, by texts, by a file beside them.

The rules:

- A class has a number, a text, or both. Where all have a number, the number says which class it is, and the order of the
  numbers is that of the classes; the text is its name. Where a number has no text, the number is its name. Where several
  numbers have one text (as in ImageNet, "crane"), numbers are the names of all.
- Where some classes have no number, the text says which class it is, and classes are in the order of their names.
- A file beside the records (see `kseq/sources/label_files.py`) says which classes there are, and their names and order, unless
  a record calls a class otherwise than the file: then the file is not used, and a note says so. A record with a class that the
  file does not have is rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kseq.arguments import counted
from kseq.sources.cell_types import Rejection
from kseq.sources.class_names import compose_class_name, sort_class_names
from kseq.sources.label_files import NumberedNames
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.text import describe_text, is_well_encoded

__all__ = ["ClassPair", "RecordClasses", "name_class_column", "name_number_column"]


class ClassPair(NamedTuple):
    """What a record says of the class of an object, or of its image.

    Attributes:
        number: Its number; None if the record has none.
        text: Its name; empty if the record has none.
    """

    number: int | None
    text: str


class RecordClasses(NamedTuple):
    """The classes of some records.

    Attributes:
        class_names: The classes, in the order of their numbers.
        names: The name of each class that a record names, or why there is none.
        notes: What a user should know.
    """

    class_names: list[str]
    names: Mapping[ClassPair, str | Rejection]
    notes: list[str]


def name_class_column(cells: dict[str, SpooledColumn], column: str, known: NumberedNames | None) -> RecordClasses | None:
    """Replace what records say of classes, in a column, by the names of the classes; None if there is no such column."""
    if column not in cells:
        return None
    pairs: dict[ClassPair, None] = {}
    for cell in cells[column]:
        pairs.update(dict.fromkeys(_pairs_of(cell)))
    classes = _name_record_classes(pairs, known)
    cells[column] = SpooledColumn(_named(cell, classes) for cell in cells[column])
    return classes


def name_number_column(cells: dict[str, SpooledColumn], column: str, known: NumberedNames) -> RecordClasses | None:
    """Replace the numbers in the column of the labels by the names that a file says; None if they are no numbers."""
    if not all(cell is None or type(cell) is int for cell in cells[column]):
        return None
    cells[column] = SpooledColumn(None if cell is None or cell < 0 else ClassPair(cell, "") for cell in cells[column])
    return name_class_column(cells, column, known)


def _pairs_of(cell: Any) -> Iterable[ClassPair]:
    return (cell,) if isinstance(cell, ClassPair) else [each for each in cell or () if isinstance(each, ClassPair)]


def _named(cell: Any, classes: RecordClasses) -> Any:
    """A cell with names in place of what the record says; a Rejection if one of its classes has none."""
    if isinstance(cell, ClassPair):
        return classes.names[cell]
    if not isinstance(cell, list) or not all(isinstance(each, ClassPair) for each in cell):
        return cell
    names = [classes.names[pair] for pair in cell]
    return next((name for name in names if isinstance(name, Rejection)), names)


def _name_record_classes(pairs: Iterable[ClassPair], known: NumberedNames | None) -> RecordClasses:
    """The classes that records say.

    Args:
        pairs: What the records say, each once.
        known: What a file beside them says.
    """
    composed = {pair: ClassPair(pair.number, compose_class_name(pair.text.strip())) for pair in pairs}
    broken = {pair: _why_no_name(pair) for pair in composed}
    usable = {pair: said for pair, said in composed.items() if broken[pair] is None}
    notes: list[str] = []
    found: RecordClasses | None = None
    if known is not None and usable:
        other = next((said for said in usable.values() if _contradicts(said, known)), None)
        if other is None:
            found = _by_file(usable, known)
        else:
            notes.append(
                f"{known.path}: is not used: class {other.number} is {known.names.get(other.number or 0)!r} there, "
                f"in a record it is {other.text!r}"
            )
    if found is None:
        found = _by_records(usable)
    refused = {pair: reason for pair, reason in broken.items() if reason is not None}
    return RecordClasses(found.class_names, {**found.names, **refused}, notes + found.notes)


def _why_no_name(pair: ClassPair) -> Rejection | None:
    if not is_well_encoded(pair.text):
        return Rejection(f"has a label that is not UTF-8: {describe_text(pair.text)}")
    return Rejection("has an object without a class") if pair.number is None and not pair.text.strip() else None


def _contradicts(pair: ClassPair, known: NumberedNames) -> bool:
    """Whether a record calls a class otherwise than the file; a class that the file does not have is no contradiction."""
    if pair.number is None or not pair.text or pair.number not in known.names:
        return False
    return known.numbers.get(pair.text) != pair.number


def _by_file(pairs: Mapping[ClassPair, ClassPair], known: NumberedNames) -> RecordClasses | None:
    """The classes by a file; None if it has none of them."""
    names: dict[ClassPair, str | Rejection] = {}
    by_number, notes = _different_names(known.names)
    for pair, said in pairs.items():
        number = known.numbers.get(said.text, said.number)
        what = f"{said.number} {said.text!r}" if said.number is not None and said.text else said.text or said.number
        missing = Rejection(f"has the class {what}, which {known.path} does not have")
        names[pair] = missing if number is None else by_number.get(number, missing)
    if all(isinstance(name, Rejection) for name in names.values()):
        return None
    return RecordClasses(list(by_number.values()), names, [f"{known.path}: says the names and numbers of the classes", *notes])


def _by_records(pairs: Mapping[ClassPair, ClassPair]) -> RecordClasses:
    if not all(said.number is not None for said in pairs.values()):
        names: dict[ClassPair, str | Rejection] = {pair: said.text or str(said.number) for pair, said in pairs.items()}
        return RecordClasses(sort_class_names(map(str, names.values())), names, [])
    texts: dict[int, str] = {}
    others = 0
    for said in pairs.values():
        number = said.number or 0
        text = texts.setdefault(number, said.text) or said.text
        others += bool(said.text) and said.text != text
        texts[number] = text
    by_number, notes = _different_names({number: text or str(number) for number, text in sorted(texts.items())})
    if others:
        notes.append(
            f"{counted(others, 'class has', 'classes have')} one number and several names, of which the first is taken"
        )
    return RecordClasses(list(by_number.values()), {pair: by_number[pair.number or 0] for pair in pairs}, notes)


def _different_names(names: Mapping[int, str]) -> tuple[Mapping[int, str], list[str]]:
    """The names of numbered classes, and a note where several have one: then the numbers are the names of all."""
    shared = [name for name, count in Counter(names.values()).items() if count > 1]
    if not shared:
        return names, []
    note = f"several classes are called {shared[0]!r}: the numbers are the names of all"
    return {number: str(number) for number in names}, [note]
