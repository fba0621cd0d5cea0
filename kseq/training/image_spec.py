"""What the images of a batch are like: size, channels, dtype, and how images are resized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.images.pixel_form import CHANNELS
from kseq.images.resize import INTERPOLATIONS, RESIZES, is_averaging

__all__ = ["ImageSpec"]

# The dtypes in which images can leave, by that in which they are stored; that dtype itself comes first.
_DTYPES = {
    "uint8": ("uint8", "float16", "float32"),
    "uint16": ("uint16", "float16", "float32"),
    "float32": ("float32", "float16"),
    "float16": ("float16", "float32"),
}
# The largest whole number up to which float16 has all of uint16's values in its range.
_MOST_FLOAT16 = 65504
_DECODES = ("fast", "exact")
_DATA_FORMATS = ("channels_last", "channels_first")


@dataclass(frozen=True)
class ImageSpec:
    """What the images of a batch are like, all of them.

    Attributes:
        height: In pixels.
        width: In pixels.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`; None where `channels` says how many channels there are.
        data_format: `"channels_last"` or `"channels_first"`.
        dtype: `"uint8"`, `"uint16"`, `"float16"` or `"float32"`: no fewer values than those that are stored have.
        scale: What floating-point pixels are multiplied by, from the numbers that are stored; None for 1.
        fit: `"stretch"`, `"crop"` or `"pad"`: how an image of another aspect ratio is resized.
        interpolation: One of Keras's names.
        antialias: Average over all pixels where an image is shrunk.
        decode: How JPEGs are decoded that are shrunk to a half or less: `"fast"`: no better than the resize shows; `"exact"`:
            as all others are.
        channels: The number of channels that are taken as they are stored; None for those of `color_mode`.
        stored_dtype: The dtype of the stored pixels, in which they are resized and augmented.

    Raises:
        ArgumentError: If a value is not allowed.
    """

    height: int
    width: int
    color_mode: str | None = "rgb"
    data_format: str = "channels_last"
    dtype: str = "uint8"
    scale: float | None = None
    fit: str = "stretch"
    interpolation: str = "bilinear"
    antialias: bool = False
    decode: str = "fast"
    channels: int | None = None
    stored_dtype: str = "uint8"

    def __post_init__(self) -> None:
        color_modes = tuple(CHANNELS) if self.channels is None else (None,)
        choices: list[tuple[str, Any, Sequence[str | None]]] = [
            ("color_mode", self.color_mode, color_modes),
            ("data_format", self.data_format, _DATA_FORMATS),
            ("dtype", self.dtype, _DTYPES[self.stored_dtype]),
            ("fit", self.fit, RESIZES),
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("decode", self.decode, _DECODES),
        ]
        for name, value, allowed in choices:
            if value not in allowed:
                stored = f" for images of {self.stored_dtype}" if (name, self.stored_dtype) > ("dtype", "uint8") else ""
                raise ArgumentError(f"{name}={value!r}: allowed are {', '.join(map(str, allowed))}{stored}")
        if self.scale is not None and not self.dtype.startswith("float"):
            raise ArgumentError(f"scale={self.scale}: goes with dtype='float32' or 'float16', found dtype={self.dtype!r}")
        if (self.stored_dtype, self.dtype, self.scale) == ("uint16", "float16", None):
            raise ArgumentError(
                f"dtype='float16': holds numbers up to {_MOST_FLOAT16}, images of uint16 have them up to 65535: give a scale, "
                "such as 1 / 65535, or dtype='float32'"
            )

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return self.height, self.width, self.num_channels

    @property
    def num_channels(self) -> int:
        """How many channels images have."""
        return CHANNELS[self.color_mode] if self.color_mode is not None else self.channels or 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image in a batch, in the order of `data_format`."""
        height, width, channels = self.pixel_shape
        return (height, width, channels) if self.data_format == "channels_last" else (channels, height, width)

    @property
    def is_plain(self) -> bool:
        """Whether they are pixels of the dtype that is stored, channels last, unscaled: just as they are decoded."""
        return self.dtype == self.stored_dtype and self.data_format == "channels_last" and self.scale is None

    @property
    def is_averaging(self) -> bool:
        """Whether each pixel of an image that is shrunk comes from all pixels under it."""
        return is_averaging(self.interpolation, self.antialias)

    def plain(self) -> ImageSpec:
        """The same images as pixels of the dtype that is stored, channels last."""
        return replace(self, data_format="channels_last", dtype=self.stored_dtype, scale=None)

    def convert(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """Convert pixels of any dtype, channels last, into `out`, which is as this spec says; one image or a batch."""
        moved = pixels if self.data_format == "channels_last" else np.moveaxis(pixels, -1, -3)
        if self.scale is None:
            np.copyto(out, moved, casting="unsafe")
        else:
            np.multiply(moved, np.float32(self.scale), out=out, dtype=np.float32, casting="unsafe")
