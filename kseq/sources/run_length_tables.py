"""CSV files of run lengths, as Kaggle's competitions have masks: `ImageId,EncodedPixels`, a row for each object or class.

The rules, besides those of `kseq/sources/annotated_images.py`:

- Run lengths are pairs of a start, counted from 1, and a length, down one column of the image after the other. The box around
  the pixels is that of the object; the pixels are its mask if `Columns(mask=...)` asks for one.
- A row without run lengths (also `-1`) is an image without an object. Rows of one image are its objects. A row that has fewer
  cells than there are columns, or more, rejects its image.
- The class is in `ClassId` or the like, or behind the name of the image (`Image_Label`: `a.jpg_Fish`); else it is `object`.
- A column `annotation` has run lengths where its first cell has several pairs: two numbers may be a point.
- The size of an image is that of its file, whose header is read. Run lengths that overlap, or pass its end, reject it.

Source: Kaggle's pages of Airbus ship detection, Severstal steel defects and cloud organisation.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kseq.arguments import is_url, shown_url
from kseq.errors import ImageError, SourceError, one_line
from kseq.images.formats import IMAGE_END, read_header
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject, find_image, unused_outlines
from kseq.sources.base import Source
from kseq.sources.box_dialects import read_rows
from kseq.sources.column_roles import Columns, mask_of_objects
from kseq.sources.list_cells import is_missing
from kseq.sources.run_lengths import mask_box
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.table import TableSource

__all__ = ["RUN_LENGTHS"]

_ALWAYS_RUNS = ("encodedpixels", "rle", "rle_mask")
_RUNS = (*_ALWAYS_RUNS, "annotation")
_IMAGES = ("imageid", "image_id", "img", "image", "id", "image_label", "imageid_classid")
_CLASSES = ("classid", "class_id", "class", "label", "cell_type")
_PAIRS = re.compile(r"\d+ \d+( \d+ \d+)*")
_WITH_CLASS = re.compile(rf"(.+{IMAGE_END})_(\w+)")
_ONE_CLASS = "object"
_HEAD = 1 << 22


@dataclass(frozen=True)
class RunLengthSource(AnnotatedSource):
    """The images that such a file names, in the order of their first rows."""


def _columns(path: str) -> tuple[str, str, str | None] | None:
    """The columns of the images, of the run lengths and of the classes; None if a file is no such table."""
    try:
        rows = read_rows(path)
        names = next(rows, [])
        lower = {name.lower(): name for name in reversed(names)}
        runs, image = ([lower[name] for name in known if name in lower] for known in (_RUNS, _IMAGES))
        if not runs or not image:
            return None
        place = names.index(runs[0])
        first = next((cells[place] for cells in rows if len(cells) == len(names) and cells[place] not in ("", "-1")), "")
    except (OSError, UnicodeError, csv.Error):
        return None
    classes = [lower[name] for name in _CLASSES if name in lower]
    is_one_point = runs[0].lower() not in _ALWAYS_RUNS and first.count(" ") == 1
    return (image[0], runs[0], next(iter(classes), None)) if _PAIRS.fullmatch(first) and not is_one_point else None


def _open(request: SourceRequest) -> Source:
    """Open such a file as a source.

    Raises:
        SourceError: If it has no run lengths, or none of its images can be packed.
    """
    path = request.path
    check_is_file(path, "rle")
    columns = _columns(path)
    if columns is None:
        raise SourceError(f"{path}: has no columns ImageId and EncodedPixels, with pairs of start and length")
    if request.columns != Columns() and mask_of_objects(request.columns) is None:
        # Somebody has said what is what.
        return TableSource.open(request, "csv")
    root = check_root(path, request.image_root)
    if is_url(root):
        raise SourceError(f"{path}: run lengths need the sizes of images, which lie at {shown_url(root)}: download them first")
    objects: dict[str, list[tuple[str, str]]] = {}
    faults: dict[str, str] = {}
    try:
        rows = read_rows(path)
        names = next(rows)
        for number, cells in enumerate(rows, 1):
            name, class_name, runs = _row(dict(zip(names, cells, strict=False)), columns)
            fault = _fault(names, cells) or ("" if name else "names no image")
            name = name or f"row {number}"
            of_image = objects.setdefault(name, [])
            of_image += [] if not runs else [(class_name, runs)]
            if fault:
                faults.setdefault(name, f"row {number} {fault}")
    except (OSError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read: {one_line(error)}") from error
    facts: Counter[str] = Counter()
    images = [
        AnnotatedImage(name, rejection=faults[name]) if name in faults else _annotated(root, name, found, facts)
        for name, found in objects.items()
    ]
    notes = [f"{path}: its {columns[1]} are taken for starts from 1 and lengths, down the columns of the image"]
    return RunLengthSource.of(request, path, root, images, facts=facts, notes=[*notes, *unused_outlines(request, facts)])


def _fault(names: Sequence[str], cells: Sequence[str]) -> str:
    """Why a row has not a cell for each column; empty if it has."""
    # Spreadsheets write a delimiter after the last column.
    named = len(names) if names[-1] else len(names) - 1
    if len(cells) < named or any(cells[len(names) :]):
        return f"has {len(cells)} cells, the first line names {len(names)} columns"
    return ""


def _row(cells: Mapping[str, str], columns: tuple[str, str, str | None]) -> tuple[str, str, str]:
    """The name of the image, the class and the run lengths of a row; empty where there are none."""
    image, runs, label = columns
    name, class_name = cells.get(image, ""), (cells.get(label, "") if label else "") or _ONE_CLASS
    found = _WITH_CLASS.fullmatch(name)
    if found is not None and label is None:
        name, class_name = found[1], found[2]
    text = cells.get(runs, "").strip()
    return name, class_name, "" if is_missing(text) or text == "-1" else text


def _annotated(root: str, name: str, found: Sequence[tuple[str, str]], facts: Counter[str]) -> AnnotatedImage:
    path = find_image(root, name, ("images", "train", "train_images"), frozenset())
    if not os.path.isfile(os.path.join(root, path)):
        return AnnotatedImage(path)
    try:
        height, width = _size(os.path.join(root, path))
        objects = [_object(class_name, runs, height, width) for class_name, runs in found]
    except ImageError as error:
        return AnnotatedImage(path, rejection=str(error))
    facts["outline"] += len(objects)
    return AnnotatedImage(path, objects, (height, width))


def _size(file: str) -> tuple[int, int]:
    try:
        with open(file, "rb") as opened:
            header = read_header(opened.read(_HEAD))
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read, and its size is not known: {one_line(error)}") from error
    return header.height, header.width


def _object(class_name: str, text: str, height: int, width: int) -> FoundObject:
    """The object of run lengths, with the runs of nothing and of it in turn, as COCO has them."""
    try:
        numbers = list(map(int, text.split()))
        pairs = sorted(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError as error:
        raise ImageError(f"has run lengths {text[:40]!r}, allowed are pairs of start and length") from error
    counts, place = [], 0
    for start, length in pairs:
        if length < 1 or start - 1 < place or start - 1 + length > height * width:
            raise ImageError(
                f"has a run of {length} pixels from {start}, allowed are runs apart from each other in 1 to {height * width}"
            )
        counts += [start - 1 - place, length]
        place = start - 1 + length
    outline = {"size": [height, width], "counts": [*counts, height * width - place]}
    box = mask_box(outline)
    assert box is not None
    return FoundObject(class_name, box, outline=outline)


RUN_LENGTHS = SourceFormat(
    "rle",
    _open,
    (".csv",),
    r"\.csv",
    is_file=lambda path: _columns(path) is not None,
    has_columns=True,
    has_root=True,
    has_links=True,
    has_outlines=True,
)
