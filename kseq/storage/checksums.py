"""Checksums and digests of everything that kseq stores or compares: the only module that names their algorithm.

All are XXH3 (https://github.com/Cyan4973/xxHash, `doc/xxhash_spec.md`): 64 bits for checksums, 128 bits for digests. They find
damage and tell contents apart; they do not protect against somebody who looks for two contents with the same digest.
What others read, such as Croissant, asks for SHA-256 of whole files (FIPS 180-4).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import xxhash

__all__ = [
    "CHECKSUM_DTYPE",
    "DIGEST_BYTES",
    "Digest",
    "arrays_digest",
    "checksum",
    "checksums",
    "digest_of_hashes",
    "format_checksum",
    "hash_array",
    "images_checksum",
    "is_digest",
    "row_checksum",
    "row_checksums",
    "sha256_hex",
]

# How checksums are stored in an array, and how many bytes a digest has.
CHECKSUM_DTYPE = "<u8"
DIGEST_BYTES = 16

# Of an array that is not in memory.
_BYTES_AT_ONCE = 1 << 24

Bytes: TypeAlias = bytes | memoryview | np.ndarray


class Digest:
    """A digest of bytes that come in several pieces; how they are cut into pieces makes no difference.

    Args:
        data: The first piece.
    """

    def __init__(self, data: Bytes = b"") -> None:
        self._state = xxhash.xxh3_128(data)
        # Called once for every piece of every sample: the hash's own method costs no call of Python's.
        self.update = self._state.update

    def digest(self) -> bytes:
        """`DIGEST_BYTES` bytes."""
        return self._state.digest()

    def hexdigest(self) -> str:
        """The same in hexadecimal digits."""
        return self._state.hexdigest()


def sha256_hex(pieces: Iterable[Bytes]) -> str:
    """The SHA-256 of some bytes, one piece after the other, in hexadecimal digits."""
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


def checksum(data: Bytes) -> int:
    """The checksum of some bytes, a whole number in [0, 2**64)."""
    return xxhash.xxh3_64_intdigest(data)


def checksums(pieces: Sequence[Bytes]) -> np.ndarray:
    """`(n,)` uint64: the checksum of each of some pieces."""
    return np.fromiter(map(xxhash.xxh3_64_intdigest, pieces), np.uint64, len(pieces))


def format_checksum(value: int) -> str:
    """A checksum in hexadecimal digits, for messages."""
    return f"{value:0{2 * np.dtype(CHECKSUM_DTYPE).itemsize}x}"


def row_checksum(pieces: Iterable[Bytes]) -> int:
    """The checksum of a row of a shard, a whole number in [0, 2**64).

    Args:
        pieces: What is stored of the sample, in the order of the fields: of an encoded image its bytes and then its record of
            tiles (see `kseq.images.jpeg_tiles.find_tiles`), of any other field its elements.
    """
    state = xxhash.xxh3_64()
    for piece in pieces:
        state.update(piece)
    return state.intdigest()


def row_checksums(pieces: Sequence[Bytes]) -> tuple[int, int]:
    """The checksum of the first of some pieces, and that of all, as `row_checksum` gives it: at the price of the latter."""
    state = xxhash.xxh3_64(pieces[0])
    first = state.intdigest()
    for piece in pieces[1:]:
        state.update(piece)
    return first, state.intdigest()


def images_checksum(images: Sequence[int]) -> int:
    """The checksum of the images of a sample, from that of each: of one image its own."""
    return images[0] if len(images) == 1 else checksum(np.array(images, CHECKSUM_DTYPE))


def is_digest(value: Any) -> TypeGuard[str]:
    """Whether a value is a digest in hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{2 * DIGEST_BYTES}}}", value) is not None


def arrays_digest(arrays: Mapping[str, Any]) -> str:
    """The digest of named arrays, in hexadecimal digits; see `digest_of_hashes` and `hash_array`."""
    return digest_of_hashes({name: (array.dtype.str, array.shape, hash_array(array)) for name, array in arrays.items()})


def hash_array(array: Any) -> bytes:
    """The digest of the elements of an array, `DIGEST_BYTES` bytes.

    Args:
        array: numpy's; or another that slices of rows are read of, which is never in memory as a whole.
    """
    if isinstance(array, np.ndarray):
        return xxhash.xxh3_128_digest(array)
    total, num_rows = Digest(), max(1, _BYTES_AT_ONCE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), num_rows):
        total.update(array[start : start + num_rows])
    return total.digest()


def digest_of_hashes(hashes: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> str:
    """The digest of named arrays, from the dtype, the shape and `hash_array` of each.

    It is the digest of a text with a piece for each array, in the order of the names: the line `NAME DTYPE SHAPE`, such as
    `image |u1 (8, 224, 224, 3)`, a newline, and the digest of the array.
    """
    total = Digest()
    for name, (dtype, shape, digest) in sorted(hashes.items()):
        total.update(f"{name} {dtype} {shape}\n".encode())
        total.update(digest)
    return total.hexdigest()
