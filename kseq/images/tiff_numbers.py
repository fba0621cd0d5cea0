"""The numbers of a TIFF as they are stored, by tifffile: any depth, any number of channels, pages as channels."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from kseq.errors import ImageError, one_line
from kseq.images.formats import check_pixels

__all__ = ["read_tiff"]

_ORIENTATION, _NO_DATA = 274, 42113
# PhotometricInterpretation: white is 0, black is 0, RGB; and the masks and palettes that are no numbers.
_PALETTE = 3
_WHITE_IS_ZERO = 0


def read_tiff(data: bytes, channels: int | None, max_pixels: int, note: Callable[[str], None]) -> tuple[np.ndarray, int] | None:
    """The numbers of a TIFF.

    Args:
        data: The bytes of the file.
        channels: How many channels are wanted: so many pages of one channel are taken as them. None for the first page.
        max_pixels: How many pixels a page may announce.
        note: Called with what is worth knowing of the file.

    Returns:
        `(height, width, channels)` numbers, not turned upright, and EXIF's orientation. None for a TIFF of colours of 8 bits,
        which are not numbers: a palette, CMYK, YCbCr and the like.

    Raises:
        ImageError: If it is broken, of a form that tifffile does not read, too large, or a package is missing.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(
            "is a TIFF, the numbers of which tifffile reads, which is not installed: pip install 'kseq[tiff]'"
        ) from error
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return _read(file, channels, max_pixels, note)
    except (ImageError, MemoryError):
        raise
    # It parses what others wrote, with whatever error comes of that.
    except Exception as error:
        if "imagecodecs" in str(error):
            raise ImageError(
                f"is a TIFF with a compression that needs a package: {one_line(error)}: pip install imagecodecs"
            ) from error
        raise ImageError(f"broken TIFF: {one_line(error)}") from error


def _read(file: Any, channels: int | None, max_pixels: int, note: Callable[[str], None]) -> tuple[np.ndarray, int] | None:
    first = file.pages[0]
    pages = [page for page in file.pages if page is first or not _is_copy(page)]
    height, width, count = first.imagelength, first.imagewidth, first.samplesperpixel
    check_pixels(height, width, max_pixels)
    stacked = [page for page in pages if (page.imagelength, page.imagewidth, page.dtype) == (height, width, first.dtype)]
    is_stack = channels is not None and count == 1 and channels > 1 and len(stacked) == channels
    if first.bitspersample <= 8 and not is_stack and (first.photometric not in (0, 1, 2) or channels is None):
        return None
    if first.photometric == _PALETTE:
        raise ImageError("is a TIFF with a palette, whose numbers are no values")
    if first.photometric == _WHITE_IS_ZERO:
        note("has values of which 0 is white, as it says, which are taken as they are")
    if _NO_DATA in first.tags:
        note("names a value that stands for no data (GDAL_NODATA), which stays")
    orientation = first.tags.valueof(_ORIENTATION, 1)
    if is_stack:
        pixels = np.concatenate([_page_pixels(page) for page in stacked], axis=2)
    else:
        if len(pages) > 1 and channels is not None and count != channels:
            raise ImageError(f"has {count} channels in each of {len(pages)} pages, expected are {channels} of either")
        if len(pages) > 1:
            note("has more pages or frames, of which the first is taken")
        pixels = _page_pixels(first)
    return pixels, int(orientation) if orientation in range(1, 9) else 1


def _is_copy(page: Any) -> bool:
    """Whether a page is a smaller copy of another, or a mask of it."""
    return bool(page.subfiletype & 5)


def _page_pixels(page: Any) -> np.ndarray:
    """`(height, width, channels)` numbers of a page."""
    pixels, axes = page.asarray(), page.axes
    if axes == "YX":
        return pixels[:, :, None]
    if axes == "SYX":
        return np.moveaxis(pixels, 0, -1)
    if axes != "YXS":
        raise ImageError(f"has pages with the axes {axes} of lengths {pixels.shape}, allowed are rows, columns and channels")
    return pixels
