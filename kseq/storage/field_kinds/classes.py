"""Kinds that hold class numbers: one for a sample, several for a sample, one for each box."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from kseq.errors import ArgumentError, DamagedError
from kseq.storage.class_names import no_such_class
from kseq.storage.field_kinds.base import FieldKind, ImageDescription, LabelEncoder, is_number

__all__ = ["BoxLabels", "ClassNumbers", "Label", "MultiLabel"]

_OBJECT_CLASSES = "image/object/class"


class ClassNumbers(FieldKind):
    """Numbers that stand for class names."""

    dtypes = ("<i4",)
    shape: ClassVar[tuple[int | None, ...] | None] = (None,)
    has_class_names = True

    def condition_value(self, value: Any, class_names: Sequence[str]) -> int:
        name = self.field.name
        if isinstance(value, str):
            if value in class_names:
                return list(class_names).index(value)
            raise ArgumentError(f"where {name}: {no_such_class(value, class_names)}")
        if is_number(value, "iu") and 0 <= value < len(class_names):
            return int(value)
        raise ArgumentError(f"where {name}={value!r}: allowed is the name of a class, or a number in [0, {len(class_names)})")

    def parse_condition(self, text: str, class_names: Sequence[str]) -> list[Any]:
        # The name of a class may have commas.
        if text in class_names:
            return [text]
        parts = [part.strip() for part in text.split(",")]
        return [part if part in class_names or not re.fullmatch("[0-9]{1,9}", part) else int(part) for part in parts]

    def renumber(self, values: np.ndarray, numbers: np.ndarray | None) -> np.ndarray:
        if numbers is None:
            return values
        # A number that stands for no class stays as it is.
        is_class = (values >= 0) & (values < len(numbers))
        renumbered = values.copy()
        renumbered[is_class] = numbers[values[is_class]]
        return renumbered

    def as_json(self, value: np.ndarray, class_names: Sequence[str]) -> Any:
        self.check_classes(value, len(class_names))
        return [class_names[number] for number in value.tolist()]

    def features(
        self, value: np.ndarray, class_names: Sequence[str], image: ImageDescription
    ) -> dict[str, np.ndarray | Sequence[bytes]]:
        return {self.field.name: [os.fsencode(name) for name in self.as_json(value, class_names)]}

    def check_classes(self, numbers: np.ndarray, count: int) -> None:
        """Raise DamagedError unless stored numbers are those of `count` classes."""
        if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
            raise DamagedError(
                f"has class numbers from {numbers.min()} to {numbers.max()} in {self.field.name}, allowed are [0, {count})"
            )


class Label(ClassNumbers):
    """The class of a sample: a number of the dataset's class names."""

    name = "label"
    shape = ()
    meaning = "a class number"
    is_label = True
    blends = True
    can_be_target = False
    column = "label"

    def batch_value(self, rows: np.ndarray, encode_label: LabelEncoder) -> np.ndarray:
        return encode_label(rows)

    @property
    def can_group(self) -> bool:
        return True

    def class_names(self, dataset_names: Sequence[str]) -> tuple[str, ...]:
        return tuple(dataset_names)

    def as_json(self, value: np.ndarray, class_names: Sequence[str]) -> Any:
        self.check_classes(value, len(class_names))
        return class_names[int(value)]

    @property
    def fits_csv(self) -> bool:
        return True

    def feature_name(self, has_one_image: bool) -> str:
        return "image/class/text"

    def features(
        self, value: np.ndarray, class_names: Sequence[str], image: ImageDescription
    ) -> dict[str, np.ndarray | Sequence[bytes]]:
        text = [os.fsencode(self.as_json(value, class_names))]
        return {"image/class/label": value.reshape(-1), "image/class/text": text}


class MultiLabel(ClassNumbers):
    """Any number of classes of a sample; a batch has a row of zeros and ones for each sample."""

    name = "multi_label"
    meaning = "class numbers"
    blends = True

    @property
    def is_padded(self) -> bool:
        return False

    def batch_shape(self, length: int | None = None) -> tuple[int, ...]:
        return (len(self.field.class_names),)

    @property
    def batch_dtype(self) -> str:
        return "float32"

    def check_elements(self, elements: np.ndarray, room: int | None) -> None:
        self.check_classes(elements, len(self.field.class_names))

    def fill(self, rows: np.ndarray, mask: np.ndarray | None, values: Sequence[np.ndarray]) -> None:
        rows[:] = 0
        for row, numbers in zip(rows, values, strict=True):
            row[numbers] = 1


class BoxLabels(ClassNumbers):
    """The class of each box of a sample."""

    name = "labels"
    meaning = "the class numbers of the boxes"
    padding = -1
    column = "box_labels"
    can_be_target = False
    can_be_added = False

    @property
    def leader(self) -> str:
        return "boxes"

    def feature_name(self, has_one_image: bool) -> str:
        return f"{_OBJECT_CLASSES}/text"

    def features(
        self, value: np.ndarray, class_names: Sequence[str], image: ImageDescription
    ) -> dict[str, np.ndarray | Sequence[bytes]]:
        text = [os.fsencode(name) for name in self.as_json(value, class_names)]
        return {f"{_OBJECT_CLASSES}/label": value, f"{_OBJECT_CLASSES}/text": text}
