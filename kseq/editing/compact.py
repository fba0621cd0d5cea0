"""Compacting a packed dataset: dropped samples are removed, and columns of the index move into the shards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kseq.display.progress_bar import progress_shown
from kseq.editing.shard_rewriting import ShardRewriting
from kseq.editing.transaction import begin_transaction
from kseq.storage.index import Index
from kseq.storage.layout import INDEX_NAME
from kseq.storage.report import Report
from kseq.storage.shard_entry import ShardEntry

__all__ = ["CompactReport", "compact"]


@dataclass(frozen=True)
class CompactReport(Report):
    """What `kseq.compact` did.

    Attributes:
        path: The dataset's folder.
        num_samples: How many samples the dataset has.
        num_removed: How many dropped samples were removed.
        folded_fields: The fields that lay beside the shards, wholly or in part, and lie in the shards now.
        num_shards: How many shards the dataset has.
        num_rewritten: How many of the shards are new.
        num_bytes: The size of all shards and the index, in bytes.
        num_bytes_before: What that size was before.
        num_bytes_kept: The size of the old shards that stay on the disk until the next change, for `kseq.undo`, in bytes.
        seconds: How long it took.
    """

    path: str
    num_samples: int
    num_removed: int
    folded_fields: tuple[str, ...]
    num_shards: int
    num_rewritten: int
    num_bytes: int
    num_bytes_before: int
    num_bytes_kept: int
    seconds: float


def compact(
    dataset: str | os.PathLike[str], *, undo: bool = True, progress: Callable[[int, int], None] | bool | None = None
) -> CompactReport:
    """Rewrite the shards that hold dropped samples; if the index has columns, rewrite all shards, with these values in them.

    The samples that remain keep their order in all splits, and get new sample ids without gaps. Stored bytes are copied and
    compared with their checksums, never decoded. Shards without dropped samples stay the same files. Neighbouring shards that
    shrank are joined, up to the size of the largest shard.

    Args:
        dataset: The dataset's folder.
        undo: Keep the old shards until the next change, for `kseq.undo`; False frees their disk space at once.
        progress: A function that is called now and then with how many samples are copied and are to be copied.
            None: a bar where a person looks, on a terminal or in a notebook, else nothing. False: nothing. True: a bar.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        DamagedError: If stored bytes, or bytes of the index, have changed; the dataset stays as it was.
        LockedError: If another process changes the dataset.
        WriteError: If the operating system refuses to write; the dataset stays as it was.
    """
    started = time.monotonic()
    with progress_shown(progress, "samples") as show, begin_transaction(dataset) as change:
        index, num_bytes_before = change.index, _num_bytes(change.index)
        index.check_digest()
        rewriting = ShardRewriting(change, show)
        folded = tuple(dict.fromkeys(name.partition("/")[0] for name in index.columns))
        new_index = index
        if rewriting.is_needed or not undo:
            changes = _index_changes(index, rewriting.run())
            new_index = change.publish(_describe(index, folded), keep_previous=undo, **changes)
    old_shards = [entry for number, entry in enumerate(index.contents().shards) if number not in rewriting.unchanged]
    return CompactReport(
        path=index.path,
        num_samples=new_index.num_samples,
        num_removed=len(index.dropped),
        folded_fields=folded,
        num_shards=new_index.num_shards,
        num_rewritten=new_index.num_shards - len(rewriting.unchanged),
        num_bytes=_num_bytes(new_index),
        num_bytes_before=num_bytes_before,
        num_bytes_kept=sum(entry.num_bytes for entry in old_shards) if undo else 0,
        seconds=time.monotonic() - started,
    )


def _num_bytes(index: Index) -> int:
    return int(index.num_bytes.sum()) + os.path.getsize(os.path.join(index.path, INDEX_NAME))


def _describe(index: Index, folded: Sequence[str]) -> str:
    """The change in one line, for the history."""
    parts = [f"{len(index.dropped)} dropped samples removed"] if len(index.dropped) else []
    parts += [f"{', '.join(folded)} folded into the shards"] if folded else []
    return f"compact: {' and '.join(parts) or 'nothing to leave out'}"


def _index_changes(index: Index, entries: list[ShardEntry]) -> dict[str, object]:
    """What is new in the contents of the index."""
    splits = {name: _new_ids(ids, index.dropped) for name, ids in index.splits.items()}
    none = np.empty(0, "<u8")
    return {"shards": entries, "splits": splits, "stored_fields": index.fields, "columns": {}, "dropped": none}


def _new_ids(ids: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """`(n,)` uint64: the new sample ids of the samples that were not dropped."""
    num_dropped_before = np.searchsorted(dropped, ids)
    is_dropped = np.append(dropped, np.iinfo("<u8").max)[num_dropped_before] == ids
    new_ids: np.ndarray = (ids - num_dropped_before.astype("<u8"))[~is_dropped]
    return new_ids
