"""The pixels of outlined objects: polygons, run lengths, small PNGs and segments of a panoptic PNG, drawn as one mask.

The rules:

- `semantic`: 0 is background, class i is i + 1; what a crowd covers, and no object, is 255, which losses can leave out.
- `instances`: 0 is background, the i-th object of the image is i, counted from 1; crowds are background. The numbers of the
  objects whose boxes are packed are the field `instance_ids`, one for each box.
- Where objects overlap, the smaller one is on top; of two of one size, the later one.
- A polygon covers the pixels that the COCO API gives it; several polygons of an object are united. A rectangle covers its box.
- Masks of instances are uint8, or uint16 if an image of the source has more than 255 objects.
- What an image has and its mask has not is a note of the image: outlines that cover no pixel or lie outside of it, objects that
  others cover wholly, run lengths that end early, and pixels of a panoptic PNG that are of no segment (but for the id 0, which
  the format keeps for these).

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
from kseq.images.noted_pixels import NotedPixels
from kseq.sources.column_roles import OBJECT_MASKS
from kseq.sources.file_reading import read_file
from kseq.sources.run_lengths import mask_pixels, row_runs_pixels

__all__ = [
    "IGNORED",
    "INSTANCES",
    "MOST_OBJECTS",
    "SEMANTIC",
    "WHOLE_BOX",
    "ObjectMask",
    "OutlinedObject",
    "check_room",
    "describe_bare",
    "describe_crowded",
    "describe_masks",
    "describe_rectangles",
    "describe_unused",
    "describe_wide",
    "draw_objects",
    "fill_polygon",
    "needs_wide",
    "read_object",
]

SEMANTIC, INSTANCES = OBJECT_MASKS
IGNORED = 255
# How many objects of an image a mask of instances numbers in 8 bits, and how many in 16.
_MOST_NARROW, MOST_OBJECTS = 255, 65535

WHOLE_BOX = ("box",)
"""The outline of an object whose box is drawn."""

_NO_PIXEL = "has an outline that covers no pixel: its object is not in the mask"
_OUTSIDE = "has an outline that lies outside of the image: its object is not in the mask"
_COVERED = "has an object that others cover wholly: it is not in the mask"
_NO_SEGMENT_PIXEL = "has a segment of which its PNG has no pixel: it is not in the mask"
_OF_NO_SEGMENT = "has pixels of no segment in its PNG: they are background in the mask"
_ENDS_EARLY = "has a mask whose run lengths end before it does: the rest of it is background"

# Of the COCO API: edges are drawn at five times the size.
_SCALE = 5


class OutlinedObject(NamedTuple):
    """The outline of an object.

    Attributes:
        class_name: The name of its class.
        number: Its number in the image, counted from 1; 0 for a crowd.
        outline: Polygons `[[x, y, x, y, ...], ...]`; run lengths, a dict as COCO has it, or as
            `kseq.sources.run_lengths.row_runs_box` takes it; a dict of `png`, `left` and `top`, a mask in base64 and where it
            lies; a dict of `polygons` and `holes` in them; a dict of `file`, a mask of the whole image; or a dict of `segment`,
            its id in a PNG of segments.
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


def describe_rectangles(count: int) -> str:
    """What became of so many rectangles, which say no more than a box does."""
    return (
        f"{counted(count, 'object is a rectangle, and covers', 'objects are rectangles, and cover')} all of its box in the mask"
    )


def needs_wide(kind: str | None, most_objects: int) -> bool:
    """Whether masks of a kind need 16 bits, where an image has so many objects."""
    return kind == INSTANCES and most_objects > _MOST_NARROW


def describe_wide(most_objects: int) -> str:
    """What becomes of masks that need 16 bits."""
    return f"an image has {most_objects:,} objects, and 8 bits number {_MOST_NARROW}: the masks of instances are uint16"


def describe_crowded(count: int) -> str:
    """Why an image of so many objects has no mask of instances, as a reason, and the way out."""
    way_out = f"{spelled('columns.mask', SEMANTIC)} has a class for each pixel, or cut the image into several"
    return f"has {count:,} objects, a mask of instances has room for {MOST_OBJECTS:,}: {way_out}"


def check_room(path: str, kind: str, class_names: Sequence[str]) -> None:
    """Raise SourceError if a mask of classes has no room for so many; `kind` is `SEMANTIC` or `INSTANCES`."""
    if kind == SEMANTIC and len(class_names) >= IGNORED:
        raise SourceError(f"{path}: has {len(class_names)} classes, a mask of classes has room for {IGNORED - 1}")


def draw_objects(
    mask: ObjectMask, height: int, width: int, *, kind: str, class_numbers: Mapping[str, int], dtype: str = "|u1"
) -> NotedPixels:
    """`(height, width, 1)` of a dtype: the objects of an image, by the rules of this module, and what is not drawn.

    Args:
        mask: The objects.
        height: Of the image on which they were drawn, in pixels.
        width: Of the same image.
        kind: `SEMANTIC` or `INSTANCES`.
        class_numbers: The number of each class; objects of others are background in a semantic mask.
        dtype: Of the mask.

    Raises:
        ImageError: If an outline makes no sense, or goes with an image of another size.
    """
    objects = [OutlinedObject(*entry) for entry in json.loads(mask.objects)]
    segments = _segments(mask.file, height, width) if mask.file else None
    drawn: list[tuple[int, int, np.ndarray]] = []
    notes: dict[str, None] = {}
    for found in objects:
        if kind == INSTANCES:
            value = found.number
        elif found.number:
            value = class_numbers.get(found.class_name, -1) + 1
        else:
            value = IGNORED
        if value:
            covered, is_short = _pixels(found, height, width, in_shares=mask.in_shares, segments=segments)
            size = int(covered.sum())
            if is_short:
                notes[_ENDS_EARLY] = None
            if not size:
                notes[_why_empty(found.outline, *((1, 1) if mask.in_shares else (height, width)))] = None
            # Crowds lie below all objects.
            drawn.append((size if found.number else height * width + 1, value, covered))
    if segments is not None and _has_others(segments, objects):
        notes[_OF_NO_SEGMENT] = None
    values = np.zeros((height, width, 1), dtype)
    for _, value, covered in sorted(drawn, key=lambda entry: -entry[0]):
        values[covered] = value
    counts = np.bincount(values.ravel(), minlength=1 + max((value for _, value, _ in drawn), default=0))
    if kind == INSTANCES and any(size and not counts[value] for size, value, _ in drawn):
        notes[_COVERED] = None
    return NotedPixels(values, tuple(notes))


def _why_empty(outline: Any, height: int, width: int) -> str:
    """What is worth knowing of an outline that covers no pixel of an image of this size."""
    if isinstance(outline, dict) and "segment" in outline:
        return _NO_SEGMENT_PIXEL
    polygons = outline.get("polygons") if isinstance(outline, dict) else outline
    if polygons is None:
        left, top = (outline.get(side, 0) for side in ("left", "top"))
        return _OUTSIDE if left >= width or top >= height or left < 0 or top < 0 else _NO_PIXEL
    points = np.concatenate([np.empty((0, 2)), *(np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons)])
    if not len(points):
        return _NO_PIXEL
    is_outside = (points.max(axis=0) <= 0).any() or (points.min(axis=0) >= (width, height)).any()
    return _OUTSIDE if is_outside else _NO_PIXEL


def _has_others(segments: np.ndarray, objects: Sequence[OutlinedObject]) -> bool:
    """Whether pixels are of a segment that is none of the objects."""
    known = {0, *(found.outline["segment"] for found in objects)}
    return sum(int((segments == number).sum()) for number in known) < segments.size


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


def _pixels(
    found: OutlinedObject, height: int, width: int, *, in_shares: bool, segments: np.ndarray | None
) -> tuple[np.ndarray, bool]:
    """`(height, width)` bool: which pixels an object covers; and whether run lengths end before their mask does."""
    outline = found.outline
    try:
        if segments is not None:
            return segments == outline["segment"], False
        if isinstance(outline, dict):
            return _mask_pixels(outline, height, width)
        return _united(outline, height, width, in_shares=in_shares), False
    except (TypeError, ValueError, OverflowError) as error:
        reason = f" ({error})" if isinstance(outline, dict) and str(error) else ""
        what = f"has an outline {str(outline)[:60]}{reason}"
        raise ImageError(f"{what}, allowed are polygons, and run lengths of {width} x {height} pixels") from error


def _united(polygons: Sequence[Sequence[float]], height: int, width: int, *, in_shares: bool = False) -> np.ndarray:
    """`(height, width)` bool: the pixels of several polygons."""
    covered = np.zeros((height, width), bool)
    for polygon in polygons:
        points = np.array(polygon, np.float64).reshape(-1, 2)
        if not np.isfinite(points).all():
            raise ValueError("a number is not finite")
        covered |= fill_polygon(points * (width, height) if in_shares else points, height, width)
    return covered


def _mask_pixels(outline: Mapping[str, Any], height: int, width: int) -> tuple[np.ndarray, bool]:
    """`_pixels` of an outline that is a mask in one of several forms."""
    if "file" in outline:
        return _checked_size(read_object(outline["file"]), height, width), False
    if "png" in outline:
        return _placed(_small_mask(outline), outline, height, width), False
    if "polygons" in outline:
        return _united(outline["polygons"], height, width) & ~_united(outline["holes"], height, width), False
    if "row_runs" in outline:
        values, is_short = row_runs_pixels(outline)
        return _placed(values, outline, height, width), is_short
    return mask_pixels(outline, height, width)


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


def _small_mask(outline: Mapping[str, Any]) -> np.ndarray:
    """`(height, width)` bool of a mask that is a PNG, in its own size."""
    try:
        data = base64.b64decode(outline["png"], validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ImageError("has a mask that is not base64") from error
    header = read_header(data)
    size = (header.height, header.width)
    # Of one that is transparent in parts, what is not.
    pixels = decode(data, "rgba", size=size, strict=True) if header.has_alpha else decode_mask(data, 1, size=size, strict=True)
    values: np.ndarray = pixels[:, :, -1] > 0
    return values


def _placed(values: np.ndarray, outline: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """`(height, width)` bool of a mask that covers a part of an image; what reaches out of the image is cut off."""
    top, left = int(outline["top"]), int(outline["left"])
    covered = np.zeros((height, width), bool)
    shown = values[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    covered[max(0, top) : max(0, top) + shown.shape[0], max(0, left) : max(0, left) + shown.shape[1]] = shown
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
