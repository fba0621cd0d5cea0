"""What a caller gave: numbers in their range, paths; or refused by the name of the argument."""

from __future__ import annotations

import operator
import os
from typing import Any, TypeVar

from kseq.errors import ArgumentError

__all__ = ["absolute", "instance", "path_text", "whole", "whole_pair"]

T = TypeVar("T")


def path_text(name: str, value: Any) -> str:
    """A path as a text.

    Raises:
        ArgumentError: Where it is none.
    """
    try:
        text = os.fsdecode(value)
    except TypeError as error:
        raise ArgumentError(f"{name}={value!r}: allowed is a path") from error
    if "\0" in text:
        raise ArgumentError(f"{name}={value!r}: has a zero byte, which no path has")
    return text


def instance(name: str, value: T | None, kind: type[T]) -> T:
    """An object of a class; None stands for one with the defaults.

    Raises:
        ArgumentError: Where it is anything else.
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ArgumentError(f"{name}={value!r}: allowed is a kseq.{kind.__name__}")
    return value


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number (Python's or numpy's) as a Python int.

    Raises:
        ArgumentError: Where it is none, or is not from `least` to `most`.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError as error:
        raise ArgumentError(f"{name}={value!r}: allowed is a whole number{_range(least, most)}") from error
    if (least is not None and number < least) or (most is not None and number > most):
        raise ArgumentError(f"{name}={number}: allowed is{_range(least, most)}")
    return number


def _range(least: int | None, most: int | None) -> str:
    if least is None:
        return ""
    return f" {least} or more" if most is None else f" {least} to {most}"


def whole_pair(name: str, value: Any) -> tuple[int, int]:
    """Two whole numbers of 1 or more, height and width in pixels.

    Raises:
        ArgumentError: Where it is anything else.
    """
    try:
        height, width = value
        return whole(name, height, 1), whole(name, width, 1)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name}={value!r}: allowed are two numbers, height and width, of 1 or more") from error


def absolute(place: Any) -> Any:
    """A path from the root of the file system; what is no path as it is."""
    return os.path.abspath(os.fsdecode(place)) if isinstance(place, (str, bytes, os.PathLike)) else place
