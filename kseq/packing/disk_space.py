"""Disk space: how many bytes a packing will take, and how many are free.

A packing refuses to start if the disk has fewer free bytes than the least that the packing can take:

- `raw`: the pixels, the other fields and the tables of the shards that are to be built, less a tenth, since files that turn out
  to be broken take nothing.
- `keep`: the sizes of JPEG and PNG files, less a tenth for the same reason. Other files are stored as PNG, of unknown size.
- `jpeg`: a quarter of the estimate, which is rough.

A packing that may fit is tried.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kseq.errors import WriteError
from kseq.images.formats import STORED_SUFFIXES
from kseq.packing.plan import Plan
from kseq.packing.stored_form import estimate_bytes
from kseq.sources.value_blocks import stored_sizes
from kseq.storage.fields import Field

__all__ = ["check_disk_space", "free_bytes", "planned_bytes"]

# The least that is needed, as a share of the estimate.
_LEAST_SHARES = {"raw": 0.9, "keep": 0.9, "jpeg": 0.25}
_STORED_SUFFIXES = tuple(suffix.encode() for suffix in STORED_SUFFIXES)

# The HDF5 of an index and of a shard without their arrays, and of each field that is a group of arrays. Measured.
_INDEX_BYTES = 11_500
_SHARD_BYTES = 10_600
_GROUP_BYTES = 3_000
# The attributes by which viewers know an array of pixels.
_ATTRIBUTE_BYTES = 256
# A checksum, the offset of the source, the id in a split.
_ROW_BYTES = 24
# Offset, size, orientation and the offset of the tiles of an encoded image; the offset of a value whose length differs.
_ENCODED_BYTES = 25
_RAGGED_BYTES = 8
_LABEL_BYTES = 4


def planned_bytes(plan: Plan, shards: Sequence[int]) -> int:
    """About how many bytes some shards of a plan and the index will take; close for `raw`, if no file is broken."""
    fields = plan.fields()
    row = _row_bytes(fields)
    shard = _SHARD_BYTES + _GROUP_BYTES * sum(field.encoded or field.is_ragged for field in fields)
    shard += _ATTRIBUTE_BYTES * sum(bool(field.handler.array_attributes) for field in fields)
    total = _INDEX_BYTES
    rows = _rows_to_pack(plan, shards)
    images = plan.source.images
    total += shard * len(shards) + int(estimate_bytes(images, fields, plan.settings).sum(where=rows)) + row * int(rows.sum())
    others = (field for field in plan.source.fields[1:] if not field.is_label)
    stored_values = (values for field, values in zip(others, images.values, strict=True) if not field.is_pixels)
    for column in (images.columns["path"], *stored_values):
        start = 0
        for block in column.encoded():
            total += int(stored_sizes(block)[rows[start : start + block.length]].sum())
            start += block.length
    return total


def _rows_to_pack(plan: Plan, shards: Iterable[int]) -> np.ndarray:
    """`(n,)` bool: the images of some shards that are not rejected already."""
    rows = np.zeros(len(plan.source.images), bool)
    for number in shards:
        rows[plan.shard_starts[number] : plan.shard_starts[number + 1]] = True
    return rows & ~plan.source.images.is_rejected


def free_bytes(folder: str) -> int:
    """How many bytes are free where a folder is, or is to be made; 0 if its file system does not say."""
    free: int = _disk_usage(folder).free
    return free


def _disk_usage(folder: str) -> Any:
    """`total` and `free` bytes of the disk of a folder."""
    existing = os.path.abspath(folder)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    return shutil.disk_usage(existing)


def check_disk_space(folder: str, plan: Plan, shards: Sequence[int]) -> None:
    """Raise WriteError if the disk of a folder cannot hold these shards, by the rule above."""
    encoding = plan.settings.encoding
    planned, free = planned_bytes(plan, shards), free_bytes(folder)
    least = int((planned - (_uncertain_bytes(plan, shards) if encoding == "keep" else 0)) * _LEAST_SHARES[encoding])
    # A file system that is not on a disk may have no size at all.
    if least > free and _disk_usage(folder).total:
        raise WriteError(
            f"{folder}: the shards to be built take about {planned:,} bytes, the disk has {free:,} free: make room, or pack "
            "onto another disk"
        )


def _uncertain_bytes(plan: Plan, shards: Sequence[int]) -> int:
    """The bytes of files that are stored in another form."""
    paths = plan.source.images.paths
    others = np.fromiter((not path.lower().endswith(_STORED_SUFFIXES) for path in paths), bool, len(plan.source.images))
    return int(plan.source.images.num_bytes[_rows_to_pack(plan, shards) & others].sum())


def _row_bytes(fields: Sequence[Field]) -> int:
    """What a sample takes besides its images and the values that came with it."""
    return _ROW_BYTES + sum(
        _ENCODED_BYTES if field.encoded else _RAGGED_BYTES if field.is_ragged else _LABEL_BYTES * field.is_label
        for field in fields
    )
