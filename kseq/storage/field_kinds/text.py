"""Text of any length."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.field_kinds.base import FieldKind, ImageDescription

__all__ = ["Text"]


class Text(FieldKind):
    """UTF-8 text of any length; bytes that are not UTF-8 are kept."""

    name = "text"
    dtypes = ("|u1",)
    shape = (None,)
    meaning = "UTF-8 text"
    obeys_pad_to = False
    column = "text"

    def value(self, elements: np.ndarray) -> str:
        return elements.tobytes().decode(errors="replace")

    @property
    def has_padding_mask(self) -> bool:
        # The padding is 0, which is no letter.
        return False

    def readable_value(self, rows: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        assert mask is not None
        counts = mask.sum(axis=1).tolist()
        return np.array([self.value(row[:count]) for row, count in zip(rows, counts, strict=True)], np.str_)

    def model_value(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind != "U":
            # A function made numbers of the texts.
            return values
        texts = [np.frombuffer(text.encode(errors="surrogateescape"), np.uint8) for text in values.tolist()]
        rows = np.zeros((len(texts), max(1, *map(len, texts))), np.uint8)
        for row, text in zip(rows, texts, strict=True):
            row[: len(text)] = text
        return rows

    def condition_value(self, value: Any, class_names: Sequence[str]) -> str:
        if not isinstance(value, str):
            raise ArgumentError(f"where {self.field.name}={value!r}: allowed is text")
        return value

    def equals_any(self, values: np.ndarray | list[Any], wanted: Sequence[Any]) -> np.ndarray:
        return np.array([text in wanted for text in values], bool)

    def parse_condition(self, text: str, class_names: Sequence[str]) -> list[Any]:
        # A text may have commas: both the whole and its parts are values.
        return list(dict.fromkeys([text, *text.split(",")]))

    @property
    def can_group(self) -> bool:
        return True

    @classmethod
    def from_cell(cls, cell: Any, parse: Callable[[Any], Any]) -> np.ndarray:
        if isinstance(cell, (list, dict)):
            raise ValueError(f"has {str(cell)[:40]}, allowed is text")
        # Not parsed: "007" is not a number here.
        data = b"" if cell is None else cell if isinstance(cell, bytes) else str(cell).encode(errors="surrogateescape")
        return np.frombuffer(data, np.uint8)

    def as_json(self, value: np.ndarray, class_names: Sequence[str]) -> str:
        return os.fsdecode(value.tobytes())

    def features(
        self, value: np.ndarray, class_names: Sequence[str], image: ImageDescription
    ) -> dict[str, np.ndarray | Sequence[bytes]]:
        return {self.field.name: [value.tobytes()]}
