"""JSON files of boxes as annotation tools write them: one dialect for each tool, read from a folder or a file.

The rules, besides those of `kseq/sources/annotated_images.py`:

- Dialects: Apple's CreateML, BDD100K, Supervisely, V7's Darwin, SuperAnnotate, Datumaro, VoTT, FiftyOne's detections, and the
  manifests of AWS SageMaker (an object on each line). Of polygons the box around them is taken; points, lines and masks are
  left out, and counted.
- An image is found by its name among all images of the folder. Of several of one name, the one counts whose path has most in
  common with that of the JSON file, where `ann` and `annotations` stand for `img` and `images`; if none has most, it is
  rejected.
- Folders, or else the name of the JSON file, tell the split. Classes are sorted by name; CreateML's, BDD's and all others
  alike.
- JSON files of no dialect are not read; images that none names are not packed. A line counts each.

Source: the documentation of these tools, and files that they write.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject, check_box, outline_box, stated_size
from kseq.sources.file_sets import split_from_name
from kseq.sources.folder_tree import FolderTree
from kseq.sources.json_files import read_json
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import split_of_path
from kseq.sources.text import open_text

__all__ = ["TOOL_JSON"]

_FILE_NAMES = r"\.(json|manifest)"
_HEAD = 20_000
_ROLES = {"ann": "img", "annotations": "images", "labels": "images", "annotation": "image"}


class _Found(NamedTuple):
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


def _createml(content: Any, _: str) -> Iterator[_Found]:
    for entry in content:
        objects = []
        for found in entry.get("annotations") or entry.get("annotation") or []:
            x, y, width, height = check_box([found["coordinates"].get(side) for side in ("x", "y", "width", "height")], "a box")
            # CreateML counts from the middle.
            objects.append((str(found["label"]), [x - width / 2, y - height / 2, x + width / 2, y + height / 2]))
        yield _Found(str(entry.get("image") or entry.get("imagefilename")), objects)


def _bdd(content: Any, _: str) -> Iterator[_Found]:
    for entry in content.get("frames", []) if isinstance(content, dict) else content:
        objects = [
            (
                str(found["category"]),
                [found["box2d"].get(side) for side in ("x1", "y1", "x2", "y2")] if found.get("box2d") else None,
            )
            for found in entry.get("labels") or []
        ]
        yield _Found(str(entry["name"]), objects)


def _supervisely(content: Any, name: str) -> Iterator[_Found]:
    objects = []
    for found in content["objects"]:
        points = [side for point in (found.get("points") or {}).get("exterior") or [] for side in point]
        kind = found.get("geometryType")
        box = outline_box(points) if kind == "polygon" else _sorted_box(points) if kind in ("rectangle", None) else None
        objects.append((str(found["classTitle"]), box))
    size = content.get("size") or {}
    yield _Found(os.path.basename(name)[: -len(".json")], objects, stated_size(size.get("height"), size.get("width")))


def _sorted_box(points: Sequence[Any]) -> list[float] | None:
    """The box of two corners, whichever was drawn first."""
    if len(points) != 4:
        return None
    x1, y1, x2, y2 = check_box(points, "a box")
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def _darwin(content: Any, _: str) -> Iterator[_Found]:
    item = content.get("item") or content.get("image") or {}
    slot = next(iter(item.get("slots") or []), item)
    objects = [
        (str(found["name"]), _corner_box(found["bounding_box"], "x", "y", "w", "h") if found.get("bounding_box") else None)
        for found in content["annotations"]
    ]
    name = item.get("name") or item.get("original_filename") or item.get("filename")
    yield _Found(str(name), objects, stated_size(slot.get("height"), slot.get("width")))


def _superannotate(content: Any, name: str) -> Iterator[_Found]:
    objects = []
    for found in content["instances"]:
        points = found.get("points")
        sides = [points.get(side) for side in ("x1", "y1", "x2", "y2")] if isinstance(points, dict) else points
        kind = found.get("type")
        box = sides if kind == "bbox" else outline_box(sides) if kind == "polygon" and sides else None
        objects.append((str(found["className"]), box))
    data = content.get("metadata") or {}
    default = re.sub(r"(___objects|___pixel)?\.json$", "", os.path.basename(name))
    yield _Found(str(data.get("name") or default), objects, stated_size(data.get("height"), data.get("width")))


def _datumaro(content: Any, _: str) -> Iterator[_Found]:
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
        yield _Found(str(image.get("path") or item["id"]), objects, stated_size(*size))


def _vott(content: Any, _: str) -> Iterator[_Found]:
    assets = content["assets"]
    for entry in assets.values() if isinstance(assets, dict) else assets:
        objects = []
        for found in entry.get("regions") or []:
            box = _corner_box(found["boundingBox"], "left", "top", "width", "height") if found.get("boundingBox") else None
            objects += [(str(tag), box) for tag in found.get("tags") or []]
        size = entry["asset"].get("size") or {}
        yield _Found(str(entry["asset"]["name"]), objects, stated_size(size.get("height"), size.get("width")))


def _fiftyone(content: Any, _: str) -> Iterator[_Found]:
    classes = content["classes"]
    for name, found in content["labels"].items():
        objects = []
        for entry in found or []:
            label = entry["label"]
            objects.append((str(classes[label] if isinstance(label, int) else label), _corner_list(entry["bounding_box"])))
        yield _Found(name, objects, in_shares=True)


def _corner_list(box: Any) -> list[float]:
    x, y, width, height = check_box(box, "a box")
    return [x, y, x + width, y + height]


def _sagemaker(content: Any, _: str) -> Iterator[_Found]:
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
        yield _Found(str(entry["source-ref"]), objects, stated_size(size.get("height"), size.get("width")))


class _Dialect(NamedTuple):
    """What a tool writes: what the beginnings of its files have, and what reads them, given the content and the file."""

    name: str
    words: tuple[str, ...]
    read: Callable[[Any, str], Iterator[_Found]]


_DIALECTS = (
    _Dialect("SageMaker", (r'"source-ref"\s*:', r'"annotations"\s*:'), _sagemaker),
    _Dialect("Supervisely", (r'"objects"\s*:', r'"(classTitle|geometryType)"|"tags"\s*:'), _supervisely),
    _Dialect("CreateML", (r'"(image|imagefilename)"\s*:', r'"coordinates"\s*:'), _createml),
    _Dialect("BDD100K", (r'"labels"\s*:', r'"box2d"\s*:'), _bdd),
    _Dialect("Darwin", (r'"annotations"\s*:', r'"(item|slots|original_filename)"\s*:', r'"bounding_box"\s*:'), _darwin),
    _Dialect("SuperAnnotate", (r'"instances"\s*:', r'"(className|metadata)"\s*:'), _superannotate),
    _Dialect("Datumaro", (r'"categories"\s*:\s*\{', r'"items"\s*:'), _datumaro),
    _Dialect("VoTT", (r'"assets"\s*:', r'"(regions|boundingBox)"\s*:'), _vott),
    _Dialect("FiftyOne", (r'"classes"\s*:\s*\[', r'"labels"\s*:\s*\{', r'"bounding_box"\s*:'), _fiftyone),
)


def _dialect(path: str) -> _Dialect | None:
    """Which tool wrote a file."""
    try:
        with open_text(path) as file:
            head = file.read(_HEAD)
    except (OSError, UnicodeError):
        return None
    return next((known for known in _DIALECTS if all(re.search(word, head) for word in known.words)), None)


@dataclass(frozen=True)
class ToolJsonSource(AnnotatedSource):
    """The images that such files name, in the order of the files."""

    @classmethod
    def open(cls, request: SourceRequest) -> ToolJsonSource:
        """Open such a folder or file as a source.

        Raises:
            SourceError: If no file is of a dialect, or no image can be packed.
        """
        path = request.path
        folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
        root = folder if request.image_root is None else request.image_root
        tree = FolderTree(folder, request.follow_links)
        files = list(tree.files(tree.top))
        images = _Images([entry.path for entry in _image_entries(root, folder, files, request.follow_links)])
        texts = [
            entry.path for entry in files if re.search(rf"{_FILE_NAMES}$", entry.name, re.IGNORECASE) and not entry.rejection
        ]
        if folder != path:
            texts = [os.path.basename(path)]
        found: list[AnnotatedImage] = []
        facts: Counter[str] = Counter()
        tools: Counter[str] = Counter()
        for text in texts:
            dialect = _dialect(os.path.join(folder, text))
            tools[dialect.name if dialect else ""] += 1
            if dialect is not None:
                found += _read(folder, text, dialect, images, facts)
        others = tools.pop("", 0)
        if not tools:
            raise SourceError(f"{path}: has no JSON file of {', '.join(known.name for known in _DIALECTS)}")
        notes = [f"{path}: its JSON files are taken for those of {', '.join(tools)}"]
        if others:
            notes.append(f"{path}: {others:,} other JSON files are not read")
        unnamed = len(images.paths) - len(images.paths & {image.path for image in found})
        if unnamed and folder == path:
            notes.append(f"{path}: {unnamed:,} images are named by no JSON file, and are not packed")
        return cls.of(request, path, root, found, facts=facts, notes=notes)


def _image_entries(root: str, folder: str, files: Sequence[Any], follow_links: bool) -> list[Any]:
    if root != folder:
        tree = FolderTree(root, follow_links)
        files = list(tree.files(tree.top))
    return [entry for entry in files if entry.name.lower().endswith(IMAGE_SUFFIXES)]


def _is_folder(path: str) -> bool:
    """Whether files of one dialect lie in a folder, or in those in it, beside images."""
    seen = 0
    for parent, folders, names in os.walk(path):
        depth = 0 if parent == path else os.path.relpath(parent, path).count(os.sep) + 1
        folders[:] = [name for name in sorted(folders)[:20] if name[0] != "." and depth < 3]
        for name in sorted(name for name in names if re.search(rf"{_FILE_NAMES}$", name, re.IGNORECASE))[:3]:
            if _dialect(os.path.join(parent, name)) is not None:
                return True
            seen += 1
        if seen > 20:
            break
    return False


TOOL_JSON = SourceFormat(
    "json",
    ToolJsonSource.open,
    (".json", ".manifest"),
    _FILE_NAMES,
    _is_folder,
    lambda path: _dialect(path) is not None,
    has_root=True,
    has_links=True,
    downloads=_FILE_NAMES,
)


class _Images:
    """The images of a folder by their names, with and without suffix."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = set(paths)
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            name = path.rpartition("/")[2]
            for key in {name, os.path.splitext(name)[0]}:
                self._by_name.setdefault(key, []).append(path)

    def find(self, name: str, text: str) -> str:
        """The path of an image that a JSON file names.

        Raises:
            ImageError: If there are several, and none is nearest to the file.
        """
        plain = name.replace("\\", "/")
        candidates = self._by_name.get(plain.rpartition("/")[2], [])
        if len(candidates) < 2:
            return candidates[0] if candidates else plain
        folders = [_ROLES.get(part.lower(), part) for part in text.split("/")[:-1]]
        wanted = [*folders, *plain.split("/")]
        ranked = sorted(candidates, key=lambda path: -_common(path.split("/"), wanted))
        best = [path for path in ranked if _common(path.split("/"), wanted) == _common(ranked[0].split("/"), wanted)]
        if len(best) > 1:
            raise ImageError(f"has the name of {len(best)} images, such as {best[0]} and {best[1]}")
        return best[0]


def _common(path: Sequence[str], wanted: Sequence[str]) -> int:
    return len(set(path) & set(wanted))


def _read(folder: str, text: str, dialect: _Dialect, images: _Images, facts: Counter[str]) -> Iterator[AnnotatedImage]:
    file = os.path.join(folder, text)
    try:
        entries = _lines(file) if dialect.read is _sagemaker else [read_json(file)]
    except (SourceError, OSError, UnicodeError) as error:
        yield AnnotatedImage(text, rejection=str(error).removeprefix(f"{file}: "))
        return
    listed = entries[0] if dialect.read in (_createml, _bdd) and isinstance(entries[0], list) else None
    # A fault concerns its entry alone, where there are entries.
    parts = [[entry] for entry in (entries if dialect.read is _sagemaker else listed or [])] or entries
    for number, part in enumerate(parts, 1):
        try:
            found = list(dialect.read(part, text))
        except (ImageError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            where = f"entry {number}" if len(parts) > 1 else "it"
            reason = f"{text}: {where} makes no sense to {dialect.name}: {error}"
            yield AnnotatedImage(
                _named(part, images, text) or (f"{text} ({number})" if len(parts) > 1 else text), rejection=reason
            )
            continue
        yield from (_annotated(entry, text, images, facts) for entry in found)


def _named(part: Any, images: _Images, text: str) -> str | None:
    """The image that an entry that makes no sense is of."""
    entry = part[0] if isinstance(part, list) and part else part
    keys = ("image", "imagefilename", "name", "source-ref")
    names = [entry[key] for key in keys if isinstance(entry.get(key), str)] if isinstance(entry, dict) else []
    try:
        return images.find(names[0], text) if names else None
    except ImageError:
        return None


def _lines(file: str) -> list[Any]:
    with open_text(file) as opened:
        entries = []
        for line in opened:
            try:
                entries += [json.loads(line)] if line.strip() else []
            except ValueError:
                entries.append(line.strip()[:40])
    return entries


def _annotated(found: _Found, text: str, images: _Images, facts: Counter[str]) -> AnnotatedImage:
    try:
        path = images.find(found.name, text)
        objects = []
        for name, sides in found.objects:
            if sides is None:
                facts["other_shape"] += 1
            else:
                objects.append(FoundObject(name.strip(), check_box(sides, "a box")))
    except ImageError as error:
        return AnnotatedImage(found.name, rejection=f"{text}: {error}")
    split = split_of_path(path) or split_of_path(text) or split_from_name(text.rpartition("/")[2])
    return AnnotatedImage(path, objects, found.size, split, in_shares=found.in_shares)
