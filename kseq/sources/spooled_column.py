"""A column of values, one for each sample: in memory while it is small, else in a file without a name."""

from __future__ import annotations

import os
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import IO, Any

import numpy as np

from kseq.errors import WriteError
from kseq.sources.value_blocks import Block, block_of_array, decode, encode

__all__ = ["BLOCK_ROWS", "SpooledColumn", "blocks_of", "convert_distinct"]

BLOCK_ROWS = 4096
"""How many values are encoded together: so many that their number costs nothing, so few that they fit into a cache."""

# A column with more bytes goes to a file. A source has about ten columns.
_BYTES_IN_MEMORY = 1 << 20

# What pickle raises at values that it cannot take: a cell may hold anything.
_UNPICKLABLE = (pickle.PicklingError, TypeError, AttributeError, RecursionError)


class SpooledColumn(Sequence[Any]):
    """Values that are added one after the other and read in any order; reading them in their order is quick.

    Ten million paths take some megabytes of memory. Columns are pickled with all that they hold: for a worker process, make a
    column of its rows alone.

    Args:
        values: The first values.

    Raises:
        WriteError: By all methods that add values, if the temporary folder cannot hold them.
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._blocks = _BlockStore()
        self._block_rows = BLOCK_ROWS
        # Values of the last block, while it is not full.
        self._tail: list[Any] = []
        self._last_decoded: tuple[int, list[Any]] = (-1, [])
        self.extend(values)

    @classmethod
    def of_array(cls, array: np.ndarray) -> SpooledColumn:
        """The rows of an array."""
        column = cls()
        for start in range(0, len(array), column._block_rows):
            rows = array[start : start + column._block_rows]
            if len(rows) == column._block_rows:
                column._blocks.add(block_of_array(rows))
            else:
                column._tail = list(rows)
        return column

    @property
    def has_values(self) -> bool:
        """Whether any value is not None."""
        return any(block.form != "none" for block in self.encoded())

    def append(self, value: Any) -> None:
        """Add a value."""
        self._tail.append(value)
        if len(self._tail) == self._block_rows:
            self._store_tail()

    def extend(self, values: Iterable[Any]) -> None:
        """Add values."""
        iterator = iter(values)
        while more := list(islice(iterator, self._block_rows - len(self._tail))):
            self._tail += more
            if len(self._tail) == self._block_rows:
                self._store_tail()

    def _store_tail(self) -> None:
        try:
            self._blocks.add(encode(self._tail))
        except _UNPICKLABLE:
            self._blocks.keep(self._tail)
        self._tail = []

    def encoded(self) -> Iterator[Block]:
        """The values in blocks of `BLOCK_ROWS`, of which the last may be smaller; for columns of values that can be pickled."""
        for number in range(len(self._blocks)):
            block = self._blocks.get(number)
            yield block if isinstance(block, Block) else encode(block)
        if self._tail:
            yield encode(self._tail)

    def blocks(self) -> Iterator[list[Any]]:
        """The values in lists of `BLOCK_ROWS`, of which the last may be smaller."""
        for number in range(len(self._blocks)):
            yield self._decode(number)
        if self._tail:
            yield self._tail

    def rows(self, start: int, stop: int) -> Iterator[Any]:
        """The values from row `start` up to `stop`."""
        first = start // self._block_rows
        lists = (self._decode(number) for number in range(first, -(-stop // self._block_rows)))
        return islice(chain.from_iterable(lists), start - first * self._block_rows, stop - first * self._block_rows)

    def _decode(self, number: int) -> list[Any]:
        """The values of a block, kept for the next call."""
        if number == len(self._blocks):
            return self._tail
        last, values = self._last_decoded
        if number != last:
            block = self._blocks.get(number)
            values = decode(block) if isinstance(block, Block) else block
            self._last_decoded = number, values
        return values

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.blocks())

    def __len__(self) -> int:
        return len(self._blocks) * self._block_rows + len(self._tail)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            return list(self.rows(start, stop))[::step] if step > 0 else [self[number] for number in range(start, stop, step)]
        number = row + len(self) if row < 0 else row
        if not 0 <= number < len(self):
            raise IndexError(f"row {row} is not in [0, {len(self)})")
        return self._decode(number // self._block_rows)[number % self._block_rows]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last_decoded": (-1, [])}


def blocks_of(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """A column, or any other sequence, in pieces of `BLOCK_ROWS` values, of which the last may be smaller."""
    if isinstance(values, SpooledColumn):
        return values.blocks()
    return (values[start : start + BLOCK_ROWS] for start in range(0, len(values), BLOCK_ROWS))


def convert_distinct(cells: Sequence[Any], convert: Callable[[Any], Any]) -> SpooledColumn:
    """The converted cells; in a block of texts, each distinct text is converted once."""
    converted = SpooledColumn()
    for block in blocks_of(cells):
        if set(map(type, block)) <= {str, type(None)}:
            known = {cell: convert(cell) for cell in set(block)}
            converted.extend(map(known.__getitem__, block))
        else:
            converted.extend(map(convert, block))
    return converted


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        # No folder of the system takes a file, as in a container that may only read.
        return "the temporary folder"


class _BlockStore:
    """Full blocks: pickled, in memory or in a file; or lists, of values that cannot be pickled."""

    def __init__(self) -> None:
        # In memory: the bytes of a block. In the file: where it begins, and its size. Else the values themselves.
        self._blocks: list[bytes | tuple[int, int] | list[Any]] = []
        self._num_bytes = 0
        self._file: IO[bytes] | None = None
        # Guards the position in the file.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._blocks)

    def keep(self, values: list[Any]) -> None:
        self._blocks.append(values)

    def add(self, block: Block) -> None:
        data = pickle.dumps(block, protocol=5)
        self._blocks.append(data)
        self._num_bytes += len(data)
        if self._num_bytes > _BYTES_IN_MEMORY:
            self._spool()

    def _spool(self) -> None:
        """Move what is in memory to the file."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  # open for as long as the column is used
                waiting = range(len(self._blocks))
            else:
                waiting = range(len(self._blocks) - 1, len(self._blocks))
            for number in waiting:
                block = self._blocks[number]
                if isinstance(block, bytes):
                    offset = self._file.seek(0, os.SEEK_END)
                    self._file.write(block)
                    self._blocks[number] = offset, len(block)
            self._file.flush()
        except OSError as error:
            raise WriteError(
                f"{_temporary_folder()}: what is known of the samples cannot be spooled there: {error.strerror or error}: "
                "make room, or let the environment variable TMPDIR name another folder"
            ) from error

    def get(self, number: int) -> Block | list[Any]:
        block = self._blocks[number]
        if isinstance(block, list):
            return block
        data = block if isinstance(block, bytes) else self._read(*block)
        loaded: Block = pickle.loads(data)
        return loaded

    def _read(self, offset: int, size: int) -> bytes:
        assert self._file is not None
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)

    def __getstate__(self) -> list[bytes | list[Any]]:
        return [self._read(*block) if isinstance(block, tuple) else block for block in self._blocks]

    def __setstate__(self, blocks: list[bytes | tuple[int, int] | list[Any]]) -> None:
        self.__init__()  # type: ignore[misc]  # as at first
        self._blocks = blocks
