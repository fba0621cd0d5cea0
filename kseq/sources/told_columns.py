"""Columns of a table that nobody named, and that are called as none usually is: told by what their cells hold.

The rules, for tables of paths; a line tells of each guess, and of the way out:

- The images are in the first column of which most of the first cells name files; else in the first whose cells look like names
  of images, or that is called `image_id` or the like, so that the refusal can say where its files are.
- Where all other columns hold 0 and 1 (`image,cat,dog,bird`), they are the classes: of labels if each row has one 1, else of
  several labels. Classes have the order of the columns. A column that numbers the rows (see `kseq/sources/row_numbers.py`) is
  none of them, and neither is one that says splits.
- A lone other column whose values come again is the label.
- Else the table is refused, with the options that pack what its columns look like.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from kseq.arguments import spelled
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.class_names import WHOLE_NUMBER
from kseq.sources.column_roles import Columns, find_usual, has_targets, image_columns
from kseq.sources.list_cells import is_missing, parse_cell
from kseq.sources.named_files import NamedFiles
from kseq.sources.row_numbers import numbers_rows
from kseq.sources.split_names import is_split_column
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table_files import Table
from kseq.storage.field_names import as_targets

__all__ = ["ONE_HOT", "ToldColumns", "looks_drawn", "propose", "tell_columns"]

ONE_HOT = "(one-hot)"
"""Stands for the columns of 0 and 1; no table has it."""

_IMAGES = re.compile(r"(image|img|photo|picture|file)[ _-]?(id|names?|index|key|file)|images?|imgs?|filenames?", re.IGNORECASE)
_TEXTS = re.compile(r"text|captions?|prompts?|descriptions?|sentences?|transcription", re.IGNORECASE)
_LIKELY = re.compile(r"labels?|targets?|class|categor|species|breed|diagnosis|tags?|findings?", re.IGNORECASE)
_RUN_LENGTHS = re.compile(r"\d+ \d+( \d+ \d+)*")
_LOOKED_AT = 50
# Among so many columns that of the images is looked for.
_MOST_COLUMNS = 500
# How many columns a proposal names.
_SHOWN = 4
_MARKS: Mapping[Any, int] = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, 0: 0, 1: 1}


@dataclass(frozen=True)
class ToldColumns:
    """What cells tell of the columns of a table.

    Attributes:
        columns: The columns of the caller, and those that were found.
        one_hot: The columns that `ONE_HOT` stands for.
        hint: What packs the table, where it has no label; for a refusal.
        lines: What to tell of the guesses, once the table is no refusal.
    """

    columns: Columns
    one_hot: tuple[str, ...] = ()
    hint: str = ""
    lines: tuple[str, ...] = ()

    def read(self, table: Table, names: Sequence[str], faults: SpooledColumn) -> dict[str, SpooledColumn]:
        """The cells of some columns, `ONE_HOT` among them: the classes of each row that have a 1."""
        real = [name for name in names if name != ONE_HOT]
        return self.with_classes(table.read(list(dict.fromkeys([*real, *self.one_hot])), faults))

    def with_classes(self, cells: dict[str, SpooledColumn]) -> dict[str, SpooledColumn]:
        """The cells with those of `ONE_HOT`."""
        return {**cells, ONE_HOT: self._classes(cells)} if self.one_hot else cells

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of a label that columns of 0 and 1 make up; None where there is no such label."""
        return self.one_hot if self.columns.label == ONE_HOT else None

    @property
    def target_classes(self) -> dict[str, tuple[str, ...]] | None:
        """Those of several labels."""
        return {name: self.one_hot for name, column in self.columns.targets if column == ONE_HOT} or None

    def _classes(self, cells: Mapping[str, SpooledColumn]) -> SpooledColumn:
        is_label = self.columns.label == ONE_HOT
        rows = zip(*(cells[name] for name in self.one_hot), strict=True)
        names = ([name for name, cell in zip(self.one_hot, row, strict=True) if _mark(cell)] for row in rows)
        return SpooledColumn((of_row[0] if of_row else None) if is_label else of_row for of_row in names)


def tell_columns(path: str, table: Table, columns: Columns, files: NamedFiles) -> ToldColumns:
    """Which columns hold the images and the labels, as far as cells tell it.

    Args:
        path: The table, for messages.
        table: The table.
        columns: The columns as the caller named them.
        files: Finds the files that cells name.
    """
    names = list(dict.fromkeys(table.names))
    lacks_image = not columns.image and not find_usual("image", names)
    lacks_label = columns.label is None and not has_targets(columns) and not find_usual("label", names)
    if not (lacks_image or lacks_label):
        return ToldColumns(columns)
    head = {name: [cell for cell in cells if not is_missing(cell)][:_LOOKED_AT] for name, cells in table.head().items()}
    lines: list[str] = []
    if lacks_image:
        image = _find_images(head, files)
        if image is None:
            return ToldColumns(columns)
        columns = replace(columns, image=(image,))
        lines.append(f"{path}: the images are those that the column {image!r} names ({spelled('columns.image')} says another)")
    told = _find_labels(path, table, columns, head) if lacks_label else ToldColumns(columns)
    return replace(told, lines=(*lines, *told.lines))


def _find_images(head: Mapping[str, Sequence[Any]], files: NamedFiles) -> str | None:
    """The column that names the images; None if none seems to."""
    # Of a hundred thousand columns of numbers each would be looked for on the disk.
    first = islice(head.items(), _MOST_COLUMNS)
    filled = {name: cells for name, cells in first if cells and not numbers_rows(name, cells)}
    there = (
        name
        for in_folders in (False, True)
        for name, cells in filled.items()
        if 2 * sum(files.is_there(cell, in_folders=in_folders) for cell in cells) > len(cells)
    )
    like_images = (name for name, cells in filled.items() if _names_images(cells))
    return next(chain(there, like_images, filter(_IMAGES.fullmatch, filled)), None)


def _find_labels(path: str, table: Table, columns: Columns, head: Mapping[str, Sequence[Any]]) -> ToldColumns:
    used = {*image_columns(columns), *find_usual("image", list(head)), columns.split, columns.group, columns.sample_weight}
    others = [name for name in head if name not in used and not is_split_column(name) and not numbers_rows(name, head[name])]
    others = [name for name in others if head[name]]
    marks = [name for name in others if all(_mark(cell) is not None for cell in head[name])]
    if len(others) > 1 and marks == others:
        faults = SpooledColumn()
        found = _tell_one_hot(path, columns, table.read(others, faults), faults)
        if found is not None:
            return found
    if len(others) == 1 and _is_label(others[0], head[others[0]]):
        name = others[0]
        further = spelled("columns", label="", targets=as_targets([name]))
        line = f"{path}: the labels are in the column {name!r}, the only other one ({further} packs numbers, or several labels)"
        return ToldColumns(replace(columns, label=name), lines=(line,))
    return ToldColumns(columns, hint=propose({name: head[name] for name in others}))


def _tell_one_hot(path: str, columns: Columns, cells: Mapping[str, SpooledColumn], faults: SpooledColumn) -> ToldColumns | None:
    """The classes that columns of 0 and 1 are; None if a row has something else, or there is one column.

    Args:
        path: The table, for messages.
        columns: The columns that are known.
        cells: The cells of all other columns.
        faults: For each row why it cannot be read, or None.
    """
    names = list(cells)
    if len(names) < 2:
        return None
    is_single = True
    for fault, row in zip(faults, zip(*cells.values(), strict=True), strict=True):
        values = [_mark(cell) for cell in row]
        if fault is None and None in values:
            return None
        is_single = is_single and (fault is not None or values.count(1) == 1)
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    says = "one 1 in each row, its class" if is_single else "the 1s of a row are its labels"
    numbers = spelled("columns", label="", targets=as_targets(names[:_SHOWN]))
    lines = (f"{path}: the columns {shown} hold 0 and 1, {says} ({numbers} packs numbers)",)
    if is_single:
        return ToldColumns(replace(columns, label=ONE_HOT), tuple(names), lines=lines)
    several = replace(columns, label="", targets=(("labels", ONE_HOT),), kinds=(("labels", "multi_label"),))
    return ToldColumns(several, tuple(names), lines=lines)


def _mark(cell: Any) -> int | None:
    """0 or 1; None for anything else."""
    return _MARKS.get(cell.strip().lower() if isinstance(cell, str) else cell) if not isinstance(cell, (list, dict)) else None


def _is_label(name: str, cells: Sequence[Any]) -> bool:
    """Whether cells look like classes: words or whole numbers, some of them again."""
    texts = [str(cell).strip() for cell in cells if not isinstance(cell, (list, dict))]
    are_whole = all(map(WHOLE_NUMBER.fullmatch, texts))
    if _names_images(cells):
        return False
    return 1 <= len(set(texts)) < len(texts) == len(cells) and (_has_words(cells) or are_whole) and not _TEXTS.fullmatch(name)


def _names_images(cells: Sequence[Any]) -> bool:
    return all(str(cell).lower().endswith(IMAGE_SUFFIXES) for cell in cells)


def _has_words(cells: Sequence[Any]) -> bool:
    return all(isinstance(parse_cell(cell), str) for cell in cells)


def propose(columns: Mapping[str, Iterable[Any]]) -> str:
    """The options that pack columns as what their cells look like, for a refusal; empty if they look like nothing known."""
    head = {name: [cell for cell in islice(cells, _LOOKED_AT) if not is_missing(cell)] for name, cells in columns.items()}
    names = [name for name in head if head[name]]
    # The first few are shown.
    names.sort(key=lambda name: _LIKELY.search(name) is None)
    # There may be a hundred thousand.
    marks = dict.fromkeys(name for name in names if all(_mark(cell) is not None for cell in head[name]))
    proposals = []
    for name in names:
        cells = head[name]
        if len(marks) > 1 and name in marks:
            continue
        if all(isinstance(cell, str) and _RUN_LENGTHS.fullmatch(cell.strip()) for cell in cells):
            masks = spelled("columns", label="", mask="mask")
            return f"; {name} holds run lengths of masks: draw each as a PNG, and list them in a column mask: {masks}"
        if _TEXTS.fullmatch(name):
            proposals.append(f"{spelled('columns', label='', text=name)} packs text")
        elif _names_images(cells):
            proposals.append(f"{spelled('columns', label='', mask=name)} packs masks")
        elif any(isinstance(parse_cell(cell), list) for cell in cells):
            proposals.append(f"{spelled('columns', label='', targets={'tags': name})} packs what {name} lists")
        elif (
            (_has_words(cells) or _LIKELY.search(name))
            and (_is_label(name, cells) or len(names) == 1)
            and not name.lower().endswith("id")
        ):
            proposals.append(f"{spelled('columns.label', name)} packs classes")
    is_lone = len(names) == 1 and _has_words(head[names[0]])
    if is_lone and not (_TEXTS.fullmatch(names[0]) or _names_images(head[names[0]])):
        proposals.append(f"{spelled('columns', label='', targets={'tags': names[0]})} packs several labels")
    numbers = list(marks) if len(marks) > 1 else [name for name in names if all(map(_is_number, head[name]))]
    if numbers:
        proposals.append(f"{spelled('columns', label='', targets=as_targets(numbers[:_SHOWN]))} packs numbers")
    return "".join(f"; {proposal}" for proposal in proposals[:_SHOWN])


def _is_number(cell: Any) -> bool:
    return isinstance(parse_cell(cell), (int, float))


def looks_drawn(cells: Sequence[Any]) -> bool:
    """Whether cells hold what people draw on images: lists, objects, paths; a count or a mark is none."""
    return any(not _is_number(cell) and os.path.basename(str(cell)) != "" for cell in cells if not is_missing(cell))
