"""The dialects of CSV files of boxes: how each is told by its first lines, and what a row of it says.

Their rules are at the top of `kseq/sources/box_tables.py`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kseq.errors import ImageError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import check_box
from kseq.sources.list_cells import is_missing
from kseq.sources.split_names import SPLITS
from kseq.sources.text import open_text

__all__ = ["IMAGE_COLUMNS", "BoxDialect", "BoxRow", "find_box_dialect", "read_rows"]

_DELIMITERS = ",;\t|"
_ONE_CLASS = "object"
_CLASSES = ("class", "label", "class_name", "category", "labelname", "name")
IMAGE_COLUMNS = ("image_id", "image", "filename", "file_name", "path", "img", "image_name")
# Of the wheat detection of 2021, a row for each image.
_BOXES_STRING, _NO_BOX = "boxesstring", "no_box"
_FOURS = re.compile(r"\s*[\d.]+(\s+[\d.]+){3}(\s*;\s*[\d.]+(\s+[\d.]+){3})*\s*;?")
_SETS = ("train", "training", "validation", "valid", "val", "test", "unassigned")
_MOST_LETTERS = 1 << 28


class BoxRow(NamedTuple):
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
class BoxDialect:
    """What a tool writes.

    Attributes:
        matches: Whether a file is of it.
        read: What a row says, of several boxes a list; given the names of the columns and the cells; raises ImageError.
        has_names: Whether the first line has the names of columns.
        in_shares: Whether boxes are in shares of the image.
        note: What a user should know.
    """

    matches: Callable[[_Lines], bool]
    read: Callable[[Mapping[str, str], Sequence[str]], BoxRow | list[BoxRow]]
    has_names: bool = True
    in_shares: bool = False
    note: str = ""


def _is_open_images(lines: _Lines) -> bool:
    return lines.has("imageid", "labelname", "xmin", "xmax", "ymin", "ymax")


def _read_open_images(row: Mapping[str, str], _: Sequence[str]) -> BoxRow:
    corners = check_box([row.get(name) for name in ("xmin", "ymin", "xmax", "ymax")], "its corners")
    return BoxRow(row["imageid"], row["labelname"], corners)


def _is_bbox_column(lines: _Lines) -> bool:
    by_name = dict(zip((name.lower() for name in lines.names), lines.first, strict=False))
    is_list = re.fullmatch(r"[\[(]\s*-?[\d.]+(\s*,\s*-?[\d.]+){3}\s*[\])]|", by_name.get("bbox", "x")) is not None
    return is_list and not lines.has("bbox", "id", "category_id", "image_id") and any(map(lines.has, IMAGE_COLUMNS))


def _read_bbox_column(row: Mapping[str, str], _: Sequence[str]) -> BoxRow:
    image = next(row[name] for name in IMAGE_COLUMNS if name in row)
    name = next((row[known] for known in _CLASSES if known in row), _ONE_CLASS)
    cell = row["bbox"]
    if is_missing(cell):
        return BoxRow(image)
    try:
        x, y, width, height = check_box(json.loads("[" + cell.strip("[]() ") + "]"), "its bbox")
    except ValueError as error:
        raise ImageError(f"its bbox is {cell[:40]!r}, allowed is [x, y, width, height]") from error
    size = None
    if row.get("width", "").isdecimal() and row.get("height", "").isdecimal():
        size = int(row["height"]), int(row["width"])
    return BoxRow(image, name, [x, y, x + width, y + height], size=size)


def _is_boxes_string(lines: _Lines) -> bool:
    by_name = dict(zip((name.lower() for name in lines.names), lines.first, strict=False))
    cell = by_name.get(_BOXES_STRING, "")
    return any(map(lines.has, IMAGE_COLUMNS)) and (cell == _NO_BOX or _FOURS.fullmatch(cell) is not None)


def _read_boxes_string(row: Mapping[str, str], _: Sequence[str]) -> BoxRow | list[BoxRow]:
    image = next(row[name] for name in IMAGE_COLUMNS if name in row)
    cell = row[_BOXES_STRING].strip()
    if is_missing(cell) or cell.lower() == _NO_BOX:
        return BoxRow(image)
    return [BoxRow(image, _ONE_CLASS, check_box(box.split(), f"its {_BOXES_STRING}")) for box in cell.strip(";").split(";")]


def _is_retinanet(lines: _Lines) -> bool:
    cells = lines.names
    if len(cells) != 6 or not cells[0].lower().endswith(IMAGE_SUFFIXES):
        return False
    return all(map(_is_number, cells[1:5])) or not any(cells[1:])


def _read_retinanet(_: Mapping[str, str], cells: Sequence[str]) -> BoxRow:
    image, *corners, name = cells
    return BoxRow(image, name, check_box(corners, "its corners")) if any(cells[1:]) else BoxRow(image)


def _is_makesense(lines: _Lines) -> bool:
    cells = lines.names
    return len(cells) == 8 and cells[5].lower().endswith(IMAGE_SUFFIXES) and all(map(_is_number, (*cells[1:5], *cells[6:])))


def _read_makesense(_: Mapping[str, str], cells: Sequence[str]) -> BoxRow:
    name, x, y, width, height, image, *sides = cells
    left, top, across, down = check_box((x, y, width, height), "its box")
    size = (int(sides[1]), int(sides[0])) if len(sides) == 2 and all(map(str.isdecimal, sides)) else None
    return BoxRow(image, name, [left, top, left + across, top + down], size=size)


def _is_automl(lines: _Lines) -> bool:
    cells = lines.names
    has_set = cells[0].lower() in _SETS and len(cells) > 2 and cells[1].lower().endswith(IMAGE_SUFFIXES)
    has_none = len(cells) in (10, 11) and cells[0].lower().endswith(IMAGE_SUFFIXES)
    return has_set or has_none


def _read_automl(_: Mapping[str, str], cells: Sequence[str]) -> BoxRow:
    known, image, name, *corners = cells if cells[0].lower() in (*_SETS, "") else ["", *cells]
    split = SPLITS.get(known.lower())
    present = [float(corner) for corner in corners if corner and _is_number(corner)]
    if not corners or not any(corners):
        return BoxRow(image, name, None, split)
    if len(present) not in (4, 8):
        raise ImageError(f"its corners are {', '.join(corners)[:40]!r}, allowed are four or eight numbers")
    xs, ys = present[::2], present[1::2]
    return BoxRow(image, name, check_box([min(xs), min(ys), max(xs), max(ys)], "its corners"), split)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_DIALECTS = (
    BoxDialect(
        _is_open_images, _read_open_images, in_shares=True, note="its corners are taken for shares, as Open Images has them"
    ),
    BoxDialect(_is_bbox_column, _read_bbox_column, note="its column bbox is taken for [x, y, width, height] in pixels"),
    BoxDialect(
        _is_boxes_string,
        _read_boxes_string,
        note="its column BoxesString is taken for x1 y1 x2 y2; x1 y1 ...",
    ),
    BoxDialect(_is_retinanet, _read_retinanet, has_names=False, note="is taken for RetinaNet's: path, x1, y1, x2, y2, class"),
    BoxDialect(
        _is_makesense,
        _read_makesense,
        has_names=False,
        note="is taken for MakeSense's: class, x, y, width, height, image, and its size",
    ),
    BoxDialect(
        _is_automl,
        _read_automl,
        has_names=False,
        in_shares=True,
        note="is taken for AutoML's: set, path, class, corners in shares",
    ),
)


def find_box_dialect(path: str) -> BoxDialect | None:
    """Which dialect a file is of."""
    try:
        rows = read_rows(path)
        lines = _Lines(next(rows, []), next(rows, []))
    except (OSError, UnicodeError, csv.Error):
        return None
    return next((dialect for dialect in _DIALECTS if dialect.matches(lines)), None) if lines.names else None


def read_rows(path: str) -> Iterator[list[str]]:
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
