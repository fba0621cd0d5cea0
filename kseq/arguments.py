"""Arguments of callers: checks that many functions share, and how messages call an argument."""

from __future__ import annotations

import numbers
import operator
import os
import re
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
    "counted",
    "flag",
    "instance",
    "is_url",
    "path_or_url",
    "path_text",
    "seconds",
    "shown_url",
    "spelled",
    "spelled_call",
    "url_logins",
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


def counted(count: int, one: str, several: str) -> str:
    """A number and what is counted, for messages: `1 image is`, `2,000 images are`."""
    return f"{count:,} {one if count == 1 else several}"


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


# A URL, or a chain of them as fsspec has it (`zip::s3://bucket/a.zip`). A drive of Windows has one letter.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
# What a `pathlib.Path` makes of a URL.
_PATH_OF_URL = re.compile(r"(abfss?|adl|az|file|ftp|gcs|gs|hdfs|hf|https?|memory|oss|s3a?|sftp|ssh|webhdfs):/(?!/)")
# A secret may hold slashes; a port is none.
_LOGIN = re.compile(r"(?<=:/)(/?)(?:[^/?#]*@|[^/?#@:]*:(?!\d+/)[^?#@]*@)")
_QUERY = re.compile(r"(?<=^http)(s?:[^?#]*)[?#].*", re.DOTALL)

# What to do where an argument takes no URL.
_LOCAL_ALONE = {
    "dataset": "copy it to this machine, change it there, and copy it back: {copy}",
    "datasets": "copy it to this machine first: {copy}",
    "out": "make it on this machine, and bring it there afterwards (of a dataset: {copy_there})",
}


def is_url(value: Any) -> bool:
    """Whether a path is a URL, which fsspec opens, such as `s3://bucket/flowers`."""
    if not isinstance(value, (str, bytes)):
        return False
    # This is asked of every image: most have no colon in their paths.
    has_colon = ":" in value if isinstance(value, str) else b":" in value
    return has_colon and _URL.match(os.fsdecode(value)) is not None


def shown_url(url: str) -> str:
    """A URL for messages: without user name and password, and of the web without query, which may be credentials."""
    return _QUERY.sub(r"\1", _LOGIN.sub(r"\1", url))


def url_logins(url: str) -> list[str]:
    """Who logs in by a URL, and with which password: what `shown_url` takes out of it, as it is written."""
    return [found[0].strip("/@") for found in _LOGIN.finditer(url)]


def path_or_url(name: str, value: Any) -> str:
    """A path or a URL as a text; `is_url` tells which of the two.

    Raises:
        ArgumentError: Where it is neither.
    """
    try:
        text = os.fsdecode(value)
    except TypeError as error:
        raise ArgumentError(f"{spelled(name, value)}: allowed is a path") from error
    if "\0" in text:
        raise ArgumentError(f"{spelled(name, value)}: has a zero byte, which no path has")
    if _PATH_OF_URL.match(text):
        raise ArgumentError(
            f"{spelled(name, shown_url(text))}: is a URL that has lost a slash, as in a pathlib.Path: give it as a text with '://'"
        )
    return text


def path_text(name: str, value: Any) -> str:
    """A path of this machine's file system as a text.

    Raises:
        ArgumentError: Where it is none: a URL, for example.
    """
    text = path_or_url(name, value)
    if is_url(text):
        url = shown_url(text)
        way_out = _LOCAL_ALONE.get(name, "download it first").format(
            copy=spelled_call("copy", url, "FOLDER"), copy_there=spelled_call("copy", "FOLDER", url)
        )
        raise ArgumentError(f"{spelled(name, url)}: is a URL, allowed is a path of this machine: {way_out}")
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
    """A path from the root of the file system; anything that is not a path, and a URL, comes back as it is."""
    return os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) and not is_url(path) else path
