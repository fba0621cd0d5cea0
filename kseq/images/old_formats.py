"""What Pillow misreads in files of old formats, or reads slowly: cursors of Windows, pixmaps of X, Sun rasters, textures.

The rules:

- A cursor has the pictures of an icon, where the place of a spot stands in place of the depth: it is read as an icon, so the
  largest picture counts, and its mask or its alpha is its transparency. Pillow compares the sizes otherwise, and takes most
  cursors for opaque.
- A colour of a pixmap has 1 to 4 hexadecimal digits for each of red, green and blue, or one of the names of X11: Pillow takes
  the last six digits, and no names.
- A Sun raster of 32 bits has the byte that is no colour first: Pillow takes the last for it.
- A texture (DDS) whose colours are whole bytes is read as such: Pillow takes 2.6 us a pixel, in Python.
"""

from __future__ import annotations

import io
import re
from typing import Any

from PIL import ImageColor
from PIL.DdsImagePlugin import DdsImageFile
from PIL.IcoImagePlugin import IcoImageFile
from PIL.ImageFile import ImageFile
from PIL.SunImagePlugin import SunImageFile
from PIL.XpmImagePlugin import XpmImageFile

__all__ = ["has_more_faces", "open_cursor", "open_pixmap", "open_sun_raster", "open_texture"]

_PNG_START = b"\x89PNG"
# The header of a bitmap of OS/2, whose sizes have two bytes.
_SHORT_HEADER = 12
# Width, height, colours, characters a pixel: the first line of a pixmap that is a text of C.
_PIXMAP_HEAD = re.compile(rb'^"(\d*) (\d*) (\d*) (\d*).*\n', re.MULTILINE)
# A colour, up to what stands for it on screens of gray or of two colours.
_COLOUR = re.compile(rb"(\sc\s+)([^\s\"].{0,99}?)(?=\s{1,99}(?:m|g4?|s)\s|\s{0,99}\")")
_TRANSPARENT = re.compile(rb"(\sc\s+)None(?=\W)")
# Of more colours, Pillow makes no palette.
_MOST_INDICES = 256
# Where the names of X11 mean others than those of CSS, which Pillow has.
_NAMES = {
    **ImageColor.colormap,
    "gray": "#bebebe",
    "grey": "#bebebe",
    "green": "#00ff00",
    "maroon": "#b03060",
    "purple": "#a020f0",
}
# Bits a pixel, and where its colours are, to the order of its bytes.
_RED_LAST, _RED_FIRST, _ALPHA = (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000), 0xFF000000
_WHOLE_BYTES = {
    (24, _RED_LAST): "BGR",
    (24, _RED_FIRST): "RGB",
    (32, _RED_LAST): "BGRX",
    (32, _RED_FIRST): "RGBX",
    (32, (*_RED_LAST, _ALPHA)): "BGRA",
    (32, (*_RED_FIRST, _ALPHA)): "RGBA",
}
# DDSCAPS2_CUBEMAP and DDSCAPS2_VOLUME; of the header DX10, D3D10_RESOURCE_DIMENSION_TEXTURE3D, DDS_RESOURCE_MISC_TEXTURECUBE.
_CUBE_OR_VOLUME, _VOLUME, _CUBE = 0x200200, 4, 4
_FOURTH_FIRST = {"RGBX": "XRGB", "BGRX": "XBGR"}


def open_cursor(file: io.BytesIO, name: str) -> ImageFile:
    """A cursor of Windows as Pillow's object."""
    data = bytearray(file.getvalue())
    data[2] = 1
    for entry in range(6, 6 + 16 * int.from_bytes(data[4:6], "little"), 16):
        start = int.from_bytes(data[entry + 12 : entry + 16], "little")
        if len(data) < start + 16:
            # Its picture is missing, which is said where it is the one that counts.
            continue
        width, height, bits = _picture(data[start : start + 16])
        if 0 < width <= 256 and 0 < height <= 256:
            data[entry : entry + 2] = width % 256, height % 256
        data[entry + 4 : entry + 8] = b"\1\0" + bits.to_bytes(2, "little")
    image = IcoImageFile(io.BytesIO(data), name)
    image.format = "CUR"
    return image


def _picture(header: bytes | bytearray) -> tuple[int, int, int]:
    """Width, height and bits a pixel of a picture of a cursor; 0 for a size that stands in the directory alone."""
    if header.startswith(_PNG_START):
        return 0, 0, 32
    is_short = int.from_bytes(header[:4], "little") == _SHORT_HEADER
    size = 2 if is_short else 4
    width, both = (int.from_bytes(header[at : at + size], "little", signed=not is_short) for at in (4, 4 + size))
    # The mask has as many rows again.
    return width, abs(both) // 2, int.from_bytes(header[6 + 2 * size : 8 + 2 * size], "little")


def open_pixmap(file: io.BytesIO, name: str) -> ImageFile:
    """A pixmap of X as Pillow's object."""
    data = file.getvalue()
    head = _PIXMAP_HEAD.search(data)
    if head is None or not head[3] or not head[4]:
        return XpmImageFile(file, name)
    count, characters = int(head[3]), int(head[4])
    # As many lines as colours; what follows are pixels.
    *lines, rest = data[head.end() :].split(b"\n", min(count, len(data)))
    lines = [line[: characters + 1] + _COLOUR.sub(_six_digits, line[characters + 1 :]) for line in lines]
    hidden = [number for number, line in enumerate(lines) if _TRANSPARENT.search(line, characters + 1)]
    if len(hidden) == 1 and count <= _MOST_INDICES:
        # Before version 13, Pillow knows no colour that is none.
        lines[hidden[0]] = _TRANSPARENT.sub(rb"\1#000000", lines[hidden[0]])
    image = XpmImageFile(io.BytesIO(data[: head.end()] + b"\n".join([*lines, rest])), name)
    if len(hidden) == 1 and image.mode == "P":
        image.info["transparency"] = hidden[0]
    return image


def _six_digits(found: re.Match[bytes]) -> bytes:
    word = found[2].decode("latin-1")
    if word.lower() == "none":
        return found[1] + b"None"
    colour = _NAMES.get(word.lower().replace(" ", ""), word)
    each, rest = divmod(len(colour) - 1, 3)
    if not isinstance(colour, str) or not colour.startswith("#") or rest or not 1 <= each <= 4:
        raise ValueError(f"has the colour {word!r}, which is not known: convert it to PNG first")
    # One digit stands for two, and of more the first two count.
    values = (colour[start : start + each] for start in range(1, len(colour), each))
    return found[1] + b"#" + "".join((value * 2)[:2] for value in values).encode()


def open_sun_raster(file: io.BytesIO, name: str) -> ImageFile:
    """A Sun raster as Pillow's object."""
    image = SunImageFile(file, name)
    image.tile = [tile._replace(args=_fourth_first(tile.args)) for tile in image.tile]
    return image


def _fourth_first(arguments: Any) -> Any:
    """Arguments of a decoder of Pillow; of four bytes a pixel, the first is no colour."""
    if isinstance(arguments, str):
        return _FOURTH_FIRST.get(arguments, arguments)
    return _FOURTH_FIRST.get(arguments[0], arguments[0]), *arguments[1:]


def open_texture(file: io.BytesIO, name: str) -> ImageFile:
    """A DDS as Pillow's object."""
    image = DdsImageFile(file, name)
    for number, tile in enumerate(image.tile):
        arguments: Any = tile.args
        order = _WHOLE_BYTES.get(arguments) if tile.codec_name == "dds_rgb" else None
        if order is not None:
            image.tile[number] = tile._replace(codec_name="raw", args=(order, 0, 1))
    return image


def has_more_faces(data: bytes) -> bool:
    """Whether a DDS is a cube, a volume or several textures, of which Pillow reads the first face or layer."""
    is_more = int.from_bytes(data[112:116], "little") & _CUBE_OR_VOLUME != 0
    if data[84:88] != b"DX10":
        return is_more
    dimension, flags, count = (int.from_bytes(data[start : start + 4], "little") for start in (132, 136, 140))
    return is_more or dimension == _VOLUME or flags & _CUBE != 0 or count > 1
