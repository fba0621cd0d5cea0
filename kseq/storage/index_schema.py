"""The arrays of an index: what each must be, and which of them the digests cover."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.array_schema import ArraySchema
from kseq.storage.checksums import DIGEST_BYTES, arrays_digest
from kseq.storage.fields import Field
from kseq.storage.rejected import REJECTED_SCHEMA
from kseq.storage.shard_schema import shard_schema
from kseq.storage.strings import string_schema

__all__ = [
    "COLUMN_PREFIX",
    "INDEX_SCHEMA",
    "LENGTHS_PREFIX",
    "SPLIT_PREFIX",
    "check_split_name",
    "column_schema",
    "contents_digest",
    "describe_shard_arrays",
    "name_in_index",
    "name_in_shard",
    "tables_digest",
]

SPLIT_PREFIX, COLUMN_PREFIX, LENGTHS_PREFIX = "splits/", "columns/", "lengths/"

# All arrays that an index may hold; columns are checked by `column_schema` once the fields are known.
INDEX_SCHEMA: dict[str, ArraySchema | None] = {
    "shards/number": ArraySchema("<u8", (None,)),
    "shards/rows": ArraySchema("<u8", (None,)),
    "shards/bytes": ArraySchema("<u8", (None,)),
    "shards/digest": ArraySchema("|u1", (None, DIGEST_BYTES)),
    # Where the arrays of each shard lie: the offset of each, and the length of its first axis, a column for each array.
    "shards/offsets": ArraySchema("<u8", (None, None)),
    "shards/lengths": ArraySchema("<u8", (None, None)),
    "shards/digest_offset": ArraySchema("<u8", (None,)),
    f"{SPLIT_PREFIX}*": ArraySchema("<u8", (None,)),
    f"{LENGTHS_PREFIX}*": ArraySchema("<u4", (None,)),
    "dropped": ArraySchema("<u8", (None,)),
    **{name: ArraySchema("|u1", (None,)) for name in ("fields", "stored_fields", "shard_arrays", "settings", "changes")},
    **string_schema("class_names", None),
    **REJECTED_SCHEMA,
    f"{COLUMN_PREFIX}*": None,
}
# The digest of these is compared at every opening: a changed row count would shift all samples after it.
_TABLES = ("shards/", "shard_arrays", "class_names/", "fields", "stored_fields", "settings", "changes")
# These say where things lie and how they came to be, not what a dataset holds.
_NOT_CONTENTS = ("shards/number", "shards/offsets", "shards/lengths", "shards/digest_offset", "shard_arrays", "changes")

_SPLIT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_split_name(name: str) -> None:
    """Raise ArgumentError unless a split may have this name."""
    if not _SPLIT_NAME.fullmatch(name) or name == "all":
        raise ArgumentError(f"split name {name!r}: allowed are letters, digits, _, - and ., and not 'all'")


def column_schema(field: Field, num_samples: int) -> dict[str, ArraySchema]:
    """What the arrays of a column must be, by the names that they have in a shard; images and masks are never columns."""
    return {} if field.is_pixels else field.handler.schema(num_samples)


def describe_shard_arrays(stored_fields: Sequence[Field]) -> str:
    """The columns of `shards/offsets` and `shards/lengths`, as JSON: name, dtype and shape of each array of a shard."""
    schema = sorted(shard_schema(stored_fields, None).items())
    return json.dumps([{"name": name, "dtype": array.dtype, "shape": array.shape} for name, array in schema])


def name_in_index(name: str) -> str:
    """The name in the index of an array of a column; groups nest one deep there."""
    return f"{COLUMN_PREFIX}{name.replace('/', '.')}"


def name_in_shard(name: str) -> str:
    """The name that an array of a column in the index would have in a shard."""
    return name.removeprefix(COLUMN_PREFIX).replace(".", "/")


def contents_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The digest of all that the dataset holds."""
    return arrays_digest({name: array for name, array in arrays.items() if name not in _NOT_CONTENTS})


def tables_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The digest of the arrays that are read at every opening."""
    return arrays_digest({name: array for name, array in arrays.items() if name.startswith(_TABLES)})
