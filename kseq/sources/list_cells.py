"""Cells that hold several values: JSON lists, parts between `|`, numbers in a row, words with a mark between them.

- `[0.5, 1]` is JSON, `garden|summer` are two words. `['a', 'b']`, `[(1, 2), (3, 4)]` and `[[1 2] [3 4]]` are lists as Python
  and numpy write them.
- `70 80 82`, `0.5; 1` and `1, 2` are lists of numbers. (`1,5` may be one number, with a decimal comma.)
- Words with spaces, commas or semicolons between them are several labels only if the whole column looks like it: fewer words
  than combinations of them, or each of the words alone in some cell. A class `golden retriever` stays one.
- A column of the one class of each sample is never parted: a line says what it looks like.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import tell
from kseq.sources.class_names import WHOLE_NUMBER, whole_class_name
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.text import decode_name
from kseq.storage.field_names import as_targets

__all__ = ["is_missing", "parse_cell", "parse_list", "part_words", "warn_of_odd_classes", "warn_of_several"]

# Digits are matched in one way alone: with two, a cell of many numbers and one word would be tried in any number of ways.
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:(?:\s*;\s*|,?\s+){_NUMBER})+")
# One that is not whole.
_DECIMAL = re.compile(r"[-+]?\d*[.,]0*[1-9]\d*(?:[eE][-+]?\d+)?")
_BETWEEN_NUMBERS = re.compile(r"[;,\s]+")
# What numpy prints: numbers with spaces between.
_NUMPY_ARRAY = re.compile(rf"\[[\[\]\s]*{_NUMBER}([\[\]\s]+{_NUMBER})*[\[\]\s]*\]")
_BETWEEN_ARRAY = re.compile(r"(?<=[\d.\]])\s+(?=[-+\d.\[])")
_BARE_POINT = re.compile(r"\d\.(?=[\s\]])")
_MARKS = {";": "semicolons", ",": "commas", " ": "spaces"}
_BAR = "|"
# What tools write, in lower case, where there is nothing.
_NOTHING = frozenset({"na", "n/a", "#n/a", "none", "null", "nil", "<na>", "?", "-", "--"})
_SHOWN, _SHOWN_LETTERS = 3, 60

# A column with more different cells is no column of labels.
_MOST_COMBINATIONS = 100_000


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty, null or NaN."""
    return cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and cell != cell)


def parse_cell(cell: Any) -> Any:
    """A cell from JSON or Parquet, or written as text: None, a number, a word, or a list of these."""
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, bytes):
        cell = decode_name(cell)
    if is_missing(cell):
        return None
    if not isinstance(cell, str):
        return cell
    stripped = cell.strip()
    if stripped.startswith(("[", "(")):
        return _parse_written(stripped)
    if _BAR in stripped:
        return _parts(stripped, _BAR)
    if _NUMBERS.fullmatch(stripped):
        return [_number_or_word(part) for part in _BETWEEN_NUMBERS.split(stripped)]
    return _number_or_word(stripped)


def _parse_written(text: str) -> Any:
    """A list as JSON, as Python or as numpy writes it; the text, if it is none of them."""
    with suppress(ValueError, RecursionError):
        if text.startswith("["):
            return json.loads(text)
    with suppress(ValueError, RecursionError):
        if _NUMPY_ARRAY.fullmatch(text):
            return json.loads(_BETWEEN_ARRAY.sub(", ", _BARE_POINT.sub(r"\g<0>0", text)))
    # It makes plain values, and runs nothing.
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        value = ast.literal_eval(text)
        if isinstance(value, (list, tuple)):
            return _as_lists(value)
    return text


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def parse_list(cell: Any) -> list[Any]:
    """The values of a cell that may hold several: a list, the parts between `|`, a single value, or nothing."""
    value = parse_cell(cell)
    return value if isinstance(value, list) else [] if value is None else [value]


def part_words(name: str, values: Iterable[Any]) -> SpooledColumn:
    """The parsed cells of a column of labels; words with a mark between them as lists, where the column looks like it.

    A line tells of it.
    """
    values = SpooledColumn(values)
    words = {value for value in values if isinstance(value, str)}
    if any(isinstance(value, list) and any(map(_is_word, value)) for value in values) or len(words) > _MOST_COMBINATIONS:
        return values
    mark = next((mark for mark in _MARKS if _is_between(words, mark)), None)
    if mark is None:
        return values
    example = min(word for word in words if mark in word)
    tell(
        f"{name}: has cells such as {example!r}: taken for several labels with {_MARKS[mark]} between them "
        f"(a list, such as {json.dumps([example], ensure_ascii=False)}, is one label)"
    )
    return SpooledColumn(_parts(value, mark) if isinstance(value, str) and mark in value else value for value in values)


def warn_of_several(column: str, names: Collection[str]) -> None:
    """Say in one line that the classes of a column look like several labels of a sample each, if they do.

    Args:
        column: The column.
        names: Its classes.
    """
    words = set(names)
    bars = {word for word in words if len(_parts(word, _BAR)) > 1}
    mark = None if len(words) > _MOST_COMBINATIONS else next((mark for mark in _MARKS if _is_between(words, mark)), None)
    if mark == " " and not _are_surely_words(words):
        mark = None
    if not bars and mark is None:
        return
    found, between = (bars, _BAR) if bars else ({word for word in words if mark and mark in word}, _MARKS[mark or ""])
    several = spelled("columns", label="", targets={"tags": column})
    tell(
        f"label {column}: {min(found)!r} is packed as one class, and looks like several labels with {between} between them: "
        f"{several} packs several"
    )


def warn_of_odd_classes(column: str, names: Collection[str]) -> None:
    """Say in one line of each kind that classes of a column look like no classes, if they do: lists, numbers, missing values.

    Args:
        column: The column.
        names: Its classes.
    """
    lists = [name for name in names if (name[0], name[-1]) == ("[", "]")]
    if lists:
        several = spelled("columns", label="", targets={"tags": column})
        shown = _listed([min(lists)])
        tell(f"label {column}: {shown} is packed as one class, and looks like a list: {several} packs the labels in it")
    objects = [name for name in names if (name[0], name[-1]) == ("{", "}")]
    if objects:
        shown = _listed([min(objects)])
        tell(f"label {column}: {shown} is packed as one class, and looks like an object: write the name of a class alone")
    nothing = sorted(name for name in names if name.lower() in _NOTHING)
    if nothing and len(nothing) < len(names):
        left_out = spelled("without_class", nothing)
        says = f"{_listed(nothing)} {'counts as a class' if len(nothing) == 1 else 'count as classes'}"
        tell(f"label {column}: {says}: if that means that there is none, {left_out} leaves it out")
    decimals = [name for name in names if _DECIMAL.fullmatch(name)]
    if decimals and all(_DECIMAL.fullmatch(name) or WHOLE_NUMBER.fullmatch(whole_class_name(name)) for name in names):
        numbers = spelled("columns", label="", targets=as_targets([column]))
        tell(
            f"label {column}: numbers with decimals, such as {min(decimals)!r}, are packed as classes: {numbers} packs numbers"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:_SHOWN_LETTERS]) for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _are_surely_words(words: set[str]) -> bool:
    """Whether spaces stand between labels: classes such as `red rose` and `white rose` share words too."""
    parts = {part for word in words for part in word.split()}
    return parts <= words or 2 * len(parts) < len(words)


def _is_between(words: set[str], mark: str) -> bool:
    combinations = {word for word in words if mark in word}
    parts = {part for word in combinations for part in _parts(word, mark)}
    return bool(combinations) and (len(parts) < len(combinations) or parts <= words)


def _parts(word: str, mark: str) -> list[str]:
    return [part.strip() for part in word.split(mark) if part.strip()]


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _number_or_word(word: str) -> int | float | str:
    try:
        return int(word) if WHOLE_NUMBER.fullmatch(word) else float(word)
    except ValueError:
        return word
