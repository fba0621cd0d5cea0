"""Which byte strings of a long sequence are equal, found by their checksums: in eight bytes for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kseq.storage.checksums import checksums

__all__ = ["find_first_rows", "number_equal"]


def find_first_rows(count: int, blocks: Callable[[], Iterator[Sequence[bytes]]]) -> np.ndarray | None:
    """For each byte string, the row of the first that is equal.

    Args:
        count: How many strings there are.
        blocks: Gives all strings in lists; called a second time if some of them may be equal.

    Returns:
        `(n,)` int64; None if all are different.
    """
    ordered, start = np.empty(count, np.uint64), 0
    for block in blocks():
        ordered[start : start + len(block)] = checksums(block)
        start += len(block)
    ordered.sort()
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not repeated.size:
        return None
    first_rows = np.arange(count)
    known: dict[bytes, int] = {}
    start = 0
    for block in blocks():
        # Equal checksums are a reason to look, no more.
        found = checksums(block)
        nearest = np.minimum(np.searchsorted(repeated, found), len(repeated) - 1)
        for position in np.flatnonzero(repeated[nearest] == found).tolist():
            first_rows[start + position] = known.setdefault(block[position], start + position)
        start += len(block)
    return first_rows


def number_equal(blocks: Iterator[Sequence[str | None]]) -> np.ndarray:
    """`(n,)` int64: the same number for texts that are equal, and for no others; -1 for None.

    Two checksums of each text are compared, 128 bits in all.
    """
    firsts, seconds, is_text = [], [], []
    for block in blocks:
        data = [b"" if text is None else text.encode(errors="surrogatepass") for text in block]
        firsts.append(checksums(data))
        seconds.append(checksums([text + b"\0" for text in data]))
        is_text.append(np.array([text is not None for text in block], bool))
    first, second = _join(firsts, np.uint64), _join(seconds, np.uint64)
    order = np.lexsort((second, first))
    is_other = (first[order][1:] != first[order][:-1]) | (second[order][1:] != second[order][:-1])
    numbers = np.zeros(len(order), np.int64)
    numbers[order[1:]] = np.cumsum(is_other)
    numbers[~_join(is_text, bool)] = -1
    return numbers


def _join(parts: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype)
