"""CSV files of boxes whose columns are not simply corners in pixels: one dialect for each tool that writes them.

The rules, besides those of `kseq/sources/annotated_images.py`:

- Open Images: `ImageID` without suffix, `LabelName`, `XMin`, `XMax`, `YMin`, `YMax` in shares of the image. Names of classes
  are those of `class-descriptions*.csv` beside it. Boxes around groups (`IsGroupOf`) are boxes. Images lie beside the file, or
  in a folder called like the split in its name.
- A column `bbox` of `[x, y, width, height]` in pixels, a row for each box (Kaggle's wheat): a line says that it is read so.
- A column `BoxesString` of `x1 y1 x2 y2` with semicolons between boxes, or `no_box` (the wheat detection of 2021).
- RetinaNet's, without names of columns: path, x1, y1, x2, y2, class; a row without corners is an image without a box.
- MakeSense's, without names of columns: class, x, y, width, height, path, and width and height of the image.
- Google AutoML's, without names of columns: set, path, class, and corners in shares. The set is TRAIN, VALIDATION or TEST, or
  UNASSIGNED; a row of a set, a path and a class alone is an image with a label.
- Rows of one image are one sample, in the place of the first. A row that makes no sense rejects its image.

Source: the pages of Open Images, of Kaggle's wheat detection, of keras-retinanet and of Google's AutoML.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kseq.arguments import is_url
from kseq.errors import ImageError, SourceError, one_line
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage, AnnotatedSource, FoundObject
from kseq.sources.base import Source
from kseq.sources.box_dialects import IMAGE_COLUMNS, BoxDialect, BoxRow, find_box_dialect, read_rows
from kseq.sources.class_names import sort_class_names
from kseq.sources.column_roles import Columns
from kseq.sources.file_sets import split_from_name
from kseq.sources.labelled_images import label_images
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.split_names import SPLITS
from kseq.sources.table import TableSource

__all__ = ["BOX_TABLE"]


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
    dialect = find_box_dialect(path)
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
        labels = [list(dict.fromkeys(row.class_name for row in image.rows)) for image in grouped.images.values()]
        images = [_labelled(root, image, own) for image, own in zip(grouped.images.values(), labels, strict=True)]
        notes.append(f"{path}: has no box: the classes are the labels of the images")
        return label_images(request, path, root, images, [own[:1] for own in labels], notes=notes)
    names, split = _described(path), split_from_name(os.path.basename(path))
    images = [_annotated(root, image, dialect, names, split) for image in grouped.images.values()]
    folders = ("images", *(word for word in re.findall("[a-z]+", os.path.basename(path).lower()) if word in SPLITS))
    known = None if not names else sort_class_names(found.class_name for image in images for found in image.objects)
    return BoxTableSource.of(request, path, root, images, facts=Counter(), known_classes=known, notes=notes, folders=folders)


@dataclass
class _Image:
    """The rows of an image; `fault` says why one of them makes no sense."""

    name: str
    rows: list[BoxRow] = field(default_factory=list)
    fault: str | None = None


@dataclass
class _Grouped:
    """The rows of a file by their images."""

    dialect: BoxDialect
    images: dict[str, _Image] = field(default_factory=dict)
    has_boxes: bool = False
    labels: bool = False

    def read(self, path: str) -> None:
        """Read all rows."""
        rows = read_rows(path)
        names = [name.lower() for name in next(rows)] if self.dialect.has_names else []
        for number, cells in enumerate(rows, 1):
            self._add(number, names, cells)

    def _add(self, number: int, names: Sequence[str], cells: list[str]) -> None:
        if len(cells) < len(names):
            self._fault(f"row {number}", f"row {number} has {len(cells)} cells, the first line names {len(names)} columns")
            return
        values = dict(zip(names, cells, strict=False))
        try:
            found = self.dialect.read(values, cells)
        except (ImageError, ValueError, KeyError) as error:
            # Python's words for too few cells say nothing of a file.
            reason = (
                f": {error}" if isinstance(error, ImageError) else f" has {len(cells)} cells, the table {self.dialect.note}"
            )
            known = next((cell for cell in cells if cell.lower().endswith(IMAGE_SUFFIXES)), None)
            name = known or next((values[name] for name in ("imageid", *IMAGE_COLUMNS) if values.get(name)), f"row {number}")
            self._fault(name, f"row {number}{reason}")
            return
        for row in found if isinstance(found, list) else [found]:
            if not row.image:
                self._fault(f"row {number}", f"row {number} names no image")
                return
            self.has_boxes |= row.box is not None
            self.labels |= row.box is None and bool(row.class_name)
            self.images.setdefault(row.image, _Image(row.image)).rows.append(row)

    def _fault(self, name: str, reason: str) -> None:
        image = self.images.setdefault(name, _Image(name))
        image.fault = image.fault or reason


def _annotated(root: str, image: _Image, dialect: BoxDialect, names: Mapping[str, str], split: str | None) -> AnnotatedImage:
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
            return {cells[0]: cells[1] for cells in read_rows(os.path.join(folder, name)) if len(cells) == 2}
        except (OSError, csv.Error) as error:
            raise SourceError(f"{os.path.join(folder, name)}: cannot be read: {one_line(error)}") from error
    return {}


def _labelled(root: str, image: _Image, labels: Sequence[str]) -> AnnotatedImage:
    """An image of the labels that its rows say, of which one is allowed."""
    several = f"has {len(labels)} labels, {', '.join(labels)[:40]}" if len(labels) > 1 else None
    split = image.rows[0].split if image.rows else None
    # The rows of a table of labels are counted there.
    fault = None if image.fault is None else re.sub(r"^row \d+:? ", "", image.fault)
    return AnnotatedImage(_local(root, image.name), split=split, rejection=fault or several)


BOX_TABLE = SourceFormat(
    "boxes",
    _open,
    (".csv", ".tsv"),
    r"\.[ct]sv",
    is_file=lambda path: find_box_dialect(path) is not None,
    has_columns=True,
    has_root=True,
    has_links=True,
    siblings=r"class-descriptions.*\.csv",
)
