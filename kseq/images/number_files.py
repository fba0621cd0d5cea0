"""Files that hold plain numbers: NumPy's `.npy`, Netpbm's PGM and PPM of any depth, and PFM.

Sources: `numpy.lib.format`; the manual pages of Netpbm, pgm(5), ppm(5) and pfm(5).
"""

from __future__ import annotations

import io
import re
import tokenize

import numpy as np

from kseq.errors import ImageError, one_line

__all__ = ["ARRAY_SUFFIXES", "encode_npy", "is_array_file", "read_array_file", "read_netpbm"]

# Files whose names end so, in any case, are images of numbers.
ARRAY_SUFFIXES = (".npy", ".pfm")

_NPY = b"\x93NUMPY"
# White space and comments, then the next word of a header.
_WORD = rb"(?:\s|#[^\n]*\n)+([^\s#]+)"
_NETPBM = re.compile(rb"P([2356])" + _WORD * 3 + rb"\s", re.DOTALL)
_ARRAY_FILE = re.compile(rb"\x93NUMPY|P[fF]\s")
_PFM = re.compile(rb"P([fF])\s+(\d{1,9})\s+(\d{1,9})\s+(-?[0-9.eE+-]+)\s")


def is_array_file(start: bytes) -> bool:
    """Whether a file that begins so is a `.npy` or a PFM, which no format of images has."""
    return _ARRAY_FILE.match(start) is not None


def read_array_file(data: bytes, max_pixels: int) -> np.ndarray:
    """The numbers of a `.npy` or a PFM.

    Args:
        data: The bytes of the file.
        max_pixels: How many pixels a PFM may announce.

    Returns:
        Numbers of any shape and dtype; of a PFM `(height, width, 1 or 3)` float32.

    Raises:
        ImageError: If it is broken, announces more pixels, or holds Python objects.
    """
    if not data.startswith(_NPY):
        return _read_pfm(data, max_pixels)
    try:
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    # A header is Python, and parsed as that.
    except (ValueError, OSError, SyntaxError, EOFError, TypeError, KeyError, tokenize.TokenError) as error:
        raise ImageError(f"broken array of NumPy: {one_line(error)}") from error
    return array


def encode_npy(pixels: np.ndarray) -> bytes:
    """Pixels as the bytes of a `.npy` file."""
    target = io.BytesIO()
    np.lib.format.write_array(target, np.ascontiguousarray(pixels), allow_pickle=False)
    return target.getvalue()


def read_netpbm(data: bytes, max_pixels: int) -> np.ndarray | None:
    """The numbers of a PGM or a PPM as they stand in the file; None for any other file.

    Args:
        data: The bytes of the file.
        max_pixels: How many pixels it may announce.

    Returns:
        `(height, width, 1 or 3)` uint8 or uint16.

    Raises:
        ImageError: If it is broken, or announces more pixels.
    """
    header = _NETPBM.match(data)
    return None if header is None else _read_netpbm(data, header, max_pixels)


def _read_netpbm(data: bytes, header: re.Match[bytes], max_pixels: int) -> np.ndarray:
    kind = int(header[1])
    try:
        width, height, most = (int(header[group]) for group in (2, 3, 4))
    except ValueError as error:
        raise ImageError(f"broken PPM header: {header[0][:60]!r}") from error
    if not (0 < most < 1 << 16 and width > 0 and height > 0):
        raise ImageError(f"broken PPM header: {width} x {height} pixels of values up to {most}")
    _check_size(height, width, max_pixels)
    shape = (height, width, 1 if kind in (2, 5) else 3)
    count = shape[0] * shape[1] * shape[2]
    if kind in (2, 3):
        # Each number takes two characters at least.
        words = re.sub(rb"#[^\n]*", b"", data[header.end() :]).split(None, count)[:count]
        try:
            values = np.array(words, dtype=np.uint32) if len(words) == count else np.empty(0, np.uint32)
        except ValueError as error:
            raise ImageError(f"broken PPM: {one_line(error)}") from error
    else:
        stored = np.dtype(">u2" if most > 255 else "u1")
        values = np.frombuffer(
            data, stored, offset=header.end(), count=min(count, (len(data) - header.end()) // stored.itemsize)
        )
    if len(values) < count:
        raise ImageError(f"broken PPM: breaks off after {len(values)} of {count} numbers")
    if values.max() > most:
        raise ImageError(f"broken PPM: has a value of {values.max()}, its header allows {most}")
    return values.astype(np.uint16 if most > 255 else np.uint8).reshape(shape)


def _read_pfm(data: bytes, max_pixels: int) -> np.ndarray:
    header = _PFM.match(data)
    if header is None:
        raise ImageError(f"broken PFM header: {data[:40]!r}")
    width, height = int(header[2]), int(header[3])
    order = "<" if header[4].startswith(b"-") else ">"
    _check_size(height, width, max_pixels)
    shape = (height, width, 1 if header[1] == b"f" else 3)
    count = shape[0] * shape[1] * shape[2]
    if width < 1 or height < 1 or len(data) < header.end() + 4 * count:
        raise ImageError(f"broken PFM: breaks off before {height} x {width} pixels")
    values = np.frombuffer(data, f"{order}f4", offset=header.end(), count=count).reshape(shape)
    # The last row comes first. The size of the scale means nothing that programs agree on.
    return values[::-1].astype(np.float32)


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageError(f"has more pixels than the {max_pixels} allowed: {height} x {width}")
