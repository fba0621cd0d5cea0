"""Conditions on fields, and the samples for which they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.fields import Field

__all__ = ["Condition", "Values", "describe_condition", "matching"]

# What `ShardDataset.values` returns: an array with a row for each sample, or a list if samples differ in length.
Values = np.ndarray | list[Any]

# A condition with a longer description is described by its field alone.
_LONGEST_DESCRIPTION = 60


@dataclass(frozen=True)
class Condition:
    """A function over the values of a field, with a description of itself, such as `height>0.5`."""

    text: str
    test: Callable[[Values], np.ndarray]

    def __call__(self, values: Values) -> np.ndarray:
        """`(n,)` bool: for which of the values the condition holds."""
        return self.test(values)


def describe_condition(name: str, condition: Any) -> str:
    """A condition on the field `name` as a person writes it, on one line; the name alone for a long one or a function."""
    if isinstance(condition, Condition):
        return condition.text
    is_list = _is_list(condition)
    if callable(condition) or (is_list and len(condition) > _LONGEST_DESCRIPTION):
        return name
    text = f"{name}={','.join(map(_describe_value, condition if is_list else [condition]))}"
    return text if len(text) <= _LONGEST_DESCRIPTION else name


def _describe_value(value: Any) -> str:
    is_plain = not isinstance(value, str) or (value.isprintable() and "," not in value)
    return str(value) if is_plain else repr(value)


def _is_list(condition: Any) -> bool:
    return isinstance(condition, (list, tuple, set, frozenset, range, np.ndarray))


def matching(field: Field, class_names: Sequence[str], values: Values, condition: Any) -> np.ndarray:
    """`(n,)` bool: for which samples a condition holds.

    Args:
        field: The field that the condition is on.
        class_names: The class name of each label number.
        values: The values of the field, one for each sample.
        condition: A value; a list, tuple, set, range or array of values, one of which must be equal; or a function that takes
            `values` and returns `(n,)` bool. If a sample has several values, one of them is enough. A class is named by its
            name or its number.

    Raises:
        ArgumentError: If there is no such class, the field cannot have a value, or a function returns something else.
    """
    if callable(condition):
        return _call(field, values, condition)
    names = field.handler.class_names(class_names)
    wanted = list(condition) if _is_list(condition) else [condition]
    return field.handler.equals_any(values, [field.handler.condition_value(value, names) for value in wanted])


def _call(field: Field, values: Values, function: Callable[[Values], Any]) -> np.ndarray:
    is_match = np.asarray(function(values))
    if is_match.dtype != np.bool_ or is_match.shape != (len(values),):
        raise ArgumentError(
            f"where {field.name}: the function returned {is_match.dtype} {is_match.shape}, allowed is bool ({len(values)},)"
        )
    return is_match
