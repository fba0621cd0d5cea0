"""The XML file that CVAT writes for images ("CVAT for images 1.1"): images, and the shapes in them; or for a video.

The rules:

- The source is the file, or a folder with a file `annotations.xml`. The name of an image is relative to the folder of the file,
  to `images` in it, or to `images/SUBSET` if the image has a subset.
- `xtl`, `ytl`, `xbr`, `ybr` become x1, y1, x2, y2; of a turned box, a polygon, an ellipse, a mask or a line that ends where it
  begins, the box around it is taken. Points, other lines, cuboids and skeletons are left out, and counted; so are tags.
- All that has a box becomes a mask if `Columns(mask=...)` asks for one; see `kseq/sources/object_masks.py`.
- The file of a video ("CVAT for video 1.1") has tracks in place of images: see `kseq/sources/cvat_tracks.py`.
- Classes are the labels of the task in their order, else sorted by name. A subset called as a split is one.

Source: CVAT's documentation, "XML annotation format".
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from kseq.arguments import counted
from kseq.errors import ImageError, SourceError
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject, check_box, unused_outlines
from kseq.sources.class_names import sort_class_names
from kseq.sources.cvat_tracks import read_tracks
from kseq.sources.listing import Listing
from kseq.sources.object_masks import WHOLE_BOX
from kseq.sources.run_lengths import row_runs_box
from kseq.sources.shape_outlines import (
    ellipse_box,
    ellipse_corners,
    is_closed_line,
    outline_box,
    rectangle_corners,
    turned_box,
)
from kseq.sources.source_format import SourceFormat, SourceRequest, check_root
from kseq.sources.split_names import SPLITS
from kseq.sources.stated_sizes import stated_size
from kseq.sources.text import open_text
from kseq.sources.xml_files import read_xml

__all__ = ["CVAT", "CvatSource"]

_FILE_NAME = "annotations.xml"
_HEAD = 4000
_NO_BOXES = ("points", "polyline", "cuboid", "skeleton")


@dataclass(frozen=True)
class CvatSource(AnnotatedSource):
    """The images that the file names, in its order."""

    @staticmethod
    def is_file(path: str) -> bool:
        """Whether an XML file begins as CVAT's do."""
        try:
            with open_text(path) as file:
                return "<annotations>" in file.read(_HEAD)
        except (OSError, UnicodeError):
            return False

    @staticmethod
    def is_at(listing: Listing) -> bool:
        """Whether a folder holds such a file."""
        return CvatSource.is_file(listing.full_path(_FILE_NAME))

    @classmethod
    def open(cls, request: SourceRequest) -> CvatSource:
        """Open such a file or folder as a source.

        Raises:
            SourceError: If it is not of this format, or names no image that can be packed.
        """
        path = os.path.join(request.path, _FILE_NAME) if os.path.isdir(request.path) else request.path
        root = check_root(path, request.image_root)
        try:
            annotations = read_xml(path)
        except ImageError as error:
            raise SourceError(f"{path}: {error}") from error
        facts: Counter[str] = Counter()
        if annotations.find("track") is not None:
            images = read_tracks(path, root, annotations, facts, _object)
        else:
            images = [_image(root, number, element, facts) for number, element in enumerate(annotations.findall("image"), 1)]
        labels = [(label.findtext("name") or "").strip() for label in annotations.iter("label")]
        found = {found.class_name for image in images for found in image.objects}
        names = list(dict.fromkeys([*filter(None, labels), *sort_class_names(found)]))
        notes = [*unused_outlines(request, facts), *_tag_notes(path, annotations)]
        return cls.of(request, path, root, images, facts=facts, known_classes=names, notes=notes)


CVAT = SourceFormat(
    "cvat",
    CvatSource.open,
    (".xml",),
    r"\.xml",
    is_folder=CvatSource.is_at,
    is_file=CvatSource.is_file,
    has_root=True,
    has_links=True,
    has_outlines=True,
    downloads=r"\.xml",
)


def _tag_notes(path: str, annotations: ElementTree.Element) -> Iterator[str]:
    num_tags = sum(1 for _ in annotations.iter("tag"))
    if num_tags:
        yield f"{path}: {counted(num_tags, 'tag of an image is', 'tags of images are')} not read: boxes and masks are"


def _image(root: str, number: int, element: ElementTree.Element, facts: Counter[str]) -> AnnotatedImage:
    name, subset = element.get("name") or "", element.get("subset") or ""
    if not name:
        return AnnotatedImage(f"image {number} of the file", rejection="has no name")
    inner = f"images/{subset}/{name}"
    path = inner if subset and "\0" not in inner and os.path.lexists(os.path.join(root, inner)) else name
    split = SPLITS.get(subset.lower())
    try:
        found = [_object(f"{child.tag} {place}", child, facts) for place, child in enumerate(element, 1) if child.tag != "tag"]
    except ImageError as error:
        return AnnotatedImage(path, split=split, rejection=str(error))
    size = stated_size(element.get("height"), element.get("width"))
    return AnnotatedImage(path, [each for each in found if each is not None], size, split)


def _object(what: str, shape: ElementTree.Element, facts: Counter[str]) -> FoundObject | None:
    """The object of a shape; None if it is left out.

    Raises:
        ImageError: If the shape makes no sense.
    """
    label = (shape.get("label") or "").strip()
    if not label:
        raise ImageError(f"{what} has no label")
    if shape.tag in ("box", "ellipse"):
        return _box_or_ellipse(what, label, shape, facts)
    if shape.tag == "mask":
        facts["outline"] += 1
        return _mask(what, label, shape)
    if shape.tag in ("polygon", "polyline"):
        try:
            points = [float(side) for side in (shape.get("points") or "").replace(";", ",").split(",")]
            box = outline_box(points)
        except ValueError as error:
            raise ImageError(f"{what} has points {(shape.get('points') or '')[:60]}, allowed are numbers x,y;x,y") from error
        if box is not None and (shape.tag == "polygon" or is_closed_line(points)):
            facts["outline"] += 1
            return FoundObject(label, box, outline=[points])
    facts["other_shape" if shape.tag in _NO_BOXES else "shapeless"] += 1
    return None


def _box_or_ellipse(what: str, label: str, shape: ElementTree.Element, facts: Counter[str]) -> FoundObject:
    sides = ("xtl", "ytl", "xbr", "ybr") if shape.tag == "box" else ("cx", "cy", "rx", "ry")
    numbers = check_box([shape.get(side) for side in sides], what)
    degrees = check_box([shape.get("rotation") or 0, 0, 0, 0], f"{what}: its rotation")[0]
    if shape.tag == "ellipse":
        x, y, across, down = numbers
        facts["outline"] += 1
        outline = ellipse_corners(x, y, across, down, degrees)
        return FoundObject(label, ellipse_box(x, y, across, down, degrees), outline=[outline])
    if not degrees:
        return FoundObject(label, numbers, outline=WHOLE_BOX)
    x1, y1, x2, y2 = numbers
    about = (x1 + x2) / 2, (y1 + y2) / 2
    facts["turned"] += 1
    turned = turned_box(x1, y1, x2 - x1, y2 - y1, degrees, about)
    return FoundObject(label, turned, outline=[rectangle_corners(numbers, degrees, about)])


def _mask(what: str, label: str, shape: ElementTree.Element) -> FoundObject:
    left, top, width, height = check_box([shape.get(side) for side in ("left", "top", "width", "height")], what)
    box = [left, top, left + width, top + height]
    runs = shape.get("rle")
    if not runs:
        return FoundObject(label, box)
    try:
        mask = {"row_runs": [int(run) for run in runs.split(",")], "left": int(left), "top": int(top)}
        outline = mask | {"width": int(width), "height": int(height)}
        row_runs_box(outline)
    except (ValueError, OverflowError) as error:
        raise ImageError(
            f"{what}: its rle makes no sense ({error}), expected are run lengths of {width:g} x {height:g} pixels"
        ) from error
    return FoundObject(label, box, outline=outline)
