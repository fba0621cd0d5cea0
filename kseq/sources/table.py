"""A table of images: CSV, JSON Lines or Parquet, with a column of paths and columns of their labels and other values.

The rules for rows that cannot be packed as they are; a rejected row is listed with the reason:

- A label that is empty, null or NaN (in a CSV also the word) is no label, and its row is rejected.
- A row whose label is not among the given class names is rejected.
- A row with a path that an earlier row has is rejected, whatever its label: in two splits the image would be a leak. With
  several images in a row, that holds for all of them together.
- A row without a path, or with a path that is no text, is rejected, and listed by its number. A label that is a list or an
  object is no label.

Rows are counted from 1, the first below the names of the columns. Classes are numbered in the order of the numbers if every
label is a whole number, else in the order of their names. What other columns may hold is said at the top of
`kseq/sources/cell_types.py`, how text is encoded at the top of `kseq/sources/text.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kseq.platforms.files import path_bytes
from kseq.sources.assemble import FoundBlock, assemble_blocks
from kseq.sources.base import FileSource
from kseq.sources.column_roles import Columns, find_columns, image_columns, pixel_columns, used_columns
from kseq.sources.equal_values import find_first_rows
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table_files import TABLE_FORMATS, Table
from kseq.sources.url_files import FileSizes

__all__ = ["CSV", "JSONL", "TableSource"]


@dataclass(frozen=True)
class TableSource(FileSource):
    """The images that a table names, in the order of its rows."""

    @classmethod
    def load(
        cls,
        path: str,
        table_format: str,
        columns: Columns,
        root: str | None = None,
        class_names: Sequence[str] | None = None,
        *,
        follow_links: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> TableSource:
        """Read a table.

        Args:
            path: The file.
            table_format: One of `TABLE_FORMATS`.
            columns: Which column holds what.
            root: The folder or URL that paths are relative to; None for the folder of the table.
            class_names: All classes, in the order of their numbers; None for the classes that the table names.
            follow_links: Follow links out of that folder.
            storage_options: What fsspec's file systems are made with, for paths that are URLs.

        Raises:
            SourceError: If the file cannot be read as such a table, lacks a column, or no row can be packed.
        """
        root = check_root(path, root)
        table = Table.open(path, table_format)
        columns = find_columns(columns, path, table.names)
        cells = table.read([name for _, name in used_columns(columns)])
        images = image_columns(columns)
        num_rows = len(cells[images[0]])
        # Several rows may share a mask, but not an image.
        first_rows = find_first_rows(num_rows, lambda: _path_keys([cells[name] for name in images]))
        blocks = _found_blocks(FileSizes(root, follow_links, storage_options), columns, cells, first_rows)
        names_differ = first_rows is None and len(images) == 1
        assembled = assemble_blocks(path, columns, cells, blocks, class_names, names_differ=names_differ)
        return cls(root, assembled.class_names, assembled.images, assembled.fields, storage_options)

    @classmethod
    def open(cls, request: SourceRequest, table_format: str) -> TableSource:
        """Open a path of one of `TABLE_FORMATS` as a source."""
        check_is_file(request.path, table_format)
        return cls.load(
            request.path,
            table_format,
            request.columns,
            request.image_root,
            request.class_names,
            follow_links=request.follow_links,
            storage_options=request.storage_options,
        )


def _found_blocks(
    sizes: FileSizes, columns: Columns, cells: Mapping[str, SpooledColumn], first_rows: np.ndarray | None
) -> Iterator[FoundBlock]:
    """The samples of all rows.

    Args:
        sizes: Tells the size of each file.
        columns: Which column holds what.
        cells: The cells of each column.
        first_rows: For each row the first that names the same images; None if none is named again.
    """
    start = 0
    for path_columns in _path_blocks([cells[name] for name in pixel_columns(columns)]):
        rows = range(start, start + len(path_columns[0]))
        names = path_columns[0]
        if len(path_columns) == 1 and first_rows is None and _are_paths(names):
            num_bytes, rejections = sizes.inspect_all(names)
        else:
            firsts = rows if first_rows is None else first_rows[rows.start : rows.stop].tolist()
            found = map(partial(_inspect_row, sizes), rows, firsts, zip(*path_columns, strict=True))
            num_bytes, rejections = map(list, zip(*found, strict=True))
            names = [name or b"(row %d)" % (row + 1) for row, name in zip(rows, names, strict=True)]
        count = len(rows)
        yield FoundBlock(names, path_columns, num_bytes, [None] * count, rejections, [True] * count)
        start = rows.stop


def _inspect_row(sizes: FileSizes, row: int, first_row: int, paths: Sequence[bytes]) -> tuple[int, str | None]:
    """The size of the images of a row, and why they cannot be packed; `first_row` is the first that names the same images."""
    rejection, num_bytes = _invalid_path(paths), 0
    if rejection is None and first_row < row:
        rejection = f"names an image again: that of row {first_row + 1}"
    for path in () if rejection else paths:
        size, rejection = sizes.inspect(path)
        if rejection:
            break
        num_bytes += size
    return num_bytes, rejection


def _are_paths(paths: Sequence[bytes]) -> bool:
    return all(paths) and b"\0" not in b"".join(paths)


def _path_blocks(columns: Sequence[SpooledColumn]) -> Iterator[list[list[bytes]]]:
    """Some rows at a time, for each of the columns the paths in them."""
    for blocks in zip(*(column.blocks() for column in columns), strict=True):
        yield [_paths(cells) for cells in blocks]


def _path_keys(columns: Sequence[SpooledColumn]) -> Iterator[list[bytes]]:
    """Some rows at a time, for each row bytes that another row has only if it names the same images."""
    for path_columns in _path_blocks(columns):
        # No path that may be packed has a zero byte.
        yield path_columns[0] if len(path_columns) == 1 else list(map(b"\0".join, zip(*path_columns, strict=True)))


def _invalid_path(paths: Sequence[bytes]) -> str | None:
    """Why the paths of a row are none."""
    for path in paths:
        if not path:
            return "names no image" if not paths[0] else "lacks a path"
        if b"\0" in path:
            return "has a path with a zero byte, which no path has"
    return None


def _paths(cells: Sequence[Any]) -> list[bytes]:
    """The paths in a column; empty for a cell that is missing or no text."""
    try:
        # As one text, which is five times as fast.
        paths = path_bytes("\0".join(cells)).split(b"\0")
        return paths if len(paths) == len(cells) else list(map(path_bytes, cells))
    except (TypeError, UnicodeEncodeError):
        return list(map(_path, cells))


def _path(cell: Any) -> bytes:
    try:
        return path_bytes(cell) if isinstance(cell, (str, bytes)) else b""
    except UnicodeEncodeError:
        return b""


def _source_format(name: str, *suffixes: str) -> SourceFormat:
    return SourceFormat(
        name,
        lambda request: TableSource.open(request, name),
        suffixes,
        TABLE_FORMATS[name].file_names,
        has_columns=True,
        has_root=True,
        has_links=True,
    )


CSV = _source_format("csv", ".csv", ".tsv")
JSONL = _source_format("jsonl", ".jsonl", ".ndjson")
