"""What the cells of a column are: numbers, labels, boxes or text; and each as a sample stores it.

The rules, for every table and every kind of record:

- A cell is missing if it is empty, null or NaN. A sample whose number or weight is missing is refused; missing labels of
  `--target`, missing boxes and missing text are none.
- `--target`: where any cell is a word, a list of words, or has `|` between its parts, the column is of labels (`multi_label`),
  numbered in the order of their names. So is a column of lists of whole numbers whose lengths differ. Else it is of numbers:
  single, or in lists of one shape, or of lengths that differ. Whole numbers are stored as int64, others as float32.
- In text, a list is JSON: `[0.5, 1]`.
- Numbers are finite. Weights are 0 or more.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kseq.errors import SourceError
from kseq.storage.fields import Field

__all__ = [
    "Refused",
    "boxes",
    "class_name",
    "is_missing",
    "labels",
    "listed",
    "name_numbers",
    "one_hot",
    "sorted_names",
    "target",
    "text",
    "weight",
]

_WHOLE = re.compile(r"-?\d{1,18}")
_ALL_WHOLE_BELOW = 2.0**53
_MOST_FLOAT32 = float(np.finfo(np.float32).max)


class Refused(str):
    """In place of a value: why there is none; on one line, whatever it quotes."""

    def __new__(cls, reason: str) -> Refused:
        return super().__new__(cls, reason if reason.isprintable() else reason.encode("unicode_escape").decode())


# A field, and its value for each sample, or why it has none.
Column = tuple[Field, list[Any]]


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing."""
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))


def class_name(value: Any) -> str | None:
    """The name of a class, None for a cell that names none: missing, a list, no text that a file name could hold."""
    if is_missing(value) or isinstance(value, (list, dict)):
        return None
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    name = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    try:
        name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return None
    return name if name and name.lower() != "nan" else None


def sorted_names(names: Iterable[str]) -> list[str]:
    """Classes in the order of their numbers: as numbers where all of them are, else as text."""
    found = set(names)
    return sorted(found, key=int) if all(_WHOLE.fullmatch(name) for name in found) else sorted(found)


def one_hot(rows: np.ndarray) -> np.ndarray | None:
    """`(n,)` class numbers of labels `(n, classes)`, a one in the place of the class and else zeros; None of other rows."""
    if rows.ndim != 2 or rows.dtype.kind not in "biuf" or not ((rows == 0) | (rows == 1)).all():
        return None
    return rows.argmax(axis=1) if (rows.sum(axis=1) == 1).all() else None


def name_numbers(cells: Sequence[Any], class_names: Sequence[str] | None) -> list[Any]:
    """Labels by the names of their classes, where these are known: numbers are theirs, unless all of them are names."""
    texts = [each.decode(errors="surrogateescape") if isinstance(each, bytes) else each for each in cells]
    if class_names is None or set(map(str, texts)) <= set(class_names):
        return texts
    numbers = range(len(class_names))
    return [class_names[int(each)] if not isinstance(each, str) and each in numbers else each for each in texts]


def target(name: str, cells: Sequence[Any]) -> Column:
    """A column of numbers or of labels; which, its cells tell."""
    plain = _plain_numbers(cells)
    if plain is not None:
        dtype = "<i8" if plain[1] else "<f4"
        return Field(name, "numbers", False, dtype, ()), list(plain[0].astype(dtype))
    parsed = [_parse(cell) for cell in cells]
    if any(_has_words(each) for each in parsed) or _are_uneven_whole_numbers(parsed):
        return _labels(name, "multi_label", parsed)
    return _numbers(name, parsed)


def labels(name: str, cells: Sequence[Any], class_names: Sequence[str] | None = None) -> Column:
    """A column of lists of class names, for the boxes of each sample."""
    return _labels(name, "labels", [_parse(cell) for cell in cells], class_names)


def boxes(name: str, cells: Sequence[Any]) -> Column:
    """A column of lists of x1, y1, x2, y2."""
    return Field(name, "boxes", False, "<f4", (None, 4)), [_or_refused(_boxes, cell) for cell in cells]


def text(name: str, cells: Sequence[Any]) -> Column:
    """A column of text."""
    return Field(name, "text", False, "|u1", (None,)), [_or_refused(_text, cell) for cell in cells]


def weight(name: str, cells: Sequence[Any]) -> Column:
    """A column of weights."""
    plain = _plain_numbers(cells)
    if plain is not None and (plain[0] >= 0).all():
        return Field(name, "sample_weight", False, "<f4", ()), list(plain[0].astype("<f4"))
    return Field(name, "sample_weight", False, "<f4", ()), [_or_refused(_weight, cell) for cell in cells]


def _plain_numbers(cells: Sequence[Any]) -> tuple[np.ndarray, bool] | None:
    """A column in which each cell is a finite number, parsed at once: a million take half a second, one by one they take ten.

    Returns:
        `(n,)` float64, and whether all are whole numbers; None where a cell is another thing, or a huge number.
    """
    kinds = set(map(type, cells))
    if kinds != {str} and not kinds <= {int, float}:
        return None
    try:
        found = np.array(list(map(float, cells)), np.float64)
    except (ValueError, OverflowError):
        return None
    # Above, a float holds not every whole number. A NaN is not below either.
    if not found.size or not (np.abs(found) < _ALL_WHOLE_BELOW).all():
        return None
    return found, all(_WHOLE.fullmatch(cell.strip()) for cell in cells) if kinds == {str} else kinds == {int}


def _or_refused(convert: Callable[[Any], Any], cell: Any) -> Any:
    try:
        return convert(cell)
    except (ValueError, TypeError, OverflowError) as error:
        return Refused(str(error))


def _parse(cell: Any) -> Any:
    """A cell as it came from JSON or Parquet, or as it stands in text: None, a number, a word, or a list of these."""
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, bytes):
        cell = cell.decode(errors="surrogateescape")
    if is_missing(cell):
        return None
    if not isinstance(cell, str):
        return cell
    stripped = cell.strip()
    if stripped.startswith("["):
        try:
            return json.loads(stripped)
        except (ValueError, RecursionError):
            return stripped
    if "|" in stripped:
        return [part.strip() for part in stripped.split("|") if part.strip()]
    return _number_or_word(stripped)


def _number_or_word(word: str) -> int | float | str:
    try:
        return int(word) if _WHOLE.fullmatch(word) else float(word)
    except ValueError:
        return word


def _has_words(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(isinstance(each, str) for each in value))


def _are_uneven_whole_numbers(parsed: Sequence[Any]) -> bool:
    lists = [each for each in parsed if isinstance(each, list)]
    whole = all(isinstance(each, int) for value in lists for each in value)
    return whole and len({len(each) for each in lists}) > 1


def _labels(name: str, content: str, parsed: Sequence[Any], class_names: Sequence[str] | None = None) -> Column:
    named = [_names(each) for each in parsed]
    classes = sorted_names(each for names in named for each in names or ()) if class_names is None else class_names
    numbers = {each: number for number, each in enumerate(classes)}
    values = [_class_numbers(names, numbers) for names in named]
    return Field(name, content, False, "<i4", (None,), tuple(classes)), values


def listed(cell: Any) -> list[Any]:
    """The values of a cell that may hold several: those of a list, the parts between `|`, one alone, or none."""
    value = _parse(cell)
    return value if isinstance(value, list) else [] if value is None else [value]


def _names(value: Any) -> list[str] | None:
    """The class names in a cell; None where one is no name."""
    names = [class_name(each) for each in listed(value)]
    return None if None in names else [each for each in names if each is not None]


def _class_numbers(names: list[str] | None, numbers: dict[str, int]) -> np.ndarray | Refused:
    if names is None:
        return Refused("has something that is no name of a class")
    unknown = [name for name in names if name not in numbers]
    if unknown:
        return Refused(f"has a label that is not among the class names: {unknown[0]!r}")
    return np.array([numbers[name] for name in names], np.int32)


def _numbers(name: str, parsed: Sequence[Any]) -> Column:
    arrays = [_or_refused(_finite, value) for value in parsed]
    good = [each for each in arrays if isinstance(each, np.ndarray)]
    if not good:
        reason = next((each for each in arrays if isinstance(each, Refused)), "there are no samples")
        raise SourceError(f"target {name}: no sample has numbers (the first {reason})")
    shapes = {each.shape for each in good}
    is_fixed = len(shapes) == 1 and not any(0 in shape for shape in shapes)
    if not is_fixed and any(len(shape) != 1 for shape in shapes):
        raise SourceError(f"target {name}: shapes {', '.join(map(str, sorted(shapes)))}, allowed are one shape, or plain lists")
    dtype = "<i8" if all(each.dtype.kind == "i" for each in good) else "<f4"
    field = Field(name, "numbers", False, dtype, shapes.pop() if is_fixed else (None,))
    return field, [each if isinstance(each, Refused) else each.astype(dtype) for each in arrays]


def _finite(value: Any) -> np.ndarray:
    if value is None:
        raise ValueError("has no number")
    try:
        found = np.asarray(value)
    except ValueError:
        raise ValueError(f"has {str(value)[:40]}, allowed are numbers in lists of one length") from None
    if found.dtype.kind == "b":
        found = found.astype(np.int64)
    with np.errstate(over="ignore"):
        is_finite = found.dtype.kind in "iuf" and np.isfinite(found.astype(np.float32)).all()
    if not is_finite:
        raise ValueError(f"has {str(value)[:40]}, allowed are finite numbers")
    return found.astype(np.int64) if found.dtype.kind in "iu" else found


def _boxes(cell: Any) -> np.ndarray:
    value = _parse(cell)
    found: np.ndarray
    try:
        found = np.asarray([] if value is None else value, np.float32)
    except (ValueError, TypeError):
        found = np.empty(3)
    if found.size == 0:
        return np.empty((0, 4), np.float32)
    if found.shape == (4,):
        found = found[None]
    if found.ndim != 2 or found.shape[1] != 4:
        raise ValueError(f"has boxes {str(value)[:40]}, allowed is a list of [x1, y1, x2, y2]")
    return found


def _text(cell: Any) -> np.ndarray:
    if isinstance(cell, (list, dict)):
        raise ValueError(f"has {str(cell)[:40]}, allowed is text")
    given = b"" if is_missing(cell) else cell if isinstance(cell, bytes) else str(cell).encode(errors="surrogateescape")
    return np.frombuffer(given, np.uint8)


def _weight(cell: Any) -> np.ndarray:
    value = _parse(cell)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_FLOAT32:
        raise ValueError(
            "has no weight" if value is None else f"has weight {str(value)[:40]}, allowed are finite numbers of 0 or more"
        )
    return np.array(value, np.float32)
