"""Mixtures of each sample of a batch with another one of it: MixUp and CutMix."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.fields import Field
from kseq.training.augment import number_in, number_pair
from kseq.training.moving_fields import looks_like_positions
from kseq.training.transforms import draw

__all__ = ["CutMix", "MixUp", "Mixture", "RowsToMix", "check_mixing", "mix"]

# Draws of mixtures are keyed apart from those of augmentations, whose positions in the list are small.
_FIRST_POSITION = 1 << 20

# Of so many tries of `_log_gamma`, each of which fails less than once in twenty times, all fail once in 10**10.
_TRIES = 8
_DRAWS_OF_BETA = 2 * (1 + 3 * _TRIES)


class Mixture(NamedTuple):
    """How the rows of a batch were mixed.

    Attributes:
        partners: `(n,)` int64: the row that each was mixed with; its own where it does not take part.
        shares: `(n,)` float32 in [0, 1]: how much is left of each row; the rest is its partner's.
    """

    partners: np.ndarray
    shares: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """`(n, ...)` numbers, mixed: float32."""
        shares = self.shares.reshape(-1, *[1] * (values.ndim - 1))
        mixed: np.ndarray = shares * values + (1 - shares) * values[self.partners]
        return mixed.astype(np.float32, copy=False)


class RowsToMix:
    """The rows of one batch that mixtures are drawn for.

    Args:
        seed: Draws them, together with the epoch and the keys.
        epoch: The epoch.
        keys: `(n,)` int64: of each row, made of its sample id and turn.
        take_part: `(n,)` bool: which rows are mixed with each other; the others stay as they are.

    Attributes:
        mixtures: Those that were made of the rows, in their order.
    """

    def __init__(self, seed: int, epoch: int, keys: np.ndarray, take_part: np.ndarray) -> None:
        self._seed, self._epoch, self._keys, self._take_part = seed, epoch, keys, take_part
        self.mixtures: list[Mixture] = []

    def draw(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` int64: a partner for each row, drawn without replacement; and `(n, count)` float64 in [0, 1)."""
        position = _FIRST_POSITION + len(self.mixtures)
        draws = draw(self._seed, self._epoch, position, self._keys, 1 + count)
        rows = np.flatnonzero(self._take_part)
        partners = np.arange(len(self._keys))
        partners[rows] = rows[np.argsort(draws[rows, 0], kind="stable")]
        return partners, draws[:, 1:]


@dataclass(frozen=True)
class MixUp:
    """Mixes each sample of a batch with another of the same batch (H. Zhang et al., "mixup", 2018), as `keras.layers.MixUp`.

    Images become `share * image + (1 - share) * other`, and so do labels, several labels, numbers and sample weights. It stands
    in `augment` where functions over a batch do. Labels must be shares of classes: `label_mode="categorical"` (or `"binary"`).
    Rows of weight 0, such as those that only fill a batch up, are mixed with none. What is drawn depends on the seed, the epoch
    and the samples of the batch alone.

    Args:
        alpha: Shares are drawn from a Beta distribution with both parameters `alpha`, in (0, 100]: near 0, one of two samples
            prevails; with 1, all shares are equally likely.

    Raises:
        ArgumentError: If `alpha` is not allowed; when batches are made, if they hold what cannot be mixed: class numbers,
            masks, boxes, keypoints, text.

    Examples:
        >>> kseq.ShardSequence("flowers", "train", label_mode="categorical", dtype="float32", augment=kseq.MixUp(0.2))
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        if number_in("MixUp alpha", self.alpha, 0, 100) == 0:
            raise ArgumentError("MixUp alpha=0: allowed are numbers in (0, 100]")


@dataclass(frozen=True)
class CutMix:
    """Puts a rectangle of another sample of the batch into each (S. Yun et al., "CutMix", 2019), as `keras.layers.CutMix`.

    Images and masks get the pixels of the other in the rectangle. Labels, several labels, numbers and sample weights become
    `share * value + (1 - share) * other`, where `share` is the part of the pixels that is left. All else is as with `MixUp`.

    Args:
        factor: Least and greatest parameter of the Beta distribution that the share is drawn from, in [0, 1], itself drawn
            evenly for each sample; one number for `(0, factor)`.

    Raises:
        ArgumentError: If `factor` is not allowed; when batches are made, if they hold what cannot be mixed: class numbers,
            boxes, keypoints, text.

    Examples:
        >>> kseq.ShardSequence("flowers", "train", label_mode="categorical", augment=kseq.CutMix())
    """

    factor: float | tuple[float, float] = 1.0

    def __post_init__(self) -> None:
        low, high = _factor_range(self.factor)
        if low > high:
            raise ArgumentError(f"CutMix factor={self.factor!r}: allowed are two rising numbers in [0, 1]")


def mix(
    function: MixUp | CutMix,
    batch: Mapping[str, np.ndarray],
    pixels: Collection[str],
    numbers: Collection[str],
    *,
    rows: RowsToMix,
    dtype: str,
) -> dict[str, np.ndarray]:
    """The mixed fields of a batch.

    Args:
        function: How they are mixed.
        batch: All its fields by name.
        pixels: The names of images and masks, `(n, height, width, channels)` numbers, the first image first.
        numbers: The names of other fields that are mixed, `(n, ...)` numbers.
        rows: Its rows; the mixture is added to them.
        dtype: That of images in the end: uint8 pixels are rounded if it is uint8.
    """
    if isinstance(function, MixUp):
        partners, draws = rows.draw(_DRAWS_OF_BETA)
        mixture = Mixture(partners, _beta(np.full(len(draws), float(function.alpha)), draws).astype(np.float32))
        mixed = {name: _blended(batch[name], mixture, dtype) for name in pixels}
    else:
        partners, draws = rows.draw(3 + _DRAWS_OF_BETA)
        edges = _edges(*_factor_range(function.factor), draws)
        edges[partners == np.arange(len(partners))] = 0
        height, width = batch[next(iter(pixels))].shape[1:3]
        bounds = _pixel_bounds(edges, height, width)
        areas = (bounds[:, 2:] - bounds[:, :2]).prod(axis=1)
        mixture = Mixture(partners, (1 - areas / (height * width)).astype(np.float32))
        mixed = {name: _cut(batch[name], partners, edges) for name in pixels}
    rows.mixtures.append(mixture)
    return mixed | {name: mixture.of(batch[name]) for name in numbers}


def _factor_range(factor: Any) -> tuple[float, float]:
    if isinstance(factor, (Sequence, np.ndarray)):
        return number_pair("CutMix factor", factor, 0, 1)
    return 0.0, number_in("CutMix factor", factor, 0, 1)


def _edges(low: float, high: float, draws: np.ndarray) -> np.ndarray:
    """`(n, 4)`: top, left, bottom and right edge of rectangles, in shares of the image."""
    # Keras adds as much: a Beta distribution has parameters above 0.
    sides = np.sqrt(1 - _beta(low + draws[:, 0] * (high - low) + 1e-6, draws[:, 3:]))[:, None]
    corners = draws[:, 1:3] * (1 - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def check_mixing(
    fields: Mapping[str, Field],
    functions: Sequence[Any],
    *,
    label_mode: str | None,
    has_targets: bool,
    unmoved: frozenset[str],
    dtype: str,
) -> None:
    """Refuse mixtures of what has none.

    Args:
        fields: Those of a batch.
        functions: What is done to a batch.
        label_mode: How labels leave.
        has_targets: Whether batches have targets.
        unmoved: The fields of numbers that are said not to lie in the image.
        dtype: That of images in the end.

    Raises:
        ArgumentError: If a field of the batch has no mean of two values, nothing of the batch is learnt, or images stay whole
            numbers of 16 bits.
    """
    for function in functions:
        if not isinstance(function, (MixUp, CutMix)):
            continue
        name = type(function).__name__
        if not has_targets:
            raise ArgumentError(f"augment has {name}, which mixes what is learnt too, and the batch has no targets")
        if isinstance(function, MixUp) and dtype == "uint16":
            raise ArgumentError(
                f"augment has {name}, whose means of images of uint16 have fractions, found dtype='uint16': give "
                "dtype='float32'"
            )
        for field in fields.values():
            reason = _reason_against(field, function, label_mode, unmoved)
            if reason:
                raise ArgumentError(f"augment has {name}, and field {field.name} {reason}")


def _reason_against(field: Field, function: MixUp | CutMix, label_mode: str | None, unmoved: frozenset[str]) -> str:
    handler = field.handler
    if field.is_label and label_mode == "int":
        return "would be mixed as class numbers (label_mode='int'), which have no mean: give label_mode='categorical'"
    if field.is_pixels and not handler.blends:
        return "" if isinstance(function, CutMix) else f"is a {handler.name}, whose values have no mean: kseq.CutMix cuts it"
    if not handler.blends or handler.is_padded:
        return (
            f"is {field.describe()}, which has no mean of two samples: leave it out of inputs and targets, or mix by a "
            "kseq.BatchFunction"
        )
    if field.name not in unmoved and looks_like_positions(field):
        return (
            f"is {field.describe()}, which looks like positions, whose mean means nothing: unmoved={field.name!r} says that "
            "they do not lie in the image"
        )
    return ""


def _beta(alphas: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """`(n,)` float64 in [0, 1] of Beta distributions with both parameters `alphas`.

    From uniform draws, not from numpy's generators: these promise no stream from version to version.
    """
    first, second = np.split(draws, 2, axis=1)
    # In logarithms: for a small alpha, both numbers are 0 otherwise. Above 700, exp overflows.
    gap = np.clip(_log_gamma(alphas, second) - _log_gamma(alphas, first), -700, 700)
    shares: np.ndarray = 1 / (1 + np.exp(gap))
    return shares


def _log_gamma(alphas: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """`(n,)` float64: logarithms of numbers of Gamma distributions (G. Marsaglia and W. Tsang, "A Simple Method for Generating
    Gamma Variables", 2000)."""
    power, tries = np.log1p(-draws[:, 0]), draws[:, 1:].reshape(len(draws), _TRIES, 3)
    # By Box and Muller; draws are below 1.
    normal = np.sqrt(-2 * np.log1p(-tries[..., 0])) * np.cos(2 * math.pi * tries[..., 1])
    depth = (alphas + 1 - 1 / 3)[:, None]
    cube = (1 + normal / np.sqrt(9 * depth)) ** 3
    positive = np.maximum(cube, 1e-300)
    is_taken = (cube > 0) & (np.log1p(-tries[..., 2]) < normal**2 / 2 + depth - depth * positive + depth * np.log(positive))
    taken = positive[np.arange(len(draws)), np.argmax(is_taken, axis=1)]
    logs: np.ndarray = np.log(depth[:, 0] * taken) + power / alphas
    return logs


def _blended(images: np.ndarray, mixture: Mixture, dtype: str) -> np.ndarray:
    """`(n, height, width, channels)` numbers, mixed: uint8 where they are and stay so, else float32."""
    is_rounded = images.dtype == np.uint8 and dtype == "uint8"
    if images.dtype not in (np.uint8, np.uint16, np.float32):
        images = images.astype(np.float32)
    out = np.empty(images.shape, np.uint8 if is_rounded else np.float32)
    depth = cv2.CV_8U if is_rounded else cv2.CV_32F
    # OpenCV adds without a copy of the batch in between.
    flat, flat_out = (array.reshape(len(array), array.shape[1], -1) for array in (np.ascontiguousarray(images), out))
    for row, (partner, share) in enumerate(zip(mixture.partners.tolist(), mixture.shares.tolist(), strict=True)):
        cv2.addWeighted(flat[row], share, flat[partner], 1 - share, 0, dst=flat_out[row], dtype=depth)
    return out


def _cut(images: np.ndarray, partners: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """`(n, height, width, channels)`: each with a rectangle of its partner; those that were given are not changed."""
    out = images.copy()
    bounds = _pixel_bounds(edges, *images.shape[1:3]).tolist()
    for row, (partner, (top, left, bottom, right)) in enumerate(zip(partners.tolist(), bounds, strict=True)):
        out[row, top:bottom, left:right] = images[partner, top:bottom, left:right]
    return out


def _pixel_bounds(edges: np.ndarray, height: int, width: int) -> np.ndarray:
    """`(n, 4)` int64: the rows and columns whose numbers are not below the first edges, and below the others."""
    return np.ceil(edges * np.array([height, width, height, width])).astype(np.int64)
