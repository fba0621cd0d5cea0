"""Masks as COCO writes them: run lengths of zeros and ones in turn, column after column, as a list or compressed to text.

Source: the COCO API, maskApi, "RLE".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["mask_box", "mask_pixels"]


def mask_box(mask: Mapping[str, Any]) -> list[float] | None:
    """The box x1, y1, x2, y2 around the ones of a mask; None if it has none.

    Args:
        mask: `size`, height and width; `counts`, a list of run lengths or their compressed text.

    Raises:
        ValueError: If it is no such mask.
        TypeError: The same.
    """
    runs, height, _ = _runs(mask)
    ends = np.cumsum(runs)
    starts, lasts = ends[:-1:2], ends[1::2] - 1
    is_run = lasts >= starts
    starts, lasts = starts[is_run], lasts[is_run]
    if not starts.size:
        return None
    # A run that goes on into another column fills the columns between from top to bottom.
    crosses = bool((starts // height < lasts // height).any())
    top = 0 if crosses else int((starts % height).min())
    bottom = height - 1 if crosses else int((lasts % height).max())
    return [float(starts.min() // height), float(top), float(lasts.max() // height + 1), float(bottom + 1)]


def mask_pixels(mask: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """`(height, width)` bool: the ones of a mask of an image of this size; the arguments and errors are those of `mask_box`."""
    runs, own_height, own_width = _runs(mask)
    if (own_height, own_width) != (height, width):
        raise ValueError("the mask is of another size")
    values = np.zeros(height * width, bool)
    values[: runs.sum()] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def _runs(mask: Mapping[str, Any]) -> tuple[np.ndarray, int, int]:
    """The run lengths of a mask, its height and its width."""
    height, width = mask.get("size") or (0, 0)
    counts = mask.get("counts")
    runs = np.array(_decompress(counts) if isinstance(counts, str) else counts, np.int64).reshape(-1)
    if height <= 0 or width <= 0 or (runs < 0).any() or runs.sum() > height * width:
        raise ValueError("the runs of the mask do not fill its size")
    return runs, height, width


def _decompress(text: str) -> list[int]:
    """The run lengths in a compressed text: five bits a character, the lowest first; from the fourth on, a run length is
    written as its difference to the one before the last."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError("a character of the run lengths is not allowed")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
