"""The numbers that the pixels of an image are made of: their dtype, and how many channels there are."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from kseq.errors import ImageError

__all__ = ["CHANNELS", "DTYPES", "LITTLE_ENDIAN", "MOST_CHANNELS", "PLAIN_FORM", "PixelForm", "recolor", "settings_of_numbers"]

# Keras's color_mode to the number of channels.
CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}

# The dtypes of images, and of all pixels as files have them.
DTYPES = ("uint8", "uint16", "float32")
LITTLE_ENDIAN = {"uint8": "|u1", "uint16": "<u2", "float32": "<f4", "float16": "<f2"}

MOST_CHANNELS = 64

_CONVERSIONS = {
    (1, 3): cv2.COLOR_GRAY2RGB,
    (1, 4): cv2.COLOR_GRAY2RGBA,
    (3, 1): cv2.COLOR_RGB2GRAY,
    (3, 4): cv2.COLOR_RGB2RGBA,
    (4, 1): cv2.COLOR_RGBA2GRAY,
    (4, 3): cv2.COLOR_RGBA2RGB,
}


class PixelForm(NamedTuple):
    """What the pixels of images are to be.

    Attributes:
        dtype: One of `DTYPES`, or `"float16"` of maps.
        channels: As many channels as an image must have, which are taken as they are; None for those of `color_mode`.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.
    """

    dtype: str = "uint8"
    channels: int | None = None
    color_mode: str = "rgb"

    @property
    def is_plain(self) -> bool:
        """Whether images are colours of 8 bits, which have an encoding, rules for depth, and a background."""
        return self.dtype == "uint8" and self.channels is None

    @property
    def num_channels(self) -> int:
        """How many channels images have in the end."""
        return CHANNELS[self.color_mode] if self.channels is None else self.channels

    def allows_channels(self, count: int) -> bool:
        """Whether images with so many channels can get this form."""
        return count in CHANNELS.values() if self.channels is None else count == self.channels

    def describe(self) -> str:
        """What pixels may be, for messages."""
        if self.is_plain:
            return "uint8 of (height, width) or (height, width, 1, 3 or 4)"
        channels = "1, 3 or 4" if self.channels is None else str(self.channels)
        may_lack_axis = " (height, width) or" if self.allows_channels(1) else ""
        return f"numbers of{may_lack_axis} (height, width, {channels}) that {self.dtype} holds"


# Colours of 8 bits.
PLAIN_FORM = PixelForm()


def settings_of_numbers(dtype: str, size: tuple[int, int], channels: int) -> dict[str, Any]:
    """The settings of images that keep numbers of a dtype, of height and width and with so many channels."""
    kept = dtype if dtype in DTYPES else "float32"
    of_dtype = {} if kept == PLAIN_FORM.dtype else {"dtype": kept}
    of_channels = {} if channels in (CHANNELS["grayscale"], CHANNELS["rgb"]) else {"channels": channels}
    return {"encoding": "raw", "image_size": size, **of_dtype, **of_channels}


def recolor(pixels: np.ndarray, color_mode: str | None) -> np.ndarray:
    """`(height, width, channels)` uint8, uint16 or float32 with the channels of a color mode, by the rules of
    `kseq.images.codecs`; alpha that is added is 255, 65,535 or 1. None leaves pixels as they are."""
    if color_mode is None or pixels.shape[2] == CHANNELS[color_mode]:
        return pixels
    conversion = _CONVERSIONS.get((pixels.shape[2], CHANNELS[color_mode]))
    if conversion is None:
        raise ImageError(f"has {pixels.shape[2]} channels, allowed are {', '.join(map(str, CHANNELS.values()))}")
    converted = cv2.cvtColor(pixels, conversion)
    return converted.reshape(*pixels.shape[:2], CHANNELS[color_mode])
