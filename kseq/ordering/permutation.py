"""A keyed permutation of 0 to N-1, computed only for the numbers that are asked for.

An unbalanced Feistel network over a grid of `rows x columns` cells, walked on until the value lies below N (J. Black and
P. Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002: the generalized Feistel construction and cycle walking).
The round function is the finalizer of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["hash_each", "hash_key", "permute", "permute_each", "uniform"]

# With six rounds, a chi-square test over 40,000 keys shows that not all results are equally frequent at sizes 5 and 7
# (p < 0.0001). With eight it hardly does (p = 0.01 at size 5), with ten it does not. Two more are a margin.
_ROUNDS = 12

_MASK = (1 << 64) - 1

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15


def _finalize(value: int) -> int:
    """SplitMix64's output function on one Python integer."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def hash_key(*numbers: int) -> int:
    """One 64-bit key from whole numbers, each taken modulo 2**64; other numbers or another order give another key."""
    key = 0
    for number in numbers:
        key = _finalize((key + _GOLDEN_GAMMA) & _MASK) ^ (number & _MASK)
        key = _finalize((key * 3 + _GOLDEN_GAMMA) & _MASK)
    return key


def hash_each(key: int | np.ndarray, values: np.ndarray) -> np.ndarray:
    """SplitMix64's output for each of some values; sums and products wrap modulo 2**64 on purpose.

    Args:
        key: A 64-bit key for all values, or `(n,)` uint64: a key for each.
        values: `(n,)` uint64.

    Returns:
        `(n,)` uint64.
    """
    mixed = values * np.uint64(_GOLDEN_GAMMA)
    mixed += np.uint64((key + _GOLDEN_GAMMA) & _MASK)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def uniform(key: int, ids: np.ndarray, count: int) -> np.ndarray:
    """Random numbers for each id, the same for the same key and id wherever they are computed.

    Args:
        key: A 64-bit key, see `hash_key`.
        ids: `(n,)` whole numbers.
        count: How many random numbers each id gets.

    Returns:
        `(n, count)` float64 in [0, 1), multiples of 2**-53.
    """
    lanes = np.arange(count, dtype=np.uint64)
    keyed = hash_each(key, np.asarray(ids).astype(np.uint64))
    bits = hash_each(key ^ _GOLDEN_GAMMA, keyed[:, None] + lanes * np.uint64(0xD1342543DE82EF95))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permute(numbers: np.ndarray, size: int, key: int) -> np.ndarray:
    """A keyed permutation of 0 to `size - 1`, for some of these numbers, in a time that does not depend on `size`.

    Args:
        numbers: `(n,)` whole numbers in [0, size).
        size: How many numbers the permutation has, from 1 to 2**62.
        key: A 64-bit key, see `hash_key`.

    Returns:
        `(n,)` int64 in [0, size): what becomes of each number. Over all numbers, each value occurs once.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    keys = [hash_key(key, round_number) for round_number in range(_ROUNDS)]
    values = _feistel(np.asarray(numbers).astype(np.uint64), rows, columns, keys)
    outside = np.flatnonzero(values >= size)
    while outside.size:
        values[outside] = _feistel(values[outside], rows, columns, keys)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def permute_each(numbers: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Permutations of several sizes and keys, as `permute` makes them, each for one number.

    Args:
        numbers: `(n,)` whole numbers, each in [0, size).
        sizes: `(n,)` whole numbers from 1 to 2**52: how many numbers each permutation has.
        keys: `(n,)` uint64: the key of each. The same size and key are the same permutation, which is not that of `permute`.

    Returns:
        `(n,)` int64, each in [0, size): what becomes of each number.
    """
    limits = sizes.astype(np.uint64)
    rows = np.sqrt(sizes - 1.0).astype(np.uint64) + np.uint64(1)
    columns = (limits + rows - np.uint64(1)) // rows
    # The keys of the rounds lie at even distances, which are drawn too: to hash each of them would take half of the time.
    first, distance = hash_each(0, keys), hash_each(1, keys)
    values = numbers.astype(np.uint64)
    outside = np.arange(len(values))
    while outside.size:
        round_keys = [first[outside] + distance[outside] * np.uint64(number) for number in range(_ROUNDS)]
        values[outside] = _feistel(values[outside], rows[outside], columns[outside], round_keys)
        outside = outside[values[outside] >= limits[outside]]
    return values.astype(np.int64)


def _feistel(
    values: np.ndarray, rows: int | np.ndarray, columns: int | np.ndarray, keys: Sequence[int | np.ndarray]
) -> np.ndarray:
    """One pass over the grid: the row is moved by a hash of the column, then the column by a hash of the row, and so on."""
    row, column = np.divmod(values, np.uint64(columns))
    for number, key in enumerate(keys):
        if number % 2 == 0:
            row = _wrapped(row + _below(hash_each(key, column), rows), rows)
        else:
            column = _wrapped(column + _below(hash_each(key, row), columns), columns)
    return row * np.uint64(columns) + column


def _wrapped(sums: np.ndarray, limit: int | np.ndarray) -> np.ndarray:
    """Sums of two numbers below `limit`, modulo `limit`, without a division, which would take longer than everything else.

    Where a sum is below `limit`, the difference is negative and wraps to a number larger than the sum.
    """
    return np.minimum(sums, sums - np.uint64(limit))


def _below(bits: np.ndarray, limit: int | np.ndarray) -> np.ndarray:
    """Hashed bits as numbers in [0, limit), for limits up to 2**31, by multiplying and shifting (D. Lemire, 2019)."""
    return ((bits >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)
