"""What the VGG Image Annotator writes: JSON files or CSV files of images with their regions.

The rules:

- A rectangle becomes x1, y1, x2, y2; of a polygon, a circle, an ellipse or a line that ends where it begins, the box around it
  is taken. Points and other lines are left out, and counted.
- All that has a box becomes a mask if `Columns(mask=...)` asks for one; see `kseq/sources/object_masks.py`.
- The class of a region is the attribute `label`, `class`, `name`, `type`, `category` or `object`, or the only one it has; of
  several choices the first that is true, and such regions are counted. A region without one is of the class `object`, if no
  region has one; else its image is rejected.
- Project files of VIA 3 are read as those of VIA 2, see `kseq/sources/via3.py`; what they say of times and of whole images is
  left out, and counted.
- The images of a project are those of its annotations; the project file (`_via_img_metadata`) and the export are alike. A COCO
  file of VIA is a COCO file.

Source: the pages of VIA 2 and 3, and their files.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kseq.errors import ImageError, SourceError
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject, check_box, unused_outlines
from kseq.sources.json_files import read_json
from kseq.sources.object_masks import WHOLE_BOX
from kseq.sources.shape_outlines import ellipse_box, ellipse_corners, is_closed_line, outline_box
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table_files import Table
from kseq.sources.text import open_text
from kseq.sources.via3 import is_via3, read_via3

__all__ = ["VIA"]

_CLASSES = ("label", "class", "name", "type", "category", "object")
_ONE_CLASS = "object"
_HEAD = 4000


class _Region(NamedTuple):
    """A region: its shape, and its attributes."""

    shape: Mapping[str, Any]
    attributes: Mapping[str, Any]


class _Image(NamedTuple):
    """An image as the file has it; `fault` says why its regions cannot be read."""

    name: str
    regions: list[_Region]
    fault: str | None = None


@dataclass(frozen=True)
class ViaSource(AnnotatedSource):
    """The images of such a file, in its order."""

    @classmethod
    def open(cls, request: SourceRequest) -> ViaSource:
        """Open such a file as a source.

        Raises:
            SourceError: If it is not of this format, or names no image that can be packed.
        """
        path = request.path
        check_is_file(path, "via")
        root = check_root(path, request.image_root)
        facts: Counter[str] = Counter()
        found = list(_csv_images(path) if re.search(r"\.[ct]sv$", path, re.IGNORECASE) else _json_images(path, facts))
        regions = [region for image in found for region in image.regions]
        default = None if any(_class_name(region) for region in regions) else _ONE_CLASS
        images = [_annotated(image, default, facts) for image in found]
        notes = [f"{path}: its regions have no class: all are called {_ONE_CLASS!r}"] if default and regions else []
        return cls.of(request, path, root, images, facts=facts, notes=[*notes, *unused_outlines(request, facts)])


def _is_file(path: str) -> bool:
    try:
        with open_text(path) as file:
            head = file.read(_HEAD)
    except (OSError, UnicodeError):
        return False
    if re.search(r"\.[ct]sv$", path, re.IGNORECASE):
        return "region_shape_attributes" in head.split("\n", 1)[0]
    return '"_via_' in head or re.search(r'"(vid_list|regions|shape_attributes|file_attributes)"\s*:', head) is not None


VIA = SourceFormat(
    "via",
    ViaSource.open,
    (".json", ".csv"),
    r"\.(json|csv)",
    is_file=_is_file,
    has_root=True,
    has_links=True,
    has_outlines=True,
)


def _json_images(path: str, facts: Counter[str]) -> Iterator[_Image]:
    content = read_json(path)
    if is_via3(content):
        for number, (file_name, regions, num_others) in enumerate(read_via3(content), 1):
            facts["other_shape"] += num_others
            known = [_Region(region["shape_attributes"], region["region_attributes"]) for region in regions]
            yield _Image(file_name, known) if file_name else _Image(f"file {number}", [], "names no image")
        return
    if isinstance(content, dict) and isinstance(content.get("_via_img_metadata"), dict):
        content = content["_via_img_metadata"]
    entries = [entry for entry in content.values() if isinstance(entry, dict)] if isinstance(content, dict) else []
    if not any("filename" in entry for entry in entries):
        raise SourceError(f"{path}: has no images of VIA, expected are objects with filename and regions")
    for number, entry in enumerate(entries, 1):
        name, regions = entry.get("filename"), entry.get("regions") or []
        listed = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(name, str) or not name:
            yield _Image(f"entry {number}", [], "names no image")
        elif not isinstance(listed, list) or not all(isinstance(region, dict) for region in listed):
            yield _Image(name, [], f"has regions {str(regions)[:40]!r}, allowed is a list of objects")
        else:
            pairs = [(region.get("shape_attributes"), region.get("region_attributes")) for region in listed]
            yield _Image(name, [_Region(_mapping(shape), _mapping(attributes)) for shape, attributes in pairs])


def _csv_images(path: str) -> Iterator[_Image]:
    table = Table.open(path, "csv")
    by_name = {name.lstrip("#"): name for name in table.names}
    names = [by_name.get(name, "") for name in ("filename", "region_shape_attributes", "region_attributes")]
    if not all(names):
        raise SourceError(f"{path}: is no CSV of VIA, its columns are {', '.join(table.names)}")
    faults = SpooledColumn()
    cells = table.read(names, faults)
    images: dict[str, _Image] = {}
    for row, (name, shape, attributes, fault) in enumerate(zip(*(cells[name] for name in names), faults, strict=True), 1):
        if not name:
            yield _Image(f"row {row}", [], fault or "names no image")
            continue
        image = images.setdefault(name, _Image(name, []))
        try:
            region = _Region(_mapping(json.loads(shape or "{}")), _mapping(json.loads(attributes or "{}")))
        except ValueError:
            images[name] = image._replace(fault=f"row {row} has a region that is no JSON: {str(shape)[:40]!r}")
            continue
        if region.shape:
            image.regions.append(region)
    yield from images.values()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _class_value(region: _Region) -> Any:
    """What says the class of a region; None if nothing does."""
    attributes = {str(name).strip().lower(): value for name, value in region.attributes.items()}
    known = [attributes[name] for name in _CLASSES if attributes.get(name)]
    return known[0] if known else next(iter(attributes.values())) if len(attributes) == 1 else None


def _has_several(region: _Region) -> bool:
    value = _class_value(region)
    return isinstance(value, dict) and sum(map(bool, value.values())) > 1


def _class_name(region: _Region) -> str | None:
    """The class of a region; None if nothing says it."""
    value = _class_value(region)
    if isinstance(value, dict):
        value = next((name for name, is_chosen in value.items() if is_chosen), None)
    return str(value).strip() or None if value is not None else None


def _annotated(image: _Image, default: str | None, facts: Counter[str]) -> AnnotatedImage:
    if image.fault is not None:
        return AnnotatedImage(image.name, rejection=image.fault)
    objects: list[FoundObject] = []
    try:
        for number, region in enumerate(image.regions, 1):
            found = _shape(f"region {number}", region.shape, facts)
            name = _class_name(region) or default
            if found is not None and name is None:
                raise ImageError(f"region {number} has no class, its attributes are {str(dict(region.attributes))[:40]}")
            facts["several_labels"] += found is not None and _has_several(region)
            if found is not None and name is not None:
                objects.append(FoundObject(name, found[0], outline=found[1]))
    except ImageError as error:
        return AnnotatedImage(image.name, rejection=str(error))
    return AnnotatedImage(image.name, objects)


def _shape(what: str, shape: Mapping[str, Any], facts: Counter[str]) -> tuple[Sequence[float], Any] | None:
    """The box of a region, and its outline; None if it is left out."""
    kind = shape.get("name")
    if kind == "rect":
        x, y, width, height = check_box([shape.get(name) for name in ("x", "y", "width", "height")], what)
        return [x, y, x + width, y + height], WHOLE_BOX
    if kind in ("circle", "ellipse"):
        names = ("cx", "cy", "r", "r") if kind == "circle" else ("cx", "cy", "rx", "ry")
        x, y, across, down = check_box([shape.get(name) for name in names], what)
        # In radians.
        angle = math.degrees(check_box([shape.get("theta") or 0, 0, 0, 0], f"{what}: its theta")[0])
        facts["outline"] += 1
        return ellipse_box(x, y, across, down, angle), [ellipse_corners(x, y, across, down, angle)]
    if kind in ("polygon", "polyline"):
        try:
            pairs = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
            points = [float(side) for pair in pairs for side in pair]
            box = outline_box(points)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ImageError(f"{what} has points that make no sense: {str(dict(shape))[:60]}") from error
        if kind == "polygon" or is_closed_line(points):
            facts["shapeless" if box is None else "outline"] += 1
            return None if box is None else (box, [points])
    facts["other_shape"] += 1
    return None
