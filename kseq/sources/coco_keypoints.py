"""Keypoints in COCO's files: how many each object has, and their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kseq.errors import ImageError
from kseq.sources.assemble import keypoint_field
from kseq.sources.point_names import mirror_order
from kseq.storage.fields import Field

__all__ = ["find_keypoints", "read_points"]


def find_keypoints(categories: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]]) -> Field | None:
    """The field of the keypoints of a file; None if it has none, or its categories differ in their number.

    Args:
        categories: Those that are wanted.
        annotations: Those of these categories.
    """
    found = [points for annotation in annotations if isinstance(points := annotation.get("keypoints"), list) and points]
    lists = [tuple(map(str, names)) for entry in categories if isinstance(names := entry.get("keypoints"), list) and names]
    counts = {len(names) for names in lists} or {len(points) // 3 for points in found}
    if not found or len(counts) != 1 or 0 in counts:
        return None
    return keypoint_field(counts.pop(), 3, mirror_order(lists[0]) if len(set(lists)) == 1 else ())


def read_points(value: Any, field: Field, what: str, size: tuple[int, int] | None) -> tuple[list[float], int]:
    """x, y and visibility of each keypoint of an annotation, and how many of them lie outside of the image.

    Args:
        value: As the annotation has it.
        field: As `find_keypoints` says.
        what: Which annotation it is, for messages.
        size: Height and width of the image; None if they are not known.

    Raises:
        ImageError: If they are not so many finite numbers, or a visibility is none.
    """
    num_points = field.shape[-2] or 0
    try:
        numbers = [float(number) for number in value]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 3 * num_points or not all(map(math.isfinite, numbers)):
        raise ImageError(f"{what}: its keypoints are {str(value)[:60]}, allowed are x, y, visibility of {num_points} points")
    wrong = next((number for number in numbers[2::3] if number not in (0, 1, 2)), None)
    if wrong is not None:
        raise ImageError(f"{what}: a keypoint has visibility {wrong:g}, allowed are 0, 1 and 2")
    num_outside = 0
    for start in range(0, len(numbers), 3):
        x, y, visibility = numbers[start : start + 3]
        is_outside = size is not None and not (0 <= x <= size[1] and 0 <= y <= size[0])
        num_outside += bool(visibility) and is_outside
        if not visibility or is_outside:
            numbers[start : start + 3] = 0, 0, 0
    return numbers, num_outside
