"""The numbers of a TIFF as they are stored, by tifffile: any depth, any number of channels, pages as channels."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from kseq.errors import ImageError, one_line
from kseq.images.formats import check_pixels
from kseq.images.tiff_oddities import is_raw

__all__ = ["read_tiff", "tiff_size"]

Result = TypeVar("Result")

_ORIENTATION, _NO_DATA = 274, 42113
# PhotometricInterpretation: white is 0, black is 0, RGB; and the masks and palettes that are no numbers.
_PALETTE = 3
_WHITE_IS_ZERO = 0
# SampleFormat: whole numbers without a sign.
_UNSIGNED = 1

_SILENCE = logging.NullHandler()


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
    return _reading(data, lambda file: _read(file, channels, max_pixels, note))


def tiff_size(data: bytes) -> tuple[int, int, int]:
    """Height and width of the first page of a TIFF, upright, and its orientation; the errors are those of `read_tiff`."""

    def read(file: Any) -> tuple[int, int, int]:
        page = file.pages[0]
        height, width, orientation = page.imagelength, page.imagewidth, _orientation(page)
        return (width, height, orientation) if orientation >= 5 else (height, width, orientation)

    return _reading(data, read)


def _reading(data: bytes, read: Callable[[Any], Result]) -> Result:
    """What a function reads of a TIFF that tifffile opened."""
    try:
        import tifffile

        # It logs each odd tag, which Python prints where nobody asked for logs.
        logging.getLogger("tifffile").addHandler(_SILENCE)
    except ImportError as error:
        raise ImageError(
            "is a TIFF, the numbers of which tifffile reads, which is not installed: pip install 'kseq[tiff]'"
        ) from error
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return read(file)
    except (ImageError, MemoryError):
        raise
    # It parses what others wrote, with whatever error comes of that.
    except Exception as error:
        if "imagecodecs" in str(error):
            raise ImageError(
                f"is a TIFF with a compression that needs a package: {one_line(error)}: pip install imagecodecs"
            ) from error
        raise ImageError(f"broken TIFF: {one_line(error)}") from error


def _orientation(page: Any) -> int:
    value = page.tags.valueof(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def _read(file: Any, channels: int | None, max_pixels: int, note: Callable[[str], None]) -> tuple[np.ndarray, int] | None:
    first = file.pages[0]
    if is_raw(b"", first.tags, int(first.subfiletype)):
        # Told apart where it is opened.
        return None
    pages = [page for page in _pages(file) if page is first or not _is_copy(page)]
    height, width, count = first.imagelength, first.imagewidth, first.samplesperpixel
    check_pixels(height, width, max_pixels)
    stacked = [page for page in pages if (page.imagelength, page.imagewidth, page.dtype) == (height, width, first.dtype)]
    is_stack = channels is not None and count == 1 and channels > 1 and len(stacked) == channels
    is_of_colours = first.bitspersample <= 8 and first.sampleformat == _UNSIGNED and not is_stack
    if is_of_colours and (first.photometric not in (0, 1, 2) or channels is None):
        return None
    if first.photometric == _PALETTE:
        raise ImageError("is a TIFF with a palette, whose numbers are no values")
    if first.photometric == _WHITE_IS_ZERO:
        note("has values of which 0 is white, as it says, which are taken as they are")
    if _NO_DATA in first.tags:
        note("names a value that stands for no data (GDAL_NODATA), which stays")
    if is_stack:
        pixels = np.concatenate([_page_pixels(page, channels) for page in stacked], axis=2)
    else:
        if len(pages) > 1 and channels is not None and count != channels:
            hint = ""
            if width == channels:
                hint = (
                    ": its channels were written as columns, planarconfig='contig' of tifffile.imwrite writes them as channels"
                )
            raise ImageError(f"has {len(pages)} pages with {count} in each, expected are {channels} pages or channels{hint}")
        if len(pages) > 1:
            note("has more pages or frames, of which the first is taken")
        pixels = _page_pixels(first, channels)
    return pixels, _orientation(first)


def _pages(file: Any) -> Iterator[Any]:
    """The pages of a file, up to one that leads back to a page before: tifffile would go round for ever."""
    seen = set()
    for page in file.pages:
        if page.offset in seen:
            return
        seen.add(page.offset)
        yield page


def _is_copy(page: Any) -> bool:
    """Whether a page is a smaller copy of another, or a mask of it."""
    return bool(page.subfiletype & 5)


def _page_pixels(page: Any, channels: int | None) -> np.ndarray:
    """`(height, width, channels)` numbers of a page; layers of a volume are channels, if there are as many as are wanted."""
    pixels, axes = page.asarray(), page.axes
    if axes == "YX":
        return pixels[:, :, None]
    if axes == "SYX" or (axes == "ZYX" and len(pixels) == channels):
        return np.moveaxis(pixels, 0, -1)
    if axes != "YXS":
        raise ImageError(f"has pages with the axes {axes} of lengths {pixels.shape}, allowed are rows, columns and channels")
    return pixels
