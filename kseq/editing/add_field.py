"""A new field for all samples of a packed dataset, from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from kseq.arguments import path_text, spelled, spelled_call
from kseq.editing.classes import with_fields
from kseq.editing.columns import without_field
from kseq.editing.new_column import FieldRequest, column_from_array, column_from_table
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError
from kseq.storage.field_kinds import KINDS
from kseq.storage.field_names import check_field_name, check_field_names
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.report import Report

__all__ = ["AddFieldReport", "add_field"]


@dataclass(frozen=True)
class AddFieldReport(Report):
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
    """Give every sample a new value: numbers, a vector, several labels, a text, a weight, or a label if there is none.

    The values become a column of the index, the shards stay as they are. Images, masks, boxes and their labels are moved and
    checked together with their image, so they come by packing alone.

    Args:
        dataset: The dataset's folder.
        name: The name of the field: lower-case letters, digits and `_`. `label` is the class of each sample.
        file: A table (CSV, JSON Lines or Parquet) with a column `id` of sample ids, or `source` (or `path` and the like) of
            sources, and a column of values, which `kseq.pack` would read as a target. Or an `.npy` array with a row for each
            sample id, dropped ones included: numbers, weights or class numbers.
        column: The column of the values; None for the column with the name of the field, or the only other column.
        kind: `"text"`, `"sample_weight"`, `"numbers"` or `"multi_label"`; None for numbers or labels, as the cells tell.
        default: A cell for samples that the file does not name, or names with an empty cell; None if every sample that was not
            dropped needs a value.
        class_names: All classes of a label, in the order of their numbers; None for the classes that the cells name.
        replace: The new field takes the place of a field of the same name.

    Raises:
        ArgumentError: If the name is not allowed, or arguments do not go together.
        SourceError: If the file cannot be read, or a value is missing or not allowed.
        DatasetNotFoundError: If there is no dataset.
        LockedError: If another process changes the dataset.
        WriteError: If the operating system refuses to write; the dataset is then as it was.
    """
    check_field_name(name)
    request = FieldRequest(name, column, kind, default, class_names)
    _check_request(request)
    path = path_text("file", file)
    with begin_transaction(dataset) as change:
        index = change.index
        is_replaced = _check_name(index, name, replace=replace)
        read = column_from_array if path.lower().endswith(".npy") else column_from_table
        new = read(index, path, request)
        change.publish(
            f"add-field {name} ({new.field.kind}) from {os.path.basename(path)!r}",
            columns={**without_field(dict(index.columns), name), **new.arrays},
            **with_fields(index, _fields(index, new.field), new.class_names if new.field.is_label else None),
        )
        return AddFieldReport(change.folder, new.field, new.class_names, new.num_given, new.num_defaulted, is_replaced)


def _check_request(request: FieldRequest) -> None:
    """Raise ArgumentError if arguments do not go together."""
    is_label = request.name == "label"
    kinds = [] if is_label else [name for name, kind in KINDS.items() if kind.can_be_added and not kind.is_label]
    if request.kind is not None and request.kind not in kinds:
        allowed = " or ".join([", ".join(kinds), "None"]) if kinds else "None for the label"
        raise ArgumentError(
            f"{spelled('kind', request.kind)}: allowed is {allowed}; images, masks and boxes come by {spelled_call('pack')}"
        )
    if request.class_names is not None and not is_label:
        raise ArgumentError(f"{spelled('class_names')} goes with the field 'label', found {request.name!r}")


def _check_name(index: Index, name: str, *, replace: bool) -> bool:
    """Whether there is a field of this name, which may be replaced.

    Raises:
        ArgumentError: If it may not be replaced.
    """
    field = next((field for field in index.fields if field.name == name), None)
    if field is None:
        check_field_names([*(other.name for other in index.fields), name])
        return False
    if not field.handler.can_be_added:
        raise ArgumentError(
            f"{index.path}: field {name!r} is {field.kind}, which comes by {spelled_call('pack')} alone: take another name"
        )
    if not replace:
        raise ArgumentError(f"{index.path}: has a field {name!r} already ({spelled('replace', True)} takes its place)")
    return True


def _fields(index: Index, new_field: Field) -> list[Field]:
    """All fields with the new one: in place of an old one, or behind the first image for a label, else at the end."""
    names = [field.name for field in index.fields]
    if new_field.name in names:
        return [new_field if field.name == new_field.name else field for field in index.fields]
    position = 1 if new_field.is_label else len(names)
    return [*index.fields[:position], new_field, *index.fields[position:]]
