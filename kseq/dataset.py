"""ShardDataset: any samples of a dataset by number, from any thread or process; no Keras."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kseq.errors import ArgumentError, ClosedError, DamagedError, KseqError, OutOfRangeError
from kseq.fields import Field
from kseq.format import Rejected
from kseq.index import Index
from kseq.parts import Stored
from kseq.shard import ShardReader
from kseq.shards import OpenShards

__all__ = ["VERIFY", "ShardDataset"]

VERIFY = ("first", "always", "never")


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
        if verify not in VERIFY:
            raise ArgumentError(f"verify={verify!r}: allowed are {', '.join(VERIFY)}")
        self.path = os.fspath(path)
        self.split = split
        self.verify = verify
        self._index: Index | None = Index.open(self.path)
        self._open_shards = OpenShards(self._index)
        self._ids = self._find_split(self._index, split)
        # Which samples were found right; touched only where samples are read, so that a billion of them cost no memory.
        self._verified = np.zeros(self._index.num_samples if verify == "first" else 0, bool)

    def _find_split(self, index: Index, split: str | None) -> np.ndarray | None:
        if split is None or split == "all":
            return None
        if split not in index.splits:
            hint = f" (kseq pack --{split} 0.1 makes one)" if split in ("val", "test") else ""
            names = ", ".join([*index.splits, "all"])
            raise ArgumentError(f"{self.path}: has no split {split!r}, it has {names}{hint}")
        return index.splits[split]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._opened.path, "split": self.split, "verify": self.verify, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        digest = state.pop("digest")
        self.__init__(**state)  # type: ignore[misc]  # files are opened anew, nothing else is carried
        if self.digest != digest:
            raise DamagedError(f"{self.path}: has digest {self.digest}, expected is {digest}: it was packed again meanwhile")

    @property
    def _opened(self) -> Index:
        if self._index is None:
            raise ClosedError(f"{self.path}: the dataset was closed")
        return self._index

    @property
    def _shards(self) -> OpenShards:
        shards = self._open_shards
        if shards.process != os.getpid():
            shards = self._open_shards = OpenShards(self._opened)
        return shards

    def close(self) -> None:
        """Let go of the files. Arrays that were read stay valid."""
        self._index = None
        self._ids = None
        self._open_shards.close()

    def __enter__(self) -> ShardDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def classes(self) -> tuple[str, ...]:
        """The class name of each label number."""
        return self._opened.class_names

    @property
    def fields(self) -> dict[str, Field]:
        """What each sample holds, by name."""
        return {each.name: each for each in self._opened.fields}

    @property
    def splits(self) -> dict[str, int]:
        """How many samples each split has, by name."""
        return {name: int(ids.size) for name, ids in self._opened.splits.items()}

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all that the dataset holds: to log with a run."""
        return self._opened.digest

    @property
    def index(self) -> Index:
        """The index as it lies on disk, for tools."""
        return self._opened

    def rejected(self) -> list[Rejected]:
        """The files that were found and not packed, with the reason of each."""
        return self._opened.rejected()

    def __repr__(self) -> str:
        return f"<ShardDataset {self.path!r} {self.split or 'all'}>"

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
        for each in self._opened.fields:
            if each.encoded:
                values[each.name] = self._decode(each, sample_ids)
            elif each.is_ragged:
                values[each.name] = [_as_value(each, piece) for piece in self.ragged(each.name, sample_ids)]
            else:
                values[each.name] = np.empty((len(sample_ids), *each.shape), each.dtype)
                self.gather(each.name, sample_ids, values[each.name])
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
        if field not in self.fields:
            raise ArgumentError(f"{self.path}: has no field {field!r}, it has {', '.join(self.fields)}")
        sample_ids = self.sample_ids([number])
        self.check(sample_ids)
        ((reader, row),) = self.places(sample_ids)
        if self.fields[field].encoded:
            return reader.stored(field, row).tobytes()
        numbers: bytes = (reader.ragged(field, row) if self.fields[field].is_ragged else reader.array(field)[row]).tobytes()
        return numbers

    def source(self, number: int) -> str:
        """Where a sample came from: its path below the source folder (`os.fsencode` gives its very bytes)."""
        ((reader, row),) = self.places(self.sample_ids([number]))
        return os.fsdecode(reader.source(row))

    # What follows takes sample ids, positions in the whole collection: it serves the loader.

    def sample_ids(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """`(n,)` int64 sample ids of `(n,)` numbers that count within the split."""
        # In this order: once closed, there is no index, and what was a split's numbers would pass for sample ids.
        split, index = self._ids, self._opened
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
        index.check_ids(ids)
        return ids.astype(np.int64)

    def check(self, sample_ids: np.ndarray) -> None:
        """Compare the stored bytes of samples with their checksums, if `verify` says that it is time.

        Raises:
            DamagedError: At the first that differs.
        """
        if self.verify == "never":
            return
        if self.verify == "first":
            sample_ids = sample_ids[~self._verified[sample_ids]]
        for reader, row in self.places(sample_ids):
            reader.check_row(row)
        if self.verify == "first":
            self._verified[sample_ids] = True

    def gather(self, field: str, sample_ids: np.ndarray, out: np.ndarray) -> None:
        """Copy a field that is not encoded into `out`, one row per sample id, in a single call that holds no GIL.

        Args:
            field: Its name (or, of an encoded field, `name/size`).
            sample_ids: `(n,)` int64 that exist.
            out: `(n, ...)` of the field's dtype and shape, C-contiguous.
        """
        self._shards.take(field, *self._locate(sample_ids), out)

    def sizes(self, field: str, sample_ids: np.ndarray) -> np.ndarray:
        """`(n, 2)` int64: height and width of images or masks, upright."""
        form = self.fields[field]
        if not form.encoded:
            return np.tile(np.array(form.shape[:2], np.int64), (len(sample_ids), 1))
        found = np.empty((len(sample_ids), 2), "<u4")
        self.gather(f"{field}/size", sample_ids, found)
        return found.astype(np.int64)

    def counts(self, field: str, sample_ids: np.ndarray) -> np.ndarray:
        """`(n,)` int64: how many elements each sample has of a field whose samples differ in length."""
        places, edges = self._locate(sample_ids), np.empty((2, len(sample_ids)), "<u8")
        for more, edge in enumerate(edges):
            self._shards.take(f"{field}/offsets", places[0], places[1] + more, edge)
        # Of broken offsets: what reading them will complain of, not a length to make room for.
        return np.maximum(np.diff(edges.astype(np.int64), axis=0)[0], 0)

    def ragged(self, field: str, sample_ids: np.ndarray) -> list[np.ndarray]:
        """A field whose samples differ in length: for each sample `(count, ...)`, a view of the file.

        Raises:
            DamagedError: Where offsets are broken.
        """
        return self._shards.pieces(f"{field}/values", f"{field}/offsets", *self._locate(sample_ids))

    def stored(self, field: str, sample_ids: np.ndarray) -> Stored:
        """Encoded images as they are stored, without a copy of their bytes.

        Args:
            field: The name of an encoded field.
            sample_ids: `(n,)` int64 that exist.

        Raises:
            DamagedError: Where offsets are broken.
        """
        places, shards = self._locate(sample_ids), self._shards
        sizes, orientations = np.empty((len(sample_ids), 2), "<u4"), np.empty(len(sample_ids), np.uint8)
        shards.take(f"{field}/size", *places, sizes)
        shards.take(f"{field}/orientation", *places, orientations)
        data = shards.pieces(f"{field}/bytes", f"{field}/offsets", *places)
        tiles = shards.pieces(f"{field}/tiles", f"{field}/tile_offsets", *places)
        return Stored(data, sizes.astype(np.int64), orientations, tiles)

    def at(self, sample_id: int, error: KseqError) -> KseqError:
        """The same error, with the place and the source of the sample that it is about."""
        ((reader, row),) = self.places(np.array([sample_id]))
        return reader.at(row, error)

    def will_need(self, sample_ids: np.ndarray) -> None:
        """Ask the operating system to read samples from the disk soon, without waiting for it.

        Args:
            sample_ids: `(n,)` int64 that exist.
        """
        numbers, rows = self._locate(np.sort(sample_ids))
        breaks = np.flatnonzero(np.diff(numbers)) + 1
        shards = self._shards
        for number, chosen in zip(numbers[[0, *breaks]].tolist(), np.split(rows, breaks), strict=True):
            shards.get(number).will_need(chosen)

    def places(self, sample_ids: np.ndarray) -> Iterator[tuple[ShardReader, int]]:
        """For each sample id, when its turn comes, the shard that holds it and its row there."""
        numbers, rows = self._locate(sample_ids)
        shards = self._shards
        return ((shards.get(number), row) for number, row in zip(numbers.tolist(), rows.tolist(), strict=True))

    def _locate(self, sample_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts = self._opened.starts
        shards = np.searchsorted(starts, sample_ids, side="right") - 1
        return shards, sample_ids - starts[shards]


def _as_value(field: Field, piece: np.ndarray) -> Any:
    """What a user gets of a sample: numbers of their own, or text."""
    return piece.tobytes().decode(errors="replace") if field.content == "text" else piece.copy()
