"""Compacting a dataset: what was dropped goes, and what lies beside the shards comes into them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kseq.editing.transaction import Transaction, begin_transaction, sweep
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.compatibility import row_layouts
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.layout import INDEX_NAME, shard_name
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_reader import ShardReader
from kseq.storage.shard_writer import EncodedImage, ShardWriter

__all__ = ["CompactReport", "compact"]

# What is read at a time, at least one sample: it is in memory together.
_BYTES_AT_ONCE = 16 << 20
_MOST_AT_ONCE = 256


@dataclass(frozen=True)
class CompactReport:
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
    dataset: str | os.PathLike[str], *, undo: bool = True, progress: Callable[[int, int], None] | None = None
) -> CompactReport:
    """Rewrite the shards that hold dropped samples, and where the index has columns, all, so that nothing is left beside them.

    Samples that remain keep their order, in all splits; their ids count on without gaps. Stored bytes are copied, compared with
    their checksums on the way, never decoded. Shards with nothing to leave out stay the files that they are; neighbours that
    shrank are joined, up to the size of the largest shard there was.

    Args:
        dataset: The dataset's folder.
        undo: Keep the old shards until the next change, for `kseq.undo`; False frees their room at once.
        progress: Called now and then with how many samples are copied and how many there are to copy.

    Raises:
        DatasetNotFoundError: Where there is no dataset.
        DamagedError: Where stored bytes, or the index's, have changed; the dataset stays as it was.
        LockedError: Where another process changes it.
        WriteError: Where the disk refuses; the dataset stays as it was.
    """
    started = time.monotonic()
    with begin_transaction(dataset) as change:
        index, before = change.index, _num_bytes(change.index)
        index.check_digest()
        work = _Work(change, progress)
        folded = tuple(dict.fromkeys(name.partition("/")[0] for name in index.columns))
        now = index
        if work.is_needed or not undo:
            entries = work.run()
            now = change.publish(_said(index, folded), keep=undo, **_changes(index, entries))
    old = [each.num_bytes for place, each in enumerate(index.contents().shards) if place not in work.staying]
    return CompactReport(
        path=index.path,
        num_samples=now.num_samples,
        num_removed=len(index.dropped),
        folded_fields=folded,
        num_shards=now.num_shards,
        num_rewritten=now.num_shards - len(work.staying),
        num_bytes=_num_bytes(now),
        num_bytes_before=before,
        num_bytes_kept=sum(old) if undo else 0,
        seconds=time.monotonic() - started,
    )


def _num_bytes(index: Index) -> int:
    return int(index.num_bytes.sum()) + os.path.getsize(os.path.join(index.path, INDEX_NAME))


def _said(index: Index, folded: Sequence[str]) -> str:
    parts = [f"{len(index.dropped)} dropped samples removed"] if len(index.dropped) else []
    parts += [f"{', '.join(folded)} folded into the shards"] if folded else []
    return f"compact: {' and '.join(parts) or 'nothing to leave out'}"


def _changes(index: Index, entries: list[ShardEntry]) -> dict[str, object]:
    """What is new in the index: ids count those that remain."""
    splits = {name: _remaining(ids, index.dropped) for name, ids in index.splits.items()}
    none = np.empty(0, "<u8")
    return {"shards": entries, "splits": splits, "stored_fields": index.fields, "columns": {}, "dropped": none}


def _remaining(ids: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """`(n,)` uint64: the new ids of those that were not dropped."""
    before = np.searchsorted(dropped, ids)
    is_dropped = np.append(dropped, np.iinfo("<u8").max)[before] == ids
    found: np.ndarray = (ids - before.astype("<u8"))[~is_dropped]
    return found


class _Work:
    """Which shards are written anew, and out of which.

    Args:
        change: The change that it is part of.
        progress: See `compact`.

    Attributes:
        staying: The places of the shards that stay as they are.
    """

    def __init__(self, change: Transaction, progress: Callable[[int, int], None] | None) -> None:
        index = self._index = change.index
        self._change = change
        self._progress = progress
        rows = np.diff(index.starts)
        self._dropped_starts = np.searchsorted(index.dropped, index.starts)
        dropped = np.diff(self._dropped_starts)
        are_all_new = bool(index.columns) or row_layouts(index.fields) != row_layouts(index.stored_fields)
        self.staying = set() if are_all_new else set(np.flatnonzero((dropped == 0) & (rows > 0)).tolist())
        self._groups = self._grouped((rows - dropped).tolist(), rows.tolist())
        self._total = sum(int(rows[place] - dropped[place]) for each in self._groups for place in each if self._is_new(each))
        self._done = 0

    @property
    def is_needed(self) -> bool:
        """Whether there is any shard that may not stay."""
        return len(self.staying) < self._index.num_shards

    def _is_new(self, group: list[int]) -> bool:
        return group[0] not in self.staying

    def _grouped(self, kept: list[int], rows: list[int]) -> list[list[int]]:
        """The places of the shards that become one, for each; one that stays is alone, one without samples is in none."""
        most = int(self._index.num_bytes.max(initial=0))
        groups: list[list[int]] = []
        filled = 0.0
        for place in (place for place in range(len(rows)) if kept[place]):
            size = int(self._index.num_bytes[place]) * kept[place] / rows[place]
            fits = groups and self._is_new(groups[-1]) and filled + size <= most
            if fits and place not in self.staying:
                groups[-1].append(place)
                filled += size
            else:
                groups.append([place])
                filled = size
        return groups

    def run(self) -> list[ShardEntry]:
        """Write what is to be new; what every shard of the dataset is then."""
        number = self._change.next_number()
        entries = []
        try:
            with ShardDataset(self._index.path, verify="always") as dataset:
                for group in self._groups:
                    if self._is_new(group):
                        entries.append(self._rewrite(dataset, group, number))
                        number += 1
                    else:
                        entries.append(self._index.entry(group[0]))
        except BaseException:
            # Nothing goes on from here, and the disk may be full.
            sweep(self._index.path)
            raise
        return entries

    def _rewrite(self, dataset: ShardDataset, group: list[int], number: int) -> ShardEntry:
        index = self._index
        path = os.path.join(index.path, shard_name(number))
        with ShardWriter.publishing(path, index.fields, index.dataset_id, number) as writer:
            for place in group:
                for each in sample_reader(dataset).collection.shards.get(place).rejected():
                    writer.reject(each.path, each.reason)
                for ids in self._parts(place):
                    self._copy(dataset, ids, writer)
            writer.finish()
        return ShardReader(path, index.fields).entry(number)

    def _parts(self, place: int) -> Iterator[np.ndarray]:
        """`(n,)` int64: the sample ids of a shard that were not dropped, so many at a time as may be in memory."""
        start, end = self._index.starts[place : place + 2].tolist()
        dropped = self._index.dropped[slice(*self._dropped_starts[place : place + 2])]
        ids = np.delete(np.arange(start, end), dropped.astype(np.int64) - start)
        row_bytes = int(self._index.num_bytes[place]) // (end - start)
        step = max(1, min(_MOST_AT_ONCE, _BYTES_AT_ONCE // max(row_bytes, 1)))
        return (ids[first : first + step] for first in range(0, len(ids), step))

    def _copy(self, dataset: ShardDataset, ids: np.ndarray, writer: ShardWriter) -> None:
        samples = sample_reader(dataset).locate(ids)
        samples.check()
        values = {field.name: _stored(field, samples) for field in self._index.fields}
        for position, (reader, row) in enumerate(samples):
            writer.add(reader.source(row), {name: value[position] for name, value in values.items()})
        self._done += len(ids)
        if self._progress is not None:
            self._progress(self._done, self._total)


def _stored(field: Field, samples: LocatedSamples) -> Sequence[EncodedImage | np.ndarray] | np.ndarray:
    """A field of some samples, as it is to be written again."""
    if field.encoded:
        found = samples.encoded_images(field.name)
        parts = zip(found.data, found.sizes.tolist(), found.orientations.tolist(), strict=True)
        return [EncodedImage(data.tobytes(), height, width, orientation) for data, (height, width), orientation in parts]
    if field.is_ragged:
        return samples.pieces(field.name)
    return samples.values(field.name)
