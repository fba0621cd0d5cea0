"""Random changes of images that move nothing: brightness, contrast, saturation, hue, and parts that are painted over."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from kseq.training.augment import Augmentation, check_value, number_in, rising_pair

__all__ = ["ColorJitter", "RandomErasing"]

_ATTEMPTS = 10
# What is float32 still.
_MOST = float(np.finfo(np.float32).max)


class ColorJitter(Augmentation):
    """Changes the brightness, the contrast, the saturation and the hue of each image, in this order; alpha stays.

    The first three factors are drawn evenly from `[1 - x, 1 + x]`, as in torchvision's `ColorJitter`, the turn of the hue as in
    `keras.layers.RandomHue`. Colours are clipped to [0, 255] at the end, or to what uint16 holds; those of float32 are not
    clipped. Of images that are neither grayscale nor RGB nor RGBA, all channels change, and the grey of a pixel is their mean;
    they have no hue. Masks, and images that are targets, stay as they are. List it after a crop: it then changes the crop
    alone.

    Args:
        brightness: In [0, 1]; pixels are multiplied by the factor.
        contrast: In [0, 1]; differences from the image's mean grey are multiplied.
        saturation: In [0, 1]; differences from each pixel's own grey are multiplied; nothing changes in a grayscale image.
        hue: In [0, 1]; hues are turned by up to `hue * 180` degrees, either way; nothing changes in a grayscale image.

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 4

    def __init__(self, brightness: float = 0, contrast: float = 0, saturation: float = 0, hue: float = 0) -> None:
        self.amounts = np.array([
            number_in(f"ColorJitter {name}", value, 0, 1)
            for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation))
        ])  # fmt: skip
        self.hue = number_in("ColorJitter hue", hue, 0, 1)

    def parameters(self, draws: np.ndarray) -> np.ndarray:
        """`(n, 4)`: the factors of each image, and by how many degrees its hues are turned."""
        signed = 2 * draws - 1
        return np.concatenate([1 + signed[:, :3] * self.amounts, signed[:, 3:] * self.hue * 180], axis=1)

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Change the colours of an image in place: see `Augmentation.apply_to_image`."""
        brightness, contrast, saturation, degrees = (float(factor) for factor in parameters)
        colors = pixels[..., : _num_colors(pixels)]
        changed = colors.astype(np.float32) * brightness
        if changed.shape[2] == 3:
            grey = cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY)[..., None]
        else:
            grey = changed if changed.shape[2] == 1 else changed.mean(axis=2, keepdims=True)
        mean = float(grey.mean())
        # Contrast and saturation are both mixtures with grey: with that of the image, and with that of the pixel.
        changed = mean + contrast * (grey - mean) + contrast * saturation * (changed - grey)
        most = np.inf if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
        if degrees and changed.shape[2] == 3:
            changed = _with_turned_hues(np.clip(changed, 0, most), degrees)
        if pixels.dtype.kind == "f":
            np.copyto(colors, changed)
        else:
            np.copyto(colors, np.clip(np.rint(changed), 0, most), casting="unsafe")
        return pixels


def _num_colors(pixels: np.ndarray) -> int:
    """How many of the channels of an image are colours: all but the alpha of RGBA."""
    channels: int = pixels.shape[2]
    return 3 if channels == 4 else channels


def _with_turned_hues(colors: np.ndarray, degrees: float) -> np.ndarray:
    """`(height, width, 3)` float32 of 0 or more, RGB."""
    hsv = cv2.cvtColor(colors, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = np.mod(hsv[..., 0] + np.float32(degrees), np.float32(360))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


class RandomErasing(Augmentation):
    """Paints a random rectangle of each image over, or not (Z. Zhong et al., "Random Erasing Data Augmentation", 2017).

    Of ten rectangles the first that fits into the image is taken; if none fits, the image stays. Masks, boxes and keypoints
    stay as they are: what is hidden is to be found all the same.

    Args:
        probability: How likely an image is changed, in [0, 1].
        scale: Least and greatest area, as parts of the image's area, in (0, 1].
        ratio: Least and greatest width / height, above 0.
        value: The value of the pixels that are painted over, in the numbers of the images: in [0, 255] for uint8.

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 1 + 4 * _ATTEMPTS

    def __init__(
        self,
        probability: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float = 0,
    ) -> None:
        self.probability = number_in("RandomErasing probability", probability, 0, 1)
        self.scale, self.ratio = rising_pair("RandomErasing scale", scale, 1), rising_pair("RandomErasing ratio", ratio, 1e6)
        self.value = number_in("RandomErasing value", value, -_MOST, _MOST)

    def check_dtype(self, dtype: str) -> None:
        """Refuse a `value` that the images cannot have: see `Augmentation.check_dtype`."""
        check_value("RandomErasing value", self.value, dtype)

    def parameters(self, draws: np.ndarray) -> list[np.ndarray | None]:
        """The draws of each image that is changed, None for the others."""
        return [row[1:].reshape(_ATTEMPTS, 4) if row[0] < self.probability else None for row in draws]

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Paint a rectangle over, in place: see `Augmentation.apply_to_image`."""
        height, width, _ = pixels.shape
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for area, ratio, down, across in parameters.tolist():
            target = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            factor = math.exp(low + ratio * (high - low))
            rows, columns = round(math.sqrt(target / factor)), round(math.sqrt(target * factor))
            if 1 <= rows < height and 1 <= columns < width:
                top, left = int(down * (height - rows + 1)), int(across * (width - columns + 1))
                # Alpha stays.
                pixels[top : top + rows, left : left + columns, : _num_colors(pixels)] = self.value
                break
        return pixels
