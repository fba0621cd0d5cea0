"""Where an array lies in its file."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

__all__ = ["ArrayLocation"]


class ArrayLocation(NamedTuple):
    """Where the elements of an array lie in its file, one after the other.

    Attributes:
        offset: Of the first, in bytes; 0 for an array without elements.
        dtype: Little-endian, such as `"<u8"`.
        shape: Of the array.
    """

    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """How many bytes the elements take."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize
