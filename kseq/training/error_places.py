"""Says in the text of an error where in a training it was raised; the error stays what it is."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

__all__ = ["add_place", "list_samples", "names_sample"]

# So many samples are named one by one.
_MOST_NAMED = 8

# The attribute of an error whose text names the sample.
_NAMES_SAMPLE = "_kseq_names_sample"


def add_place(error: BaseException, place: str, *, is_sample: bool = False) -> None:
    """Add a place to the text of an error, whatever its class; its class, traceback and attributes stay.

    Only of an error whose class makes its text from something else than its arguments, the place is a note, which Python
    (from 3.11 on) prints below.

    Args:
        error: The error.
        place: Such as `in batch 3 of epoch 0`.
        is_sample: Whether the place names the sample.
    """
    if is_sample:
        # A class may have no room for attributes.
        with contextlib.suppress(AttributeError, TypeError):
            setattr(error, _NAMES_SAMPLE, True)
    before, strerror = error.args, getattr(error, "strerror", None)
    with contextlib.suppress(Exception):
        _extend(error, place)
        if place in str(error):
            return
        error.args = before
        if isinstance(error, OSError):
            error.strerror = strerror
    if hasattr(error, "add_note"):
        error.add_note(place)


def _extend(error: Any, place: str) -> None:
    if isinstance(error, OSError) and len(error.args) > 1:
        # Its text is made of other attributes than its arguments, which only pickle takes.
        error.strerror = f"{error.strerror}; {place}"
        error.args = (error.args[0], error.strerror, *error.args[2:])
    else:
        # A KeyError prints its argument with quotes, which would be doubled with each place.
        is_quoted = isinstance(error, KeyError) and len(error.args) == 1 and isinstance(error.args[0], str)
        text = error.args[0] if is_quoted else str(error)
        error.args = (f"{text}; {place}" if text else place,)


def names_sample(error: BaseException) -> bool:
    """Whether the text of an error names the sample that it is about."""
    return hasattr(error, _NAMES_SAMPLE) or ": row " in str(error)


def list_samples(sample_ids: np.ndarray) -> str:
    """Sample ids in words: all of a few, the first of many."""
    named = [str(sample) for sample in sample_ids[:_MOST_NAMED].tolist()]
    rest = len(sample_ids) - len(named)
    listed = ", ".join(named) + (f" and {rest} others" if rest else "")
    return f"sample{'s' if len(sample_ids) > 1 else ''} {listed}"
