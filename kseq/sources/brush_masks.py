"""Masks that were painted in Label Studio, as run lengths.

The numbers of such a mask are bytes of a stream of bits. It begins with how many values there are (32 bits), how many bits one
has (5 bits, less one), and four lengths of numbers (4 bits each, less one). Then come groups: a bit that says whether the group
repeats one value, 2 bits for the length of the number that follows, that number, less one of how many values there are, and the
value or the values. Values are red, green, blue and opacity of the pixels, row after row; a pixel with opacity is covered.

Source: the package label-studio-converter, the module `brush`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.sources.run_lengths import join_runs

__all__ = ["brush_runs"]

_CHANNELS, _OPACITY = 4, 3


class _Bits:
    """A stream of bits, from the highest of each byte on."""

    def __init__(self, numbers: Sequence[int]) -> None:
        values = np.array(numbers, np.int64)
        if values.ndim != 1 or ((values < 0) | (values > 255)).any():
            raise ValueError("its numbers are no bytes")
        self._bits = np.unpackbits(values.astype(np.uint8))
        self._position = 0

    def number(self, length: int) -> int:
        """The next bits as a number."""
        return int(self.numbers(1, length)[0])

    def numbers(self, count: int, length: int) -> np.ndarray:
        """The next numbers, each of so many bits: `(count,)` int64."""
        end = self._position + count * length
        if end > len(self._bits):
            raise ValueError("it breaks off")
        found = self._bits[self._position : end].reshape(count, length)
        self._position = end
        numbers: np.ndarray = found @ (1 << np.arange(length - 1, -1, -1, dtype=np.int64))
        return numbers


def brush_runs(numbers: Any, height: int, width: int) -> list[int]:
    """The run lengths of zeros and ones in turn, row after row, of a mask as large as its image.

    Args:
        numbers: The bytes of the mask, 0 to 255.
        height: Of the image, in pixels.
        width: Of the image.

    Raises:
        ValueError: If it is no such mask, or one of another size.
        TypeError: If there are no numbers.
    """
    bits = _Bits(numbers)
    total = bits.number(32)
    if total != height * width * _CHANNELS:
        raise ValueError(f"it is of {total / _CHANNELS:g} pixels, its image has {width} x {height}")
    length = bits.number(5) + 1
    lengths = [bits.number(4) + 1 for _ in range(4)]
    counts, covered = list[np.ndarray](), list[np.ndarray]()
    start = 0
    while start < total:
        repeats = bits.number(1)
        stop = min(total, start + 1 + bits.number(lengths[bits.number(2)]))
        if repeats:
            counts.append(np.array([_pixels_before(stop) - _pixels_before(start)]))
            covered.append(np.array([bits.number(length) > 0]))
        else:
            values = bits.numbers(stop - start, length)
            opacities = values[(_OPACITY - start) % _CHANNELS :: _CHANNELS]
            counts.append(np.ones(len(opacities), np.int64))
            covered.append(opacities > 0)
        start = stop
    return join_runs(np.concatenate(counts), np.concatenate(covered))


def _pixels_before(position: int) -> int:
    """Of how many pixels the opacity lies before a value of the stream."""
    return (position + _CHANNELS - 1 - _OPACITY) // _CHANNELS
