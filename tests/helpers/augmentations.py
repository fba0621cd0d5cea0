"""Augmentations as users write them, in a module that worker processes can import."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np

import kseq


class RandomRotation(kseq.Augmentation):
    """Rotates each image about its centre by up to some degrees, either way."""

    num_draws = 1

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def parameters(self, draws: np.ndarray) -> np.ndarray:
        degrees: np.ndarray = (2 * draws[:, 0] - 1) * self.degrees
        return degrees

    def apply_to_image(self, pixels: np.ndarray, degrees: float) -> np.ndarray:
        height, width, _ = pixels.shape
        return cv2.warpAffine(pixels, self._matrix(degrees, height, width), (width, height))

    def apply_to_mask(self, pixels: np.ndarray, degrees: float) -> np.ndarray:
        height, width, _ = pixels.shape
        return cv2.warpAffine(pixels, self._matrix(degrees, height, width), (width, height), flags=cv2.INTER_NEAREST)

    def apply_to_points(self, points: np.ndarray, degrees: float, height: int, width: int) -> np.ndarray:
        return cv2.transform(points[None] - 0.5, self._matrix(degrees, height, width))[0] + 0.5

    @staticmethod
    def _matrix(degrees: float, height: int, width: int) -> np.ndarray:
        # In OpenCV's coordinates, where whole numbers are the centres of pixels.
        return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)


class Brighten(kseq.Augmentation):
    """Adds up to some brightness; only the colours of the image change."""

    num_draws = 1
    commutes_with_crops = True

    def __init__(self, most: int) -> None:
        self.most = most

    def parameters(self, draws: np.ndarray) -> list[int]:
        return [int(number) for number in draws[:, 0] * self.most]

    def apply_to_image(self, pixels: np.ndarray, brightness: int) -> np.ndarray:
        return cv2.add(pixels, np.full_like(pixels, brightness), dst=pixels)


class CornerCrop(kseq.Augmentation):
    """The upper left quarter of each image, turned upside down: a crop with a step of its own."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def cut(self, sizes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        return np.hstack([np.zeros_like(sizes), sizes // 2])

    def apply_to_image(self, pixels: np.ndarray, _: Any) -> np.ndarray:
        return pixels[::-1]

    def apply_to_mask(self, pixels: np.ndarray, _: Any) -> np.ndarray:
        return pixels[::-1]

    def apply_to_points(self, points: np.ndarray, _: Any, height: int, width: int) -> np.ndarray:
        return np.stack([points[:, 0], height - points[:, 1]], axis=1)


class DropSmall(kseq.Augmentation):
    """Lets boxes of a small area go."""

    def __init__(self, area: float) -> None:
        self.area = area

    def apply_to_boxes(self, boxes: np.ndarray, _: Any, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        stay = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) >= self.area
        return boxes[stay], stay


def mirror_sample(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A whole sample, left to right."""
    changed = {name: sample[name][:, ::-1] for name in ("image", "mask") if name in sample}
    if "boxes" in sample:
        boxes = sample["boxes"].copy()
        boxes[:, [0, 2]] = sample["image"].shape[1] - sample["boxes"][:, [2, 0]]
        changed["boxes"] = boxes
    return changed


def darken(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """An image of which a random part is left."""
    return {"image": (sample["image"] * rng.uniform(0.5, 1)).astype(np.uint8)}


def busy(seconds: float) -> None:
    """Compute for so long, in CPU time of this thread."""
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        pass


class Busy(kseq.Augmentation):
    """Computes for 2 ms in Python for each image."""

    def apply_to_image(self, image: np.ndarray, parameters: Any) -> np.ndarray:
        busy(0.002)
        return image


def busy_sample(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The same, for `kseq.Compose`."""
    busy(0.002)
    return {"image": sample["image"]}


def busy_batch(images: np.ndarray) -> np.ndarray:
    """As long for a batch."""
    busy(0.002 * len(images))
    return images
