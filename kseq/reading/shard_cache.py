"""The shards of datasets, each opened when first needed."""

from __future__ import annotations

import math
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from kseq.errors import DamagedError
from kseq.storage.hdf5_reader import FileHeader
from kseq.storage.index import Index
from kseq.storage.mmap import Span, most_maps
from kseq.storage.opener import LocalOpener
from kseq.storage.shard_reader import ShardReader

__all__ = ["ShardCache"]

# Of an array of all samples' elements, so many samples' are copied in one go.
_CUT_AT_ONCE = 1 << 16

# In place of a row's number: the shard was not looked at yet, or its rows do not fit into the table.
_UNKNOWN, _APART = -1, -2


class ShardCache:
    """The shards of some datasets, one dataset's after the other's: opened when first needed, the least recently used closed
    when there are many.

    What an index has as a column is taken from there, whatever its shards hold of that name.

    Where all of them may be open at once, they are mapped side by side, each at a multiple of the bytes of a row: to numpy,
    the rows of a field in all shards are then one array, and one `numpy.take` gathers a batch from any of them. (The rows
    between two shards do not exist, and are never asked for.)

    What h5py found out about a shard is kept, so that opening it again is one `open` and one `mmap`.

    Args:
        indexes: Of the datasets, whose samples hold the same fields.

    Attributes:
        process: The one that it serves.
    """

    def __init__(self, indexes: Sequence[Index]) -> None:
        # In a forked child, the lock may be held by a thread that the fork left behind: it needs an object of its own.
        self.process = os.getpid()
        self._indexes = tuple(indexes)
        # The number at which the shards of each dataset begin; the last is the total.
        self._starts = np.cumsum([0, *(each.num_shards for each in self._indexes)])
        self._columns = {name for each in self._indexes for name in each.columns}
        self._most = most_maps()
        self._open: OrderedDict[int, ShardReader] = OrderedDict()
        self._layouts: dict[int, FileHeader] = {}
        self._tables: dict[str, _Table] = {}
        # Guards the three above; files are opened outside it.
        self._lock = threading.Lock()
        self._slot_bytes = _slot_bytes(self._indexes)
        self._span = Span.reserve(self.num_shards * self._slot_bytes) if self.num_shards <= self._most else None

    def get(self, number: int) -> ShardReader:
        """A shard by its number.

        Raises:
            DamagedError: Where it is not what the index says.
        """
        reader = self._open.get(number)
        if reader is not None and self._span is not None:
            return reader
        with self._lock:
            reader = self._open.get(number)
            if reader is not None:
                self._open.move_to_end(number)
                return reader
            layout = self._layouts.get(number)
        opened = self._read(number, layout)
        with self._lock:
            self._layouts[number] = opened.header
            reader = self._open.setdefault(number, opened)
            while len(self._open) > self._most:
                self._open.popitem(last=False)
        return reader

    def _read(self, number: int, layout: FileHeader | None) -> ShardReader:
        index, place = self._place_of(number)
        # Two threads may map the same file to the same addresses: the second map shows the same bytes.
        opener = LocalOpener(self._span, number * self._slot_bytes)
        return ShardReader(index.shard_path(place), index.stored_fields, index.entry(place), layout, opener)

    def take(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy rows of an array, of any shards, into `out`: in one call that holds no GIL, where that can be.

        Args:
            name: Of the array in the shards.
            shards: `(n,)` int64.
            rows: `(n,)` int64, each in its shard.
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
            firsts = table.firsts[shards]
            if (firsts == _UNKNOWN).any():
                for number in set(shards[firsts == _UNKNOWN].tolist()):
                    table.add(number, self.get(number).array(name))
                firsts = table.firsts[shards]
            if (firsts >= 0).all():
                np.take(table.rows, firsts + rows, axis=0, out=out, mode="clip")
                return
        self._take_plainly(name, shards, rows, out)

    def _take_columns(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        """The same for an array that at least one index has as a column: a few bytes a sample, so copied once more."""
        parts = np.searchsorted(self._starts, shards, side="right") - 1
        for part in np.unique(parts).tolist():
            chosen, index = np.flatnonzero(parts == part), self._indexes[part]
            if name in index.columns:
                ids = index.starts[shards[chosen] - self._starts[part]] + rows[chosen]
                out[chosen] = index.columns[name][ids]
            else:
                found = np.empty((len(chosen), *out.shape[1:]), out.dtype)
                self._take_stored(name, shards[chosen], rows[chosen], found)
                out[chosen] = found

    def _take_plainly(self, name: str, shards: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        for number in np.unique(shards).tolist():
            chosen = np.flatnonzero(shards == number)
            out[chosen] = self.get(number).array(name)[rows[chosen]]

    def pieces(self, flat: str, offsets: str, shards: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
        """What belongs to each of some rows, `(n,)`, in an array of all rows' elements: views of the files.

        Args:
            flat: Name of the array of elements.
            offsets: Of the array that says where each row's begin and end.
            shards: `(n,)` int64.
            rows: `(n,)` int64, each in its shard.

        Raises:
            DamagedError: Where a row's offsets do not lie in the array.
        """
        starts, ends = np.empty(len(rows), "<u8"), np.empty(len(rows), "<u8")
        self.take(offsets, shards, rows, starts)
        self.take(offsets, shards, rows + 1, ends)
        pieces = []
        for place, (number, start, end) in enumerate(zip(shards.tolist(), starts.tolist(), ends.tolist(), strict=True)):
            piece = self._flat(flat, number)[start:end]
            pieces.append(piece if len(piece) == end - start else self._checked_piece(flat, offsets, number, int(rows[place])))
        return pieces

    def _flat(self, name: str, number: int) -> np.ndarray:
        """The array of all rows' elements that belongs to the rows of a shard."""
        if name in self._columns:
            index, _ = self._place_of(number)
            if name in index.columns:
                return index.columns[name]
        return self.get(number).array(name)

    def _checked_piece(self, flat: str, offsets: str, number: int, row: int) -> np.ndarray:
        """What `pieces` gives of one row; raises the error if its offsets are broken."""
        index, _ = self._place_of(number)
        if flat in index.columns:
            last = len(index.columns[flat])
            raise DamagedError(f"{index.path}: offsets of the column {flat} do not rise from 0 to {last}: bytes have changed")
        return self.get(number).piece(flat, offsets, row)

    def _place_of(self, number: int) -> tuple[Index, int]:
        """The dataset of a shard, and the shard's place in it."""
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._indexes[part], number - int(self._starts[part])

    def copy_all(self, name: str, out: np.ndarray) -> None:
        """Copy an array of all samples into `out`, `(samples, ...)` of any dtype that has room for its numbers."""
        start = 0
        for _, (array,) in self._all(name):
            out[start : start + len(array)] = array
            start += len(array)

    def each(self, flat: str, offsets: str) -> Iterator[bytes]:
        """What belongs to each sample, from the first to the last, in an array of all samples' elements.

        Args:
            flat: Name of the array of elements.
            offsets: Of the array that says where each sample's begin and end.

        Raises:
            DamagedError: Where offsets do not rise, or not to within the array.
        """
        for path, (elements, places) in self._all(flat, offsets):
            yield from _cut(f"{path}: {flat}", elements, places)

    def _all(self, *names: str) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Arrays of all samples, piece by piece, and where each lies: the columns of an index that has them, else those of each
        shard."""
        for index, first in zip(self._indexes, self._starts.tolist(), strict=False):
            if names[0] in index.columns:
                yield index.path, [index.columns[name] for name in names]
            else:
                readers = (self.get(first + place) for place in range(index.num_shards))
                yield from ((reader.path, [reader.array(name) for name in names]) for reader in readers)

    def _table(self, name: str, number: int) -> _Table | None:
        """The table of an array; shard `number` is opened to learn its form, if need be."""
        found = self._tables.get(name)
        if found is not None:
            return found
        array, span = self.get(number).array(name), self._span
        if span is None:
            return None
        with self._lock:
            return self._tables.setdefault(name, _Table(span, self.num_shards, array))

    @property
    def num_shards(self) -> int:
        return int(self._starts[-1])


def _cut(place: str, flat: np.ndarray, offsets: np.ndarray) -> Iterator[bytes]:
    if (offsets[1:] < offsets[:-1]).any() or int(offsets[-1]) > len(flat):
        raise DamagedError(f"{place}: its offsets do not rise to at most {len(flat)}: bytes have changed")
    for first in range(0, len(offsets) - 1, _CUT_AT_ONCE):
        places = offsets[first : first + _CUT_AT_ONCE + 1].tolist()
        data = flat[places[0] : places[-1]].tobytes()
        size = flat[:1].nbytes
        yield from (data[(start - places[0]) * size : (end - places[0]) * size] for start, end in pairwise(places))


def _slot_bytes(indexes: Sequence[Index]) -> int:
    """The room for one shard: a multiple of a page and of the rows of every field whose rows have one length."""
    fields = {each for index in indexes for each in index.stored_fields if not each.encoded and not each.is_ragged}
    unit = math.lcm(mmap.PAGESIZE, *(_row_bytes(each.dtype, each.shape) for each in fields))
    largest = max(int(index.num_bytes.max(initial=1)) for index in indexes)
    return -(-largest // unit) * unit


def _row_bytes(dtype: str, shape: Sequence[int | None]) -> int:
    return max(np.dtype(dtype).itemsize * math.prod(length or 0 for length in shape), 1)


class _Table:
    """The rows of one array in all shards of a span, as one array.

    Args:
        span: Where the shards are mapped.
        num_shards: How many there are.
        array: The array in any of them; rows begin at the same place in all, modulo their size, if they were written alike.

    Attributes:
        rows: `(n, ...)`: from the first byte of the span to the last, in steps of a row.
        firsts: `(shards,)` int64: where in `rows` each shard's first row is, `_UNKNOWN` or `_APART`.
    """

    def __init__(self, span: Span, num_shards: int, array: np.ndarray) -> None:
        self._span = span
        self._row_bytes = _row_bytes(array.dtype.str, array.shape[1:])
        self._phase = span.offset_of(array) % self._row_bytes
        # numpy.take would first copy all of an array that is not aligned.
        self._is_aligned = self._phase % array.itemsize == 0
        self.firsts = np.full(num_shards, _UNKNOWN)
        if self._is_aligned:
            count = (span.bytes.size - self._phase) // self._row_bytes
            used = span.bytes[self._phase : self._phase + count * self._row_bytes]
            self.rows = used.view(array.dtype).reshape(count, *array.shape[1:])

    def add(self, number: int, array: np.ndarray) -> None:
        """Note where the rows of a shard begin."""
        place = self._span.offset_of(array)
        first, rest = divmod(place - self._phase, self._row_bytes)
        is_inside = 0 <= place <= self._span.bytes.size - array.nbytes
        self.firsts[number] = first if is_inside and self._is_aligned and not rest else _APART
