"""The Datum of Caffe, a message of protobuf: an image, encoded or as pixels, and its label.

Source: `caffe.proto`, and protobuf's description of its encoding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ImageError, NotAnImageError
from kseq.images.formats import HEAD_BYTES, detect_format
from kseq.images.pixel_form import CHANNELS

__all__ = ["datum_image", "is_encoded_image", "parse_datum"]

# A Datum: the numbers of its fields.
_CHANNELS, _HEIGHT, _WIDTH, _DATA, _LABEL, _FLOATS, _ENCODED = range(1, 8)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Datum(NamedTuple):
    """A value of Caffe: shape, label, where its bytes lie in the value, and whether these are an encoded image."""

    shape: tuple[int, int, int]
    label: int | None
    start: int
    stop: int
    is_encoded: bool


def _varint(data: Any, position: int) -> tuple[int, int]:
    """A number, and the position after it; raises IndexError or ValueError."""
    number = 0
    for place in range(10):
        byte = data[position + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, position + place + 1
    raise ValueError("a number does not end")


def parse_datum(data: Any) -> _Datum | None:
    """A Datum; None if the value is none. The bytes of its image are passed over."""
    numbers: dict[int, int] = {}
    start = stop = position = 0
    try:
        while position < len(data):
            tag, position = _varint(data, position)
            field, kind = tag >> 3, tag & 7
            if not _CHANNELS <= field <= _ENCODED or kind in (_FIXED64, 3, 4, 6, 7):
                return None
            if kind == _VARINT:
                numbers[field], position = _varint(data, position)
                continue
            size, position = (4, position) if kind == _FIXED32 else _varint(data, position)
            if field == _DATA:
                start, stop = position, position + size
            position += size
    except (IndexError, ValueError):
        return None
    if position != len(data) or stop == start:
        return None
    shape = (numbers.get(_CHANNELS, 0), numbers.get(_HEIGHT, 0), numbers.get(_WIDTH, 0))
    is_encoded = bool(numbers.get(_ENCODED)) or is_encoded_image(bytes(data[start : start + HEAD_BYTES]))
    if not is_encoded and shape[0] * shape[1] * shape[2] != stop - start:
        return None
    return _Datum(shape, numbers.get(_LABEL), start, stop, is_encoded)


def datum_image(value: bytes) -> bytes | np.ndarray:
    datum = parse_datum(value)
    if datum is None:
        raise ImageError("is no Datum of Caffe")
    data = value[datum.start : datum.stop]
    if datum.is_encoded:
        return data
    if datum.shape[0] not in CHANNELS.values():
        raise ImageError(f"has {datum.shape[0]} channels, allowed are {', '.join(map(str, CHANNELS.values()))}")
    pixels = np.frombuffer(data, np.uint8).reshape(datum.shape).transpose(1, 2, 0)
    # Caffe has blue first, as OpenCV has.
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(datum.shape[0])
    return np.ascontiguousarray(pixels if order is None else pixels[:, :, order])


def is_encoded_image(value: bytes) -> bool:
    """Whether some bytes begin like an image file."""
    try:
        detect_format(value[:HEAD_BYTES])
    except NotAnImageError:
        return False
    return True
