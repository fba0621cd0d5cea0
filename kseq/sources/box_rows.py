"""Tables with a row for each box, as detection tools write them: from their rows to a sample for each image.

The rules:

- The four columns of the corners are called `xmin`, `ymin`, `xmax`, `ymax`, or in another of the spellings below, in upper or
  lower case. Boxes are in pixels. Where the caller names a label, boxes or targets, a table has a sample in each row.
- The column of the classes is that of the labels, by its usual names.
- Rows that name the same image are one sample, in the place of the first of them. What the other columns say is taken from that
  row; an image whose rows name several splits is rejected.
- A row without corners is an image without a box. An image with a row that has a corner that is no number is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import spelled
from kseq.errors import tell
from kseq.sources.cell_types import Rejection
from kseq.sources.column_roles import USUAL, Columns, used_columns
from kseq.sources.list_cells import is_missing
from kseq.sources.spooled_column import SpooledColumn

__all__ = ["BoxRows", "GroupedRows", "find_box_columns"]

_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"),
    ("left", "top", "right", "bottom"),
)
# What tools call the images and the classes of such tables, besides the usual names.
_IMAGES = ("image", "filename", "image_id", "imageid", "path", "image_path", "file", "file_name", "image_name", "img")
_LABELS = ("class", "label", "class_name", "category", "labelname", "name", "class_id", "label_name")
# Columns of the samples of such a table that are no columns of the file.
_BOXES, _BOX_LABELS = "(boxes)", "(box labels)"


class GroupedRows(NamedTuple):
    """The rows of a table, those of each image together.

    Attributes:
        columns: Which of the cells hold what.
        cells: The cells of each image, by column.
        rows: The first row of each image, counted from 0.
    """

    columns: Columns
    cells: dict[str, SpooledColumn]
    rows: list[int]


@dataclass(frozen=True)
class BoxRows:
    """Which columns of such a table hold what.

    Attributes:
        columns: The columns of the caller, with the class of a box as the label.
        corners: The columns of x1, y1, x2 and y2.
        label: The column of the classes of the boxes; None if there is none.
    """

    columns: Columns
    corners: tuple[str, ...]
    label: str | None

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
            boxes.append(odd or [[float(column[row]) for column in corners] for row in kept])
            labels.append([] if names is None or odd else [names[row] for row in kept])
        first_rows = [rows[0] for rows in found]
        used = {name for _, name in used_columns(columns)}
        grouped = {name: SpooledColumn(column[row] for row in first_rows) for name, column in cells.items() if name in used}
        grouped[_BOXES] = boxes
        columns = replace(columns, label=None, boxes=_BOXES, box_labels=None if names is None else _BOX_LABELS)
        if names is not None:
            grouped[_BOX_LABELS] = labels
        tell(
            f"{path}: has a row for each box ({', '.join(self.corners)}): {len(firsts):,} rows are {len(found):,} images with "
            f"their boxes ({spelled('columns.label')} packs a sample for each row)"
        )
        return GroupedRows(columns, grouped, first_rows)

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
    by_name = {name.lower(): name for name in names}
    usual = next((known for known in _CORNERS if all(name in by_name for name in known)), None)
    if usual is None or columns.boxes is not None or columns.label is not None or columns.targets:
        return None
    corners = tuple(by_name[name] for name in usual)
    image = columns.image or _usual(_IMAGES, by_name, USUAL["image"])
    label = next(iter(_usual(_LABELS, by_name, USUAL["label"])), None)
    # While columns are looked for, that of the classes counts as the label.
    found = replace(columns, image=image, label=label or "")
    return BoxRows(found, corners, label)


def _usual(known: Sequence[str], by_name: Mapping[str, str], usual: Sequence[str]) -> tuple[str, ...]:
    """The column with the first of some names."""
    return tuple(by_name[name] for name in (*usual, *known) if name in by_name)[:1]
