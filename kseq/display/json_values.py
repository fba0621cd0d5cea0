"""Values of a dataset as JSON, whatever they are."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

__all__ = ["numbers_as_json", "to_json"]

# So many numbers of an array are shown.
_MOST_NUMBERS = 64


def to_json(value: Any) -> bytes:
    """A value as JSON in ASCII: names that are no UTF-8 pass as well."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def numbers_as_json(values: np.ndarray) -> Any:
    """Numbers as nested lists, in which None stands for what JSON has no word for; of many, the first ones."""
    array = np.asarray(values)
    if array.ndim == 0:
        return _plain(array.item())
    if array.size > _MOST_NUMBERS:
        array = array[: max(1, _MOST_NUMBERS * len(array) // array.size)]
        if array.size > _MOST_NUMBERS:
            array = array.reshape(-1)[:_MOST_NUMBERS]
    return _plain(array.tolist())


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
