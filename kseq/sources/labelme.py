"""JSON files as LabelMe writes them: one for each image, with the shapes in it.

The rules:

- The source is a folder of such files, or one file. `imagePath` is relative to its file; if nothing lies there, the image
  beside the file of the same name is taken. Images without a file are rejected.
- A rectangle of two or four points, in any order, becomes x1, y1, x2, y2; of a polygon, a circle, a mask or a line that ends
  where it begins, the box around it is taken. Points and other lines are left out, and counted.
- Polygons of one class and one `group_id` are parts of one object, and counted.
- All these shapes become a mask if `Columns(mask=...)` asks for one; see `kseq/sources/object_masks.py`.
- Classes are sorted by name. A folder called `train`, `val` or `test` on the way is the split.

Source: the documentation and the files of LabelMe 5.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kseq.errors import ImageError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import (
    AnnotatedImage,
    AnnotatedSource,
    FoundObject,
    unused_outlines,
)
from kseq.sources.folder_tree import Entry, FolderTree
from kseq.sources.json_files import load_json
from kseq.sources.layouts import annotates_most_images
from kseq.sources.listing import Listing
from kseq.sources.object_masks import WHOLE_BOX
from kseq.sources.shape_outlines import are_sane, ellipse_box, ellipse_corners, is_closed_line, outline_box
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import split_of_path
from kseq.sources.stated_sizes import stated_size
from kseq.sources.text import may_be_path, open_text

__all__ = ["LABELME", "LabelMeSource"]

_POINTS_AND_LINES = ("point", "points", "line")
_HEAD = 4000
# Why an image is not packed that lies in its JSON file alone.
_INSIDE = (
    "has its image in itself (imageData), and no file {path} beside it: write it there, "
    "open('{path}', 'wb').write(base64.b64decode(content['imageData']))"
)
_PLACES = ("images", "JPEGImages", "imgs")


@dataclass(frozen=True)
class LabelMeSource(AnnotatedSource):
    """The images of such files, in the order of the files."""

    @staticmethod
    def hint(root: str) -> str:
        return "expected are images beside the JSON files, or in a folder called images"

    @staticmethod
    def is_file(path: str) -> bool:
        """Whether a JSON file begins as LabelMe's do."""
        try:
            with open_text(path) as file:
                return re.search(r'"shapes"\s*:\s*\[', file.read(_HEAD)) is not None
        except (OSError, UnicodeError):
            return False

    @staticmethod
    def is_at(listing: Listing) -> bool:
        """Whether most images of a folder have such files."""
        return listing.has_file(LabelMeSource.is_file, ".json") and annotates_most_images(listing, ".json")

    @classmethod
    def open(cls, request: SourceRequest) -> LabelMeSource:
        """Open such a folder or file as a source.

        Raises:
            SourceError: If it holds no image that can be packed.
        """
        path = request.path
        root = path if os.path.isdir(path) else os.path.dirname(path) or "."
        tree = FolderTree(root, request.follow_links)
        entries = list(tree.files(tree.top)) if root == path else [Entry(os.path.basename(path), os.path.basename(path), False)]
        files = [entry for entry in entries if entry.name.lower().endswith(".json")]
        facts: Counter[str] = Counter()
        images = [_read(root, entry, facts) for entry in files]
        named = {image.path for image in images}
        others = [entry for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.path not in named]
        images += [AnnotatedImage(entry.path, rejection=entry.rejection or "has no JSON file") for entry in others]
        return cls.of(request, path, root, images, facts=facts, notes=unused_outlines(request, facts))


LABELME = SourceFormat(
    "labelme",
    LabelMeSource.open,
    (".json",),
    r"\.json",
    is_folder=LabelMeSource.is_at,
    is_file=LabelMeSource.is_file,
    has_links=True,
    has_outlines=True,
    downloads=r"\.json",
)


def _read(root: str, entry: Entry, facts: Counter[str]) -> AnnotatedImage:
    if entry.rejection is not None:
        return AnnotatedImage(entry.path, rejection=entry.rejection)
    file = os.path.join(root, entry.path)
    try:
        content = load_json(file)
    except ImageError as error:
        return AnnotatedImage(entry.path, rejection=str(error))
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        return AnnotatedImage(entry.path, rejection="has no list 'shapes', a file of LabelMe has one")
    path = _image_path(root, entry.path, content)
    if content.get("imageData") and may_be_path(path) and not os.path.lexists(os.path.join(root, path)):
        return AnnotatedImage(entry.path, rejection=_INSIDE.format(path=path))
    try:
        found = [_object(f"{entry.path}: shape {number}", shape, facts) for number, shape in enumerate(content["shapes"], 1)]
    except ImageError as error:
        return AnnotatedImage(path, rejection=str(error))
    found = _joined(content["shapes"], found, facts)
    split = split_of_path(path)
    size = stated_size(content.get("imageHeight"), content.get("imageWidth"))
    return AnnotatedImage(path, [each for each in found if each is not None], size, split)


def _image_path(root: str, path: str, content: Mapping[str, Any]) -> str:
    """The image of a file, as a path below the root; the name of the file itself if it names none."""
    folder, stem = os.path.dirname(path), os.path.splitext(path)[0]
    name = content.get("imagePath")
    named = os.path.normpath(os.path.join(folder, str(name).replace("\\", "/"))).replace(os.sep, "/") if name else path
    beside = [f"{stem}{suffix}" for suffix in (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))]
    beside.append(os.path.join(folder, os.path.basename(named)))
    # Beside the folder of the JSON files, or in it.
    beside += [
        os.path.join(place, each, os.path.basename(named)) for place in (os.path.dirname(folder), folder) for each in _PLACES
    ]
    exists = (each for each in (named, *beside) if may_be_path(each) and os.path.lexists(os.path.join(root, each)))
    return next(exists, named).replace(os.sep, "/")


def _object(what: str, shape: Any, facts: Counter[str]) -> FoundObject | None:
    """The object of a shape; None if it is left out.

    Raises:
        ImageError: If the shape makes no sense.
    """
    label, kind = (shape.get("label"), shape.get("shape_type")) if isinstance(shape, dict) else (None, None)
    if label is None or not str(label).strip():
        raise ImageError(f"{what} has no label")
    if kind in _POINTS_AND_LINES:
        facts["other_shape"] += 1
        return None
    try:
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if not are_sane([side for point in points for side in point]):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ImageError(f"{what} has points {str(shape.get('points'))[:60]}, allowed are pairs of numbers") from error
    if kind == "linestrip" and not is_closed_line([side for point in points for side in point]):
        facts["other_shape"] += 1
        return None
    box: list[float] | None = None
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        box = ellipse_box(x, y, radius, radius)
    elif len(points) == 2:
        # Two corners, whichever was drawn first.
        xs, ys = zip(*points, strict=True)
        # The corners of a mask are its first and its last pixel.
        last = 1 if kind == "mask" else 0
        box = [min(xs), min(ys), max(xs) + last, max(ys) + last]
    else:
        box = outline_box([number for point in points for number in point])
    if box is None:
        facts["shapeless"] += 1
        return None
    outline = _outline(shape, points, box)
    facts["outline"] += outline is not WHOLE_BOX
    return FoundObject(str(label).strip(), box, outline=outline)


def _joined(shapes: Sequence[Any], found: Sequence[FoundObject | None], facts: Counter[str]) -> list[FoundObject | None]:
    """The objects, where polygons of one class and one `group_id` are one."""
    joined: list[FoundObject | None] = []
    places: dict[tuple[str, Any], int] = {}
    for shape, each in zip(shapes, found, strict=True):
        group = shape.get("group_id")
        if each is None or group is None or not isinstance(group, (int, str)) or not isinstance(each.outline, list):
            joined.append(each)
            continue
        place = places.setdefault((each.class_name, group), len(joined))
        if place == len(joined):
            joined.append(each)
            continue
        first = joined[place]
        assert first is not None
        facts["grouped"] += 1
        # The outlines are one too.
        facts["outline"] -= 1
        left, top, right, bottom = zip(first.box, each.box, strict=True)
        joined[place] = first._replace(
            box=[min(left), min(top), max(right), max(bottom)], outline=[*first.outline, *each.outline]
        )
    return joined


def _outline(shape: Mapping[str, Any], points: Sequence[tuple[float, float]], box: Sequence[float]) -> Any:
    """The outline of a shape, as `OutlinedObject` has it."""
    left, top, right, _ = box
    if shape.get("shape_type") == "mask" and shape.get("mask"):
        return {"png": shape["mask"], "left": math.floor(left), "top": math.floor(top)}
    if shape.get("shape_type") == "circle":
        radius = (right - left) / 2
        return [ellipse_corners(left + radius, top + radius, radius, radius)]
    if len(points) == 2 or shape.get("shape_type") == "rectangle":
        return WHOLE_BOX
    return [[number for point in points for number in point]]
