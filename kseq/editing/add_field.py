"""A new field beside those that a dataset was packed with, from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import spelled, spelled_call
from kseq.editing.classes import with_fields
from kseq.editing.columns import Column, empty_column, with_values, without
from kseq.editing.sample_lists import read_cells
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError, SourceError
from kseq.sources.assemble import number_classes
from kseq.sources.cell_types import Rejection, is_missing, parse_target
from kseq.sources.column_roles import USUAL
from kseq.storage.field_kinds import KINDS
from kseq.storage.fields import LABEL, Field, check_field_name
from kseq.storage.index import Index

__all__ = ["AddFieldReport", "add_field"]


@dataclass(frozen=True)
class AddFieldReport:
    """What `kseq.add_field` did.

    Attributes:
        path: The dataset's folder.
        field: The new field.
        class_names: The class name of each number of the field; empty if its numbers are not classes.
        num_given: How many samples have a value from the file.
        num_defaulted: How many samples have the default.
        replaced: Whether the new field took the place of one of its name.
    """

    path: str
    field: Field
    class_names: tuple[str, ...] = dataclass_field(repr=False)
    num_given: int
    num_defaulted: int
    replaced: bool


class _Made(NamedTuple):
    """A field, its classes, its column, and how many samples have a value of their own, or the default."""

    field: Field
    class_names: tuple[str, ...]
    column: Column
    given: int
    defaulted: int


class _Asked(NamedTuple):
    """The arguments of `add_field` that say what the values are."""

    name: str
    column: str | None
    kind: str | None
    default: Any
    class_names: Sequence[str] | None


def add_field(
    dataset: str | os.PathLike[str],
    name: str,
    file: str | os.PathLike[str],
    *,
    column: str | None = None,
    kind: str | None = None,
    default: Any = None,
    class_names: Sequence[str] | None = None,
    replace: bool = False,
) -> AddFieldReport:
    """Give every sample a new value: numbers, a vector, several labels, a text, a weight, or the label where there is none.

    The values become a column of the index, the shards stay as they are. Images, masks, boxes and their labels, which are moved
    and checked with their image, come by packing alone.

    Args:
        dataset: The dataset's folder.
        name: Of the field: lower-case letters, digits and `_`. `label` is the class of each sample.
        file: A table (CSV, JSON Lines or Parquet) with a column `id` of sample ids, or `source` (or `path` and the like) of
            sources, and one of values, which are what `kseq.pack` makes of them as a target. Or
            an `.npy` array with a row for each sample id, dropped ones included: numbers, weights or class numbers.
        column: The column of the values; None for one that is called like the field, or the only one that is left.
        kind: `"text"`, `"sample_weight"`, `"numbers"` or `"multi_label"`; None for numbers or labels, as the cells tell.
        default: A cell for samples of which the file says nothing; None: each one that was not dropped needs a value.
        class_names: All classes of a label, in the order of their numbers; None for those found, in theirs.
        replace: The new field takes the place of one that is called so.

    Raises:
        ArgumentError: Where the name is not allowed, or arguments do not go together.
        SourceError: Where the file cannot be read, a value is none, or one is missing.
        DatasetNotFoundError: Where there is no dataset.
        LockedError: Where another process changes it.
        WriteError: Where the operating system refuses; the dataset is then as it was.
    """
    check_field_name(name)
    asked = _Asked(name, column, kind, default, class_names)
    _check_together(asked)
    with begin_transaction(dataset) as change:
        index = change.index
        replaced = _check_free(index, name, replace)
        is_array = os.fsdecode(file).lower().endswith(".npy")
        made = _from_array(index, os.fsdecode(file), asked) if is_array else _from_table(index, file, asked)
        label_names = made.class_names if made.field.is_label else None
        change.publish(
            f"add-field {name} ({made.field.kind}) from {os.path.basename(os.fsdecode(file))!r}",
            columns={**without(dict(index.columns), name), **made.column},
            **with_fields(index, _fields(index, made.field), label_names),
        )
        return AddFieldReport(change.folder, made.field, made.class_names, made.given, made.defaulted, replaced)


def _check_together(asked: _Asked) -> None:
    kinds = [] if asked.name == "label" else [name for name, kind in KINDS.items() if kind.can_be_added and not kind.is_label]
    if asked.kind is not None and asked.kind not in kinds:
        allowed = " or ".join([", ".join(kinds), "None"]) if kinds else "None for the label"
        raise ArgumentError(
            f"{spelled('kind', asked.kind)}: allowed is {allowed}; images, masks and boxes come by {spelled_call('pack')}"
        )
    if asked.class_names is not None and asked.name != "label":
        raise ArgumentError(f"{spelled('class_names')} goes with the field 'label', found {asked.name!r}")


def _check_free(index: Index, name: str, replace: bool) -> bool:
    """Whether there is a field of this name, which may be replaced."""
    found = next((each for each in index.fields if each.name == name), None)
    if found is None:
        return False
    if not found.handler.can_be_added:
        raise ArgumentError(
            f"{index.path}: field {name!r} is {found.kind}, which comes by {spelled_call('pack')} alone: take another name"
        )
    if not replace:
        raise ArgumentError(f"{index.path}: has a field {name!r} already ({spelled('replace', True)} takes its place)")
    return True


def _fields(index: Index, field: Field) -> list[Field]:
    """All fields with a new one: where the old one was, a label behind the first image, any other at the end."""
    names = [each.name for each in index.fields]
    if field.name in names:
        return [field if each.name == field.name else each for each in index.fields]
    place = 1 if field.is_label else len(names)
    return [*index.fields[:place], field, *index.fields[place:]]


def _from_table(index: Index, file: str | os.PathLike[str], asked: _Asked) -> _Made:
    named, cells = read_cells(index, file, asked.column, (asked.name, *(USUAL["label"] if asked.name == "label" else ())))
    left = np.setdiff1d(index.remaining[np.arange(index.remaining.size)], named.ids, assume_unique=True)
    has_default = asked.default is not None
    if len(left) and not has_default:
        raise SourceError(
            f"{named.path}: says nothing of {len(left)} of {index.remaining.size} samples (the first is {left[0]}): every one "
            f"needs a value ({spelled('default')} gives one)"
        )
    # The default last: it counts for what kind of column that is.
    given = [asked.default if has_default and is_missing(cell) else cell for cell in cells]
    field, class_names, found = _typed(asked, [*given, *([asked.default] if has_default else [])])
    for row, value in zip(named.rows, found, strict=False):
        if isinstance(value, Rejection):
            raise SourceError(f"{named.path}: row {row} {value}")
    if has_default and isinstance(found[-1], Rejection):
        raise ArgumentError(f"{spelled('default', asked.default)}: {found[-1]}")
    all_ids = np.concatenate([named.ids, left])
    all_values = [*found[: len(cells)], *(found[-1:] * len(left))]
    column = with_values(empty_column(field, index.num_samples), field, all_ids, all_values)
    defaulted = len(left) + sum(has_default and is_missing(cell) for cell in cells)
    return _Made(field, class_names, column, len(all_ids) - defaulted, defaulted)


def _typed(asked: _Asked, cells: Sequence[Any]) -> tuple[Field, tuple[str, ...], list[Any]]:
    """What a column is, its classes, and the value of each cell."""
    if asked.name == "label":
        names, numbers = number_classes(cells, asked.class_names)
        return LABEL, names, list(numbers)
    field, found = parse_target(asked.name, cells, asked.kind)
    return field, field.class_names, found


def _from_array(index: Index, path: str, asked: _Asked) -> _Made:
    if asked.column is not None or asked.default is not None:
        raise ArgumentError(f"{path}: an array has no columns, and a value for every sample")
    array = _load(path)
    if array.ndim < 1 or len(array) != index.num_samples or array.dtype.kind not in "biuf":
        raise SourceError(
            f"{path}: is {array.dtype} {array.shape}, expected are numbers for {index.num_samples} sample ids, "
            f"({index.num_samples}, ...)"
        )
    if asked.name == "label":
        names, column = _class_column(path, array, asked.class_names)
        return _Made(LABEL, names, {"label": column}, len(array), 0)
    kind = KINDS[asked.kind or "numbers"]
    try:
        values = kind.from_array(array)
    except NotImplementedError as error:
        raise ArgumentError(f"{path}: {kind.name} comes from a table, not from an array") from error
    except ValueError as error:
        raise SourceError(f"{path}: is {array.dtype} {array.shape}, allowed are {error}") from error
    field = Field(asked.name, kind.name, False, values.dtype.str, values.shape[1:])
    return _Made(field, (), {asked.name: values}, len(array), 0)


def _load(path: str) -> np.ndarray:
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise SourceError(f"{path}: is not an .npy array that can be read: {error}") from error
    return found


def _class_column(path: str, array: np.ndarray, class_names: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes, and the number of each sample's: the array's numbers, or if classes were not given, called like these."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SourceError(f"{path}: is {array.dtype} {array.shape}, expected for the label is a whole number for each sample")
    if class_names is None:
        found = np.unique(array)
        return tuple(map(str, found.tolist())), np.searchsorted(found, array).astype("<i4")
    if len(array) and not (int(array.min()) >= 0 and int(array.max()) < len(class_names)):
        raise SourceError(f"{path}: has numbers from {array.min()} to {array.max()}, allowed are 0 to {len(class_names) - 1}")
    return tuple(class_names), array.astype("<i4")
