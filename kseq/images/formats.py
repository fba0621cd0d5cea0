"""What an image file is: the suffix, the first bytes and the reader of each format, and the header of a file.

A further format that Pillow reads is one more entry of `FORMATS`. No other module spells out a suffix or first bytes.
"""

from __future__ import annotations

import io
import logging
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.IcoImagePlugin import IcoImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PcxImagePlugin import PcxImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.PsdImagePlugin import PsdImageFile
from PIL.QoiImagePlugin import QoiImageFile
from PIL.SgiImagePlugin import SgiImageFile
from PIL.TgaImagePlugin import TgaImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from PIL.XbmImagePlugin import XbmImageFile

from kseq.errors import ImageError, NotAnImageError
from kseq.images.header_faults import describe_fault
from kseq.images.jpeg_tiles import segments
from kseq.images.number_files import is_array_file
from kseq.images.old_formats import has_more_faces, open_cursor, open_pixmap, open_sun_raster, open_texture
from kseq.images.other_files import describe_other
from kseq.images.png_chunks import texts_first, without_false_animation, without_side_chunks
from kseq.images.tiff_oddities import describe_bands, refuse_raw

__all__ = [
    "BROKEN",
    "FORMATS",
    "HEAD_BYTES",
    "IMAGE_END",
    "IMAGE_SUFFIXES",
    "JPEG",
    "MAX_PIXELS",
    "PNG",
    "SIMPLEJPEG_ERRORS",
    "STORED_SUFFIXES",
    "FileFormat",
    "ImageHeader",
    "check_pixels",
    "check_start",
    "check_stored_format",
    "detect_format",
    "has_transparency",
    "is_jpeg",
    "jpeg2000_bits",
    "jpeg_size",
    "open_image",
    "read_header",
    "read_orientation",
    "stored_format",
]

# It logs some faults of a TIFF, which Python prints where nobody asked for logs; the reasons of kseq's errors say them.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# Twice Pillow's MAX_IMAGE_PIXELS, where Pillow itself refuses an image: half a gibibyte at three bytes a pixel.
MAX_PIXELS = 178_956_970

# The first bytes of a file by which it is known.
HEAD_BYTES = 132


@dataclass(frozen=True)
class FileFormat:
    """A format of image files.

    Attributes:
        name: Pillow's name for it.
        suffixes: The ends of its file names, in lower case; kseq reads all of them in any case, and writes the first.
        start: Matches the first bytes of its files, within `HEAD_BYTES`.
        open: Opens a file by its bytes and a name. `PIL.Image.open` is not used, as its limit of pixels is the whole process's.
        is_stored: Whether `encoding="keep"` stores the bytes of such a file as they are. Others are stored as PNG.
    """

    name: str
    suffixes: tuple[str, ...]
    start: re.Pattern[bytes]
    open: Callable[[io.BytesIO, str], ImageFile]
    is_stored: bool = False

    def begins(self, start: bytes) -> bool:
        """Whether a file that begins with these bytes, `HEAD_BYTES` or fewer if it has no more, is of the format."""
        return self.start.match(start) is not None


JPEG = FileFormat(
    "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), re.compile(rb"\xff\xd8\xff"), jpeg_factory, is_stored=True
)
PNG = FileFormat("PNG", (".png", ".apng"), re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile, is_stored=True)
FORMATS = (
    JPEG,
    PNG,
    # The four bytes between are a length.
    FileFormat("WEBP", (".webp",), re.compile(rb"(?s)RIFF....WEBP"), WebPImageFile),
    FileFormat("BMP", (".bmp", ".dib"), re.compile(rb"BM"), BmpImageFile),
    FileFormat("GIF", (".gif",), re.compile(rb"GIF8[79]a"), GifImageFile),
    FileFormat("TIFF", (".tif", ".tiff"), re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
    # The brand of AVIF may come after a general one.
    FileFormat(
        "AVIF", (".avif",), re.compile(rb"(?s)....ftyp(avi[fs]|(mif1|msf1|miaf)....(....){0,20}?avi[fs])"), AvifImageFile
    ),
    FileFormat(
        "JPEG2000",
        (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
        Jpeg2KImageFile,
    ),
    FileFormat("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), re.compile(rb"P[1-6]\s"), PpmImageFile),
    FileFormat("PSD", (".psd",), re.compile(rb"8BPS\0\x01"), PsdImageFile),
    FileFormat("QOI", (".qoi",), re.compile(rb"qoif"), QoiImageFile),
    FileFormat("ICO", (".ico",), re.compile(rb"\0\0\x01\0[^\0]\0"), IcoImageFile),
    FileFormat("CUR", (".cur",), re.compile(rb"\0\0\x02\0[^\0]\0"), open_cursor),
    # Textures. The three formats of DX10 that are excepted hold floats.
    FileFormat("DDS", (".dds",), re.compile(rb"(?s)DDS (?!.{80}DX10.{40}[\x5e-\x60]\0\0\0)"), open_texture),
    # Version, run lengths, bits: Pillow takes any other for run lengths, too.
    FileFormat("PCX", (".pcx",), re.compile(rb"\x0a[\0\x02\x03\x05]\x01[\x01\x02\x04\x08]"), PcxImageFile),
    # Of 16 bits, Pillow keeps the high byte, and says nothing of the low one.
    FileFormat("SGI", (".sgi", ".rgb", ".rgba", ".bw"), re.compile(rb"\x01\xda[\0\x01]\x01\0[\x01-\x03]"), SgiImageFile),
    FileFormat("SUN", (".ras",), re.compile(rb"\x59\xa6\x6a\x95"), open_sun_raster),
    FileFormat("XPM", (".xpm",), re.compile(rb"/\* XPM \*/"), open_pixmap),
    FileFormat("XBM", (".xbm",), re.compile(rb"#define\s+\S+_width\s"), XbmImageFile),
    # It begins with no mark, but with few values: whether there is a palette, how pixels are stored, how many bits they have.
    FileFormat(
        "TGA",
        (".tga",),
        re.compile(
            rb"(?s).(\0[\x02\x03\x0a\x0b]\0{4}[\0\x0f\x10\x18\x20]|\x01[\x01\x09].{4}[\x0f\x10\x18\x20]).{8}[\x08\x0f\x10\x18\x20][\x00-\x3f]"
        ),
        TgaImageFile,
    ),
)

# Files whose names end so, in any case, count as images. Of several images of one sample, the first of these comes first.
IMAGE_SUFFIXES = tuple(suffix for file_format in FORMATS for suffix in file_format.suffixes)
IMAGE_END = f"(?i:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})"
"""A regular expression for the end of the name of such a file."""
STORED_SUFFIXES = tuple(suffix for file_format in FORMATS if file_format.is_stored for suffix in file_format.suffixes)

_EXIF_ORIENTATION = 0x0112
# The tag of a TIFF whose first bit marks a page as a smaller copy of another.
_TIFF_SUBFILE_TYPE = 254

# Pillow's modes that have transparency.
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")

# The segment of a JPEG that can hold an orientation, in EXIF or in XMP; and the segment that ends them.
_APP1, _SOS = 0xE1, 0xDA

# The markers at the start of a codestream, and how far behind them the depth of the first channel stands.
_JPEG2000_SIZ, _DEPTH_IN_SIZ = b"\xff\x4f\xff\x51", 42

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
        has_more_pages: Whether the file has pages or frames after the first.
        has_alpha: Whether pixels may be transparent.
        is_deep: Whether a channel has more than 8 bits.
    """

    format: FileFormat
    height: int
    width: int
    orientation: int
    has_more_pages: bool = False
    has_alpha: bool = False
    is_deep: bool = False


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
    file_format = detect_format(data[:HEAD_BYTES])
    with open_image(texts_first(data) if file_format is PNG else data) as image:
        width, height = image.size
        orientation = read_orientation(image)
        if orientation >= 5:
            height, width = width, height
        has_more = _has_more_pages(image) or (file_format.name == "DDS" and has_more_faces(data))
        return ImageHeader(file_format, height, width, orientation, has_more, has_transparency(image), _is_deep(image))


def has_transparency(image: Image.Image) -> bool:
    """Whether pixels of an image of Pillow may be transparent: by a channel, by a colour, or by the palette."""
    palette = image.palette if image.mode == "P" else None
    return (
        image.mode in _ALPHA_MODES
        or "transparency" in image.info
        or (palette is not None and (palette.rawmode or palette.mode).startswith(("RGBA", "BGRA")))
    )


def _has_more_pages(image: ImageFile) -> bool:
    """Whether an opened image has pages or frames after the first, other than smaller copies of it."""
    if image.format in (JPEG.name, "MPO", "PSD"):
        # A second picture of a phone is a depth map or a copy, whatever Pillow calls it; layers of a PSD make up its picture.
        return False
    try:
        if not getattr(image, "is_animated", False):
            return False
        if not isinstance(image, TiffImageFile):
            return True
        image.seek(1)
        is_copy = bool(image.tag_v2.get(_TIFF_SUBFILE_TYPE, 0) & 1)
        image.seek(0)
    except BROKEN:
        # What cannot be read after the first picture is none of it.
        return False
    return not is_copy


def _is_deep(image: ImageFile) -> bool:
    """Whether a channel of an opened image has more than 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        return True
    # What Pillow is to make of the stored pixels, such as "RGB;16B".
    return any("16" in str(tile[3]) for tile in image.tile)


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


def jpeg2000_bits(data: bytes | np.ndarray) -> int | None:
    """How many bits the first channel of a JPEG 2000 has, by its marker SIZ (ISO/IEC 15444-1, A.5.1); None if it has none."""
    data = bytes(data)
    start = data.find(_JPEG2000_SIZ) + _DEPTH_IN_SIZ
    return (data[start] & 127) + 1 if _DEPTH_IN_SIZ <= start < len(data) else None


def is_jpeg(data: bytes | np.ndarray) -> bool:
    """Whether encoded bytes begin like a JPEG."""
    return JPEG.start.match(data) is not None


def stored_format(data: bytes | np.ndarray) -> FileFormat:
    """The format of encoded bytes as a dataset stores them."""
    start = bytes(data[:HEAD_BYTES])
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
    file_format = detect_format(bytes(data[:HEAD_BYTES]))
    try:
        return _open(file_format, data)
    except ImageError:
        if file_format is not PNG:
            raise
        # A fault in what describes the picture, such as its colour profile, is none of the picture's.
        return _open(file_format, without_side_chunks(data))


def _open(file_format: FileFormat, data: bytes | np.ndarray) -> ImageFile:
    if file_format is PNG:
        data = without_false_animation(bytes(data))
    try:
        image = file_format.open(io.BytesIO(data), "")
    except BROKEN as error:
        bands = describe_bands(bytes(data)) if file_format.name == "TIFF" else None
        raise ImageError(bands or f"broken {file_format.name} header: {describe_fault(error)}") from error
    except _TOO_LARGE as error:
        raise ImageError(f"broken {file_format.name} header: announces more pixels than there is memory for") from error
    refuse_raw(image, bytes(data[:16]))
    return image


def detect_format(start: bytes) -> FileFormat:
    """The format of an image by the first bytes of its file, `HEAD_BYTES` of them.

    Raises:
        NotAnImageError: If no format that kseq knows begins so.
    """
    for file_format in FORMATS:
        if file_format.begins(start):
            return file_format
    if not start:
        raise NotAnImageError("is empty")
    other = describe_other(start)
    if other is not None:
        raise NotAnImageError(other)
    names = ", ".join(file_format.name for file_format in FORMATS)
    raise NotAnImageError(f"is not an image of a known format ({names}): begins with {start[:16]!r}")


def check_start(start: bytes) -> None:
    """Raise NotAnImageError unless a file that begins so may be an image, or an array of numbers; `start` is as in
    `detect_format`."""
    if not is_array_file(start):
        detect_format(start)


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
