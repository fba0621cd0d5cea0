"""Batches as the layers of Keras take them: one dict of images, labels, bounding boxes and segmentation masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kseq.arguments import choice
from kseq.errors import ArgumentError
from kseq.storage.field_kinds import Boxes, BoxLabels, Instances, Mask, MultiLabel
from kseq.storage.fields import Field

__all__ = ["BOX_FORMATS", "LAYOUTS", "KerasLayout", "check_layout"]

LAYOUTS = (None, "keras")

# As `keras.utils.bounding_boxes.convert_format` names them.
BOX_FORMATS = ("xyxy", "yxyx", "xywh", "center_xywh", "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh")


def check_layout(layout: Any, bounding_box_format: Any, inputs: Any, targets: Any, ragged: Any) -> None:
    """Refuse values of `layout` and `bounding_box_format` that are not allowed, and arguments that do not go with them.

    Raises:
        ArgumentError: If there is one.
    """
    if layout not in LAYOUTS:
        raise ArgumentError(f"layout={layout!r}: allowed are 'keras' and None")
    choice("bounding_box_format", bounding_box_format, BOX_FORMATS)
    if layout is None and bounding_box_format != "xyxy":
        raise ArgumentError(f"bounding_box_format={bounding_box_format!r}: goes with layout='keras', found layout=None")
    mapped = next((name for name, value in (("inputs", inputs), ("targets", targets)) if isinstance(value, Mapping)), None)
    if layout == "keras" and mapped:
        raise ArgumentError(f"{mapped} gives names, which layout='keras' does too: give the name of a field, or leave it out")
    if layout == "keras" and ragged is not False:
        raise ArgumentError(f"ragged={ragged!r}: layers of Keras take padded boxes, leave it out with layout='keras'")


class KerasLayout:
    """Puts the values of a batch where layers of Keras look for them.

    Args:
        fields: Those of the batch: one image, and what there is to learn.
        size: Height and width of the images of the batch, in pixels.
        bounding_box_format: One of `BOX_FORMATS`.

    Raises:
        ArgumentError: If two fields would have the same name.
    """

    def __init__(self, fields: Sequence[Field], size: tuple[int, int], bounding_box_format: str) -> None:
        self._size, self._format = size, bounding_box_format
        self._names: dict[str, str] = {}
        for field in fields:
            name = _name(field, fields)
            if name in self._names.values():
                others = ", ".join(other.name for other in fields)
                raise ArgumentError(
                    f"layout='keras': two fields of the batch would be called {name!r}, it has {others}: choose by inputs and "
                    "targets"
                )
            self._names[field.name] = name
        self._has_labels = any(isinstance(field.handler, BoxLabels) for field in fields)

    def arrange(self, values: Mapping[str, Any], weights: Any) -> dict[str, Any]:
        """The batch as a dict; `weights` are `(n,)` float32, or None."""
        batch: dict[str, Any] = {}
        for field_name, name in self._names.items():
            if name == "boxes":
                mask = values[f"{field_name}_mask"]
                boxes = batch.setdefault("bounding_boxes", {})
                boxes["boxes"] = convert_boxes(values[field_name], self._format, *self._size)
                if not self._has_labels:
                    # The only class there is; -1 where there is no box.
                    boxes["labels"] = np.where(mask, 0, -1).astype(np.int32)
            elif name == "box_labels":
                batch.setdefault("bounding_boxes", {})["labels"] = values[field_name]
            else:
                batch[name] = values[field_name]
        return batch if weights is None else {**batch, "sample_weight": weights}


def convert_boxes(boxes: np.ndarray, format: str, height: int, width: int) -> np.ndarray:
    """Boxes in another format of Keras.

    Args:
        boxes: `(..., 4)` float32: x1, y1, x2, y2 in pixels.
        format: One of `BOX_FORMATS`; `rel_` stands for shares of the image.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        `(..., 4)` float32.
    """
    if format.startswith("rel_"):
        boxes = boxes / np.array([width, height, width, height], np.float32)
    order = format.removeprefix("rel_")
    first, second = boxes[..., :2], boxes[..., 2:]
    if order == "yxyx":
        return boxes[..., [1, 0, 3, 2]]
    if order == "xywh":
        return np.concatenate([first, second - first], axis=-1)
    if order == "center_xywh":
        return np.concatenate([(first + second) / 2, second - first], axis=-1)
    return boxes


def _name(field: Field, fields: Sequence[Field]) -> str:
    """What a field is called in the dict; `boxes` and `box_labels` are the parts of `bounding_boxes`."""
    handler = field.handler
    if field.is_image:
        return "images"
    if field.is_label or (isinstance(handler, MultiLabel) and not any(other.is_label for other in fields)):
        return "labels"
    if isinstance(handler, Mask) and not isinstance(handler, Instances):
        return "segmentation_masks"
    if isinstance(handler, Boxes):
        return "boxes"
    return "box_labels" if isinstance(handler, BoxLabels) else field.name
