"""Crops and flips, drawn for each sample from (seed, epoch, sample id, turn in the epoch) alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kseq.arguments import whole_pair
from kseq.errors import ArgumentError
from kseq.ordering.permutation import hash_key, uniform

__all__ = ["CenterCrop", "Crop", "RandomFlip", "RandomResizedCrop", "draw"]

_FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")
_ATTEMPTS = 10


def draw(seed: int, epoch: int, place: int, sample_ids: np.ndarray, count: int) -> np.ndarray:
    """`(n, count)` float64 in [0, 1) for the augmentation at `place` in the list, the same in any worker or rank."""
    # Apart from the key of the order, which is hash_key(seed, epoch).
    return uniform(hash_key(seed, epoch, 1 + place), sample_ids, count)


def _check_size(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    return whole_pair(f"{name} size", (size, size) if np.ndim(size) == 0 else size)


def _check_rising(name: str, pair: Sequence[float], most: float) -> tuple[float, float]:
    try:
        low, high = map(float, pair)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 < low <= high <= most:
        raise ArgumentError(f"RandomResizedCrop {name}={pair!r}: allowed are two rising numbers above 0, up to {most:g}")
    return low, high


class Crop:
    """Cuts a box out of each image, then resizes it to `size`, `(height, width)` in pixels."""

    size: tuple[int, int]
    num_draws = 0

    def boxes(self, sizes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The box for each image.

        Args:
            sizes: `(n, 2)` int64: height and width of each image.
            draws: `(n, num_draws)` float64 in [0, 1).

        Returns:
            `(n, 4)` int64: top, left, height and width, inside the image.
        """
        raise NotImplementedError


class RandomResizedCrop(Crop):
    """A box of random area and aspect ratio, resized to one size.

    The crop of "Inception" training (C. Szegedy et al., "Going deeper with convolutions", 2015): the area is
    drawn evenly from `scale`, the logarithm of the ratio evenly from that of `ratio`; of ten draws, the first
    that fits in the image counts, else the largest centred box within `ratio`.

    Args:
        size: Side in pixels, or `(height, width)`.
        scale: Least and greatest area, as shares of the image's, in (0, 1].
        ratio: Least and greatest width / height.
    """

    num_draws = 4 * _ATTEMPTS

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = _check_size("RandomResizedCrop", size)
        self.scale = _check_rising("scale", scale, 1.0)
        self.ratio = _check_rising("ratio", ratio, 1e6)

    def boxes(self, sizes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        height, width = sizes[:, :1], sizes[:, 1:]
        area, ratio, down, right = draws.reshape(len(sizes), _ATTEMPTS, 4).transpose(2, 0, 1)
        target = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratios = np.exp(low + ratio * (high - low))
        box_width = np.rint(np.sqrt(target * ratios))
        box_height = np.rint(np.sqrt(target / ratios))
        fits = (box_width >= 1) & (box_width <= width) & (box_height >= 1) & (box_height <= height)
        top = np.floor(down * (height - box_height + 1))
        left = np.floor(right * (width - box_width + 1))
        first = np.argmax(fits, axis=1)
        chosen = np.stack([top, left, box_height, box_width], axis=2)[np.arange(len(sizes)), first]
        return np.where(fits.any(axis=1)[:, None], chosen, self._central(sizes)).astype(np.int64)

    def _central(self, sizes: np.ndarray) -> np.ndarray:
        height, width = sizes[:, 0], sizes[:, 1]
        box_height = np.clip(np.rint(width / self.ratio[0]), 1, height)
        box_width = np.clip(np.rint(height * self.ratio[1]), 1, width)
        return np.stack([(height - box_height) // 2, (width - box_width) // 2, box_height, box_width], axis=1)


class CenterCrop(Crop):
    """The centre of each image, `size` pixels, as `keras.layers.CenterCrop` cuts it.

    An image that is smaller in height or width gives its largest centred box of that aspect ratio, resized.

    Args:
        size: Side in pixels, or `(height, width)`.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _check_size("CenterCrop", size)

    def boxes(self, sizes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        height, width = sizes[:, 0], sizes[:, 1]
        target_height, target_width = self.size
        fits = (height >= target_height) & (width >= target_width)
        box_height = np.where(fits, target_height, np.clip(width * target_height // target_width, 1, height))
        box_width = np.where(fits, target_width, np.clip(height * target_width // target_height, 1, width))
        return np.stack([(height - box_height) // 2, (width - box_width) // 2, box_height, box_width], axis=1)


@dataclass(frozen=True)
class RandomFlip:
    """Mirrors each image or not, at even odds.

    Args:
        mode: `"horizontal"` (left and right change places), `"vertical"` or `"horizontal_and_vertical"` (each
            at even odds of its own), as in `keras.layers.RandomFlip`.
    """

    mode: str = "horizontal"

    num_draws = 2

    def __post_init__(self) -> None:
        if self.mode not in _FLIPS:
            raise ArgumentError(f"RandomFlip mode={self.mode!r}: allowed are {', '.join(_FLIPS)}")

    def flips(self, draws: np.ndarray) -> np.ndarray:
        """`(n, 2)` bool: whether each image is mirrored top to bottom, and left to right."""
        return (draws < 0.5) & np.array(["vertical" in self.mode, "horizontal" in self.mode])
