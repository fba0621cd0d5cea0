"""Pixels of any dtype and any number of channels, as eyes and browsers take them."""

from __future__ import annotations

import cv2
import numpy as np

from kseq.images.formats import JPEG, PNG

__all__ = ["as_rgb", "color_mask", "encode_as_jpeg", "encode_as_png", "fit", "palette"]

# Behind transparent pixels.
_BACKGROUND = 255

# The value of a mask that most often means "nothing said of this pixel".
_IGNORED = 255


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """`(height, width, 3)` uint8 of pixels of any dtype and any number of channels, for eyes.

    Gray becomes RGB, transparent pixels lie on white, of more channels the first three are shown. Other dtypes than uint8 are
    stretched from their smallest to their largest value.
    """
    if pixels.dtype != np.uint8:
        pixels = _stretch(pixels)
    channels = pixels.shape[2]
    if channels == 3:
        return pixels
    if channels < 3:
        return np.repeat(pixels[:, :, :1], 3, axis=2)
    if channels > 4:
        return np.ascontiguousarray(pixels[:, :, :3])
    alpha = pixels[:, :, 3:].astype(np.uint16)
    blended = (pixels[:, :, :3] * alpha + _BACKGROUND * (255 - alpha)) // 255
    return blended.astype(np.uint8)


def _stretch(pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float32)
    finite = values[np.isfinite(values)]
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=least, posinf=most, neginf=least)
    return ((values - least) * (255 / (most - least or 1))).astype(np.uint8)


def fit(pixels: np.ndarray, side: int) -> np.ndarray:
    """An image whose sides are at most `side` pixels, smaller images as they are, averaged where it shrinks; of more than four
    channels the first three."""
    height, width, channels = pixels.shape
    share = side / max(height, width)
    if share >= 1:
        return pixels
    size = max(1, round(width * share)), max(1, round(height * share))
    # OpenCV knows no float16, averages four channels at most, and leaves out the axis of a single one.
    known = pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels
    shrunk = cv2.resize(known if channels <= 4 else np.ascontiguousarray(known[:, :, :3]), size, interpolation=cv2.INTER_AREA)
    return shrunk.reshape(size[1], size[0], -1)


def palette() -> np.ndarray:
    """`(256, 3)` uint8: a colour for each value of a mask, neighbours unlike each other."""
    hue = (np.arange(256) * 97) % 180
    saturation, value = np.where(np.arange(256) % 2, 230, 170), np.where(np.arange(256) % 3, 235, 175)
    colors = np.stack([hue, saturation, value], axis=-1).astype(np.uint8)[None]
    rgb: np.ndarray = cv2.cvtColor(colors, cv2.COLOR_HSV2RGB)[0]
    rgb[_IGNORED] = 150
    return rgb


def color_mask(values: np.ndarray) -> np.ndarray:
    """`(height, width, 4)` uint8: a mask, `(height, width, 1)`, in colours; 0 is transparent, 255 gray."""
    numbers = values[:, :, 0]
    if numbers.dtype == np.uint16:
        # Of many objects, neighbours in number differ.
        numbers = np.where(numbers > 0, (numbers - 1) % 254 + 1, 0).astype(np.uint8)
    if numbers.dtype != np.uint8:
        numbers = _stretch(values)[:, :, 0]
    colored = np.empty((*numbers.shape, 4), np.uint8)
    colored[:, :, :3] = palette()[numbers]
    colored[:, :, 3] = np.where(numbers == 0, 0, 255)
    return colored


def encode_as_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """`(height, width, 3)` uint8 as the bytes of a JPEG, for a browser."""
    _, data = cv2.imencode(JPEG.suffixes[0], cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def encode_as_png(pixels: np.ndarray) -> bytes:
    """`(height, width, 3 or 4)` uint8 as the bytes of a PNG, quickly: the very pixels."""
    code = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, data = cv2.imencode(PNG.suffixes[0], cv2.cvtColor(pixels, code), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()
