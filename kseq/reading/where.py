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
    names = field.handler.class_names(classes)
    given = list(condition) if isinstance(condition, (list, tuple, set, frozenset, range, np.ndarray)) else [condition]
    return field.handler.equals_any(values, [field.handler.condition_value(value, names) for value in given])


def _called(field: Field, values: Values, function: Callable[[Values], Any]) -> np.ndarray:
    found = np.asarray(function(values))
    if found.dtype != np.bool_ or found.shape != (len(values),):
        raise ArgumentError(
            f"where {field.name}: the function gave {found.dtype} {found.shape}, expected is bool ({len(values)},)"
        )
    return found
