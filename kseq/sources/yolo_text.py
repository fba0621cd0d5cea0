"""The lines of YOLO's text files: boxes, outlines and poses of objects, as boxes.

The rules:

- A line is a class number, then centre x, centre y, width and height in shares of the upright image. A whole number may be
  written as `1.0`.
- A class number and six or more numbers are the outline of an object, x, y, x, y, ... (YOLO segment), or the four corners of an
  oriented box (YOLO OBB): the box around it is taken, and counted. Four corners are kept besides.
- Where keypoints follow the box (YOLO pose), `kpt_shape` says how many: box and keypoints are taken. A line that ends after the
  box has none that is labelled; without visibilities, it is a fault. Without `kpt_shape`, a pose is told by every third number
  being 0, 1 or 2, and its box is taken.
- A keypoint outside of the image counts as not labelled, where it has a visibility.
- Anything else is a fault of the line: the image is rejected, with file, line and what was found. Numbers far outside of 0 to 1
  are pixels, not shares.

Source: the documentation of Ultralytics YOLO, "Object Detection", "Instance Segmentation", "Pose" and "OBB Datasets Overview".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np

from kseq.images.formats import IMAGE_SUFFIXES

__all__ = ["LineError", "ObjectCounts", "Objects", "looks_like_boxes", "parse_objects"]

# More classes than any dataset has: a number above is no class, and a name for each would fill the memory.
_MAX_CLASS = 1_000_000

# A centre may lie outside of the image by a drawing that reaches out of it; pixels lie much farther away.
_LEAST_SHARE, _MOST_SHARE = -1.0, 2.0

# Keypoints lie in their box, or this share of the image beside it.
_NEAR = 0.1
_VISIBILITIES = frozenset((0.0, 1.0, 2.0))


# The class, the centre, the width and the height.
_NUMBERS_OF_A_BOX = 5


class LineError(ValueError):
    """A line that cannot be read: its number and why."""


class Objects(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: `(n, 4)` float32: x1, y1, x2, y2 in shares of the image.
        labels: `(n,)` int32: class numbers.
        points: `(n, points, 2 or 3)` float32: keypoints in shares of the image, perhaps with a visibility, or `(n, 4, 2)`, the
            corners of all objects; None if there are none.
    """

    boxes: np.ndarray
    labels: np.ndarray
    points: np.ndarray | None = None

    @classmethod
    def none(cls, keypoint_shape: tuple[int, int] | None = None) -> Objects:
        """No objects."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.int32), np.empty((0, *(keypoint_shape or (4, 2))), np.float32))

    def of(self, stays: np.ndarray, labels: np.ndarray) -> Objects:
        """Some of the objects, with other class numbers: `stays` is `(n,)` bool, `labels` `(n,)` int32."""
        return Objects(self.boxes[stays], labels[stays], None if self.points is None else self.points[stays])


@dataclass
class ObjectCounts:
    """What was read from all text files.

    Attributes:
        objects: How many objects there are.
        outlines: How many of them are outlines or corners, of which the box around them was taken.
        corners: How many of these have four corners.
        poses: How many have keypoints, which were left out.
        points_outside: How many labelled keypoints lie outside of their image.
        like_poses: How many outlines might as well be a box and keypoints of two numbers each.
        outline_sizes: How many numbers the outlines have: the different counts, at most two of them.
    """

    objects: int = 0
    outlines: int = 0
    corners: int = 0
    poses: int = 0
    points_outside: int = 0
    like_poses: int = 0
    outline_sizes: set[int] = field(default_factory=set)

    @property
    def are_oriented(self) -> bool:
        """Whether all objects have four corners."""
        return 0 < self.objects == self.corners

    @property
    def are_poses(self) -> bool:
        """Whether what was taken for outlines is a box and keypoints: all alike, and each with its points in its box."""
        return 0 < self.outlines == self.like_poses and len(self.outline_sizes) == 1 and self.outline_sizes != {8}


def parse_objects(
    text: str,
    counts: ObjectCounts,
    keypoint_shape: tuple[int, int] | None = None,
    outlines: list[list[float] | None] | None = None,
) -> Objects:
    """The objects of a text file.

    Args:
        text: The whole file.
        counts: Where what was read is counted.
        keypoint_shape: How many keypoints follow each box, and of how many numbers each; None if none are known to.
        outlines: Where the outline of each object is added, x, y, x, y, ... in shares of the image; None for an object that has
            none.

    Raises:
        LineError: If a line cannot be read. The message continues "labels/a.txt, ".
    """
    boxes: list[list[float]] = []
    labels: list[int] = []
    points: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            numbers = [float(word) for word in words]
            if not all(map(math.isfinite, numbers)):
                raise ValueError
        except ValueError:
            why = "expected are numbers with spaces between: class, centre x, centre y, width, height"
            if len(words) > 1 and not _is_number(words[0]) and all(map(_is_number, words[1:])):
                why = f"the class is {words[0]!r}, expected is its number"
            raise _fault(number, line, why) from None
        labels.append(_class_number(numbers[0], number, line))
        if outlines is not None:
            is_outline = keypoint_shape is None and len(numbers) > _NUMBERS_OF_A_BOX and not _is_pose(numbers[1:])
            outlines.append(numbers[1:] if is_outline else None)
        if keypoint_shape is None:
            boxes.append(_box(numbers[1:], number, line, counts))
            if len(numbers) == 9:
                counts.corners += 1
                points.append(numbers[1:])
        else:
            boxes.append(_upright(numbers[1:5], number, line))
            points.append(_points(numbers[5:], number, line, keypoint_shape))
    if not boxes:
        return Objects.none(keypoint_shape)
    counts.objects += len(boxes)
    shaped = None
    if keypoint_shape is not None:
        shaped = _without_outside(np.reshape(points, (-1, *keypoint_shape)), counts)
    elif len(points) == len(boxes):
        shaped = np.reshape(points, (-1, 4, 2)).astype(np.float32)
    return Objects(np.array(boxes, np.float32), np.array(labels, np.int32), shaped)


def _fault(number: int, line: str, why: str) -> LineError:
    return LineError(f"line {number} is {line.strip()[:60]!r}, {why}")


def _class_number(value: float, number: int, line: str) -> int:
    if not value.is_integer() or not 0 <= value < _MAX_CLASS:
        raise _fault(number, line, f"the class number is {value:g}, allowed is a whole number of 0 or more")
    return int(value)


def _points(numbers: list[float], number: int, line: str, keypoint_shape: tuple[int, int]) -> list[float]:
    """The numbers of the keypoints that follow a box."""
    expected = keypoint_shape[0] * keypoint_shape[1]
    if not numbers and keypoint_shape[1] == 3:
        return [0.0] * expected
    if len(numbers) != expected:
        raise _fault(number, line, f"has {len(numbers) + 4} numbers after the class, expected are {expected + 4}, by kpt_shape")
    if keypoint_shape[1] == 3:
        wrong = next((value for value in numbers[2::3] if value not in _VISIBILITIES), None)
        if wrong is not None:
            raise _fault(number, line, f"a keypoint has visibility {wrong:g}, allowed are 0, 1 and 2")
    _check_shares([value for at, value in enumerate(numbers) if at % keypoint_shape[1] < 2], number, line)
    return numbers


def _without_outside(points: np.ndarray, counts: ObjectCounts) -> np.ndarray:
    """Keypoints without those that are outside of the image or not labelled, as far as they have a visibility."""
    if points.shape[-1] == 3:
        is_outside = ~((points[..., :2] >= 0) & (points[..., :2] <= 1)).all(axis=-1)
        counts.points_outside += int(np.count_nonzero(is_outside & (points[..., 2] > 0)))
        points[is_outside | (points[..., 2] == 0)] = 0
    return points.astype(np.float32)


def _box(numbers: list[float], number: int, line: str, counts: ObjectCounts) -> list[float]:
    """x1, y1, x2, y2 of what follows a class number."""
    if len(numbers) == 4:
        return _upright(numbers, number, line)
    if _is_pose(numbers):
        counts.poses += 1
        return _upright(numbers[:4], number, line)
    if len(numbers) == 5:
        confidence = "the confidence of a prediction, which is to be left out, or " if 0 <= numbers[4] <= 1 else ""
        turned = "the angle of a turned box, in whose place its four corners are read, class x y x y x y x y"
        raise _fault(number, line, f"the fifth number after the class is {confidence}{turned}")
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
    if len(numbers) < 4:
        raise _fault(number, line, f"has {len(numbers)} numbers after the class, expected are 4 and more")
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


# Of VisDrone: a box in pixels, and four marks.
_OF_EIGHT = re.compile(r"\d+(,-?\d+){7},?")


def looks_like_boxes(text: str) -> bool:
    """Whether one of the first two lines of a text that are not blank might be meant as one of YOLO's.

    That is a class and four numbers or more, with commas between them too, or the name of a class and four or five numbers:
    such a line is a fault, which its image is told of. The first line may name what the numbers are.
    """
    lines = (line for line in text.splitlines() if line.strip())
    return any(map(_looks_like_object, islice(lines, 2)))


def _looks_like_object(line: str) -> bool:
    if _OF_EIGHT.fullmatch(line.strip()):
        return False
    first, *others = [word for word in re.split(r"[\s,;]+", line) if word] or [""]
    if len(others) < _NUMBERS_OF_A_BOX - 1 or not all(map(_is_number, others)):
        return False
    if _is_number(first):
        return float(first).is_integer()
    # A list of images may have boxes in its lines.
    return len(others) <= _NUMBERS_OF_A_BOX and not first.lower().endswith(IMAGE_SUFFIXES)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
