"""Pixels that were drawn, with what is worth knowing of how."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["NotedPixels"]


class NotedPixels(NamedTuple):
    """Pixels, and notes of the file that they are of.

    Attributes:
        pixels: `(height, width, channels)`.
        notes: What is worth knowing, each as a sentence that goes on after the name of the file.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()
