"""Encoded image bytes to uint8 pixels, and back: one rule each for colour, depth, alpha and orientation.

The rules, for every format:

- Orientation: pixels come upright, by the EXIF tag Orientation (CIPA DC-008, tag 0x0112).
- Palette: each index becomes its colour, with its transparency if the palette has one; so does a colour that is
  marked as transparent (tRNS of a PNG), but not at 16 bits.
- 16 bits a channel: the high byte is kept (value // 256).
- One bit a pixel: 0 and 255.
- CMYK and YCCK: converted to RGB without a colour profile; a JPEG's values are taken as inverted, which is how Adobe
  stores them, with its marker or without.
- Alpha: dropped for `rgb` and `grayscale`, the colours left as stored; 255 for `rgba` where there is none.
- Grayscale: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), which is what a JPEG stores as Y.
- Animated, or of several pages: the first frame; of an APNG, the picture that is shown where animations are not known.
- A box of a JPEG: where it is to become at most half as large, a quarter or an eighth, libjpeg decodes at that scale.
- 32-bit and floating-point pixels, Lab and other spaces: refused.
- More pixels than are allowed: refused by the header, before anything is decoded.
- The format is told by the first bytes, never by a name.

Of a mask, pixels are values, not colours: one channel of 8 bits as stored; of a palette, the indices; of one bit a pixel, 0 and
1; anything else is refused. Orientation as above.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageMode
from PIL.ImageFile import ImageFile

from kseq.errors import ImageError
from kseq.images.formats import BROKEN, is_jpeg, one_line, open_image, read_orientation
from kseq.images.jpeg_tiles import choose_interval

__all__ = [
    "CHANNELS",
    "decode",
    "decode_mask",
    "decode_shrunk",
    "encode_jpeg",
    "encode_pixels",
    "encode_png",
    "recolor",
    "upright",
]

# Keras's color_mode, and how many channels each gives.
CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}

_SIMPLEJPEG_COLORS = {"rgb": "RGB", "grayscale": "GRAY", "rgba": "RGBA"}

_CONVERSIONS = {
    (1, 3): cv2.COLOR_GRAY2RGB,
    (1, 4): cv2.COLOR_GRAY2RGBA,
    (3, 1): cv2.COLOR_RGB2GRAY,
    (3, 4): cv2.COLOR_RGB2RGBA,
    (4, 1): cv2.COLOR_RGBA2GRAY,
    (4, 3): cv2.COLOR_RGBA2RGB,
}

# Pillow's names of one channel: 8 bits, palette, 1 bit.
_MASK_MODES = ("L", "P", "1")

# JPEG_MAX_DIMENSION of libjpeg.
_MOST_JPEG_SIDE = 65_500


def decode(
    data: bytes | np.ndarray,
    color_mode: str,
    orientation: int = 1,
    out: np.ndarray | None = None,
    *,
    strict: bool = False,
) -> np.ndarray:
    """Pixels of an encoded image, upright.

    Args:
        data: The encoded bytes, of any known format.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.
        orientation: EXIF's, from `read_header`.
        out: `(height, width, channels)` uint8, C-contiguous, of the upright image: decoded into, if given.
        strict: Refuse a JPEG that is truncated or corrupt, where libjpeg alone would fill the gap with gray, and
            a PNG with a wrong checksum or no end. A JPEG with stray bytes between its markers, common in photos,
            passes if Pillow decodes it to its end.

    Returns:
        `(height, width, channels)` uint8 in [0, 255]; `out` itself if that was given.

    Raises:
        ImageError: Where the bytes are broken.
    """
    if is_jpeg(data):
        pixels = _decode_jpeg(data, color_mode, out if orientation == 1 else None, strict)
    else:
        with open_image(data) as image:
            _check_size(*(image.size[::-1] if orientation < 5 else image.size), out)
            pixels = recolor(_plain_pixels(image), color_mode)
        if strict and image.format == "PNG":
            _verify_png(data)
    pixels = upright(pixels, orientation)
    if out is None or pixels is out:
        return pixels
    if out.shape != pixels.shape:
        raise ImageError(f"decodes to {pixels.shape}, expected is {out.shape}")
    np.copyto(out, pixels)
    return out


def decode_shrunk(data: np.ndarray, color_mode: str, shrink: int, height: int, width: int) -> np.ndarray:
    """A whole JPEG of `height` x `width` pixels at 1, 1/2, 1/4 or 1/8 of its size, as it is stored; sides are rounded up.

    Raises:
        ValueError: Where it is broken, or of a kind that simplejpeg does not decode.
    """
    colors = _SIMPLEJPEG_COLORS[color_mode]
    if shrink == 1:
        return simplejpeg.decode_jpeg(data, colors, strict=False)
    least = {"min_height": -(-height // shrink), "min_width": -(-width // shrink)}
    return simplejpeg.decode_jpeg(data, colors, strict=False, **least)


def encode_png(data: bytes) -> bytes:
    """Any known image as the bytes of a PNG, upright, 8 bits, with its alpha if it has any.

    Raises:
        ImageError: Where the image is broken or there is no rule for its pixels.
    """
    with open_image(data) as image:
        pixels = upright(_plain_pixels(image), read_orientation(image))
    return encode_pixels(pixels)


def encode_pixels(pixels: np.ndarray) -> bytes:
    """`(height, width, 1, 3 or 4)` uint8 as the bytes of a PNG."""
    target = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(target, "PNG")
    return target.getvalue()


def decode_mask(data: bytes | np.ndarray, orientation: int = 1, *, strict: bool = False) -> np.ndarray:
    """Values of an encoded mask, upright.

    Args:
        data: The encoded bytes, of any known format.
        orientation: EXIF's, from `read_header`.
        strict: Refuse a PNG with a wrong checksum or no end.

    Returns:
        `(height, width, 1)` uint8.

    Raises:
        ImageError: Where the bytes are broken, or hold colours.
    """
    with open_image(data) as image:
        if image.mode not in _MASK_MODES:
            raise ImageError(f"has pixels of mode {image.mode!r}, allowed for a mask are {', '.join(_MASK_MODES)}: one channel")
        _load(image)
        values = np.asarray(image).astype(np.uint8, copy=False)
    if strict and image.format == "PNG":
        _verify_png(data)
    return upright(values[:, :, None], orientation)


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """`(height, width, 1 or 3)` uint8 as the bytes of a baseline JPEG.

    With 4:2:0 chroma, Huffman tables of its own, and restart markers that make tiles of it (see `jpeg_tiles`).

    Args:
        pixels: RGB or grayscale.
        quality: 1 to 100.

    Raises:
        ImageError: Where a side is longer than libjpeg's limit of 65,500 pixels.
    """
    height, width, channels = pixels.shape
    if max(height, width) > _MOST_JPEG_SIDE:
        raise ImageError(f"{height} x {width} pixels do not fit into a JPEG: allowed are {_MOST_JPEG_SIDE} a side")
    parameters = {
        cv2.IMWRITE_JPEG_QUALITY: quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        cv2.IMWRITE_JPEG_OPTIMIZE: 1,
        cv2.IMWRITE_JPEG_RST_INTERVAL: choose_interval(width, 16 if channels == 3 else 8),
    }
    # OpenCV means blue, green, red.
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if channels == 3 else pixels
    _, encoded = cv2.imencode(".jpg", ordered, [number for pair in parameters.items() for number in pair])
    return encoded.tobytes()


def recolor(pixels: np.ndarray, color_mode: str) -> np.ndarray:
    """`(height, width, channels)` uint8 with the channels of a colour mode, by this module's rules."""
    channels = CHANNELS[color_mode]
    if pixels.shape[2] == channels:
        return pixels
    converted = cv2.cvtColor(pixels, _CONVERSIONS[pixels.shape[2], channels])
    return converted.reshape(*pixels.shape[:2], channels)


def _check_size(height: int, width: int, out: np.ndarray | None) -> None:
    """Refuse an image that does not fit into the memory it is to be decoded into, before it is decoded."""
    if out is not None and out.shape[:2] != (height, width):
        raise ImageError(f"decodes to {height} x {width} pixels, expected are {out.shape[0]} x {out.shape[1]}")


def _load(image: ImageFile) -> None:
    try:
        image.load()
    except BROKEN as error:
        raise ImageError(f"broken {image.format}: {one_line(error)}") from error
    except Image.DecompressionBombError as error:
        # Memory that runs out is not the file's fault: whoever packs tries again.
        raise ImageError(f"broken {image.format}: announces more pixels than may be") from error


def _verify_png(data: bytes | np.ndarray) -> None:
    """Compare the checksum of every chunk, up to the last; decoding stops at the last pixel."""
    with open_image(data) as image:
        try:
            image.verify()
        except BROKEN as error:
            raise ImageError(f"broken PNG: {one_line(error)}") from error


def _plain_pixels(image: ImageFile) -> np.ndarray:
    """`(height, width, 1, 3 or 4)` uint8 of a Pillow image as it is stored, not yet turned upright."""
    _load(image)
    if image.mode.startswith("I;16"):
        pixels = (np.asarray(image) >> 8).astype(np.uint8)
    elif image.mode == "P" or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))
    elif image.mode == "1":
        pixels = np.asarray(image.convert("L"))
    elif image.mode in ("LA", "La", "PA", "RGBa"):
        pixels = np.asarray(image.convert("RGBA"))
    elif image.mode in ("CMYK", "YCbCr", "RGBX"):
        pixels = np.asarray(image.convert("RGB"))
    elif image.mode in ("L", "RGB", "RGBA"):
        pixels = np.asarray(image)
    else:
        kind = ImageMode.getmode(image.mode).typestr
        raise ImageError(f"has pixels of mode {image.mode!r} ({kind}), for which there is no rule")
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _decode_jpeg(data: bytes | np.ndarray, color_mode: str, out: np.ndarray | None, strict: bool) -> np.ndarray:
    """simplejpeg decodes without the GIL, and straight into `out`."""
    if out is not None:
        _check_size(*_jpeg_header(data), out)
    try:
        return simplejpeg.decode_jpeg(data, _SIMPLEJPEG_COLORS[color_mode], buffer=out, strict=strict)
    except ValueError as error:
        warning = str(error)
        if warning.startswith("Corrupt JPEG data") and "extraneous bytes" not in warning:
            raise ImageError(f"broken JPEG: {warning}") from error
        # libjpeg-turbo turns CMYK into RGB, but not into gray; of the rest, Pillow says what is wrong, if anything.
        with open_image(data) as image:
            return recolor(_plain_pixels(image), color_mode)


def _jpeg_header(data: bytes | np.ndarray) -> tuple[int, int]:
    """Height and width, as stored."""
    try:
        return simplejpeg.decode_jpeg_header(data, strict=False)[:2]
    except ValueError as error:
        raise ImageError(f"broken JPEG: {error}") from error


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo EXIF's orientation: 5 to 8 are mirrored along the main diagonal first, then all by two flips."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
