"""One sample as it is stored: its images encoded or resized, masks and boxes moved along with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ImageError, saying
from kseq.images.codecs import CHANNELS, decode, decode_mask, encode_jpeg, encode_pixels, encode_png, recolor
from kseq.images.formats import PNG, check_pixels, read_header
from kseq.images.rectangle import Rectangle
from kseq.images.resize import Placement, placement
from kseq.packing.settings import ImageSettings
from kseq.storage.fields import Field
from kseq.storage.shard_writer import EncodedImage

__all__ = ["encode_sample"]


def encode_sample(
    values: Mapping[str, Any], fields: Sequence[Field], settings: ImageSettings
) -> dict[str, EncodedImage | np.ndarray]:
    """The values of one sample as they are to be stored.

    Args:
        values: Field name to value: of an image or a mask, the bytes of its file, or `(height, width)` or
            `(height, width, channels)` uint8 pixels; of any other, an array of the field's shape. Masks and boxes are those of
            the first image.
        fields: What a sample holds; the first is an image.
        settings: How images are stored.

    Returns:
        Field name to an `EncodedImage`, or to an array of the field's dtype and shape.

    Raises:
        NotAnImageError: Where a file is no image.
        ImageError: Where it is broken, or a mask or a box does not go with its image.
    """
    image, *others = fields
    stored: dict[str, EncodedImage | np.ndarray] = {}
    stored[image.name], placed = _encode_image(values[image.name], settings)
    encoder = _SampleEncoder(placed, settings)
    for field in others:
        with saying(f"its {field.name}"):
            stored[field.name] = field.handler.encode(values[field.name], encoder)
    _move_positions(stored, fields, placed)
    return stored


class _Place(NamedTuple):
    """Where an image comes to lie.

    Attributes:
        height: Of the upright image as it came.
        width: Of the same.
        size: The height and width in which it is stored.
        placement: What is kept of it, and what that fills.
    """

    height: int
    width: int
    size: tuple[int, int]
    placement: Placement

    @property
    def is_same(self) -> bool:
        """Whether it is stored as it came."""
        return self.size == (self.height, self.width)

    def fill(self, pixels: np.ndarray, interpolation: str) -> np.ndarray:
        """`(height, width, channels)` uint8: the image in the size in which it is stored."""
        if self.is_same:
            return pixels
        target = np.empty((*self.size, pixels.shape[2]), np.uint8)
        self.placement.fill(pixels, target, interpolation)
        return target


def _place(height: int, width: int, settings: ImageSettings) -> _Place:
    if settings.image_size is not None:
        size = settings.image_size
        return _Place(height, width, size, placement(height, width, *size, settings.resize))
    size = (height, width)
    if settings.max_side is not None and max(size) > settings.max_side:
        # The longer side becomes `max_side`, the other keeps the ratio, rounded.
        size = (max(1, round(height * settings.max_side / max(size))), max(1, round(width * settings.max_side / max(size))))
    return _Place(height, width, size, Placement(Rectangle(0, 0, height, width), Rectangle(0, 0, *size)))


def _encode_image(data: bytes | np.ndarray, settings: ImageSettings) -> tuple[EncodedImage | np.ndarray, _Place]:
    if isinstance(data, np.ndarray):
        found, orientation = _checked_pixels(data, settings), 1
        place = _place(found.shape[0], found.shape[1], settings)
        if settings.encoding == "keep":
            return EncodedImage(encode_pixels(found), place.height, place.width), place
        pixels = recolor(found, settings.color_mode)
    else:
        header = read_header(data, settings.max_pixels)
        orientation = header.orientation
        place = _place(header.height, header.width, settings)
        if settings.encoding == "keep":
            return _keep(data, header.format.is_stored, place, orientation, settings.check), place
        pixels = decode(data, settings.color_mode, orientation, strict=True)
    pixels = place.fill(pixels, settings.interpolation)
    if settings.encoding == "raw":
        return pixels, place
    return EncodedImage(encode_jpeg(pixels, settings.quality), *pixels.shape[:2]), place


def _keep(data: bytes, is_kept: bool, place: _Place, orientation: int, check: bool) -> EncodedImage:
    if not is_kept:
        return EncodedImage(encode_png(data), place.height, place.width)
    if check:
        decode(data, "rgb", strict=True)
    return EncodedImage(data, place.height, place.width, orientation)


def _checked_pixels(pixels: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """`(height, width, channels)` of pixels that may lack the last axis."""
    shaped = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if shaped.dtype != np.uint8 or shaped.ndim != 3 or 0 in shaped.shape or shaped.shape[2] not in CHANNELS.values():
        raise ImageError(
            f"is {pixels.dtype} of shape {pixels.shape}, allowed is uint8 of (height, width) or (height, width, 1, 3 or 4)"
        )
    check_pixels(shaped.shape[0], shaped.shape[1], settings.max_pixels)
    return np.ascontiguousarray(shaped)


def _encode_mask(data: bytes | np.ndarray, image: _Place, settings: ImageSettings) -> EncodedImage | np.ndarray:
    """Whatever images are encoded as, masks lose nothing: PNG, or values."""
    values, is_kept, orientation = _mask_values(data, settings)
    if values.shape[:2] != (image.height, image.width):
        raise ImageError(
            f"has {values.shape[0]} x {values.shape[1]} pixels, expected are those of the image, {image.height} x {image.width}"
        )
    if image.is_same and is_kept and settings.encoding != "raw":
        return EncodedImage(bytes(data), image.height, image.width, orientation)
    placed = image.fill(values, "nearest")
    return placed if settings.encoding == "raw" else EncodedImage(encode_pixels(placed), *placed.shape[:2])


def _mask_values(data: bytes | np.ndarray, settings: ImageSettings) -> tuple[np.ndarray, bool, int]:
    """The values of a mask, upright; whether its bytes can be stored as they are, and with which orientation."""
    if isinstance(data, np.ndarray):
        values = _checked_pixels(data, settings)
        if values.shape[2] != 1:
            raise ImageError(f"has {values.shape[2]} channels, allowed is one")
        return values, False, 1
    header = read_header(data, settings.max_pixels)
    return decode_mask(data, header.orientation, strict=True), header.format is PNG, header.orientation


class _SampleEncoder(NamedTuple):
    """Encodes the pixels of a sample besides its first image: a `kseq.storage.field_kinds.SampleEncoder`.

    Attributes:
        image: How the first image is stored.
        settings: How all images are stored.
    """

    image: _Place
    settings: ImageSettings

    def encode_image(self, value: bytes | np.ndarray) -> EncodedImage | np.ndarray:
        """Another image, which is resized by itself."""
        return _encode_image(value, self.settings)[0]

    def encode_mask(self, value: bytes | np.ndarray) -> EncodedImage | np.ndarray:
        """A mask of the first image."""
        return _encode_mask(value, self.image, self.settings)


def _move_positions(stored: dict[str, Any], fields: Sequence[Field], image: _Place) -> None:
    """Move boxes and the like to the size in which their image is stored. Those that are cropped away go, and with them what
    describes them, such as their labels."""
    for field in (field for field in fields if field.handler.has_positions):
        values = field.handler.check_positions(stored[field.name], image.height, image.width)
        stored[field.name], stay = field.handler.place(values, image.placement)
        for follower in (other.name for other in fields if other.handler.leader == field.kind):
            if len(stored[follower]) != len(stay):
                raise ImageError(f"has {len(stay)} {field.name} and {len(stored[follower])} {follower}, expected are as many")
            stored[follower] = stored[follower][stay]
