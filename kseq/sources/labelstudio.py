"""What Label Studio exports: a list of tasks, each with an image and the results of annotating it, as JSON or CSV.

The rules:

- Rectangles are in percent of the image, and become x1, y1, x2, y2 in pixels; of a turned rectangle, an ellipse, a polygon or a
  painted mask (`rle`) the box around it is taken. Points and anything else are left out, and counted. Predictions are not read.
- All that has a box becomes a mask if `Columns(mask=...)` asks for one; see `kseq/sources/object_masks.py`.
- Results of one id are one region; of several labels the first is taken, and counted. A task with regions of several images is
  rejected.
- Of several annotations of a task the first that was not cancelled is taken, and a line says so. A task without one has no
  boxes.
- The image is the value of the task's data that names one. An uploaded file has the name that Label Studio gave it
  (`1a2b3c4d-photo.jpg`), or its own; of local files, `d=` has the path. Images at URLs are read from there.
- The short form (JSON-MIN), with the regions in the task itself, is read likewise, and so is CSV, whose cells hold them as
  JSON.
- Where no task has a region, and there are choices, these are the classes of the images; several labels where a task has
  several.
- Classes are sorted by name.

Source: Label Studio's documentation, "Export annotations" and "Task format".
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from kseq.arguments import counted, is_url, spelled
from kseq.errors import ImageError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import (
    AnnotatedImage,
    AnnotatedSource,
    FoundObject,
    check_box,
    unused_outlines,
)
from kseq.sources.base import Source
from kseq.sources.brush_masks import brush_runs
from kseq.sources.json_files import read_json
from kseq.sources.labelstudio_tasks import choices_source, is_csv, is_csv_export, read_csv_tasks, task_choices
from kseq.sources.object_masks import WHOLE_BOX
from kseq.sources.run_lengths import row_runs_box
from kseq.sources.shape_outlines import ellipse_box, ellipse_corners, outline_box, rectangle_corners, turned_box
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.stated_sizes import stated_size
from kseq.sources.text import may_be_path, open_text

__all__ = ["LABELSTUDIO", "LabelStudioSource"]

# What only tasks of Label Studio have.
_TASK = {"data", "annotations", "completions", "annotation_id", "annotator", "lead_time"}
# What a result says of a region or of the whole image, and not where something is.
_SAID = {"choices", "text", "rating", "number", "datetime", "taxonomy"}
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")


@dataclass(frozen=True)
class LabelStudioSource(AnnotatedSource):
    """The images of the tasks, in the order of the file."""

    @staticmethod
    def is_file(path: str) -> bool:
        """Whether a JSON file holds a list, or a CSV the columns, that Label Studio's do."""
        try:
            if is_csv(path):
                return is_csv_export(path)
            with open_text(path) as file:
                return file.read(100).lstrip().startswith("[")
        except (OSError, UnicodeError):
            return False

    @classmethod
    def open(cls, request: SourceRequest) -> Source:
        """Open such a file as a source.

        Raises:
            SourceError: If it is not of this format, or names no image that can be packed.
        """
        path = request.path
        check_is_file(path, "labelstudio")
        root = check_root(path, request.image_root)
        tasks = read_csv_tasks(path) if is_csv(path) else read_json(path)
        if not isinstance(tasks, list) or not any(isinstance(task, dict) for task in tasks):
            raise SourceError(f"{path}: is no list of tasks, which Label Studio exports")
        # What is no task is listed as one that names no image.
        tasks = [task if isinstance(task, dict) else {} for task in tasks]
        if all({"image_id", "bbox"} <= task.keys() for task in tasks):
            raise SourceError(
                f"{path}: is a list of results of COCO, and names no images: pack a COCO file that has the images, and these "
                "as its annotations"
            )
        if not any(_TASK & task.keys() or any(_regions(task, 0, [])) for task in tasks):
            raise SourceError(
                f"{path}: is a list of records, and no export of Label Studio: "
                f"{spelled('source_format', 'jsonl')} packs it as a table"
            )
        if not any(next(_regions(task, 0, []), None) for task in tasks) and any(map(task_choices, tasks)):
            names = [_named_image(_data(task)) for task in tasks]
            return choices_source(request, root, [None if name is None else _find(root, name) for name in names], tasks)
        facts: Counter[str] = Counter()
        several: list[int] = []
        images = [_image(root, number, task, facts, several) for number, task in enumerate(tasks, 1)]
        notes = [f"{path}: {len(several):,} tasks have several annotations, the first is taken"] if several else []
        num_predicted = sum(bool(task.get("predictions")) and not _is_annotated(task) for task in tasks)
        if num_predicted:
            notes.append(f"{path}: {counted(num_predicted, 'task has', 'tasks have')} predictions alone, which are not read")
        return cls.of(request, path, root, images, facts=facts, notes=[*notes, *unused_outlines(request, facts)])


LABELSTUDIO = SourceFormat(
    "labelstudio",
    LabelStudioSource.open,
    (".json", ".csv"),
    r"\.(json|csv)",
    is_file=LabelStudioSource.is_file,
    has_root=True,
    has_links=True,
    has_outlines=True,
)


def _image(root: str, number: int, task: Mapping[str, Any], facts: Counter[str], several: list[int]) -> AnnotatedImage:
    named = _named_image(_data(task))
    if named is None:
        return AnnotatedImage(f"task {number} of the list", rejection="names no image")
    path = _find(root, named)
    regions = list(_regions(task, number, several))
    sizes = {stated_size(region.get("original_height"), region.get("original_width")) for region in regions} - {None}
    try:
        _check_one_image(regions, number)
        if regions and len(sizes) != 1:
            raise ImageError(f"task {number}: its results do not say the size of the image (original_width, original_height)")
        size = next(iter(sizes), None)
        found = [
            _object(f"task {number}: result {place}", region, size, facts) for place, region in enumerate(regions, 1) if size
        ]
    except ImageError as error:
        return AnnotatedImage(path, rejection=str(error))
    return AnnotatedImage(path, [each for each in found if each is not None], size)


def _is_annotated(task: Mapping[str, Any]) -> bool:
    annotations = task.get("annotations") or task.get("completions")
    return any(isinstance(each, dict) and not each.get("was_cancelled") for each in annotations or ())


def _data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    data = task.get("data")
    return data if isinstance(data, dict) else task


def _named_image(data: Mapping[str, Any]) -> str | None:
    """The text in a task's data that names an image: that under `image`, else the first that ends like one."""
    texts = [value for value in (data.get("image"), *data.values()) if isinstance(value, str) and value]
    image = data.get("image")
    if isinstance(image, str) and image:
        return image
    return next((text for text in texts if text.lower().partition("?")[0].endswith(IMAGE_SUFFIXES)), None)


def _find(root: str, named: str) -> str:
    """Where an image lies that a task names."""
    if is_url(named):
        return named
    path, _, query = named.partition("?")
    if query.startswith("d="):
        path = query[2:]
    path = unquote(path).replace("\\", "/").lstrip("/")
    name = path.rpartition("/")[2]
    # A path of the machine of Label Studio: its end may lie here, the longest first.
    parts = path.split("/")
    candidates = ["/".join(parts[start:]) for start in range(len(parts))]
    uploaded = _UPLOADED.fullmatch(name)
    candidates += [uploaded[1]] if uploaded else []
    candidates += [f"images/{candidate}" for candidate in candidates[1:]]
    if is_url(root):
        return name
    exists = (each for each in candidates if each and may_be_path(each) and os.path.lexists(os.path.join(root, each)))
    return next(exists, name)


def _regions(task: Mapping[str, Any], number: int, several: list[int]) -> Iterator[Mapping[str, Any]]:
    """The regions of a task: the value of each result, with the size of the image and the kind.

    Results of one id are one region: its shape, its label, and what else was said of it may be a result each.
    """
    annotations = task.get("annotations") or task.get("completions")
    if isinstance(annotations, list):
        valid = [each for each in annotations if isinstance(each, dict) and not each.get("was_cancelled")]
        if len(valid) > 1:
            several.append(number)
        results: Any = valid[0].get("result") if valid else []
        merged: dict[Any, dict[str, Any]] = {}
        for place, result in enumerate(results if isinstance(results, list) else []):
            if isinstance(result, dict) and isinstance(result.get("value"), dict) and _is_region(result):
                key = result.get("id")
                merged.setdefault(key if isinstance(key, str) and key else place, {}).update({**result, **result["value"]})
        yield from merged.values()
        return
    for value in task.values():
        if isinstance(value, list):
            yield from (each for each in value if isinstance(each, dict) and "original_width" in each)


def _is_region(result: Mapping[str, Any]) -> bool:
    is_placed = "original_width" in result or not {"x", "points"}.isdisjoint(result["value"])
    return is_placed and not result["value"].keys() <= _SAID


def _check_one_image(regions: Sequence[Mapping[str, Any]], number: int) -> None:
    """Raise ImageError if regions belong to several images of a task, of which one is packed."""
    images = {str(region.get("to_name")) for region in regions if region.get("to_name")}
    pages = {region.get("item_index") for region in regions} - {None, 0}
    if len(images) > 1 or pages:
        what = f"({', '.join(sorted(images))})" if len(images) > 1 else "(item_index)"
        raise ImageError(f"task {number} has regions of several images {what}, allowed is one image for each task")


def _object(what: str, region: Mapping[str, Any], size: tuple[int, int], facts: Counter[str]) -> FoundObject | None:
    """The object of a region; None if it is left out.

    Raises:
        ImageError: If the region makes no sense.
    """
    labels = [value for name, value in region.items() if name.endswith("labels") and isinstance(value, list) and value]
    label = str(labels[0][0]).strip() if labels else ""
    found = _shape(what, region, size, facts)
    facts["several_labels"] += found is not None and bool(labels) and len(labels[0]) > 1
    if found is not None and not label:
        raise ImageError(f"{what} has no label")
    return None if found is None else FoundObject(label, found[0], outline=found[1])


def _shape(
    what: str, region: Mapping[str, Any], size: tuple[int, int], facts: Counter[str]
) -> tuple[Sequence[float], Any] | None:
    """The box of a region, and its outline; None if it is left out."""
    height, width = size
    across, down = width / 100, height / 100
    angle = check_box([region.get("rotation") or 0, 0, 0, 0], f"{what}: its rotation")[0]
    if "radiusX" in region:
        x, y, rx, ry = check_box([region.get(name) for name in ("x", "y", "radiusX", "radiusY")], what)
        sides = (x * across, y * down, rx * across, ry * down, angle)
        facts["outline"] += 1
        return ellipse_box(*sides), [ellipse_corners(*sides)]
    if "points" in region:
        try:
            points = [side for x, y in region["points"] for side in (float(x) * across, float(y) * down)]
            box = outline_box(points)
        except (TypeError, ValueError, OverflowError) as error:
            raise ImageError(f"{what} has points {str(region['points'])[:60]}, allowed are pairs of numbers") from error
        facts["shapeless" if box is None else "outline"] += 1
        return None if box is None else (box, [points])
    if "rle" in region:
        return _brush(what, region["rle"], size, facts)
    if "height" not in region or "x" not in region or "keypointlabels" in region:
        facts["other_shape"] += 1
        return None
    x, y, w, h = check_box([region.get(name) for name in ("x", "y", "width", "height")], what)
    x, y, w, h = x * across, y * down, w * across, h * down
    if angle:
        facts["turned"] += 1
        # A rectangle is turned about its corner.
        return turned_box(x, y, w, h, angle, (x, y)), [rectangle_corners([x, y, x + w, y + h], angle, (x, y))]
    return [x, y, x + w, y + h], WHOLE_BOX


def _brush(what: str, numbers: Any, size: tuple[int, int], facts: Counter[str]) -> tuple[Sequence[float], Any] | None:
    height, width = size
    try:
        mask = {"row_runs": brush_runs(numbers, height, width), "left": 0, "top": 0, "width": width, "height": height}
    except (TypeError, ValueError, OverflowError) as error:
        raise ImageError(f"{what} has a mask (rle) that makes no sense: {error}") from error
    box = row_runs_box(mask)
    facts["shapeless" if box is None else "outline"] += 1
    return None if box is None else (box, mask)
