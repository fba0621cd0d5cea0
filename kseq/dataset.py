"""ShardDataset: any samples of a dataset by number, from any thread or process; no Keras."""

from __future__ import annotations

import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kseq.errors import ArgumentError, ClosedError, DamagedError, ImageError, OutOfRangeError
from kseq.fields import Field
from kseq.format import Rejected, shard_name
from kseq.hdf5 import Layout
from kseq.images import decode
from kseq.index import Index
from kseq.shard import ShardReader

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
        self._shards = _OpenShards(self._index)
        self._ids = self._find_split(self._index, split)
        self._arrays = {each.name: each for each in self._index.fields if not each.encoded}

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

    def close(self) -> None:
        """Let go of the files. Arrays that were read stay valid."""
        self._index = None
        self._ids = None
        self._shards.close()

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
        return self._opened.num_samples if self._ids is None else int(self._ids.size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample: field name to value; an image is `(height, width, channels)` uint8, upright.

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
            Field name to an array of `(n, ...)`; images are `(n, height, width, channels)` uint8, or a list of
            `(height, width, channels)` where their sizes differ.

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
            else:
                values[each.name] = np.empty((len(sample_ids), *each.shape), each.dtype)
                self.gather(each.name, sample_ids, values[each.name])
        return values

    def _decode(self, field: Field, sample_ids: np.ndarray) -> np.ndarray | list[np.ndarray]:
        images = [self.decode(field.name, sample_id, field.color_mode) for sample_id in sample_ids.tolist()]
        if not images:
            return np.empty((0, *(length or 0 for length in field.shape)), np.uint8)
        return np.stack(images) if len({image.shape for image in images}) == 1 else images

    def stored_bytes(self, number: int, field: str = "image") -> bytes:
        """An encoded image as it lies on disk (of a raw one: its pixels)."""
        if field not in self.fields:
            raise ArgumentError(f"{self.path}: has no field {field!r}, it has {', '.join(self.fields)}")
        sample_ids = self.sample_ids([number])
        self.check(sample_ids)
        reader, row = self._reader(int(sample_ids[0]))
        if self.fields[field].encoded:
            return reader.stored(field, row).tobytes()
        pixels: bytes = reader.array(field)[row].tobytes()
        return pixels

    def source(self, number: int) -> str:
        """Where a sample came from: its path below the source folder (`os.fsencode` gives its very bytes)."""
        reader, row = self._reader(int(self.sample_ids([number])[0]))
        return os.fsdecode(reader.source(row))

    # What follows takes sample ids, positions in the whole collection: it serves the loader.

    def sample_ids(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """`(n,)` int64 sample ids of `(n,)` numbers that count within the split."""
        asked = np.asarray(numbers)
        if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
            raise ArgumentError(f"ids are {asked.dtype} {asked.shape}, allowed are whole numbers in one dimension")
        if asked.size and not (asked.min() >= 0 and asked.max() < len(self)):
            wrong = asked[(asked < 0) | (asked >= len(self))][0]
            raise OutOfRangeError(f"{self.path}: sample {wrong} is not in [0, {len(self)})")
        positions = asked.astype(np.int64)
        if self._ids is None:
            return positions
        ids = self._ids[positions]
        self._opened.check_ids(ids)
        return ids.astype(np.int64)

    def check(self, sample_ids: np.ndarray) -> None:
        """Compare the stored bytes of samples with their checksums, if `verify` says that it is time.

        Raises:
            DamagedError: At the first that differs.
        """
        if self.verify == "never":
            return
        shards, rows = self._locate(sample_ids)
        # Not numpy.unique: it imports numpy.ma when first called, which hangs in a child forked meanwhile.
        for number in sorted(set(shards.tolist())):
            reader = self._shards.get(number)
            chosen = rows[shards == number]
            if self.verify == "first":
                reader.check_new_rows(chosen)
            else:
                reader.check_rows(chosen.tolist())

    def gather(self, field: str, sample_ids: np.ndarray, out: np.ndarray) -> None:
        """Copy a field that is not encoded into `out`, one row per sample id.

        One `numpy.take` per shard: a single call that holds no GIL.

        Args:
            field: Its name (or, of an encoded field, `name/size`).
            sample_ids: `(n,)` int64 that exist.
            out: `(n, ...)` of the field's dtype and shape, C-contiguous.
        """
        if not len(sample_ids):
            return
        shards, rows = self._locate(sample_ids)
        order = np.argsort(shards, kind="stable")
        sorted_shards = shards[order]
        starts = np.flatnonzero(np.diff(sorted_shards, prepend=-1)).tolist()
        in_place = len(starts) == 1 or bool((order[1:] > order[:-1]).all())
        grouped = out if in_place else _scratch.array(out.shape, out.dtype)
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            reader = self._shards.get(int(sorted_shards[start]))
            np.take(reader.array(field), rows[order[start:end]], axis=0, out=grouped[start:end], mode="clip")
        if not in_place:
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            np.take(grouped, back, axis=0, out=out, mode="clip")

    def decode(self, field: str, sample_id: int, color_mode: str, out: np.ndarray | None = None) -> np.ndarray:
        """`(height, width, channels)` uint8 pixels of an encoded image, upright; decoded into `out` if given."""
        reader, row = self._reader(sample_id)
        try:
            orientation = int(reader.array(f"{field}/orientation")[row])
            return decode(reader.stored(field, row), color_mode, orientation, out)
        except ImageError as error:
            raise ImageError(f"{reader.path}: row {row} ({os.fsdecode(reader.source(row))!r}): {error}") from error

    def pixels(self, field: str, sample_id: int) -> np.ndarray:
        """`(height, width, channels)` uint8 pixels of a raw image: a read-only view of the file."""
        reader, row = self._reader(sample_id)
        view: np.ndarray = reader.array(field)[row]
        return view

    def _reader(self, sample_id: int) -> tuple[ShardReader, int]:
        """The shard that holds a sample, and its row there."""
        shards, rows = self._locate(np.array([sample_id]))
        return self._shards.get(int(shards[0])), int(rows[0])

    def _locate(self, sample_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts = self._opened.starts
        shards = np.searchsorted(starts, sample_ids, side="right") - 1
        return shards, sample_ids - starts[shards]


class _OpenShards:
    """The shards of a dataset: opened when first needed, the least recently used closed when there are many.

    What h5py found out about a shard is kept, so that opening it again is one `open` and one `mmap`.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._fields = index.fields
        self._most = _most_open_files()
        self._start()

    def _start(self) -> None:
        self._open: OrderedDict[int, ShardReader] = OrderedDict()
        self._layouts: dict[int, Layout] = {}
        # Guards `_open` and `_layouts`; files are opened outside it.
        self._lock = threading.Lock()
        # Last: whoever finds its own process here may take the lock.
        self._process = os.getpid()

    def get(self, number: int) -> ShardReader:
        if self._process != os.getpid():
            # The lock may have been held by a thread that the fork left behind.
            self._start()
        with self._lock:
            reader = self._open.get(number)
            if reader is not None:
                self._open.move_to_end(number)
                return reader
            layout = self._layouts.get(number)
        index = self._index
        path = os.path.join(index.path, shard_name(number))
        opened = ShardReader(path, self._fields, index.dataset_id, number, index.entry(number), layout)
        with self._lock:
            self._layouts[number] = opened.layout
            reader = self._open.setdefault(number, opened)
            while len(self._open) > self._most:
                self._open.popitem(last=False)
        return reader

    def close(self) -> None:
        self._start()


def _most_open_files() -> int:
    """A quarter of the files that this process may have open: each mapped shard holds one."""
    try:
        import resource
    except ImportError:
        return 256
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1024 if limit == resource.RLIM_INFINITY else max(4, min(1024, limit // 4))


class _Scratch(threading.local):
    """Memory that one thread uses again and again: fresh pages cost more than the copy into them."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        num_bytes = int(np.prod(shape)) * dtype.itemsize
        if self._memory.size < num_bytes:
            self._memory = np.empty(num_bytes, np.uint8)
        return self._memory[:num_bytes].view(dtype).reshape(shape)


_scratch = _Scratch()
