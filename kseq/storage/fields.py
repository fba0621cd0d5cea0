"""What a sample holds: the fields of a dataset, and how they are written down."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from kseq.errors import ArgumentError, FormatError
from kseq.images.codecs import CHANNELS

__all__ = ["CONTENTS", "IMAGE", "LABEL", "Field", "check_field_name", "parse_fields", "write_fields"]

# Names of arrays in a shard that are not fields.
_RESERVED = ("checksum", "source", "rejected_path", "rejected_reason")
_NAME = re.compile(r"[a-z][a-z0-9_]*")

# What a field can be: its dtypes, and the shape of one sample, with None for a length that may differ between samples.
_ANY_SHAPE = None
CONTENTS: dict[str, tuple[tuple[str, ...], tuple[int | None, ...] | None]] = {
    "image": (("|u1",), _ANY_SHAPE),
    "mask": (("|u1",), _ANY_SHAPE),
    "label": (("<i4",), ()),
    "multi_label": (("<i4",), (None,)),
    "numbers": (("<f4", "<i8"), _ANY_SHAPE),
    "boxes": (("<f4",), (None, 4)),
    "labels": (("<i4",), (None,)),
    "text": (("|u1",), (None,)),
    "weight": (("<f4",), ()),
}


def check_field_name(name: str) -> None:
    """Raise ArgumentError unless a field may have this name."""
    if not _NAME.fullmatch(name) or name in _RESERVED or name.endswith("_mask"):
        raise ArgumentError(
            f"field name {name!r}: allowed are lower-case letters, digits and _, not with _mask at the end, "
            f"and not {', '.join(_RESERVED)}"
        )


@dataclass(frozen=True)
class Field:
    """One named part of every sample.

    Attributes:
        name: Lower-case letters, digits and `_`.
        content: `"image"`; `"mask"` (a value for each pixel of the image, one channel); `"label"` (a class number);
            `"multi_label"` (any number of class numbers); `"numbers"`; `"boxes"` (any number of x1, y1, x2, y2 in pixels of the
            upright image); `"labels"` (their class numbers); `"text"` (UTF-8); `"weight"` (a number of 0 or more).
        encoded: Whether each sample is stored as JPEG or PNG bytes, of its own length; else as plain numbers.
        dtype: Little-endian dtype of one sample's numbers, once decoded, such as `"|u1"` or `"<i4"`.
        shape: Shape of one sample, `(height, width, channels)` for an image, `()` for a label; None for a
            length that differs between samples.
        class_names: The class of each number of `"multi_label"` and `"labels"`; that of a label is the dataset's.
    """

    name: str
    content: str
    encoded: bool
    dtype: str
    shape: tuple[int | None, ...]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_field_name(self.name)
        if self.content not in CONTENTS:
            raise ArgumentError(f"field {self.name}: content {self.content!r}, allowed are {', '.join(CONTENTS)}")
        dtypes, shape = CONTENTS[self.content]
        if self.dtype not in dtypes or (shape is not None and shape != self.shape):
            wanted = "any shape" if shape is None else f"shape {shape}"
            raise ArgumentError(
                f"field {self.name}: {self.dtype} of shape {self.shape}, allowed for {self.content} is "
                f"{' or '.join(dtypes)} of {wanted}"
            )
        channels = {"image": tuple(CHANNELS.values()), "mask": (1,)}.get(self.content)
        if channels and (len(self.shape) != 3 or self.shape[2] not in channels):
            raise ArgumentError(
                f"field {self.name}: shape {self.shape}, allowed is (height, width, {' or '.join(map(str, channels))})"
            )
        if self.encoded and not self.is_pixels:
            raise ArgumentError(f"field {self.name}: is encoded, allowed for images and masks")
        if not self.is_pixels and None in self.shape[1:]:
            raise ArgumentError(f"field {self.name}: shape {self.shape}, allowed is a first length that differs, and no other")

    @property
    def is_pixels(self) -> bool:
        """Whether it is an image or a mask, which crops, flips and resizes move."""
        return self.content in ("image", "mask")

    @property
    def is_ragged(self) -> bool:
        """Whether samples differ in how many numbers they have, which are then stored in a row, with offsets."""
        return not self.is_pixels and self.shape[:1] == (None,)

    @property
    def color_mode(self) -> str:
        """Keras's name for the channels of an image field."""
        return next(mode for mode, channels in CHANNELS.items() if channels == self.shape[-1])


# What almost every dataset holds.
IMAGE = Field("image", "image", True, "|u1", (None, None, 3))
LABEL = Field("label", "label", False, "<i4", ())


def write_fields(fields: tuple[Field, ...]) -> str:
    """Fields as JSON, for an attribute; `parse_fields` reads it back."""
    return json.dumps([asdict(field) for field in fields], sort_keys=True)


def parse_fields(text: str, path: str) -> tuple[Field, ...]:
    """Fields from the JSON of an attribute of the file `path`.

    Raises:
        FormatError: Where it is not what `write_fields` makes.
    """
    try:
        parsed: list[dict[str, Any]] = json.loads(text)
        return tuple(_parse_field(entry) for entry in parsed)
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{path}: attribute fields is not a list of fields ({error}): {text[:80]}") from error


def _parse_field(entry: dict[str, Any]) -> Field:
    lists = {"shape": tuple(entry["shape"]), "class_names": tuple(entry.get("class_names", ()))}
    return Field(**{**entry, **lists})
