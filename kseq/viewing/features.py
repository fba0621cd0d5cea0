"""What an image is like, in numbers: its colours and the directions of its edges, from coarse to fine."""

from __future__ import annotations

import functools

import cv2
import numpy as np

__all__ = ["COARSE_EDGES", "MOST_FEATURES", "SIDE", "describe", "mirror_coarse_edges", "num_features"]

# Images are looked at in squares of so many pixels.
SIDE = 64

# How much of the edges has each of 6 directions in 8 x 8 places, and the colours in 4 x 4 places.
_PLACES, _DIRECTIONS, _COLOR_PLACES = 8, 6, 4
MOST_FEATURES = _PLACES**2 * _DIRECTIONS + _COLOR_PLACES**2 * 3

# All features of few images are kept; of many the coarse ones alone, so that they take about so many bytes together.
_MOST_BYTES, _LEAST_FEATURES = 72_000_000, 72

# Bytes per step of a feature, so that all values that occur fit in.
_EDGE_SCALE, _COLOR_SCALE, _MIDDLE = 0.5, 0.25, 128

# Where the edges are among the features that are kept in any case, whatever the colours.
COARSE_EDGES = np.flatnonzero(np.arange(_LEAST_FEATURES) % (_DIRECTIONS + 3) < _DIRECTIONS)


def num_features(num_images: int) -> int:
    """How many features are kept of each of so many images."""
    return min(MOST_FEATURES, max(_LEAST_FEATURES, _MOST_BYTES // max(num_images, 1)))


def describe(small: np.ndarray, gray: np.ndarray, count: int) -> np.ndarray:
    """`(count,)` uint8: the features of an image, the coarse ones first.

    They are the cosine transforms of a histogram of oriented gradients (Dalal and Triggs, 2005) and of the colours: the first
    ones say what most of the image is like, each further one tells it in more detail.

    Args:
        small: The image, `(SIDE, SIDE, 3)` uint8.
        gray: The same, `(SIDE, SIDE)` uint8.
        count: In [1, MOST_FEATURES].
    """
    across, down = cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    strength, angle = cv2.cartToPolar(across, down)
    # A direction and its opposite are one: dark to bright or bright to dark is a matter of the background.
    direction = np.minimum((angle % np.pi * (_DIRECTIONS / np.pi)).astype(np.intp), _DIRECTIONS - 1)
    sums = np.bincount((_places() + direction).reshape(-1), strength.reshape(-1), _PLACES**2 * _DIRECTIONS)
    edges = _cosines(_PLACES) @ np.sqrt(sums / (sums.sum() or 1)).reshape(-1, _DIRECTIONS) * (255 * _EDGE_SCALE)
    places = cv2.resize(small, (_COLOR_PLACES, _COLOR_PLACES), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    colors = _cosines(_COLOR_PLACES) @ (places - 128.0) * _COLOR_SCALE
    # Colours and edges alike, as long as there are colours.
    coarse = np.concatenate([edges[: len(colors)], colors], axis=1)
    features = np.concatenate([coarse.reshape(-1), edges[len(colors) :].reshape(-1)])[:count]
    return np.clip(np.rint(features + _MIDDLE), 0, 255).astype(np.uint8)


def mirror_coarse_edges(edges: np.ndarray) -> np.ndarray:
    """`(n, m)`: what `COARSE_EDGES` of mirror images are, from those of images."""
    terms = (edges - _MIDDLE).reshape(len(edges), edges.shape[1] // _DIRECTIONS, _DIRECTIONS)
    # A direction leans to the other side; waves that are odd from left to right change their sign.
    mirrored: np.ndarray = terms[:, :, ::-1] * _signs(_PLACES)[: terms.shape[1], None]
    return mirrored.reshape(edges.shape) + _MIDDLE


def _signs(side: int) -> np.ndarray:
    """`(side * side,)`: -1 for the cosines that change their sign with the sides, 1 for others; in the order of `_cosines`."""
    rows, columns = np.divmod(np.arange(side * side), side)
    return np.where(columns % 2, -1, 1)[np.lexsort((rows, rows + columns))]


@functools.cache
def _places() -> np.ndarray:
    """`(SIDE, SIDE)`: the first bin of the place of each pixel."""
    row = np.arange(SIDE) * _PLACES // SIDE
    return (row[:, None] * _PLACES + row) * _DIRECTIONS


@functools.cache
def _cosines(side: int) -> np.ndarray:
    """`(side * side, side * side)`: the cosine transform of a square, its rows from coarse to fine."""
    frequency, place = np.arange(side)[:, None], np.arange(side)[None, :]
    one = np.cos(np.pi * frequency * (place + 0.5) / side) * np.where(frequency == 0, np.sqrt(0.5), 1) * np.sqrt(2 / side)
    both = np.einsum("ui,vj->uvij", one, one).reshape(side * side, side * side)
    rows, columns = np.divmod(np.arange(side * side), side)
    return both[np.lexsort((rows, rows + columns))]
