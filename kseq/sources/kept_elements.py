"""Which elements of samples stay, boxes and several labels, where some of their classes are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kseq.sources.spooled_column import SpooledColumn
from kseq.storage.fields import Field

__all__ = ["keep_elements"]


def keep_elements(
    fields: Sequence[Field], values: Mapping[str, SpooledColumn], field: Field, numbers: np.ndarray
) -> tuple[dict[str, SpooledColumn], int]:
    """The values of samples without the elements whose class is left out; what describes the same elements goes with them.

    Args:
        fields: All fields that have values.
        values: A column for each of them, by its name.
        field: The field of class numbers.
        numbers: `(classes,)` int32: the new number of each class, -1 for one that is left out. The class -1 is left out too.

    Returns:
        The columns that are other ones now, and how many elements were left out.
    """
    leader = field.handler.leader
    members = [other.name for other in fields if leader and leader in (other.kind, other.handler.leader)] or [field.name]
    position = members.index(field.name)
    # The class -1 is the last of these.
    new_numbers = np.append(numbers, -1).astype(np.int32)
    columns, num_left_out = [SpooledColumn() for _ in members], 0
    for row in zip(*(values[member] for member in members), strict=True):
        kept: Sequence[Any] = row
        labels = row[position]
        if all(isinstance(value, np.ndarray) and value.ndim and len(value) == len(labels) for value in row):
            renumbered = new_numbers[labels.astype(np.int64)]
            stays = renumbered >= 0
            num_left_out += len(labels) - int(stays.sum())
            kept = [renumbered[stays] if place == position else value[stays] for place, value in enumerate(row)]
        for column, value in zip(columns, kept, strict=True):
            column.append(value)
    return dict(zip(members, columns, strict=True)), num_left_out
