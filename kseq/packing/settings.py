"""The settings of images: how a packing stores them."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from PIL import ImageColor

from kseq.arguments import choice, flag, spelled, whole, whole_pair
from kseq.errors import ArgumentError, FormatError
from kseq.images.formats import MAX_PIXELS
from kseq.images.pixel_form import CHANNELS, DTYPES, MOST_CHANNELS, PixelForm
from kseq.images.resize import INTERPOLATIONS, RESIZES

__all__ = ["ImageSettings", "format_settings", "image_form", "map_form", "parse_settings", "settings_identity"]

_MAP_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class ImageSettings:
    """How images are stored.

    Args:
        encoding: `"keep"` stores JPEG and PNG files as they are and all other images as PNG. `"raw"` stores pixels of one size.
            `"jpeg"` encodes every image anew.
        image_size: `(height, width)` in pixels to resize to, for `"raw"` and `"jpeg"`. None for the size of each image; with
            `"raw"` only for arrays, whose images have one size.
        resize: What happens to another aspect ratio: `"stretch"`, `"crop"` (`crop_to_aspect_ratio` in Keras) or `"pad"`
            (`pad_to_aspect_ratio`).
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`: the channels of images, as they are stored, or as they are decoded where
            encoded images are kept.
        interpolation: How pixels are resized, by Keras's names: `"bilinear"`, `"nearest"`, `"bicubic"`, `"area"`, `"lanczos3"`
            and others, see `INTERPOLATIONS`.
        antialias: Average over all pixels where an image is shrunk, as Keras's `antialias` does; the default is Keras's too.
            `"area"` does so anyway, `"nearest"` never. A JPEG that becomes 2.5 or more times smaller is then decoded at a
            fraction of its size, which is faster; its pixels differ from those of the full decode by less than 2 of 255 on
            average.
        quality: The quality of `"jpeg"`, 1 to 100.
        max_side: For `"jpeg"`: images whose longer side has more pixels are shrunk to this.
        check: Decode every image once, so that broken images are found. False leaves that out for `"keep"`.
        max_pixels: Images whose headers announce more pixels are refused before they are decoded.
        bits: How many bits the values of images with more than 8 bits a channel have, 8 to 16: they become uint8 in proportion,
            and larger values become 255. None tells it from the values of each image: 8 or 12 where all fit, else 16.
        background: What shows through transparent pixels where no alpha is stored: the name of a colour, such as `"white"` or
            `"#ffffff"`, or RGB. None for the colours that a file hides there.
        dtype: Of the pixels of images: `"uint8"`, or for `"raw"` also `"uint16"` or `"float32"`, which keep the numbers of the
            files: nothing is scaled, and an image with a number that the dtype does not hold is left out.
        channels: For `"raw"`: how many channels images have, 1 to 64, which are taken as they are in the file; images of other
            numbers of channels are left out. So many pages of a TIFF that have one channel each count as channels. None for the
            channels of `color_mode`.
        map_scale: What the numbers of maps are multiplied by, such as 0.001 for millimetres in a PNG that become metres.
        map_dtype: Of the numbers of maps: `"float32"` or `"float16"`.
        map_channels: How many channels maps have, 1 to 64.

    Attributes:
        ENCODINGS: The allowed values of `encoding`.
        RESIZES: The allowed values of `resize`.
        COLOR_MODES: The allowed values of `color_mode`.
        INTERPOLATIONS: The allowed values of `interpolation`.
        DTYPES: The allowed values of `dtype`.

    Raises:
        ArgumentError: If a value is not allowed, or two values do not go together.
    """

    encoding: str = "keep"
    image_size: tuple[int, int] | None = None
    resize: str = "stretch"
    color_mode: str = "rgb"
    interpolation: str = "bilinear"
    antialias: bool = False
    quality: int = 90
    max_side: int | None = None
    check: bool = True
    max_pixels: int = MAX_PIXELS
    bits: int | None = None
    background: str | tuple[int, int, int] | None = None
    dtype: str = "uint8"
    channels: int | None = None
    map_scale: float = 1.0
    map_dtype: str = "float32"
    map_channels: int = 1

    ENCODINGS: ClassVar[tuple[str, ...]] = ("keep", "raw", "jpeg")
    RESIZES: ClassVar[tuple[str, ...]] = RESIZES
    COLOR_MODES: ClassVar[tuple[str, ...]] = tuple(CHANNELS)
    INTERPOLATIONS: ClassVar[tuple[str, ...]] = tuple(INTERPOLATIONS)
    DTYPES: ClassVar[tuple[str, ...]] = DTYPES

    def __post_init__(self) -> None:
        choice("encoding", self.encoding, self.ENCODINGS)
        choice("resize", self.resize, self.RESIZES)
        choice("color_mode", self.color_mode, self.COLOR_MODES)
        choice("interpolation", self.interpolation, self.INTERPOLATIONS)
        choice("dtype", self.dtype, self.DTYPES)
        # numpy's integers become Python's, which an index can keep; the class is frozen for everybody else.
        object.__setattr__(self, "quality", whole("quality", self.quality, 1, 100))
        if self.image_size is not None:
            height, width = whole_pair("image_size", self.image_size)
            if height * width > MAX_PIXELS:
                raise ArgumentError(f"{spelled('image_size', self.image_size)}: allowed are {MAX_PIXELS} pixels")
            object.__setattr__(self, "image_size", (height, width))
        if self.max_side is not None:
            object.__setattr__(self, "max_side", whole("max_side", self.max_side, 1))
        object.__setattr__(self, "max_pixels", whole("max_pixels", self.max_pixels, 1))
        object.__setattr__(self, "check", flag("check", self.check))
        object.__setattr__(self, "antialias", flag("antialias", self.antialias))
        if self.bits is not None:
            object.__setattr__(self, "bits", whole("bits", self.bits, 8, 16))
        if self.background is not None:
            object.__setattr__(self, "background", _colour(self.background))
        if self.channels is not None:
            object.__setattr__(self, "channels", whole("channels", self.channels, 1, MOST_CHANNELS))
        choice("map_dtype", self.map_dtype, _MAP_DTYPES)
        object.__setattr__(self, "map_channels", whole("map_channels", self.map_channels, 1, MOST_CHANNELS))
        object.__setattr__(self, "map_scale", _scale(self.map_scale))
        self._check_form()
        self._check_together()

    def _check_form(self) -> None:
        if image_form(self).is_plain:
            return
        name = "channels" if self.dtype == "uint8" else "dtype"
        given = spelled(name, getattr(self, name))
        if self.encoding != "raw":
            raise ArgumentError(
                f"{given}: goes with {spelled('encoding', 'raw')} and {spelled('image_size')}, found "
                f"{spelled('encoding', self.encoding)}, which stores images of 8 bits with 1, 3 or 4 channels"
            )
        if self.channels is not None and self.color_mode != ImageSettings.color_mode:
            color_mode = spelled("color_mode", self.color_mode)
            raise ArgumentError(f"{given} takes the channels of the files, {color_mode} changes them: give one of the two")
        for other in ("bits", "background"):
            if getattr(self, other) is not None:
                raise ArgumentError(f"{spelled(other, getattr(self, other))}: is for images of 8 bits, found {given}")

    def _check_together(self) -> None:
        if self.background is not None and self.color_mode == "rgba":
            raise ArgumentError(f"{spelled('background')}: goes with rgb or grayscale, found {spelled('color_mode', 'rgba')}")
        encoding, jpeg = spelled("encoding", self.encoding), spelled("encoding", "jpeg")
        if self.encoding == "keep" and (self.image_size or self.max_side):
            name = "image_size" if self.image_size else "max_side"
            others = jpeg if self.max_side else f"{spelled('encoding', 'raw')} or {jpeg}"
            raise ArgumentError(f"{spelled(name, getattr(self, name))}: {encoding} stores images as they are, take {others}")
        if self.encoding != "jpeg" and self.max_side:
            raise ArgumentError(f"{spelled('max_side', self.max_side)}: goes with {jpeg}, found {encoding}")
        if self.encoding != "jpeg" and self.quality != ImageSettings.quality:
            raise ArgumentError(f"{spelled('quality', self.quality)}: goes with {jpeg}, found {encoding}")
        if self.image_size is None and self.resize != ImageSettings.resize:
            raise ArgumentError(f"{spelled('resize', self.resize)}: goes with {spelled('image_size')}, found none")
        if self.image_size and self.max_side:
            raise ArgumentError(f"{spelled('image_size')} and {spelled('max_side')} exclude each other: give one of the two")
        if self.encoding == "jpeg" and self.color_mode == "rgba":
            raise ArgumentError(f"{spelled('color_mode', 'rgba')}: a JPEG has no alpha, allowed with {jpeg} are rgb, grayscale")
        if self.encoding != "keep" and not self.check:
            raise ArgumentError(
                f"{spelled('check', False)}: {encoding} decodes every image anyway, only {spelled('encoding', 'keep')} can "
                "leave that out"
            )


def image_form(settings: ImageSettings) -> PixelForm:
    """What the pixels of images become."""
    return PixelForm(settings.dtype, settings.channels, settings.color_mode)


def map_form(settings: ImageSettings) -> PixelForm:
    """What the numbers of maps become."""
    return PixelForm(settings.map_dtype, settings.map_channels)


def _scale(value: Any) -> float:
    """What numbers are multiplied by."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value == 0:
        raise ArgumentError(f"{spelled('map_scale', value)}: allowed is a finite number other than 0")
    return float(value)


def _colour(value: Any) -> tuple[int, int, int]:
    """A colour as RGB."""
    try:
        rgb = ImageColor.getrgb(value)[:3] if isinstance(value, str) else tuple(value)
        red, green, blue = (whole("background", level, 0, 255) for level in rgb)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"{spelled('background', value)}: allowed are names of colours, #rrggbb and three numbers from 0 to 255"
        ) from error
    return red, green, blue


# What is newer than the first datasets, and left out where it is not used, so that an older kseq reads the others; and what is
# newer than the ids of datasets are made of.
_NEWER_THAN_IDS = ("dtype", "channels", "map_scale", "map_dtype", "map_channels")
_NEWER = ("bits", "background", *_NEWER_THAN_IDS)


def format_settings(settings: ImageSettings) -> str:
    """Settings as the text that an index keeps; `parse_settings` reads it back."""
    return json.dumps(_without_unused(settings, _NEWER), sort_keys=True)


def settings_identity(settings: ImageSettings) -> dict[str, Any]:
    """Settings as the id of a dataset depends on them: the same for the same images as ever."""
    return _without_unused(settings, _NEWER_THAN_IDS)


def _without_unused(settings: ImageSettings, names: Sequence[str]) -> dict[str, Any]:
    default = ImageSettings()
    unused = [name for name in names if getattr(settings, name) == getattr(default, name)]
    return {name: value for name, value in asdict(settings).items() if name not in unused}


def parse_settings(text: str, path: str) -> ImageSettings:
    """The settings that a dataset was packed with.

    Args:
        text: The text that the index keeps.
        path: The dataset, for messages.

    Raises:
        FormatError: If the text does not come from `format_settings`.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        return ImageSettings(**values)
    except (ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: was packed with settings that this kseq does not know ({error}): {text[:80]}") from error
