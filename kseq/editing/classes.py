"""The fields of a packed dataset that have classes, and what changes in its index with their class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kseq.errors import ArgumentError
from kseq.storage.class_union import dataset_classes
from kseq.storage.fields import Field
from kseq.storage.index import Index

__all__ = ["class_field", "with_class_names", "with_fields"]


def class_field(index: Index, name: str) -> Field:
    """The field of a name, if it has classes.

    Raises:
        ArgumentError: If there is no such field, or it has no classes.
    """
    fields = {field.name: field for field in index.fields}
    with_classes = [field.name for field in index.fields if field.handler.has_class_names]
    if name in with_classes:
        return fields[name]
    reason = f"field {name!r} is {fields[name].kind}" if name in fields else f"there is no field {name!r}"
    raise ArgumentError(f"{index.path}: {reason}, those with classes are {', '.join(with_classes) or 'none'}")


def with_class_names(index: Index, field: Field, class_names: Sequence[str]) -> dict[str, Any]:
    """What changes in the contents of an index if a field gets other class names."""
    if field.is_label:
        return {"class_names": tuple(class_names)}
    renamed = replace(field, class_names=tuple(class_names))
    return with_fields(index, [renamed if other.name == field.name else other for other in index.fields])


def with_fields(index: Index, fields: Sequence[Field], label_names: Sequence[str] | None = None) -> dict[str, Any]:
    """What changes in the contents of an index if samples hold other fields.

    Args:
        index: The index before the change.
        fields: The fields after the change.
        label_names: The class names of the label; None if they stay.
    """
    names = dataset_classes(fields, index.class_names if label_names is None else label_names)
    return {"fields": tuple(fields), "class_names": names}
