"""Class names of several datasets: united, and the new numbers of their classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from kseq.storage.fields import Field

__all__ = ["class_numbers", "dataset_classes", "unite_classes"]


def unite_classes(names: Sequence[str], *others: Sequence[str]) -> tuple[str, ...]:
    """The class names of several datasets: those of the first, which keep their numbers, and then new ones of the others."""
    known = set(names)
    new = dict.fromkeys(name for other_names in others for name in other_names if name not in known)
    return (*names, *new)


def dataset_classes(fields: Iterable[Field], label_names: Sequence[str]) -> tuple[str, ...]:
    """The class names of a dataset: those of the label or, without a label, of the first field that has class names."""
    all_fields = list(fields)
    if any(field.is_label for field in all_fields):
        return tuple(label_names)
    return next((field.class_names for field in all_fields if field.class_names), ())


def class_numbers(names: Sequence[str], united: Sequence[str]) -> np.ndarray | None:
    """`(classes,)` int32: the number of each class among united class names; None if all keep their numbers."""
    if tuple(united[: len(names)]) == tuple(names):
        return None
    # Of a name that comes twice, the first number counts.
    numbers = {name: number for number, name in reversed(list(enumerate(united)))}
    return np.array([numbers[name] for name in names], "<i4")
