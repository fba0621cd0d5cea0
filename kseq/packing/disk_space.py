"""Room: how many bytes a packing will take, and how many are free.

The rule by which a packing refuses to start: where the disk has less than it will need at least.

- `raw`: the pixels, the other fields and the tables of the shards that are to be made. Only a file that turns out to be broken
  makes that less, so a tenth is taken off.
- `keep`: the sizes of JPEG and PNG files (others are stored as PNG, of any size), less a tenth for the same reason.
- `jpeg`: a quarter of the estimate, which is rough.

Beside that, nothing is held against a disk: what may fit is tried.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from kseq.errors import WriteError
from kseq.images.formats import STORED_SUFFIXES
from kseq.packing.plan import Plan
from kseq.sources.base import SourceImage
from kseq.storage.fields import Field

__all__ = ["check_disk_space", "free_bytes", "planned_bytes"]

# What is needed at least, as a share of the estimate.
_AT_LEAST = {"raw": 0.9, "keep": 0.9, "jpeg": 0.25}
_STORED_SUFFIXES = tuple(suffix.encode() for suffix in STORED_SUFFIXES)

# The HDF5 of an index, and of a shard, without their arrays; more for each field that is a group of arrays. Measured.
_INDEX_BYTES = 11_500
_SHARD_BYTES = 8_500
_GROUP_BYTES = 3_000
# A checksum, the offset of the source, the id in a split.
_ROW_BYTES = 24
# Offset, size, orientation and the offset of the tiles of an encoded image; the offset of a value that differs in length.
_ENCODED_BYTES = 25
_RAGGED_BYTES = 8
_LABEL_BYTES = 4


def planned_bytes(plan: Plan, shards: Iterable[int]) -> int:
    """About how many bytes some shards of a plan and the index will take; for `raw` it is near, where all can be packed."""
    fields = plan.fields()
    row = _row_bytes(fields)
    shard = _SHARD_BYTES + _GROUP_BYTES * sum(each.encoded or each.is_ragged for each in fields)
    total = _INDEX_BYTES
    for number in shards:
        images = [image for image in plan.shard_images(number) if image.rejection is None]
        total += sum(plan.settings.estimate_bytes(image, fields) + row + _more_bytes(image) for image in images) + shard
    return total


def free_bytes(folder: str) -> int:
    """How many bytes are free where a folder is, or is to be made; 0 where its file system does not tell."""
    found = _file_system(folder)
    return found.f_bavail * found.f_frsize


def _file_system(folder: str) -> os.statvfs_result:
    place = os.path.abspath(folder)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return os.statvfs(place)


def check_disk_space(folder: str, plan: Plan, shards: Sequence[int]) -> None:
    """Raise WriteError where the disk of a folder cannot hold these shards, by the rule above."""
    encoding = plan.settings.encoding
    planned, free = planned_bytes(plan, shards), free_bytes(folder)
    needed = int((planned - (_uncertain(plan, shards) if encoding == "keep" else 0)) * _AT_LEAST[encoding])
    # One that is not a disk may have no size at all.
    if needed > free and _file_system(folder).f_blocks:
        raise WriteError(f"{folder}: the shards to be made take about {planned:,} bytes, the disk has {free:,} free")


def _uncertain(plan: Plan, shards: Sequence[int]) -> int:
    """The bytes of files that are to be stored in another form."""
    images = (image for number in shards for image in plan.shard_images(number) if image.rejection is None)
    return sum(image.num_bytes for image in images if not image.path.lower().endswith(_STORED_SUFFIXES))


def _row_bytes(fields: Sequence[Field]) -> int:
    """What a sample takes besides its images and the values that came with it."""
    return _ROW_BYTES + sum(
        _ENCODED_BYTES if field.encoded else _RAGGED_BYTES if field.is_ragged else _LABEL_BYTES * field.is_label
        for field in fields
    )


def _more_bytes(image: SourceImage) -> int:
    return len(image.path) + sum(each.nbytes for each in image.values if isinstance(each, np.ndarray))
