"""The size that annotations say of their image: whether boxes were drawn on its pixels before or after EXIF turns them.

Where the size that is said is that of the pixels before EXIF turns them, boxes are turned too. Where it is another size, the
image is rejected: its boxes would lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ImageError
from kseq.images.bounding_boxes import ARE_PLACED, turn_boxes

__all__ = ["SizedLocation", "path_of", "stated_size", "turned_boxes"]


class SizedLocation(NamedTuple):
    """Where an image lies, and the height and width that its boxes were drawn on; 0 and 0 if they are in shares of these."""

    path: bytes
    height: int
    width: int


def stated_size(height: Any, width: Any) -> tuple[int, int] | None:
    """The height and width that an annotation says, as numbers or text; None if they are none, or 0."""
    try:
        size = int(height), int(width)
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def turned_boxes(values: Mapping[str, Any], said: tuple[int, int], found: tuple[int, int], orientation: int) -> dict[str, Any]:
    """Boxes and keypoints on the upright image, where an annotation is of the pixels before EXIF turns them; else none; and
    `ARE_PLACED`, where the size tells which of the two it is of.

    Args:
        values: What a sample holds.
        said: The height and width that the annotation says.
        found: Those of the upright image.
        orientation: EXIF's.

    Raises:
        ImageError: If the annotation is of another size.
    """
    height, width = said
    if found == said:
        # Turned by a quarter, the pixels would be of another size.
        return {ARE_PLACED: True} if orientation > 4 and height != width else {}
    if orientation <= 4 or found != (width, height):
        raise ImageError(
            f"has {found[1]} x {found[0]} pixels, its annotation is of {width} x {height}: boxes would lie elsewhere"
        )
    turned = {ARE_PLACED: True, "boxes": turn_boxes(values["boxes"], orientation, height, width)}
    if "keypoints" in values:
        turned["keypoints"] = _turn_points(values["keypoints"], orientation, height, width)
    return turned


def path_of(location: Any) -> bytes:
    """The path of a file whose location may say the size that its boxes were drawn on."""
    path: bytes = location[0] if isinstance(location, tuple) else location
    return path


def _turn_points(points: np.ndarray, orientation: int, height: int, width: int) -> np.ndarray:
    """Keypoints `(n, points, 3)` of pixels as they are stored, on the upright image."""
    flat = points[..., :2].reshape(-1, 2)
    turned = turn_boxes(np.concatenate([flat, flat], axis=1), orientation, height, width)[:, :2]
    return np.concatenate([turned.reshape(*points.shape[:-1], 2), points[..., 2:]], axis=-1)
