"""Random changes of images that move nothing: brightness, contrast, saturation, and parts that are painted over."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from kseq.arguments import whole
from kseq.training.augment import Augmentation, number_in, rising_pair

__all__ = ["ColorJitter", "RandomErasing"]

_ATTEMPTS = 10


class ColorJitter(Augmentation):
    """Changes the brightness, the contrast and the saturation of each image, in this order; alpha stays.

    Each factor is drawn evenly from `[1 - x, 1 + x]`, as in torchvision's `ColorJitter`. Colours are clipped to [0, 255] at the
    end. Masks, and images that are targets, stay as they are. List it after a crop: it then changes the crop alone.

    Args:
        brightness: In [0, 1]; pixels are multiplied by the factor.
        contrast: In [0, 1]; differences from the image's mean grey are multiplied.
        saturation: In [0, 1]; differences from each pixel's own grey are multiplied; nothing changes in a grayscale image.

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 3

    def __init__(self, brightness: float = 0, contrast: float = 0, saturation: float = 0) -> None:
        self.amounts = np.array([
            number_in(f"ColorJitter {name}", value, 0, 1)
            for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation))
        ])  # fmt: skip

    def parameters(self, draws: np.ndarray) -> np.ndarray:
        """`(n, 3)`: the factors of each image."""
        factors: np.ndarray = 1 + (2 * draws - 1) * self.amounts
        return factors

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Change the colours of an image in place: see `Augmentation.apply_to_image`."""
        brightness, contrast, saturation = (float(factor) for factor in parameters)
        colors = pixels[..., : 3 if pixels.shape[2] > 1 else 1]
        changed = colors.astype(np.float32) * brightness
        grey = cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY)[..., None] if changed.shape[2] == 3 else changed
        mean = float(grey.mean())
        # Contrast and saturation are both mixtures with grey: with that of the image, and with that of the pixel.
        changed = mean + contrast * (grey - mean) + contrast * saturation * (changed - grey)
        np.copyto(colors, np.clip(np.rint(changed), 0, 255), casting="unsafe")
        return pixels


class RandomErasing(Augmentation):
    """Paints a random rectangle of each image over, or not (Z. Zhong et al., "Random Erasing Data Augmentation", 2017).

    Of ten rectangles the first that fits into the image is taken; if none fits, the image stays. Masks, boxes and keypoints
    stay as they are: what is hidden is to be found all the same.

    Args:
        probability: How likely an image is changed, in [0, 1].
        scale: Least and greatest area, as parts of the image's area, in (0, 1].
        ratio: Least and greatest width / height, above 0.
        value: The value of the pixels that are painted over, in [0, 255].

    Raises:
        ArgumentError: If an argument is not allowed.
    """

    num_draws = 1 + 4 * _ATTEMPTS

    def __init__(
        self,
        probability: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: int = 0,
    ) -> None:
        self.probability = number_in("RandomErasing probability", probability, 0, 1)
        self.scale, self.ratio = rising_pair("RandomErasing scale", scale, 1), rising_pair("RandomErasing ratio", ratio, 1e6)
        self.value = whole("RandomErasing value", value, 0, 255)

    def parameters(self, draws: np.ndarray) -> list[np.ndarray | None]:
        """The draws of each image that is changed, None for the others."""
        return [row[1:].reshape(_ATTEMPTS, 4) if row[0] < self.probability else None for row in draws]

    def apply_to_image(self, pixels: np.ndarray, parameters: Any) -> np.ndarray:
        """Paint a rectangle over, in place: see `Augmentation.apply_to_image`."""
        height, width, channels = pixels.shape
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for area, ratio, down, across in parameters.tolist():
            target = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            factor = math.exp(low + ratio * (high - low))
            rows, columns = round(math.sqrt(target / factor)), round(math.sqrt(target * factor))
            if 1 <= rows < height and 1 <= columns < width:
                top, left = int(down * (height - rows + 1)), int(across * (width - columns + 1))
                # Alpha stays.
                pixels[top : top + rows, left : left + columns, : 3 if channels > 1 else 1] = self.value
                break
        return pixels
