"""From an image that Pillow opened to uint8 pixels: one rule each for palette, depth, alpha and colour space."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageMode
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kseq.errors import ImageError, one_line
from kseq.images.formats import BROKEN, has_transparency, jpeg2000_bits, open_image
from kseq.images.tiff_oddities import (
    BITS_PER_SAMPLE,
    SAMPLES_PER_PIXEL,
    correct_palette,
    correct_planes,
    describe_tags,
    white_up,
)
from kseq.platforms.libtiff_messages import libtiff_messages

__all__ = ["FOURTH_IS_ALPHA", "PixelRules", "mask_values", "on_background", "plain_pixels", "to_colours"]

# Pillow's names of one channel: 8 bits, palette, 1 bit.
_MASK_MODES = ("L", "P", "1")
# Palette, 1 bit, alpha beside gray or multiplied into colours, and colours of print and of video: converted by Pillow.
_CONVERTED_MODES = ("P", "1", "LA", "La", "PA", "RGBa", "CMYK", "YCbCr", "RGBX")
# Of several, which may all be equal: programs that draw save a mask so.
_GRAY_MODES = ("RGB", "RGBA", "LA")
# Values of more than 8 bits are taken as of the least of these depths that holds the largest of them.
_DEPTHS = (8, 12, 16)
# Pillow's names of colours with 16 bits a channel end so; 16 bits a pixel have no order of bytes.
_DEEP_MODE = re.compile(";16[BLN]")
_PPM, _JPEG2000 = "PPM", "JPEG2000"
FOURTH_IS_ALPHA = "has a fourth channel, which is taken for alpha and left out"
"""The note of numbers that are no file, where nothing says what their fourth channel is."""
# The largest value of 16 bits.
_MOST_VALUE = (1 << 16) - 1
# What Pillow says of numbers or channels that it opens and does not decode.
_NO_SUCH_MODE = "unknown raw mode"
# Fewer levels than this of 256 are worth a note, if the file has more.
_FEW_LEVELS = 64
_HIDDEN = "has transparent pixels, whose hidden colours are taken"


def _ignore(note: str) -> None:
    """Where nobody wants notes."""


@dataclass(frozen=True)
class PixelRules:
    """What is chosen of the way from a file to uint8 pixels.

    Attributes:
        bits: How many bits values of more than 8 bits have, 8 to 16; None to tell it from the values of each image.
        background: RGB, 0 to 255: what shows through transparent pixels where no alpha is kept; None for the colours that the
            file hides there.
        note: Called with what is worth knowing of an image that is read all the same.
        keeps_alpha: Whether alpha is kept, so that no colour is hidden.
    """

    bits: int | None = None
    background: tuple[int, int, int] | None = None
    note: Callable[[str], None] = _ignore
    keeps_alpha: bool = False


def plain_pixels(image: ImageFile, data: bytes | np.ndarray, rules: PixelRules) -> np.ndarray:
    """`(height, width, 1, 3 or 4)` uint8: the pixels of an opened image, not turned upright.

    Args:
        image: The image.
        data: The bytes that it was opened from.
        rules: What is chosen.

    Raises:
        ImageError: If it is broken, or there is no rule for its pixels.
    """
    correct_planes(image)
    correct_palette(image)
    deep = _deep_tiles(image)
    _note_further_channels(image, rules)
    _load(image)
    if image.mode.startswith("I"):
        pixels = _to_eight_bits(_whole_numbers(image), replace(rules, bits=_stated_bits(image, data) or rules.bits))
    elif image.mode == "P" and image.palette is None:
        raise ImageError(f"broken {image.format}: has no palette, which its pixels are indices of")
    elif image.mode in _CONVERTED_MODES or ("transparency" in image.info and not deep):
        pixels = to_colours(image)
    elif image.mode in ("L", "RGB", "RGBA"):
        pixels = np.asarray(image)
        if deep:
            pixels = _deep_colours(pixels, data, deep, rules)
    else:
        if image.mode == "F":
            raise ImageError(f"is float32 of shape {(image.height, image.width)}, for which there is no rule with 8 bits")
        type_name = ImageMode.getmode(image.mode).typestr
        raise ImageError(f"has pixels of mode {image.mode!r} ({type_name}), for which there is no rule: convert it to RGB")
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return on_background(pixels, rules)


def to_colours(image: Image.Image) -> np.ndarray:
    """`(height, width)` or `(height, width, 3 or 4)` uint8 of a decoded image of 8 bits or fewer: gray, RGB or RGBA."""
    if image.mode == "La":
        # Of gray that is multiplied by its alpha, Pillow knows no other way.
        image = image.convert("LA")
    mode = "RGBA" if has_transparency(image) else "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _note_further_channels(image: ImageFile, rules: PixelRules) -> None:
    """Tell of the channels of a TIFF that Pillow leaves out, since they are no colours."""
    count = image.tag_v2.get(SAMPLES_PER_PIXEL, 1) if isinstance(image, TiffImageFile) else 1
    num_bands = len(image.getbands())
    if num_bands < count:
        rules.note(f"has {count} channels, of which the first {num_bands} are taken")


def on_background(pixels: np.ndarray, rules: PixelRules, hidden: str = _HIDDEN) -> np.ndarray:
    """Pixels `(height, width, channels)` uint8 without their alpha, if a background is chosen; else as they are.

    Args:
        pixels: The pixels.
        rules: What is chosen.
        hidden: The note, where some pixels are transparent and no background is chosen.
    """
    if pixels.shape[2] != 4:
        return pixels
    if rules.background is None:
        if rules.note is not _ignore and not rules.keeps_alpha and (pixels[:, :, 3] < 255).any():
            rules.note(hidden)
        return pixels
    alpha = pixels[:, :, 3:].astype(np.uint32)
    behind = np.array(rules.background, np.uint32)
    mixed = (pixels[:, :, :3] * alpha + behind * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)


def mask_values(image: ImageFile, dtype: str = "uint8") -> np.ndarray:
    """`(height, width, 1)` of a dtype, uint8 or uint16: the values of an opened mask, not turned upright.

    Raises:
        ImageError: If it is broken, or holds colours, or values that the dtype does not hold.
    """
    if image.mode.startswith("I"):
        _load(image)
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > np.iinfo(dtype).max:
            raise ImageError(f"has values from {deep.min()} to {deep.max()}, allowed for a mask are 0 to {np.iinfo(dtype).max}")
        return deep.astype(dtype)[:, :, None]
    if image.mode in _GRAY_MODES:
        _load(image)
        gray = _equal_channels(np.asarray(image))
        if gray is not None:
            return gray.astype(dtype, copy=False)
    if image.mode not in _MASK_MODES:
        raise ImageError(
            f"has pixels of mode {image.mode!r}, allowed for a mask are {', '.join(_MASK_MODES)}: one channel, or equal ones: "
            "give each colour a number"
        )
    greatest = _greatest_value(image)
    _load(image)
    values = np.asarray(image).astype(np.uint8, copy=False)
    if image.format == _PPM and image.mode == "1":
        # In a PBM 1 is black, and Pillow turns it round.
        values = 1 - values
    elif greatest < 255:
        # Pillow stretches them to 255.
        values = np.rint(values * (greatest / 255)).astype(np.uint8)
    return values.astype(dtype, copy=False)[:, :, None]


def _equal_channels(pixels: np.ndarray) -> np.ndarray | None:
    """`(height, width, 1)` uint8: the value of pixels whose colours are gray and opaque; None if some are not."""
    first = pixels[:, :, :1]
    num_colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    is_gray = (pixels[:, :, :num_colours] == first).all() and (pixels[:, :, num_colours:] == 255).all()
    return np.ascontiguousarray(first) if is_gray else None


def _greatest_value(image: ImageFile) -> int:
    """The greatest value that a PGM of 8 bits names, before it is loaded; 255 for any other image."""
    arguments = image.tile[0].args if image.format == _PPM and image.tile else None
    return arguments[-1] if isinstance(arguments, tuple) and isinstance(arguments[-1], int) else 255


def _whole_numbers(image: ImageFile) -> np.ndarray:
    """`(height, width)` uint16: the gray values of a decoded image of 16 bits, or of 32 that need no more.

    Raises:
        ImageError: If some are negative or need more than 16 bits.
    """
    values = np.asarray(image)
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > _MOST_VALUE:
        raise ImageError(
            f"is {values.dtype} of shape {values.shape}, for which there is no rule with 8 bits: has values from {least} to "
            f"{most}, allowed are 0 to {_MOST_VALUE}"
        )
    return white_up(image, values.astype(np.uint16))


def _stated_bits(image: ImageFile, data: bytes | np.ndarray) -> int | None:
    """How many bits the values of a decoded image of more than 8 have, where its file says so; 16 may be said of any values."""
    if image.format == _PPM or (image.format == _JPEG2000 and jpeg2000_bits(data) not in (None, 16)):
        # Pillow has stretched them.
        return 16
    bits = int(image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0]) if isinstance(image, TiffImageFile) else 16
    return bits if bits < 16 else None


def _to_eight_bits(values: np.ndarray, rules: PixelRules) -> np.ndarray:
    """`(...)` uint8 of `(...)` uint16, in proportion."""
    least, most = int(values.min()), int(values.max())
    bits = rules.bits
    if bits is None:
        bits = next(depth for depth in _DEPTHS if most < 1 << depth)
        if bits < 16:
            rules.note(f"has 16 bits a channel and no value above {(1 << bits) - 1}, so is taken as of {bits} bits")
    elif most >= 1 << bits:
        rules.note(f"has values above {(1 << bits) - 1}, the most of {bits} bits, which become 255")
    shift = bits - 8
    if shift and (most >> shift) - (least >> shift) < _FEW_LEVELS <= most - least:
        rules.note(f"has 16 bits a channel and keeps fewer than {_FEW_LEVELS} of 256 levels")
    return np.minimum(values >> shift, 255).astype(np.uint8)


def _deep_colours(high: np.ndarray, data: bytes | np.ndarray, tiles: list[Any], rules: PixelRules) -> np.ndarray:
    """`(height, width, 3 or 4)` uint8 of 16 bits a channel, of which Pillow kept the high byte."""
    colours = high[:, :, :3]
    if rules.bits is None and colours.max() >= 1 << (_DEPTHS[-2] - 8):
        return high
    low = _low_bytes(data, tiles)
    if low is None or low.shape != high.shape:
        rules.note("has 16 bits a channel, of which only the high byte can be read")
        return high
    pixels = high.copy()
    pixels[:, :, :3] = _to_eight_bits(colours.astype(np.uint16) << 8 | low[:, :, :3], rules)
    return pixels


def _deep_tiles(image: ImageFile) -> list[Any]:
    """What Pillow is to decode of an image of colours with 16 bits a channel, each with the order of bytes turned round."""
    if image.mode not in ("RGB", "RGBA") or not any(_DEEP_MODE.search(str(tile[3])) for tile in image.tile):
        return []
    return [tile._replace(args=_turned(tile.args)) for tile in image.tile]


def _turned(arguments: Any) -> Any:
    """Arguments of a decoder of Pillow, with the other order of bytes."""
    mode = arguments if isinstance(arguments, str) else arguments[0]
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    turned = mode[:-1] + other.get(mode[-1], mode[-1])
    return turned if isinstance(arguments, str) else (turned, *arguments[1:])


def _low_bytes(data: bytes | np.ndarray, tiles: list[Any]) -> np.ndarray | None:
    """The low bytes of an image of 16 bits a channel; None if Pillow cannot tell."""
    with open_image(data) as image:
        image.tile = tiles
        try:
            _load(image)
        except ImageError:
            return None
        return np.asarray(image)


def _load(image: ImageFile) -> None:
    messages: list[str] = []
    try:
        if isinstance(image, TiffImageFile):
            with libtiff_messages() as messages:
                image.load()
        else:
            image.load()
    except BROKEN as error:
        # libtiff says what is wrong, Pillow the number of the error.
        reason = messages[0] if messages else one_line(error)
        bands = describe_tags(image.tag_v2) if isinstance(image, TiffImageFile) and _NO_SUCH_MODE in reason else None
        raise ImageError(bands or f"broken {image.format}: {reason}") from error
    except Image.DecompressionBombError as error:
        # A MemoryError is not the file's fault, and passes: packing tries such an image again.
        raise ImageError(f"broken {image.format}: announces more pixels than may be") from error
