"""CSV files of boxes whose columns are not simply corners in pixels: one dialect for each tool that writes them.

The rules, besides those of `kseq/sources/annotated_images.py`:

- Open Images: `ImageID` without suffix, `LabelName`, `XMin`, `XMax`, `YMin`, `YMax` in shares of the image. Names of classes
  are those of `class-descriptions*.csv` beside it. Boxes around groups (`IsGroupOf`) are boxes. Images lie beside the file, or
  in a folder called like the split in its name.
- A column `bbox` of `[x, y, width, height]` in pixels, a row for each box (Kaggle's wheat): a line says that it is read so.
- RetinaNet's, without names of columns: path, x1, y1, x2, y2, class; a row without corners is an image without a box.
- Google AutoML's, without names of columns: set, path, class, and corners in shares. The set is TRAIN, VALIDATION or TEST, or
  UNASSIGNED; a row of a set, a path and a class alone is an image with a label.
- Rows of one image are one sample, in the place of the first. A row that makes no sense rejects its image.

Source: the pages of Open Images, of Kaggle's wheat detection, of keras-retinanet and of Google's AutoML.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kseq.arguments import is_url
from kseq.errors import ImageError, SourceError, one_line
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject, check_box
from kseq.sources.base import Source
from kseq.sources.cell_types import is_missing
from kseq.sources.class_names import sort_class_names
from kseq.sources.column_roles import Columns
from kseq.sources.file_sets import split_from_name
from kseq.sources.named_files import NamedFiles
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.split_names import SPLITS
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table import TableSource
from kseq.sources.text import open_text
from kseq.sources.url_files import FileSizes

__all__ = ["BOX_TABLE"]

_DELIMITERS = ",;\t|"
_ONE_CLASS = "object"
_CLASSES = ("class", "label", "class_name", "category", "labelname", "name")
_IMAGES = ("image_id", "image", "filename", "file_name", "path", "img")
_SETS = ("train", "training", "validation", "valid", "val", "test", "unassigned")
_MOST_LETTERS = 1 << 28


class _Row(NamedTuple):
    """What a row says.

    Attributes:
        image: The name of the image.
        class_name: The class of the box; empty if there is none.
        box: x1, y1, x2, y2; None for an image without one.
        split: The split of the image.
        size: Height and width that the row says.
    """

    image: str
    class_name: str = ""
    box: Sequence[float] | None = None
    split: str | None = None
    size: tuple[int, int] | None = None


class _Lines(NamedTuple):
    """A CSV: its first line, and whether that has the names of columns."""

    names: list[str]
    first: list[str]

    def has(self, *names: str) -> bool:
        """Whether there are columns of these names."""
        return set(names) <= {name.lower() for name in self.names}


@dataclass(frozen=True)
class _Dialect:
    """What a tool writes.

    Attributes:
        matches: Whether a file is of it.
        read: What a row says; given the names of the columns and the cells; raises ImageError.
        has_names: Whether the first line has the names of columns.
        in_shares: Whether boxes are in shares of the image.
        note: What a user should know.
    """

    matches: Callable[[_Lines], bool]
    read: Callable[[Mapping[str, str], Sequence[str]], _Row]
    has_names: bool = True
    in_shares: bool = False
    note: str = ""


def _is_open_images(lines: _Lines) -> bool:
    return lines.has("imageid", "labelname", "xmin", "xmax", "ymin", "ymax")


def _read_open_images(row: Mapping[str, str], _: Sequence[str]) -> _Row:
    corners = check_box([row.get(name) for name in ("xmin", "ymin", "xmax", "ymax")], "its corners")
    return _Row(row["imageid"], row["labelname"], corners)


def _is_bbox_column(lines: _Lines) -> bool:
    by_name = dict(zip((name.lower() for name in lines.names), lines.first, strict=False))
    is_list = re.fullmatch(r"[\[(]\s*-?[\d.]+(\s*,\s*-?[\d.]+){3}\s*[\])]|", by_name.get("bbox", "x")) is not None
    return is_list and not lines.has("bbox", "id", "category_id", "image_id") and any(map(lines.has, _IMAGES))


def _read_bbox_column(row: Mapping[str, str], _: Sequence[str]) -> _Row:
    image = next(row[name] for name in _IMAGES if name in row)
    name = next((row[known] for known in _CLASSES if known in row), _ONE_CLASS)
    cell = row["bbox"]
    if is_missing(cell):
        return _Row(image)
    try:
        x, y, width, height = check_box(json.loads("[" + cell.strip("[]() ") + "]"), "its bbox")
    except ValueError as error:
        raise ImageError(f"its bbox is {cell[:40]!r}, allowed is [x, y, width, height]") from error
    size = None
    if row.get("width", "").isdecimal() and row.get("height", "").isdecimal():
        size = int(row["height"]), int(row["width"])
    return _Row(image, name, [x, y, x + width, y + height], size=size)


def _is_retinanet(lines: _Lines) -> bool:
    cells = lines.names
    if len(cells) != 6 or not cells[0].lower().endswith(IMAGE_SUFFIXES):
        return False
    return all(map(_is_number, cells[1:5])) or not any(cells[1:])


def _read_retinanet(_: Mapping[str, str], cells: Sequence[str]) -> _Row:
    image, *corners, name = cells
    return _Row(image, name, check_box(corners, "its corners")) if any(cells[1:]) else _Row(image)


def _is_automl(lines: _Lines) -> bool:
    cells = lines.names
    has_set = cells[0].lower() in _SETS and len(cells) > 2 and cells[1].lower().endswith(IMAGE_SUFFIXES)
    has_none = len(cells) in (10, 11) and cells[0].lower().endswith(IMAGE_SUFFIXES)
    return has_set or has_none


def _read_automl(_: Mapping[str, str], cells: Sequence[str]) -> _Row:
    known, image, name, *corners = cells if cells[0].lower() in (*_SETS, "") else ["", *cells]
    split = SPLITS.get(known.lower())
    present = [float(corner) for corner in corners if corner and _is_number(corner)]
    if not corners or not any(corners):
        return _Row(image, name, None, split)
    if len(present) not in (4, 8):
        raise ImageError(f"its corners are {', '.join(corners)[:40]!r}, allowed are four or eight numbers")
    xs, ys = present[::2], present[1::2]
    return _Row(image, name, check_box([min(xs), min(ys), max(xs), max(ys)], "its corners"), split)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_DIALECTS = (
    _Dialect(
        _is_open_images, _read_open_images, in_shares=True, note="its corners are taken for shares, as Open Images has them"
    ),
    _Dialect(_is_bbox_column, _read_bbox_column, note="its column bbox is taken for [x, y, width, height] in pixels"),
    _Dialect(_is_retinanet, _read_retinanet, has_names=False, note="is taken for RetinaNet's: path, x1, y1, x2, y2, class"),
    _Dialect(
        _is_automl,
        _read_automl,
        has_names=False,
        in_shares=True,
        note="is taken for AutoML's: set, path, class, corners in shares",
    ),
)


def _dialect(path: str) -> _Dialect | None:
    """Which dialect a file is of."""
    try:
        rows = _read_rows(path)
        lines = _Lines(next(rows, []), next(rows, []))
    except (OSError, UnicodeError, csv.Error):
        return None
    return next((dialect for dialect in _DIALECTS if dialect.matches(lines)), None) if lines.names else None


def _read_rows(path: str) -> Iterator[list[str]]:
    """The cells of all lines that are not blank."""
    with open_text(path) as file:
        head = file.readline()
    delimiter = max(_DELIMITERS, key=head.count)
    limit = csv.field_size_limit(_MOST_LETTERS)
    try:
        with open_text(path) as file:
            for cells in csv.reader(file, delimiter=delimiter):
                if any(cells):
                    yield [cell.strip() for cell in cells]
    finally:
        csv.field_size_limit(limit)


@dataclass(frozen=True)
class BoxTableSource(AnnotatedSource):
    """The images that such a table names, in the order of their first rows."""


def _open(request: SourceRequest) -> Source:
    """Open such a file as a source.

    Raises:
        SourceError: If it is of no dialect, or none of its images can be packed.
    """
    path = request.path
    check_is_file(path, "boxes")
    dialect = _dialect(path)
    if dialect is None:
        raise SourceError(
            f"{path}: has no boxes as Open Images, wheat detection, RetinaNet or AutoML have them: a table may have the "
            "columns xmin, ymin, xmax, ymax, class"
        )
    if request.columns != Columns():
        # Somebody has said what is what.
        return TableSource.open(request, "csv")
    root = check_root(path, request.image_root)
    grouped = _Grouped(dialect)
    try:
        grouped.read(path)
    except (OSError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read: {one_line(error)}") from error
    notes = [f"{path}: {dialect.note}"]
    if not grouped.has_boxes and grouped.labels:
        return _labelled(request, root, grouped, [*notes, f"{path}: has no box: the classes are the labels of the images"])
    names, split = _described(path), split_from_name(os.path.basename(path))
    images = [_annotated(root, image, dialect, names, split) for image in grouped.images.values()]
    folders = ("images", *(word for word in re.findall("[a-z]+", os.path.basename(path).lower()) if word in SPLITS))
    known = None if not names else sort_class_names(found.class_name for image in images for found in image.objects)
    return BoxTableSource.of(request, path, root, images, facts=Counter(), known_classes=known, notes=notes, folders=folders)


@dataclass
class _Image:
    """The rows of an image; `fault` says why one of them makes no sense."""

    name: str
    rows: list[_Row] = field(default_factory=list)
    fault: str | None = None


@dataclass
class _Grouped:
    """The rows of a file by their images."""

    dialect: _Dialect
    images: dict[str, _Image] = field(default_factory=dict)
    has_boxes: bool = False
    labels: bool = False

    def read(self, path: str) -> None:
        """Read all rows."""
        rows = _read_rows(path)
        names = [name.lower() for name in next(rows)] if self.dialect.has_names else []
        for number, cells in enumerate(rows, 1):
            self._add(number, names, cells)

    def _add(self, number: int, names: Sequence[str], cells: list[str]) -> None:
        if len(cells) < len(names):
            self._fault(f"row {number}", f"row {number} has {len(cells)} cells, the first line names {len(names)} columns")
            return
        values = dict(zip(names, cells, strict=False))
        try:
            row = self.dialect.read(values, cells)
        except (ImageError, ValueError, KeyError) as error:
            known = next((cell for cell in cells if cell.lower().endswith(IMAGE_SUFFIXES)), None)
            name = known or next((values[name] for name in ("imageid", *_IMAGES) if values.get(name)), f"row {number}")
            self._fault(name, f"row {number}: {error}")
            return
        if not row.image:
            self._fault(f"row {number}", f"row {number} names no image")
            return
        self.has_boxes |= row.box is not None
        self.labels |= row.box is None and bool(row.class_name)
        self.images.setdefault(row.image, _Image(row.image)).rows.append(row)

    def _fault(self, name: str, reason: str) -> None:
        image = self.images.setdefault(name, _Image(name))
        image.fault = image.fault or reason


def _annotated(root: str, image: _Image, dialect: _Dialect, names: Mapping[str, str], split: str | None) -> AnnotatedImage:
    path = _local(root, image.name)
    splits = list(dict.fromkeys(row.split for row in image.rows))
    fault = image.fault
    if fault is None and len(splits) > 1:
        fault = f"is in several sets: {', '.join(str(known) for known in splits)}"
    boxes = [(row.class_name, row.box) for row in image.rows if row.box is not None]
    if fault is None and not all(name for name, _ in boxes):
        fault = "has a box without a class"
    if fault is not None:
        return AnnotatedImage(path, rejection=fault)
    objects = [FoundObject(names.get(name, name), box) for name, box in boxes]
    size = next((row.size for row in image.rows if row.size is not None), None)
    return AnnotatedImage(path, objects, size, splits[0] or split if splits else split, in_shares=dialect.in_shares)


def _local(root: str, name: str) -> str:
    """A URL as the end of it that lies below the root, if one does."""
    if not is_url(name) or is_url(root):
        return name
    parts = name.split("/")[3:]
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((tail for tail in tails if tail and os.path.isfile(os.path.join(root, tail))), name)


def _described(path: str) -> dict[str, str]:
    """What `class-descriptions*.csv` beside a file calls its classes; empty if there is none."""
    folder = os.path.dirname(path) or "."
    files = sorted(name for name in os.listdir(folder) if re.fullmatch(r"(oidv\d-)?class-descriptions.*\.csv", name))
    for name in sorted(files, key=lambda name: "boxable" not in name):
        try:
            return {cells[0]: cells[1] for cells in _read_rows(os.path.join(folder, name)) if len(cells) == 2}
        except (OSError, csv.Error) as error:
            raise SourceError(f"{os.path.join(folder, name)}: cannot be read: {one_line(error)}") from error
    return {}


def _labelled(request: SourceRequest, root: str, grouped: _Grouped, notes: Sequence[str]) -> TableSource:
    """Images with a label each."""
    images = grouped.images.values()
    labels = [list(dict.fromkeys(row.class_name for row in image.rows)) for image in images]
    faults = [
        image.fault or (f"has {len(own)} labels, {', '.join(own)[:40]}" if len(own) > 1 else None)
        for image, own in zip(images, labels, strict=True)
    ]
    cells = {
        "image": SpooledColumn(_local(root, image.name) for image in images),
        "label": SpooledColumn(next(iter(own), None) for own in labels),
        "split": SpooledColumn(next((row.split for row in image.rows), None) for image in images),
    }
    files = NamedFiles(root, FileSizes(root, request.follow_links, request.storage_options), request.suffix)
    columns = Columns(image="image", label="label", split="split")
    return TableSource.of_cells(
        request.path,
        root,
        files,
        columns,
        cells,
        SpooledColumn(faults),
        request.class_names,
        storage_options=request.storage_options,
        notes=notes,
    )


BOX_TABLE = SourceFormat(
    "boxes",
    _open,
    (".csv", ".tsv"),
    r"\.[ct]sv",
    is_file=lambda path: _dialect(path) is not None,
    has_columns=True,
    has_root=True,
    has_links=True,
    siblings=r"class-descriptions.*\.csv",
)
