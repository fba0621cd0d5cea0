"""The rows of one array in all shards that are mapped side by side, as one array."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kseq.platforms.maps import Span

__all__ = ["UNKNOWN", "RowTable", "row_bytes"]

# In a table of first rows: the shard was not opened yet; the rows of the shard are not part of the table.
UNKNOWN, _NOT_IN_TABLE = -1, -2


def row_bytes(dtype: str, shape: Sequence[int | None]) -> int:
    """The size of a row, in bytes, at least 1."""
    return max(np.dtype(dtype).itemsize * math.prod(length or 0 for length in shape), 1)


class RowTable:
    """The rows of one array in all shards of a span, as one array.

    Args:
        span: The addresses to which the shards are mapped.
        num_shards: How many shards there are.
        array: The array in any of the shards. In shards that kseq wrote, the array begins at the same offset in all of them,
            modulo the size of a row.

    Attributes:
        rows: `(n, ...)`: all bytes of the span, from the first row on, in steps of a row.
        first_rows: `(shards,)` int64: the number of each shard's first row in `rows`, or `UNKNOWN` or `_NOT_IN_TABLE`.
    """

    def __init__(self, span: Span, num_shards: int, array: np.ndarray) -> None:
        self._span = span
        self._row_bytes = row_bytes(array.dtype.str, array.shape[1:])
        self._phase = span.offset_of(array) % self._row_bytes
        # numpy.take would copy the whole of an array that is not aligned.
        self._is_aligned = self._phase % array.itemsize == 0
        self.first_rows = np.full(num_shards, UNKNOWN)
        if self._is_aligned:
            count = (span.bytes.size - self._phase) // self._row_bytes
            used = span.bytes[self._phase : self._phase + count * self._row_bytes]
            self.rows = used.view(array.dtype).reshape(count, *array.shape[1:])

    def add(self, shard: int, array: np.ndarray) -> None:
        """Note where the rows of a shard begin."""
        offset = self._span.offset_of(array)
        first_row, rest = divmod(offset - self._phase, self._row_bytes)
        is_inside = 0 <= offset <= self._span.bytes.size - array.nbytes
        self.first_rows[shard] = first_row if is_inside and self._is_aligned and not rest else _NOT_IN_TABLE
