"""Conditions on fields as they are written in a shell: `label=rose,daisy`, `height>0.5`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import kseq
from kseq.errors import ArgumentError
from kseq.reading.where import Condition, Values, describe_condition, matching
from kseq.storage.fields import Field

__all__ = ["parse_where"]

_FORM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(<=|>=|<|>|=)\s*(.*?)\s*", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_CLASSES = ("label", "labels", "multi_label")


def parse_where(texts: Sequence[str], dataset: kseq.ShardDataset) -> dict[str, Any]:
    """What `kseq.ShardDataset.where` takes, from conditions each of which must hold.

    `FIELD=VALUE`, or several values by commas, any of which it may be: classes by name or number, numbers, text. And
    `FIELD<NUMBER`, `<=`, `>`, `>=` for numbers. Of a field with several values in a sample, one that fits is enough.

    Raises:
        ArgumentError: Where one is of another form, or does not go with its field.
    """
    where: dict[str, Any] = {}
    for text in texts:
        match = _FORM.fullmatch(text)
        if match is None:
            raise ArgumentError(
                f"--where {text}: allowed are FIELD=VALUE, FIELD=VALUE,VALUE, and FIELD<NUMBER (also <=, >, >=)"
            )
        name, sign, value = match.groups()
        if name not in dataset.fields:
            raise ArgumentError(f"--where {text}: has no field {name!r}, it has {', '.join(dataset.fields)}")
        field = dataset.fields[name]
        classes = dataset.classes if field.kind == "label" else field.class_names
        one = _equal(text, field, classes, value) if sign == "=" else _compared(text, field, sign, value)
        where[name] = one if name not in where else _both(field, dataset.classes, where[name], one)
    return where


def _equal(text: str, field: Field, classes: Sequence[str], value: str) -> Any:
    if field.kind == "text" or (field.kind in _CLASSES and value in classes):
        # It may hold commas itself.
        return [value] if field.kind in _CLASSES else list(dict.fromkeys([value, *value.split(",")]))
    values = [each.strip() for each in value.split(",")]
    if field.kind in _CLASSES:
        return [each if each in classes or not re.fullmatch("[0-9]{1,9}", each) else int(each) for each in values]
    return [_number(text, each) for each in values]


def _compared(text: str, field: Field, sign: str, value: str) -> Condition:
    if field.kind not in ("numbers", "sample_weight"):
        raise ArgumentError(f"--where {text}: {field.name} is {field.kind}, {sign} goes with numbers")
    # As it is stored: 0.1 is not the float32 nearest to it.
    limit = np.asarray(_number(text, value))
    stored = limit.astype(field.dtype) if np.dtype(field.dtype).kind == "f" else limit
    return Condition(f"{field.name}{sign}{value}", partial(_fits, _COMPARE[sign], stored))


def _fits(compare: Callable[[Any, Any], Any], limit: np.ndarray, values: Values) -> np.ndarray:
    if not isinstance(values, np.ndarray):
        return np.array([bool(np.any(compare(each, limit))) for each in values], bool)
    return np.any(compare(values, limit), axis=tuple(range(1, values.ndim)))


def _number(text: str, value: str) -> int | float:
    try:
        return int(value) if re.fullmatch("[+-]?[0-9]{1,18}", value) else float(value)
    except ValueError as error:
        raise ArgumentError(f"--where {text}: {value!r} is no number") from error


def _both(field: Field, classes: Sequence[str], one: Any, other: Any) -> Condition:
    return Condition(
        f"{describe_condition(field.name, one)}, {describe_condition(field.name, other)}",
        lambda values: matching(field, classes, values, one) & matching(field, classes, values, other),
    )
