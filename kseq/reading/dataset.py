"""ShardDataset: any samples of a dataset by number, from any thread or process; no Keras."""

from __future__ import annotations

import operator
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kseq.arguments import path_text
from kseq.errors import ArgumentError, OutOfRangeError
from kseq.reading.concatenated import ConcatenatedDatasets
from kseq.reading.sample_reader import SampleReader
from kseq.reading.where import matching
from kseq.storage.checksums import arrays_digest
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.rejected import Rejected
from kseq.storage.remaining import Remaining

__all__ = ["VERIFY", "ShardDataset"]

VERIFY = ("first", "always", "never")

# Of a field of all samples, so many values are gathered in one call: where they are takes twice their room.
_VALUES_AT_ONCE = 1 << 20


class ShardDataset(SampleReader):
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
        self._hold(folder, ConcatenatedDatasets([Index.open(folder)], verify), split)

    def _hold(self, path: str, collection: ConcatenatedDatasets, split: str | None, chosen: np.ndarray | None = None) -> None:
        """All that it consists of.

        Args:
            path: As it was given.
            collection: Where the samples are.
            split: The split that they are of.
            chosen: The sample ids of a selection; None for all of the split.
        """
        self.path = path
        self.split = split
        self.verify = collection.verify
        self._collection = collection
        self._chosen = chosen
        self._digest: str | None = None
        self._ids = _find_split(collection, split) if chosen is None else chosen

    def _over(self, collection: ConcatenatedDatasets, split: str | None, chosen: np.ndarray | None) -> ShardDataset:
        """A selection."""
        made = object.__new__(ShardDataset)
        path = self.path if len(collection.indexes) == 1 else collection.path
        made._hold(path, collection, split, chosen)
        return made

    def __getstate__(self) -> dict[str, Any]:
        indexes = [(each.path, each.digest) for each in self._opened.indexes]
        return {"indexes": indexes, "split": self.split, "verify": self.verify, "chosen": self._chosen}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Files are opened anew, nothing else is carried.
        collection = ConcatenatedDatasets([Index.find(*each) for each in state["indexes"]], state["verify"])
        self._hold(collection.path, collection, state["split"], state["chosen"])

    def close(self) -> None:
        """Let go of the files. Arrays that were read stay valid; selections that were made from it go on."""
        self._collection = None
        self._ids = self._chosen = None

    def __enter__(self) -> ShardDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def splits(self) -> dict[str, int]:
        """How many samples each split of the dataset has, by name; those of several datasets are added up."""
        sizes: Counter[str] = Counter()
        for index in self._opened.indexes:
            sizes.update({name: int(ids.size) for name, ids in index.splits.items()})
        return dict(sizes)

    @property
    def selected(self) -> np.ndarray | None:
        """`(len,)` int64: the sample ids of a selection; None for a split, or all, of a dataset."""
        return self._chosen

    @property
    def digest(self) -> str:
        """32 hexadecimal digits to log with a run: they stand for all that the dataset holds, and for what was selected of it.

        All splits of a dataset have the same; a selection has one of its own, the same whenever it is of the same sample ids.
        """
        collection, chosen = self._opened, self._chosen
        if chosen is None:
            return collection.digest
        if self._digest is None:
            of = np.frombuffer(bytes.fromhex(collection.digest), np.uint8)
            self._digest = arrays_digest({"digest": of, "ids": chosen})
        return self._digest

    @property
    def index(self) -> Index:
        """The index as it lies on disk, for tools.

        Raises:
            ArgumentError: Where there are several, see `concat`.
        """
        indexes = self._opened.indexes
        if len(indexes) > 1:
            raise ArgumentError(f"{self.path}: these are {len(indexes)} datasets, each has an index of its own")
        return indexes[0]

    def rejected(self) -> list[Rejected]:
        """The files that were found and not packed, with the reason of each."""
        return self._opened.rejected()

    def __repr__(self) -> str:
        selected = "" if self._chosen is None else f": {len(self._chosen)} samples"
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
        return self._over(self._opened, self.split, self.sample_ids(numbers))

    def concat(self, other: ShardDataset) -> ShardDataset:
        """These samples, then the other's, as one dataset; `verify` is this one's.

        Sample ids count on through the datasets: this one's stay, those of another dataset begin where they end, so that
        none is cropped or flipped as another is. Samples of the same dataset keep their ids.

        Raises:
            ArgumentError: Where the other's samples hold other fields or classes.
        """
        if not isinstance(other, ShardDataset):
            raise ArgumentError(f"concat={other!r}: allowed is a ShardDataset")
        mine, its = self._opened, other._opened
        joined, starts = mine.join(its)
        split = self.split if self.split == other.split else None
        here, there = (each.sample_ids(np.arange(len(each))) for each in (self, other))
        return self._over(joined, split, np.concatenate([here, its.moved(there, starts)]))

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
            raise ArgumentError(f"{self.path}: field {field!r} is {form.content} pixels, allowed are {others or 'none'}")
        parts = [self.sample_ids(numbers) for numbers in _in_parts(len(self))]
        if form.is_ragged:
            return [value for ids in parts for value in self._values(form, ids)]
        return np.concatenate([self._values(form, ids) for ids in parts])

    def _field(self, name: str) -> Field:
        if name not in self._opened.fields:
            raise ArgumentError(f"{self.path}: has no field {name!r}, it has {', '.join(self.fields)}")
        return self._opened.fields[name]

    def __len__(self) -> int:
        # Read once: another thread may close meanwhile.
        ids = self._ids
        return self._opened.num_samples if ids is None else int(ids.size)

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
        sample_ids = self.sample_ids(ids)
        self.check(sample_ids)
        values: dict[str, Any] = {}
        for name, each in self._opened.fields.items():
            values[name] = self._decode(each, sample_ids) if each.encoded else self._values(each, sample_ids)
        return values

    def _values(self, field: Field, sample_ids: np.ndarray) -> np.ndarray | list[Any]:
        """A field that is not encoded."""
        if field.is_ragged:
            return [_as_value(field, piece) for piece in self.ragged(field.name, sample_ids)]
        return self._gathered(field, sample_ids)

    def _gathered(self, field: Field, sample_ids: np.ndarray) -> np.ndarray:
        """A field whose samples are as long as each other."""
        values: np.ndarray = np.empty((len(sample_ids), *(length or 0 for length in field.shape)), field.dtype)
        self.gather(field.name, sample_ids, values)
        return values

    def _decode(self, field: Field, sample_ids: np.ndarray) -> np.ndarray | list[np.ndarray]:
        if field.content == "mask":
            images = [reader.decode_mask(field.name, row) for reader, row in self.places(sample_ids)]
        else:
            images = [reader.decode(field.name, row, field.color_mode) for reader, row in self.places(sample_ids)]
        if not images:
            return np.empty((0, *(length or 0 for length in field.shape)), np.uint8)
        return np.stack(images) if len({image.shape for image in images}) == 1 else images

    def stored_bytes(self, number: int, field: str = "image") -> bytes:
        """A field of a sample as it lies on disk: an encoded image, or the numbers of any other, little-endian."""
        form = self._field(field)
        sample_ids = self.sample_ids([number])
        self.check(sample_ids)
        if form.encoded:
            ((reader, row),) = self.places(sample_ids)
            return reader.stored(field, row).tobytes()
        (value,) = self.ragged(field, sample_ids) if form.is_ragged else self._gathered(form, sample_ids)
        return np.asarray(value).tobytes()

    def source(self, number: int) -> str:
        """Where a sample came from: its path below the source folder (`os.fsencode` gives its very bytes)."""
        ((reader, row),) = self.places(self.sample_ids([number]))
        return os.fsdecode(reader.source(row))

    def sample_ids(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """`(n,)` int64 sample ids of `(n,)` numbers that count within the split."""
        # In this order: once closed, there is no index, and what was a split's numbers would pass for sample ids.
        split, collection = self._ids, self._opened
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


def _find_split(collection: ConcatenatedDatasets, split: str | None) -> np.ndarray | Remaining | None:
    """The sample ids of a split of one dataset; None for all that there are."""
    (index,) = collection.indexes
    if split is None or split == "all":
        return index.remaining if index.dropped.size else None
    if split not in index.splits:
        hint = f" (kseq pack --{split} 0.1 makes one)" if split in ("val", "test") else ""
        names = ", ".join([*index.splits, "all"])
        raise ArgumentError(f"{index.path}: has no split {split!r}, it has {names}{hint}")
    return index.splits[split]


def _in_parts(count: int) -> list[np.ndarray]:
    """The numbers from 0 to `count - 1`, in at least one part."""
    return [np.arange(start, min(start + _VALUES_AT_ONCE, count)) for start in range(0, max(count, 1), _VALUES_AT_ONCE)]


def _check_verify(verify: Any) -> None:
    if verify not in VERIFY:
        raise ArgumentError(f"verify={verify!r}: allowed are {', '.join(VERIFY)}")


def _as_value(field: Field, piece: np.ndarray) -> Any:
    """What a user gets of a sample: numbers of their own, or text."""
    return piece.tobytes().decode(errors="replace") if field.content == "text" else piece.copy()
