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
from typing import Any

from kseq.platforms.files import path_bytes
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import FileSource
from kseq.sources.column_roles import Columns, find_columns, pixel_columns, used_columns
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.symlinks import LinkRule
from kseq.sources.table_files import TABLE_FORMATS, Table

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
    ) -> TableSource:
        """Read a table.

        Args:
            path: The file.
            table_format: One of `TABLE_FORMATS`.
            columns: Which column holds what.
            root: The folder that paths are relative to; None for the folder of the table.
            class_names: All classes, in the order of their numbers; None for the classes that the table names.
            follow_links: Follow links out of that folder.

        Raises:
            SourceError: If the file cannot be read as such a table, lacks a column, or no row can be packed.
        """
        root = check_root(path, root)
        table = Table.open(path, table_format)
        columns = find_columns(columns, path, table.names)
        cells = table.read([name for _, name in used_columns(columns)])
        samples = _found_samples(LinkRule(root, follow_links), columns, cells)
        assembled = assemble_samples(path, columns, cells, samples, class_names)
        return cls(root, assembled.class_names, assembled.images, assembled.fields)

    @classmethod
    def open(cls, request: SourceRequest, table_format: str) -> TableSource:
        """Open a path of one of `TABLE_FORMATS` as a source."""
        check_is_file(request.path, table_format)
        return cls.load(
            request.path,
            table_format,
            request.columns,
            request.root,
            request.class_names,
            follow_links=request.follow_links,
        )


def _found_samples(links: LinkRule, columns: Columns, cells: Mapping[str, Sequence[Any]]) -> Iterator[FoundSample]:
    path_columns = [_paths(cells[name]) for name in pixel_columns(columns)]
    are_valid = all(all(paths) and not any(b"\0" in path for path in paths) for paths in path_columns)
    # Several rows may share a mask, but not an image.
    num_images = len(columns.image)
    first_rows: dict[Any, int] = {}
    for row, paths in enumerate(zip(*path_columns, strict=True), start=1):
        first_row = first_rows.setdefault(paths[0] if num_images == 1 else paths[:num_images], row)
        rejection, num_bytes = None if are_valid else _invalid_path(paths), 0
        if rejection is None and first_row < row:
            rejection = f"names an image again: that of row {first_row}"
        for path in () if rejection else paths:
            size, rejection = links.inspect(path)
            if rejection:
                break
            num_bytes += size
        yield FoundSample(paths[0] or b"(row %d)" % row, paths, num_bytes, None, rejection)


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
        return list(map(path_bytes, cells))
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
