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
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageMode
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from kseq.errors import ImageError, NotAnImageError
from kseq.tiles import choose_interval, segments

__all__ = [
    "CHANNELS",
    "MAX_PIXELS",
    "ImageHeader",
    "check_pixels",
    "decode",
    "decode_mask",
    "decode_shrunk",
    "encode_jpeg",
    "encode_pixels",
    "encode_png",
    "image_format",
    "is_jpeg",
    "read_header",
    "recolor",
    "upright",
]

# Keras's color_mode, and how many channels each gives.
CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}

# Pillow's limit against decompression bombs: a quarter of a gibibyte at three bytes a pixel, and a half.
MAX_PIXELS = 178_956_970

# What a file of each format begins with, and what opens it: `PIL.Image.open` has a limit of pixels that is the whole process's.
_FORMATS: dict[str, tuple[tuple[bytes, ...], Callable[[io.BytesIO, str], ImageFile]]] = {
    "JPEG": ((b"\xff\xd8\xff",), jpeg_factory),
    "PNG": ((b"\x89PNG\r\n\x1a\n",), PngImageFile),
    "BMP": ((b"BM",), BmpImageFile),
    "GIF": ((b"GIF87a", b"GIF89a"), GifImageFile),
    "WEBP": ((b"RIFF",), WebPImageFile),
    "TIFF": ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImageFile),
}
_EXIF_ORIENTATION = 0x0112
# The segment of a JPEG that can hold an orientation, in EXIF or in XMP; and the one that ends them.
_APP1, _SOS = 0xE1, 0xDA
# The chunks of a PNG that can hold one, and those of its pixels.
_PNG_TEXTS, _PNG_PIXELS, _PNG_START = (b"eXIf", b"iTXt", b"tEXt", b"zTXt"), b"IDAT", 8
_SIMPLEJPEG_COLORS = {"rgb": "RGB", "grayscale": "GRAY", "rgba": "RGBA"}
_CONVERSIONS = {
    (1, 3): cv2.COLOR_GRAY2RGB,
    (1, 4): cv2.COLOR_GRAY2RGBA,
    (3, 1): cv2.COLOR_RGB2GRAY,
    (3, 4): cv2.COLOR_RGB2RGBA,
    (4, 1): cv2.COLOR_RGBA2GRAY,
    (4, 3): cv2.COLOR_RGBA2RGB,
}

# What Pillow raises where a file is broken, while it opens and while it decodes one.
_BROKEN = (OSError, SyntaxError, ValueError, IndexError, EOFError, OverflowError, TypeError, KeyError, struct.error)
# And of parts of a file that announce more pixels than it does itself.
_TOO_LARGE = (Image.DecompressionBombError, MemoryError)
# Pillow's names of one channel: 8 bits, palette, 1 bit.
_MASK_MODES = ("L", "P", "1")

# JPEG_MAX_DIMENSION of libjpeg.
_MOST_JPEG_SIDE = 65_500


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says of itself before its pixels are decoded.

    Attributes:
        format: `"JPEG"`, `"PNG"`, `"BMP"`, `"GIF"`, `"WEBP"` or `"TIFF"`.
        height: Of the upright image, in pixels.
        width: Of the upright image, in pixels.
        orientation: EXIF's, 1 to 8; 1 where the file has none or a value that EXIF does not define.
    """

    format: str
    height: int
    width: int
    orientation: int


def read_header(data: bytes, max_pixels: int | None = None) -> ImageHeader:
    """The header of an encoded image; its pixels are not decoded.

    Args:
        data: The encoded bytes.
        max_pixels: The most that it may announce; None for any number.

    Raises:
        NotAnImageError: Where the bytes begin like no format that kseq knows.
        ImageError: Where they do, and then make no sense, or announce more than `max_pixels` pixels.
    """
    size = _size_without_exif(data)
    header = ImageHeader("JPEG", *size, 1) if size is not None else _full_header(data)
    check_pixels(header.height, header.width, max_pixels)
    return header


def check_pixels(height: int, width: int, max_pixels: int | None) -> None:
    """Raise ImageError where an image is larger than is allowed."""
    if max_pixels is not None and height * width > max_pixels:
        raise ImageError(f"has more pixels than the {max_pixels} allowed (--max-pixels): {height} x {width}")


def _full_header(data: bytes) -> ImageHeader:
    with _open(_texts_first(data) if data.startswith(_FORMATS["PNG"][0]) else data) as image:
        width, height = image.size
        orientation = _orientation(image)
        if orientation >= 5:
            height, width = width, height
        # A camera's MPO is a JPEG with more pictures behind it.
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        return ImageHeader(kind, height, width, orientation)


def _texts_first(data: bytes) -> bytes:
    """A PNG whose texts come before its pixels, so that its orientation can be known without decoding these."""
    chunks = list(_png_chunks(data))
    pixels = next((start for kind, start, _ in chunks if kind == _PNG_PIXELS), len(data))
    late = [data[start:end] for kind, start, end in chunks if kind in _PNG_TEXTS and start > pixels]
    return b"".join((data[:pixels], *late, data[pixels:])) if late else data


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk that is whole, where it begins and where it ends."""
    start = _PNG_START
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            return
        yield kind, start, end
        start = end


def _size_without_exif(data: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG that says nothing of its orientation, which is most of a dataset; None: Pillow is to look.

    A quarter of Pillow's time, which is some percent of packing.
    """
    if not is_jpeg(data):
        return None
    markers = [marker for marker, _, _ in segments(data)]
    if _APP1 in markers or markers[-1:] != [_SOS]:
        return None
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return height, width


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
        with _open(data) as image:
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


def is_jpeg(data: bytes | np.ndarray) -> bool:
    """Whether encoded bytes begin like a JPEG."""
    return bytes(data[:2]) == b"\xff\xd8"


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
    with _open(data) as image:
        pixels = upright(_plain_pixels(image), _orientation(image))
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
    with _open(data) as image:
        if image.mode not in _MASK_MODES:
            raise ImageError(f"has pixels of mode {image.mode!r}, allowed for a mask are {', '.join(_MASK_MODES)}: one channel")
        _load(image)
        values = np.asarray(image).astype(np.uint8, copy=False)
    if strict and image.format == "PNG":
        _verify_png(data)
    return upright(values[:, :, None], orientation)


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """`(height, width, 1 or 3)` uint8 as the bytes of a baseline JPEG.

    With 4:2:0 chroma, Huffman tables of its own, and restart markers that make tiles of it (see `kseq.tiles`).

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


def _open(data: bytes | np.ndarray) -> ImageFile:
    kind = image_format(bytes(data[:16]))
    try:
        return _FORMATS[kind][1](io.BytesIO(data), "")
    except _BROKEN as error:
        raise ImageError(f"broken {kind} header: {_one_line(error)}") from error
    except _TOO_LARGE as error:
        raise ImageError(f"broken {kind} header: announces more pixels than there is memory for") from error


def image_format(start: bytes) -> str:
    """The format of an image by the first 16 bytes of its file, as in `ImageHeader`.

    Raises:
        NotAnImageError: Where they are those of none that kseq knows.
    """
    for name, (magics, _) in _FORMATS.items():
        if start.startswith(magics) and (name != "WEBP" or start[8:12] == b"WEBP"):
            return name
    if not start:
        raise NotAnImageError("is empty")
    raise NotAnImageError(f"is not an image of a known format ({', '.join(_FORMATS)}): begins with {start!r}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check_size(height: int, width: int, out: np.ndarray | None) -> None:
    """Refuse an image that does not fit into the memory it is to be decoded into, before it is decoded."""
    if out is not None and out.shape[:2] != (height, width):
        raise ImageError(f"decodes to {height} x {width} pixels, expected are {out.shape[0]} x {out.shape[1]}")


def _load(image: ImageFile) -> None:
    try:
        image.load()
    except _BROKEN as error:
        raise ImageError(f"broken {image.format}: {_one_line(error)}") from error
    except Image.DecompressionBombError as error:
        # Memory that runs out is not the file's fault: whoever packs tries again.
        raise ImageError(f"broken {image.format}: announces more pixels than may be") from error


def _verify_png(data: bytes | np.ndarray) -> None:
    """Compare the checksum of every chunk, up to the last; decoding stops at the last pixel."""
    with _open(data) as image:
        try:
            image.verify()
        except _BROKEN as error:
            raise ImageError(f"broken PNG: {_one_line(error)}") from error


def _orientation(image: ImageFile) -> int:
    if image.format == "TIFF":
        # Pillow turns a TIFF upright itself when it decodes it, and gives its size so.
        return 1
    try:
        # Not a PNG's own: that decodes its pixels.
        found = Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except _BROKEN:
        return 1
    return int(found) if found in range(1, 9) else 1


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
        with _open(data) as image:
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
