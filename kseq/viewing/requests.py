"""The parameters of an address, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kseq.errors import ArgumentError

__all__ = ["id_list", "one_of", "whole_number"]

_MOST_IDS = 256


def whole_number(parameters: Mapping[str, str], name: str, default: int | None, least: int, most: int) -> int:
    """A parameter that is a whole number in [least, most].

    Raises:
        ArgumentError: If it is none, or is missing without a default.
    """
    text = parameters.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch("[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise ArgumentError(f"{name}={text}: allowed are whole numbers from {least} to {most}")
    return int(text)


def one_of(parameters: Mapping[str, str], name: str, default: str, allowed: Any) -> str:
    """A parameter that is one of some words.

    Raises:
        ArgumentError: If it is none of them.
    """
    text = parameters.get(name, default)
    if text not in allowed:
        raise ArgumentError(f"{name}={text}: allowed are {', '.join(filter(None, allowed))}")
    return text


def id_list(texts: Any, num_ids: int, most: int = _MOST_IDS) -> np.ndarray:
    """`(n,)` int64: sample ids, from numbers or from texts with commas between them.

    Raises:
        ArgumentError: If there are none or too many, or one does not exist.
    """
    parts = texts.split(",") if isinstance(texts, str) else texts
    if not isinstance(parts, list) or not 0 < len(parts) <= most:
        raise ArgumentError(f"ids: allowed are 1 to {most} sample ids")
    ids = [int(part) if isinstance(part, str) and re.fullmatch("[0-9]{1,18}", part) else part for part in parts]
    wrong = [part for part in ids if isinstance(part, bool) or not isinstance(part, int) or not 0 <= part < num_ids]
    if wrong:
        raise ArgumentError(f"ids: {str(wrong[0])[:40]} is no sample id, allowed are whole numbers in [0, {num_ids})")
    return np.array(ids, np.int64)
