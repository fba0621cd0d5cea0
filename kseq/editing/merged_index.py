"""What the index of a merged dataset holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from kseq.arguments import spelled_call
from kseq.editing.columns import ColumnArrays, FieldArrays, concatenate_column, has_column
from kseq.errors import ArgumentError
from kseq.storage.box_counts import add_facts
from kseq.storage.checksums import Digest
from kseq.storage.class_union import class_numbers, dataset_classes, unite_classes
from kseq.storage.compatibility import check_same_names, common_field, row_layouts
from kseq.storage.fields import Field
from kseq.storage.index import Contents, Index
from kseq.storage.shard_reader import ShardReader

__all__ = ["merge_contents"]


def merge_contents(indexes: Sequence[Index]) -> Contents:
    """The contents of an index of all samples of some datasets, one dataset after the other.

    Raises:
        ArgumentError: If the datasets do not go together.
        DamagedError: If a shard is damaged.
    """
    fields, stored_fields = _common_fields(indexes)
    class_names = dataset_classes(fields, unite_classes(*(index.class_names for index in indexes)))
    starts = np.cumsum([0, *(index.num_samples for index in indexes)]).astype("<u8")[:-1]
    entries = [index.entry(number) for index in indexes for number in range(index.num_shards)]
    return Contents(
        dataset_id=Digest(b"".join(bytes.fromhex(index.digest) for index in indexes)).hexdigest(),
        fields=fields,
        class_names=class_names,
        shards=[replace(entry, number=number) for number, entry in enumerate(entries)],
        splits=_join_splits(indexes, starts),
        rejected=[rejected for index in indexes for rejected in index.rejected()],
        settings=indexes[0].settings,
        stored_fields=stored_fields,
        columns=_columns(indexes, fields, class_names),
        dropped=np.concatenate([index.dropped + start for index, start in zip(indexes, starts, strict=True)]),
        changes=[f"merge {' + '.join(os.path.basename(index.path) for index in indexes)}"],
        box_facts=add_facts(index.box_facts() for index in indexes),
        packing_notes=tuple(dict.fromkeys(note for index in indexes for note in index.packing_notes())),
    )


def _join_splits(indexes: Sequence[Index], starts: np.ndarray) -> dict[str, np.ndarray]:
    """Split name to its new sample ids; `starts` has the first new sample id of each dataset."""
    names = sorted({name for index in indexes for name in index.splits})
    none = np.empty(0, "<u8")
    return {
        name: np.concatenate([index.splits.get(name, none) + start for index, start in zip(indexes, starts, strict=True)])
        for name in names
    }


def _common_fields(indexes: Sequence[Index]) -> tuple[list[Field], list[Field]]:
    """The fields of each sample, and the fields of each row of a shard.

    Raises:
        ArgumentError: If the datasets do not go together.
    """
    first, *others = indexes
    fields = {field.name: field for field in first.fields}
    stored = {field.name: field for field in first.stored_fields}
    for other in others:
        other_fields = {field.name: field for field in other.fields}
        check_same_names(fields, other_fields, first.path, other.path)
        for name, field in fields.items():
            class_names = unite_classes(field.class_names, other_fields[name].class_names)
            fields[name] = replace(common_field(field, other_fields[name], first.path, other.path), class_names=class_names)
        _check_stored(first, other)
        stored = {field.name: common_field(stored[field.name], field, first.path, other.path) for field in other.stored_fields}
    return list(fields.values()), [replace(field, class_names=fields[name].class_names) for name, field in stored.items()]


def _check_stored(first: Index, other: Index) -> None:
    """Raise ArgumentError if the shards of two datasets do not hold the same fields in the same order."""
    if row_layouts(first.stored_fields) == row_layouts(other.stored_fields):
        return
    first_names, other_names = ([field.name for field in index.stored_fields] for index in (first, other))
    _check_in_shards(other, other_names, first, first_names)
    _check_in_shards(first, first_names, other, other_names)
    raise ArgumentError(
        f"{other.path}: its shards hold {', '.join(other_names)}, those of {first.path} {', '.join(first_names)}, "
        "allowed is the same order"
    )


def _check_in_shards(index: Index, names: Sequence[str], other: Index, other_names: Sequence[str]) -> None:
    """Raise ArgumentError if the shards of one dataset lack a field that the shards of the other have."""
    missing = [name for name in other_names if name not in names]
    if missing:
        raise ArgumentError(
            f"{index.path}: field {missing[0]!r} lies beside its shards, in {other.path} in them: "
            f"{spelled_call('compact', index.path)} brings it into them"
        )


def _columns(indexes: Sequence[Index], fields: Sequence[Field], class_names: Sequence[str]) -> ColumnArrays:
    """The fields that cannot be read from all shards alike: a dataset has a column, or other class numbers."""
    columns: ColumnArrays = {}
    for field in fields:
        new_numbers = [_new_class_numbers(index, field, class_names) for index in indexes]
        if any(has_column(index, field) for index in indexes) or any(numbers is not None for numbers in new_numbers):
            columns |= concatenate_column(field, _field_arrays(indexes, field, new_numbers))
    return columns


def _new_class_numbers(index: Index, field: Field, class_names: Sequence[str]) -> np.ndarray | None:
    """The new number of each class of a dataset; None if all classes keep theirs."""
    own_field = next(own for own in index.fields if own.name == field.name)
    return class_numbers(own_field.handler.class_names(index.class_names), field.handler.class_names(class_names))


def _field_arrays(indexes: Sequence[Index], field: Field, new_numbers: Sequence[np.ndarray | None]) -> Iterator[FieldArrays]:
    """A field of all datasets: from the index if that has a column, else from each shard."""
    for index, numbers in zip(indexes, new_numbers, strict=True):
        if has_column(index, field):
            yield FieldArrays(index.path, index.columns.__getitem__, numbers)
            continue
        for number in range(index.num_shards):
            path = index.shard_path(number)
            yield FieldArrays(path, ShardReader(path, index.stored_fields, index.entry(number)).loaded, numbers)
