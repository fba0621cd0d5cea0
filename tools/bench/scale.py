"""A dataset of any size that takes no room: shards of zeros that are holes in their files."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from kseq.storage.checksums import CHECKSUM_DTYPE, digest_of_hashes
from kseq.storage.fields import Field
from kseq.storage.hdf5_writer import SpooledArray, write_file
from kseq.storage.index import Contents
from kseq.storage.index_writer import write_index
from kseq.storage.layout import SHARD_KIND, format_attributes, shard_name
from kseq.storage.shard_reader import ShardReader

__all__ = ["make_sparse"]

_FIELDS = (Field("image", "image", False, "|u1", (8, 8, 3)), Field("label", "label", False, "<i4", ()))
_DATASET_ID = "0" * 32
_PAGE = 4096


def make_sparse(folder: str, num_shards: int, rows: int) -> None:
    """Write `num_shards` shards of `rows` raw images of 8 x 8 pixels, all zero, and their index.

    Its split `few` holds the first `rows` samples: one of all would need a list of them, which takes room.
    The shards differ in their number alone, so that the few bytes of one serve for all, with that number changed.
    """
    os.makedirs(folder, exist_ok=True)
    pages, size, place = _template(folder, rows)
    entry = ShardReader(os.path.join(folder, shard_name(0)), _FIELDS).entry(0)
    for number in range(num_shards):
        _write_shard(os.path.join(folder, shard_name(number)), pages, size, place, number)
    contents = Contents(
        dataset_id=_DATASET_ID,
        fields=_FIELDS,
        class_names=["zero"],
        shards=[replace(entry, number=number) for number in range(num_shards)],
        splits={"few": np.arange(rows)},
        rejected=[],
        settings="{}",
    )
    write_index(folder, contents)


def _write_shard(path: str, pages: dict[int, bytes], size: int, place: int, number: int) -> None:
    with open(path, "wb", buffering=0) as file:
        for start, page in pages.items():
            file.seek(start)
            file.write(page)
        file.seek(place)
        file.write(number.to_bytes(8, "little"))
        file.truncate(size)


def _template(folder: str, rows: int) -> tuple[dict[int, bytes], int, int]:
    """The pages of a shard that are not all zero, by where they start; its size; and where its number lies."""
    path = os.path.join(folder, shard_name(0))
    contents = []
    for number in (0x0101010101, 0):
        _write_zeros(path, rows, number)
        with open(path, "rb") as file:
            contents.append(file.read())
    one, other = (np.frombuffer(content, np.uint8) for content in contents)
    place = int(np.flatnonzero(one != other)[0])
    data = contents[1]
    pages = {start: data[start : start + _PAGE] for start in range(0, len(data), _PAGE) if any(data[start : start + _PAGE])}
    return pages, len(data), place


def _write_zeros(path: str, rows: int, number: int) -> None:
    """A shard of zeros, whose checksums are none: to be read with `verify="never"`."""
    empty = f"{path}.empty"
    with open(empty, "wb") as file:
        file.truncate(rows * 8 * 8 * 3)
    arrays: dict[str, np.ndarray | SpooledArray] = {
        "image": SpooledArray(empty, "|u1", (rows, 8, 8, 3)),
        "label": np.zeros(rows, "<i4"),
        "checksum": np.zeros(rows, CHECKSUM_DTYPE),
        "source/bytes": np.empty(0, np.uint8),
        "source/offsets": np.zeros(rows + 1, "<u8"),
        **{f"rejected_{part}/bytes": np.empty(0, np.uint8) for part in ("path", "reason")},
        **{f"rejected_{part}/offsets": np.zeros(1, "<u8") for part in ("path", "reason")},
    }
    attributes: dict[str, int | str] = {
        **format_attributes(SHARD_KIND),
        "dataset_id": _DATASET_ID,
        "shard": number,
        "rows": rows,
        "digest": digest_of_hashes({}),
    }
    write_file(path, attributes, arrays)
    os.unlink(empty)
