"""Conditions on fields as text: `label=rose,daisy`, `height>0.5`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.reading.where import Condition, Values, describe_condition, matching
from kseq.storage.fields import Field

__all__ = ["parse_conditions"]

_FORM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(<=|>=|<|>|=)\s*(.*?)\s*", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def parse_conditions(texts: Sequence[str], fields: Mapping[str, Field], class_names: Sequence[str]) -> dict[str, Any]:
    """Conditions as `kseq.reading.where.matching` takes them, by field, from texts, all of which must hold.

    `FIELD=VALUE`, or several values with commas between them, of which one must fit: classes by name or number, numbers, text.
    And `FIELD<NUMBER`, `<=`, `>`, `>=` for numbers. If a sample has several values in a field, one that fits is enough.

    Args:
        texts: The conditions.
        fields: What each sample holds, by name.
        class_names: The class name of each label number.

    Raises:
        ArgumentError: If a text has another form, or does not go with its field.
    """
    conditions: dict[str, Any] = {}
    for text in texts:
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ArgumentError(f"where {text}: allowed are FIELD=VALUE, FIELD=VALUE,VALUE, and FIELD<NUMBER (also <=, >, >=)")
        name, sign, value = match.groups()
        if name not in fields:
            raise ArgumentError(f"where {text}: has no field {name!r}, it has {', '.join(fields)}")
        field = fields[name]
        condition = _equal(text, field, class_names, value) if sign == "=" else _compared(text, field, sign, value)
        conditions[name] = _both(field, class_names, conditions[name], condition) if name in conditions else condition
    return conditions


def _equal(text: str, field: Field, class_names: Sequence[str], value: str) -> Any:
    return _values(text, field, field.handler.class_names(class_names), value)


def _values(text: str, field: Field, class_names: Sequence[str], value: str) -> list[Any]:
    try:
        return field.handler.parse_condition(value, class_names)
    except ValueError as error:
        raise ArgumentError(f"where {text}: {error}") from error


def _compared(text: str, field: Field, sign: str, value: str) -> Condition:
    if not field.handler.has_order:
        raise ArgumentError(f"where {text}: {field.name} is {field.kind}, {sign} goes with numbers")
    limits = _values(text, field, (), value)
    if len(limits) != 1:
        raise ArgumentError(f"where {text}: {value!r} is not a number")
    stored = field.handler.condition_value(limits[0], ())
    return Condition(f"{field.name}{sign}{value}", partial(_fits, _COMPARE[sign], stored))


def _fits(compare: Callable[[Any, Any], Any], limit: np.ndarray, values: Values) -> np.ndarray:
    if not isinstance(values, np.ndarray):
        return np.array([bool(np.any(compare(value, limit))) for value in values], bool)
    return np.any(compare(values, limit), axis=tuple(range(1, values.ndim)))


def _both(field: Field, class_names: Sequence[str], one: Any, other: Any) -> Condition:
    """The condition that two conditions on a field hold."""
    return Condition(
        f"{describe_condition(field.name, one)}, {describe_condition(field.name, other)}",
        lambda values: matching(field, class_names, values, one) & matching(field, class_names, values, other),
    )
