"""Which samples a condition on one of their fields holds for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.fields import Field

__all__ = ["Condition", "Values", "describe_condition", "matching"]

# What `ShardDataset.values` gives: an array with a row for each sample, or a list where samples differ in length.
Values = np.ndarray | list[Any]

# So many class names are told where a name is not among them.
_MOST_NAMES = 10

# A condition of more characters is told by its field alone.
_MOST_TOLD = 60


@dataclass(frozen=True)
class Condition:
    """A function over the values of a field that can say what it asks, such as `height>0.5`."""

    text: str
    test: Callable[[Values], np.ndarray]

    def __call__(self, values: Values) -> np.ndarray:
        """`(n,)` bool: for which it holds."""
        return self.test(values)


def describe_condition(name: str, condition: Any) -> str:
    """A condition on a field as a person writes it, on one line; its field alone where that is long, or a function."""
    if isinstance(condition, Condition):
        return condition.text
    several = isinstance(condition, (list, tuple, set, frozenset, range, np.ndarray))
    if callable(condition) or (several and len(condition) > _MOST_TOLD):
        return name
    text = f"{name}={','.join(map(_describe_value, condition if several else [condition]))}"
    return text if len(text) <= _MOST_TOLD else name


def _describe_value(value: Any) -> str:
    is_plain = not isinstance(value, str) or (value.isprintable() and "," not in value)
    return str(value) if is_plain else repr(value)


def matching(field: Field, classes: Sequence[str], values: Values, condition: Any) -> np.ndarray:
    """`(n,)` bool: for which samples a condition holds.

    Args:
        field: Which the condition is on.
        classes: The class name of each label number.
        values: Of that field, one for each sample.
        condition: A value; a list, tuple, set, range or array of values, any of which holds; or a function that is given
            `values` and returns `(n,)` bool. Of a field with several values in a sample, one of them is enough. A class may
            be given by its name or its number.

    Raises:
        ArgumentError: Where there is no such class, a value cannot be of this field, or a function returns something else.
    """
    if callable(condition):
        return _called(field, values, condition)
    if field.kind == "boxes":
        raise ArgumentError(f"where {field.name}: boxes are chosen by a function, which is given a list of (count, 4) arrays")
    given = list(condition) if isinstance(condition, (list, tuple, set, frozenset, range, np.ndarray)) else [condition]
    wanted = [_checked(field, classes, each) for each in given]
    if field.kind == "text":
        return np.array([each in wanted for each in values], bool)
    if not isinstance(values, np.ndarray):
        return np.array([np.isin(each, wanted).any() for each in values], bool)
    found: np.ndarray = np.isin(values, wanted)
    return np.any(found, axis=tuple(range(1, found.ndim)))


def _checked(field: Field, classes: Sequence[str], value: Any) -> Any:
    """A value in the form in which it is stored."""
    if field.kind == "text":
        return _text(field, value)
    if field.kind in ("label", "labels", "multi_label"):
        return _class_number(field, classes if field.kind == "label" else field.class_names, value)
    return _number(field, value)


def _called(field: Field, values: Values, function: Callable[[Values], Any]) -> np.ndarray:
    found = np.asarray(function(values))
    if found.dtype != np.bool_ or found.shape != (len(values),):
        raise ArgumentError(
            f"where {field.name}: the function gave {found.dtype} {found.shape}, expected is bool ({len(values)},)"
        )
    return found


def _class_number(field: Field, names: Sequence[str], value: Any) -> int:
    if isinstance(value, str):
        if value in names:
            return names.index(value)
        shown = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "")
        raise ArgumentError(f"where {field.name}: there is no class {value!r}, there is {shown or 'none'}")
    if _is_number(value, "iu") and 0 <= value < len(names):
        return int(value)
    raise ArgumentError(f"where {field.name}={value!r}: allowed is the name of a class, or a number in [0, {len(names)})")


def _number(field: Field, value: Any) -> float:
    if not _is_number(value, "iuf"):
        raise ArgumentError(f"where {field.name}={value!r}: allowed is a number")
    # As it is stored: 0.1 is not the float32 nearest to it.
    return np.dtype(field.dtype).type(value).item() if np.dtype(field.dtype).kind == "f" else value


def _text(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"where {field.name}={value!r}: allowed is text")
    return value


def _is_number(value: Any, kinds: str) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in kinds
