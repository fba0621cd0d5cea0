"""Values of samples that are no pixels, as people read them and as they are drawn over an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.display.json_values import numbers_as_json
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field

__all__ = ["describe_stored", "describe_value", "drawn_shapes", "name_of"]

# So much of a text is shown.
_MOST_TEXT = 10_000

# So many boxes or points of a sample are drawn.
_MOST_SHAPES = 2_000


def describe_stored(samples: LocatedSamples, position: int, field: Field, class_names: Sequence[str]) -> dict[str, Any]:
    """What a field without pixels holds in one of some samples: its `name` and `kind`, and what `describe_value` says of it.

    Args:
        samples: The samples.
        position: Which of them, in [0, len(samples)).
        field: The field.
        class_names: Those of the dataset.

    Raises:
        KseqError: If it cannot be read.
    """
    one = samples.part(position, position + 1)
    value = field.handler.value(one.pieces(field.name)[0]) if field.is_ragged else one.values(field.name)[0]
    return {"name": field.name, "kind": field.kind, **describe_value(field, value, field.handler.class_names(class_names))}


def describe_value(field: Field, value: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """A value that is no pixels: `text`, or `numbers` with their `shape`, with `names` for numbers of classes, and `shapes`
    for what can be drawn over the image."""
    if isinstance(value, str):
        return {"text": value[:_MOST_TEXT]}
    array = np.asarray(value)
    described: dict[str, Any] = {"numbers": numbers_as_json(array), "shape": list(array.shape)}
    if field.handler.has_class_names:
        described["classes"] = array.reshape(-1)[:_MOST_SHAPES].tolist()
        described["names"] = [name_of(class_names, number) for number in described["classes"]]
    if field.handler.has_positions:
        described["shapes"] = drawn_shapes(field, array)
    return described


def name_of(class_names: Sequence[str], number: int) -> str:
    """The name of a class; of a number that stands for none, the number."""
    return class_names[number] if 0 <= number < len(class_names) else f"no class ({number})"


def drawn_shapes(field: Field, values: np.ndarray) -> dict[str, Any]:
    """What to draw of a field with positions: `boxes`, lists of x1, y1, x2, y2; or `points`, a list for each object of lists of
    x, y and whether the point is visible; in pixels. `num_left_out` says how many there are beyond what is drawn."""
    values = np.asarray(values, np.float64)
    left_out = max(0, len(values) - _MOST_SHAPES)
    values = values[:_MOST_SHAPES]
    if field.kind == "keypoints":
        points = values.reshape(-1, *values.shape[-2:]) if values.size else np.empty((0, 1, 2))
        is_seen = points[..., 2:] > 0 if points.shape[-1] == 3 else np.ones((*points.shape[:2], 1), bool)
        drawn = np.concatenate([points[..., :2], is_seen], axis=-1)
        return {"points": _finite(drawn), "num_left_out": left_out}
    return {"boxes": _finite(np.asarray(field.handler.as_boxes(values)).reshape(-1, 4)), "num_left_out": left_out}


def _finite(numbers: np.ndarray) -> Any:
    return np.nan_to_num(numbers, posinf=0, neginf=0).tolist()
