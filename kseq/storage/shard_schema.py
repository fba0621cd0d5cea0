"""The arrays that a shard holds for its fields, and what each must be."""

from __future__ import annotations

from collections.abc import Sequence

from kseq.storage.array_schema import ArraySchema
from kseq.storage.checksums import CHECKSUM_DTYPE
from kseq.storage.fields import Field
from kseq.storage.rejected import REJECTED_SCHEMA
from kseq.storage.strings import string_schema

__all__ = ["has_offsets", "row_type", "shard_schema", "spool_name"]


def shard_schema(fields: Sequence[Field], num_rows: int | None) -> dict[str, ArraySchema]:
    """Every array of a shard, and what each must be."""
    forms: dict[str, ArraySchema] = {}
    num_offsets = None if num_rows is None else num_rows + 1
    for each in fields:
        if each.encoded:
            forms |= string_schema(each.name, num_rows)
            forms[f"{each.name}/size"] = ArraySchema("<u4", (num_rows, 2))
            forms[f"{each.name}/orientation"] = ArraySchema("|u1", (num_rows,))
            forms[f"{each.name}/tiles"] = ArraySchema("<u4", (None,))
            forms[f"{each.name}/tile_offsets"] = ArraySchema("<u8", (num_offsets,))
        elif each.is_ragged:
            forms[f"{each.name}/values"] = ArraySchema(each.dtype, each.shape)
            forms[f"{each.name}/offsets"] = ArraySchema("<u8", (num_offsets,))
        else:
            forms[each.name] = ArraySchema(each.dtype, (num_rows, *each.shape))
    forms["checksum"] = ArraySchema(CHECKSUM_DTYPE, (num_rows,))
    forms |= string_schema("source", num_rows)
    return forms | REJECTED_SCHEMA


def spool_name(each: Field) -> str:
    """The name of the array that holds the bytes of a field."""
    if each.encoded:
        return f"{each.name}/bytes"
    return f"{each.name}/values" if each.is_ragged else each.name


def row_type(each: Field) -> tuple[str, tuple[int, ...]]:
    """The dtype of that array, and its shape without the first axis."""
    if each.encoded:
        return "|u1", ()
    return each.dtype, tuple(length for length in each.shape if length is not None)


def has_offsets(each: Field) -> bool:
    """Whether samples differ in length, so that the array that holds them has one of offsets beside it."""
    return each.encoded or each.is_ragged
