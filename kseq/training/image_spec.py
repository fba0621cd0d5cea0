"""What the images of a batch are like: size, channels, dtype, and how images are resized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.images.codecs import CHANNELS
from kseq.images.resize import INTERPOLATIONS, RESIZES, is_averaging

__all__ = ["ImageSpec"]

_DTYPES = ("uint8", "float16", "float32")
_DECODES = ("fast", "exact")
_DATA_FORMATS = ("channels_last", "channels_first")


@dataclass(frozen=True)
class ImageSpec:
    """What the images of a batch are like, all of them.

    Attributes:
        height: In pixels.
        width: In pixels.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dtype: `"uint8"`, `"float16"` or `"float32"`.
        scale: What floating-point pixels are multiplied by, from [0, 255]; None for 1.
        fit: `"stretch"`, `"crop"` or `"pad"`: how an image of another aspect ratio is resized.
        interpolation: One of Keras's names.
        antialias: Average over all pixels where an image is shrunk.
        decode: How JPEGs are decoded that are shrunk to a half or less: `"fast"`: no better than the resize shows; `"exact"`:
            as all others are.

    Raises:
        ArgumentError: If a value is not allowed.
    """

    height: int
    width: int
    color_mode: str = "rgb"
    data_format: str = "channels_last"
    dtype: str = "uint8"
    scale: float | None = None
    fit: str = "stretch"
    interpolation: str = "bilinear"
    antialias: bool = False
    decode: str = "fast"

    def __post_init__(self) -> None:
        choices: list[tuple[str, Any, Sequence[str]]] = [
            ("color_mode", self.color_mode, tuple(CHANNELS)),
            ("data_format", self.data_format, _DATA_FORMATS),
            ("dtype", self.dtype, _DTYPES),
            ("fit", self.fit, RESIZES),
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("decode", self.decode, _DECODES),
        ]
        for name, value, allowed in choices:
            if value not in allowed:
                raise ArgumentError(f"{name}={value!r}: allowed are {', '.join(allowed)}")
        if self.scale is not None and self.dtype == "uint8":
            raise ArgumentError(f"scale={self.scale}: goes with dtype='float32' or 'float16', found dtype='uint8'")

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.height, self.width, CHANNELS[self.color_mode]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image in a batch, in the order of `data_format`."""
        height, width, channels = self.pixel_shape
        return (height, width, channels) if self.data_format == "channels_last" else (channels, height, width)

    @property
    def is_plain(self) -> bool:
        """Whether they are uint8 pixels, channels last: just as they are decoded."""
        return self.dtype == "uint8" and self.data_format == "channels_last"

    @property
    def is_averaging(self) -> bool:
        """Whether each pixel of an image that is shrunk comes from all pixels under it."""
        return is_averaging(self.interpolation, self.antialias)

    def plain(self) -> ImageSpec:
        """The same images as uint8 pixels, channels last."""
        return replace(self, data_format="channels_last", dtype="uint8", scale=None)

    def convert(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """Convert pixels of any dtype, channels last, into `out`, which is as this spec says; one image or a batch."""
        moved = pixels if self.data_format == "channels_last" else np.moveaxis(pixels, -1, -3)
        if self.scale is None:
            np.copyto(out, moved, casting="unsafe")
        else:
            np.multiply(moved, np.float32(self.scale), out=out, dtype=np.float32, casting="unsafe")
