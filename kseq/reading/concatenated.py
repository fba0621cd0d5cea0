"""Several packed datasets, one after the other: what all selections of their samples share."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence

import numpy as np

from kseq.errors import ArgumentError
from kseq.reading.shard_cache import ShardCache
from kseq.storage.checksums import arrays_digest
from kseq.storage.compatibility import check_same_names, common_field
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.rejected import Rejected

__all__ = ["ConcatenatedDatasets"]


class ConcatenatedDatasets:
    """All samples of one or several packed datasets, by sample id: those of the first dataset, then those of the next.

    Args:
        indexes: The index of each dataset, at least one.

    Raises:
        ArgumentError: If the datasets hold other fields or classes than the first.

    Attributes:
        indexes: As passed.
        fields: What each sample holds, by name.
        class_names: The class name of each label number.
        id_starts: `(datasets + 1,)` int64: the sample id at which each dataset begins; the last is the number of samples.
    """

    def __init__(self, indexes: Sequence[Index]) -> None:
        self.indexes = tuple(indexes)
        self.fields = _common_fields(self.indexes)
        self.class_names = self.indexes[0].class_names
        self.id_starts = np.cumsum([0, *(index.num_samples for index in self.indexes)])
        self._open_shards = ShardCache(self.indexes)
        self._shard_starts = self._open_shards.first_ids

    @property
    def shards(self) -> ShardCache:
        """The shards of all datasets; in a forked child, they are opened anew."""
        shards = self._open_shards
        if shards.process != os.getpid():
            shards = self._open_shards = ShardCache(self.indexes)
        return shards

    @property
    def path(self) -> str:
        """The folders of the datasets, with ` + ` between them."""
        return " + ".join(index.path for index in self.indexes)

    @property
    def num_samples(self) -> int:
        """The number of sample ids, those of dropped samples included."""
        return int(self.id_starts[-1])

    @property
    def num_shards(self) -> int:
        """The number of shards."""
        return sum(index.num_shards for index in self.indexes)

    @property
    def num_bytes(self) -> int:
        """The size of all shards, in bytes."""
        return sum(int(index.num_bytes.sum()) for index in self.indexes)

    @functools.cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all that the datasets hold."""
        if len(self.indexes) == 1:
            return self.indexes[0].digest
        digests = bytes.fromhex("".join(index.digest for index in self.indexes))
        return arrays_digest({"digests": np.frombuffer(digests, np.uint8)})

    def rejected(self) -> list[Rejected]:
        """The files that were found and not packed."""
        return [rejected for index in self.indexes for rejected in index.rejected()]

    def join(self, other: ConcatenatedDatasets) -> tuple[ConcatenatedDatasets, np.ndarray]:
        """The samples of both collections; a dataset that both have is in the result once.

        Sample ids of this collection stay as they are.

        Returns:
            The collection, this very one if nothing is added; and `(datasets,)` int64: the sample id at which each dataset of
            `other` begins in it.
        """
        known = [_identity(index) for index in self.indexes]
        added = [index for index in other.indexes if _identity(index) not in known]
        joined = ConcatenatedDatasets([*self.indexes, *added]) if added else self
        known = [_identity(index) for index in joined.indexes]
        starts = [joined.id_starts[known.index(_identity(index))] for index in other.indexes]
        return joined, np.array(starts)

    def move_ids(self, sample_ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """`(n,)` int64: sample ids of this collection as they are in another, where its datasets begin at `starts`."""
        numbers = np.searchsorted(self.id_starts, sample_ids, side="right") - 1
        return sample_ids + (starts - self.id_starts[:-1])[numbers]

    def check_ids(self, sample_ids: np.ndarray) -> None:
        """Raise DamagedError unless all sample ids, read from a split, exist."""
        if len(self.indexes) == 1:
            self.indexes[0].check_ids(sample_ids)

    def locate(self, sample_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` int64 shard numbers, counted through all datasets, and `(n,)` int64 rows of samples."""
        shards = np.searchsorted(self._shard_starts, sample_ids, side="right") - 1
        return shards, sample_ids - self._shard_starts[shards]


def _identity(index: Index) -> tuple[str, str]:
    return index.path, index.digest


def _common_fields(indexes: Sequence[Index]) -> dict[str, Field]:
    first, *others = indexes
    fields = {field.name: field for field in first.fields}
    for other in others:
        other_fields = {field.name: field for field in other.fields}
        check_same_names(fields, other_fields, first.path, other.path)
        for name, field in fields.items():
            other_field = other_fields[name]
            _check_class_names(f" of {name}", field.class_names, other_field.class_names, first.path, other.path)
            fields[name] = common_field(field, other_field, first.path, other.path)
        _check_class_names("", first.class_names, other.class_names, first.path, other.path)
    return fields


def _check_class_names(of_field: str, names: Sequence[str], other_names: Sequence[str], path: str, other_path: str) -> None:
    """Raise ArgumentError unless two datasets have the same classes, in the same order."""
    if tuple(names) == tuple(other_names):
        return
    quoted = itertools.zip_longest(map(repr, names), map(repr, other_names), fillvalue="none")
    for number, (name, other_name) in enumerate(quoted):
        if name != other_name:
            raise ArgumentError(
                f"{other_path}: class {number}{of_field} is {other_name}, in {path} it is {name}: they do not go together"
            )
