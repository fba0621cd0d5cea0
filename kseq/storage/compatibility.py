"""What datasets that are to go together must have in common: fields of the same form, and classes by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.fields import Field

__all__ = [
    "check_same_names",
    "class_numbers",
    "common_field",
    "dataset_classes",
    "row_layouts",
    "unite_classes",
]


def check_same_names(fields: Iterable[str], others: Iterable[str], path: str, other_path: str) -> None:
    """Raise ArgumentError unless what is at two paths has fields of the same names."""
    mine, its = list(fields), list(others)
    for name in dict.fromkeys([*mine, *its]):
        _check_has(name, its, other_path, path)
        _check_has(name, mine, path, other_path)


def _check_has(name: str, names: Sequence[str], path: str, other_path: str) -> None:
    if name not in names:
        raise ArgumentError(f"{path}: has no field {name!r}, which {other_path} has: they do not go together")


def common_field(field: Field, other: Field, path: str, other_path: str) -> Field:
    """One field for both, with the classes of the first: of encoded images whose sizes differ, lengths are None.

    Raises:
        ArgumentError: Where the samples of both cannot lie side by side.
    """
    shape = field.shape
    if field.encoded and other.encoded and field.shape[2:] == other.shape[2:]:
        shape = tuple(mine if mine == its else None for mine, its in zip(field.shape, other.shape, strict=True))
    common = replace(field, shape=shape)
    if common != replace(other, shape=shape if field.encoded else other.shape, class_names=field.class_names):
        raise ArgumentError(
            f"{other_path}: field {field.name!r} is {other.describe()}, in {path} it is {field.describe()}: "
            "they do not go together"
        )
    return common


def row_layouts(fields: Sequence[Field]) -> list[Field]:
    """What decides how the rows of a shard lie in it: equal for fields that any shard of one of them serves."""
    shapes = [(None, None, each.shape[2]) if each.encoded else each.shape for each in fields]
    return [replace(each, shape=shape, class_names=()) for each, shape in zip(fields, shapes, strict=True)]


def unite_classes(names: Sequence[str], *others: Sequence[str]) -> tuple[str, ...]:
    """Class names that keep their numbers, and after them those that others have besides."""
    united, known = list(names), set(names)
    for name in (name for each in others for name in each):
        if name not in known:
            known.add(name)
            united.append(name)
    return tuple(united)


def dataset_classes(fields: Iterable[Field], label_names: Sequence[str]) -> tuple[str, ...]:
    """The classes of a dataset: those of the label, or where there is none, of the first field that has some."""
    found = list(fields)
    if any(field.is_label for field in found):
        return tuple(label_names)
    return next((each.class_names for each in found if each.class_names), ())


def class_numbers(names: Sequence[str], united: Sequence[str]) -> np.ndarray | None:
    """`(classes,)` int32: the numbers that classes have among others; None where they keep their own."""
    numbers = {name: number for number, name in reversed(list(enumerate(united)))}
    if tuple(united[: len(names)]) == tuple(names):
        return None
    return np.array([numbers[name] for name in names], "<i4")
