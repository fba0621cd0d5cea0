"""What lies in one packed dataset, or in several one after the other: all that selections of their samples share."""

from __future__ import annotations

import functools
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
    """All samples of some packed datasets, by sample id: the first one's, then the next one's, and so on.

    Args:
        indexes: Of the datasets, at least one.
        shards: Their shards, where they are open already.

    Raises:
        ArgumentError: Where the samples of one hold something else than those of another.

    Attributes:
        fields: What each sample holds, by name.
        classes: The class name of each label number.
        starts: `(shards + 1,)` int64: the sample id at which each shard begins; the last is the total.
    """

    def __init__(self, indexes: Sequence[Index], shards: ShardCache | None = None) -> None:
        self.indexes = tuple(indexes)
        self.fields = _common_fields(self.indexes)
        self.classes = self.indexes[0].class_names
        self._id_starts = np.cumsum([0, *(each.num_samples for each in self.indexes)])
        starts = [each.starts[:-1] + start for each, start in zip(self.indexes, self._id_starts, strict=False)]
        self.starts = np.concatenate([*starts, self._id_starts[-1:]])
        self._open_shards = self._open() if shards is None else shards

    def _open(self) -> ShardCache:
        return ShardCache(self.indexes)

    @property
    def shards(self) -> ShardCache:
        """Its shards; in a forked child, opened anew."""
        shards = self._open_shards
        if shards.process != os.getpid():
            shards = self._open_shards = self._open()
        return shards

    @property
    def path(self) -> str:
        """The folders."""
        return " + ".join(each.path for each in self.indexes)

    @property
    def num_samples(self) -> int:
        return int(self._id_starts[-1])

    @property
    def num_bytes(self) -> int:
        """The size of all shard files."""
        return sum(int(each.num_bytes.sum()) for each in self.indexes)

    @functools.cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all that it holds."""
        if len(self.indexes) == 1:
            return self.indexes[0].digest
        return arrays_digest({"digests": np.frombuffer(bytes.fromhex("".join(each.digest for each in self.indexes)), np.uint8)})

    def rejected(self) -> list[Rejected]:
        """The files that were found and not packed."""
        return [each for index in self.indexes for each in index.rejected()]

    def join(self, other: ConcatenatedDatasets) -> tuple[ConcatenatedDatasets, np.ndarray]:
        """The samples of both; those of a dataset that both have are there once.

        Sample ids of this one stay as they are.

        Returns:
            The collection, and `(indexes,)` int64: where the sample ids of each of the other's datasets begin in it.
        """
        indexes = list(self.indexes)
        known = [(each.path, each.digest) for each in indexes]
        added = [each for each in other.indexes if (each.path, each.digest) not in known]
        if added:
            joined = ConcatenatedDatasets([*indexes, *added])
            indexes, known = list(joined.indexes), [(each.path, each.digest) for each in joined.indexes]
        else:
            joined = self
        return joined, np.array([joined._id_starts[known.index((each.path, each.digest))] for each in other.indexes])

    def moved(self, sample_ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """`(n,)` int64: sample ids as they are where its datasets begin at `starts`, as `join` tells."""
        numbers = np.searchsorted(self._id_starts, sample_ids, side="right") - 1
        return sample_ids + (starts - self._id_starts[:-1])[numbers]

    def check_ids(self, sample_ids: np.ndarray) -> None:
        """Raise DamagedError unless all sample ids, read from a split, exist."""
        if len(self.indexes) == 1:
            self.indexes[0].check_ids(sample_ids)

    def locate(self, sample_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` int64 shard numbers and `(n,)` int64 rows of samples."""
        shards = np.searchsorted(self.starts, sample_ids, side="right") - 1
        return shards, sample_ids - self.starts[shards]


def _common_fields(indexes: Sequence[Index]) -> dict[str, Field]:
    first, *others = indexes
    fields = {each.name: each for each in first.fields}
    for other in others:
        its = {each.name: each for each in other.fields}
        check_same_names(fields, its, first.path, other.path)
        for name, each in fields.items():
            _check_classes(f" of {name}", each.class_names, its[name].class_names, first.path, other.path)
            fields[name] = common_field(each, its[name], first.path, other.path)
        _check_classes("", first.class_names, other.class_names, first.path, other.path)
    return fields


def _check_classes(what: str, classes: Sequence[str], others: Sequence[str], path: str, other_path: str) -> None:
    if tuple(classes) == tuple(others):
        return
    for number in range(max(len(classes), len(others))):
        mine, its = classes[number : number + 1], others[number : number + 1]
        if mine != its:
            told = [repr(each[0]) if each else "none" for each in (its, mine)]
            raise ArgumentError(
                f"{other_path}: class {number}{what} is {told[0]}, in {path} it is {told[1]}: they do not go together"
            )
