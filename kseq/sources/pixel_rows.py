"""Images that lie as numbers in the rows of CSV files: Kaggle's digits, sign language MNIST, FER2013.

The rules, besides those of `kseq/sources/pixel_tables.py`:

- The source is a file, a folder of such files, or a pattern. The name of a file tells its split. In a folder, other tables and
  those that lack the label are left out, and a line names each.
- The label is the column `label`, `class`, `emotion`, `target` or the like, or the only one besides the pixels. Other columns
  may be targets, as in a table of paths.
- A column `Usage` (FER2013) or `split` whose cells all name splits tells them: Training, PublicTest (val), PrivateTest (test).
- A row is rejected if it has cells or pixels too few or too many, something else than whole numbers from 0 to 255 as
  pixels, or no label.
- A sample is called FILE/ROW, counted from 0. Rows are read in place.

Source: the pages of the collections, and their files.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ImageError, SourceError, one_line
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source, common_size
from kseq.sources.cell_types import name_classes
from kseq.sources.column_roles import USUAL, Columns, find_columns, value_columns
from kseq.sources.file_reading import read_range
from kseq.sources.file_sets import SourceFile, find_files, split_from_name
from kseq.sources.list_cells import is_missing
from kseq.sources.listing import Listing
from kseq.sources.pixel_tables import PixelTable, RowForm, looks_like_pixels, row_form
from kseq.sources.row_numbers import MAY_NUMBER
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import SPLITS
from kseq.sources.spooled_column import SpooledColumn

__all__ = ["PIXEL_ROWS"]

_LABELS = (*USUAL["label"], "labels", "emotion", "target", "y", "Label", "letter", "digit")
_SPLIT_COLUMNS = ("usage", "split")


class _PixelFile(NamedTuple):
    """A file, and how its rows become images."""

    table: PixelTable
    name: str
    form: RowForm


@dataclass(frozen=True)
class PixelRowsSource(Source):
    """The rows of such files; the location of an image is the number of its file, the offset of its line, and its length.

    Attributes:
        files: The files.
    """

    files: tuple[_PixelFile, ...] = ()

    def shared_files(self) -> Sequence[str]:
        return tuple(file.table.path for file in self.files)

    def image_size(self) -> tuple[int, int] | None:
        return common_size([file.form.shape[axis] for axis in file.form.axes] for file in self.files)

    def fetch(self, location: tuple[int, int, int]) -> np.ndarray:
        """The pixels of an image."""
        number, offset, size = location
        table, _, form = self.files[number]
        try:
            values = table.values(read_range(table.path, offset, size))
        except csv.Error as error:
            raise ImageError(f"is not CSV: {one_line(error)}") from error
        return np.ascontiguousarray(values.reshape(form.shape).transpose(form.axes))

    @classmethod
    def open(cls, request: SourceRequest) -> PixelRowsSource:
        """Open such files as a source.

        Raises:
            SourceError: If they cannot be read, or what is what in them cannot be told.
        """
        path, notes = request.path, list[str]()
        tables = _find(path, request.shape, notes)
        columns = _find_columns(request.columns, path, tables[0][1])
        files = []
        for file, table in tables:
            missing = [name for name in value_columns(columns) if name not in table.names]
            if missing:
                notes.append(f"{file.path}: has no column {missing[0]!r}, and is not packed")
            else:
                files.append(_PixelFile(table, file.name, row_form(file.path, table.num_pixels, request.shape)))
        if not files[0].table.has_names and columns.label:
            notes.append(f"{path}: its first line has no names of columns: the first column is taken for the labels")
        names = value_columns(columns)
        cells = {name: SpooledColumn() for name in names}
        samples = SpooledColumn()
        for number, pixel_file in enumerate(files):
            samples.extend(_read(number, pixel_file, names, cells))
        if columns.split is None:
            columns = _with_split(path, columns, files, cells, samples, notes)
        if columns.label is not None:
            label = columns.label
            numbers = SpooledColumn(_number(cell) for cell in cells[label])
            cells[label] = name_classes(numbers, request.class_names)
        assembled = assemble_samples(path, columns, cells, samples, request.class_names)
        parts = (assembled.class_names, assembled.images, assembled.fields)
        return cls(path, *parts, tuple(files), box_facts=assembled.box_facts, notes=tuple(notes))


def _is_folder(listing: Listing) -> bool:
    """Whether a folder, or one in it, has a table of pixels and no image."""
    return not listing.images and listing.has_file(looks_like_pixels, ".csv", ".tsv")


PIXEL_ROWS = SourceFormat(
    "pixels",
    PixelRowsSource.open,
    (".csv", ".tsv"),
    r"\.[ct]sv",
    _is_folder,
    looks_like_pixels,
    has_columns=True,
    has_shape=True,
    downloads=r"\.[ct]sv",
)


def _find(path: str, shape: Sequence[int] | None, notes: list[str]) -> list[tuple[SourceFile, PixelTable]]:
    """The tables of a source, of which the first one with most columns besides the pixels comes first."""
    found: list[tuple[SourceFile, PixelTable]] = []
    for file in find_files(path, r"\.[ct]sv", "CSV files of pixels"):
        try:
            table = PixelTable.open(file.path, None if shape is None else math.prod(shape))
        except (OSError, csv.Error) as error:
            raise SourceError(f"{file.path}: cannot be read: {one_line(error)}") from error
        if table is not None:
            found.append((file, table))
        else:
            notes.append(f"{file.path}: is no table of pixels, and is not used")
    if not found:
        raise SourceError(
            f"{path}: has no columns of pixels, expected are pixel0, pixel1, ..., or numbers with spaces in one cell"
        )
    return sorted(found, key=lambda pair: -len(pair[1].other_names))


def _find_columns(columns: Columns, path: str, table: PixelTable) -> Columns:
    """Which columns of the tables hold what."""
    others = [name for name in table.other_names if name.lower() != "id" and not MAY_NUMBER.fullmatch(name)]
    if columns.label is None and not others and not columns.targets:
        raise SourceError(f"{path}: has pixels and no label: {spelled('columns.label', '')} packs images without labels")
    labels = _LABELS if any(name in others for name in _LABELS) else tuple(others) if len(others) == 1 else _LABELS
    names = [*table.other_names, table.pixel_name]
    found = find_columns(columns, path, names, {"image": (table.pixel_name,), "label": labels})
    if len(found.image) != 1 or found.image[0] not in (table.pixel_name, (found.image[0][0], table.pixel_name)):
        raise SourceError(f"{path}: {spelled('columns.image')} is not the column of the pixels, which is {table.pixel_name!r}")
    return found


def _read(number: int, file: _PixelFile, names: Sequence[str], cells: dict[str, SpooledColumn]) -> Iterator[FoundSample]:
    """The samples of a file; their cells are added to the columns."""
    split, size = split_from_name(file.name), int(np.prod(file.form.shape))
    blocks: dict[str, list[str | None]] = {name: [] for name in names}
    for row, line in enumerate(file.table.rows(names)):
        for name, cell in zip(names, line.cells, strict=True):
            blocks[name].append(cell)
        location = (number, line.offset, line.size)
        yield FoundSample(os.fsencode(f"{file.name}/{row}"), (location,), size, split, line.fault)
    for name, column in cells.items():
        column.extend(blocks[name])


def _with_split(
    path: str,
    columns: Columns,
    files: Sequence[_PixelFile],
    cells: dict[str, SpooledColumn],
    samples: SpooledColumn,
    notes: list[str],
) -> Columns:
    """The columns with that of the splits, if one names nothing else."""
    known = [name for name in files[0].table.other_names if name.lower() in _SPLIT_COLUMNS]
    name = next((name for name in known if name not in value_columns(columns)), None)
    if name is None or any(name not in file.table.names for file in files):
        return columns
    values = SpooledColumn(line.cells[0] for file in files for line in file.table.rows([name]))
    words = {str(value).strip().lower() for value in values if not is_missing(value)}
    if not words or not words <= SPLITS.keys():
        notes.append(f"{path}: its column {name!r} does not name splits, and is not used")
        return columns
    cells[name] = values
    notes.append(f"{path}: its column {name!r} tells the splits ({', '.join(sorted(words))})")
    return replace(columns, split=name)


def _number(cell: str | None) -> str | int | None:
    """A label that is a whole number as such, so that class names may name it."""
    return int(cell) if isinstance(cell, str) and cell.isdecimal() and len(cell) < 10 else cell
