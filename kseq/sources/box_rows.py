"""Tables with a row for each box, as detection tools write them: from their rows to a sample for each image.

The rules:

- The four columns of the corners are called `xmin`, `ymin`, `xmax`, `ymax`, or in another of the spellings below, in upper or
  lower case, with `_`, `-`, `.` or a space between words, and with `bbox` or the like before them. Columns of a corner or the
  centre, and of width and height (`x`, `y`, `w`, `h`), are read as that, and a line says so. Boxes are in pixels, or in shares
  of the image where all sides are from 0 to 1, which the line says. Where the caller names a label, boxes or targets, a table
  has a sample in each row.
- Columns `width` and `height` besides say the size of the image: of an image of another size the boxes would lie elsewhere, so
  it is rejected; where it is that of the pixels before EXIF turns them, the boxes are turned too.
- The column of the classes is that of the labels, by its usual names.
- Rows that name the same image are one sample, in the place of the first of them. What the other columns say is taken from that
  row; an image whose rows name several splits is rejected.
- A row without corners is an image without a box. An image with a row that has a corner that is no number is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import spelled
from kseq.errors import tell
from kseq.sources.cell_types import Rejection
from kseq.sources.column_roles import USUAL, Columns, used_columns
from kseq.sources.list_cells import is_missing
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.stated_sizes import stated_size

__all__ = ["IN_SHARES", "BoxRows", "GroupedRows", "find_box_columns"]

IN_SHARES = (0, 0)
"""In place of height and width, where boxes are in shares of these."""

# Names of columns without what stands between their words: x1, y1, x2, y2; or the upper left corner and the size; or the
# centre and the size.
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
    ("startx", "starty", "endx", "endy"),
    ("xstart", "ystart", "xend", "yend"),
    ("x0", "y0", "x1", "y1"),
    ("upperleftcornerx", "upperleftcornery", "lowerrightcornerx", "lowerrightcornery"),
)
_SIZES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("left", "top", "w", "h"),
    ("xmin", "ymin", "width", "height"),
    ("xmin", "ymin", "w", "h"),
    ("x1", "y1", "w", "h"),
)
_CENTRES = (
    ("xcenter", "ycenter", "width", "height"),
    ("centerx", "centery", "width", "height"),
    ("xcentre", "ycentre", "width", "height"),
    ("xcenter", "ycenter", "w", "h"),
    ("cx", "cy", "w", "h"),
    ("cx", "cy", "width", "height"),
    ("xc", "yc", "w", "h"),
)
_FORMS = {"": _CORNERS, "the upper left corner and the size": _SIZES, "the centre and the size": _CENTRES}
# A share that was computed from others may lie so far outside of 0 to 1.
_ROUNDED = 0.01
_BEFORE = ("", "bbox", "box", "boundingbox", "roi")
_IMAGE_SIZES = (("height", "width"), ("imageheight", "imagewidth"), ("imgheight", "imgwidth"), ("imgh", "imgw"))
# What tools call the images and the classes of such tables, besides the usual names.
_IMAGES = ("image", "filename", "image_id", "imageid", "path", "image_path", "file", "file_name", "image_name", "img")
_LABELS = ("class", "label", "class_name", "category", "labelname", "name", "class_id", "label_name", "annotation_tag")
# Columns of the samples of such a table that are no columns of the file.
_BOXES, _BOX_LABELS = "(boxes)", "(box labels)"


class GroupedRows(NamedTuple):
    """The rows of a table, those of each image together.

    Attributes:
        columns: Which of the cells hold what.
        cells: The cells of each image, by column.
        rows: The first row of each image, counted from 0.
        sizes: The height and width that the table says of each image, or `IN_SHARES`; None where it does not.
    """

    columns: Columns
    cells: dict[str, SpooledColumn]
    rows: list[int]
    sizes: list[tuple[int, int] | None]


@dataclass(frozen=True)
class BoxRows:
    """Which columns of such a table hold what.

    Attributes:
        columns: The columns of the caller, with the class of a box as the label.
        corners: The columns of x1, y1, x2 and y2, or of what the form says.
        label: The column of the classes of the boxes; None if there is none.
        form: One of `_FORMS`.
        size: The columns of the height and the width of the image; empty if there are none.
    """

    columns: Columns
    corners: tuple[str, ...]
    label: str | None
    form: str
    size: tuple[str, ...]

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that are read besides those of the samples."""
        return (*self.corners, *self.size)

    def group(self, path: str, columns: Columns, cells: Mapping[str, SpooledColumn], firsts: np.ndarray) -> GroupedRows:
        """The rows of a table, those of each image together.

        Args:
            path: The table, for messages.
            columns: The columns, as `find_columns` found them.
            cells: The cells of each column of the table.
            firsts: `(n,)`: for each row the first row of its image.
        """
        found = find_rows(firsts)
        boxes, labels = SpooledColumn(), SpooledColumn()
        corners = [list(cells[name]) for name in self.corners]
        names = None if self.label is None else list(cells[self.label])
        splits = None if columns.split is None else list(cells[columns.split])
        for rows in found:
            kept = [row for row in rows if not all(is_missing(column[row]) for column in corners)]
            odd = self._odd_row(rows, splits) or _odd_corner(kept, corners, self.corners)
            boxes.append(odd or [self._box([float(column[row]) for column in corners]) for row in kept])
            labels.append([] if names is None or odd else [names[row] for row in kept])
        first_rows = [rows[0] for rows in found]
        used = {name for _, name in used_columns(columns)}
        grouped = {name: SpooledColumn(column[row] for row in first_rows) for name, column in cells.items() if name in used}
        grouped[_BOXES] = boxes
        columns = replace(columns, label=None, boxes=_BOXES, box_labels=None if names is None else _BOX_LABELS)
        if names is not None:
            grouped[_BOX_LABELS] = labels
        are_shares = _are_shares(boxes)
        form = f": {self.form}" if self.form else ""
        shares = ", in shares of the image" if are_shares else ""
        classes = "" if names is not None else ", and no column that names their classes"
        tell(
            f"{path}: has a row for each box ({', '.join(self.corners)}{form}{shares}){classes}: {len(firsts):,} rows are "
            f"{len(found):,} images with their boxes ({spelled('columns.label')} packs a sample for each row)"
        )
        stated = repeat(IN_SHARES, len(found)) if are_shares else self._stated(cells, first_rows)
        return GroupedRows(columns, grouped, first_rows, list(stated))

    def _stated(self, cells: Mapping[str, SpooledColumn], rows: Sequence[int]) -> Iterator[tuple[int, int] | None]:
        """The height and width that some rows say of their image; None where they do not."""
        sizes = [list(cells[name]) for name in self.size]
        for row in rows:
            yield stated_size(*(_whole(column[row]) for column in sizes)) if sizes else None

    def _box(self, sides: Sequence[float]) -> list[float]:
        """x1, y1, x2, y2 of the cells of a box."""
        x, y, width, height = sides
        if not self.form:
            return list(sides)
        if _FORMS[self.form] is _SIZES:
            return [x, y, x + width, y + height]
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]

    @staticmethod
    def _odd_row(rows: Sequence[int], splits: Sequence[Any] | None) -> Rejection | None:
        """Why the rows of an image do not go together."""
        if splits is None or len({splits[row] for row in rows}) == 1:
            return None
        other = next(row for row in rows if splits[row] != splits[rows[0]])
        return Rejection(f"is in split {splits[rows[0]]!r}, and by row {other + 1} in split {splits[other]!r}")


def find_rows(firsts: np.ndarray) -> list[list[int]]:
    """The rows of each image, in the order of their first rows."""
    order = np.argsort(firsts, kind="stable")
    starts = np.flatnonzero(np.diff(firsts[order], prepend=-1))
    return [rows.tolist() for rows in np.split(order, starts[1:])] if len(firsts) else []


def _odd_corner(rows: Sequence[int], corners: Sequence[Sequence[Any]], names: Sequence[str]) -> Rejection | None:
    """Why the boxes of an image cannot be read."""
    for row in rows:
        for name, column in zip(names, corners, strict=True):
            try:
                float(column[row])
            except (TypeError, ValueError, OverflowError):
                return Rejection(f"has {str(column[row])[:40]!r} as {name} in row {row + 1}, allowed is a number")
    return None


def find_box_columns(columns: Columns, names: Sequence[str]) -> BoxRows | None:
    """Which columns hold the corners of boxes and their classes; None if the table has a sample in each row.

    Args:
        columns: The columns as the caller named them.
        names: The columns of the table.
    """
    by_name = {_plain(name): name for name in reversed(names)}
    form, corners = _find_form(names)
    if not corners or columns.boxes is not None or columns.label is not None or columns.targets:
        return None
    image = columns.image or _usual(_IMAGES, by_name, USUAL["image"])
    label = next(iter(_usual(_LABELS, by_name, USUAL["label"])), None)
    # While columns are looked for, that of the classes counts as the label.
    found = replace(columns, image=image, label=label or "")
    plain = {_plain(name): name for name in names if name not in corners}
    size = next((known for known in _IMAGE_SIZES if set(known) <= set(plain)), ())
    return BoxRows(found, corners, label, form, tuple(plain[name] for name in size))


def _are_shares(boxes: Iterable[Any]) -> bool:
    """Whether all sides of boxes are shares of their image: in [0, 1], and not all of them 0 or 1."""
    has_fraction = False
    for of_image in boxes:
        sides = [] if isinstance(of_image, Rejection) else [side for box in of_image for side in box]
        if any(not -_ROUNDED <= side <= 1 + _ROUNDED for side in sides):
            return False
        has_fraction = has_fraction or any(0 < side < 1 for side in sides)
    return has_fraction


def _find_form(names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """How the sides of boxes are said, one of `_FORMS`, and in which columns; no columns if nothing says them."""
    plain = {_plain(name): name for name in reversed(names)}
    for form, spellings in _FORMS.items():
        for known in spellings:
            for before in _BEFORE:
                if all(before + name in plain for name in known):
                    return form, tuple(plain[before + name] for name in known)
    return "", ()


def _plain(name: str) -> str:
    """The name of a column in lower case, without what stands between its words."""
    return re.sub(r"[\W_]+", "", name.lower())


def _whole(cell: Any) -> Any:
    """The cell of a size, as pandas writes it too: 640.0."""
    return cell[:-2] if isinstance(cell, str) and cell.endswith(".0") else cell


def _usual(known: Sequence[str], by_name: Mapping[str, str], usual: Sequence[str]) -> tuple[str, ...]:
    """The column with the first of some names."""
    return tuple(by_name[name] for name in map(_plain, (*usual, *known)) if name in by_name)[:1]
