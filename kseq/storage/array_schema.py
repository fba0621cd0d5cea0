"""What an array of a file must be: its dtype and its shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ArraySchema"]


@dataclass(frozen=True)
class ArraySchema:
    """What an array must be.

    Attributes:
        dtype: Its little-endian dtype, such as `"<u8"`.
        shape: Its shape, with None where any length is allowed.
    """

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        lengths = ", ".join("any" if length is None else str(length) for length in self.shape)
        return f"{np.dtype(self.dtype).name} ({lengths})"

    def allows(self, dtype: np.dtype, shape: tuple[int, ...] | None) -> bool:
        """Whether an array of this dtype and shape is allowed; the shape of an array without a value is None."""
        return (
            dtype == np.dtype(self.dtype)
            and shape is not None
            and len(shape) == len(self.shape)
            and all(allowed in (None, length) for allowed, length in zip(self.shape, shape, strict=True))
        )
