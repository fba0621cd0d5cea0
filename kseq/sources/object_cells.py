"""A column of the objects of an image, `{"bbox": [[x, y, width, height]], "category": [...]}`, as sets of the Hub have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kseq.sources.cell_types import Rejection
from kseq.sources.list_cells import is_missing

__all__ = ["OBJECTS", "class_key", "describe_objects", "read_objects"]

OBJECTS = "objects"
"""What the column is called."""

_CLASSES = ("categories", "category", "labels", "label", "id")


def read_objects(cell: Any) -> tuple[Any, Any]:
    """The boxes, x1, y1, x2, y2, and the classes in a cell; a Rejection for each if it holds something else."""
    try:
        value = json.loads(cell) if isinstance(cell, str) else cell
        if is_missing(value):
            return [], []
        if isinstance(value, list):
            value = {"bbox": [found["bbox"] for found in value], "category": [_class_of(found) for found in value]}
        boxes = [[x, y, x + width, y + height] for x, y, width, height in value.get("bbox") or []]
        return boxes, list(_class_of(value) or [])
    except (TypeError, ValueError, KeyError, AttributeError):
        wrong = Rejection(f"has objects {str(cell)[:40]}, allowed are lists bbox and categories")
        return wrong, wrong


def class_key(names: Mapping[str, Any]) -> str | None:
    """Which of some names is that of the classes of objects."""
    return next((name for name in _CLASSES if name in names), None)


def describe_objects(path: str) -> str:
    """The line that says how the column was read."""
    return f"{path}: its column {OBJECTS} is taken for boxes, [x, y, width, height] in pixels"


def _class_of(value: Mapping[str, Any]) -> Any:
    return value.get(class_key(value) or "")
