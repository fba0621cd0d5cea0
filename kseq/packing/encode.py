"""Encoding one sample: its images encoded or resized, its masks and boxes transformed along with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ImageError, image_error_prefix
from kseq.images.codecs import CHANNELS, decode, decode_mask, encode_jpeg, encode_pixels, encode_png, recolor, shrunk_rectangle
from kseq.images.formats import PNG, ImageHeader, check_pixels, read_header
from kseq.images.rectangle import Rectangle
from kseq.images.resize import Placement, is_averaging, placement, reductions
from kseq.packing.settings import ImageSettings
from kseq.storage.fields import Field
from kseq.storage.shard_writer import EncodedImage

__all__ = ["EncodedSample", "encode_sample"]


class EncodedSample(NamedTuple):
    """One sample in the form in which it is stored.

    Attributes:
        values: Field name to an `EncodedImage`, or to an array of the dtype and shape of the field.
        box_facts: Name to number of what packing counts of its boxes, see `kseq.storage.box_counts`.
    """

    values: dict[str, EncodedImage | np.ndarray]
    box_facts: Mapping[str, int]


def encode_sample(values: Mapping[str, Any], fields: Sequence[Field], settings: ImageSettings) -> EncodedSample:
    """Encode the values of one sample for storage.

    Args:
        values: Field name to value. The value of an image or a mask is the bytes of a file, or `(height, width)` or
            `(height, width, channels)` uint8 pixels; that of another field is an array of the shape of the field. Masks and
            boxes belong to the first image.
        fields: What a sample holds; the first field is an image.
        settings: How images are stored.

    Raises:
        NotAnImageError: If a file is not an image.
        ImageError: If an image is broken, or a mask or a box does not go with its image.
    """
    image, *others = fields
    stored: dict[str, EncodedImage | np.ndarray] = {}
    stored[image.name], fit = _encode_image(values[image.name], settings)
    encoder = _SampleEncoder(fit, settings)
    for field in others:
        with image_error_prefix(f"its {field.name}"):
            stored[field.name] = field.handler.encode(values[field.name], encoder)
    return EncodedSample(stored, _transform_positions(stored, fields, fit))


class _Fit(NamedTuple):
    """How an image fits into the size in which it is stored.

    Attributes:
        height: The height of the upright image of the source.
        width: The width of the upright image of the source.
        size: The height and width in which it is stored.
        placement: Which part of it is kept, and which part of the stored image that fills.
    """

    height: int
    width: int
    size: tuple[int, int]
    placement: Placement

    @property
    def is_same(self) -> bool:
        """Whether the image is stored in the size of the source."""
        return self.size == (self.height, self.width)

    def reduction(self, settings: ImageSettings) -> int:
        """How many times smaller a JPEG may be decoded: 1, 2, 4 or 8."""
        source, target = self.placement
        if not is_averaging(settings.interpolation, settings.antialias):
            return 1
        return int(reductions(np.array([source.height]), np.array([source.width]), target.height, target.width)[0])

    def fill(
        self, pixels: np.ndarray, interpolation: str, antialias: bool = False, reduction: int = 1, orientation: int = 1
    ) -> np.ndarray:
        """Resize an image to the size in which it is stored: `(height, width, channels)` uint8.

        Args:
            pixels: The upright image, `reduction` times smaller unless it has the size of the source.
            interpolation: How it is resized.
            antialias: How it is resized.
            reduction: 1, 2, 4 or 8.
            orientation: In which the image was stored that was decoded so many times smaller: EXIF's.
        """
        if self.is_same:
            return pixels
        target = np.empty((*self.size, pixels.shape[2]), np.uint8)
        placement = self.placement
        if pixels.shape[:2] != (self.height, self.width):
            source = shrunk_rectangle(placement.source, reduction, self.height, self.width, orientation)
            placement = placement._replace(source=source)
        placement.fill(pixels, target, interpolation, antialias)
        return target


def _fit(height: int, width: int, settings: ImageSettings) -> _Fit:
    if settings.image_size is not None:
        size = settings.image_size
        return _Fit(height, width, size, placement(height, width, *size, settings.resize))
    size = (height, width)
    if settings.max_side is not None and max(size) > settings.max_side:
        # The longer side becomes `max_side`, the other keeps the ratio, rounded.
        size = (max(1, round(height * settings.max_side / max(size))), max(1, round(width * settings.max_side / max(size))))
    return _Fit(height, width, size, Placement(Rectangle(0, 0, height, width), Rectangle(0, 0, *size)))


def _encode_image(data: bytes | np.ndarray, settings: ImageSettings) -> tuple[EncodedImage | np.ndarray, _Fit]:
    reduction = orientation = 1
    if isinstance(data, np.ndarray):
        source_pixels = _check_pixels(data, settings)
        fit = _fit(source_pixels.shape[0], source_pixels.shape[1], settings)
        if settings.encoding == "keep":
            return EncodedImage(encode_pixels(source_pixels), fit.height, fit.width), fit
        pixels = recolor(source_pixels, settings.color_mode)
    else:
        header = read_header(data, settings.max_pixels)
        fit = _fit(header.height, header.width, settings)
        if settings.encoding == "keep":
            return _keep(data, header, settings.check), fit
        size, orientation, reduction = (header.height, header.width), header.orientation, fit.reduction(settings)
        pixels = decode(data, settings.color_mode, orientation, size=size, strict=True, reduction=reduction)
    pixels = fit.fill(pixels, settings.interpolation, settings.antialias, reduction, orientation)
    if settings.encoding == "raw":
        return pixels, fit
    return EncodedImage(encode_jpeg(pixels, settings.quality), *pixels.shape[:2]), fit


def _keep(data: bytes, header: ImageHeader, check: bool) -> EncodedImage:
    """The bytes of a JPEG or PNG file as they are; any other image as PNG, upright."""
    if not header.format.is_stored:
        return EncodedImage(encode_png(data), header.height, header.width)
    if check:
        decode(data, "rgb", header.orientation, size=(header.height, header.width), strict=True)
    return EncodedImage(data, header.height, header.width, header.orientation)


def _check_pixels(pixels: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """Pixels as `(height, width, channels)` uint8; the last axis may be missing.

    Raises:
        ImageError: If they have another dtype, shape or number of channels, or are too many.
    """
    shaped = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if shaped.dtype != np.uint8 or shaped.ndim != 3 or 0 in shaped.shape or shaped.shape[2] not in CHANNELS.values():
        raise ImageError(
            f"is {pixels.dtype} of shape {pixels.shape}, allowed is uint8 of (height, width) or (height, width, 1, 3 or 4)"
        )
    check_pixels(shaped.shape[0], shaped.shape[1], settings.max_pixels)
    return np.ascontiguousarray(shaped)


def _encode_mask(data: bytes | np.ndarray, fit: _Fit, settings: ImageSettings) -> EncodedImage | np.ndarray:
    """A mask without loss, whatever the encoding of images is: as PNG, or for `raw` as values."""
    if isinstance(data, np.ndarray):
        values, png_orientation = _check_pixels(data, settings), None
        if values.shape[2] != 1:
            raise ImageError(f"has {values.shape[2]} channels, allowed is one")
    else:
        header = read_header(data, settings.max_pixels)
        values = decode_mask(data, header.orientation, size=(header.height, header.width), strict=True)
        png_orientation = header.orientation if header.format is PNG else None
    if values.shape[:2] != (fit.height, fit.width):
        raise ImageError(
            f"has {values.shape[0]} x {values.shape[1]} pixels, expected are those of the image, {fit.height} x {fit.width}"
        )
    if fit.is_same and png_orientation is not None and settings.encoding != "raw":
        return EncodedImage(bytes(data), fit.height, fit.width, png_orientation)
    resized = fit.fill(values, "nearest")
    return resized if settings.encoding == "raw" else EncodedImage(encode_pixels(resized), *resized.shape[:2])


class _SampleEncoder(NamedTuple):
    """Encodes the pixels of a sample besides its first image: a `kseq.storage.field_kinds.SampleEncoder`.

    Attributes:
        fit: How the first image fits into the size in which it is stored.
        settings: How images are stored.
    """

    fit: _Fit
    settings: ImageSettings

    def encode_image(self, value: bytes | np.ndarray) -> EncodedImage | np.ndarray:
        """Encode another image, which is resized by itself."""
        return _encode_image(value, self.settings)[0]

    def encode_mask(self, value: bytes | np.ndarray) -> EncodedImage | np.ndarray:
        """Encode a mask of the first image."""
        return _encode_mask(value, self.fit, self.settings)


def _transform_positions(stored: dict[str, Any], fields: Sequence[Field], fit: _Fit) -> Counter[str]:
    """Transform boxes and other positions as their image. Those outside the stored image go, and what describes them too.

    Returns:
        What is counted of them.
    """
    facts: Counter[str] = Counter()
    for field in (field for field in fields if field.handler.has_positions):
        positions = field.handler.check_positions(stored[field.name], fit.height, fit.width)
        is_kept, counts = field.handler.judge_positions(stored[field.name], fit.height, fit.width)
        facts.update(counts)
        stored[field.name], is_placed = field.handler.place(positions[is_kept], fit.placement)
        if not is_placed.all():
            facts["cropped"] += len(is_placed) - int(is_placed.sum())
            is_kept[is_kept] = is_placed
        for follower in (other.name for other in fields if other.handler.leader == field.kind):
            count, num_followers = len(is_kept), len(stored[follower])
            if num_followers != count:
                raise ImageError(f"has {count} {field.name} and {num_followers} {follower}, expected are as many")
            stored[follower] = stored[follower][is_kept]
    return facts
