"""What the fields of two datasets must have in common, so that their samples can be read or stored together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kseq.arguments import spelled, spelled_call
from kseq.errors import ArgumentError
from kseq.storage.field_kinds.instances import Instances, WideInstances
from kseq.storage.fields import Field

__all__ = ["check_same_names", "common_field", "row_layouts"]


def check_same_names(names: Iterable[str], other_names: Iterable[str], path: str, other_path: str) -> None:
    """Raise ArgumentError unless the datasets at two paths have fields of the same names."""
    fields, other_fields = list(names), list(other_names)
    for name in dict.fromkeys([*fields, *other_fields]):
        _check_has_field(name, other_fields, other_path, path)
        _check_has_field(name, fields, path, other_path)


def _check_has_field(name: str, names: Sequence[str], path: str, other_path: str) -> None:
    if name not in names:
        raise ArgumentError(f"{path}: has no field {name!r}, which {other_path} has: they do not go together")


def common_field(field: Field, other: Field, path: str, other_path: str) -> Field:
    """One field that describes the samples of both, with the class names of the first.

    The sizes of encoded images may differ; a height or a width that is not the same in both becomes None.

    Raises:
        ArgumentError: If one field cannot describe both.
    """
    shape = field.shape
    if field.encoded and other.encoded and field.shape[2:] == other.shape[2:]:
        pairs = zip(field.shape, other.shape, strict=True)
        shape = tuple(length if length == other_length else None for length, other_length in pairs)
    # Where one does not know which keypoints change places in a mirrored image, the other does.
    order = field.mirror_order or other.mirror_order
    if other.mirror_order and other.mirror_order != order:
        raise ArgumentError(
            f"{other_path}: field {field.name!r} has the mirror_order {other.mirror_order}, in {path} it is {order}: its "
            "points are others, they do not go together"
        )
    common = replace(field, shape=shape, mirror_order=order)
    form = replace(other, shape=shape if field.encoded else other.shape, class_names=field.class_names)
    if common != replace(form, mirror_order=order):
        wide = next((place for each, place in ((field, path), (other, other_path)) if each.kind == WideInstances.name), None)
        if wide is not None and {field.kind, other.kind} == {Instances.name, WideInstances.name}:
            bits = {Instances.name: 8, WideInstances.name: 16}
            append = spelled_call("append", wide, "SOURCE")
            raise ArgumentError(
                f"{other_path}: the masks of instances in {field.name!r} have {bits[other.kind]} bits, in {path} they have "
                f"{bits[field.kind]}: {append} with {spelled('columns.mask', 'instances')} adds the source of the other with 16"
            )
        raise ArgumentError(
            f"{other_path}: field {field.name!r} is {other.describe()}, in {path} it is {field.describe()}: "
            "they do not go together"
        )
    return common


def row_layouts(fields: Sequence[Field]) -> list[Field]:
    """Fields without what does not matter for the arrays of a shard: the sizes of encoded images, and class names.

    A shard with fields of one layout can be read as a shard with other fields of the same layout.
    """
    shapes = [(None, None, field.shape[2]) if field.encoded else field.shape for field in fields]
    return [replace(field, shape=shape, class_names=(), mirror_order=()) for field, shape in zip(fields, shapes, strict=True)]
