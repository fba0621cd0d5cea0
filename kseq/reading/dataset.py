"""ShardDataset: any samples of a dataset by number, from any thread or process; no Keras."""

from __future__ import annotations

import operator
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kseq.arguments import path_text, spelled, spelled_call
from kseq.errors import ArgumentError, ClosedError, OutOfRangeError
from kseq.reading.concatenated import ConcatenatedDatasets
from kseq.reading.sample_reader import LocatedSamples, SampleReader
from kseq.reading.where import matching
from kseq.storage.checksums import arrays_digest
from kseq.storage.fields import Field
from kseq.storage.index import Index, Remaining
from kseq.storage.rejected import Rejected

__all__ = ["VERIFY", "ShardDataset", "sample_reader"]

VERIFY = ("first", "always", "never")

# Of a field of all samples, so many values are gathered in one call: where they are takes twice their room.
_VALUES_AT_ONCE = 1 << 20


class ShardDataset:
    """The samples of a packed dataset, or of one of its splits, by number.

    Safe to use from many threads at once, after a fork, and in another process through pickle.

    Args:
        path: The dataset's folder.
        split: The name of a split: numbers then count within it, from 0 to `len - 1`. None for all samples.
        verify: When a sample's bytes are compared with the checksum that was stored when it was packed:
            `"first"` (the first time this object reads it), `"always"` or `"never"`.

    Raises:
        DatasetNotFoundError: Where there is no dataset.
        DamagedError: Where its index is damaged.
        FormatError: Where it was written by a newer kseq, or holds what the format does not allow.
        ArgumentError: Where there is no such split.

    Example:
        >>> dataset = kseq.ShardDataset("flowers", "train")
        >>> sample = dataset[0]
        >>> sample["image"].shape, sample["label"], dataset.classes[sample["label"]]
    """

    def __init__(self, path: str | os.PathLike[str], split: str | None = None, *, verify: str = "first") -> None:
        _check_verify(verify)
        folder = path_text("path", path)
        self._hold(folder, SampleReader(ConcatenatedDatasets([Index.open(folder)]), verify), split)

    def _hold(self, path: str, reader: SampleReader, split: str | None, selected: np.ndarray | None = None) -> None:
        """Set all that a dataset consists of.

        Args:
            path: The folder, as the user wrote it.
            reader: Reads the samples, by sample id.
            split: The split that the samples are of.
            selected: The sample ids of a selection; None for all of the split.
        """
        self.path = path
        self.split = split
        self.verify = reader.verify
        self._reader: SampleReader | None = reader
        self._selected = selected
        self._digest: str | None = None
        self._ids = _find_split(reader.collection, split) if selected is None else selected

    def _select(self, reader: SampleReader, split: str | None, selected: np.ndarray) -> ShardDataset:
        """A dataset of some samples."""
        selection = object.__new__(ShardDataset)
        path = self.path if len(reader.collection.indexes) == 1 else reader.collection.path
        selection._hold(path, reader, split, selected)
        return selection

    @property
    def _samples(self) -> SampleReader:
        if self._reader is None:
            raise ClosedError(f"{self.path}: the dataset was closed")
        return self._reader

    @property
    def _collection(self) -> ConcatenatedDatasets:
        return self._samples.collection

    def __getstate__(self) -> dict[str, Any]:
        indexes = [(index.path, index.digest) for index in self._collection.indexes]
        return {"indexes": indexes, "split": self.split, "verify": self.verify, "selected": self._selected}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The files are opened anew: no map or file descriptor crosses to another process.
        collection = ConcatenatedDatasets([Index.find(*index) for index in state["indexes"]])
        self._hold(collection.path, SampleReader(collection, state["verify"]), state["split"], state["selected"])

    def close(self) -> None:
        """Let go of the files. Arrays that were read stay valid; selections that were made from it go on."""
        self._reader = None
        self._ids = self._selected = None

    def __enter__(self) -> ShardDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def splits(self) -> dict[str, int]:
        """How many samples each split of the dataset has, by name; those of several datasets are added up."""
        sizes: Counter[str] = Counter()
        for index in self._collection.indexes:
            sizes.update({name: int(ids.size) for name, ids in index.splits.items()})
        return dict(sizes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class name of each label number."""
        return self._collection.classes

    @property
    def fields(self) -> dict[str, Field]:
        """What each sample holds, by name."""
        return dict(self._samples.fields)

    @property
    def selected(self) -> np.ndarray | None:
        """`(len,)` int64: the sample ids of a selection; None for a split, or all, of a dataset."""
        return self._selected

    @property
    def digest(self) -> str:
        """32 hexadecimal digits to log with a run: they stand for all that the dataset holds, and for what was selected of it.

        All splits of a dataset have the same; a selection has one of its own, the same whenever it is of the same sample ids.
        """
        collection, selected = self._collection, self._selected
        if selected is None:
            return collection.digest
        if self._digest is None:
            of = np.frombuffer(bytes.fromhex(collection.digest), np.uint8)
            self._digest = arrays_digest({"digest": of, "ids": selected})
        return self._digest

    @property
    def index(self) -> Index:
        """The index as it lies on disk, for tools.

        Raises:
            ArgumentError: Where there are several, see `concat`.
        """
        indexes = self._collection.indexes
        if len(indexes) > 1:
            raise ArgumentError(f"{self.path}: these are {len(indexes)} datasets, each has an index of its own")
        return indexes[0]

    def rejected(self) -> list[Rejected]:
        """The files that were found and not packed, with the reason of each."""
        return self._collection.rejected()

    def __repr__(self) -> str:
        selected = "" if self._selected is None else f": {len(self._selected)} samples"
        return f"<ShardDataset {self.path!r} {self.split or 'all'}{selected}>"

    # Selections: other samples of the same files, which stay open for all.

    def where(self, **conditions: Any) -> ShardDataset:
        """The samples for which all of some conditions on their fields hold, in the order in which they are.

        Args:
            conditions: Field name to the value that it must have, to several of which it must have one, or to a function that
                is given the field's `values` and returns `(len,)` bool. A class may be given by its name or its number. Of a
                field with several values in a sample, one that fits is enough.

        Returns:
            A dataset whose numbers count within the selection. It holds 8 bytes a sample.

        Raises:
            ArgumentError: Where there is no such field or class, or a field cannot be chosen by.

        Example:
            >>> pets = dataset.where(label=["cat", "dog"])
            >>> tall = dataset.where(height=lambda values: values > 0.5)
        """
        kept = np.ones(len(self), bool)
        for name, condition in conditions.items():
            kept &= matching(self._field(name), self.classes, self.values(name), condition)
        return self.take(np.flatnonzero(kept))

    def take(self, numbers: Sequence[int] | np.ndarray) -> ShardDataset:
        """Some of the samples, in the order given; one that is given several times comes several times.

        Args:
            numbers: `(n,)` whole numbers in [0, len).

        Raises:
            OutOfRangeError: Where a number is not in [0, len).
        """
        return self._select(self._samples, self.split, self.sample_ids(numbers))

    def concat(self, other: ShardDataset) -> ShardDataset:
        """These samples, then the other's, as one dataset; `verify` is this one's.

        Sample ids count on through the datasets: this one's stay, those of another dataset begin where they end, so that
        none is cropped or flipped as another is. Samples of the same dataset keep their ids.

        Raises:
            ArgumentError: Where the other's samples hold other fields or classes.
        """
        if not isinstance(other, ShardDataset):
            raise ArgumentError(f"{spelled('other', other)}: allowed is a ShardDataset")
        reader = self._samples
        joined, starts = reader.collection.join(other._collection)
        if joined is not reader.collection:
            reader = SampleReader(joined, self.verify)
        split = self.split if self.split == other.split else None
        ids, other_ids = (dataset.sample_ids(np.arange(len(dataset))) for dataset in (self, other))
        return self._select(reader, split, np.concatenate([ids, other._collection.moved(other_ids, starts)]))

    def reopened(self, verify: str) -> ShardDataset:
        """The same samples through files of its own, so that either may be closed.

        Raises:
            ArgumentError: Where `verify` is not allowed.
        """
        _check_verify(verify)
        made = object.__new__(ShardDataset)
        made.__setstate__({**self.__getstate__(), "verify": verify})
        return made

    def values(self, field: str) -> np.ndarray | list[Any]:
        """One field of all samples, as `read` gives it; for fields that are no pixels. Checksums are not looked at.

        Raises:
            ArgumentError: Where there is no such field, or it is an image or a mask.
        """
        form = self._field(field)
        if form.is_pixels:
            others = ", ".join(name for name, each in self.fields.items() if not each.is_pixels)
            raise ArgumentError(f"{self.path}: field {field!r} is {form.kind} pixels, allowed are {others or 'none'}")
        parts = [self._samples.locate(self.sample_ids(numbers)) for numbers in _in_parts(len(self))]
        if form.is_ragged:
            return [value for samples in parts for value in _values(form, samples)]
        return np.concatenate([_values(form, samples) for samples in parts])

    def _field(self, name: str) -> Field:
        if name not in self._samples.fields:
            raise ArgumentError(f"{self.path}: has no field {name!r}, it has {', '.join(self.fields)}")
        return self._samples.fields[name]

    def __len__(self) -> int:
        # Read once: another thread may close meanwhile.
        ids = self._ids
        return self._collection.num_samples if ids is None else int(ids.size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample: field name to value, as `read` gives it for several.

        Raises:
            OutOfRangeError: Where `number` is not in [-len, len).
            DamagedError: Where the stored bytes have changed.
        """
        number, count = operator.index(number), len(self)
        if not -count <= number < count:
            raise OutOfRangeError(f"{self.path}: sample {number} is not in [-{count}, {count})")
        values = self.read([number % count])
        return {name: value[0] for name, value in values.items()}

    def read(self, ids: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Samples by number, in the order asked, repeats included.

        Args:
            ids: `(n,)` whole numbers in [0, len).

        Returns:
            Field name to an array of `(n, ...)`; images are `(n, height, width, channels)` uint8, upright, or a list of
            `(height, width, channels)` where their sizes differ. A field whose samples differ in length is a list of arrays
            (of boxes: `(count, 4)` float32), text a list of str.

        Raises:
            OutOfRangeError: Where a number is not in [0, len).
            DamagedError: Where stored bytes have changed, or a shard is missing or is another.
        """
        samples = self._samples.locate(self.sample_ids(ids))
        samples.check()
        return {
            name: _decode(field, samples) if field.encoded else _values(field, samples)
            for name, field in self._samples.fields.items()
        }

    def stored_bytes(self, number: int, field: str = "image") -> bytes:
        """A field of a sample as it lies on disk: an encoded image, or the numbers of any other, little-endian."""
        form = self._field(field)
        samples = self._samples.locate(self.sample_ids([number]))
        samples.check()
        if form.encoded:
            ((reader, row),) = samples
            return reader.stored(field, row).tobytes()
        (value,) = samples.pieces(field) if form.is_ragged else samples.values(field)
        return np.asarray(value).tobytes()

    def source(self, number: int) -> str:
        """Where a sample came from: its path below the source folder (`os.fsencode` gives its very bytes)."""
        ((reader, row),) = self._samples.locate(self.sample_ids([number]))
        return os.fsdecode(reader.source(row))

    def sample_ids(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """`(n,)` int64 sample ids of `(n,)` numbers that count within the split."""
        # In this order: once closed, there is no index, and what was a split's numbers would pass for sample ids.
        split, collection = self._ids, self._collection
        asked = np.asarray(numbers)
        if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
            raise ArgumentError(f"ids are {asked.dtype} {asked.shape}, allowed are whole numbers in one dimension")
        if asked.size and not (asked.min() >= 0 and asked.max() < len(self)):
            wrong = asked[(asked < 0) | (asked >= len(self))][0]
            raise OutOfRangeError(f"{self.path}: sample {wrong} is not in [0, {len(self)})")
        positions = asked.astype(np.int64)
        if split is None:
            return positions
        ids = split[positions]
        collection.check_ids(ids)
        return ids.astype(np.int64)


def sample_reader(dataset: ShardDataset) -> SampleReader:
    """What reads a dataset's samples by sample id: the way of kseq's other packages to more than `ShardDataset` shows.

    Raises:
        ClosedError: Where the dataset was closed.
    """
    return dataset._samples


def _find_split(collection: ConcatenatedDatasets, split: str | None) -> np.ndarray | Remaining | None:
    """The sample ids of a split of one dataset; None for all that there are."""
    (index,) = collection.indexes
    if split is None or split == "all":
        return index.remaining if index.dropped.size else None
    if split not in index.splits:
        hint = f" ({spelled_call('split', index.path, **{split: 0.1})} makes one)" if split in ("val", "test") else ""
        names = ", ".join([*index.splits, "all"])
        raise ArgumentError(f"{index.path}: has no split {split!r}, it has {names}{hint}")
    return index.splits[split]


def _in_parts(count: int) -> list[np.ndarray]:
    """The numbers from 0 to `count - 1`, in at least one part."""
    return [np.arange(start, min(start + _VALUES_AT_ONCE, count)) for start in range(0, max(count, 1), _VALUES_AT_ONCE)]


def _check_verify(verify: Any) -> None:
    if verify not in VERIFY:
        raise ArgumentError(f"{spelled('verify', verify)}: allowed are {', '.join(VERIFY)}")


def _values(field: Field, samples: LocatedSamples) -> np.ndarray | list[Any]:
    """A field that is not encoded."""
    if field.is_ragged:
        return [field.handler.value(elements) for elements in samples.pieces(field.name)]
    return samples.values(field.name)


def _decode(field: Field, samples: LocatedSamples) -> np.ndarray | list[np.ndarray]:
    images = [reader.decode(field.name, row) for reader, row in samples]
    if not images:
        return np.empty((0, *(length or 0 for length in field.shape)), np.uint8)
    return np.stack(images) if len({image.shape for image in images}) == 1 else images
