"""Transforms of Albumentations over the images, masks, boxes and keypoints of one sample."""

from __future__ import annotations

import copy
import inspect
import random
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.storage.field_kinds import Boxes, Keypoints
from kseq.storage.fields import Field

__all__ = ["AlbumentationsAdapter", "is_albumentations", "moves_pixels"]

# The thresholds of `bbox_params` that are about boxes, not about how they are written.
_THRESHOLDS = ("min_area", "min_visibility", "min_width", "min_height", "max_accept_ratio")


def is_albumentations(function: Any) -> bool:
    """Whether a function is a transform of Albumentations, or of a class of the user that is made of one."""
    return any(base.__module__.split(".")[0] == "albumentations" for base in type(function).__mro__)


def moves_pixels(transform: Any) -> bool:
    """Whether a transform of Albumentations may move what is in an image."""
    if hasattr(transform, "transforms"):
        return any(moves_pixels(part) for part in transform.transforms)
    return all(base.__name__ not in ("ImageOnlyTransform", "NoOp") for base in type(transform).__mro__)


class AlbumentationsAdapter:
    """One transform of Albumentations, or several composed, for samples with some fields; picklable if the transform is.

    Boxes and keypoints are given in the forms that kseq chooses, so those of a `bbox_params` and `keypoint_params` do not
    matter. Whatever the transform does with them, three points beside the boxes tell where their centres go, and whether the
    image was mirrored.

    Args:
        transform: The transform.
        fields: Those of a batch.
        target_images: The images that a model learns and does not see: they move as masks do, and keep their colours.
        orders: Field name to `(points,)` int64: which keypoint takes the place of each in a mirrored image.

    Attributes:
        name: Of the transform, for messages.
    """

    def __init__(
        self,
        transform: Any,
        fields: Mapping[str, Field],
        target_images: frozenset[str],
        orders: Mapping[str, np.ndarray],
    ) -> None:
        self.name = type(transform).__name__
        self._transform, self._orders = transform, dict(orders)
        if not moves_pixels(transform):
            # It warns of boxes and points that it does not change.
            fields = {name: field for name, field in fields.items() if field.is_pixels}
        images = [name for name, field in fields.items() if field.is_image and name not in target_images]
        self._image = images[0]
        others = [name for name, field in fields.items() if field.is_pixels and name != self._image]
        self._others = {name: "image" if name in images else "mask" for name in others}
        self._boxes = next((name for name, field in fields.items() if isinstance(field.handler, Boxes)), None)
        self._followers = [name for name, field in fields.items() if self._boxes and field.handler.leader == "boxes"]
        handlers = {name: field.handler for name, field in fields.items()}
        self._points = {name: handler for name, handler in handlers.items() if isinstance(handler, Keypoints)}
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local())

    def run(self, sample: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The fields of a sample that the transform changes.

        Args:
            sample: Field name to its value.
            rng: Draws what it does.

        Raises:
            ArgumentError: If the transform mirrors keypoints of which left and right are not known, or erases points.
        """
        compose = self._compose()
        # One generator for all of them: seeded each by itself, they would draw the same numbers.
        compose.set_random_state(rng, random.Random(int(rng.integers(1 << 62))))
        boxes = np.zeros((0, 4), np.float32) if self._boxes is None else sample[self._boxes]
        height, width = sample[self._image].shape[:2]
        points = self._all_points(sample, boxes, height, width)
        # In Albumentations' coordinates of points, whole numbers are the centres of pixels.
        given: dict[str, Any] = {"keypoints": points - 0.5} if len(points) else {}
        if self._boxes is not None:
            given |= {"bboxes": boxes, "kseq_box": np.arange(len(boxes))}
        pixels = {name: np.ascontiguousarray(sample[name]) for name in self._others}
        answer = compose(image=sample[self._image], **pixels, **given)
        changed = {name: _with_channels(answer[name], sample[name]) for name in pixels}
        changed[self._image] = _with_channels(answer["image"], sample[self._image])
        moved = np.array(answer["keypoints"], np.float32)[:, :2] + 0.5 if len(points) else points
        if len(moved) != len(points):
            raise ArgumentError(f"gave {len(moved)} of {len(points)} points back: a transform may move points, and erase none")
        return changed | self._moved(sample, answer, moved, changed[self._image].shape[:2])

    def _compose(self) -> Any:
        """The transform as this thread's own: it keeps what it draws in itself."""
        if not hasattr(self._local, "compose"):
            self._local.compose = self._composed(copy.deepcopy(self._transform))
        return self._local.compose

    def _composed(self, transform: Any) -> Any:
        import albumentations

        options: dict[str, Any] = {"additional_targets": self._others}
        if "telemetry" in inspect.signature(albumentations.Compose.__init__).parameters:
            # AlbumentationsX tells its makers of every one that is made, if it may.
            options["telemetry"] = False
        transforms, box_params = [transform], None
        if isinstance(transform, albumentations.Compose):
            # Its own box and keypoint parameters would be of other forms.
            transforms, options["p"] = list(transform.transforms), transform.p
            box_params = getattr(transform.processors.get("bboxes"), "params", None)
        if self._boxes is not None:
            thresholds = {key: getattr(box_params, key) for key in _THRESHOLDS if hasattr(box_params, key)}
            options["bbox_params"] = albumentations.BboxParams("pascal_voc", label_fields=["kseq_box"], **thresholds)
        if self._boxes is not None or self._points:
            options["keypoint_params"] = albumentations.KeypointParams("xy", remove_invisible=False)
        return albumentations.Compose(transforms, **options)

    def _all_points(self, sample: Mapping[str, np.ndarray], boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        """`(n, 2)` float32: the centres of boxes, the keypoints of all fields, and three around the middle of the image."""
        pieces = [(boxes[:, :2] + boxes[:, 2:]) / 2]
        pieces += [sample[name][..., :2].reshape(-1, 2) for name in self._points]
        if self._points:
            pieces.append(np.array([width / 2, height / 2]) + np.array([[0, 0], [1, 0], [0, 1]]))
        return np.concatenate(pieces, dtype=np.float32, casting="unsafe")

    def _moved(
        self, sample: Mapping[str, np.ndarray], answer: Mapping[str, Any], points: np.ndarray, size: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """The boxes, keypoints and what describes them, after the image has come to its size."""
        edges = np.array(size[::-1], np.float32)
        changed: dict[str, np.ndarray] = {}
        count, stay = 0, _inside(points[:0], edges)
        if self._boxes is not None:
            count = len(sample[self._boxes])
            stay = _inside(points[:count], edges)
            boxes, numbers = np.zeros((count, 4), np.float32), np.asarray(answer["kseq_box"], np.int64).reshape(-1)
            boxes[numbers] = np.asarray(answer["bboxes"], np.float32).reshape(-1, 4)[:, :4]
            stay = np.logical_and(stay, np.isin(np.arange(count), numbers))
            changed[self._boxes] = np.clip(boxes[stay], 0, np.tile(edges, 2))
        for name, handler in self._points.items():
            values = sample[name]
            piece = points[count : count + values[..., 0].size].reshape(*values.shape[:-1], 2)
            count += values[..., 0].size
            changed[name] = self._moved_points(handler, values, piece, edges, _is_mirrored(points[-3:]))
        for name in self._followers:
            changed[name] = changed.get(name, sample[name])[stay]
        return changed

    def _moved_points(
        self, handler: Keypoints, before: np.ndarray, points: np.ndarray, edges: np.ndarray, is_mirrored: bool
    ) -> np.ndarray:
        name = handler.field.name
        values = np.concatenate([points, before[..., 2:]], axis=-1, dtype=np.float32, casting="unsafe")
        if is_mirrored and handler.num_points > 1:
            if name not in self._orders:
                raise ArgumentError(
                    f"mirrors the image, and which of the {handler.num_points} points of {name} are left and right is not "
                    f"known: give mirror_pairs={{{name!r}: [(0, 1), ...]}}, or [] if none change places"
                )
            values = values[..., self._orders[name], :]
        if handler.has_visibility:
            is_seen = _inside(values[..., :2], edges) & (values[..., 2] > 0)
            return np.where(is_seen[..., None], values, np.float32(0))
        return values


def _inside(points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """`(...)` bool: which of `(..., 2)` points lie in the image."""
    inside: np.ndarray = np.logical_and(points >= 0, points <= edges).min(axis=-1)
    return inside


def _is_mirrored(points: np.ndarray) -> bool:
    """Whether three points, a corner and those to the right of it and below it, are mirrored."""
    across, down = points[1] - points[0], points[2] - points[0]
    return bool(across[0] * down[1] - across[1] * down[0] < 0)


def _with_channels(pixels: Any, before: np.ndarray) -> np.ndarray:
    """Pixels that a transform gave: `(height, width, channels)` of the dtype that came."""
    array = np.asarray(pixels)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] != before.shape[2] or array.dtype != before.dtype:
        raise ArgumentError(
            f"gave {array.dtype} of shape {array.shape}, expected are {before.dtype} of shape (height, width, "
            f"{before.shape[2]}): leave Normalize and ToTensorV2 out, dtype='float32', scale and data_format do that"
        )
    return np.ascontiguousarray(array)
