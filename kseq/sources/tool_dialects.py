"""The dialects of JSON files of boxes that annotation tools write: how each is told, and what its files say.

Their rules are at the top of `kseq/sources/tool_json.py`.
"""

from __future__ import annotations

import base64
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kseq.errors import ImageError
from kseq.images.formats import read_header
from kseq.sources.annotated_images import check_box
from kseq.sources.object_masks import WHOLE_BOX
from kseq.sources.run_lengths import join_runs, mask_box, plain_mask, row_runs_box
from kseq.sources.shape_outlines import ellipse_box, ellipse_corners, outline_box
from kseq.sources.stated_sizes import stated_size
from kseq.sources.text import open_text

__all__ = ["TOOL_DIALECTS", "FoundImage", "FoundShape", "ToolDialect", "find_tool_dialect"]

_HEAD = 20_000
# So many bytes may a PNG have that lies in a JSON file.
_MOST_PNG = 1 << 26


class FoundShape(NamedTuple):
    """An object as a file has it.

    Attributes:
        class_name: The name of its class.
        box: Its box; None for a shape that has none.
        outline: As in `kseq.sources.annotated_images.FoundObject`.
    """

    class_name: str
    box: Sequence[Any] | None
    outline: Any = None


class FoundImage(NamedTuple):
    """An image and its objects as a file has them.

    Attributes:
        name: The name of the image, without its suffix where the tool leaves that out.
        objects: The objects.
        size: Height and width.
        in_shares: Whether boxes are in shares of the image.
    """

    name: str
    objects: Sequence[FoundShape]
    size: tuple[int, int] | None = None
    in_shares: bool = False


def _corner_box(box: Mapping[str, Any], x: str, y: str, width: str, height: str) -> list[float]:
    left, top, across, down = check_box([box.get(name) for name in (x, y, width, height)], "a box")
    return [left, top, left + across, top + down]


def _polygon(name: Any, polygons: Sequence[Sequence[Any]], holes: Sequence[Sequence[Any]] = ()) -> FoundShape:
    """A shape of polygons, each x, y, x, y, ..., with holes."""
    numbers = [[float(side) for side in polygon] for polygon in polygons]
    box = outline_box([side for polygon in numbers for side in polygon])
    outline = {"polygons": numbers, "holes": [[float(side) for side in hole] for hole in holes]} if holes else numbers
    return FoundShape(str(name), box, None if box is None else outline)


def _ellipse(name: Any, x: Any, y: Any, across: Any, down: Any, degrees: Any = 0) -> FoundShape:
    middle = check_box([x, y, across, down], "an ellipse")
    angle = check_box([degrees or 0, 0, 0, 0], "the angle of an ellipse")[0]
    left, top, half_width, half_height = middle
    sides = (left, top, half_width, half_height, angle)
    return FoundShape(str(name), ellipse_box(*sides), [ellipse_corners(*sides)])


def _createml(content: Any, _: str) -> Iterator[FoundImage]:
    for entry in content:
        objects = []
        for found in entry.get("annotations") or entry.get("annotation") or []:
            x, y, width, height = check_box([found["coordinates"].get(side) for side in ("x", "y", "width", "height")], "a box")
            # CreateML counts from the middle.
            objects.append(FoundShape(str(found["label"]), [x - width / 2, y - height / 2, x + width / 2, y + height / 2]))
        yield FoundImage(str(entry.get("image") or entry.get("imagefilename")), objects)


def _bdd(content: Any, _: str) -> Iterator[FoundImage]:
    for entry in content.get("frames", []) if isinstance(content, dict) else content:
        yield FoundImage(str(entry["name"]), [_bdd_shape(found) for found in entry.get("labels") or []])


def _bdd_shape(found: Mapping[str, Any]) -> FoundShape:
    if found.get("box2d"):
        return FoundShape(str(found["category"]), [found["box2d"].get(side) for side in ("x1", "y1", "x2", "y2")])
    closed = [part for part in found.get("poly2d") or [] if isinstance(part, dict) and part.get("closed")]
    if closed:
        return _polygon(found["category"], [[side for vertex in part["vertices"] for side in vertex[:2]] for part in closed])
    return FoundShape(str(found["category"]), None)


def _supervisely(content: Any, name: str) -> Iterator[FoundImage]:
    size = content.get("size") or {}
    objects = [_supervisely_shape(found) for found in content["objects"]]
    yield FoundImage(os.path.basename(name)[: -len(".json")], objects, stated_size(size.get("height"), size.get("width")))


def _supervisely_shape(found: Mapping[str, Any]) -> FoundShape:
    title, kind, bitmap = found["classTitle"], found.get("geometryType"), found.get("bitmap")
    if kind == "bitmap" and isinstance(bitmap, dict) and bitmap.get("data"):
        left, top = (int(side) for side in bitmap["origin"])
        # A PNG, compressed once more.
        try:
            png = zlib.decompressobj().decompress(base64.b64decode(bitmap["data"]), _MOST_PNG)
        except zlib.error as error:
            raise ImageError(f"a bitmap cannot be unpacked: {error}") from error
        header = read_header(png)
        outline = {"png": base64.b64encode(png).decode(), "left": left, "top": top}
        return FoundShape(str(title), [left, top, left + header.width, top + header.height], outline)
    exterior, *holes = (
        [side for point in points for side in point]
        for points in [(found.get("points") or {}).get("exterior") or [], *((found.get("points") or {}).get("interior") or [])]
    )
    if kind == "polygon":
        return _polygon(title, [exterior], holes)
    box = _sorted_box(exterior) if kind in ("rectangle", None) else None
    return FoundShape(str(title), box, None if box is None else WHOLE_BOX)


def _sorted_box(points: Sequence[Any]) -> list[float] | None:
    """The box of two corners, whichever was drawn first."""
    if len(points) != 4:
        return None
    x1, y1, x2, y2 = check_box(points, "a box")
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def _darwin(content: Any, _: str) -> Iterator[FoundImage]:
    item = content.get("item") or content.get("image") or {}
    slot = next(iter(item.get("slots") or []), item)
    size = stated_size(slot.get("height"), slot.get("width"))
    layer = next((found["raster_layer"] for found in content["annotations"] if found.get("raster_layer")), None)
    shapes = [found for found in content["annotations"] if not found.get("raster_layer")]
    objects = [_darwin_shape(found, layer, size) for found in shapes]
    name = item.get("name") or item.get("original_filename") or item.get("filename")
    yield FoundImage(str(name), objects, size)


def _darwin_shape(found: Mapping[str, Any], layer: Any, size: tuple[int, int] | None) -> FoundShape:
    name, polygon, ellipse = found["name"], found.get("polygon"), found.get("ellipse")
    # Of version 1, one path.
    paths = (polygon.get("paths") or [polygon.get("path") or []]) if isinstance(polygon, dict) else [[]]
    if paths[0]:
        return _polygon(name, [[point[side] for point in path for side in ("x", "y")] for path in paths])
    if isinstance(ellipse, dict):
        middle, radius = ellipse["center"], ellipse["radius"]
        angle = math.degrees(float(ellipse.get("angle") or 0))
        return _ellipse(name, middle["x"], middle["y"], radius["x"], radius["y"], angle)
    if "mask" in found and layer is not None and size is not None:
        value = (layer.get("mask_annotation_ids_mapping") or {}).get(found.get("id"))
        pairs = np.array(layer["dense_rle"], np.int64).reshape(-1, 2)
        mask = {"row_runs": join_runs(pairs[:, 1], pairs[:, 0] == value), "left": 0, "top": 0}
        outline = mask | {"height": size[0], "width": size[1]}
        return FoundShape(str(name), row_runs_box(outline), outline)
    box = _corner_box(found["bounding_box"], "x", "y", "w", "h") if found.get("bounding_box") else None
    return FoundShape(str(name), box, None if box is None else WHOLE_BOX)


def _superannotate(content: Any, name: str) -> Iterator[FoundImage]:
    data = content.get("metadata") or {}
    default = re.sub(r"(___objects|___pixel)?\.json$", "", os.path.basename(name))
    objects = [_superannotate_shape(found) for found in content["instances"]]
    yield FoundImage(str(data.get("name") or default), objects, stated_size(data.get("height"), data.get("width")))


def _superannotate_shape(found: Mapping[str, Any]) -> FoundShape:
    name, kind, points = found["className"], found.get("type"), found.get("points")
    if kind == "bbox":
        sides = [points.get(side) for side in ("x1", "y1", "x2", "y2")] if isinstance(points, dict) else points
        return FoundShape(str(name), sides, WHOLE_BOX)
    if kind == "rbbox" and isinstance(points, dict):
        return _polygon(name, [[points[f"{side}{corner}"] for corner in (1, 2, 3, 4) for side in "xy"]])
    if kind == "polygon" and points:
        return _polygon(name, [points], found.get("exclude") or ())
    if kind == "ellipse":
        return _ellipse(name, *(found.get(side) for side in ("cx", "cy", "rx", "ry", "angle")))
    return FoundShape(str(name), None)


def _datumaro(content: Any, _: str) -> Iterator[FoundImage]:
    names = [str(label["name"]) for label in content["categories"]["label"]["labels"]]
    for item in content["items"]:
        shapes = [found for found in item.get("annotations") or [] if found.get("type") not in ("label", "caption")]
        objects = [_datumaro_shape(found, names) for found in shapes]
        image = item.get("image") or {}
        size = image.get("size") or [None, None]
        yield FoundImage(str(image.get("path") or item["id"]), objects, stated_size(*size))


def _datumaro_shape(found: Mapping[str, Any], names: Sequence[str]) -> FoundShape:
    name, kind = names[found["label_id"]], found.get("type")
    if kind == "bbox":
        return FoundShape(name, _corner_list(found.get("bbox")), WHOLE_BOX)
    if kind == "polygon":
        return _polygon(name, [found["points"]])
    if kind == "ellipse":
        x1, y1, x2, y2 = check_box(found["points"], "an ellipse")
        return _ellipse(name, (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2)
    if kind == "mask" and isinstance(found.get("rle"), dict):
        return FoundShape(name, mask_box(found["rle"]), plain_mask(found["rle"]))
    return FoundShape(name, None)


def _vott(content: Any, _: str) -> Iterator[FoundImage]:
    assets = content["assets"]
    for entry in assets.values() if isinstance(assets, dict) else assets:
        objects = []
        for found in entry.get("regions") or []:
            box = _corner_box(found["boundingBox"], "left", "top", "width", "height") if found.get("boundingBox") else None
            is_polygon = found.get("type") == "POLYGON" and found.get("points")
            outline = [[point[side] for point in found["points"] for side in ("x", "y")]] if is_polygon else WHOLE_BOX
            objects += [FoundShape(str(tag), box, None if box is None else outline) for tag in found.get("tags") or []]
        size = entry["asset"].get("size") or {}
        yield FoundImage(str(entry["asset"]["name"]), objects, stated_size(size.get("height"), size.get("width")))


def _fiftyone(content: Any, _: str) -> Iterator[FoundImage]:
    classes = content["classes"]
    for name, found in content["labels"].items():
        objects = []
        for entry in found or []:
            label = entry["label"]
            name_of_class = str(classes[label] if isinstance(label, int) else label)
            objects.append(FoundShape(name_of_class, _corner_list(entry["bounding_box"])))
        yield FoundImage(name, objects, in_shares=True)


def _corner_list(box: Any) -> list[float]:
    x, y, width, height = check_box(box, "a box")
    return [x, y, x + width, y + height]


def _sagemaker(content: Any, _: str) -> Iterator[FoundImage]:
    for entry in content:
        key = next(
            (key for key, value in entry.items() if isinstance(value, dict) and isinstance(value.get("annotations"), list)),
            None,
        )
        if key is None:
            raise ImageError("has no boxes, allowed are manifests of object detection")
        classes = (entry.get(f"{key}-metadata") or {}).get("class-map") or {}
        objects = [
            FoundShape(
                str(classes.get(str(found["class_id"]), found["class_id"])),
                _corner_box(found, "left", "top", "width", "height"),
            )
            for found in entry[key]["annotations"]
        ]
        size: dict[str, Any] = next(iter(entry[key].get("image_size") or []), {})
        yield FoundImage(str(entry["source-ref"]), objects, stated_size(size.get("height"), size.get("width")))


class ToolDialect(NamedTuple):
    """What a tool writes.

    Attributes:
        name: The tool.
        words: Regular expressions that the beginnings of its files have.
        read: Reads a file, given its content and its path.
        has_lines: Whether a file has an object on each line.
        is_list: Whether a file may be a list of entries, each of an image.
        entries: The key of its entries, each of an image, in a list or an object; empty if a file is of one image.
    """

    name: str
    words: tuple[str, ...]
    read: Callable[[Any, str], Iterator[FoundImage]]
    has_lines: bool = False
    is_list: bool = False
    entries: str = ""


TOOL_DIALECTS = (
    ToolDialect("SageMaker", (r'"source-ref"\s*:', r'"annotations"\s*:'), _sagemaker, has_lines=True),
    ToolDialect("Supervisely", (r'"objects"\s*:', r'"(classTitle|geometryType)"|"tags"\s*:'), _supervisely),
    ToolDialect("CreateML", (r'"(image|imagefilename)"\s*:', r'"coordinates"\s*:'), _createml, is_list=True),
    ToolDialect("BDD100K", (r'"labels"\s*:', r'"box2d"\s*:'), _bdd, is_list=True, entries="frames"),
    ToolDialect("Darwin", (r'"annotations"\s*:', r'"(item|slots|original_filename)"\s*:', r'"bounding_box"\s*:'), _darwin),
    ToolDialect("SuperAnnotate", (r'"instances"\s*:', r'"(className|metadata)"\s*:'), _superannotate),
    ToolDialect("Datumaro", (r'"categories"\s*:\s*\{', r'"items"\s*:'), _datumaro, entries="items"),
    ToolDialect("VoTT", (r'"assets"\s*:', r'"(regions|boundingBox)"\s*:'), _vott, entries="assets"),
    ToolDialect("FiftyOne", (r'"classes"\s*:\s*\[', r'"labels"\s*:\s*\{', r'"bounding_box"\s*:'), _fiftyone, entries="labels"),
)


def find_tool_dialect(path: str) -> ToolDialect | None:
    """Which tool wrote a file."""
    try:
        with open_text(path) as file:
            head = file.read(_HEAD)
    except (OSError, UnicodeError):
        return None
    return next((known for known in TOOL_DIALECTS if all(re.search(word, head) for word in known.words)), None)
