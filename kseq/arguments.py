"""Arguments of callers: checks that many functions share, and how messages call an argument."""

from __future__ import annotations

import numbers
import operator
import os
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import numpy as np

from kseq.errors import ArgumentError

__all__ = [
    "SPELLING",
    "PythonSpelling",
    "Spelling",
    "absolute",
    "choice",
    "flag",
    "instance",
    "path_text",
    "seconds",
    "spelled",
    "spelled_call",
    "whole",
    "whole_pair",
]

T = TypeVar("T")

# Arguments that are objects, and the classes of these.
_OBJECTS = {"columns": "kseq.Columns", "images": "kseq.ImageSettings"}


class Spelling(Protocol):
    """How messages call arguments and functions: as the caller writes them."""

    def argument(self, name: str, *value: Any, **attributes: Any) -> str:
        """An argument, with its value if one is given, or an argument that is an object, with some of its attributes."""
        ...

    def call(self, function: str, *values: Any, **arguments: Any) -> str:
        """A call of a public function."""
        ...


class PythonSpelling:
    """Arguments and calls as Python has them: `val=0.2`, `kseq.compact('flowers')`."""

    def argument(self, name: str, *value: Any, **attributes: Any) -> str:
        if attributes:
            return f"{name}={_OBJECTS[name]}({', '.join(map(self.argument, attributes, attributes.values()))})"
        owner, _, attribute = name.partition(".")
        if owner in _OBJECTS and attribute:
            return f"{_OBJECTS[owner]}({self.argument(attribute, *value)})"
        return f"{name}={value[0]!r}" if value else f"{name}="

    def call(self, function: str, *values: Any, **arguments: Any) -> str:
        given = [repr(value) for value in values] or ["..."]
        return f"kseq.{function}({', '.join([*given, *(self.argument(name, value) for name, value in arguments.items())])})"


# Set by the command alone; None for that of Python.
SPELLING: ContextVar[Spelling | None] = ContextVar("SPELLING", default=None)
_PYTHON = PythonSpelling()


def spelled(name: str, *value: Any, **attributes: Any) -> str:
    """An argument of a public function as the caller writes it, for messages.

    Args:
        name: The argument, such as `overwrite`. `columns.label` is `label` of the `kseq.Columns` that is given as `columns`,
            `images.quality` is `quality` of the `kseq.ImageSettings` that is given as `images`.
        value: Its value, if the message is to show one.
        attributes: Instead of a value: several attributes of `columns` or `images`.

    Returns:
        `overwrite=True`, `val=0.2`, `kseq.Columns(label='')`, or without a value `overwrite=`; under the command
        `--overwrite`, `--val 0.2`, `--label ''`.
    """
    return (SPELLING.get() or _PYTHON).argument(name, *value, **attributes)


def spelled_call(function: str, *values: Any, **arguments: Any) -> str:
    """A call of a public function as the caller writes it, for messages.

    Returns:
        `kseq.compact('flowers')`, or without values `kseq.pack(..., resume=True)`; under the command `kseq compact flowers`
        and `kseq pack --resume`.
    """
    return (SPELLING.get() or _PYTHON).call(function, *values, **arguments)


def path_text(name: str, value: Any) -> str:
    """A path as a text.

    Raises:
        ArgumentError: Where it is none.
    """
    try:
        text = os.fsdecode(value)
    except TypeError as error:
        raise ArgumentError(f"{spelled(name, value)}: allowed is a path") from error
    if "\0" in text:
        raise ArgumentError(f"{spelled(name, value)}: has a zero byte, which no path has")
    return text


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of several words.

    Raises:
        ArgumentError: Where it is none of them.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ArgumentError(f"{spelled(name, value)}: allowed are {', '.join(allowed)}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False (Python's or numpy's).

    Raises:
        ArgumentError: If it is anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{spelled(name, value)}: allowed are True and False")
    return bool(value)


def instance(name: str, value: T | None, kind: type[T]) -> T:
    """An object of a class; None stands for one with the defaults.

    Raises:
        ArgumentError: Where it is anything else.
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ArgumentError(f"{spelled(name, value)}: allowed is a kseq.{kind.__name__}")
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
        raise ArgumentError(f"{spelled(name, value)}: allowed is a whole number{_range(least, most)}") from error
    if (least is not None and number < least) or (most is not None and number > most):
        raise ArgumentError(f"{spelled(name, number)}: allowed is{_range(least, most)}")
    return number


def _range(least: int | None, most: int | None) -> str:
    if least is None:
        return ""
    return f" {least} or more" if most is None else f" {least} to {most}"


def seconds(name: str, value: Any) -> float:
    """A length of time in seconds, above 0; infinity is allowed.

    Raises:
        ArgumentError: Where it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value) > 0:
        raise ArgumentError(f"{spelled(name, value)}: allowed is a number of seconds above 0")
    return float(value)


def whole_pair(name: str, value: Any) -> tuple[int, int]:
    """Two whole numbers of 1 or more, height and width in pixels.

    Raises:
        ArgumentError: Where it is anything else.
    """
    try:
        height, width = value
        return whole(name, height, 1), whole(name, width, 1)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{spelled(name, value)}: allowed are two numbers, height and width, of 1 or more") from error


def absolute(path: Any) -> Any:
    """A path from the root of the file system; anything that is not a path comes back as it is."""
    return os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else path
