"""Random rotations, shifts, changes of scale and shears: one matrix, under several names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from kseq.arguments import choice, whole
from kseq.training.augment import Augmentation, check_value, number_in, number_pair, rising_pair

__all__ = ["RandomAffine", "RandomRotation", "RandomTranslation", "RandomZoom"]

# Keras's names for what comes from outside of an image.
_FILL_MODES = {
    "reflect": cv2.BORDER_REFLECT,
    "constant": cv2.BORDER_CONSTANT,
    "nearest": cv2.BORDER_REPLICATE,
    "wrap": cv2.BORDER_WRAP,
}
_INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}

# OpenCV takes a value of the border for so many channels.
_MOST_CHANNELS = 4
# What is float32 still.
_MOST = float(np.finfo(np.float32).max)


class _Affine(Augmentation):
    """What moves pixels by a matrix about the centre and a shift.

    Its `parameters` are `(n, 6)`: of each image the four numbers of the matrix, and the shift down and across, as parts of its
    height and width.
    """

    fill: float = 0
    mask_fill: int = 0
    map_fill: float = 0
    border, interpolation_flag = cv2.BORDER_CONSTANT, cv2.INTER_LINEAR

    @staticmethod
    def _matrix(parameters: np.ndarray, height: int, width: int, corner: float) -> np.ndarray:
        """`(2, 3)`: where points go, of coordinates in which the upper left corner of the image is at (-corner, -corner)."""
        turn, (down, across) = parameters[:4].reshape(2, 2), parameters[4:]
        centre = np.array([width / 2, height / 2]) - corner
        return np.column_stack([turn, centre - turn @ centre + np.array([across * width, down * height])])

    def _warp(self, pixels: np.ndarray, parameters: Any, flags: int, fill: float) -> np.ndarray:
        height, width, channels = pixels.shape
        if pixels.dtype == np.float16:
            return self._warp(pixels.astype(np.float32), parameters, flags, fill).astype(np.float16)
        if channels > _MOST_CHANNELS:
            parts = [pixels[..., start : start + _MOST_CHANNELS] for start in range(0, channels, _MOST_CHANNELS)]
            warped = [self._warp(np.ascontiguousarray(part), parameters, flags, fill) for part in parts]
            return np.concatenate([part.reshape(height, width, -1) for part in warped], axis=2)
        # In OpenCV's coordinates, whole numbers are the centres of pixels.
        matrix = self._matrix(parameters, height, width, 0.5)
        options = {"flags": flags, "borderMode": self.border, "borderValue": (fill,) * channels}
        return cv2.warpAffine(pixels, matrix, (width, height), **options)

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Move the pixels of an image: see `Augmentation.apply_to_image`."""
        return self._warp(pixels, parameters, self.interpolation_flag, self.fill)

    def apply_to_mask(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Move the values of a mask: see `Augmentation.apply_to_mask`."""
        fill = self.map_fill if pixels.dtype.kind == "f" else self.mask_fill
        return self._warp(pixels, parameters, cv2.INTER_NEAREST, fill)

    def apply_to_map(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Move the numbers of a map: see `Augmentation.apply_to_map`."""
        return self._warp(pixels, parameters, cv2.INTER_LINEAR, self.map_fill)

    def apply_to_points(self, points: np.ndarray, parameters: Any, height: int, width: int) -> np.ndarray:
        """Move points of an image: see `Augmentation.apply_to_points`."""
        matrix = self._matrix(parameters, height, width, 0)
        return points @ matrix[:, :2].T + matrix[:, 2]


class RandomAffine(_Affine):
    """Turns, shifts, scales and shears each image about its centre; masks, boxes and keypoints follow.

    Each number is drawn evenly from its range. Images and maps are sampled bilinearly, masks and maps of the kind `nearest_map`
    by the nearest pixel.

    Args:
        degrees: Turned by up to so many degrees, either way.
        translate: Shifted by up to these parts of the height and of the width, either way, in [0, 1]; one number for both.
        scale: Least and greatest factor, above 0; `(1, 1)` for none.
        shear: Sheared by up to so many degrees across, either way, below 90.
        fill: The value of image pixels that come from outside, in the numbers of the images: in [0, 255] for uint8.
        mask_fill: The value of mask pixels that come from outside, in [0, 255], such as 255 for "ignore".
        map_fill: The number of map pixels that come from outside, such as NaN.

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 5

    def __init__(
        self,
        degrees: float = 0,
        *,
        translate: float | tuple[float, float] = (0, 0),
        scale: tuple[float, float] = (1, 1),
        shear: float = 0,
        fill: float = 0,
        mask_fill: int = 0,
        map_fill: float = 0,
    ) -> None:
        self.degrees = number_in("RandomAffine degrees", degrees, 0, 180)
        self.shear = number_in("RandomAffine shear", shear, 0, 89.9)
        shifts = translate if isinstance(translate, (Sequence, np.ndarray)) else (translate, translate)
        self.translate = number_pair("RandomAffine translate", shifts, 0, 1)
        self.scale = rising_pair("RandomAffine scale", scale, 100)
        self.fill = number_in("RandomAffine fill", fill, -_MOST, _MOST)
        self.mask_fill = whole("RandomAffine mask_fill", mask_fill, 0, 255)
        is_nan = isinstance(map_fill, float) and math.isnan(map_fill)
        self.map_fill = math.nan if is_nan else number_in("RandomAffine map_fill", map_fill, -_MOST, _MOST)

    def check_dtype(self, dtype: str) -> None:
        """Refuse a `fill` that the images cannot have: see `Augmentation.check_dtype`."""
        check_value("RandomAffine fill", self.fill, dtype)

    def parameters(self, draws: np.ndarray) -> np.ndarray:
        """`(n, 6)`: of each image the four numbers of the matrix about its centre, and the shift down and across, as parts of
        its height and width."""
        signed = 2 * draws - 1
        angles, shears = np.deg2rad(signed[:, 0] * self.degrees), np.tan(np.deg2rad(signed[:, 1] * self.shear))
        scales = self.scale[0] + draws[:, 2] * (self.scale[1] - self.scale[0])
        parts = signed[:, 3:] * np.array(self.translate)
        cosines, sines = scales * np.cos(angles), scales * np.sin(angles)
        return np.stack([cosines, cosines * shears - sines, sines, sines * shears + cosines, *parts.T], axis=1)


class _KerasAffine(_Affine):
    """Moves pixels as a layer of Keras does; the factors of a subclass are drawn evenly.

    Args:
        factors: Argument to its value: one number for `(-number, number)`, or two.
        least: The least number that is allowed; 1 is the greatest.
        fill_mode: What comes from outside of an image and of a mask: `"reflect"`, `"constant"`, `"nearest"` or `"wrap"`.
        interpolation: `"bilinear"` or `"nearest"`, of images; masks take the nearest pixel.
        fill_value: With `fill_mode="constant"`, the value of pixels from outside, in [0, 255], of images and masks.
    """

    def __init__(self, factors: dict[str, Any], least: float, fill_mode: str, interpolation: str, fill_value: float) -> None:
        name = type(self).__name__
        self.ranges = np.array([_factor_range(f"{name} {key}", value, least) for key, value in factors.items()])
        self.border = _FILL_MODES[choice(f"{name} fill_mode", fill_mode, tuple(_FILL_MODES))]
        self.interpolation_flag = _INTERPOLATIONS[choice(f"{name} interpolation", interpolation, tuple(_INTERPOLATIONS))]
        self.fill = self.mask_fill = self.map_fill = whole(f"{name} fill_value", fill_value, 0, 255)

    def _drawn(self, draws: np.ndarray) -> np.ndarray:
        """`(n, factors)`: the factors of each image."""
        drawn: np.ndarray = self.ranges[:, 0] + draws[:, : len(self.ranges)] * (self.ranges[:, 1] - self.ranges[:, 0])
        return drawn


def _factor_range(name: str, factor: Any, least: float) -> tuple[float, float]:
    if isinstance(factor, (Sequence, np.ndarray)):
        low, high = sorted(number_pair(name, factor, least, 1))
        return low, high
    most = abs(number_in(name, factor, least, 1))
    return -most, most


class RandomRotation(_KerasAffine):
    """Turns each image about its centre, as `keras.layers.RandomRotation`; masks, boxes and keypoints follow.

    Args:
        factor: In parts of a full turn, in [-1, 1], counter-clockwise: least and greatest, or one number for both ways.
        fill_mode: What comes from outside: `"reflect"`, `"constant"`, `"nearest"` or `"wrap"`.
        interpolation: `"bilinear"` or `"nearest"`, of images; masks take the nearest pixel.
        fill_value: The value of pixels from outside with `fill_mode="constant"`, in [0, 255].

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 1

    def __init__(
        self,
        factor: float | tuple[float, float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: int = 0,
    ) -> None:
        super().__init__({"factor": factor}, -1, fill_mode, interpolation, fill_value)

    def parameters(self, draws: np.ndarray) -> np.ndarray:
        """See `RandomAffine.parameters`."""
        angles = 2 * np.pi * self._drawn(draws)[:, 0]
        cosines, sines, zeros = np.cos(angles), np.sin(angles), np.zeros(len(draws))
        return np.stack([cosines, sines, -sines, cosines, zeros, zeros], axis=1)


class RandomZoom(_KerasAffine):
    """Makes each image smaller or larger about its centre, as `keras.layers.RandomZoom`; masks, boxes and keypoints follow.

    Args:
        height_factor: In (-1, 1]: least and greatest, or one number for both ways. What is seen is `1 + factor` times as high:
            above 0, it is shown smaller.
        width_factor: The same across; None to keep the aspect ratio.
        fill_mode: As in `RandomRotation`.
        interpolation: As in `RandomRotation`.
        fill_value: As in `RandomRotation`.

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 2

    def __init__(
        self,
        height_factor: float | tuple[float, float],
        width_factor: float | tuple[float, float] | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: int = 0,
    ) -> None:
        factors = {"height_factor": height_factor}
        if width_factor is not None:
            factors["width_factor"] = width_factor
        super().__init__(factors, -0.999, fill_mode, interpolation, fill_value)

    def parameters(self, draws: np.ndarray) -> np.ndarray:
        """See `RandomAffine.parameters`."""
        factors = 1 / (1 + self._drawn(draws))
        zeros = np.zeros(len(draws))
        return np.stack([factors[:, -1], zeros, zeros, factors[:, 0], zeros, zeros], axis=1)


class RandomTranslation(_KerasAffine):
    """Shifts each image, as `keras.layers.RandomTranslation`; masks, boxes and keypoints follow.

    Args:
        height_factor: In parts of the height, in [-1, 1], down: least and greatest, or one number for both ways.
        width_factor: The same across, to the right.
        fill_mode: As in `RandomRotation`.
        interpolation: As in `RandomRotation`.
        fill_value: As in `RandomRotation`.

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 2

    def __init__(
        self,
        height_factor: float | tuple[float, float],
        width_factor: float | tuple[float, float],
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: int = 0,
    ) -> None:
        factors = {"height_factor": height_factor, "width_factor": width_factor}
        super().__init__(factors, -1, fill_mode, interpolation, fill_value)

    def parameters(self, draws: np.ndarray) -> np.ndarray:
        """See `RandomAffine.parameters`."""
        ones, zeros = np.ones(len(draws)), np.zeros(len(draws))
        return np.stack([ones, zeros, zeros, ones, *self._drawn(draws).T], axis=1)
