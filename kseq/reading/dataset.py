"""ShardDataset: any samples of a dataset by position, from any thread or process; no Keras."""

from __future__ import annotations

import itertools
import operator
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kseq.arguments import choice, is_url, path_or_url, shown_url, spelled, spelled_call
from kseq.errors import ArgumentError, ClosedError, OutOfRangeError
from kseq.reading.box_counts import count_boxes
from kseq.reading.concatenated import ConcatenatedDatasets
from kseq.reading.label_counts import SplitCounts, add_counts, count_dataset
from kseq.reading.sample_reader import LocatedSamples, SampleReader
from kseq.reading.where import matching
from kseq.reading.where_text import parse_conditions
from kseq.storage.box_counts import BoxCounts
from kseq.storage.checksums import arrays_digest
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.opener import READ
from kseq.storage.rejected import Rejected
from kseq.storage.remaining_ids import Remaining
from kseq.storage.remote_folder import RemoteFolder, open_remote_folder

__all__ = [
    "VERIFY",
    "ShardDataset",
    "check_no_remote_arguments",
    "from_state",
    "open_remote",
    "reopen",
    "sample_reader",
    "selected_ids",
    "state_for_workers",
    "without_samples",
]

VERIFY = ("first", "always", "never")

# So many values of a field are gathered in one call: the shard and the row of each take twice the memory of its sample id.
_VALUES_AT_ONCE = 1 << 20
# So many sources are read in one go.
_SOURCES_AT_ONCE = 1 << 14


class ShardDataset:
    """The samples of a packed dataset, or of one of its splits, by position.

    Safe to use from many threads at once, after a fork, and in another process through pickle.

    Args:
        path: The dataset's folder, or its URL, such as `s3://bucket/flowers`, `https://host/flowers`, `gs://...`, `hf://...`:
            whatever fsspec has a package for.
        split: The name of a split: positions then count within it, from 0 to `len - 1`. None for all samples.
        verify: When a sample's bytes are compared with the checksum that was stored when it was packed:
            `"first"` (the first time this object reads the sample, unless it has fetched the shard from a URL and so compared
            all of it), `"always"` or `"never"`.
        read: How bytes come from the files. `"map"` maps the files into memory, the fastest way; if the disk fails or a file
            shrinks meanwhile, the operating system ends the process (SIGBUS), after a line that names it. `"pread"` asks for
            the bytes of each batch: a failure is a `ReadError` or `DamagedError` that names shard and sample, and the index,
            8 bytes a sample for each split, is read into memory. `"auto"` takes `"pread"` on NFS, SMB, Lustre, FUSE and the
            like, `"map"` elsewhere.
        cache_dir: Of a URL: the folder of this machine for copies of its shards, which any number of processes and datasets may
            share. None for the custom of the platform, on Linux `$XDG_CACHE_HOME/kseq` or `~/.cache/kseq`. A shard is fetched
            when its first sample is needed, checked with its digest, and then read as a local one.
        cache_bytes: Of a URL: how many bytes all copies in that folder may take, with what this process is fetching; those that
            were used least recently go first. None for what the disk has, but for a twentieth (what was used in the last hour
            stays even then). 0 for no copies: then the bytes of the samples are asked for, many ranges at once.
        storage_options: Of a URL: what fsspec's file system gets, such as `{"key": ..., "secret": ...}`, and `deadline`: after
            so many seconds a request that fails again and again is an error, 120 by default. It goes along when the dataset is
            pickled, and is never part of a text.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        DamagedError: If its index is damaged.
        FormatError: If it was written by a newer kseq, or holds what the format does not allow.
        ArgumentError: If there is no such split.

    Examples:
        >>> dataset = kseq.ShardDataset("flowers", "train")
        >>> sample = dataset[0]
        >>> sample["image"].shape, sample["label"], dataset.class_names[sample["label"]]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str | None = None,
        *,
        verify: str = "first",
        read: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        _check_choices(verify, read)
        folder = path_or_url("path", path)
        remote = open_remote(folder, cache_dir, cache_bytes, storage_options)
        index = Index.open(folder, read=read, remote=remote)
        self._hold(shown_url(folder) if remote else folder, SampleReader(ConcatenatedDatasets([index]), verify), split)

    def _hold(self, path: str, reader: SampleReader, split: str | None, selected: np.ndarray | None = None) -> None:
        """Set all that a dataset consists of.

        Args:
            path: The folder, as the user wrote it.
            reader: Reads the samples, by sample id.
            split: The split that the samples are of.
            selected: The sample ids of a selection; None for all of the split.
        """
        self._path = path
        self._split = split
        self._verify = reader.verify
        self._reader: SampleReader | None = reader
        self._selected = selected
        self._digest: str | None = None
        self._ids = _find_split(reader.collection, split) if selected is None else selected

    def _select(self, reader: SampleReader, split: str | None, selected: np.ndarray) -> ShardDataset:
        """A dataset of some samples, whose files stay open for all datasets of the same reader."""
        selection = object.__new__(ShardDataset)
        path = self._path if len(reader.collection.indexes) == 1 else reader.collection.path
        selection._hold(path, reader, split, selected)
        return selection

    @property
    def _samples(self) -> SampleReader:
        if self._reader is None:
            raise ClosedError(f"{self._path}: the dataset was closed")
        return self._reader

    @property
    def _collection(self) -> ConcatenatedDatasets:
        return self._samples.collection

    def __getstate__(self) -> dict[str, Any]:
        indexes = [(index.path, index.digest, index.read, index.remote) for index in self._collection.indexes]
        return {"indexes": indexes, "split": self._split, "verify": self._verify, "selected": self._selected}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The files are opened anew: no map or file descriptor crosses to another process.
        headers = state.get("headers", itertools.repeat(None))
        known = zip(state["indexes"], headers, strict=False)
        opened = [Index.find(path, digest, header, read, remote) for (path, digest, read, remote), header in known]
        collection = ConcatenatedDatasets(opened)
        self._hold(collection.path, SampleReader(collection, state["verify"]), state["split"], state["selected"])

    def close(self) -> None:
        """Let go of the files. Arrays that were read stay valid, and selections of this dataset stay open."""
        self._reader = None
        self._ids = self._selected = None

    def __enter__(self) -> ShardDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        selected = "" if self._selected is None else f": {len(self._selected)} samples"
        opened = () if self._reader is None else self._reader.collection.indexes
        by_pread = ", read='pread'" if any(index.read == "pread" for index in opened) else ""
        return f"<ShardDataset {self._path!r} {self._split or 'all'}{selected}{by_pread}>"

    # What the dataset is.

    @property
    def path(self) -> str:
        """The dataset's folder, as it was passed, or its URL without credentials.

        Of concatenated datasets, the folders with ` + ` between them.
        """
        return self._path

    @property
    def split(self) -> str | None:
        """The name of the split that the samples are of; None for all samples."""
        return self._split

    @property
    def verify(self) -> str:
        """When stored bytes are compared with their checksums: `"first"`, `"always"` or `"never"`."""
        return self._verify

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class name of each label number."""
        return self._collection.class_names

    @property
    def fields(self) -> dict[str, Field]:
        """What each sample holds, by name."""
        return dict(self._samples.fields)

    @property
    def splits(self) -> dict[str, int]:
        """Split name to the number of its samples, for all splits of the dataset; concatenated datasets are added up."""
        sizes: Counter[str] = Counter()
        for index in self._collection.indexes:
            sizes.update({name: int(ids.size) for name, ids in index.splits.items()})
        return dict(sizes)

    @property
    def num_shards(self) -> int:
        """The number of shards of the dataset, whichever split was opened."""
        return self._collection.num_shards

    @property
    def num_bytes(self) -> int:
        """The size of all shards of the dataset, in bytes, whichever split was opened."""
        return self._collection.num_bytes

    @property
    def digest(self) -> str:
        """32 hexadecimal digits to log with a run: they stand for all that the dataset holds, and for what was selected of it.

        All splits of a dataset have the same digest; a selection has one of its own, the same for the same sample ids.
        """
        collection, selected = self._collection, self._selected
        if selected is None:
            return collection.digest
        if self._digest is None:
            dataset_digest = np.frombuffer(bytes.fromhex(collection.digest), np.uint8)
            self._digest = arrays_digest({"digest": dataset_digest, "ids": selected})
        return self._digest

    @property
    def settings(self) -> dict[str, Any]:
        """The image settings that the dataset was packed with, by the names of their arguments.

        Raises:
            ArgumentError: If concatenated datasets were packed with different settings.
        """
        first, *others = (index.parse_settings() for index in self._collection.indexes)
        if any(settings != first for settings in others):
            raise ArgumentError(f"{self._path}: the datasets were packed with different settings: open one of them")
        return dict(first)

    @property
    def changes(self) -> tuple[str, ...]:
        """What was done to the dataset since it was packed: a line for each change, the earliest first."""
        return tuple(change for index in self._collection.indexes for change in index.changes)

    @property
    def packing_notes(self) -> tuple[str, ...]:
        """What was worth knowing when the samples were packed, a line each: what was guessed, notes of images, duplicates."""
        return tuple(note for index in self._collection.indexes for note in index.packing_notes())

    @property
    def dropped(self) -> np.ndarray:
        """`(n,)` int64: the sample ids that `kseq.drop` took out of all splits, rising."""
        collection = self._collection
        dropped = [
            index.dropped.astype(np.int64) + start
            for index, start in zip(collection.indexes, collection.id_starts.tolist(), strict=False)
        ]
        return np.concatenate(dropped)

    def rejected(self) -> list[Rejected]:
        """The files that were found and not packed, with the reason for each."""
        return self._collection.rejected()

    def counts(self) -> SplitCounts:
        """How many samples each split of the dataset has, and how many of each class; concatenated datasets are added up.

        Raises:
            DamagedError: If a shard is damaged, or a split or label is not what it must be.
        """
        return add_counts([count_dataset(index) for index in self._collection.indexes])

    def box_counts(self) -> BoxCounts | None:
        """How many boxes each split of the dataset has, how many of each class, and what packing left out; concatenated
        datasets are added up.

        Returns:
            None if samples have no boxes.

        Raises:
            DamagedError: If a shard is damaged, or a split is not what it must be.
        """
        return count_boxes(self._collection)

    # Selections: other samples of the same files.

    def where(self, *texts: str, **conditions: Any) -> ShardDataset:
        """The samples for which all of some conditions on their fields hold, in their order here.

        Args:
            texts: Conditions as text: `"label=rose"`, `"label=rose,daisy"` (one of several), `"height>0.5"` (also `<`, `<=`,
                `>=`, for numbers).
            conditions: Field name to the value that the field must have, to a list of values of which it must have one, or to
                a function that takes the field's `values` and returns `(len,)` bool. A class is named by its name or its
                number. If a sample has several values in a field, one of them is enough.

        Returns:
            A dataset whose positions count within the selection. It takes 8 bytes of memory a sample.

        Raises:
            ArgumentError: If there is no such field or class, or a condition does not go with its field.

        Examples:
            >>> pets = dataset.where(label=["cat", "dog"])
            >>> tall = dataset.where(height=lambda values: values > 0.5)
            >>> tall = dataset.where("height>0.5")
        """
        parsed = parse_conditions(texts, self._samples.fields, self.class_names)
        is_kept = np.ones(len(self), bool)
        for name, condition in [*parsed.items(), *conditions.items()]:
            is_kept &= matching(self._field(name), self.class_names, self.values(name), condition)
        return self.take(np.flatnonzero(is_kept))

    def take(self, positions: Sequence[int] | np.ndarray) -> ShardDataset:
        """Some of the samples, in the order of `positions`; a position that comes several times gives its sample several times.

        Args:
            positions: `(n,)` whole numbers in [0, len).

        Raises:
            OutOfRangeError: If a position is not in [0, len).
        """
        return self._select(self._samples, self._split, self.sample_ids(positions))

    def concat(self, other: ShardDataset) -> ShardDataset:
        """These samples, then those of `other`, as one dataset; `verify` is that of this one.

        Sample ids count on through the datasets: those of this one stay, those of another dataset begin where they end, so that
        augmentation draws for each sample separately. Samples of the same dataset keep their ids.

        Raises:
            ArgumentError: If the samples of `other` hold other fields or classes.
        """
        if not isinstance(other, ShardDataset):
            raise ArgumentError(f"{spelled('other', other)}: allowed is a ShardDataset")
        reader = self._samples
        joined, starts = reader.collection.join(other._collection)
        if joined is not reader.collection:
            reader = SampleReader(joined, self._verify)
        split = self._split if self._split == other._split else None
        ids, other_ids = (dataset.sample_ids(np.arange(len(dataset))) for dataset in (self, other))
        return self._select(reader, split, np.concatenate([ids, other._collection.move_ids(other_ids, starts)]))

    # Samples.

    def __len__(self) -> int:
        # Read once: another thread may close the dataset meanwhile.
        ids = self._ids
        return self._collection.num_samples if ids is None else int(ids.size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> dict[str, Any]:
        """One sample: field name to value, as `read` returns it for several.

        Raises:
            OutOfRangeError: If `position` is not in [-len, len).
            DamagedError: If the stored bytes have changed.
        """
        position, count = operator.index(position), len(self)
        if not -count <= position < count:
            raise OutOfRangeError(f"{self._path}: sample {position} is not in [-{count}, {count})")
        values = self.read([position % count])
        return {name: value[0] for name, value in values.items()}

    def read(self, positions: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Samples by position, in the order of `positions`, repeats included.

        Args:
            positions: `(n,)` whole numbers in [0, len).

        Returns:
            Field name to an array of `(n, ...)`; images are `(n, height, width, channels)` uint8 (or of the dtype that they
            were packed as), upright, or a list of `(height, width, channels)` if their sizes differ. A field whose samples
            differ in length is a list of arrays (of boxes: `(count, 4)` float32), text a list of str.

        Raises:
            OutOfRangeError: If a position is not in [0, len).
            DamagedError: If stored bytes have changed, or a shard is missing or is another.
        """
        samples = self._samples.locate(self.sample_ids(positions))
        samples.check()
        return {
            name: _decode(field, samples) if field.encoded else _values(field, samples)
            for name, field in self._samples.fields.items()
        }

    def values(self, field: str) -> np.ndarray | list[Any]:
        """One field of all samples, as `read` returns it, for fields that are no pixels. Checksums are not compared.

        Raises:
            ArgumentError: If there is no such field, or it is an image or a mask.
        """
        form = self._field(field)
        if form.is_pixels:
            others = ", ".join(name for name, other in self.fields.items() if not other.is_pixels)
            raise ArgumentError(f"{self._path}: field {field!r} is {form.kind} pixels, allowed are {others or 'none'}")
        parts = [self._samples.locate(self.sample_ids(positions)) for positions in _parts(len(self), _VALUES_AT_ONCE)]
        if form.is_ragged:
            return [value for samples in parts for value in _values(form, samples)]
        return np.concatenate([_values(form, samples) for samples in parts])

    def stored_bytes(self, position: int, field: str = "image") -> bytes:
        """A field of a sample as it is stored: an encoded image, or the numbers of any other field, little-endian.

        Raises:
            OutOfRangeError: If `position` is not in [0, len).
            ArgumentError: If there is no such field.
            DamagedError: If the stored bytes have changed.
        """
        form = self._field(field)
        samples = self._samples.locate(self.sample_ids([position]))
        samples.check()
        if form.encoded:
            ((reader, row),) = samples
            return reader.stored(field, row).tobytes()
        (value,) = samples.pieces(field) if form.is_ragged else samples.values(field)
        return np.asarray(value).tobytes()

    def source(self, position: int) -> str:
        """Where a sample came from: its path below the source folder (`os.fsencode` returns the very bytes).

        Raises:
            OutOfRangeError: If `position` is not in [0, len).
        """
        (source,) = self._samples.locate(self.sample_ids([position])).sources()
        return os.fsdecode(source)

    def sources(self) -> Iterator[str]:
        """Where all samples came from, in their order, as `source` returns it for one."""
        for positions in _parts(len(self), _SOURCES_AT_ONCE):
            for source in self._samples.locate(self.sample_ids(positions)).sources():
                yield os.fsdecode(source)

    def sample_ids(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """`(n,)` int64 sample ids of the samples at `positions`, `(n,)` whole numbers in [0, len).

        A sample id is a position in the whole dataset, dropped samples included; it stays the same in all splits.

        Raises:
            OutOfRangeError: If a position is not in [0, len).
        """
        # In this order: once the dataset is closed, positions in a split would pass for sample ids.
        split, collection = self._ids, self._collection
        asked = np.asarray(positions)
        if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
            raise ArgumentError(f"positions are {asked.dtype} {asked.shape}, allowed are whole numbers in one dimension")
        if asked.size and not (asked.min() >= 0 and asked.max() < len(self)):
            wrong = asked[(asked < 0) | (asked >= len(self))][0]
            raise OutOfRangeError(f"{self._path}: sample {wrong} is not in [0, {len(self)})")
        asked = asked.astype(np.int64)
        if split is None:
            return asked
        ids = split[asked]
        collection.check_ids(ids)
        return ids.astype(np.int64)

    def split_ids(self, split: str) -> np.ndarray:
        """`(n,)` int64: the sample ids of a split of the dataset, in the order of its positions.

        Raises:
            ArgumentError: If there is no such split, or the dataset is a concatenation of several.
        """
        collection = self._collection
        if len(collection.indexes) > 1:
            raise ArgumentError(f"{self._path}: these are {len(collection.indexes)} datasets, each has splits of its own")
        ids = _find_split(collection, split)
        if ids is None:
            return np.arange(collection.num_samples)
        ids = ids[np.arange(ids.size)]
        collection.check_ids(ids)
        return ids.astype(np.int64)

    def _field(self, name: str) -> Field:
        if name not in self._samples.fields:
            raise ArgumentError(f"{self._path}: has no field {name!r}, it has {', '.join(self.fields)}")
        return self._samples.fields[name]


# The way of kseq's other packages to more of a dataset than its users see.


def open_remote(
    path: str,
    cache_dir: str | os.PathLike[str] | None,
    cache_bytes: int | None,
    storage_options: Mapping[str, Any] | None,
) -> RemoteFolder | None:
    """The folder under a URL, by the arguments of `ShardDataset`; None for a folder of this machine.

    Raises:
        ArgumentError: If an argument is not allowed, or does not go with a folder of this machine.
    """
    if is_url(path):
        return open_remote_folder(path, storage_options, cache_dir, cache_bytes)
    check_no_remote_arguments(path, cache_dir, cache_bytes, storage_options)
    return None


def check_no_remote_arguments(found: str, cache_dir: Any, cache_bytes: Any, storage_options: Any) -> None:
    """Raise ArgumentError if an argument was given that is for URLs alone, and `found` is none."""
    given = {"cache_dir": cache_dir, "cache_bytes": cache_bytes, "storage_options": storage_options}
    for name, value in given.items():
        if value is not None:
            raise ArgumentError(f"{name} is given: goes with the URL of a dataset, {found} is a folder of this machine")


def sample_reader(dataset: ShardDataset) -> SampleReader:
    """What reads the samples of a dataset by sample id.

    Raises:
        ClosedError: If the dataset was closed.
    """
    return dataset._samples


def selected_ids(dataset: ShardDataset) -> np.ndarray | None:
    """`(len,)` int64: the sample ids of a selection; None for a split, or for all samples, of a dataset."""
    return dataset._selected


def without_samples(dataset: ShardDataset) -> ShardDataset:
    """The same files for who has sample ids already: a dataset of no sample, which is small when it goes to another process."""
    return dataset._select(dataset._samples, dataset._split, np.empty(0, np.int64))


def reopen(dataset: ShardDataset, verify: str, read: str = "auto") -> ShardDataset:
    """The same samples through other open files, so that either dataset may be closed without the other.

    Args:
        dataset: The dataset.
        verify: As for `ShardDataset`.
        read: As for `ShardDataset`; `"auto"` reads as `dataset` does.

    Raises:
        ArgumentError: If `verify` or `read` is not allowed.
    """
    _check_choices(verify, read)
    state = dataset.__getstate__()
    if read != "auto":
        state["indexes"] = [(path, digest, read, remote) for path, digest, _, remote in state["indexes"]]
    return from_state({**state, "verify": verify})


def state_for_workers(dataset: ShardDataset) -> dict[str, Any]:
    """What a process on this machine needs to open a dataset without parsing a file; `from_state` opens it."""
    return {**dataset.__getstate__(), "headers": [index.header for index in dataset._collection.indexes]}


def from_state(state: dict[str, Any]) -> ShardDataset:
    """The dataset of which `state_for_workers` told the state."""
    dataset = object.__new__(ShardDataset)
    dataset.__setstate__(state)
    return dataset


def _find_split(collection: ConcatenatedDatasets, split: str | None) -> np.ndarray | Remaining | None:
    """The sample ids of a split of one dataset; None for all that there are."""
    (index,) = collection.indexes
    if split is None or split == "all":
        return index.remaining if index.dropped.size else None
    if not isinstance(split, str) or split not in index.splits:
        hint = f" ({spelled_call('split', index.path, **{split: 0.1})} makes one)" if split in ("val", "test") else ""
        names = ", ".join([*index.splits, "all"])
        raise ArgumentError(f"{index.path}: has no split {split!r}, it has {names}{hint}")
    return index.splits[split]


def _parts(count: int, most: int) -> list[np.ndarray]:
    """The positions from 0 to `count - 1`, in parts of at most `most`, at least one part."""
    return [np.arange(start, min(start + most, count)) for start in range(0, max(count, 1), most)]


def _check_choices(verify: Any, read: Any) -> None:
    choice("verify", verify, VERIFY)
    choice("read", read, READ)


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
