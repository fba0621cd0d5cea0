"""Image files before their pixels are decoded: suffixes, first bytes, headers, orientation."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from kseq.errors import ImageError, NotAnImageError
from kseq.images.jpeg_tiles import segments

__all__ = [
    "BROKEN",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageHeader",
    "check_pixels",
    "detect_format",
    "is_jpeg",
    "one_line",
    "open_image",
    "read_header",
    "read_orientation",
]

# Pillow's limit against decompression bombs: a quarter of a gibibyte at three bytes a pixel, and a half.
MAX_PIXELS = 178_956_970

# Files whose names end so, in any case, count as images.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")

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

# What Pillow raises where a file is broken, while it opens and while it decodes one.
BROKEN = (OSError, SyntaxError, ValueError, IndexError, EOFError, OverflowError, TypeError, KeyError, struct.error)

# And of parts of a file that announce more pixels than it does itself.
_TOO_LARGE = (Image.DecompressionBombError, MemoryError)


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
        raise ImageError(f"has more pixels than the {max_pixels} allowed: {height} x {width}")


def _full_header(data: bytes) -> ImageHeader:
    with open_image(_texts_first(data) if data.startswith(_FORMATS["PNG"][0]) else data) as image:
        width, height = image.size
        orientation = read_orientation(image)
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


def is_jpeg(data: bytes | np.ndarray) -> bool:
    """Whether encoded bytes begin like a JPEG."""
    return bytes(data[:2]) == b"\xff\xd8"


def open_image(data: bytes | np.ndarray) -> ImageFile:
    kind = detect_format(bytes(data[:16]))
    try:
        return _FORMATS[kind][1](io.BytesIO(data), "")
    except BROKEN as error:
        raise ImageError(f"broken {kind} header: {one_line(error)}") from error
    except _TOO_LARGE as error:
        raise ImageError(f"broken {kind} header: announces more pixels than there is memory for") from error


def detect_format(start: bytes) -> str:
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


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def read_orientation(image: ImageFile) -> int:
    if image.format == "TIFF":
        # Pillow turns a TIFF upright itself when it decodes it, and gives its size so.
        return 1
    try:
        # Not a PNG's own: that decodes its pixels.
        found = Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except BROKEN:
        return 1
    return int(found) if found in range(1, 9) else 1
