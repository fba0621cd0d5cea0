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
    """Every array of a shard, by name: dtype and shape; `num_rows` is None for any number of rows."""
    schema: dict[str, ArraySchema] = {}
    for field in fields:
        schema |= field.handler.schema(num_rows)
    schema["checksum"] = ArraySchema(CHECKSUM_DTYPE, (num_rows,))
    schema |= string_schema("source", num_rows)
    return schema | REJECTED_SCHEMA


def spool_name(field: Field) -> str:
    """The name of the main array of a field."""
    return field.handler.row_arrays[0].name


def row_type(field: Field) -> tuple[str, tuple[int, ...]]:
    """The dtype of the main array of a field, and its shape without the first axis."""
    return "|u1" if field.encoded else field.dtype, field.handler.element_shape


def has_offsets(field: Field) -> bool:
    """Whether rows of the main array of a field differ in length, so that another array has their offsets."""
    return field.handler.row_arrays[0].offsets is not None
