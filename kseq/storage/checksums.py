"""Checksums and digests: of the stored bytes of a row, of an array, of all arrays of a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xxhash

__all__ = ["arrays_digest", "digest_of_hashes", "hash_array"]


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The digest of a file's arrays, 32 hexadecimal digits."""
    return digest_of_hashes({name: (each.dtype.str, each.shape, hash_array(each)) for name, each in arrays.items()})


def hash_array(array: np.ndarray) -> bytes:
    """XXH3-128 of the elements of an array."""
    return xxhash.xxh3_128_digest(array)


def digest_of_hashes(hashes: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> str:
    """The digest of a file whose arrays have these dtypes, shapes and XXH3-128s.

    It is the XXH3-128 of, for each array in the order of the names: the line `NAME DTYPE SHAPE`, such as
    `image |u1 (8, 224, 224, 3)`, a newline, and the array's own XXH3-128.
    """
    total = xxhash.xxh3_128()
    for name, (dtype, shape, digest) in sorted(hashes.items()):
        total.update(f"{name} {dtype} {shape}\n".encode())
        total.update(digest)
    return total.hexdigest()
