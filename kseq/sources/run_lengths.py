"""Masks as run lengths of zeros and ones in turn: column after column, as COCO has them, or row after row, as other tools.

COCO's are a list or compressed to text, of the size of the image; the others are a list, and may lie anywhere in the image.

Source: the COCO API, maskApi, "RLE"; CVAT's documentation, "XML annotation format", of masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["join_runs", "mask_box", "mask_pixels", "plain_mask", "row_runs_box", "row_runs_pixels"]


# No image has more; a broken file may say so.
_MOST_PIXELS = 1 << 30


def mask_box(mask: Mapping[str, Any]) -> list[float] | None:
    """The box x1, y1, x2, y2 around the ones of a mask; None if it has none.

    Args:
        mask: `size`, height and width; `counts`, a list of run lengths or their compressed text.

    Raises:
        ValueError: If it is no such mask.
        TypeError: The same.
    """
    runs, height, _ = _runs(mask)
    return None if (found := _box(runs, height)) is None else [found[1], found[0], found[3], found[2]]


def plain_mask(mask: Mapping[str, Any]) -> dict[str, Any]:
    """A mask of COCO with nothing in it but what says its pixels."""
    return {"size": mask.get("size"), "counts": mask.get("counts")}


def mask_pixels(mask: Mapping[str, Any], height: int, width: int) -> tuple[np.ndarray, bool]:
    """`(height, width)` bool: the ones of a mask of an image of this size; and whether its run lengths end early, where the
    rest is zeros. The arguments and errors are those of `mask_box`."""
    runs, own_height, own_width = _runs(mask)
    if (own_height, own_width) != (height, width):
        raise ValueError("the mask is of another size")
    values, is_short = _pixels(runs, width, height)
    return values.T, is_short


def row_runs_box(mask: Mapping[str, Any]) -> list[float] | None:
    """The box x1, y1, x2, y2 in the image around the ones of a mask of rows; None if it has none.

    Args:
        mask: `row_runs`, a list of run lengths; `left`, `top`, `width` and `height`: where it lies in the image, whole numbers.

    Raises:
        ValueError: If the runs do not fit into its size.
    """
    left, top = mask["left"], mask["top"]
    found = _box(_row_runs(mask), mask["width"])
    return None if found is None else [left + found[0], top + found[1], left + found[2], top + found[3]]


def row_runs_pixels(mask: Mapping[str, Any]) -> tuple[np.ndarray, bool]:
    """`(height, width)` bool: the ones of a mask of rows, in its own size; and whether its run lengths end early. The arguments
    and errors are those of `row_runs_box`."""
    return _pixels(_row_runs(mask), mask["height"], mask["width"])


def join_runs(counts: np.ndarray, are_ones: np.ndarray) -> list[int]:
    """Run lengths of zeros and ones in turn, zeros first.

    Args:
        counts: `(n,)` int64: how many pixels follow each other.
        are_ones: `(n,)` bool: whether they are ones; neighbours may be alike.
    """
    # The first run is of zeros, if only none of them.
    counts, are_ones = np.insert(counts, 0, 0), np.insert(are_ones, 0, False)
    is_run = counts > 0
    is_run[0] = True
    counts, are_ones = counts[is_run], are_ones[is_run]
    firsts = np.flatnonzero(np.diff(are_ones, prepend=True))
    runs: list[int] = np.add.reduceat(counts, firsts).tolist()
    return runs


def _pixels(runs: np.ndarray, lines: int, length: int) -> tuple[np.ndarray, bool]:
    """`(lines, length)` bool of runs that go line by line, and whether they end before."""
    values, filled = np.zeros(lines * length, bool), int(runs.sum())
    values[:filled] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(lines, length), filled < lines * length


def _box(runs: np.ndarray, length: int) -> list[float] | None:
    """The box around the ones of runs that go line by line, each of this length: its place along a line, its first line, and
    the ends of both; None if there are none."""
    ends = np.cumsum(runs)
    starts, lasts = ends[:-1:2], ends[1::2] - 1
    is_run = lasts >= starts
    starts, lasts = starts[is_run], lasts[is_run]
    if not starts.size:
        return None
    # A run that goes on into another line fills the lines between from end to end.
    crosses = bool((starts // length < lasts // length).any())
    first = 0 if crosses else int((starts % length).min())
    last = length - 1 if crosses else int((lasts % length).max())
    return [float(first), float(starts.min() // length), float(last + 1), float(lasts.max() // length + 1)]


def _row_runs(mask: Mapping[str, Any]) -> np.ndarray:
    return _checked(mask["row_runs"], mask["height"], mask["width"])


def _runs(mask: Mapping[str, Any]) -> tuple[np.ndarray, int, int]:
    """The run lengths of a mask of COCO, its height and its width."""
    height, width = mask.get("size") or (0, 0)
    counts = mask.get("counts")
    return _checked(_decompress(counts) if isinstance(counts, str) else counts, height, width), height, width


def _checked(counts: Any, height: int, width: int) -> np.ndarray:
    runs = np.array(counts, np.int64).reshape(-1)
    if height <= 0 or width <= 0 or (runs < 0).any():
        raise ValueError("the runs of the mask do not fill its size")
    if height * width > _MOST_PIXELS:
        raise ValueError(f"the mask has {width} x {height} pixels, allowed are {_MOST_PIXELS:,} together")
    # Of lengths that no image has, numpy's sum would begin again from below.
    total = int(runs.sum()) if runs.max(initial=0) <= _MOST_PIXELS else sum(runs.tolist())
    if total > height * width:
        raise ValueError(f"the run lengths are of {total:,} pixels, the mask has {width} x {height}")
    return runs


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
