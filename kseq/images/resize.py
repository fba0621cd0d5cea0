"""Resizes pixels: Keras's interpolations, and its three ways to treat another aspect ratio.

Pixels have half-pixel centres and are not antialiased unless asked, as in `keras.ops.image.resize` and `tf.image.resize`;
results are rounded to whole numbers for uint8 and uint16, and stay as they are for floating-point pixels. OpenCV does bilinear
and nearest, and shrinks by area. Pillow, whose filters are antialiased, does bilinear, bicubic and lanczos3 that are to be so.
The other interpolations are weighted sums over rows, then over columns, with the kernels of TensorFlow
(`tensorflow/core/kernels/image/sampling_kernels.h`).

In floating-point pixels, NaN stays, and whatever is computed from it becomes NaN: by the nearest no pixel but its own, by
bilinear its neighbours too. Infinite values become NaN where pixels are weighted sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from kseq.images.rectangle import Rectangle

__all__ = [
    "INTERPOLATIONS",
    "RESIZES",
    "Placement",
    "crop_reductions",
    "crop_to_ratio",
    "is_averaging",
    "pad_to_ratio",
    "placement",
    "reductions",
    "resize",
    "resize_to",
]

RESIZES = ("stretch", "crop", "pad")


def crop_to_ratio(height: int, width: int, target_height: int, target_width: int) -> Rectangle:
    """The largest centred rectangle with the aspect ratio of the target (`keras.preprocessing.image.smart_resize`)."""
    crop_height = max(min(height, int(width * target_height / target_width)), 1)
    crop_width = max(min(width, int(height * target_width / target_height)), 1)
    return Rectangle((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def pad_to_ratio(height: int, width: int, target_height: int, target_width: int) -> Rectangle:
    """The rectangle inside the target that the whole image fills; the rest is 0 (`tf.image.resize_with_pad`).

    It is computed in float32, as in TensorFlow: in float64, some sides would be one pixel shorter.
    """
    sides, targets = np.array([height, width], np.float32), np.array([target_height, target_width], np.float32)
    inner = sides / (sides / targets).max()
    top, left = np.maximum(np.floor((targets - inner) / 2), 0).astype(int).tolist()
    inner_height, inner_width = np.maximum(np.floor(inner), 1).astype(int).tolist()
    return Rectangle(top, left, inner_height, inner_width)


class Placement(NamedTuple):
    """How an image is resized to a target.

    Attributes:
        source: The part of the image that is used.
        target: The part of the target that it fills.
    """

    source: Rectangle
    target: Rectangle

    def fill(self, pixels: np.ndarray, out: np.ndarray, interpolation: str, antialias: bool = False) -> None:
        """Resize an image to `out`, `(height, width, channels)` of its dtype; pixels outside of `target` become 0."""
        part, target = self.source.crop(pixels), self.target
        if (target.height, target.width) == out.shape[:2]:
            resize(part, out, interpolation, antialias)
            return
        inner = np.empty((target.height, target.width, out.shape[2]), out.dtype)
        resize(part, inner, interpolation, antialias)
        out[:] = 0
        target.crop(out)[:] = inner


def placement(height: int, width: int, target_height: int, target_width: int, fit: str) -> Placement:
    """How an image is resized to a target of another size; `fit` as in `resize_to`."""
    whole, target = Rectangle(0, 0, height, width), Rectangle(0, 0, target_height, target_width)
    if fit == "crop":
        return Placement(crop_to_ratio(height, width, target_height, target_width), target)
    return Placement(whole, pad_to_ratio(height, width, target_height, target_width) if fit == "pad" else target)


def is_averaging(interpolation: str, antialias: bool) -> bool:
    """Whether each pixel of an image that is shrunk comes from all pixels under it, not from the nearest few."""
    return interpolation == "area" or (antialias and interpolation != "nearest")


def reductions(height: np.ndarray, width: np.ndarray, target_height: Any, target_width: Any) -> np.ndarray:
    """How many times smaller JPEGs may be decoded before an averaging resize: 1, 2, 4 or 8.

    libjpeg reduces in the frequency domain, which averages too, but not by the weights of the resize. Measured on photos of 400
    x 533, the pixels then differ from those of the full image by less than 2 of 255 on average: 1.2 to 1.8, by how often that
    is. So a JPEG at a half must still have 1.25 times the height and width of the target, at a quarter or less twice.

    Args:
        height: `(images,)` int64: of the parts that are resized, in pixels.
        width: `(images,)` int64: of the parts that are resized, in pixels.
        target_height: Of the results: a number, or `(images,)` int64.
        target_width: Of the results: a number, or `(images,)` int64.
    """
    return _powers_of_two(height, width, target_height, target_width, [2 * 1.25, 4 * 2.0, 8 * 2.0])


def crop_reductions(height: np.ndarray, width: np.ndarray, target_height: Any, target_width: Any) -> np.ndarray:
    """How many times smaller JPEGs may be decoded whose crops are still at least as large as the target then.

    The arguments and what is returned are those of `reductions`.
    """
    return _powers_of_two(height, width, target_height, target_width, [2, 4, 8])


def _powers_of_two(height: np.ndarray, width: np.ndarray, target_height: Any, target_width: Any, least: list) -> np.ndarray:
    """1, or 2, 4 and 8 where a side is at least so many times as long as that of the target."""
    times = np.minimum(height / target_height, width / target_width)
    factors: np.ndarray = 1 << np.searchsorted(least, times, side="right")
    return factors


def resize_to(pixels: np.ndarray, out: np.ndarray, fit: str, interpolation: str, antialias: bool = False) -> None:
    """Resize an image to `out`, which may have another aspect ratio.

    Args:
        pixels: `(height, width, channels)` uint8, uint16, float32 or float16.
        out: `(target_height, target_width, channels)` of the same dtype, C-contiguous.
        fit: `"stretch"` changes the aspect ratio, `"crop"` is Keras's `crop_to_aspect_ratio`, `"pad"` its
            `pad_to_aspect_ratio` with 0.
        interpolation: One of `INTERPOLATIONS`.
        antialias: As in `resize`.
    """
    placement(pixels.shape[0], pixels.shape[1], out.shape[0], out.shape[1], fit).fill(pixels, out, interpolation, antialias)


def resize(pixels: np.ndarray, out: np.ndarray, interpolation: str, antialias: bool = False) -> None:
    """Resize a whole image to `out`, stretched if that has another aspect ratio.

    Args:
        pixels: `(height, width, channels)` uint8, uint16, float32 or float16.
        out: `(target_height, target_width, channels)` of the same dtype, C-contiguous.
        interpolation: One of `INTERPOLATIONS`.
        antialias: Widen the kernel where the image is shrunk, so that every pixel counts; `"nearest"` and `"area"` stay as they
            are, as in `tf.image.resize`.
    """
    shrinks = pixels.shape[0] >= out.shape[0] and pixels.shape[1] >= out.shape[1]
    if pixels.shape == out.shape:
        np.copyto(out, pixels)
    elif pixels.itemsize == 2 and pixels.dtype == np.float16:
        _resize_float16(pixels, out, interpolation, antialias)
    elif antialias and interpolation in _PILLOW:
        _resize_pillow(pixels, out, _PILLOW[interpolation])
    elif interpolation in _OPENCV:
        _resize_opencv(pixels, out, _OPENCV[interpolation])
    elif interpolation == "area" and shrinks:
        _resize_opencv(pixels, out, cv2.INTER_AREA)
    else:
        rows = _weights(pixels.shape[0], out.shape[0], interpolation, antialias)
        columns = _weights(pixels.shape[1], out.shape[1], interpolation, antialias)
        sums = _weighted_sums(pixels.astype(np.float32), rows, columns)
        if out.dtype.kind == "f":
            np.copyto(out, sums)
        else:
            np.copyto(out, np.clip(np.rint(sums), 0, np.iinfo(out.dtype).max), casting="unsafe")


def _resize_float16(pixels: np.ndarray, out: np.ndarray, interpolation: str, antialias: bool) -> None:
    """OpenCV has no arithmetic of float16; the nearest pixel needs none."""
    if interpolation == "nearest":
        resize(pixels.view(np.uint16), out.view(np.uint16), interpolation)
        return
    wide = np.empty(out.shape, np.float32)
    resize(pixels.astype(np.float32), wide, interpolation, antialias)
    np.copyto(out, wide, casting="same_kind")


def _weighted_sums(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    is_finite = np.isfinite(pixels)
    if is_finite.all():
        return _weighted(pixels, rows, columns)
    # A weight of 0 times NaN is NaN: those that weigh nothing must not count.
    sums = _weighted(np.where(is_finite, pixels, 0), rows, columns)
    sums[_weighted(~is_finite, np.abs(rows), np.abs(columns)) > 0] = np.nan
    return sums


def _weighted(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    narrow = np.einsum("xw,hwc->hxc", columns, pixels, optimize=True)
    sums: np.ndarray = np.einsum("yh,hxc->yxc", rows, narrow, optimize=True)
    return sums


# OpenCV averages at most so many channels at a time.
_MOST_AREA_CHANNELS = 4
_OPENCV = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST_EXACT}
_PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
}
# Channels to a mode of Pillow. RGBA would be resized with its colours multiplied by alpha.
_PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBX"}


def _resize_opencv(pixels: np.ndarray, out: np.ndarray, flag: int) -> None:
    """Resize by OpenCV, which drops a channel axis of length 1, so that such images are passed without it."""
    size = (out.shape[1], out.shape[0])
    if flag == cv2.INTER_AREA and out.shape[2] > _MOST_AREA_CHANNELS:
        for start in range(0, out.shape[2], _MOST_AREA_CHANNELS):
            some = slice(start, start + _MOST_AREA_CHANNELS)
            resized = cv2.resize(np.ascontiguousarray(pixels[..., some]), size, interpolation=flag)
            out[..., some] = resized.reshape(*out.shape[:2], -1)
    elif out.shape[2] == 1:
        cv2.resize(pixels[..., 0], size, dst=out[..., 0], interpolation=flag)
    else:
        cv2.resize(pixels, size, dst=out, interpolation=flag)


def _resize_pillow(pixels: np.ndarray, out: np.ndarray, resampling: Image.Resampling) -> None:
    """Resize by Pillow, which rounds to uint8 between rows and columns: pixels differ by at most 1 from those of TensorFlow.

    Of another dtype, or other numbers of channels, each channel is resized by itself, in float32 but for uint8."""
    if pixels.dtype != np.uint8 or pixels.shape[2] not in _PILLOW_MODES:
        for channel in range(pixels.shape[2]):
            _resize_channel(pixels[:, :, channel], out[:, :, channel], resampling)
        return
    mode, (height, width, channels) = _PILLOW_MODES[out.shape[2]], pixels.shape
    image = Image.frombuffer(mode, (width, height), np.ascontiguousarray(pixels), "raw", mode, 0, 1)
    np.copyto(out, np.asarray(image.resize((out.shape[1], out.shape[0]), resampling)).reshape(out.shape[0], -1, channels))


def _resize_channel(channel: np.ndarray, out: np.ndarray, resampling: Image.Resampling) -> None:
    stored = channel if channel.dtype == np.uint8 else channel.astype(np.float32)
    image = Image.fromarray(np.ascontiguousarray(stored))
    resized = np.asarray(image.resize((out.shape[1], out.shape[0]), resampling))
    if out.dtype.kind == "u" and resized.dtype.kind == "f":
        resized = np.clip(np.rint(resized), 0, np.iinfo(out.dtype).max)
    np.copyto(out, resized, casting="unsafe")


def _keys_cubic(distance: np.ndarray) -> np.ndarray:
    """R. Keys, "Cubic convolution interpolation", 1981, with a = -0.5."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _mitchell_cubic(distance: np.ndarray) -> np.ndarray:
    """D. Mitchell and A. Netravali, "Reconstruction filters in computer graphics", 1988, B = C = 1/3."""
    near = (7 * distance - 12) * distance * distance + 16 / 3
    far = ((-7 / 3 * distance + 12) * distance - 20) * distance + 32 / 3
    return np.where(distance < 1, near, np.where(distance < 2, far, 0)) / 6


def _gaussian(distance: np.ndarray) -> np.ndarray:
    """A Gaussian of radius 1.5, whose standard deviation is a third of that."""
    return np.where(distance < 1.5, np.exp(-(distance**2) / (2 * 0.5**2)), 0)


def _lanczos(radius: int, distance: np.ndarray) -> np.ndarray:
    return np.where(distance < radius, np.sinc(distance) * np.sinc(distance / radius), 0)


_KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bicubic": _keys_cubic,
    "gaussian": _gaussian,
    "lanczos3": functools.partial(_lanczos, 3),
    "lanczos5": functools.partial(_lanczos, 5),
    "mitchellcubic": _mitchell_cubic,
}

# Named as in `keras.utils.image_dataset_from_directory`.
INTERPOLATIONS = ("bilinear", "nearest", "area", *sorted(_KERNELS))


@functools.lru_cache(maxsize=64)
def _weights(length: int, target_length: int, interpolation: str, antialias: bool) -> np.ndarray:
    """`(target_length, length)` float32: the weight of each source row in each target row; rows sum to 1."""
    scale = length / target_length
    source = np.arange(length)
    target = np.arange(target_length)[:, None]
    if interpolation == "area":
        overlap = np.minimum((target + 1) * scale, source + 1) - np.maximum(target * scale, source)
        weights = np.clip(overlap, 0, None)
    else:
        centre = np.clip((target + 0.5) * scale, 0, length)
        weights = _KERNELS[interpolation](np.abs(source + 0.5 - centre) / (max(scale, 1) if antialias else 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
