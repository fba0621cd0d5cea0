"""Numbers as people and spreadsheets write them: with decimal commas, marks between thousands, and units.

The rules, for a column of targets:

- `1,5` and `1.234,56` are read as 1.5 and 1234.56, `1,234.56` as 1234.56, where all numbers of the column may be written so; a
  line tells of it. `1,500` alone may be either, and is refused; so is `1 500`, which may be two, beside single ones or `1 050`.
- Other cells stay as they are: words beside numbers are listed.
- Where most cells have a unit or a sign beside a number (`12%`, `3 kg`, `$5`), a line says that they are no numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from kseq.errors import SourceError, tell
from kseq.sources.list_cells import is_missing
from kseq.sources.spooled_column import SpooledColumn

__all__ = ["find_unit", "plain_numbers"]

_WHOLE, _POINT = re.compile(r"[-+]?\d+"), re.compile(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?")
_COMMA = re.compile(r"[-+]?\d+,\d+")
# What is a comma between thousands, or before decimals.
_EITHER = re.compile(r"[-+]?\d{1,3},\d{3}")
_POINTS_BETWEEN = re.compile(r"[-+]?\d{1,3}((\.\d{3})+,\d+|(\.\d{3}){2,})")
_COMMAS_BETWEEN = re.compile(r"[-+]?\d{1,3}((,\d{3})+\.\d+|(,\d{3}){2,})")
_SPACES_BETWEEN = re.compile(r"[-+]?\d{1,3}(\s\d{3})+([.,]\d+)?")
# No number of several is written with zeros before it.
_PADDED = re.compile(r"\s0\d\d")
# After so many words, a column that is mostly words is not read on.
_MOST_WORDS = 1000
_FORMS = {
    "whole": _WHOLE,
    "point": _POINT,
    "either": _EITHER,
    "comma": _COMMA,
    "points": _POINTS_BETWEEN,
    "commas": _COMMAS_BETWEEN,
    "spaces": _SPACES_BETWEEN,
}
_UNIT = re.compile(
    r"([$€£¥]\s*[-+]?\d[\d.,]*|[-+]?\d[\d.,]*\s*([%‰°$€£¥]|°[CF]|[kmµc]?[gml]|km|[mµn]?s|px|min|k?Hz|mmHg|cm3|years?|yrs?|days?))",
    re.IGNORECASE,
)


def plain_numbers(name: str, cells: Sequence[Any]) -> Sequence[Any]:
    """The cells of a target, those with commas or marks between thousands as Python writes them.

    Raises:
        SourceError: If a mark may mean either.
    """
    counts: Counter[str | None] = Counter()
    examples: dict[str | None, str] = {}
    padded: str | None = None
    for cell in cells:
        if not isinstance(cell, str):
            if is_missing(cell):
                continue
            return cells
        text = cell.strip()
        if text:
            form = next((form for form, pattern in _FORMS.items() if pattern.fullmatch(text)), None)
            counts[form] += 1
            examples.setdefault(form, text)
            padded = text if padded is None and form == "spaces" and _PADDED.search(text) else padded
            if form is None and counts[None] > _MOST_WORDS and 2 * counts[None] > counts.total():
                return cells
    marked = [form for form in ("comma", "points", "commas", "spaces", "either") if counts[form]]
    if not marked or counts[None] >= counts.total() - counts[None]:
        return cells
    first = examples[marked[0]]
    if counts["spaces"]:
        if not counts["whole"] and padded is None:
            return cells
        spaced = padded or examples["spaces"]
        raise SourceError(
            f"target {name}: has numbers with a space, such as {spaced!r}, between thousands or between several: write "
            f"{''.join(spaced.split())!r}, or lists such as '[1, 500]'"
        )
    has_commas, has_points = counts["comma"] or counts["points"], counts["commas"]
    if has_commas and not has_points and not counts["point"]:
        tell(f"target {name}: has numbers with decimal commas, such as {first!r}: read as {_from_commas(first)}")
        return SpooledColumn(_from_commas(cell) if isinstance(cell, str) and _is_marked(cell) else cell for cell in cells)
    if has_points and not has_commas:
        tell(f"target {name}: has numbers with commas between thousands, such as {first!r}: read as {first.replace(',', '')}")
        return SpooledColumn(cell.replace(",", "") if isinstance(cell, str) and _is_marked(cell) else cell for cell in cells)
    if has_commas and not has_points:
        # Of points and commas that both stand before decimals, the words among numbers are told.
        return cells
    raise SourceError(
        f"target {name}: has numbers with a comma, such as {first!r}, before decimals or between thousands: write them with a "
        "point"
    )


def _is_marked(cell: str) -> bool:
    text = cell.strip()
    return any(_FORMS[form].fullmatch(text) for form in ("comma", "points", "commas", "either"))


def _from_commas(text: str) -> str:
    return text.replace(".", "").replace(",", ".")


def find_unit(values: Sequence[Any]) -> str | None:
    """A cell with a unit or a sign beside its number, where at least half of all words have one; None if not."""
    words = [value for value in values if isinstance(value, str)]
    units = [word for word in words if _UNIT.fullmatch(word.strip())]
    return units[0] if len(set(units)) > 1 and 2 * len(units) >= len(words) else None
