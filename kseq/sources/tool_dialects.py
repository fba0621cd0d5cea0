"""The dialects of JSON files of boxes that annotation tools write: how each is told, and what its files say.

Their rules are at the top of `kseq/sources/tool_json.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kseq.errors import ImageError
from kseq.sources.annotated_images import check_box, outline_box
from kseq.sources.stated_sizes import stated_size
from kseq.sources.text import open_text

__all__ = ["TOOL_DIALECTS", "FoundImage", "ToolDialect", "find_tool_dialect"]

_HEAD = 20_000


class FoundImage(NamedTuple):
    """An image and its objects as a file has them.

    Attributes:
        name: The name of the image, without its suffix where the tool leaves that out.
        objects: Class and box of each; None for a shape that has no box.
        size: Height and width.
        in_shares: Whether boxes are in shares of the image.
    """

    name: str
    objects: Sequence[tuple[str, Sequence[Any] | None]]
    size: tuple[int, int] | None = None
    in_shares: bool = False


def _corner_box(box: Mapping[str, Any], x: str, y: str, width: str, height: str) -> list[float]:
    left, top, across, down = check_box([box.get(name) for name in (x, y, width, height)], "a box")
    return [left, top, left + across, top + down]


def _createml(content: Any, _: str) -> Iterator[FoundImage]:
    for entry in content:
        objects = []
        for found in entry.get("annotations") or entry.get("annotation") or []:
            x, y, width, height = check_box([found["coordinates"].get(side) for side in ("x", "y", "width", "height")], "a box")
            # CreateML counts from the middle.
            objects.append((str(found["label"]), [x - width / 2, y - height / 2, x + width / 2, y + height / 2]))
        yield FoundImage(str(entry.get("image") or entry.get("imagefilename")), objects)


def _bdd(content: Any, _: str) -> Iterator[FoundImage]:
    for entry in content.get("frames", []) if isinstance(content, dict) else content:
        objects = [
            (
                str(found["category"]),
                [found["box2d"].get(side) for side in ("x1", "y1", "x2", "y2")] if found.get("box2d") else None,
            )
            for found in entry.get("labels") or []
        ]
        yield FoundImage(str(entry["name"]), objects)


def _supervisely(content: Any, name: str) -> Iterator[FoundImage]:
    objects = []
    for found in content["objects"]:
        points = [side for point in (found.get("points") or {}).get("exterior") or [] for side in point]
        kind = found.get("geometryType")
        box = outline_box(points) if kind == "polygon" else _sorted_box(points) if kind in ("rectangle", None) else None
        objects.append((str(found["classTitle"]), box))
    size = content.get("size") or {}
    yield FoundImage(os.path.basename(name)[: -len(".json")], objects, stated_size(size.get("height"), size.get("width")))


def _sorted_box(points: Sequence[Any]) -> list[float] | None:
    """The box of two corners, whichever was drawn first."""
    if len(points) != 4:
        return None
    x1, y1, x2, y2 = check_box(points, "a box")
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def _darwin(content: Any, _: str) -> Iterator[FoundImage]:
    item = content.get("item") or content.get("image") or {}
    slot = next(iter(item.get("slots") or []), item)
    objects = [
        (str(found["name"]), _corner_box(found["bounding_box"], "x", "y", "w", "h") if found.get("bounding_box") else None)
        for found in content["annotations"]
    ]
    name = item.get("name") or item.get("original_filename") or item.get("filename")
    yield FoundImage(str(name), objects, stated_size(slot.get("height"), slot.get("width")))


def _superannotate(content: Any, name: str) -> Iterator[FoundImage]:
    objects = []
    for found in content["instances"]:
        points = found.get("points")
        sides = [points.get(side) for side in ("x1", "y1", "x2", "y2")] if isinstance(points, dict) else points
        kind = found.get("type")
        box = sides if kind == "bbox" else outline_box(sides) if kind == "polygon" and sides else None
        objects.append((str(found["className"]), box))
    data = content.get("metadata") or {}
    default = re.sub(r"(___objects|___pixel)?\.json$", "", os.path.basename(name))
    yield FoundImage(str(data.get("name") or default), objects, stated_size(data.get("height"), data.get("width")))


def _datumaro(content: Any, _: str) -> Iterator[FoundImage]:
    names = [str(label["name"]) for label in content["categories"]["label"]["labels"]]
    for item in content["items"]:
        objects: list[tuple[str, Sequence[Any] | None]] = []
        for found in item.get("annotations") or []:
            kind = found.get("type")
            if kind == "bbox":
                objects.append((names[found["label_id"]], _corner_list(found.get("bbox"))))
            elif kind in ("polygon", "points", "polyline", "mask"):
                objects.append((names[found["label_id"]], outline_box(found["points"]) if kind == "polygon" else None))
        image = item.get("image") or {}
        size = image.get("size") or [None, None]
        yield FoundImage(str(image.get("path") or item["id"]), objects, stated_size(*size))


def _vott(content: Any, _: str) -> Iterator[FoundImage]:
    assets = content["assets"]
    for entry in assets.values() if isinstance(assets, dict) else assets:
        objects = []
        for found in entry.get("regions") or []:
            box = _corner_box(found["boundingBox"], "left", "top", "width", "height") if found.get("boundingBox") else None
            objects += [(str(tag), box) for tag in found.get("tags") or []]
        size = entry["asset"].get("size") or {}
        yield FoundImage(str(entry["asset"]["name"]), objects, stated_size(size.get("height"), size.get("width")))


def _fiftyone(content: Any, _: str) -> Iterator[FoundImage]:
    classes = content["classes"]
    for name, found in content["labels"].items():
        objects = []
        for entry in found or []:
            label = entry["label"]
            objects.append((str(classes[label] if isinstance(label, int) else label), _corner_list(entry["bounding_box"])))
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
            (str(classes.get(str(found["class_id"]), found["class_id"])), _corner_box(found, "left", "top", "width", "height"))
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
    """

    name: str
    words: tuple[str, ...]
    read: Callable[[Any, str], Iterator[FoundImage]]
    has_lines: bool = False
    is_list: bool = False


TOOL_DIALECTS = (
    ToolDialect("SageMaker", (r'"source-ref"\s*:', r'"annotations"\s*:'), _sagemaker, has_lines=True),
    ToolDialect("Supervisely", (r'"objects"\s*:', r'"(classTitle|geometryType)"|"tags"\s*:'), _supervisely),
    ToolDialect("CreateML", (r'"(image|imagefilename)"\s*:', r'"coordinates"\s*:'), _createml, is_list=True),
    ToolDialect("BDD100K", (r'"labels"\s*:', r'"box2d"\s*:'), _bdd, is_list=True),
    ToolDialect("Darwin", (r'"annotations"\s*:', r'"(item|slots|original_filename)"\s*:', r'"bounding_box"\s*:'), _darwin),
    ToolDialect("SuperAnnotate", (r'"instances"\s*:', r'"(className|metadata)"\s*:'), _superannotate),
    ToolDialect("Datumaro", (r'"categories"\s*:\s*\{', r'"items"\s*:'), _datumaro),
    ToolDialect("VoTT", (r'"assets"\s*:', r'"(regions|boundingBox)"\s*:'), _vott),
    ToolDialect("FiftyOne", (r'"classes"\s*:\s*\[', r'"labels"\s*:\s*\{', r'"bounding_box"\s*:'), _fiftyone),
)


def find_tool_dialect(path: str) -> ToolDialect | None:
    """Which tool wrote a file."""
    try:
        with open_text(path) as file:
            head = file.read(_HEAD)
    except (OSError, UnicodeError):
        return None
    return next((known for known in TOOL_DIALECTS if all(re.search(word, head) for word in known.words)), None)
