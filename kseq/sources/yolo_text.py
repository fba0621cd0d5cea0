"""The lines of YOLO's text files: boxes, outlines and poses of objects, as boxes.

The rules:

- A line is a class number, then centre x, centre y, width and height in shares of the upright image. A whole number may be
  written as `1.0`.
- A class number and six or more numbers are the outline of an object, x, y, x, y, ... (YOLO segment), or the four corners of an
  oriented box (YOLO OBB): the box around it is taken, and counted.
- Where keypoints follow the box (YOLO pose, told by `kpt_shape`, or by every third number being 0, 1 or 2), the box is taken.
- Anything else is a fault of the line: the image is rejected, with file, line and what was found. Numbers far outside of 0 to 1
  are pixels, not shares.

Source: the documentation of Ultralytics YOLO, "Object Detection", "Instance Segmentation", "Pose" and "OBB Datasets Overview".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

__all__ = ["LineError", "ObjectCounts", "Objects", "looks_like_boxes", "parse_objects"]

# More classes than any dataset has: a number above is no class, and a name for each would fill the memory.
_MAX_CLASS = 1_000_000

# A centre may lie outside of the image by a drawing that reaches out of it; pixels lie much farther away.
_LEAST_SHARE, _MOST_SHARE = -1.0, 2.0

# Keypoints lie in their box, or this share of the image beside it.
_NEAR = 0.1
_VISIBILITIES = frozenset((0.0, 1.0, 2.0))


class LineError(ValueError):
    """A line that cannot be read: its number and why."""


class Objects(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: `(n, 4)` float32: x1, y1, x2, y2 in shares of the image.
        labels: `(n,)` int32: class numbers.
    """

    boxes: np.ndarray
    labels: np.ndarray

    @classmethod
    def none(cls) -> Objects:
        """No objects."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.int32))


@dataclass
class ObjectCounts:
    """What was read from all text files.

    Attributes:
        objects: How many objects there are.
        outlines: How many of them are outlines or corners, of which the box around them was taken.
        poses: How many have keypoints, which were left out.
        like_poses: How many outlines might as well be a box and keypoints of two numbers each.
        outline_sizes: How many numbers the outlines have: the different counts, at most two of them.
    """

    objects: int = 0
    outlines: int = 0
    poses: int = 0
    like_poses: int = 0
    outline_sizes: set[int] = field(default_factory=set)

    @property
    def are_poses(self) -> bool:
        """Whether what was taken for outlines is a box and keypoints: all alike, and each with its points in its box."""
        return 0 < self.outlines == self.like_poses and len(self.outline_sizes) == 1 and self.outline_sizes != {8}


def parse_objects(text: str, counts: ObjectCounts, keypoint_shape: tuple[int, int] | None = None) -> Objects:
    """The objects of a text file.

    Args:
        text: The whole file.
        counts: Where what was read is counted.
        keypoint_shape: How many keypoints follow each box, and of how many numbers each; None if none are known to.

    Raises:
        LineError: If a line cannot be read. The message continues "labels/a.txt, ".
    """
    boxes: list[list[float]] = []
    labels: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            numbers = [float(word) for word in words]
            if not all(map(math.isfinite, numbers)):
                raise ValueError
        except ValueError:
            raise _fault(
                number, line, "expected are numbers with spaces between: class, centre x, centre y, width, height"
            ) from None
        labels.append(_class_number(numbers[0], number, line))
        boxes.append(_box(numbers[1:], number, line, counts, keypoint_shape))
    if not boxes:
        return Objects.none()
    counts.objects += len(boxes)
    return Objects(np.array(boxes, np.float32), np.array(labels, np.int32))


def _fault(number: int, line: str, why: str) -> LineError:
    return LineError(f"line {number} is {line.strip()[:60]!r}, {why}")


def _class_number(value: float, number: int, line: str) -> int:
    if not value.is_integer() or not 0 <= value < _MAX_CLASS:
        raise _fault(number, line, f"the class number is {value:g}, allowed is a whole number of 0 or more")
    return int(value)


def _box(
    numbers: list[float], number: int, line: str, counts: ObjectCounts, keypoint_shape: tuple[int, int] | None
) -> list[float]:
    """x1, y1, x2, y2 of what follows a class number."""
    if len(numbers) == 4:
        return _upright(numbers, number, line)
    if keypoint_shape is not None:
        expected = 4 + keypoint_shape[0] * keypoint_shape[1]
        if len(numbers) != expected:
            raise _fault(number, line, f"has {len(numbers)} numbers after the class, expected are {expected}, by kpt_shape")
        counts.poses += 1
        return _upright(numbers[:4], number, line)
    if _is_pose(numbers):
        counts.poses += 1
        return _upright(numbers[:4], number, line)
    if len(numbers) == 5:
        raise _fault(number, line, "the fifth number after the class is the confidence of a prediction: leave it out")
    if len(numbers) < 6 or len(numbers) % 2:
        raise _fault(number, line, f"has {len(numbers)} numbers after the class, expected are 4, or an outline x y x y ...")
    _check_shares(numbers, number, line)
    _count_outline(numbers, counts)
    return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]


def _is_pose(numbers: list[float]) -> bool:
    """Whether numbers are a box, then x, y and visibility of points in it."""
    if len(numbers) <= 6 or (len(numbers) - 4) % 3 or not _VISIBILITIES.issuperset(numbers[6::3]):
        return False
    x, y, width, height = numbers[:4]
    points = zip(numbers[4::3], numbers[5::3], numbers[6::3], strict=True)
    return all(
        (abs(px - x) <= width / 2 + _NEAR and abs(py - y) <= height / 2 + _NEAR) or not (visibility or px or py)
        for px, py, visibility in points
    )


def _upright(numbers: list[float], number: int, line: str) -> list[float]:
    _check_shares(numbers, number, line)
    x, y, width, height = numbers
    if width < 0 or height < 0:
        raise _fault(number, line, f"width and height are {width:g} and {height:g}, allowed is 0 or more")
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def _check_shares(numbers: list[float], number: int, line: str) -> None:
    if min(numbers) < _LEAST_SHARE or max(numbers) > _MOST_SHARE:
        raise _fault(number, line, "expected are shares of the image, 0 to 1: these look like pixels")


def _count_outline(numbers: list[float], counts: ObjectCounts) -> None:
    counts.outlines += 1
    if len(counts.outline_sizes) < 2:
        counts.outline_sizes.add(len(numbers))
    x, y, width, height, *points = numbers
    # Points that are not seen are 0, 0.
    seen = [(px, py) for px, py in zip(points[::2], points[1::2], strict=True) if px or py]
    counts.like_poses += bool(seen) and all(abs(px - x) <= width / 2 and abs(py - y) <= height / 2 for px, py in seen)


def looks_like_boxes(text: str) -> bool:
    """Whether the first line of a text that is not blank might be one of YOLO's: a class and four numbers or more."""
    words = next((line.split() for line in text.splitlines() if line.strip()), [])
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(numbers) >= 5 and numbers[0].is_integer()
