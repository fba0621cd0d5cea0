"""Kinds of numbers for each pixel of an image that are no colours and no classes: depth, heat, flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from kseq.images.pixel_form import LITTLE_ENDIAN, MOST_CHANNELS, PixelForm
from kseq.storage.field_kinds.base import SampleEncoder
from kseq.storage.field_kinds.pixels import Pixels

__all__ = ["Map", "NearestMap"]


class Map(Pixels):
    """Numbers for each pixel of the first image, such as depth: `(height, width, channels)` float32 or float16, never encoded.

    It moves with its image; between its pixels it is interpolated linearly, so that NaN spreads to the neighbours of a pixel.

    Attributes:
        interpolation: How maps of the kind are resized: `"bilinear"` or `"nearest"`.
    """

    name = "map"
    dtypes = (LITTLE_ENDIAN["float32"], LITTLE_ENDIAN["float16"])
    meaning = "numbers for each pixel"
    can_be_target = True
    can_be_encoded = False
    most_channels = MOST_CHANNELS
    channels = ()
    interpolation: ClassVar[str] = "bilinear"

    def encode(self, value: Any, encoder: SampleEncoder) -> np.ndarray:
        return encoder.encode_map(value, self.field.name, self.interpolation)

    def stored_pixels(self, images: PixelForm, maps: PixelForm) -> tuple[str, int]:
        return LITTLE_ENDIAN[maps.dtype], maps.num_channels

    def image_spec(self, spec: Any) -> Any:
        dtype = np.dtype(self.field.dtype).name
        form = {"color_mode": None, "channels": self.field.shape[2], "stored_dtype": dtype, "dtype": dtype, "scale": None}
        return replace(spec, **form, interpolation=self.interpolation, antialias=False)

    def pack_options(self, column: str, has_one_image: bool = True) -> list[str]:
        return ["--target", f"{self.field.name}={column}:{self.name}"]

    @property
    def fits_png(self) -> bool:
        return False

    def describe(self) -> str:
        return f"{self.name}, {self._describe_numbers()}"

    def describe_storage(self, settings: Mapping[str, Any]) -> str:
        return f"{self._describe_numbers()}, {self.meaning}"

    def _describe_numbers(self) -> str:
        channels, dtype = self.field.shape[2], np.dtype(self.field.dtype).name
        return f"{dtype}, {self._describe_size()}, {channels} channel{'s' * (channels != 1)}"


class NearestMap(Map):
    """A map whose numbers must not be mixed: every pixel keeps a number of the source, and NaN does not spread."""

    name = "nearest_map"
    meaning = "numbers for each pixel, never mixed"
    interpolation = "nearest"
