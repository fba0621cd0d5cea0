"""What the columns of a Parquet file hold, as an export of kseq's says it beside the schema: packing needs no option then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kseq.errors import ArgumentError
from kseq.sources.column_roles import Columns, used_columns

__all__ = ["COLUMNS_KEY", "describe_columns", "described_columns"]

# The key of the metadata of a schema.
COLUMNS_KEY = b"kseq"
# What can be given for several fields, each as `NAME=COLUMN`, or `NAME=COLUMN:KIND`.
_NAMED = {"image": "image", "mask": "mask", "target": "targets", "kind": "kinds"}


def describe_columns(options: Sequence[str]) -> str:
    """The metadata that says what options of `kseq pack` say: pairs of an option and its value.

    Args:
        options: As `FieldKind.pack_options` gives them.
    """
    roles: dict[str, Any] = {}
    for option, value in zip(options[::2], options[1::2], strict=True):
        role = option.lstrip("-").replace("-", "_")
        if role in _NAMED:
            name, _, column = value.partition("=")
            column, _, kind = (column or name).partition(":")
            roles.setdefault(_NAMED[role], {})[name] = column
            if kind:
                roles.setdefault("kinds", {})[name] = kind
        else:
            roles[role] = value
    return json.dumps({"columns": {"label": "", **roles}})


def described_columns(schema: Any, columns: Columns) -> Columns:
    """The columns that a schema of pyarrow describes, if the user names none; else the user's.

    A description that makes no sense, as of a file that has lost a column since, is none.
    """
    metadata = (schema.metadata or {}).get(COLUMNS_KEY)
    if metadata is None or columns != Columns():
        return columns
    try:
        described = Columns(**json.loads(metadata)["columns"])
    except (ArgumentError, KeyError, TypeError, ValueError, RecursionError):
        return columns
    are_there = all(name in schema.names for _, name in used_columns(described))
    return described if are_there else columns
