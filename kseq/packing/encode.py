"""Encoding one sample: its images encoded or resized, its masks and boxes transformed along with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ImageError, image_error_prefix
from kseq.images.bounding_boxes import ARE_PLACED
from kseq.images.codecs import decode, decode_mask, encode_jpeg, encode_pixels, encode_png, shrunk_rectangle, upright
from kseq.images.deep_pixels import convert_numbers, read_numbers, to_dtype
from kseq.images.formats import JPEG, PNG, ImageHeader, check_pixels, read_header
from kseq.images.movement import Movement
from kseq.images.noted_pixels import NotedPixels
from kseq.images.number_files import is_array_file, read_array_file
from kseq.images.pillow_pixels import FOURTH_IS_ALPHA, PixelRules, on_background
from kseq.images.pixel_form import CHANNELS, PLAIN_FORM, recolor
from kseq.images.png_chunks import check_chunks
from kseq.images.rectangle import Rectangle
from kseq.images.resize import Placement, is_averaging, placement, reductions
from kseq.packing.settings import ImageSettings, image_form, map_form
from kseq.storage.fields import Field
from kseq.storage.shard_writer import EncodedImage

__all__ = ["EncodedSample", "encode_sample"]


class EncodedSample(NamedTuple):
    """One sample as it is stored.

    Attributes:
        values: Field name to an `EncodedImage`, or to an array of the dtype and shape of the field.
        notes: What is worth knowing of it.
        box_facts: Name to number of what packing counts of its boxes, see `kseq.storage.box_counts`.
    """

    values: dict[str, EncodedImage | np.ndarray]
    notes: tuple[str, ...]
    box_facts: Mapping[str, int]


def encode_sample(values: Mapping[str, Any], fields: Sequence[Field], settings: ImageSettings) -> EncodedSample:
    """Encode the values of one sample for storage.

    Args:
        values: Field name to value. The value of an image or a mask is the bytes of a file, or `(height, width)` or
            `(height, width, channels)` pixels, which a mask may have as `NotedPixels`; that of another field is an array of the
            shape of the field. Masks and boxes belong to the first image.
        fields: What a sample holds; the first field is an image.
        settings: How images are stored.

    Raises:
        NotAnImageError: If a file is not an image.
        ImageError: If an image is broken, or a mask or a box does not go with its image.
    """
    image, *others = fields
    stored: dict[str, EncodedImage | np.ndarray] = {}
    # In the order in which they come up, each once.
    notes: dict[str, None] = {}
    rules = PixelRules(settings.bits, _background(settings), notes.setdefault, settings.color_mode == "rgba")
    stored[image.name], fit = _encode_image(values[image.name], settings, rules)
    encoder = _SampleEncoder(fit, settings, rules)
    for field in others:
        with image_error_prefix(f"its {field.name}"):
            stored[field.name] = field.handler.encode(values[field.name], encoder)
    positions = [field for field in fields if field.handler.has_positions]
    if not positions:
        return EncodedSample(stored, tuple(notes), {})
    if fit.orientation != 1 and ARE_PLACED not in values and any(len(np.asarray(stored[field.name])) for field in positions):
        rules.note("has an EXIF orientation: its boxes or points are taken as drawn on the upright image")
    box_facts = _transform_positions(stored, positions, fields, fit)
    return EncodedSample(stored, tuple(notes), box_facts)


def _background(settings: ImageSettings) -> tuple[int, int, int] | None:
    """The background, which settings hold as RGB once they are made."""
    assert not isinstance(settings.background, str)
    return settings.background


class _Fit(NamedTuple):
    """How an image fits into the size in which it is stored.

    Attributes:
        height: The height of the upright image of the source.
        width: The width of the upright image of the source.
        size: The height and width in which it is stored.
        placement: Which part of it is kept, and which part of the stored image that fills.
        orientation: EXIF's, of the source.
    """

    height: int
    width: int
    size: tuple[int, int]
    placement: Placement
    orientation: int = 1

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
        """Resize an image to the size in which it is stored: `(height, width, channels)` of its dtype.

        Args:
            pixels: The upright image, `reduction` times smaller unless it has the size of the source.
            interpolation: How it is resized.
            antialias: How it is resized.
            reduction: 1, 2, 4 or 8.
            orientation: In which the image was stored that was decoded so many times smaller: EXIF's.
        """
        if self.is_same:
            return pixels
        target = np.empty((*self.size, pixels.shape[2]), pixels.dtype)
        placement = self.placement
        if pixels.shape[:2] != (self.height, self.width):
            source = shrunk_rectangle(placement.source, reduction, self.height, self.width, orientation)
            placement = placement._replace(source=source)
        placement.fill(pixels, target, interpolation, antialias)
        return target


def _fit(height: int, width: int, settings: ImageSettings, orientation: int = 1) -> _Fit:
    if settings.image_size is not None:
        size = settings.image_size
        return _Fit(height, width, size, placement(height, width, *size, settings.resize), orientation)
    size = (height, width)
    if settings.max_side is not None and max(size) > settings.max_side:
        # The longer side becomes `max_side`, the other keeps the ratio, rounded.
        size = (max(1, round(height * settings.max_side / max(size))), max(1, round(width * settings.max_side / max(size))))
    return _Fit(height, width, size, Placement(Rectangle(0, 0, height, width), Rectangle(0, 0, *size)), orientation)


def _encode_image(
    data: bytes | np.ndarray, settings: ImageSettings, rules: PixelRules
) -> tuple[EncodedImage | np.ndarray, _Fit]:
    if not image_form(settings).is_plain:
        return _encode_numbers(data, settings, rules)
    reduction = orientation = 1
    if not isinstance(data, np.ndarray) and is_array_file(data):
        data = read_array_file(data, settings.max_pixels)
    if isinstance(data, np.ndarray):
        source_pixels = _check_pixels(data, settings)
        if settings.color_mode != "rgba":
            source_pixels = on_background(source_pixels, rules, FOURTH_IS_ALPHA)
        fit = _fit(source_pixels.shape[0], source_pixels.shape[1], settings)
        if settings.encoding == "keep":
            return EncodedImage(encode_pixels(source_pixels), fit.height, fit.width), fit
        pixels = recolor(source_pixels, settings.color_mode)
    else:
        header = read_header(data, settings.max_pixels)
        fit = _fit(header.height, header.width, settings, header.orientation)
        if header.has_more_pages:
            rules.note("has more pages or frames, of which the first is taken")
        if settings.encoding == "keep":
            return _keep(data, header, settings, rules), fit
        size, orientation, reduction = (header.height, header.width), header.orientation, fit.reduction(settings)
        pixels = decode(data, settings.color_mode, orientation, size=size, strict=True, reduction=reduction, rules=rules)
    pixels = fit.fill(pixels, settings.interpolation, settings.antialias, reduction, orientation)
    if settings.encoding == "raw":
        return pixels, fit
    return EncodedImage(encode_jpeg(pixels, settings.quality), *pixels.shape[:2]), fit


def _encode_numbers(data: bytes | np.ndarray, settings: ImageSettings, rules: PixelRules) -> tuple[np.ndarray, _Fit]:
    """Pixels of the dtype and the channels of the settings, where that is not uint8 with colours."""
    orientation = 1
    if isinstance(data, np.ndarray):
        pixels = convert_numbers(data, image_form(settings), settings.max_pixels, rules)
    else:
        pixels, orientation = read_numbers(data, image_form(settings), settings.max_pixels, rules)
    fit = _fit(pixels.shape[0], pixels.shape[1], settings, orientation)
    return fit.fill(pixels, settings.interpolation, settings.antialias), fit


def _keep(data: bytes, header: ImageHeader, settings: ImageSettings, rules: PixelRules) -> EncodedImage:
    """The bytes of a JPEG or PNG file as they are; any other image, and what the rules change, as PNG, upright."""
    is_changed = (settings.bits is not None and header.is_deep) or (rules.background is not None and header.has_alpha)
    if is_changed or not header.format.is_stored:
        encoded = encode_png(data, rules)
        if header.format is PNG:
            check_chunks(data)
        return EncodedImage(encoded, header.height, header.width)
    if settings.check:
        decode(data, "rgb", header.orientation, size=(header.height, header.width), strict=True, rules=rules)
    return EncodedImage(data, header.height, header.width, header.orientation)


def _check_pixels(pixels: np.ndarray, settings: ImageSettings, dtype: str = "uint8") -> np.ndarray:
    """Pixels as `(height, width, channels)` uint8, or of another dtype that may be; the last axis may be missing.

    Raises:
        ImageError: If they have another dtype, shape or number of channels, or are too many.
    """
    shaped = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if (
        shaped.dtype not in (np.uint8, dtype)
        or shaped.ndim != 3
        or 0 in shaped.shape
        or shaped.shape[2] not in CHANNELS.values()
    ):
        raise ImageError(f"is {pixels.dtype} of shape {pixels.shape}, allowed is {PLAIN_FORM.describe()}")
    check_pixels(shaped.shape[0], shaped.shape[1], settings.max_pixels)
    return np.ascontiguousarray(shaped)


def _encode_mask(
    data: bytes | np.ndarray | NotedPixels, fit: _Fit, settings: ImageSettings, note: Callable[[str], None], dtype: str
) -> EncodedImage | np.ndarray:
    """A mask without loss, whatever the encoding of images is: as PNG, or for `raw` as values."""
    if isinstance(data, NotedPixels):
        for text in data.notes:
            note(text)
        data = data.pixels
    if not isinstance(data, np.ndarray) and is_array_file(data):
        data = read_array_file(data, settings.max_pixels)
    if isinstance(data, np.ndarray):
        values, png_orientation = _check_pixels(data, settings, dtype).astype(dtype, copy=False), None
        if values.shape[2] != 1:
            raise ImageError(f"has {values.shape[2]} channels, allowed is one")
    else:
        header = read_header(data, settings.max_pixels)
        values = decode_mask(data, header.orientation, size=(header.height, header.width), strict=True, dtype=dtype)
        if header.format is JPEG:
            note("has a mask that is a JPEG, whose values are not quite those that were drawn: save masks as PNG")
        if _is_black_and_white(values):
            # A loss takes them for the classes 0 and 255.
            note(
                "has a mask of 0 and 255 alone, and keeps them: 0 and 1 in batches are "
                "kseq.BatchFunction(lambda batch: {'mask': batch['mask'] // 255}) in augment"
            )
        png_orientation = header.orientation if header.format is PNG else None
        if header.orientation == 1 and fit.orientation != 1:
            values, is_turned = _turn_along(values, fit, note)
            png_orientation = None if is_turned else png_orientation
    _check_same_size(values, fit)
    if fit.is_same and png_orientation is not None and settings.encoding != "raw":
        return EncodedImage(bytes(data), fit.height, fit.width, png_orientation)
    resized = fit.fill(values, "nearest")
    return resized if settings.encoding == "raw" else EncodedImage(encode_pixels(resized), *resized.shape[:2])


def _is_black_and_white(mask: np.ndarray) -> bool:
    """Whether a mask has the values 0 and 255 and no other: most masks have none of 255, which is seen at once."""
    is_white = mask == 255
    return bool(is_white.any()) and bool((is_white | (mask == 0)).all()) and not is_white.all()


def _encode_map(
    data: bytes | np.ndarray, name: str, interpolation: str, fit: _Fit, settings: ImageSettings, rules: PixelRules
) -> np.ndarray:
    """The numbers of a map, scaled, resized along with the image, and never rounded to whole ones."""
    form, orientation = map_form(settings)._replace(dtype="float32"), 1
    of_map = replace(rules, note=lambda text: rules.note(f"{text} ({name})"))
    if isinstance(data, np.ndarray):
        values = convert_numbers(data, form, settings.max_pixels, of_map)
    else:
        values, orientation = read_numbers(data, form, settings.max_pixels, of_map)
        if orientation == 1 and fit.orientation != 1:
            values, _ = _turn_along(values, fit, rules.note, name)
    _check_same_size(values, fit)
    if settings.map_scale != 1:
        values = values * np.float32(settings.map_scale)
    return to_dtype(fit.fill(values, interpolation), settings.map_dtype)


def _turn_along(values: np.ndarray, fit: _Fit, note: Callable[[str], None], name: str = "mask") -> tuple[np.ndarray, bool]:
    """A mask or a map without orientation of an image that has one: turned if only that fits, and whether it was."""
    height, width = values.shape[:2]
    is_upright = (height, width) == (fit.height, fit.width)
    if not is_upright and fit.orientation >= 5 and (width, height) == (fit.height, fit.width):
        note(f"has the EXIF orientation {fit.orientation} and a {name} of the pixels before it, which is turned along")
        return upright(values, fit.orientation), True
    if is_upright and (fit.orientation < 5 or height == width):
        note(f"has the EXIF orientation {fit.orientation}, its {name} has none: the {name} is taken as upright")
    return values, False


def _check_same_size(values: np.ndarray, fit: _Fit) -> None:
    if values.shape[:2] != (fit.height, fit.width):
        raise ImageError(
            f"has {values.shape[0]} x {values.shape[1]} pixels, expected are those of the image, {fit.height} x {fit.width}"
        )


class _SampleEncoder(NamedTuple):
    """Encodes the pixels of a sample besides its first image: a `kseq.storage.field_kinds.SampleEncoder`.

    Attributes:
        fit: How the first image fits into the size in which it is stored.
        settings: How images are stored.
        rules: How the pixels of files become uint8.
    """

    fit: _Fit
    settings: ImageSettings
    rules: PixelRules

    def encode_image(self, value: bytes | np.ndarray) -> EncodedImage | np.ndarray:
        """Encode another image, which is resized by itself."""
        return _encode_image(value, self.settings, self.rules)[0]

    def encode_mask(self, value: bytes | np.ndarray | NotedPixels, dtype: str) -> EncodedImage | np.ndarray:
        """Encode a mask of the first image as values of a dtype."""
        return _encode_mask(value, self.fit, self.settings, self.rules.note, dtype)

    def encode_map(self, value: bytes | np.ndarray, name: str, interpolation: str) -> np.ndarray:
        """Encode a map of the first image."""
        return _encode_map(value, name, interpolation, self.fit, self.settings, self.rules)


def _transform_positions(stored: dict[str, Any], moving: Sequence[Field], fields: Sequence[Field], fit: _Fit) -> Counter[str]:
    """Transform boxes and other positions as their image. Those outside the stored image go, and what describes them too.

    Returns:
        What is counted of them.
    """
    movements = [Movement.of_placement(fit.placement, *fit.size)]
    kept: dict[str, np.ndarray] = {}
    facts: Counter[str] = Counter()
    for field in moving:
        with image_error_prefix(f"its {field.name}"):
            positions = field.handler.check_positions(stored[field.name], fit.height, fit.width)
        is_kept, counts = field.handler.judge_positions(stored[field.name], fit.height, fit.width)
        stored[field.name], is_placed = field.handler.move(positions[is_kept], movements)
        facts.update(counts)
        if not is_placed.all():
            facts["cropped"] += len(is_placed) - int(is_placed.sum())
            is_kept[is_kept] = is_placed
        kept[field.kind] = is_kept
    for field in fields:
        leaders = kept.get(field.handler.leader or "")
        if leaders is not None:
            count, num_followers = len(leaders), len(stored[field.name])
            if num_followers != count:
                raise ImageError(f"has {count} {field.handler.leader} and {num_followers} {field.name}, expected are as many")
            stored[field.name] = stored[field.name][leaders]
    return facts
