"""What a sample holds: the fields of a dataset, and how they are written down."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from kseq.errors import ArgumentError, FormatError
from kseq.images import CHANNELS

__all__ = ["Field", "parse_fields", "write_fields"]

# Names of arrays in a shard that are not fields.
_RESERVED = ("checksum", "source", "rejected_path", "rejected_reason")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CONTENTS = ("image", "label")


@dataclass(frozen=True)
class Field:
    """One named part of every sample.

    Attributes:
        name: Lower-case letters, digits and `_`.
        content: `"image"` or `"label"` (a class number).
        encoded: Whether each sample is stored as JPEG or PNG bytes, of its own length; else as plain numbers.
        dtype: Little-endian dtype of one sample's numbers, once decoded, such as `"|u1"` or `"<i4"`.
        shape: Shape of one sample, `(height, width, channels)` for an image, `()` for a label; None for a
            height or width that differs between samples.
    """

    name: str
    content: str
    encoded: bool
    dtype: str
    shape: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise ArgumentError(
                f"field name {self.name!r}: allowed are lower-case letters, digits and _, and not {', '.join(_RESERVED)}"
            )
        if self.content not in _CONTENTS:
            raise ArgumentError(f"field {self.name}: content {self.content!r}, allowed are {', '.join(_CONTENTS)}")
        if self.content == "image" and (len(self.shape) != 3 or self.shape[2] not in CHANNELS.values()):
            raise ArgumentError(f"field {self.name}: shape {self.shape}, allowed is (height, width, 1, 3 or 4)")

    @property
    def color_mode(self) -> str:
        """Keras's name for the channels of an image field."""
        return next(mode for mode, channels in CHANNELS.items() if channels == self.shape[-1])


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
        return tuple(Field(**{**entry, "shape": tuple(entry["shape"])}) for entry in parsed)
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{path}: attribute fields is not a list of fields ({error}): {text[:80]}") from error
