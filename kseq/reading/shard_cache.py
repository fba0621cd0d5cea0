"""The shards of datasets, each opened when it is first needed."""

from __future__ import annotations

import functools
import math
import mmap
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from kseq.errors import DamagedError, ReadError
from kseq.platforms.maps import Span, maps_keep_descriptors, most_descriptors, most_maps
from kseq.reading.row_table import UNKNOWN, RowTable, row_bytes
from kseq.reading.shrunk_shards import name_shrunk_shards
from kseq.storage.field_kinds.base import RowArray
from kseq.storage.index import Index
from kseq.storage.open_shard import fetch_shard, has_shard, open_shard
from kseq.storage.remote_ranges import RemoteSource, read_together
from kseq.storage.shard_reader import ShardReader
from kseq.threads import ThreadPool

__all__ = ["FETCHED_AT_ONCE", "ShardCache"]

# So many shards are fetched at once.
FETCHED_AT_ONCE = 8

# So many samples of a variable-size array are copied out of the file at a time.
_SAMPLES_AT_ONCE = 1 << 16

# The caches whose shards keep descriptors, by their ids: a process may have few, and all its datasets share them. Each call of
# this dict's is one step for all threads, so that it needs no lock, which a fork could leave taken.
_KEEPERS: dict[int, weakref.ref[ShardCache]] = {}


class ShardCache:
    """The shards of one or several datasets, numbered through all datasets.

    A shard is opened when it is first needed. If there are more shards than may be open at once, the least recently used one is
    closed. Where open shards keep descriptors, the objects of this process that have shards open share what there is evenly. An
    array that an index has as a column is read from the index, whatever the shards hold under that name.

    If all shards may be open at once, they are mapped side by side into one span of addresses, each at a multiple of the size
    of a row. To numpy, the rows of a field in all shards are then one array, and one `numpy.take` gathers a batch from any of
    them. (The "rows" between two shards are no samples, and no sample id leads to them.)

    The index says where everything lies in a shard, so that opening one is one `open`, one `read` and one `mmap`.

    Args:
        indexes: The index of each dataset. All samples hold the same fields.

    Attributes:
        process: The id of the process that made the object. Another process needs an object of its own.
        first_ids: `(shards + 1,)` int64: the sample id at which each shard begins; the last is the number of samples.
        is_remote: Whether any of the datasets lies under a URL.
        was_checked: `(shards,)` bool: which shards this process fetched, and compared with their digests byte for byte.
    """

    def __init__(self, indexes: Sequence[Index]) -> None:
        # A forked child cannot use the object: a thread that the child does not have may hold the lock.
        self.process = os.getpid()
        self._indexes = tuple(indexes)
        # The shard number at which each dataset begins; the last is the number of shards.
        self._first_shards = np.cumsum([0, *(index.num_shards for index in self._indexes)])
        id_starts = np.cumsum([0, *(index.num_samples for index in self._indexes)])
        starts = [index.starts[:-1] + start for index, start in zip(self._indexes, id_starts, strict=False)]
        self.first_ids = np.concatenate([*starts, id_starts[-1:]])
        self._columns = {name for index in self._indexes for name in index.columns}
        is_mapped = all(index.read == "map" for index in self._indexes)
        self._keeps_descriptors = not is_mapped or maps_keep_descriptors()
        self._most_open = most_descriptors() if self._keeps_descriptors else most_maps()
        # Only a shard that is closed gives its place on the disk back, once it was removed from the cache of local copies.
        self._most_open = min([self._most_open, *filter(None, map(_most_copies, self._indexes))])
        self.is_remote = any(index.remote is not None for index in self._indexes)
        self.was_checked = np.zeros(self.num_shards if self.is_remote else 0, bool)
        self._reads_ranges = any(index.remote is not None and index.remote.cache is None for index in self._indexes)
        if self._keeps_descriptors:
            key = id(self)
            _KEEPERS[key] = weakref.ref(self, lambda _: _KEEPERS.pop(key, None))
        self._open: OrderedDict[int, ShardReader] = OrderedDict()
        self._tables: dict[str, RowTable] = {}
        # Guards the two attributes above. Files are opened without it.
        self._lock = threading.Lock()
        self._slot_bytes = _slot_bytes(self._indexes)
        fits = is_mapped and self.num_shards <= self._most_open
        self._span = Span.reserve(self.num_shards * self._slot_bytes) if fits else None
        if is_mapped:
            name_shrunk_shards(self)

    @property
    def num_shards(self) -> int:
        """The number of shards of all datasets."""
        return int(self._first_shards[-1])

    def get(self, shard: int) -> ShardReader:
        """The reader of a shard, by its number.

        Raises:
            DamagedError: If the file is not what the index says.
        """
        reader = self._open.get(shard)
        if reader is not None and self._span is not None:
            return reader
        with self._lock:
            reader = self._open.get(shard)
            if reader is not None:
                self._open.move_to_end(shard)
                return reader
        opened = self._open_shard(shard)
        with self._lock:
            reader = self._open.setdefault(shard, opened)
        if self._keeps_descriptors:
            _close_keepers(self._most_open)
        else:
            self._close_beyond(self._most_open)
        return reader

    def _close_beyond(self, most: int) -> None:
        """Close the shards that were used least recently, until at most so many are open."""
        with self._lock:
            while len(self._open) > most:
                self._open.popitem(last=False)

    def path(self, shard: int) -> str:
        """Where a shard lies; it is not opened."""
        index, position = self._find(shard)
        return index.shard_path(position)

    def paths_and_sizes(self) -> Iterator[tuple[str, int]]:
        """The path and the expected size of each shard, in bytes; no file is opened."""
        for index in self._indexes:
            for position, num_bytes in enumerate(index.num_bytes.tolist()):
                yield index.shard_path(position), num_bytes

    def _open_shard(self, shard: int) -> ShardReader:
        index, position = self._find(shard)
        # Two threads may map the same file to the same addresses: the second map shows the same bytes.
        return open_shard(
            index, position, self._span, shard * self._slot_bytes, int(self.first_ids[shard]), self._noting_checked(shard)
        )

    def _noting_checked(self, shard: int) -> Callable[[], object]:
        return functools.partial(self.was_checked.__setitem__, shard, True)

    def prepare(self, shards: np.ndarray, rows: np.ndarray, arrays: Sequence[RowArray] | None = None) -> None:
        """Bring what is not on this machine, many shards and ranges at once, for some rows that are read next.

        Args:
            shards: `(n,)` int64: the shard of each row.
            rows: `(n,)` int64: the row in the shard.
            arrays: Which arrays are read; None for all that hold the stored bytes of fields.

        Raises:
            KseqError: As `get` does.
        """
        if not self.is_remote or (not self._reads_ranges and len(self._open) == self.num_shards):
            return
        # A column is read from the index.
        wanted = {shard: self._not_columns(shard, arrays) for shard in sorted(set(shards.tolist()))}
        wanted = {shard: stored for shard, stored in wanted.items() if stored is None or stored}
        self._open_together([shard for shard in wanted if shard not in self._open])
        unread: list[Any] = []
        for shard, stored in wanted.items():
            if self._reads_ranges and self._find(shard)[0].read == "pread":
                unread += self.get(shard).unread(rows[shards == shard], stored)
        read_together(one for one in unread if isinstance(one[0], RemoteSource))

    def _not_columns(self, shard: int, arrays: Sequence[RowArray] | None) -> list[RowArray] | None:
        columns = self._find(shard)[0].columns
        return None if arrays is None else [array for array in arrays if array.name not in columns]

    def _open_together(self, shards: Sequence[int]) -> None:
        """Open some shards, several at a time: each may have to be fetched."""
        if len(shards) > 1:
            with ThreadPool(min(len(shards), FETCHED_AT_ONCE)) as threads:
                for _ in threads.map(self.get, shards[: self._most_open]):
                    pass

    def fetch(self, shard: int) -> None:
        """Fetch a shard that lies under a URL into its cache, unless it is there; errors as of `get`."""
        fetch_shard(*self._find(shard), self._noting_checked(shard))

    def missing(self) -> np.ndarray:
        """`(shards,)` bool: which shards would have to be fetched now."""
        if not self.is_remote:
            return np.zeros(self.num_shards, bool)
        return np.array([not has_shard(*self._find(shard)) for shard in range(self.num_shards)], bool)

    @property
    def most_ahead(self) -> int | None:
        """How many shards may be fetched ahead, so that those in use keep their place in the cache; None for all."""
        limits = list(filter(None, map(_most_copies, self._indexes)))
        return max(1, min(limits) // 2) if limits else None

    def _find(self, shard: int) -> tuple[Index, int]:
        """The index of the dataset that a shard belongs to, and the position of the shard in it."""
        dataset = int(np.searchsorted(self._first_shards, shard, side="right")) - 1
        return self._indexes[dataset], shard - int(self._first_shards[dataset])

    def take(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy rows of an array into `out`: in one call that holds no GIL, if the shards are mapped side by side.

        Args:
            name: The name of the array in the shards.
            shards: `(n,)` int64: the shard of each row.
            rows: `(n,)` int64: the row in the shard.
            out: `(n, ...)` of the array's dtype and shape, C-contiguous.
        """
        if not len(shards):
            return
        if name in self._columns:
            self._take_columns(name, shards, rows, out)
            return
        self._take_stored(name, shards, rows, out)

    def _take_stored(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        table = self._table(name, int(shards[0]))
        if table is not None:
            first_rows = table.first_rows[shards]
            if (first_rows == UNKNOWN).any():
                for shard in set(shards[first_rows == UNKNOWN].tolist()):
                    table.add(shard, self.get(shard).array(name))
                first_rows = table.first_rows[shards]
            if (first_rows >= 0).all():
                np.take(table.rows, first_rows + rows, axis=0, out=out, mode="clip")
                return
        self._take_plainly(name, shards, rows, out)

    def _take_columns(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        """`take` for an array that at least one index has as a column: a few bytes a sample, so one more copy is cheap."""
        for index, positions, ids in self._by_dataset(shards, rows):
            if name in index.columns:
                out[positions] = index.columns[name][ids]
            else:
                part = np.empty((len(positions), *out.shape[1:]), out.dtype)
                self._take_stored(name, shards[positions], rows[positions], part)
                out[positions] = part

    def counts(self, field: str, shards: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """`(n,)` int64: how many elements some samples have, of a field of which that differs. No shard is opened."""
        counts = np.empty(len(rows), np.int64)
        for index, positions, ids in self._by_dataset(shards, rows):
            counts[positions] = index.counts(field, ids)
        return counts

    def _by_dataset(self, shards: np.ndarray, rows: np.ndarray) -> Iterator[tuple[Index, np.ndarray, np.ndarray]]:
        """For each dataset that has some of the samples: its index, their positions among all, and their ids in the dataset."""
        datasets = np.searchsorted(self._first_shards, shards, side="right") - 1
        for dataset in sorted(set(datasets.tolist())):
            positions, index = np.flatnonzero(datasets == dataset), self._indexes[dataset]
            yield index, positions, index.starts[shards[positions] - self._first_shards[dataset]] + rows[positions]

    def _take_plainly(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        """`take`, shard by shard."""
        # Not np.unique: it imports a module at its first call, and a child that is forked meanwhile waits for that for ever.
        for shard in sorted(set(shards.tolist())):
            positions = np.flatnonzero(shards == shard)
            self.get(shard).take(name, rows[positions], out, positions)

    def pieces(self, flat: str, offsets: str, shards: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
        """The elements of some rows of a variable-size array, as views of the files.

        Args:
            flat: The name of the array that holds the elements of all rows, one row after the other.
            offsets: The name of the array that says where the elements of each row begin and end.
            shards: `(n,)` int64: the shard of each row.
            rows: `(n,)` int64: the row in the shard.

        Raises:
            DamagedError: If the offsets of a row are not in the array.
        """
        starts, ends = np.empty(len(rows), "<u8"), np.empty(len(rows), "<u8")
        self.take(offsets, shards, rows, starts)
        self.take(offsets, shards, rows + 1, ends)
        pieces = []
        for position, (shard, start, end) in enumerate(zip(shards.tolist(), starts.tolist(), ends.tolist(), strict=True)):
            try:
                piece = self._flat(flat, shard)[start:end]
            except (ReadError, DamagedError) as error:
                raise self.get(shard).at(int(rows[position]), error) from error
            pieces.append(piece if len(piece) == end - start else self._check_piece(flat, offsets, shard, int(rows[position])))
        return pieces

    def _flat(self, name: str, shard: int) -> np.ndarray:
        """The array that holds the elements of the rows of a shard."""
        if name in self._columns:
            index, _ = self._find(shard)
            if name in index.columns:
                return index.columns[name]
        return self.get(shard).array(name)

    def _check_piece(self, flat: str, offsets: str, shard: int, row: int) -> np.ndarray:
        """The elements of one row, as `pieces` returns them; raises DamagedError if the offsets of the row are broken."""
        index, _ = self._find(shard)
        if flat in index.columns:
            last = len(index.columns[flat])
            raise DamagedError(f"{index.path}: offsets of the column {flat} do not rise from 0 to {last}: bytes have changed")
        reader = self.get(shard)
        try:
            return reader.piece(flat, offsets, row)
        except (ReadError, DamagedError) as error:
            raise reader.at(row, error) from error

    def copy_all(self, name: str, out: np.ndarray) -> None:
        """Copy an array of all samples into `out`, `(samples, ...)` of any dtype that can hold the numbers.

        Raises:
            DamagedError: If `out` cannot hold a number.
        """
        start = 0
        for path, (array,) in self._all_arrays(name):
            stored, part = np.asarray(array), out[start : start + len(array)]
            part[...] = stored
            if not np.can_cast(stored.dtype, out.dtype) and not np.array_equal(part, stored):
                wrong = stored[part != stored].flat[0]
                raise DamagedError(f"{path}: has {wrong} in {name}, allowed is what fits into {out.dtype}: bytes have changed")
            start += len(array)

    def each(self, flat: str, offsets: str) -> Iterator[bytes]:
        """The elements of each sample of a variable-size array, from the first sample to the last, as bytes.

        Args:
            flat: The name of the array that holds the elements of all samples, one sample after the other.
            offsets: The name of the array that says where the elements of each sample begin and end.

        Raises:
            DamagedError: If the offsets do not rise, or are not in the array.
        """
        for path, (elements, edges) in self._all_arrays(flat, offsets):
            yield from _split_bytes(f"{path}: {flat}", elements, edges)

    def _all_arrays(self, *names: str) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Arrays that together hold all samples, with the path of their file.

        They are the columns of each index that has the first array as a column, else the arrays of all shards.
        """
        for index, first_shard in zip(self._indexes, self._first_shards.tolist(), strict=False):
            if names[0] in index.columns:
                yield index.path, [index.columns[name] for name in names]
            else:
                readers = self._each_reader(first_shard, index)
                yield from ((reader.path, [reader.array(name) for name in names]) for reader in readers)

    def _each_reader(self, first_shard: int, index: Index) -> Iterator[ShardReader]:
        """The shards of a dataset, one after the other; several are opened at a time where they lie under a URL."""
        for position in range(index.num_shards):
            if index.remote is not None and position % FETCHED_AT_ONCE == 0:
                last = min(position + FETCHED_AT_ONCE, index.num_shards)
                self._open_together([first_shard + one for one in range(position, last)])
            yield self.get(first_shard + position)

    def _table(self, name: str, shard: int) -> RowTable | None:
        """The table of an array, None if shards are not mapped side by side; `shard` is any shard that has the array."""
        table, span = self._tables.get(name), self._span
        if table is not None or span is None:
            return table
        array = self.get(shard).array(name)
        with self._lock:
            return self._tables.setdefault(name, RowTable(span, self.num_shards, array))


def _close_keepers(most: int) -> None:
    """Let all caches of this process together have at most so many shards open, or one each."""
    keepers = [keeper() for keeper in list(_KEEPERS.values())]
    # What a child inherited by a fork may be locked for ever, and serves nobody.
    used = [keeper for keeper in keepers if keeper is not None and keeper.process == os.getpid() and keeper._open]
    for keeper in used:
        keeper._close_beyond(max(1, most // len(used)))


def _most_copies(index: Index) -> int | None:
    """How many shards of a dataset its cache has room for, at least one; None if it has room for all."""
    cache = None if index.remote is None else index.remote.cache
    if cache is None or cache.most_bytes is None or int(index.num_bytes.sum()) <= cache.most_bytes:
        return None
    return max(1, cache.most_bytes // int(index.num_bytes.max()))


def _split_bytes(name: str, flat: np.ndarray, offsets: np.ndarray) -> Iterator[bytes]:
    if (offsets[1:] < offsets[:-1]).any() or int(offsets[-1]) > len(flat):
        raise DamagedError(f"{name}: its offsets do not rise to at most {len(flat)}: bytes have changed")
    size = flat.dtype.itemsize * math.prod(flat.shape[1:])
    for first in range(0, len(offsets) - 1, _SAMPLES_AT_ONCE):
        edges = offsets[first : first + _SAMPLES_AT_ONCE + 1].tolist()
        data = flat[edges[0] : edges[-1]].tobytes()
        yield from (data[(start - edges[0]) * size : (end - edges[0]) * size] for start, end in pairwise(edges))


def _slot_bytes(indexes: Sequence[Index]) -> int:
    """The size of the addresses for one shard: a multiple of a page and of the row of every field whose rows have one size."""
    fields = {field for index in indexes for field in index.stored_fields if not field.encoded and not field.is_ragged}
    unit = math.lcm(mmap.PAGESIZE, *(row_bytes(field.dtype, field.shape) for field in fields))
    largest = max(int(index.num_bytes.max(initial=1)) for index in indexes)
    return -(-largest // unit) * unit
