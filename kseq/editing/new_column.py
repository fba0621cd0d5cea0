"""The column of a new field of a packed dataset, from a table or from an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import spelled
from kseq.editing.columns import ColumnArrays, empty_column, replace_values
from kseq.editing.sample_lists import read_cells
from kseq.errors import ArgumentError, SourceError
from kseq.sources.cell_types import Rejection, parse_target
from kseq.sources.column_roles import USUAL
from kseq.sources.label_numbers import number_classes
from kseq.sources.list_cells import is_missing
from kseq.storage.field_kinds import KINDS
from kseq.storage.fields import LABEL, Field
from kseq.storage.index import Index

__all__ = ["FieldRequest", "NewColumn", "column_from_array", "column_from_table"]


class FieldRequest(NamedTuple):
    """The arguments of `kseq.add_field` that say what the new field is."""

    name: str
    column: str | None
    kind: str | None
    default: Any
    class_names: Sequence[str] | None


class NewColumn(NamedTuple):
    """A new field and its values.

    Attributes:
        field: The field.
        class_names: The classes of its numbers; empty if it has none.
        arrays: The values of all samples.
        num_given: The number of samples with a value from the file.
        num_defaulted: The number of samples with the default.
    """

    field: Field
    class_names: tuple[str, ...]
    arrays: ColumnArrays
    num_given: int
    num_defaulted: int


def column_from_table(index: Index, path: str, request: FieldRequest) -> NewColumn:
    """Read a new field from a table that names samples.

    Raises:
        ArgumentError: If the default is no value of the field.
        SourceError: If the table cannot be read, or a value is missing or not allowed.
    """
    usual_names = (request.name, *(USUAL["label"] if request.name == "label" else ()))
    samples, cells = read_cells(index, path, request.column, usual_names)
    unnamed = np.setdiff1d(index.remaining[np.arange(index.remaining.size)], samples.ids, assume_unique=True)
    has_default = request.default is not None
    if len(unnamed) and not has_default:
        raise SourceError(
            f"{samples.path}: says nothing of {len(unnamed)} of {index.remaining.size} samples (the first is {unnamed[0]}): "
            f"every one needs a value ({spelled('default')} gives one)"
        )
    is_defaulted = [has_default and is_missing(cell) for cell in cells]
    all_cells = [request.default if is_default else cell for cell, is_default in zip(cells, is_defaulted, strict=True)]
    # The default is the last cell, since it counts when the cells tell what kind of column that is.
    field, class_names, values = _parse_cells(request, [*all_cells, *([request.default] if has_default else [])])
    for row, value in zip(samples.rows, values, strict=False):
        if isinstance(value, Rejection):
            raise SourceError(f"{samples.path}: row {row} {value}")
    if has_default and isinstance(values[-1], Rejection):
        raise ArgumentError(f"{spelled('default', request.default)}: {values[-1]}")
    all_ids = np.concatenate([samples.ids, unnamed])
    all_values = [*values[: len(cells)], *(values[-1:] * len(unnamed))]
    arrays = replace_values(empty_column(field, index.num_samples), field, all_ids, all_values)
    num_defaulted = len(unnamed) + sum(is_defaulted)
    return NewColumn(field, class_names, arrays, len(all_ids) - num_defaulted, num_defaulted)


def column_from_array(index: Index, path: str, request: FieldRequest) -> NewColumn:
    """Read a new field from an `.npy` array with a row for each sample id.

    Raises:
        ArgumentError: If arguments do not go with an array.
        SourceError: If the array cannot be read, or has values that are not allowed.
    """
    if request.column is not None or request.default is not None:
        raise ArgumentError(f"{path}: an array has no columns, and a value for every sample")
    array = _load(path)
    if array.ndim < 1 or len(array) != index.num_samples or array.dtype.kind not in "biuf":
        raise SourceError(
            f"{path}: is {array.dtype} {array.shape}, expected are numbers for {index.num_samples} sample ids, "
            f"({index.num_samples}, ...)"
        )
    if request.name == "label":
        class_names, labels = _class_numbers(path, array, request.class_names)
        return NewColumn(LABEL, class_names, {"label": labels}, len(array), 0)
    kind = KINDS[request.kind or "numbers"]
    try:
        values = kind.from_array(array)
    except NotImplementedError as error:
        raise ArgumentError(f"{path}: {kind.name} comes from a table, not from an array") from error
    except ValueError as error:
        raise SourceError(f"{path}: is {array.dtype} {array.shape}, allowed are {error}") from error
    field = Field(request.name, kind.name, False, values.dtype.str, values.shape[1:])
    return NewColumn(field, (), {request.name: values}, len(array), 0)


def _parse_cells(request: FieldRequest, cells: Sequence[Any]) -> tuple[Field, tuple[str, ...], list[Any]]:
    """The field of a column, its classes, and the value of each cell."""
    if request.name == "label":
        class_names, numbers = number_classes(request.column or request.name, cells, request.class_names)
        return LABEL, class_names, list(numbers)
    field, values = parse_target(request.name, cells, request.kind)
    return field, field.class_names, list(values)


def _load(path: str) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise SourceError(f"{path}: is not an .npy array that can be read: {error}") from error
    return array


def _class_numbers(path: str, array: np.ndarray, class_names: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """The class names, and the `(samples,)` class number of each sample. Without given names, numbers are the names."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SourceError(f"{path}: is {array.dtype} {array.shape}, expected for the label is a whole number for each sample")
    if class_names is None:
        distinct = np.unique(array)
        return tuple(map(str, distinct.tolist())), np.searchsorted(distinct, array).astype("<i4")
    if len(array) and not (int(array.min()) >= 0 and int(array.max()) < len(class_names)):
        raise SourceError(f"{path}: has numbers from {array.min()} to {array.max()}, allowed are 0 to {len(class_names) - 1}")
    return tuple(class_names), array.astype("<i4")
