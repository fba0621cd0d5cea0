"""Columns that number the rows of a table, and say nothing of its images.

The rules:

- What pandas and R write before all others is one, whatever rows were left out or drawn: a column without a name, or called
  `Unnamed: 0` or `__index_level_0__`, of whole numbers.
- `index`, `#`, `level_0` and `X` are one if they count the rows, from 0 or from 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kseq.sources.class_names import WHOLE_NUMBER

__all__ = ["MAY_NUMBER", "numbers_rows"]

_WRITTEN = re.compile(r"|unnamed: ?\d+(\.\d+)*|unnamed_?\d+|__index_level_\d+__", re.IGNORECASE)
_COUNTED = re.compile(r"index|#|level_0|x", re.IGNORECASE)

MAY_NUMBER = re.compile(rf"{_WRITTEN.pattern}|{_COUNTED.pattern}", re.IGNORECASE)
"""What such columns are called."""


def numbers_rows(name: str, cells: Sequence[Any]) -> bool:
    """Whether a column numbers the rows, by its name and its first cells."""
    texts = [str(cell).strip() for cell in cells]
    if _WRITTEN.fullmatch(name.strip()):
        # A whole number has become a float where a row lacked it.
        return all(WHOLE_NUMBER.fullmatch(text.removesuffix(".0")) for text in texts)
    counts = ([str(row) for row in range(start, start + len(texts))] for start in (0, 1))
    return _COUNTED.fullmatch(name.strip()) is not None and texts in counts
