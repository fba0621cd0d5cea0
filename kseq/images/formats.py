"""What an image file is: the suffix, the first bytes and the reader of each format, and the header of a file.

A further format that Pillow reads is one more entry of `FORMATS`. No other module spells out a suffix or first bytes.
"""

from __future__ import annotations

import io
import re
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

from kseq.errors import ImageError, NotAnImageError, one_line
from kseq.images.jpeg_tiles import segments

__all__ = [
    "BROKEN",
    "FORMATS",
    "IMAGE_SUFFIXES",
    "JPEG",
    "MAX_PIXELS",
    "PNG",
    "SIMPLEJPEG_ERRORS",
    "STORED_SUFFIXES",
    "FileFormat",
    "ImageHeader",
    "check_pixels",
    "check_stored_format",
    "detect_format",
    "is_jpeg",
    "jpeg_size",
    "open_image",
    "read_header",
    "read_orientation",
    "stored_format",
]

# Twice Pillow's MAX_IMAGE_PIXELS, where Pillow itself refuses an image: half a gibibyte at three bytes a pixel.
MAX_PIXELS = 178_956_970


@dataclass(frozen=True)
class FileFormat:
    """A format of image files.

    Attributes:
        name: Pillow's name for it.
        suffixes: The ends of its file names, in lower case; kseq reads all of them in any case, and writes the first.
        start: Matches the first 16 bytes of its files.
        open: Opens a file by its bytes and a name. `PIL.Image.open` is not used, as its limit of pixels is the whole process's.
        is_stored: Whether `encoding="keep"` stores the bytes of such a file as they are. Others are stored as PNG.
    """

    name: str
    suffixes: tuple[str, ...]
    start: re.Pattern[bytes]
    open: Callable[[io.BytesIO, str], ImageFile]
    is_stored: bool = False

    def begins(self, start: bytes) -> bool:
        """Whether a file that begins with these 16 bytes, or fewer if it has no more, is of the format."""
        return self.start.match(start) is not None


JPEG = FileFormat("JPEG", (".jpg", ".jpeg"), re.compile(rb"\xff\xd8\xff"), jpeg_factory, is_stored=True)
PNG = FileFormat("PNG", (".png",), re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile, is_stored=True)
FORMATS = (
    JPEG,
    PNG,
    # The four bytes between are a length.
    FileFormat("WEBP", (".webp",), re.compile(rb"(?s)RIFF....WEBP"), WebPImageFile),
    FileFormat("BMP", (".bmp",), re.compile(rb"BM"), BmpImageFile),
    FileFormat("GIF", (".gif",), re.compile(rb"GIF8[79]a"), GifImageFile),
    FileFormat("TIFF", (".tif", ".tiff"), re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
)

# Files whose names end so, in any case, count as images. Of several images of one sample, the first of these comes first.
IMAGE_SUFFIXES = tuple(suffix for file_format in FORMATS for suffix in file_format.suffixes)
STORED_SUFFIXES = tuple(suffix for file_format in FORMATS if file_format.is_stored for suffix in file_format.suffixes)

_EXIF_ORIENTATION = 0x0112

# The segment of a JPEG that can hold an orientation, in EXIF or in XMP; and the segment that ends them.
_APP1, _SOS = 0xE1, 0xDA

# The chunks of a PNG that can hold an orientation, the chunk of its pixels, and where the first chunk begins.
_PNG_TEXTS, _PNG_PIXELS, _PNG_START = (b"eXIf", b"iTXt", b"tEXt", b"zTXt"), b"IDAT", 8

# What simplejpeg raises: the second for a header that breaks off, or a sampling of colours of which it has no name.
SIMPLEJPEG_ERRORS = (ValueError, KeyError)

# What Pillow raises for a broken file, while it opens and while it decodes one.
BROKEN = (OSError, SyntaxError, ValueError, LookupError, EOFError, OverflowError, TypeError, RuntimeError, struct.error)

# And for a part of a file that announces more pixels than the file itself.
_TOO_LARGE = (Image.DecompressionBombError, MemoryError)


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says of itself before its pixels are decoded.

    Attributes:
        format: Of the file.
        height: Of the upright image, in pixels.
        width: Of the upright image, in pixels.
        orientation: EXIF's, 1 to 8; 1 where the file has none or a value that EXIF does not define.
    """

    format: FileFormat
    height: int
    width: int
    orientation: int


def read_header(data: bytes, max_pixels: int | None = None) -> ImageHeader:
    """The header of an encoded image; its pixels are not decoded.

    Args:
        data: The encoded bytes.
        max_pixels: How many pixels it may announce at most; None for any number.

    Raises:
        NotAnImageError: If the bytes begin like no format that kseq knows.
        ImageError: If they begin like one, and then make no sense or announce more than `max_pixels` pixels.
    """
    size = _size_without_exif(data)
    header = ImageHeader(JPEG, *size, 1) if size is not None else _full_header(data)
    check_pixels(header.height, header.width, max_pixels)
    return header


def check_pixels(height: int, width: int, max_pixels: int | None) -> None:
    """Raise ImageError if an image has more pixels than are allowed."""
    if max_pixels is not None and height * width > max_pixels:
        raise ImageError(f"has more pixels than the {max_pixels} allowed: {height} x {width}")


def _full_header(data: bytes) -> ImageHeader:
    file_format = detect_format(data[:16])
    with open_image(_texts_first(data) if file_format is PNG else data) as image:
        width, height = image.size
        orientation = read_orientation(image)
        if orientation >= 5:
            height, width = width, height
        return ImageHeader(file_format, height, width, orientation)


def _texts_first(data: bytes) -> bytes:
    """A PNG with its texts before its pixels, so that its orientation can be read without decoding the pixels."""
    chunks = list(_png_chunks(data))
    pixels = next((start for kind, start, _ in chunks if kind == _PNG_PIXELS), len(data))
    late = [data[start:end] for kind, start, end in chunks if kind in _PNG_TEXTS and start > pixels]
    return b"".join((data[:pixels], *late, data[pixels:])) if late else data


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each whole chunk, where it begins and where it ends."""
    start = _PNG_START
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            return
        yield kind, start, end
        start = end


def _size_without_exif(data: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG that has no orientation, as most have; None for any other file, which Pillow must open.

    It takes a quarter of Pillow's time, which is some percent of packing.
    """
    if not is_jpeg(data):
        return None
    markers = [marker for marker, _, _ in segments(data)]
    if _APP1 in markers or markers[-1:] != [_SOS]:
        return None
    return jpeg_size(data, strict=True)


def jpeg_size(data: bytes | np.ndarray, *, strict: bool = False) -> tuple[int, int] | None:
    """Height and width of a JPEG as it is stored; None if it is broken, or of a kind that simplejpeg does not know.

    Args:
        data: The encoded bytes.
        strict: Count whatever libjpeg warns of as broken.
    """
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=strict)
    except SIMPLEJPEG_ERRORS:
        return None
    return height, width


def is_jpeg(data: bytes | np.ndarray) -> bool:
    """Whether encoded bytes begin like a JPEG."""
    return JPEG.start.match(data) is not None


def stored_format(data: bytes | np.ndarray) -> FileFormat:
    """The format of encoded bytes as a dataset stores them."""
    start = bytes(data[:16])
    return next((file_format for file_format in FORMATS if file_format.is_stored and file_format.begins(start)), PNG)


def check_stored_format(data: bytes | np.ndarray) -> None:
    """Raise ImageError unless encoded bytes are of a format that a dataset stores: other formats have other decoders."""
    start = bytes(data[:16])
    if not any(file_format.is_stored and file_format.begins(start) for file_format in FORMATS):
        names = " or ".join(file_format.name for file_format in FORMATS if file_format.is_stored)
        raise ImageError(f"is stored as bytes that begin with {start!r}, allowed is {names}")


def open_image(data: bytes | np.ndarray) -> ImageFile:
    """An encoded image as Pillow's object, its pixels not decoded yet.

    Raises:
        NotAnImageError: If the bytes begin like no format that kseq knows.
        ImageError: If the header is broken.
    """
    file_format = detect_format(bytes(data[:16]))
    try:
        return file_format.open(io.BytesIO(data), "")
    except BROKEN as error:
        raise ImageError(f"broken {file_format.name} header: {one_line(error)}") from error
    except _TOO_LARGE as error:
        raise ImageError(f"broken {file_format.name} header: announces more pixels than there is memory for") from error


def detect_format(start: bytes) -> FileFormat:
    """The format of an image by the first 16 bytes of its file.

    Raises:
        NotAnImageError: If no format that kseq knows begins so.
    """
    for file_format in FORMATS:
        if file_format.begins(start):
            return file_format
    if not start:
        raise NotAnImageError("is empty")
    names = ", ".join(file_format.name for file_format in FORMATS)
    raise NotAnImageError(f"is not an image of a known format ({names}): begins with {start!r}")


def read_orientation(image: ImageFile) -> int:
    """EXIF's orientation of an opened image, 1 to 8; 1 if it has none."""
    if image.format == "TIFF":
        # Pillow itself turns a TIFF upright when it decodes it, and returns the size of the upright image.
        return 1
    try:
        # The base class's method: that of a PNG decodes the pixels.
        value = Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except BROKEN:
        return 1
    return int(value) if value in range(1, 9) else 1
