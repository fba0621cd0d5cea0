"""What a sample holds: the fields of a dataset, and how they are written down."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kseq.errors import ArgumentError, FormatError, one_line
from kseq.images.pixel_form import CHANNELS
from kseq.storage.field_kinds import KINDS, FieldKind
from kseq.storage.field_names import check_field_name, check_field_names
from kseq.storage.strings import parse_json

__all__ = ["IMAGE", "LABEL", "Field", "parse_fields", "write_fields"]

# So many numbers one sample has at most, in a field that is read from a file: a damaged shape would ask for any memory.
_MOST_NUMBERS = 1 << 40


@dataclass(frozen=True)
class Field:
    """One named part of every sample.

    Attributes:
        name: Lower-case letters, digits and `_`, a letter first.
        kind: What it holds: `"image"` (uint8, or as plain numbers also uint16 or float32); `"mask"` (a value for each pixel of
            the image, one channel); `"label"` (a class number); `"multi_label"` (any number of class numbers); `"numbers"`;
            `"boxes"` (any number of x1, y1, x2, y2 in pixels of the upright image); `"labels"` (the class number of each box);
            `"keypoints"` (points in a fixed order); `"text"` (UTF-8); `"sample_weight"` (a number of 0 or more). Each is a
            class of `kseq.storage.field_kinds`.
        encoded: Whether each sample is stored as JPEG or PNG bytes, of its own length; else as plain numbers.
        dtype: Little-endian dtype of one sample's numbers, once decoded, such as `"|u1"` or `"<i4"`.
        shape: Shape of one sample, `(height, width, channels)` for an image, `()` for a label; None for a
            length that differs between samples.
        class_names: The class of each number of `"multi_label"` and `"labels"`; that of a label is the dataset's.
        mirror_order: Of keypoints: for each point the number of that which takes its place in a mirrored image, such as the
            right eye that of the left; empty where that is not known.

    Raises:
        ArgumentError: If the name, the kind, or a dtype or shape for that kind is not allowed.
    """

    name: str
    kind: str
    encoded: bool
    dtype: str
    shape: tuple[int | None, ...]
    class_names: tuple[str, ...] = ()
    mirror_order: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_field_name(self.name)
        if self.kind not in KINDS:
            raise ArgumentError(f"field {self.name}: kind {self.kind!r}, allowed are {', '.join(KINDS)}")
        self.handler.check()

    @functools.cached_property
    def handler(self) -> FieldKind:
        """All that depends on the kind, for kseq's own use: storage, reading, batch form, moves, conditions, exports."""
        return KINDS[self.kind](self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "handler"}

    @property
    def is_image(self) -> bool:
        """Whether it is an image that a model sees."""
        return self.handler.is_image

    @property
    def is_label(self) -> bool:
        """Whether it is the class of each sample, a number of the dataset's class names."""
        return self.handler.is_label

    @property
    def is_pixels(self) -> bool:
        """Whether it has a number for each pixel, as images and masks do."""
        return self.handler.is_pixels

    @property
    def is_ragged(self) -> bool:
        """Whether samples differ in how many elements they have, which are then stored side by side, with offsets."""
        return self.handler.is_ragged

    def describe(self) -> str:
        """What it holds, for messages: its kind, dtype and shape."""
        return self.handler.describe()

    def describe_storage(self, settings: Mapping[str, Any]) -> str:
        """How it is stored, in one line; `settings` are the image settings that the dataset was packed with."""
        return self.handler.describe_storage(settings)

    @property
    def color_mode(self) -> str | None:
        """Keras's name for the channels of an image field; None for other numbers of channels."""
        return next((mode for mode, channels in CHANNELS.items() if channels == self.shape[-1]), None)


# What almost every dataset holds.
IMAGE = Field("image", "image", True, "|u1", (None, None, 3))
LABEL = Field("label", "label", False, "<i4", ())


def write_fields(fields: tuple[Field, ...]) -> str:
    """Fields as JSON, for an attribute; `parse_fields` reads it back."""
    entries = [asdict(field) for field in fields]
    # Only where it is known: entries stay as other versions write them.
    entries = [{key: value for key, value in entry.items() if key != "mirror_order" or value} for entry in entries]
    return json.dumps(entries, sort_keys=True)


def parse_fields(text: str, path: str) -> tuple[Field, ...]:
    """Fields from the JSON of an attribute of the file `path`.

    Raises:
        FormatError: If it is not what `write_fields` makes.
    """
    try:
        parsed: list[dict[str, Any]] = parse_json(text, f"{path}: fields")
        fields = tuple(_parse_field(entry) for entry in parsed)
        check_field_names(field.name for field in fields)
        return fields
    except FormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{path}: fields is not a list of fields ({one_line(error)}): {text[:80]!r}") from error


def _parse_field(entry: dict[str, Any]) -> Field:
    shape, class_names = entry["shape"], entry.get("class_names", [])
    _check_types(entry, {"name": str, "kind": str, "dtype": str, "encoded": bool})
    if not isinstance(class_names, list) or not all(isinstance(name, str) for name in class_names):
        raise ValueError(f"class_names {str(class_names)[:40]}: allowed are texts")
    if not isinstance(shape, list) or not all(length is None or _is_length(length) for length in shape):
        raise ValueError(f"shape {str(shape)[:40]}: allowed are whole numbers and null")
    order = entry.get("mirror_order", [])
    if not isinstance(order, list) or not all(map(_is_length, order)):
        raise ValueError(f"mirror_order {str(order)[:40]}: allowed are whole numbers")
    size = math.prod(length for length in shape if length is not None)
    if size > _MOST_NUMBERS:
        raise ValueError(f"shape {str(shape)[:40]} has {size} numbers, allowed are {_MOST_NUMBERS}")
    return Field(**{**entry, "shape": tuple(shape), "class_names": tuple(class_names), "mirror_order": tuple(order)})


def _check_types(entry: dict[str, Any], types: Mapping[str, type]) -> None:
    """Raise ValueError unless values are of some types."""
    for name, expected in types.items():
        if not isinstance(entry[name], expected):
            raise ValueError(f"{name} {str(entry[name])[:40]!r}: allowed is {expected.__name__}")


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
