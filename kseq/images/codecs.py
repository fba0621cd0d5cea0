"""The codecs of images: encoded bytes to uint8 pixels and back, by one rule each for colour, depth, alpha and orientation.

The rules, for every format:

- Orientation: pixels are returned upright, by the EXIF tag Orientation (CIPA DC-008, tag 0x0112).
- Palette: each index becomes its colour, with its transparency if the palette has one. A single colour that is marked as
  transparent (tRNS of a PNG) becomes transparent too, but not at 16 bits a channel.
- 16 bits a channel: in proportion. An image whose values all fit into 8 or 12 bits is taken as of so many; of any other the
  high byte is kept (value // 256). `PixelRules.bits` says it outright. Of 9 to 15 bits, as the file says them: in proportion.
- One bit a pixel: 0 and 255.
- Colour profiles and gamma: not applied.
- CMYK and YCCK: converted to RGB without a colour profile. The values of a JPEG are taken as inverted, as Adobe stores them,
  whether Adobe's marker is there or not.
- Alpha: dropped for `rgb` and `grayscale`, the colours left as stored, unless `PixelRules.background` says what is behind. For
  `rgba`, 255 if the image has no alpha.
- Grayscale: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), which is what a JPEG stores as Y.
- Several frames or pages: the first. Of an APNG, the picture that programs without animations show.
- JPEG: libjpeg's fast integer DCT and its smooth upsampling, as TensorFlow decodes by default, and so Keras's own loaders.
- A crop of a JPEG that is to be shrunk to a half or less, and a whole JPEG if the resize averages: libjpeg decodes at 1/2, 1/4
  or 1/8 of the size. Any other JPEG that a batch shrinks so far: upsampling by repetition. Neither with `decode="exact"`.
- Side chunks of a PNG and colour profiles of a JPEG: a fault there is none of the picture's. Nor is it that a baseline JPEG
  whose pixels are whole lacks the marker of its end.
- Whole numbers of 32 bits or with a sign: as of 16 bits, if all are in 0 to 65,535; else refused.
- Floating-point pixels, Lab and other colour spaces: refused.
- More pixels than are allowed: refused by the header, before anything is decoded.
- The format is recognized by the first bytes, never by a name.

The pixels of a mask are values, not colours: one channel of 8 bits as stored; the indices of a palette; 0 and 1 for one bit a
pixel; 16 or 32 bits where no value is above 255; several channels where all are equal, and opaque. Any other mask is refused.
Orientation as above.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.ImageFile import ImageFile

from kseq.errors import ImageError
from kseq.images.formats import JPEG, PNG, SIMPLEJPEG_ERRORS, is_jpeg, jpeg_size, open_image, read_orientation
from kseq.images.jpeg_tiles import SOF0, SOF1, SOS, choose_interval, has_blocks, segments
from kseq.images.pillow_pixels import PixelRules, mask_values, plain_pixels
from kseq.images.pixel_form import recolor
from kseq.images.png_chunks import check_chunks, without_side_chunks
from kseq.images.rectangle import Rectangle

__all__ = [
    "check_size",
    "decode",
    "decode_mask",
    "decode_shrunk",
    "encode_jpeg",
    "encode_pixels",
    "encode_png",
    "read_image",
    "shrunk_rectangle",
    "upright",
]

_SIMPLEJPEG_COLORS = {"rgb": "RGB", "grayscale": "GRAY", "rgba": "RGBA"}

_DEFAULT_RULES = PixelRules()

# The segments of a JPEG that can hold a colour profile.
_APP2 = 0xE2
_EOI = b"\xff\xd9"

# JPEG_MAX_DIMENSION of libjpeg.
_MOST_JPEG_SIDE = 65_500


def decode(
    data: bytes | np.ndarray,
    color_mode: str,
    orientation: int = 1,
    out: np.ndarray | None = None,
    *,
    size: tuple[int, int] | None = None,
    strict: bool = False,
    reduction: int = 1,
    fast: bool = False,
    rules: PixelRules = _DEFAULT_RULES,
) -> np.ndarray:
    """Pixels of an encoded image, upright.

    Args:
        data: The encoded bytes, of any known format.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.
        orientation: EXIF's, 1 to 8, from `read_header`.
        out: `(height, width, channels)` uint8, C-contiguous, of the size of the upright image: where to write the pixels; None
            for a new array.
        size: Height and width that the upright image must have by its header, before anything is decoded; None for those of
            `out`, or any without it.
        strict: Refuse a JPEG that is truncated or corrupt, of which libjpeg would fill the missing part with gray, and
            a PNG with a wrong checksum or no end. A JPEG with stray bytes between its markers, which is common in photos,
            passes if Pillow decodes it to its end.
        reduction: 1, 2, 4 or 8, 1 with `out`: how many times smaller to decode a JPEG, its sides rounded up. Other formats,
            lossless JPEGs, and JPEGs that only Pillow decodes, keep their size.
        fast: Repeat the pixels of the colour planes of a JPEG that are smaller than the image, in place of smoothing them.
        rules: What becomes of more than 8 bits, and of transparent pixels where no alpha is kept.

    Returns:
        `(height, width, channels)` uint8 in [0, 255]: `out` if that is given.

    Raises:
        ImageError: If the bytes are broken, or the image has another size than is expected.
    """
    if size is None and out is not None:
        size = out.shape[0], out.shape[1]
    if is_jpeg(data):
        if size is not None:
            check_size(data, orientation, size)
        options = {"strict": strict, "fastupsample": fast}
        pixels = _decode_jpeg(data, color_mode, out if orientation == 1 else None, orientation, size, reduction, options)
    else:

        def read(image: ImageFile) -> np.ndarray:
            _compare_size(image.height, image.width, orientation, size)
            return recolor(plain_pixels(image, data, rules), color_mode)

        pixels = read_image(data, read)
        if strict and PNG.begins(bytes(data[:16])):
            check_chunks(data)
    pixels = upright(pixels, orientation)
    if out is None or pixels is out:
        return pixels
    if out.shape != pixels.shape:
        raise ImageError(f"decodes to {pixels.shape}, expected is {out.shape}")
    np.copyto(out, pixels)
    return out


def decode_shrunk(data: np.ndarray, color_mode: str, shrink: int, height: int, width: int, fast: bool) -> np.ndarray:
    """A whole JPEG at a fraction of its size, not turned upright.

    Args:
        data: `(n,)` uint8: the encoded bytes.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.
        shrink: 1, 2, 4 or 8: how many times smaller.
        height: Of the stored image, in pixels.
        width: Of the stored image, in pixels.
        fast: As of `decode`.

    Returns:
        `(ceil(height / shrink), ceil(width / shrink), channels)` uint8.

    Raises:
        One of `SIMPLEJPEG_ERRORS`: If it is broken, or of a kind that simplejpeg does not decode.
    """
    if shrink > 1 and not has_blocks(data):
        raise ValueError("is no JPEG of blocks, which can be decoded smaller")
    return _decode_by_simplejpeg(data, color_mode, strict=False, fastupsample=fast, **_least_size(height, width, shrink))


def encode_png(data: bytes, rules: PixelRules = _DEFAULT_RULES) -> bytes:
    """Any known image as the bytes of a PNG, upright, of 8 bits a channel, with its alpha if it has any and no background.

    Raises:
        ImageError: If the image is broken, or there is no rule for its pixels.
    """
    return encode_pixels(read_image(data, lambda image: upright(plain_pixels(image, data, rules), read_orientation(image))))


def encode_pixels(pixels: np.ndarray) -> bytes:
    """`(height, width, 1, 3 or 4)` uint8, or `(height, width, 1)` uint16, as the bytes of a PNG."""
    target = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(target, PNG.name)
    return target.getvalue()


def decode_mask(
    data: bytes | np.ndarray,
    orientation: int = 1,
    *,
    size: tuple[int, int] | None = None,
    strict: bool = False,
    dtype: str = "uint8",
) -> np.ndarray:
    """Values of an encoded mask, upright.

    Args:
        data: The encoded bytes, of any known format.
        orientation: EXIF's, 1 to 8, from `read_header`.
        size: Height and width that the upright mask must have by its header; None for any.
        strict: Refuse a PNG with a wrong checksum or no end.
        dtype: `"uint8"`, or `"uint16"` for greater values.

    Returns:
        `(height, width, 1)` of the dtype.

    Raises:
        ImageError: If the bytes are broken, or hold colours, or greater values.
    """

    def read(image: ImageFile) -> np.ndarray:
        _compare_size(image.height, image.width, orientation, size)
        return mask_values(image, dtype)

    values = read_image(data, read)
    if strict and PNG.begins(bytes(data[:16])):
        check_chunks(data)
    return upright(values, orientation)


def read_image(data: bytes | np.ndarray, read: Callable[[ImageFile], np.ndarray]) -> np.ndarray:
    """What a function reads from an image that Pillow opened; of a PNG whose other chunks are at fault, without those."""
    try:
        with open_image(data) as image:
            return read(image)
    except ImageError:
        plain = without_side_chunks(data) if PNG.begins(bytes(data[:16])) else b""
        if not plain or len(plain) == len(data):
            raise
    with open_image(plain) as image:
        return read(image)


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Pixels as the bytes of a baseline JPEG.

    It has 4:2:0 chroma, optimized Huffman tables, and restart markers that divide it into tiles (see
    `kseq.images.jpeg_tiles`).

    Args:
        pixels: `(height, width, 1 or 3)` uint8, grayscale or RGB.
        quality: 1 to 100.

    Raises:
        ImageError: If a side is longer than libjpeg's limit of 65,500 pixels.
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
    # OpenCV's order is blue, green, red.
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if channels == 3 else pixels
    _, encoded = cv2.imencode(JPEG.suffixes[0], ordered, [number for pair in parameters.items() for number in pair])
    return encoded.tobytes()


def check_size(data: bytes | np.ndarray, orientation: int, size: tuple[int, int]) -> None:
    """Raise ImageError if a JPEG has another size, by its header and once it is upright, than `size`: height and width."""
    stored = jpeg_size(data)
    if stored is None:
        with open_image(data) as image:
            stored = image.height, image.width
    _compare_size(*stored, orientation, size)


def _compare_size(height: int, width: int, orientation: int, size: tuple[int, int] | None) -> None:
    """Raise ImageError, before anything is decoded, if a stored image does not have the size `size` once it is upright."""
    if orientation >= 5:
        height, width = width, height
    if size is not None and size != (height, width):
        raise ImageError(f"decodes to {height} x {width} pixels, expected are {size[0]} x {size[1]}")


def _decode_jpeg(
    data: bytes | np.ndarray,
    color_mode: str,
    out: np.ndarray | None,
    orientation: int,
    size: tuple[int, int] | None,
    reduction: int,
    options: dict[str, bool],
) -> np.ndarray:
    """The pixels of a JPEG, not turned upright. simplejpeg decodes without the GIL, and straight into `out`."""
    try:
        stored = jpeg_size(data) if reduction > 1 and has_blocks(data) else None
        least = {} if stored is None else _least_size(*stored, reduction)
        return _decode_by_simplejpeg(data, color_mode, buffer=out, **options, **least)
    except SIMPLEJPEG_ERRORS as error:
        message = str(error)
        has_stray_bytes = "extraneous bytes" in message
        plain = b""
        if "bad ICC marker" in message:
            plain = _without_profile(data)
        elif options["strict"] and message.startswith("Premature end of JPEG file"):
            plain = _with_end(data)
        if plain and len(plain) != len(data):
            return _decode_jpeg(plain, color_mode, out, orientation, size, reduction, options)
        if message.startswith("Corrupt JPEG data") and not has_stray_bytes:
            raise ImageError(f"broken {JPEG.name}: {message}") from error
        # libjpeg-turbo converts CMYK to RGB, but not to gray. For any other file, Pillow says what is wrong, if anything.
        with open_image(data) as image:
            _compare_size(image.height, image.width, orientation, size)
            pixels = recolor(plain_pixels(image, data, _DEFAULT_RULES), color_mode)
    if has_stray_bytes:
        # The same pixels as when it is read, where nothing is strict.
        with contextlib.suppress(*SIMPLEJPEG_ERRORS):
            return _decode_by_simplejpeg(data, color_mode, buffer=out, **{**options, "strict": False}, **least)
    return pixels


def _with_end(data: bytes | np.ndarray) -> bytes:
    """A JPEG with the marker of its end, which cameras leave out: libjpeg then tells whether its pixels are whole.

    Empty for one whose pixels lie in several scans, of which some may be missing.
    """
    data = bytes(data)
    found = {marker: offset for marker, offset, _ in segments(data)}
    frame, scan = found.get(SOF0, found.get(SOF1)), found.get(SOS)
    if data.endswith(_EOI) or frame is None or scan is None or data[frame + 5] != data[scan]:
        return b""
    return data + _EOI


def _without_profile(data: bytes | np.ndarray) -> bytes:
    """A JPEG without its colour profile, which may be incomplete while its pixels are whole."""
    data = bytes(data)
    kept, start = [], 0
    for marker, offset, length in segments(data):
        if marker == _APP2:
            kept.append(data[start : offset - 4])
            start = offset + length
    return b"".join([*kept, data[start:]])


def _decode_by_simplejpeg(data: bytes | np.ndarray, color_mode: str, **arguments: Any) -> np.ndarray:
    """The pixels of a JPEG, with the DCT that TensorFlow takes."""
    pixels: np.ndarray = simplejpeg.decode_jpeg(data, _SIMPLEJPEG_COLORS[color_mode], fastdct=True, **arguments)
    return pixels


def _least_size(height: int, width: int, reduction: int) -> dict[str, int]:
    """The arguments by which simplejpeg decodes a JPEG of this size that many times smaller."""
    return {} if reduction == 1 else {"min_height": -(-height // reduction), "min_width": -(-width // reduction)}


# `(256,)` bool: whether the last row, or the last column, of the pixels is the first one of the upright image, by orientation.
_UPSIDE_DOWN, _MIRRORED = np.zeros(256, bool), np.zeros(256, bool)
_UPSIDE_DOWN[[3, 4, 7, 8]] = True
_MIRRORED[[2, 3, 6, 7]] = True


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels turned upright by EXIF's orientation: 5 to 8 are mirrored along the main diagonal, then all by up to two flips."""
    if orientation == 1:
        return pixels
    if not 1 <= orientation <= 8:
        raise ImageError(f"has the orientation {orientation}, allowed are 1 to 8")
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if _UPSIDE_DOWN[orientation]:
        pixels = pixels[::-1]
    if _MIRRORED[orientation]:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def shrunk_rectangle(rectangle: Rectangle, shrink: Any, height: Any, width: Any, orientation: Any) -> Rectangle:
    """Where a rectangle of an upright image lies, in the nearest whole pixels, once the image was decoded smaller.

    The last row and the last column of a shrunk JPEG may stand for fewer pixels of the full image than the others do. Turned
    upright, they may be the first.

    Args:
        rectangle: In the full image. It and all else may be numbers, or `(n,)` arrays for several images.
        shrink: 1, 2, 4 or 8.
        height: Of the full image, upright.
        width: Of the full image, upright.
        orientation: EXIF's.
    """
    above = np.where(_UPSIDE_DOWN[orientation], -height % shrink, 0)
    beside = np.where(_MIRRORED[orientation], -width % shrink, 0)
    return rectangle._replace(top=rectangle.top + above, left=rectangle.left + beside).shrink(shrink, height, width)
