"""Kinds that hold plain numbers: targets of a regression, features, weights of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kseq.storage.field_kinds.base import FieldKind, LabelEncoder

if TYPE_CHECKING:
    from kseq.storage.fields import Field

__all__ = ["Numbers", "SampleWeight"]

_MOST_FLOAT, _MOST_WHOLE = float(np.finfo(np.float32).max), int(np.iinfo(np.int64).max)


class Numbers(FieldKind):
    """Finite numbers of any shape, the first length of which may differ between samples."""

    name = "numbers"
    dtypes = ("<f4", "<i8")
    meaning = "numbers"
    has_order = True
    blends = True

    def batch_value(self, rows: np.ndarray, encode_label: LabelEncoder) -> np.ndarray:
        return rows.astype(np.float32, copy=False)

    @property
    def can_group(self) -> bool:
        return not self.is_ragged

    @property
    def is_told_by_cells(self) -> bool:
        # Lists of whole numbers that differ in length pass for class names.
        return not (self.is_ragged and self.field.dtype == "<i8")

    def accepts(self, other: Field) -> bool:
        # A source whose lists all have one length, or are single numbers, may go where lengths differ.
        if self.is_ragged and len(other.shape) < 2:
            other = replace(other, shape=self.field.shape)
        return super().accepts(other)

    @classmethod
    def from_cell(cls, cell: Any, parse: Callable[[Any], Any]) -> np.ndarray:
        value = parse(cell)
        if value is None:
            raise ValueError("has no number")
        try:
            numbers = np.asarray(value)
        except ValueError:
            raise ValueError(f"has {str(value)[:40]}, allowed are numbers in lists of one length") from None
        if numbers.dtype.kind == "b":
            numbers = numbers.astype(np.int64)
        with np.errstate(over="ignore"):
            is_finite = numbers.dtype.kind in "iuf" and np.isfinite(numbers.astype(np.float32)).all()
        if not is_finite:
            raise ValueError(f"has {str(value)[:40]}, allowed are finite numbers")
        return numbers.astype(np.int64) if numbers.dtype.kind in "iu" else numbers

    @classmethod
    def from_array(cls, array: np.ndarray) -> np.ndarray:
        is_float = array.dtype.kind == "f"
        most = _MOST_FLOAT if is_float else _MOST_WHOLE
        # Where there is a NaN, neither comparison holds.
        if not (array.size and array.min() >= -most and array.max() <= most):
            raise ValueError("finite numbers, at least one for each sample")
        return np.asarray(array, "<f4" if is_float else "<i8")


class SampleWeight(FieldKind):
    """How much a sample counts in the loss: a number of 0 or more."""

    name = "sample_weight"
    dtypes = ("<f4",)
    shape = ()
    meaning = "a weight"
    has_order = True
    blends = True
    is_default_target = False
    column = "sample_weight"

    @classmethod
    def from_cell(cls, cell: Any, parse: Callable[[Any], Any]) -> np.ndarray:
        value = parse(cell)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_FLOAT:
            raise ValueError(
                "has no weight" if value is None else f"has weight {str(value)[:40]}, allowed are finite numbers of 0 or more"
            )
        return np.array(value, np.float32)

    @classmethod
    def from_array(cls, array: np.ndarray) -> np.ndarray:
        if array.ndim != 1 or not (array.size and array.min() >= 0 and array.max() <= _MOST_FLOAT):
            raise ValueError("weights, one finite number of 0 or more for each sample")
        return np.asarray(array, "<f4")
