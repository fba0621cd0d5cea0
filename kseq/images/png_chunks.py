"""The chunks of a PNG (PNG specification, 5.3): which of them matter to its pixels, and whether they are whole."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from kseq.errors import ImageError

__all__ = ["check_chunks", "texts_first", "without_false_animation", "without_side_chunks"]

# Where the first chunk begins, behind the signature.
_START = 8
_PIXELS, _END = b"IDAT", b"IEND"
# The chunks that can hold an orientation.
_TEXTS = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
# The chunks of an animation: how many frames it has, and the frames (APNG specification 1.0).
_ANIMATION, _ANIMATION_PARTS = b"acTL", (b"acTL", b"fcTL", b"fdAT")
_MOST_FRAMES = 1 << 31
# What matters to the upright pixels, besides the chunks whose kind begins with a capital letter: transparency and orientation.
_KEPT = (b"tRNS", b"eXIf")


def texts_first(data: bytes) -> bytes:
    """A PNG with its texts before its pixels, so that its orientation can be read without decoding the pixels."""
    chunks = list(_chunks(data))
    pixels = next((start for kind, start, _ in chunks if kind == _PIXELS), len(data))
    late = [data[start:end] for kind, start, end in chunks if kind in _TEXTS and start > pixels]
    return b"".join((data[:pixels], *late, data[pixels:])) if late else data


def without_side_chunks(data: bytes | np.ndarray) -> bytes:
    """A PNG without the chunks that do not matter to its pixels, and without damaged ones that are not needed for them.

    Colour profiles, dates, texts and the further frames of an animation go: a fault in one of them is none of the picture's.
    """
    data = bytes(data)
    end_of_last = _START
    kept = [data[:_START]]
    for kind, start, end in _chunks(data):
        if _is_critical(kind) or (kind in _KEPT and _is_whole(data, start, end)):
            kept.append(data[start:end])
        end_of_last = end
    return b"".join([*kept, data[end_of_last:]])


def without_false_animation(data: bytes) -> bytes:
    """A PNG without the chunks of its animation, if what it says of them makes no sense: Pillow would warn."""
    if _ANIMATION not in data:
        return data
    chunks = list(_chunks(data))
    counts = [int.from_bytes(data[start + 8 : start + 12], "big") for kind, start, _ in chunks if kind == _ANIMATION]
    if len(counts) == 1 and 0 < counts[0] <= _MOST_FRAMES:
        return data
    kept = [data[start:end] for kind, start, end in chunks if kind not in _ANIMATION_PARTS]
    return b"".join([data[:_START], *kept, data[chunks[-1][2] if chunks else _START :]])


def check_chunks(data: bytes | np.ndarray) -> None:
    """Raise ImageError unless the chunks that matter to the pixels have the checksums that they say, up to the end."""
    data = bytes(data)
    for kind, start, end in _chunks(data):
        if _is_critical(kind) and not _is_whole(data, start, end):
            raise ImageError(f"broken PNG: wrong checksum in the chunk {kind.decode('latin-1')} at byte {start}")
        if kind == _END:
            return
    raise ImageError("broken PNG: ends before its last chunk")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each whole chunk, where it begins and where it ends."""
    start = _START
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            return
        yield kind, start, end
        start = end


def _is_critical(kind: bytes) -> bool:
    return not kind[0] & 0x20


def _is_whole(data: bytes, start: int, end: int) -> bool:
    """Whether a chunk has the checksum that it says."""
    return zlib.crc32(memoryview(data)[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
