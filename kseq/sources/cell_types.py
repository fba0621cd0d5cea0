"""What the cells of a column hold: numbers, labels, boxes, text or weights, each as a sample stores it.

The rules, for every table and every kind of record:

- A cell is missing if it is empty, null or NaN. A sample whose number or weight is missing is rejected. A missing cell of
  labels, of boxes or of text means no labels, no boxes, an empty text.
- A target column holds labels (`multi_label`) if at least half of its cells are words, lists of words, or have `|`;
  classes are numbered in the order of their names. A column of lists of whole numbers with different lengths holds labels too.
  Any other column holds numbers: one number for each sample, lists of one shape, or plain lists of different lengths; a cell
  that is a word is then no number. Whole numbers are stored as int64, others as float32. Columns of both are told of.
- Numbers with decimal commas, marks between thousands, or units: see `written_numbers`.
- A label is the same class in each Unicode form, and `1.0` is the class `1` where all labels are whole numbers. The label `-1`
  is none where all others are 0 or more, unless `-1` and `1` are all labels there are, or the class names have it.
- A label that is not well encoded names no class.
- Which texts are lists: see `list_cells`.
- Numbers are finite. Weights are 0 or more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import SourceError, tell
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.sources.class_names import WHOLE_NUMBER, compose_class_name, merge_whole_names, sort_class_names
from kseq.sources.list_cells import is_missing, parse_cell, parse_list, part_words
from kseq.sources.spooled_column import SpooledColumn, blocks_of
from kseq.sources.text import decode_name, describe_text, is_well_encoded
from kseq.sources.written_numbers import find_unit, plain_numbers
from kseq.storage.field_kinds import KINDS, FieldKind
from kseq.storage.fields import Field

__all__ = [
    "NUMBER_FORMS",
    "ParsedColumn",
    "Rejection",
    "are_paths",
    "describe_no_class",
    "name_classes",
    "one_hot_classes",
    "parse_class_name",
    "parse_column",
    "parse_target",
    "spelled_class_name",
]

NUMBER_FORMS = ("number", "vector")
"""What a target may be said to hold besides a kind of field: one number for each sample, or a list of them."""

# float64 holds every whole number below this, and not every one above.
_EXACT_BELOW = 2.0**53


class Rejection(str):
    """Stands in place of a value that cannot be packed, and says why; on one line, whatever it quotes."""

    def __new__(cls, reason: str) -> Rejection:
        return super().__new__(cls, reason if reason.isprintable() else reason.encode("unicode_escape").decode())


# A field, and for each sample its value, or a Rejection.
ParsedColumn = tuple[Field, SpooledColumn]


def parse_class_name(cell: Any) -> str | None:
    """The name of a class; None for a cell that names none: missing, a list, `nan`, or text that is not well encoded."""
    name = spelled_class_name(cell)
    return name if name is not None and name.lower() != "nan" and is_well_encoded(name) else None


def spelled_class_name(cell: Any) -> str | None:
    """The name in a cell, in one Unicode form, whether it may be that of a class or not; None if there is none."""
    if is_missing(cell) or isinstance(cell, (list, dict)):
        return None
    if isinstance(cell, bytes):
        cell = decode_name(cell)
    name = str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell).strip()
    return compose_class_name(name) or None


def known_class_name(cell: Any, known: frozenset[str]) -> str | None:
    """The class that a cell names as it is, spaces at its ends included; None if that is none of `known`, see `known_names`."""
    name = compose_class_name(cell) if isinstance(cell, str) else None
    return name if name in known else None


def known_names(class_names: Iterable[str] | None) -> frozenset[str]:
    """The names that somebody gives all classes, in one Unicode form."""
    return frozenset(map(compose_class_name, class_names or ()))


def one_hot_classes(rows: np.ndarray) -> np.ndarray | None:
    """The `(n,)` class numbers of one-hot rows, `(n, classes)`; None if the rows are not one-hot."""
    if rows.ndim != 2 or rows.dtype.kind not in "biuf" or not ((rows == 0) | (rows == 1)).all():
        return None
    return rows.argmax(axis=1) if (rows.sum(axis=1) == 1).all() else None


def name_classes(cells: Sequence[Any], class_names: Sequence[str] | None) -> SpooledColumn:
    """Labels as class names: numbers are looked up in `class_names`, unless every cell is a class name already."""
    texts = SpooledColumn(decode_name(cell) if isinstance(cell, bytes) else cell for cell in cells)
    if class_names is None or set(class_names).issuperset(map(str, texts)):
        return texts
    numbers = range(len(class_names))
    return SpooledColumn(class_names[int(cell)] if not isinstance(cell, str) and cell in numbers else cell for cell in texts)


def describe_no_class(cell: Any) -> str:
    """Why a cell names no class."""
    name = spelled_class_name(cell)
    if name is None:
        return "has no label"
    if not is_well_encoded(name):
        return f"has a label that is not UTF-8: {describe_text(name)}"
    return f"has no label: {name!r} counts as none unless the class names have it"


def parse_target(
    name: str, cells: Sequence[Any], kind: str | None = None, class_names: Sequence[str] | None = None
) -> ParsedColumn:
    """A column of one kind; if that is None, of numbers or of labels, as the cells tell.

    Args:
        name: Of the field.
        cells: One for each sample.
        kind: As in `parse_column`; or `number`, for single numbers, or `vector`, for lists of them.
        class_names: As in `parse_column`, where a kind is given.

    Raises:
        SourceError: If no cell is a number, or the numbers have several shapes, or decimal commas may be thousands, or the
            cells are paths of files.
    """
    if kind in NUMBER_FORMS:
        return _parse_numbers(name, map(parse_cell, plain_numbers(name, cells)), is_list=kind == "vector")
    if kind is not None:
        return parse_column(name, kind, cells, class_names)
    plain = _plain_numbers(cells)
    if plain is None:
        cells = plain_numbers(name, cells)
        plain = _plain_numbers(cells)
    if plain is not None:
        dtype = "<i8" if plain[1] else "<f4"
        return Field(name, "numbers", False, dtype, ()), SpooledColumn.of_array(plain[0].astype(dtype))
    values = SpooledColumn(map(parse_cell, cells))
    num_words, num_numbers = sum(map(_has_words, values)), sum(map(_is_number, values))
    if num_words and not num_numbers and are_paths(_words(values)):
        found = next(_words(values))
        others = " or ".join(spelled("columns.kinds", {name: kind}) for kind in ("multi_label", "text"))
        raise SourceError(
            f"target {name}: holds paths of files, such as {found!r}: {spelled('columns.kinds', {name: 'map'})} reads numbers "
            f"of pixels, such as depth, {spelled('columns.mask')} masks, classes of pixels, {spelled('columns.image')} further "
            f"images ({others} takes the names themselves)"
        )
    unit = find_unit(values) if num_words > num_numbers else None
    if unit is not None:
        labels = spelled("columns.kinds", {name: "multi_label"})
        tell(f"target {name}: has cells such as {unit!r}: taken for labels, as {labels} says (numbers are written alone)")
    elif num_words and num_numbers:
        tell(
            f"target {name}: {num_numbers:,} of its cells are numbers and {num_words:,} are words: taken for "
            f"{'numbers' if num_numbers > num_words else 'labels'} ({spelled('columns.kinds')} says what they are)"
        )
    if num_words >= max(num_numbers, 1) or _are_uneven_whole_numbers(values):
        return _label_lists(name, "multi_label", values)
    return _parse_numbers(name, values)


def _parse_numbers(name: str, values: Iterable[Any], *, is_list: bool | None = None) -> ParsedColumn:
    """Numbers from cells that are parsed; `is_list` says whether a sample has a list of them or one, None for either."""
    numbers = KINDS["numbers"]

    def convert(cell: Any) -> Any:
        if is_list is not None and cell is not None and isinstance(cell, list) != is_list:
            raise ValueError(f"has {str(cell)[:40]}, allowed is {'a list of numbers' if is_list else 'one number'}")
        return numbers.from_cell(cell, lambda parsed: parsed)

    return _arrays(name, numbers, SpooledColumn(_convert(convert, cell) for cell in values))


def are_paths(names: Iterable[str]) -> bool:
    """Whether names are those of image files, all of them; a suffix alone, such as `.png`, is none."""
    endings = (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)
    has_names = False
    for name in names:
        if not name.lower().endswith(endings) or not os.path.splitext(name)[1]:
            return False
        has_names = True
    return has_names


def _words(values: Iterable[Any]) -> Iterator[str]:
    """All words in parsed cells."""
    for value in values:
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, list) and bool(value) and all(map(_is_number, value)))


def parse_column(name: str, kind: str, cells: Sequence[Any], class_names: Sequence[str] | None = None) -> ParsedColumn:
    """A column whose cells are values of one kind.

    Args:
        name: Of the field.
        kind: One of `kseq.storage.field_kinds.KINDS`, without images, masks and labels of samples.
        cells: One for each sample.
        class_names: All classes, in the order of their numbers, for a kind that has class names; None for the classes that the
            cells name.

    Raises:
        SourceError: If no cell is a value, or the values have several shapes where they must have one.
    """
    field_kind = KINDS[kind]
    if field_kind.has_class_names:
        values = (cell if isinstance(cell, Rejection) else parse_cell(cell) for cell in cells)
        return _label_lists(name, kind, values, class_names)
    if field_kind.shape == ():
        plain = _plain_numbers(cells)
        if plain is not None:
            try:
                array = field_kind.from_array(plain[0])
                return Field(name, kind, False, field_kind.dtypes[0], ()), SpooledColumn.of_array(array)
            except (ValueError, NotImplementedError):
                # Read one by one, the cells tell which of them are refused.
                pass
    present = (None if is_missing(cell) else cell for cell in cells)
    arrays = (_convert(lambda cell: field_kind.from_cell(cell, parse_cell), cell) for cell in present)
    return _arrays(name, field_kind, SpooledColumn(arrays))


def _plain_numbers(cells: Sequence[Any]) -> tuple[np.ndarray, bool] | None:
    """A column in which every cell is a finite number. Parsing it as a whole takes half a second for a million cells, where
    parsing them one by one takes ten.

    Returns:
        `(n,)` float64, and whether all are whole numbers; None if a cell is anything else, or a huge number.
    """
    numbers, start, are_whole = np.empty(len(cells), np.float64), 0, True
    kinds: set[type] = set()
    for block in blocks_of(cells):
        kinds |= set(map(type, block))
        if kinds != {str} and not kinds <= {int, float}:
            return None
        try:
            numbers[start : start + len(block)] = list(map(float, block))
        except (ValueError, OverflowError):
            return None
        if kinds == {str}:
            are_whole = are_whole and all(WHOLE_NUMBER.fullmatch(cell.strip()) for cell in block)
        start += len(block)
    # Neither comparison holds where there is a NaN.
    if not numbers.size or not (numbers.min() > -_EXACT_BELOW and numbers.max() < _EXACT_BELOW):
        return None
    return numbers, are_whole if kinds == {str} else kinds == {int}


def _convert(convert: Callable[[Any], Any], cell: Any) -> Any:
    """The value of a cell, or a Rejection, which a cell may be already."""
    if isinstance(cell, Rejection):
        return cell
    try:
        return convert(cell)
    except (ValueError, TypeError, OverflowError) as error:
        return Rejection(str(error))


def _has_words(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(isinstance(item, str) for item in value))


def _are_uneven_whole_numbers(values: Iterable[Any]) -> bool:
    lengths: set[int] = set()
    has_lists = False
    for value in values:
        items = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(item, int) for item in items):
            return False
        has_lists = has_lists or isinstance(value, list)
        lengths |= {len(items)} if value is not None else set()
    return has_lists and len(lengths) > 1


def _label_lists(name: str, kind: str, values: Iterable[Any], class_names: Sequence[str] | None = None) -> ParsedColumn:
    values = SpooledColumn(values)
    # A Rejection is text too, and no word of a cell.
    parted = part_words(name, (None if isinstance(value, Rejection) else value for value in values))
    # Whoever names classes knows how: spaces at the ends count.
    known = known_names(class_names)
    names_by_sample = SpooledColumn(
        value if isinstance(value, Rejection) else _class_names(parts, known)
        for value, parts in zip(values, parted, strict=True)
    )
    numbers: dict[str, int] = {}
    if class_names is None:
        merged = merge_whole_names(
            class_name for names in names_by_sample if not isinstance(names, Rejection) for class_name in names or ()
        )
        class_names = sort_class_names(merged.values())
        positions = {name: number for number, name in enumerate(class_names)}
        numbers = {name: positions[whole] for name, whole in merged.items()}
    class_names = [compose_class_name(class_name) for class_name in class_names]
    numbers |= {class_name: number for number, class_name in enumerate(class_names)}
    field = Field(name, kind, False, "<i4", (None,), tuple(class_names))
    has_leader = field.handler.leader is not None
    return field, SpooledColumn(_class_numbers(names, numbers, has_leader=has_leader) for names in names_by_sample)


def _class_names(value: Any, known: frozenset[str]) -> list[str] | None:
    """The class names in a cell; None if one of the values is none of the known ones, and no class name."""
    names = [known_class_name(item, known) or parse_class_name(item) for item in parse_list(value)]
    return None if None in names else [name for name in names if name is not None]


def _class_numbers(names: list[str] | Rejection | None, numbers: dict[str, int], *, has_leader: bool) -> np.ndarray | Rejection:
    """The numbers of classes; where they are of the elements of another field, such as boxes, -1 for a class of no number."""
    if names is None or isinstance(names, Rejection):
        return names or Rejection("has something that is no name of a class")
    if has_leader:
        return np.array([numbers.get(name, -1) for name in names], np.int32)
    unknown = [name for name in names if name not in numbers]
    if unknown:
        return Rejection(f"has a label that is not among the class names: {unknown[0]!r}")
    return np.array([numbers[name] for name in names], np.int32)


def _arrays(name: str, kind: type[FieldKind], arrays: SpooledColumn) -> ParsedColumn:
    """The field of some arrays, and Rejections among them, and the arrays in its dtype."""
    if kind.shape is not None:
        return Field(name, kind.name, False, kind.dtypes[0], kind.shape), arrays
    forms = dict.fromkeys((array.shape, array.dtype.kind) for array in arrays if isinstance(array, (np.ndarray, np.generic)))
    if not forms:
        reason = next((array for array in arrays if isinstance(array, Rejection)), "there are no samples")
        raise SourceError(f"target {name}: no sample has numbers (the first {reason})")
    shapes = {shape for shape, _ in forms}
    try:
        shape = kind.common_shape(shapes)
    except ValueError as error:
        raise SourceError(f"target {name}: shapes {', '.join(map(str, sorted(shapes)))}, allowed are {error}") from error
    are_whole = "<i8" in kind.dtypes and all(dtype_kind == "i" for _, dtype_kind in forms)
    field = Field(name, kind.name, False, "<i8" if are_whole else kind.dtypes[0], shape)
    return field, SpooledColumn(array if isinstance(array, Rejection) else array.astype(field.dtype) for array in arrays)
