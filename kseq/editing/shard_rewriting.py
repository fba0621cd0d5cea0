"""Writing shards anew, without dropped samples and with the columns of the index in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kseq.editing.transaction import Transaction, remove_leftovers
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.compatibility import row_layouts
from kseq.storage.fields import Field
from kseq.storage.layout import shard_name
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_reader import ShardReader
from kseq.storage.shard_writer import EncodedImage, ShardWriter

__all__ = ["ShardRewriting"]

# At most so much is in memory at a time, but at least one sample.
_BYTES_AT_ONCE = 16 << 20
_SAMPLES_AT_ONCE = 256


class ShardRewriting:
    """Which shards of a dataset are written anew, and from which old shards each of them.

    Args:
        change: The change that publishes the new shards.
        progress: Called now and then with the number of samples that are copied and the number that are to be copied.

    Attributes:
        unchanged: The numbers of the old shards that stay as they are, in the order of the index.
    """

    def __init__(self, change: Transaction, progress: Callable[[int, int], None] | None) -> None:
        index = self._index = change.index
        self._change = change
        self._progress = progress
        rows = np.diff(index.starts)
        self._dropped_starts = np.searchsorted(index.dropped, index.starts)
        dropped = np.diff(self._dropped_starts)
        are_all_new = bool(index.columns) or row_layouts(index.fields) != row_layouts(index.stored_fields)
        self.unchanged = set() if are_all_new else set(np.flatnonzero((dropped == 0) & (rows > 0)).tolist())
        self._groups = self._group_shards((rows - dropped).tolist(), rows.tolist())
        new_groups = [group for group in self._groups if self._is_new(group)]
        self._num_samples = sum(int(rows[number] - dropped[number]) for group in new_groups for number in group)
        self._num_copied = 0

    @property
    def is_needed(self) -> bool:
        """Whether any shard does not stay as it is."""
        return len(self.unchanged) < self._index.num_shards

    def _is_new(self, group: list[int]) -> bool:
        return group[0] not in self.unchanged

    def _group_shards(self, kept_rows: list[int], rows: list[int]) -> list[list[int]]:
        """For each shard after the change, the old shards that it is made of. An unchanged shard is a group of its own; a shard
        of which no row is kept is in no group."""
        max_bytes = int(self._index.num_bytes.max(initial=0))
        groups: list[list[int]] = []
        group_bytes = 0.0
        for number in (number for number in range(len(rows)) if kept_rows[number]):
            num_bytes = int(self._index.num_bytes[number]) * kept_rows[number] / rows[number]
            fits = groups and self._is_new(groups[-1]) and group_bytes + num_bytes <= max_bytes
            if fits and number not in self.unchanged:
                groups[-1].append(number)
                group_bytes += num_bytes
            else:
                groups.append([number])
                group_bytes = num_bytes
        return groups

    def run(self) -> list[ShardEntry]:
        """Write the new shards. Returns the entries of all shards of the dataset after the change."""
        file_number = self._change.next_shard_number()
        entries = []
        try:
            with ShardDataset(self._index.path, verify="always") as dataset:
                for group in self._groups:
                    if self._is_new(group):
                        entries.append(self._rewrite(dataset, group, file_number))
                        file_number += 1
                    else:
                        entries.append(self._index.entry(group[0]))
        except BaseException:
            # The new shards are of no use, and the disk may be full.
            remove_leftovers(self._index.path)
            raise
        return entries

    def _rewrite(self, dataset: ShardDataset, group: list[int], file_number: int) -> ShardEntry:
        """Write one shard from a group of old ones."""
        index = self._index
        path = os.path.join(index.path, shard_name(file_number))
        with ShardWriter.publishing(path, index.fields, index.dataset_id, file_number) as writer:
            for number in group:
                for rejected in sample_reader(dataset).collection.shards.get(number).rejected():
                    writer.reject(rejected.path, rejected.reason)
                for ids in self._kept_ids(number):
                    self._copy(dataset, ids, writer)
            writer.finish()
        return ShardReader(path, index.fields).entry(file_number)

    def _kept_ids(self, number: int) -> Iterator[np.ndarray]:
        """`(n,)` int64: the sample ids of a shard without the dropped ones, as many at a time as may be in memory."""
        start, end = self._index.starts[number : number + 2].tolist()
        dropped = self._index.dropped[slice(*self._dropped_starts[number : number + 2])]
        ids = np.delete(np.arange(start, end), dropped.astype(np.int64) - start)
        row_bytes = int(self._index.num_bytes[number]) // (end - start)
        step = max(1, min(_SAMPLES_AT_ONCE, _BYTES_AT_ONCE // max(row_bytes, 1)))
        return (ids[first : first + step] for first in range(0, len(ids), step))

    def _copy(self, dataset: ShardDataset, ids: np.ndarray, writer: ShardWriter) -> None:
        samples = sample_reader(dataset).locate(ids)
        samples.check()
        values = {field.name: _stored_values(field, samples) for field in self._index.fields}
        for position, (reader, row) in enumerate(samples):
            writer.add(reader.source(row), {name: column[position] for name, column in values.items()})
        self._num_copied += len(ids)
        if self._progress is not None:
            self._progress(self._num_copied, self._num_samples)


def _stored_values(field: Field, samples: LocatedSamples) -> Sequence[EncodedImage | np.ndarray] | np.ndarray:
    """A field of some samples, in the form that a shard writer takes."""
    if field.encoded:
        images = samples.encoded_images(field.name)
        rows = zip(images.data, images.sizes.tolist(), images.orientations.tolist(), strict=True)
        return [EncodedImage(data.tobytes(), height, width, orientation) for data, (height, width), orientation in rows]
    if field.is_ragged:
        return samples.pieces(field.name)
    return samples.values(field.name)
