"""Pixels in the numbers that their file holds: more than 8 bits, floats, and any number of channels.

The rules, where `dtype` is not uint8 or the number of channels is given:

- Numbers are never scaled: 4,095 in a file is 4,095 in the dataset. A number that the dtype does not hold is refused: below 0
  or above 65,535 for uint16, a fraction for whole numbers. Only float64 and large whole numbers are rounded, to float32.
- Pixels of 8 bits keep their numbers, 0 to 255, as `kseq.images.codecs` reads them.
- 16 bits of PNG, PNM and JPEG 2000, and PFM: as stored. A TIFF of more than 8 bits: as stored, by tifffile.
- NaN and infinite numbers stay, and are noted.
- Channels are those of the color mode, or with `channels` those of the file, which must be as many. Alpha is one of them.
- Orientation: as for other images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from PIL.ImageFile import ImageFile

from kseq.errors import ImageError, NotAnImageError
from kseq.images.codecs import decode, read_image, upright
from kseq.images.formats import FORMATS, HEAD_BYTES, MAX_PIXELS, PNG, check_pixels, detect_format, jpeg2000_bits, read_header
from kseq.images.number_files import is_array_file, read_array_file, read_netpbm
from kseq.images.pillow_pixels import FOURTH_IS_ALPHA, PixelRules, plain_pixels
from kseq.images.pixel_form import PixelForm, recolor
from kseq.images.png_chunks import check_chunks, without_side_chunks
from kseq.images.tiff_numbers import read_tiff, tiff_size

__all__ = ["convert_numbers", "read_numbers", "read_size", "to_dtype"]

_TIFF = next(file_format for file_format in FORMATS if file_format.name == "TIFF")
_JPEG2000 = next(file_format for file_format in FORMATS if file_format.name == "JPEG2000")
_PLAIN_RULES = PixelRules()
_NOT_FINITE = "has values that are NaN or infinite, which stay"


def read_numbers(data: bytes, form: PixelForm, max_pixels: int, rules: PixelRules) -> tuple[np.ndarray, int]:
    """The pixels of an image file, upright, as its numbers.

    Args:
        data: The bytes of the file.
        form: What they become.
        max_pixels: How many pixels the file may announce.
        rules: Whom to tell what is worth knowing.

    Returns:
        `(height, width, channels)` of the form; and EXIF's orientation, by which they were turned upright.

    Raises:
        NotAnImageError: If the file is no image.
        ImageError: If it is broken, or its pixels do not get this form.
    """
    found = read_array_file(data, max_pixels) if is_array_file(data) else read_netpbm(data, max_pixels)
    if found is not None:
        return convert_numbers(found, form, max_pixels, rules), 1
    file_format = detect_format(data[:HEAD_BYTES])
    tiff = read_tiff(data, form.channels, max_pixels, rules.note) if file_format is _TIFF else None
    if tiff is not None:
        pixels, orientation = tiff
        return convert_numbers(upright(pixels, orientation), form, max_pixels, rules), orientation
    header = read_header(data, max_pixels)
    if header.has_more_pages:
        rules.note("has more pages or frames, of which the first is taken")
    # Of colours in a JPEG 2000, Pillow does not tell the depth.
    is_deep = header.is_deep or (file_format is _JPEG2000 and form.dtype != "uint8" and (jpeg2000_bits(data) or 0) > 8)
    if is_deep and file_format in (PNG, _JPEG2000):
        pixels = upright(_decode_deep(data, header.format), header.orientation)
        _check_size(pixels, header.height, header.width)
    elif form.channels is None:
        size = header.height, header.width
        pixels = decode(data, form.color_mode, header.orientation, size=size, strict=True, rules=rules)
    else:
        # Pillow keeps the channels that the file has.
        pixels = upright(read_image(data, lambda image: plain_pixels(image, data, rules)), header.orientation)
        if file_format is PNG:
            check_chunks(data)
    if pixels.dtype == np.uint8 and form.dtype != "uint8":
        rules.note("is read with 8 bits a channel, whose numbers are taken, 0 to 255")
    return convert_numbers(pixels, form, max_pixels, rules), header.orientation


def read_size(data: bytes) -> tuple[int, int, int]:
    """Height and width of an image file, upright, and EXIF's orientation; its pixels are not decoded.

    Raises:
        NotAnImageError: If the file is no image.
        ImageError: If it is broken.
    """
    if is_array_file(data):
        shape = read_array_file(data, MAX_PIXELS).shape
        if len(shape) < 2:
            raise ImageError(f"is an array of shape {shape}, allowed are rows and columns")
        return shape[0], shape[1], 1
    try:
        header = read_header(data)
    except NotAnImageError:
        raise
    except ImageError:
        if detect_format(data[:HEAD_BYTES]) is not _TIFF:
            raise
        # Pillow opens no TIFF of other channels than colours have.
        return tiff_size(data)
    return header.height, header.width, header.orientation


def _decode_deep(data: bytes, file_format: Any) -> np.ndarray:
    """`(height, width, channels)` uint16 of a PNG or a JPEG 2000, not turned upright."""
    # Pillow tells of faults first: the libraries below OpenCV print them to the standard error stream.
    if file_format is PNG:
        check_chunks(data)
        data = without_side_chunks(data)
    gray = read_image(data, lambda image: _deep_gray(image, data))
    if gray.size:
        return gray
    try:
        with _silent_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"broken {file_format.name}: {str(error).strip().splitlines()[-1][:80]}") from error
    if pixels is None:
        raise ImageError(f"broken {file_format.name}: its pixels cannot be decoded")
    shaped = pixels[:, :, None] if pixels.ndim == 2 else pixels
    # OpenCV's order is blue, green, red.
    return shaped if shaped.shape[2] < 3 else shaped[:, :, [2, 1, 0, *range(3, shaped.shape[2])]]


def _deep_gray(image: ImageFile, data: bytes) -> np.ndarray:
    """`(height, width, 1)` uint16 of an opened image of gray; empty for one of colours, which Pillow reads with 8 bits."""
    plain_pixels(image, data, _PLAIN_RULES)
    if not image.mode.startswith("I;16"):
        return np.empty(0, np.uint16)
    bits = (jpeg2000_bits(data) or 16) if image.format == _JPEG2000.name else 16
    if bits > 16:
        raise ImageError(f"has {bits} bits a channel, allowed are 16 where its numbers are taken")
    # Pillow stretches fewer bits of a JPEG 2000 to sixteen.
    return np.asarray(image)[:, :, None] >> 16 - bits


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """OpenCV without its messages, which go to the standard error stream of the process.

    Of several threads, the one that silenced it gives its level back, so no lock is needed: another may print meanwhile.
    """
    logs = cv2.utils.logging
    level = logs.getLogLevel()
    if level == logs.LOG_LEVEL_SILENT:
        yield
        return
    logs.setLogLevel(logs.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logs.setLogLevel(level)


def _check_size(pixels: np.ndarray, height: int, width: int) -> None:
    if pixels.shape[:2] != (height, width):
        raise ImageError(f"decodes to {pixels.shape[0]} x {pixels.shape[1]} pixels, expected are {height} x {width}")


def convert_numbers(values: np.ndarray, form: PixelForm, max_pixels: int, rules: PixelRules) -> np.ndarray:
    """Numbers as pixels of a form.

    Args:
        values: `(height, width)` or `(height, width, channels)` numbers of any dtype.
        form: What they become.
        max_pixels: How many pixels are allowed.
        rules: Whom to tell what is worth knowing.

    Returns:
        `(height, width, channels)`, C-contiguous, of the dtype and the channels of the form.

    Raises:
        ImageError: If they have another shape, or the form cannot hold them.
    """
    pixels = values[:, :, None] if values.ndim == 2 else values
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.dtype.kind not in "buif" or not form.allows_channels(pixels.shape[2]):
        hint = ""
        if pixels.ndim == 3 and form.allows_channels(pixels.shape[0]) and not form.allows_channels(pixels.shape[2]):
            hint = ": its channels come first, x.transpose(1, 2, 0) turns it"
        raise ImageError(f"is {values.dtype} of shape {values.shape}, allowed are {form.describe()}{hint}")
    check_pixels(pixels.shape[0], pixels.shape[1], max_pixels)
    if values.dtype == np.uint8 and form.channels is None and form.color_mode == "rgba":
        # Alpha is one of the numbers that they keep: 255, as of a file of 8 bits.
        pixels = recolor(np.ascontiguousarray(pixels), form.color_mode)
    pixels = to_dtype(pixels, form.dtype)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        rules.note(_NOT_FINITE)
    pixels = np.ascontiguousarray(pixels)
    if form.channels is not None:
        return pixels
    if pixels.shape[2] == 4 and form.color_mode != "rgba":
        opaque = 255 if values.dtype == np.uint8 else 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
        if (pixels[:, :, 3] != opaque).any():
            rules.note(FOURTH_IS_ALPHA)
    return recolor(pixels, form.color_mode)


def to_dtype(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers in another dtype, by the rules of this module.

    Raises:
        ImageError: If it does not hold them.
    """
    target = np.dtype(dtype)
    if values.dtype == target:
        return values.astype(target, copy=False)
    if target.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            converted = values.astype(target)
        if values.dtype.kind == "f" and (np.isinf(converted) != np.isinf(values)).any():
            finite = values[np.isfinite(values)]
            raise ImageError(f"has values from {finite.min():g} to {finite.max():g}, which {dtype} does not hold")
        return converted
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ImageError(f"has values that are NaN or infinite, which {dtype} does not hold")
    # As numbers of Python: the limits of whole numbers do not fit into float16.
    least, most = values.min().item(), values.max().item()
    limits = np.iinfo(target)
    if least < limits.min or most > limits.max:
        raise ImageError(f"has values from {least:g} to {most:g}, which {dtype} does not hold")
    converted = values.astype(target)
    if values.dtype.kind == "f" and not np.array_equal(converted, values):
        raise ImageError(f"has values with fractions, from {least:g} to {most:g}, which {dtype} does not hold")
    return converted
