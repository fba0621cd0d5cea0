"""The names of fields: which are allowed, and which a column gives to its field."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kseq.errors import ArgumentError
from kseq.images.formats import IMAGE_SUFFIXES

__all__ = ["as_targets", "check_field_name", "check_field_names", "name_after_column"]

# Names of arrays in a shard that are not fields; and the masks of fields that always have these names, and are padded.
_RESERVED = ("checksum", "source", "rejected_path", "rejected_reason", "boxes_mask", "labels_mask")
_NAME = re.compile(r"[a-z][a-z0-9_]*")

# Ends the name of the array that says where a field is padded.
_MASK_END = "_mask"

# A column that other programs call so, and what it holds.
_STANDARD_NAMES = {"image/segmentation/class/encoded": "mask"}


def check_field_name(name: str) -> None:
    """Raise ArgumentError unless a field may have this name."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ArgumentError(
            f"field name {name!r}: allowed are lower-case letters, digits and _, a letter first, and not {', '.join(_RESERVED)}"
        )


def check_field_names(names: Iterable[str]) -> None:
    """Raise ArgumentError unless the fields of one sample may have these names."""
    listed = list(names)
    for name in listed:
        check_field_name(name)
        if listed.count(name) > 1:
            raise ArgumentError(f"two fields would be called {name!r}: give each a name of its own")
        if name.removesuffix(_MASK_END) != name and name.removesuffix(_MASK_END) in listed:
            raise ArgumentError(
                f"field name {name!r}: a batch says under this name where {name.removesuffix(_MASK_END)!r} is padded: "
                "give one of the two another name"
            )


def name_after_column(column: str) -> str:
    """The name that a column gives to its field, which may be one that no field may have.

    In lower case, without the suffix of an image file, and with `_` for all that is no letter from a to z and no digit.
    """
    if column in _STANDARD_NAMES:
        return _STANDARD_NAMES[column]
    lower = column.lower()
    stem = next((lower.removesuffix(suffix) for suffix in IMAGE_SUFFIXES if lower.endswith(suffix)), lower)
    return re.sub("[^a-z0-9]+", "_", stem or lower).strip("_")


def as_targets(columns: Iterable[str]) -> list[str | tuple[str, str]]:
    """Columns as the fields of targets, for messages: those that may not give their fields a name stand with one."""
    fields: dict[str, str | tuple[str, str]] = {}
    for number, column in enumerate(columns, 1):
        name = name_after_column(column)
        try:
            check_field_names([*fields, name])
        except ArgumentError:
            name = f"target_{number}"
            fields[name] = (name, column)
        else:
            # On the command line, these marks have a meaning.
            fields[name] = (name, column) if "=" in column or ":" in column else column
    return list(fields.values())
