"""Writes the index of a dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np

from kseq.errors import ArgumentError
from kseq.platforms.files import flush
from kseq.storage.atomic import link_or_copy, publishing
from kseq.storage.box_counts import BOX_FACTS, format_facts
from kseq.storage.checksums import DIGEST_BYTES
from kseq.storage.fields import Field, write_fields
from kseq.storage.hdf5_writer import write_file
from kseq.storage.index import Contents
from kseq.storage.index_schema import (
    LENGTHS_PREFIX,
    SPLIT_PREFIX,
    contents_digest,
    describe_shard_arrays,
    name_in_index,
    tables_digest,
)
from kseq.storage.layout import INDEX_KIND, INDEX_NAME, LAST_INDEX_NAME, MOST_ARRAYS, format_attributes
from kseq.storage.notes import PACKING_NOTES, format_lines
from kseq.storage.rejected import pack_rejected
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_schema import shard_schema
from kseq.storage.strings import pack_strings, pack_text

__all__ = ["write_index"]


def write_index(path: str, contents: Contents, *, keep_last: bool = False) -> None:
    """Publish the index of the dataset in the folder `path`, which makes it a dataset of these contents.

    Args:
        path: The folder; all shards must be in it.
        contents: What the index is to say.
        keep_last: Keep the index that lies there now under the name `kseq.storage.layout.LAST_INDEX_NAME`.

    Raises:
        ArgumentError: If there are more splits and columns than readers accept.
        WriteError: If the operating system refuses.
    """
    arrays = _arrays(contents)
    if len(arrays) > MOST_ARRAYS:
        raise ArgumentError(
            f"{path}: its index would have {len(arrays)} arrays, for {len(contents.splits)} splits and {len(contents.columns)} "
            f"columns, allowed are {MOST_ARRAYS}"
        )
    attributes = {
        **format_attributes(INDEX_KIND),
        "dataset_id": contents.dataset_id,
        "digest": contents_digest(arrays),
        "tables_digest": tables_digest(arrays),
    }
    if contents.box_facts:
        attributes[BOX_FACTS] = format_facts(contents.box_facts)
    if contents.packing_notes:
        attributes[PACKING_NOTES] = format_lines(contents.packing_notes)
    index, last = os.path.join(path, INDEX_NAME), os.path.join(path, LAST_INDEX_NAME)
    with publishing(index) as temporary:
        write_file(temporary, attributes, arrays)
        if keep_last:
            # Flushed before: if the disk refuses it, the index before the last change is kept as well.
            flush(temporary)
            link_or_copy(index, last)


def _arrays(contents: Contents) -> dict[str, np.ndarray]:
    """The arrays of an index, by name."""
    shards = contents.shards
    stored_fields = contents.fields if contents.stored_fields is None else contents.stored_fields
    digests = bytes.fromhex("".join(shard.digest for shard in shards))
    names = sorted(shard_schema(stored_fields, None))
    offsets = [[shard.arrays[name].offset for name in names] for shard in shards]
    lengths = [[shard.arrays[name].shape[0] for name in names] for shard in shards]
    return {
        "shards/number": np.array([shard.number for shard in shards], "<u8"),
        "shards/rows": np.array([shard.num_rows for shard in shards], "<u8"),
        "shards/bytes": np.array([shard.num_bytes for shard in shards], "<u8"),
        "shards/digest": np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES),
        "shards/offsets": np.array(offsets, "<u8").reshape(-1, len(names)),
        "shards/lengths": np.array(lengths, "<u8").reshape(-1, len(names)),
        "shards/digest_offset": np.array([shard.digest_offset for shard in shards], "<u8"),
        "shard_arrays": pack_text(describe_shard_arrays(stored_fields)),
        "fields": pack_text(write_fields(tuple(contents.fields))),
        "stored_fields": pack_text(write_fields(tuple(stored_fields))),
        "settings": pack_text(contents.settings),
        "changes": pack_text(json.dumps(list(contents.changes))),
        **_lengths(shards, stored_fields),
        "dropped": np.asarray(contents.dropped, "<u8"),
        **{f"{SPLIT_PREFIX}{name}": np.asarray(ids, "<u8") for name, ids in sorted(contents.splits.items())},
        **{name_in_index(name): column for name, column in sorted(contents.columns.items())},
        **pack_strings("class_names", [os.fsencode(name) for name in contents.class_names]),
        **pack_rejected(contents.rejected),
    }


def _lengths(shards: Sequence[ShardEntry], stored_fields: Sequence[Field]) -> dict[str, np.ndarray]:
    """How many elements each sample has, of fields of which that differs: a batch is padded without a look at its shards."""
    none = np.empty(0, "<u4")
    return {
        f"{LENGTHS_PREFIX}{field.name}": np.concatenate([none, *(shard.lengths[field.name] for shard in shards)])
        for field in stored_fields
        if field.is_ragged
    }
