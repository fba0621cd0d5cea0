"""CSV files that hold pixels: which of their columns, and the rows with their places in the file.

The rules:

- Pixels are in columns called `pixel0`, `pixel1`, ... (also `pixel_1`, `px1`, `1x1`, or plain numbers from 0 or 1 on), in the
  order of these numbers; or all in one cell, with spaces between (`70 80 82`); or the file has no names of columns, and its
  first line is numbers: then the first column is the label, unless all of them are pixels.
- An image is square if nothing else is said. Of three values for each pixel, nobody knows whether they lie pixel by pixel or
  channel by channel: `shape` says it, as `(height, width, 3)` or `(3, height, width)`.
- A value is a whole number from 0 to 255.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kseq.arguments import spelled
from kseq.errors import ArgumentError, ImageError, SourceError, one_line
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.images.pixel_form import CHANNELS
from kseq.sources.cell_types import Rejection
from kseq.sources.text import open_text

__all__ = ["PixelRow", "PixelTable", "RowForm", "looks_like_pixels", "row_form"]

PIXELS = "pixels"
_DELIMITERS = ",;\t|"
# Fewer columns of numbers may be anything.
_LEAST = 16
_PIXEL_NAME = re.compile(r"(?:pixels?|px|pix|p)?[ _.-]?(\d+)", re.IGNORECASE)
_GRID_NAME = re.compile(r"(\d+)x(\d+)", re.IGNORECASE)
_NUMBERS = re.compile(r"\s*\d+(\.0*)?(\s+\d+(\.0*)?){15,}\s*")
_MOST_LETTERS = 1 << 28


class PixelTable(NamedTuple):
    """A CSV file of pixels.

    Attributes:
        path: The file.
        encoding: Of its text.
        delimiter: Between its cells.
        names: The names of the columns; numbers where the file has none.
        has_names: Whether its first line has names.
        pixels: The columns of the pixels, in their order; one if a cell has all of them.
        num_pixels: How many values an image has.
    """

    path: str
    encoding: str
    delimiter: str
    names: tuple[str, ...]
    has_names: bool
    pixels: tuple[int, ...]
    num_pixels: int

    @classmethod
    def open(cls, path: str, num_pixels: int | None = None) -> PixelTable | None:
        """Look at the first two lines of a file; None if they are not those of such a table.

        Args:
            path: The file.
            num_pixels: How many values an image has; None if that is not known.

        Raises:
            OSError: If it cannot be read.
        """
        with open_text(path) as file:
            encoding, head, first = file.encoding, file.readline(), file.readline()
        delimiter = max(_DELIMITERS, key=head.count)
        names, cells = _cells(head, delimiter), _cells(first, delimiter)
        if not names or any(cell.lower().endswith(IMAGE_SUFFIXES) for cell in (*names, *cells)):
            return None
        known = cls(path, encoding, delimiter, tuple(names), True, (), 0)
        pixels = _named_pixels(names)
        if pixels:
            return known._replace(pixels=pixels, num_pixels=len(pixels))
        if all(map(_is_number, names)):
            num_labels = len(names) - num_pixels if num_pixels else 0 if _side(len(names)) else 1
            if num_labels not in (0, 1):
                return None
            pixels = tuple(range(num_labels, len(names)))
            numbered = tuple("label" if column < num_labels else f"pixel{column - num_labels}" for column in range(len(names)))
            is_image = len(pixels) >= _LEAST and (num_pixels or _side(len(pixels)))
            return known._replace(names=numbered, has_names=False, pixels=pixels, num_pixels=len(pixels)) if is_image else None
        column = next((column for column, cell in enumerate(cells) if _NUMBERS.fullmatch(cell)), None)
        if column is None or len(cells) != len(names):
            return None
        return known._replace(pixels=(column,), num_pixels=len(cells[column].split()))

    @property
    def pixel_name(self) -> str:
        """What the column of the pixels is called."""
        return self.names[self.pixels[0]] if len(self.pixels) == 1 else PIXELS

    @property
    def other_names(self) -> list[str]:
        """The names of the other columns."""
        columns = set(self.pixels)
        return [name for column, name in enumerate(self.names) if column not in columns]

    def rows(self, asked: Sequence[str]) -> Iterator[PixelRow]:
        """All rows: where they lie, and some of their cells.

        Raises:
            SourceError: If the file cannot be read.
        """
        columns = [self.names.index(name) for name in asked]
        if not _is_of_bytes(self.encoding):
            raise SourceError(f"{self.path}: is {self.encoding}, allowed is UTF-8 for a table of pixels: save it as UTF-8")
        try:
            with open(self.path, "rb") as file:
                offset = len(file.readline()) if self.has_names else 0
                file.seek(offset)
                for line in file:
                    if line.strip():
                        yield PixelRow(offset, len(line), *self._parse(line, columns))
                    offset += len(line)
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def _parse(self, line: bytes, columns: Sequence[int]) -> tuple[list[str | None], str | None]:
        """Some of the cells of a row, and why it cannot be read."""
        try:
            cells = self.cells(line)
        except csv.Error as error:
            return [None] * len(columns), Rejection(f"is not CSV: {one_line(error)}")
        if len(cells) != len(self.names):
            return [None] * len(columns), f"has {len(cells)} cells, expected are {len(self.names)}"
        return [cells[column] for column in columns], None

    def cells(self, line: bytes) -> list[str]:
        """The cells of a line; raises csv.Error."""
        text = line.decode(self.encoding, "surrogateescape").removeprefix("\ufeff")
        return _cells(text, self.delimiter)

    def values(self, line: bytes) -> np.ndarray:
        """The values of the pixels in a line: `(n,)` uint8.

        Raises:
            ImageError: If they are not as many as in the first row, or no pixels.
        """
        cells = self.cells(line)
        texts = cells[self.pixels[0]].split() if len(self.pixels) == 1 else [cells[column] for column in self.pixels]
        if len(texts) != self.num_pixels:
            raise ImageError(f"has {len(texts)} pixels, expected are {self.num_pixels} as in the first row")
        try:
            numbers = np.array(texts, np.float64)
        except ValueError:
            wrong = next(text for text in texts if not _is_number(text))
            raise ImageError(f"has {wrong[:40]!r} as a pixel, allowed are whole numbers from 0 to 255") from None
        with np.errstate(invalid="ignore"):
            values = numbers.astype(np.uint8)
        if not np.array_equal(values, numbers):
            first = float(numbers[np.argmax(values != numbers)])
            hint = " (of shares of 1: multiply them by 255)" if 0 < first < 1 else ""
            raise ImageError(f"has {first:g} as a pixel, allowed are whole numbers from 0 to 255{hint}")
        return values


class PixelRow(NamedTuple):
    """A row: where its line begins in the file, how long that is, the cells that were asked for, and why it cannot be read."""

    offset: int
    size: int
    cells: list[str | None]
    fault: str | None


class RowForm(NamedTuple):
    """How values become an image: their shape, and its axes in the order height, width, channels."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]


def looks_like_pixels(path: str) -> bool:
    """Whether a CSV holds pixels."""
    try:
        return PixelTable.open(path) is not None
    except (OSError, UnicodeError, csv.Error):
        return False


def row_form(path: str, num_pixels: int, shape: Sequence[int] | None) -> RowForm:
    """How so many values become an image.

    Args:
        path: The file, for messages.
        num_pixels: How many values there are.
        shape: As the caller says; None for a square image of one channel.

    Raises:
        ArgumentError: If the shape is none of an image of so many values.
        SourceError: If a shape is needed.
    """
    if shape is None:
        side = _side(num_pixels)
        if side is None:
            ways = f"{spelled('shape', (60, 80))} says what they are"
            raise SourceError(f"{path}: has {num_pixels} pixels in a row, which are no square: {ways}")
        if side * side == num_pixels:
            return RowForm((side, side), (0, 1))
        raise SourceError(
            f"{path}: has {num_pixels} pixels in a row, which are {side} x {side} of three channels: "
            f"{spelled('shape', (side, side, 3))} says that they lie pixel by pixel, "
            f"{spelled('shape', (3, side, side))} channel by channel"
        )
    sides, channels = tuple(shape), tuple(CHANNELS.values())
    # Where both may be channels, the two that are equal are the sides.
    is_planar = len(sides) == 3 and sides[0] in channels and (sides[2] not in channels or sides[0] != sides[1] == sides[2])
    if math.prod(sides) != num_pixels or not (len(sides) == 2 or is_planar or (len(sides) == 3 and sides[2] in channels)):
        raise ArgumentError(
            f"{path}: {spelled('shape', sides)}: allowed are height and width, with 1, 3 or 4 channels before or behind "
            f"them, of {num_pixels} pixels"
        )
    return RowForm(sides, (1, 2, 0) if is_planar else tuple(range(len(sides))))


def _cells(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return [cell.strip() for cell in line.split(delimiter)] if line.strip() else []
    limit = csv.field_size_limit(_MOST_LETTERS)
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True), [])]
    finally:
        csv.field_size_limit(limit)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_of_bytes(encoding: str) -> bool:
    """Whether lines of an encoding end where bytes say so."""
    return "\n,1".encode(encoding).endswith(b"\n,1")


def _named_pixels(names: Sequence[str]) -> tuple[int, ...]:
    """The columns whose names are those of pixels, in the order of their numbers; none if there are too few."""
    numbers: dict[tuple[int, ...], int] = {}
    for pattern in (_PIXEL_NAME, _GRID_NAME):
        numbers = {}
        for column, name in enumerate(names):
            found = pattern.fullmatch(name)
            if found is not None:
                numbers.setdefault(tuple(map(int, found.groups())), column)
        if len(numbers) >= _LEAST and 2 * len(numbers) >= len(names):
            break
    else:
        return ()
    ordered = sorted(numbers)
    is_row = len(ordered[0]) == 1 and ordered[0][0] in (0, 1) and ordered[-1][0] - ordered[0][0] == len(ordered) - 1
    rows, columns = ({key[axis] for key in ordered} for axis in (0, -1))
    is_grid = len(ordered[0]) == 2 and len(rows) * len(columns) == len(ordered)
    return tuple(numbers[key] for key in ordered) if is_row or is_grid else ()


def _side(num_pixels: int) -> int | None:
    """The side of a square image of one or three channels that has so many values; None if there is none."""
    for channels in (1, 3):
        side = math.isqrt(num_pixels // channels)
        if side and side * side * channels == num_pixels:
            return side
    return None
