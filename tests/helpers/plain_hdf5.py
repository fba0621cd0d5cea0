"""A small HDF5 file of the kind that kseq writes, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from kseq.errors import KseqError
from kseq.storage.array_schema import ArraySchema
from kseq.storage.file_arrays import FileArrays
from kseq.storage.hdf5_reader import FileHeader, read_header
from kseq.storage.layout import FORMAT_VERSION, SHARD_KIND
from kseq.storage.opener import opener_for
from kseq.storage.strings import string_schema

ATTRIBUTES: dict[str, int | str] = {"format": "kseq shard", "version": FORMAT_VERSION, "rows": 4}
ARRAYS = {
    "image": np.arange(24, dtype=np.uint8).reshape(4, 3, 2),
    "label": np.arange(4, dtype="<i4"),
    "text/bytes": np.frombuffer(b"hello", np.uint8),
    "text/offsets": np.array([0, 1, 1, 3, 5], "<u8"),
    "splits/train": np.array([2, 0], "<u8"),
    "splits/val": np.array([], "<u8"),
}
SCHEMA: dict[str, ArraySchema | None] = {
    "image": ArraySchema("|u1", (None, 3, 2)),
    "label": ArraySchema("<i4", (None,)),
    **string_schema("text", 4),
    "splits/*": ArraySchema("<u8", (None,)),
}


def header_of(path: str, schema: Mapping[str, ArraySchema | None] = SCHEMA) -> FileHeader:
    """The header of a file."""
    with opener_for(path).open(path) as file:
        return read_header(file, SHARD_KIND, schema)


def mapped(path: str, schema: Mapping[str, ArraySchema | None] = SCHEMA) -> FileArrays:
    """A file and its arrays."""
    with opener_for(path).open(path) as file:
        header = read_header(file, SHARD_KIND, schema)
        return FileArrays(file, header.num_bytes, header.locations)


def header_refusal(path: str) -> KseqError:
    """The error with which a file is refused: one line that begins with its name."""
    with pytest.raises(KseqError) as caught:
        header_of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value
