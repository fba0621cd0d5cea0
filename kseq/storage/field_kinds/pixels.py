"""Kinds that have a number for each pixel: images and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from kseq.errors import ArgumentError, ImageError
from kseq.images.codecs import decode, decode_mask
from kseq.images.formats import check_stored_format
from kseq.images.pixel_form import CHANNELS, DTYPES, LITTLE_ENDIAN, MOST_CHANNELS, PixelForm
from kseq.storage.array_schema import ArraySchema
from kseq.storage.field_kinds.base import FieldKind, ImageDescription, RowArray, SampleEncoder
from kseq.storage.strings import string_schema

if TYPE_CHECKING:
    from kseq.storage.shard_writer import EncodedImage

__all__ = ["Image", "Mask", "Pixels"]

ImageSpec = TypeVar("ImageSpec")

# By which viewers of HDF5 files know an array of images, by its color mode: HDF5 Image and Palette Specification 1.2,
# table 2. A text and a number of 8 bits are of the types of that table.
_IMAGE_ATTRIBUTES: Mapping[str, str | int] = {"CLASS": "IMAGE", "IMAGE_VERSION": "1.2", "DISPLAY_ORIGIN": "UL"}
_GRAYSCALE: Mapping[str, str | int] = {
    **_IMAGE_ATTRIBUTES, "IMAGE_SUBCLASS": "IMAGE_GRAYSCALE", "IMAGE_WHITE_IS_ZERO": 0,
}  # fmt: skip
_TRUECOLOR: Mapping[str, str | int] = {
    **_IMAGE_ATTRIBUTES, "IMAGE_SUBCLASS": "IMAGE_TRUECOLOR", "INTERLACE_MODE": "INTERLACE_PIXEL",
}  # fmt: skip
_VIEWED_AS = {"grayscale": _GRAYSCALE, "rgb": _TRUECOLOR, "rgba": _TRUECOLOR}

_MASK_FEATURES = "image/segmentation/class"


class Pixels(FieldKind):
    """Numbers for each pixel: `(height, width, channels)`, stored as numbers or, if uint8, as the bytes of a JPEG or PNG.

    Attributes:
        channels: The numbers of channels that are allowed for encoded pixels.
        most_channels: How many channels plain pixels may have.
    """

    dtypes: ClassVar[tuple[str, ...]] = ("|u1",)
    is_pixels = True
    can_be_target = False
    can_be_added = False
    channels: ClassVar[tuple[int, ...]]
    most_channels: ClassVar[int] = 1

    def _check_form(self) -> None:
        field = self.field
        if field.encoded and (field.dtype != self.dtypes[0] or not self.can_be_encoded):
            raise ArgumentError(f"field {field.name}: is encoded, allowed is {field.dtype} as numbers")
        allowed = self.channels if field.encoded else range(1, self.most_channels + 1)
        if len(field.shape) != 3 or field.shape[2] not in allowed:
            channels = " or ".join(map(str, self.channels)) if field.encoded else f"1 to {self.most_channels}"
            raise ArgumentError(f"field {field.name}: shape {field.shape}, allowed is (height, width, {channels})")

    @property
    def is_ragged(self) -> bool:
        return False

    @property
    def row_arrays(self) -> tuple[RowArray, ...]:
        name = self.field.name
        if not self.field.encoded:
            return (RowArray(name, None),)
        return RowArray(f"{name}/bytes", f"{name}/offsets"), RowArray(f"{name}/tiles", f"{name}/tile_offsets")

    @property
    def element_shape(self) -> tuple[int, ...]:
        return () if self.field.encoded else super().element_shape

    def schema(self, num_rows: int | None) -> dict[str, ArraySchema]:
        name = self.field.name
        if not self.field.encoded:
            return super().schema(num_rows)
        num_offsets = None if num_rows is None else num_rows + 1
        return string_schema(name, num_rows) | {
            f"{name}/size": ArraySchema("<u4", (num_rows, 2)),
            f"{name}/orientation": ArraySchema("|u1", (num_rows,)),
            f"{name}/tiles": ArraySchema("<u4", (None,)),
            f"{name}/tile_offsets": ArraySchema("<u8", (num_offsets,)),
        }

    @property
    def fits_png(self) -> bool:
        return self.field.dtype == "|u1" and self.field.shape[2] in CHANNELS.values()

    @property
    def fits_csv(self) -> bool:
        # The cell is the path of a file.
        return True

    def describe(self) -> str:
        height, width, channels = self.field.shape
        size = "of sizes that differ" if None in (height, width) else f"{height} x {width}"
        stored = "encoded" if self.field.encoded else f"raw pixels{self._deep_dtype()}"
        return f"{self.name}, {stored}, {size}, {channels} channel{'s' * (channels != 1)}"

    def _deep_dtype(self) -> str:
        """Of which dtype the pixels are, if it is not the usual one."""
        return "" if self.field.dtype == self.dtypes[0] else f" ({np.dtype(self.field.dtype).name})"

    def _describe_size(self) -> str:
        height, width, _ = self.field.shape
        return "sizes differ" if height is None or width is None else f"{height} x {width}"

    def decode(
        self,
        data: np.ndarray,
        orientation: int,
        size: tuple[int, int],
        color_mode: str | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        check_stored_format(data)
        try:
            return self._decode(data, orientation, size, color_mode, out)
        except MemoryError as error:
            raise ImageError(f"takes more memory than there is: {size[0]} x {size[1]} pixels") from error

    def _decode(
        self, data: np.ndarray, orientation: int, size: tuple[int, int], color_mode: str | None, out: np.ndarray | None
    ) -> np.ndarray:
        """`decode` of bytes that begin as they must."""
        raise NotImplementedError


class Image(Pixels):
    """An image that a model sees: grayscale, RGB or RGBA; as plain numbers also of more than 8 bits, or of other channels."""

    name = "image"
    meaning = "an image"
    is_image = True
    is_default_target = False
    blends = True
    decodes_crops = True
    dtypes = tuple(LITTLE_ENDIAN[dtype] for dtype in DTYPES)
    channels = tuple(CHANNELS.values())
    most_channels = MOST_CHANNELS
    column = "image"

    @property
    def array_attributes(self) -> Mapping[str, str | int]:
        field = self.field
        is_viewable = not field.encoded and field.dtype == self.dtypes[0]
        return _VIEWED_AS.get(field.color_mode or "", {}) if is_viewable else {}

    def encode(self, value: Any, encoder: SampleEncoder) -> EncodedImage | np.ndarray:
        return encoder.encode_image(value)

    def stored_pixels(self, images: PixelForm, maps: PixelForm) -> tuple[str, int]:
        return LITTLE_ENDIAN[images.dtype], images.num_channels

    def _decode(
        self, data: np.ndarray, orientation: int, size: tuple[int, int], color_mode: str | None, out: np.ndarray | None
    ) -> np.ndarray:
        return decode(data, color_mode or self.field.color_mode or "rgb", orientation, out, size=size)

    def image_spec(self, spec: ImageSpec) -> ImageSpec:
        return spec

    def feature_name(self, has_one_image: bool) -> str:
        return "image/encoded" if has_one_image else self.field.name

    def describe_storage(self, settings: Mapping[str, Any]) -> str:
        channels, dtype = self.field.shape[2], np.dtype(self.field.dtype).name
        stored = {"keep": "JPEG or PNG as found", "jpeg": f"JPEG, quality {settings['quality']}", "raw": f"{dtype} pixels"}
        colors = "as in the files" if settings.get("channels") else settings["color_mode"]
        return f"{stored[settings['encoding']]}, {self._describe_size()}, {channels} channel{'s' * (channels != 1)} ({colors})"


class Mask(Pixels):
    """A value for each pixel of the first image, such as a class number: one channel, never averaged, never compressed with
    loss."""

    name = "mask"
    meaning = "a value for each pixel"
    channels = (1,)
    column = "mask"

    def encode(self, value: Any, encoder: SampleEncoder) -> EncodedImage | np.ndarray:
        return encoder.encode_mask(value, np.dtype(self.dtypes[0]).name)

    def stored_pixels(self, images: PixelForm, maps: PixelForm) -> tuple[str, int]:
        return self.dtypes[0], 1

    def _decode(
        self, data: np.ndarray, orientation: int, size: tuple[int, int], color_mode: str | None, out: np.ndarray | None
    ) -> np.ndarray:
        values = decode_mask(data, orientation, size=size, dtype=np.dtype(self.dtypes[0]).name)
        if out is None:
            return values
        np.copyto(out, values)
        return out

    def image_spec(self, spec: Any) -> Any:
        dtype = np.dtype(self.dtypes[0]).name
        plain = {"color_mode": "grayscale", "channels": None, "stored_dtype": dtype, "dtype": dtype, "scale": None}
        return replace(spec, **plain, interpolation="nearest")

    def feature_name(self, has_one_image: bool) -> str:
        return f"{_MASK_FEATURES}/encoded"

    def image_features(self, data: bytes, format: str, image: ImageDescription) -> Mapping[str, Sequence[bytes]]:
        return {**super().image_features(data, format, image), f"{_MASK_FEATURES}/format": [format.encode()]}

    def describe_storage(self, settings: Mapping[str, Any]) -> str:
        values = f"{np.dtype(self.dtypes[0]).name} values"
        return f"{'PNG' if self.field.encoded else values}, {self._describe_size()}, {self.meaning}"
