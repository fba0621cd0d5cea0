"""What Pillow takes for something else in a TIFF: corrected, or refused by name.

The rules:

- A camera's raw file (DNG, NEF, CR2, ARW and others) is a TIFF whose first page is a small copy of the photo: it is refused. So
  is any DNG.
- Colours of 16 bits that are stored one by one, uncompressed: Pillow takes them for 8 bits.
- A palette whose colours have 8 bits each, as old programs wrote it, in place of 16: Pillow makes it black.
- More than 8 bits of gray with 0 for white (PhotometricInterpretation 0): Pillow turns 8 bits round, and no more.
- Channels that are no colours, or numbers that are none of pixels, such as the bands of a satellite: Pillow takes the file for
  a broken one. It is refused by their number and dtype.

Source: TIFF 6.0; Adobe's Digital Negative (DNG) Specification 1.7.
"""

from __future__ import annotations

import io
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
from PIL import ImagePalette
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from kseq.errors import NotAnImageError
from kseq.images.pixel_form import CHANNELS, PLAIN_FORM

__all__ = [
    "BITS_PER_SAMPLE",
    "SAMPLES_PER_PIXEL",
    "correct_palette",
    "correct_planes",
    "describe_bands",
    "describe_tags",
    "is_raw",
    "refuse_raw",
    "white_up",
]

SAMPLES_PER_PIXEL = 277
BITS_PER_SAMPLE = 258
_SUBFILE_TYPE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _COLOR_MAP, _SUB_IFDS, _SAMPLE_FORMAT, _DNG_VERSION = (
    254,
    256,
    257,
    262,
    320,
    330,
    339,
    50706,
)
# What Canon writes behind the mark of a TIFF: where the first page is, its own mark, and the version of that. The pixels of a
# scan may begin with "CR", too.
_CR2 = (slice(4, 12), b"\x10\0\0\0CR\2\0")
_COLOURS = ("R", "G", "B", "A")
# SampleFormat to the kind of number, and how many bits each may have.
_KINDS = {1: "uint", 2: "int", 3: "float"}
_WHOLE_BYTES = (8, 16, 32, 64)
_BIG, _MARK_BYTES, _BIG_MARK_BYTES = 43, 8, 16


def is_raw(start: bytes, tags: Container[int], subfile_type: int) -> bool:
    """Whether a TIFF is a camera's raw file.

    Args:
        start: Its first 16 bytes.
        tags: The numbers of the tags of its first page.
        subfile_type: NewSubfileType of its first page.
    """
    is_copy = bool(subfile_type & 1) and _SUB_IFDS in tags
    place, mark = _CR2
    return start[place] == mark or _DNG_VERSION in tags or is_copy


def refuse_raw(image: ImageFile, start: bytes) -> None:
    """Raise NotAnImageError if an opened image is a camera's raw file."""
    if isinstance(image, TiffImageFile) and is_raw(start, image.tag_v2, int(image.tag_v2.get(_SUBFILE_TYPE, 0))):
        raise NotAnImageError(
            "is a camera's raw file (DNG, NEF, CR2 or another): develop it, or convert it to JPEG or PNG first"
        )


def describe_bands(data: bytes) -> str | None:
    """What the pixels of a TIFF are that Pillow does not open, where that is why; the bytes are those of the file."""
    size = _BIG_MARK_BYTES if _BIG in data[2:4] else _MARK_BYTES
    file = io.BytesIO(data)
    try:
        directory = ImageFileDirectory_v2(data[:size])
        file.seek(directory.next)
        directory.load(file)
        return describe_tags(directory)
    # The file may be broken in whatever way.
    except Exception:
        return None


def describe_tags(tags: Mapping[int, Any]) -> str | None:
    """The numbers that the tags of a TIFF tell, for messages; None if they are colours of 8 bits, or tell nothing."""
    height, width, count = (int(tags.get(tag, 1)) for tag in (_HEIGHT, _WIDTH, SAMPLES_PER_PIXEL))
    bits, kind = int(tags.get(BITS_PER_SAMPLE, (1,))[0]), _KINDS.get(int(tags.get(_SAMPLE_FORMAT, (1,))[0]))
    if kind is None or bits not in _WHOLE_BYTES or (kind, bits) == ("float", 8):
        return None
    dtype, shape = f"{kind}{bits}", (height, width, count)
    is_of_colours = count in CHANNELS.values() and dtype == PLAIN_FORM.dtype
    return None if is_of_colours else f"is {dtype} of shape {shape}, allowed is {PLAIN_FORM.describe()}"


def correct_planes(image: ImageFile) -> None:
    """Tell Pillow of 16 bits in a TIFF that stores each colour by itself, before it decodes."""
    if not isinstance(image, TiffImageFile) or image.tag_v2.get(BITS_PER_SAMPLE, (8,))[0] != 16:
        return
    order = "L" if image.tag_v2.prefix == b"II" else "B"
    image.tile = [
        tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
        if tile.codec_name == "raw" and isinstance(tile.args, tuple) and tile.args[0] in _COLOURS
        else tile
        for tile in image.tile
    ]


def correct_palette(image: ImageFile) -> None:
    """Give an opened image of a TIFF the colours of a palette of 8 bits, where none of the palette is above 255."""
    if isinstance(image, TiffImageFile) and image.mode in ("P", "PA"):
        colours = image.tag_v2.get(_COLOR_MAP, ())
        if colours and min(colours) >= 0 and 0 < max(colours) <= 255:
            # All red ones come first, then the green ones.
            image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def white_up(image: ImageFile, values: np.ndarray) -> np.ndarray:
    """`(height, width)` uint16 of an opened image of more than 8 bits, in which 0 is black."""
    if not isinstance(image, TiffImageFile) or image.tag_v2.get(_PHOTOMETRIC) != 0 or not image.mode.startswith("I;16"):
        return values
    bits = int(image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0])
    return ((1 << bits) - 1 - values).astype(np.uint16)
