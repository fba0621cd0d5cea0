"""Kinds that have a number for each pixel: images and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from kseq.errors import ArgumentError, ImageError
from kseq.images.codecs import CHANNELS, decode, decode_mask
from kseq.images.formats import check_stored_format
from kseq.storage.array_schema import ArraySchema
from kseq.storage.field_kinds.base import FieldKind, ImageDescription, RowArray, SampleEncoder
from kseq.storage.strings import string_schema

if TYPE_CHECKING:
    from kseq.storage.shard_writer import EncodedImage

__all__ = ["Image", "Mask", "Pixels"]

ImageSpec = TypeVar("ImageSpec")

_MASK_FEATURES = "image/segmentation/class"


class Pixels(FieldKind):
    """A number for each pixel: `(height, width, channels)` uint8, stored as numbers or as the bytes of a JPEG or PNG.

    Attributes:
        channels: The numbers of channels that are allowed.
    """

    dtypes = ("|u1",)
    is_pixels = True
    can_be_target = False
    can_be_added = False
    channels: ClassVar[tuple[int, ...]]

    def _check_form(self) -> None:
        field = self.field
        if len(field.shape) != 3 or field.shape[2] not in self.channels:
            raise ArgumentError(
                f"field {field.name}: shape {field.shape}, allowed is (height, width, {' or '.join(map(str, self.channels))})"
            )

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
    def fits_csv(self) -> bool:
        # The cell is the path of a file.
        return True

    def describe(self) -> str:
        height, width, channels = self.field.shape
        size = "of sizes that differ" if None in (height, width) else f"{height} x {width}"
        stored = "encoded" if self.field.encoded else "raw pixels"
        return f"{self.name}, {stored}, {size}, {channels} channel{'s' * (channels != 1)}"

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
    """An image that a model sees: grayscale, RGB or RGBA."""

    name = "image"
    meaning = "an image"
    is_image = True
    is_default_target = False
    blends = True
    decodes_crops = True
    channels = tuple(CHANNELS.values())
    column = "image"

    def encode(self, value: Any, encoder: SampleEncoder) -> EncodedImage | np.ndarray:
        return encoder.encode_image(value)

    def stored_channels(self, color_mode: str) -> int:
        return CHANNELS[color_mode]

    def _decode(
        self, data: np.ndarray, orientation: int, size: tuple[int, int], color_mode: str | None, out: np.ndarray | None
    ) -> np.ndarray:
        return decode(data, color_mode or self.field.color_mode, orientation, out, size=size)

    def image_spec(self, spec: ImageSpec) -> ImageSpec:
        return spec

    def feature_name(self, has_one_image: bool) -> str:
        return "image/encoded" if has_one_image else self.field.name

    def describe_storage(self, settings: Mapping[str, Any]) -> str:
        channels = self.field.shape[2]
        stored = {"keep": "JPEG or PNG as found", "jpeg": f"JPEG, quality {settings['quality']}", "raw": "uint8 pixels"}
        return (
            f"{stored[settings['encoding']]}, {self._describe_size()}, {channels} channel{'s' * (channels != 1)} "
            f"({settings['color_mode']})"
        )


class Mask(Pixels):
    """A value for each pixel of the first image, such as a class number: one channel, never averaged, never compressed with
    loss."""

    name = "mask"
    meaning = "a value for each pixel"
    channels = (1,)
    column = "mask"

    def encode(self, value: Any, encoder: SampleEncoder) -> EncodedImage | np.ndarray:
        return encoder.encode_mask(value)

    def stored_channels(self, color_mode: str) -> int:
        return 1

    def _decode(
        self, data: np.ndarray, orientation: int, size: tuple[int, int], color_mode: str | None, out: np.ndarray | None
    ) -> np.ndarray:
        values = decode_mask(data, orientation, size=size)
        if out is None:
            return values
        np.copyto(out, values)
        return out

    def image_spec(self, spec: Any) -> Any:
        return replace(spec, color_mode="grayscale", dtype="uint8", scale=None, interpolation="nearest")

    def feature_name(self, has_one_image: bool) -> str:
        return f"{_MASK_FEATURES}/encoded"

    def image_features(self, data: bytes, format: str, image: ImageDescription) -> Mapping[str, Sequence[bytes]]:
        return {**super().image_features(data, format, image), f"{_MASK_FEATURES}/format": [format.encode()]}

    def describe_storage(self, settings: Mapping[str, Any]) -> str:
        return f"{'PNG' if self.field.encoded else 'uint8 values'}, {self._describe_size()}, {self.meaning}"
