"""Random rotations, shifts, changes of scale and shears."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from kseq.arguments import whole
from kseq.training.augment import Augmentation, number_in, number_pair, rising_pair

__all__ = ["RandomAffine"]


class RandomAffine(Augmentation):
    """Turns, shifts, scales and shears each image about its centre; masks, boxes and keypoints follow.

    Each number is drawn evenly from its range. Images are sampled bilinearly, masks by the nearest pixel.

    Args:
        degrees: Turned by up to so many degrees, either way.
        translate: Shifted by up to these parts of the height and of the width, either way, in [0, 1].
        scale: Least and greatest factor, above 0; `(1, 1)` for none.
        shear: Sheared by up to so many degrees across, either way, below 90.
        fill: The value of image pixels that come from outside, in [0, 255].
        mask_fill: The value of mask pixels that come from outside, in [0, 255], such as 255 for "ignore".

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 5

    def __init__(
        self,
        degrees: float = 0,
        *,
        translate: tuple[float, float] = (0, 0),
        scale: tuple[float, float] = (1, 1),
        shear: float = 0,
        fill: int = 0,
        mask_fill: int = 0,
    ) -> None:
        self.degrees = number_in("RandomAffine degrees", degrees, 0, 180)
        self.shear = number_in("RandomAffine shear", shear, 0, 89.9)
        self.translate = number_pair("RandomAffine translate", translate, 0, 1)
        self.scale = rising_pair("RandomAffine scale", scale, 100)
        self.fill, self.mask_fill = whole("RandomAffine fill", fill, 0, 255), whole("RandomAffine mask_fill", mask_fill, 0, 255)

    def parameters(self, draws: np.ndarray) -> np.ndarray:
        """`(n, 6)`: of each image the four numbers of the matrix about its centre, and the shift down and across, as parts of
        its height and width."""
        signed = 2 * draws - 1
        angles, shears = np.deg2rad(signed[:, 0] * self.degrees), np.tan(np.deg2rad(signed[:, 1] * self.shear))
        scales = self.scale[0] + draws[:, 2] * (self.scale[1] - self.scale[0])
        parts = signed[:, 3:] * np.array(self.translate)
        cosines, sines = scales * np.cos(angles), scales * np.sin(angles)
        return np.stack([cosines, cosines * shears - sines, sines, sines * shears + cosines, *parts.T], axis=1)

    @staticmethod
    def _matrix(parameters: np.ndarray, height: int, width: int, corner: float) -> np.ndarray:
        """`(2, 3)`: where points go, of coordinates in which the upper left corner of the image is at (-corner, -corner)."""
        turn, (down, across) = parameters[:4].reshape(2, 2), parameters[4:]
        centre = np.array([width / 2, height / 2]) - corner
        return np.column_stack([turn, centre - turn @ centre + np.array([across * width, down * height])])

    def _warp(self, pixels: np.ndarray, parameters: Any, flags: int, fill: int) -> np.ndarray:
        height, width, channels = pixels.shape
        # In OpenCV's coordinates, whole numbers are the centres of pixels.
        matrix = self._matrix(parameters, height, width, 0.5)
        return cv2.warpAffine(pixels, matrix, (width, height), flags=flags, borderValue=(fill,) * channels)

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Move the pixels of an image: see `Augmentation.apply_to_image`."""
        return self._warp(pixels, parameters, cv2.INTER_LINEAR, self.fill)

    def apply_to_mask(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Move the values of a mask: see `Augmentation.apply_to_mask`."""
        return self._warp(pixels, parameters, cv2.INTER_NEAREST, self.mask_fill)

    def apply_to_points(self, points: np.ndarray, parameters: Any, height: int, width: int) -> np.ndarray:
        """Move points of an image: see `Augmentation.apply_to_points`."""
        matrix = self._matrix(parameters, height, width, 0)
        return points @ matrix[:, :2].T + matrix[:, 2]
