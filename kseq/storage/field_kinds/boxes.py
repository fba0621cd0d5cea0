"""Boxes around objects in the image."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.images.bounding_boxes import check_boxes, judge_boxes
from kseq.storage.field_kinds.base import FieldKind, ImageDescription

__all__ = ["Boxes"]

_BOX_FEATURES = "image/object/bbox"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class Boxes(FieldKind):
    """Any number of boxes: x1, y1, x2, y2 in pixels, from the left and upper edge of the upright image."""

    name = "boxes"
    dtypes = ("<f4",)
    shape = (None, 4)
    meaning = "x1, y1, x2, y2 in pixels"
    has_positions = True
    column = "boxes"
    can_be_target = False
    can_be_added = False

    def check_positions(self, values: np.ndarray, height: int, width: int) -> np.ndarray:
        return check_boxes(values, height, width)

    def judge_positions(self, values: np.ndarray, height: int, width: int) -> tuple[np.ndarray, Mapping[str, int]]:
        return judge_boxes(values, height, width)

    def as_boxes(self, values: np.ndarray) -> np.ndarray:
        return values

    def from_boxes(self, boxes: np.ndarray) -> np.ndarray:
        return boxes

    def condition_value(self, value: Any, class_names: Sequence[str]) -> Any:
        raise ArgumentError(
            f"where {self.field.name}: boxes are chosen by a function, which is given a list of (count, 4) arrays"
        )

    @classmethod
    def from_cell(cls, cell: Any, parse: Callable[[Any], Any]) -> np.ndarray:
        value = parse(cell)
        boxes: np.ndarray
        try:
            boxes = np.asarray([] if value is None else value, np.float32)
        except (ValueError, TypeError):
            boxes = np.empty(3)
        if boxes.size == 0:
            return np.empty((0, 4), np.float32)
        if boxes.shape == (4,):
            boxes = boxes[None]
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"has boxes {str(value)[:40]}, allowed is a list of [x1, y1, x2, y2]")
        return boxes

    def features(
        self, value: np.ndarray, class_names: Sequence[str], image: ImageDescription
    ) -> dict[str, np.ndarray | Sequence[bytes]]:
        shares = value / np.array([image.width, image.height] * 2, np.float32)
        sides = {f"{_BOX_FEATURES}/{side}": column for side, column in zip(_SIDES, shares.T, strict=True)}
        # Shares are rounded: the boxes once more, in pixels.
        return {**sides, self.field.name: [json.dumps(self.as_json(value, class_names)).encode()]}
