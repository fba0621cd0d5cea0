"""What contestants without a decoder of their own use: simplejpeg to decode, OpenCV to resize and to mirror."""

from __future__ import annotations

import math

import cv2
import numpy as np
import simplejpeg

__all__ = ["crop_raw", "decode_crop", "draw_crop"]

cv2.setNumThreads(1)


def decode_crop(data: bytes | memoryview, size: int, rng: np.random.Generator, out: np.ndarray | None = None) -> np.ndarray:
    """`(size, size, 3)` uint8: a random part of a JPEG, 0.08 to 1 of its area, 3/4 to 4/3 as wide as high, mirrored or not."""
    return crop_raw(simplejpeg.decode_jpeg(data), size, rng, out)


def crop_raw(image: np.ndarray, size: int, rng: np.random.Generator, out: np.ndarray | None = None) -> np.ndarray:
    """The same of the pixels of an image."""
    top, left, height, width = draw_crop(*image.shape[:2], rng)
    part = image[top : top + height, left : left + width]
    resized = cv2.resize(part, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)
    return cv2.flip(resized, 1, dst=resized) if rng.random() < 0.5 else resized


def draw_crop(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part: 0.08 to 1 of the area, 3/4 to 4/3 as wide as high."""
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            return int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1)), high, wide
    return 0, 0, height, width
