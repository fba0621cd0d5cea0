"""Keypoints: named places in the image, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kseq.errors import ArgumentError, ImageError
from kseq.images.movement import Movement
from kseq.storage.field_kinds.base import FieldKind, SampleEncoder

__all__ = ["Keypoints"]

_ALLOWED = "a list of [x, y] or of [x, y, visibility], one for each point, or a list of such lists, one for each object"


class Keypoints(FieldKind):
    """Points in a fixed order, in pixels from the left and upper edge of the upright image.

    `(points, 2)`: x and y of the points of the image; they may lie outside of it. `(points, 3)`: with the visibility, 0 (not
    labelled; x and y are 0), 1 (labelled, not visible) or 2 (visible), as in COCO; a point that leaves the image gets 0. With
    `None` in front: so many points for each of any number of objects; where a sample has boxes, an object leaves with its box.
    """

    name = "keypoints"
    dtypes = ("<f4",)
    meaning = "x, y in pixels"
    has_positions = True
    is_ordered = True
    can_be_added = False

    def _check_form(self) -> None:
        shape = self.field.shape
        is_right = len(shape) in (2, 3) and shape[-1] in (2, 3) and bool(shape[-2]) and None not in shape[-2:]
        if not is_right or (len(shape) == 3 and shape[0] is not None):
            raise ArgumentError(
                f"field {self.field.name}: shape {shape}, allowed are (points, 2 or 3) and, for each of any number of objects, "
                "(None, points, 2 or 3)"
            )
        order = self.field.mirror_order
        if order and sorted(order) != list(range(self.num_points)):
            raise ArgumentError(
                f"field {self.field.name}: mirror_order is {str(order)[:60]}, allowed is each number in [0, {self.num_points}) "
                "once"
            )

    @property
    def leader(self) -> str | None:
        return "boxes" if self.is_ragged else None

    def encode(self, value: Any, encoder: SampleEncoder) -> np.ndarray:
        # A copy, since those that are not labelled are changed.
        points = np.array(value, self.field.dtype)
        if points.size:
            return points
        if not self.is_ragged:
            raise ImageError(f"are missing, expected are {self.num_points} points")
        return points.reshape(0, *self.element_shape)

    @property
    def has_visibility(self) -> bool:
        """Whether each point has a visibility."""
        return self.field.shape[-1] == 3

    @property
    def num_points(self) -> int:
        """How many points an object has, or an image with one object."""
        count = self.field.shape[-2]
        assert count is not None
        return count

    def check_positions(self, values: np.ndarray, height: int, width: int) -> np.ndarray:
        if not self.has_visibility:
            self._check_units(values.reshape(-1, 2))
            return values
        flat = values.reshape(-1, 3)
        points, visibility = flat[:, :2], flat[:, 2]
        is_labelled = visibility > 0
        self._check_units(points[is_labelled])
        is_right = ~is_labelled | ((points >= 0) & (points <= (width, height))).all(axis=1)
        if not (np.isin(visibility, (0, 1, 2)) & is_right).all():
            wrong = int(np.argmin(np.isin(visibility, (0, 1, 2)) & is_right))
            x, y, value = flat[wrong].tolist()
            raise ImageError(
                f"point {wrong % self.num_points} is {x:g}, {y:g} with visibility {value:g}, allowed are 0 (not labelled), "
                f"or 1 and 2 in the image of {width} x {height} pixels"
            )
        return _without_unlabelled(values)

    @staticmethod
    def _check_units(points: np.ndarray) -> None:
        # One point may lie in the first pixel; that different ones do means that they are given in shares of the image.
        if len(points) > 1 and ((points >= 0) & (points <= 1)).all() and np.ptp(points, axis=0).any():
            raise ImageError(f"all {len(points)} points lie in the first pixel: allowed are pixels, not shares of the image")

    def move(
        self, values: np.ndarray, movements: Sequence[Movement], order: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        stay = np.ones(len(values), bool)
        if not values.size:
            return values, stay
        for movement in movements:
            points = values[..., :2].reshape(-1, 2)
            if self.num_points > 1 and _mirrors(movement, points):
                values = values[..., self._checked(order), :]
                points = values[..., :2].reshape(-1, 2)
            moved = movement.move_points(points).reshape(*values.shape[:-1], 2)
            values = np.concatenate([moved, values[..., 2:]], axis=-1, dtype=np.float32, casting="unsafe")
            if self.has_visibility:
                values[..., 2] *= movement.are_inside(moved)
        return _without_unlabelled(values) if self.has_visibility else values, stay

    def _checked(self, order: np.ndarray | None) -> np.ndarray:
        if order is None:
            raise ArgumentError(
                f"an augmentation mirrors the image, and which of the {self.num_points} points of {self.field.name} are left "
                f"and right is not known: give mirror_pairs={{{self.field.name!r}: [(0, 1), ...]}}, or [] if none change places"
            )
        return order

    def condition_value(self, value: Any, class_names: Sequence[str]) -> Any:
        raise ArgumentError(f"where {self.field.name}: keypoints are chosen by a function, which is given all of them")

    def pack_options(self, column: str, has_one_image: bool = True) -> list[str]:
        order = self.field.mirror_order
        pairs = [(point, other) for point, other in enumerate(order) if point < other]
        # An order that is no exchange of pairs cannot be said.
        is_said = bool(order) and all(order[other] == point for point, other in enumerate(order))
        said = ",".join(f"{point}:{other}" for point, other in pairs) or "none"
        options = ["--mirror-pairs", f"{self.field.name}={said}"] if is_said else []
        return [*super().pack_options(column, has_one_image), *options]

    @classmethod
    def common_shape(cls, shapes: set[tuple[int, ...]]) -> tuple[int | None, ...]:
        # An empty list says nothing of how many points an object has.
        forms = {(len(shape), *shape[-2:]) for shape in shapes if 0 not in shape}
        if len(forms) != 1:
            raise ValueError("as many points in every sample, all of them with a visibility or none")
        ((num_axes, *lengths),) = forms
        return tuple(lengths) if num_axes == 2 else (None, *lengths)

    @classmethod
    def from_cell(cls, cell: Any, parse: Callable[[Any], Any]) -> np.ndarray:
        value = parse(cell)
        if value is None or value == []:
            return np.empty(0, np.float32)
        try:
            points = np.asarray(value, np.float32)
        except (ValueError, TypeError, OverflowError):
            points = np.empty(0, np.float32)
        if points.ndim not in (2, 3) or 0 in points.shape or points.shape[-1] not in (2, 3) or not np.isfinite(points).all():
            raise ValueError(f"has keypoints {str(value)[:40]}, allowed is {_ALLOWED}")
        return points


def _mirrors(movement: Movement, points: np.ndarray) -> bool:
    """Whether a movement exchanges left and right (or above and below, which does so too) where the points lie."""
    middle = points.mean(axis=0)
    corner, right, below = movement.move_points(middle + np.array([[0, 0], [1, 0], [0, 1]], np.float32))
    across, down = right - corner, below - corner
    return bool(across[0] * down[1] - across[1] * down[0] < 0)


def _without_unlabelled(values: np.ndarray) -> np.ndarray:
    """Points with a visibility; those of visibility 0 at 0, 0."""
    values[..., :2] *= values[..., 2:] > 0
    return values
