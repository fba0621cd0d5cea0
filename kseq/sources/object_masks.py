"""The pixels of outlined objects: polygons, run lengths, small PNGs and segments of a panoptic PNG, drawn as one mask.

The rules:

- `semantic`: 0 is background, class i is i + 1; what a crowd covers, and no object, is 255, which losses can leave out.
- `instances`: 0 is background, the i-th object of the image is i, counted from 1; crowds are background. The numbers of the
  objects whose boxes are packed are the field `instance_ids`, one for each box.
- Where objects overlap, the smaller one is on top; of two of one size, the later one.
- A polygon covers the pixels that the COCO API gives it; several polygons of an object are united.

Source: the COCO API, maskApi, "rleFrPoly"; the COCO panoptic format, whose ids are R + 256 G + 65536 B.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import counted, spelled
from kseq.errors import ImageError, SourceError
from kseq.images.codecs import decode, decode_mask
from kseq.images.formats import read_header
from kseq.sources.column_roles import OBJECT_MASKS
from kseq.sources.file_reading import read_file
from kseq.sources.run_lengths import mask_pixels

__all__ = [
    "IGNORED",
    "INSTANCES",
    "MOST_OBJECTS",
    "SEMANTIC",
    "ObjectMask",
    "OutlinedObject",
    "check_room",
    "describe_bare",
    "describe_masks",
    "describe_unused",
    "draw_objects",
    "fill_polygon",
    "read_object",
]

SEMANTIC, INSTANCES = OBJECT_MASKS
IGNORED = 255
MOST_OBJECTS = 255

# Of the COCO API: edges are drawn at five times the size.
_SCALE = 5


class OutlinedObject(NamedTuple):
    """The outline of an object.

    Attributes:
        class_name: The name of its class.
        number: Its number in the image, counted from 1; 0 for a crowd.
        outline: Polygons `[[x, y, x, y, ...], ...]`; run lengths, a dict as COCO has it; a dict of `png`, `left` and `top`, a
            mask in base64 and where it lies; a dict of `file`, a mask of the whole image; or the id of a segment.
    """

    class_name: str
    number: int
    outline: Any


class ObjectMask(NamedTuple):
    """The objects of an image, as the location of a mask.

    Attributes:
        path: Of the image, by whose time of writing it is told whether the sample has changed.
        objects: Its objects, as JSON.
        in_shares: Whether polygons are in shares of the width and the height.
        file: The PNG of the segments, if they are its pixels.
    """

    path: bytes
    objects: bytes
    in_shares: bool = False
    file: bytes = b""

    @classmethod
    def of(cls, path: bytes, objects: Sequence[OutlinedObject], *, in_shares: bool = False, file: bytes = b"") -> ObjectMask:
        """The location of the mask of some objects."""
        return cls(path, json.dumps(objects).encode(), in_shares, file)


def describe_masks() -> str:
    """The arguments that ask for a mask, for messages."""
    return " or ".join(spelled("columns.mask", kind) for kind in OBJECT_MASKS)


def describe_unused(count: int) -> str:
    """What became of so many outlines where no mask was asked for."""
    outlined = counted(count, "object has an outline, of which the box", "objects have outlines, of which the boxes")
    return f"{outlined} alone {'is' if count == 1 else 'are'} packed: {describe_masks()} packs the pixels too"


def describe_bare(count: int) -> str:
    """What became of so many objects without an outline."""
    return f"{counted(count, 'object has no outline, and is', 'objects have no outline, and are')} background in the mask"


def check_room(path: str, kind: str, class_names: Sequence[str]) -> None:
    """Raise SourceError if a mask of classes has no room for so many; `kind` is `SEMANTIC` or `INSTANCES`."""
    if kind == SEMANTIC and len(class_names) >= IGNORED:
        raise SourceError(f"{path}: has {len(class_names)} classes, a mask of classes has room for {IGNORED - 1}")


def draw_objects(mask: ObjectMask, height: int, width: int, *, kind: str, class_numbers: Mapping[str, int]) -> np.ndarray:
    """`(height, width, 1)` uint8: the objects of an image, by the rules of this module.

    Args:
        mask: The objects.
        height: Of the image on which they were drawn, in pixels.
        width: Of the same image.
        kind: `SEMANTIC` or `INSTANCES`.
        class_numbers: The number of each class; objects of others are background in a semantic mask.

    Raises:
        ImageError: If an outline makes no sense, or goes with an image of another size.
    """
    objects = [OutlinedObject(*entry) for entry in json.loads(mask.objects)]
    segments = _segments(mask.file, height, width) if mask.file else None
    drawn: list[tuple[int, int, np.ndarray]] = []
    for found in objects:
        if kind == INSTANCES:
            value = found.number
        elif found.number:
            value = class_numbers.get(found.class_name, -1) + 1
        else:
            value = IGNORED
        if value:
            covered = _pixels(found, height, width, in_shares=mask.in_shares, segments=segments)
            # Crowds lie below all objects.
            drawn.append((int(covered.sum()) if found.number else height * width + 1, value, covered))
    values = np.zeros((height, width, 1), np.uint8)
    for _, value, covered in sorted(drawn, key=lambda entry: -entry[0]):
        values[covered] = value
    return values


def _segments(file: bytes, height: int, width: int) -> np.ndarray:
    """`(height, width)` int64: the id of the segment of each pixel."""
    try:
        data = read_file(file)
        header = read_header(data)
        if (header.height, header.width) != (height, width):
            raise ImageError(f"has {header.width} x {header.height} pixels, its image has {width} x {height}")
        pixels = decode(data, "rgb", size=(height, width), strict=True).astype(np.int64)
    except ImageError as error:
        raise ImageError(f"has a PNG of segments that {error}") from error
    ids: np.ndarray = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    return ids


def _pixels(found: OutlinedObject, height: int, width: int, *, in_shares: bool, segments: np.ndarray | None) -> np.ndarray:
    """`(height, width)` bool: which pixels an object covers."""
    outline = found.outline
    try:
        if segments is not None:
            of_segment: np.ndarray = segments == int(outline)
            return of_segment
        if isinstance(outline, dict):
            if "file" in outline:
                return _checked_size(read_object(outline["file"]), height, width)
            return _small_mask(outline, height, width) if "png" in outline else mask_pixels(outline, height, width)
        covered = np.zeros((height, width), bool)
        for polygon in outline:
            points = np.array(polygon, np.float64).reshape(-1, 2)
            if not np.isfinite(points).all():
                raise ValueError
            covered |= fill_polygon(points * (width, height) if in_shares else points, height, width)
        return covered
    except (TypeError, ValueError, OverflowError) as error:
        what = f"has an outline {str(outline)[:60]}"
        raise ImageError(f"{what}, allowed are polygons, and run lengths of {width} x {height} pixels") from error


def read_object(file: str) -> np.ndarray:
    """`(height, width)` bool: the pixels of a mask file that are not 0; of colours, those that are not black.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        data = read_file(os.fsencode(file))
        header = read_header(data)
        pixels = decode(data, "grayscale", header.orientation, size=(header.height, header.width), strict=True)
    except ImageError as error:
        raise ImageError(f"has an object whose PNG {os.path.basename(file)} {error}") from error
    covered: np.ndarray = pixels[:, :, 0] > 0
    return covered


def _checked_size(covered: np.ndarray, height: int, width: int) -> np.ndarray:
    if covered.shape != (height, width):
        raise ImageError(
            f"has an object whose PNG has {covered.shape[1]} x {covered.shape[0]} pixels, its image has {width} x {height}"
        )
    return covered


def _small_mask(outline: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """`(height, width)` bool of a mask that covers a part of an image."""
    try:
        data = base64.b64decode(outline["png"], validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ImageError("has a mask that is not base64") from error
    header = read_header(data)
    values = decode_mask(data, 1, size=(header.height, header.width), strict=True)[:, :, 0]
    top, left = int(outline["top"]), int(outline["left"])
    covered = np.zeros((height, width), bool)
    # What reaches out of the image is cut off.
    shown = values[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    covered[max(0, top) : max(0, top) + shown.shape[0], max(0, left) : max(0, left) + shown.shape[1]] = shown > 0
    return covered


def fill_polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """`(height, width)` bool: the pixels of a polygon, as the COCO API fills it.

    Args:
        points: `(n, 2)`: x and y of its corners, in pixels.
        height: Of the image.
        width: Of the image.
    """
    covered = np.zeros((height, width), bool)
    if len(points) < 3:
        return covered
    # As C turns numbers into whole ones: towards 0.
    corners = np.trunc(_SCALE * np.clip(points, -width - height, 2 * (width + height)) + 0.5).astype(np.int64)
    across, down = _edges(corners)
    steps = np.flatnonzero(across[1:] != across[:-1])
    columns = (np.minimum(across[1:], across[:-1])[steps] + 0.5) / _SCALE - 0.5
    rows = (np.minimum(down[1:], down[:-1])[steps] + 0.5) / _SCALE - 0.5
    is_crossing = (np.floor(columns) == columns) & (columns >= 0) & (columns <= width - 1)
    toggles = columns[is_crossing].astype(np.int64) * height + np.ceil(np.clip(rows[is_crossing], 0, height)).astype(np.int64)
    if not toggles.size:
        return covered
    first = int(toggles.min()) // height
    last = min(width, int(toggles.max()) // height + 1)
    flips = np.bincount(toggles - first * height, minlength=(last - first) * height)[: (last - first) * height]
    inside = (np.cumsum(flips) & 1).astype(bool)
    covered[:, first:last] = inside.reshape(last - first, height).T
    return covered


def _edges(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points on the edges of a closed polygon, one after the other: x and y, whole numbers."""
    ends = np.roll(corners, -1, axis=0)
    lengths = np.abs(ends - corners)
    is_wide = lengths[:, 0] >= lengths[:, 1]
    longest = lengths.max(axis=1)
    # Along the longer side of an edge, from its lower end; an edge that runs the other way is walked backwards.
    main, other = np.where(is_wide, 0, 1), np.where(is_wide, 1, 0)
    edge = np.arange(len(corners))
    is_back = corners[edge, main] > ends[edge, main]
    starts, stops = np.where(is_back[:, None], ends, corners), np.where(is_back[:, None], corners, ends)
    slopes = (stops[edge, other] - starts[edge, other]) / np.maximum(longest, 1)
    counts = longest + 1
    owner = np.repeat(edge, counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    step = np.where(is_back[owner], longest[owner] - step, step)
    along = step + starts[owner, main[owner]]
    aside = np.trunc(starts[owner, other[owner]] + slopes[owner] * step + 0.5).astype(np.int64)
    return np.where(is_wide[owner], along, aside), np.where(is_wide[owner], aside, along)
