"""A table of images: CSV, JSON Lines or Parquet, with a column of paths and columns of their labels and other values.

The rules for rows that cannot be packed as they are; a rejected row is listed with the reason:

- A row that cannot be read, see `kseq/sources/table_files.py`, is rejected, and the others are packed.
- A label that is empty, null or NaN (in a CSV also the word) is no label, and its row is rejected.
- A row whose label is not among the given class names is rejected.
- A row with a path that an earlier row has is rejected, whatever its label: in two splits the image would be a leak. With
  several images in a row, that holds for all of them together. How paths find their files is said in
  `kseq/sources/named_files.py`; two spellings of one path are one.
- A row without a path, or with a path that is neither text nor a whole number, is rejected, and listed by its number. A label
  that is a list or an object is no label.
- A table with a row for each box, see `kseq/sources/box_rows.py`, has a sample for each image.

Rows are counted from 1, the first below the names of the columns. Classes are numbered in the order of the numbers if every
label is a whole number, else in the order of their names. What other columns may hold is said at the top of
`kseq/sources/cell_types.py`, how text is encoded at the top of `kseq/sources/text.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from kseq.arguments import is_url
from kseq.errors import tell
from kseq.images.deep_pixels import read_size
from kseq.platforms.files import path_bytes
from kseq.sources.arrow_files import open_arrow_file
from kseq.sources.assemble import FoundBlock, assemble_blocks
from kseq.sources.base import FileSource, SourceImage
from kseq.sources.box_rows import BoxRows, find_box_columns
from kseq.sources.class_numbers import describe_ordered
from kseq.sources.column_roles import (
    Columns,
    describe_unused_columns,
    find_columns,
    image_columns,
    pixel_columns,
    unused_annotations,
    used_columns,
)
from kseq.sources.equal_values import find_first_rows
from kseq.sources.list_cells import is_missing
from kseq.sources.named_files import NamedFiles, look_for
from kseq.sources.source_format import SourceFormat, SourceRequest, check_is_file, check_root
from kseq.sources.split_names import describe_unused_split, is_split_column
from kseq.sources.split_tables import SPLIT, describe_unnamed, find_split_tables, open_split_tables
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.stated_sizes import SizedLocation, path_of, turned_boxes
from kseq.sources.table_files import TABLE_FORMATS, Table
from kseq.sources.told_columns import ONE_HOT, looks_drawn, tell_columns
from kseq.sources.url_files import FileSizes

__all__ = ["CSV", "JSONL", "TableSource"]

# The longest name of a file, in bytes, that a file system has; a URL may have more, such as a signature.
_LONGEST = 255
_TOO_LONG = "has a path of"
# The start of a cell that a message shows.
_SHOWN = 20


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
        suffix: str | None = None,
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
            suffix: Added to paths that do not end with it; None to look for files where paths have no suffix.
            storage_options: What fsspec's file systems are made with, for paths that are URLs.

        Raises:
            SourceError: If the file cannot be read as such a table, lacks a column, or no row can be packed.
        """
        table, columns, root = _open_table(path, table_format, columns, root)
        return cls.of_table(
            table,
            columns,
            root,
            class_names,
            follow_links=follow_links,
            suffix=suffix,
            storage_options=storage_options,
            ordered=lambda told: _ordered_classes(path, table_format, told),
        )

    @classmethod
    def of_table(
        cls,
        table: Table,
        columns: Columns,
        root: str,
        class_names: Sequence[str] | None,
        *,
        follow_links: bool = False,
        suffix: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        ordered: Callable[[Columns], Sequence[str] | None] = lambda _: None,
    ) -> TableSource:
        """A source of the rows of an open table; the other arguments, and the errors, are those of `load`.

        Args:
            table: The table; its path is a file, or the folder of several that are read as one.
            columns: Which column holds what.
            root: The folder or URL that paths are relative to.
            class_names: All classes, in the order of their numbers; None for the classes that the table names.
            ordered: The classes in an order that the table says, given the columns, or None.
        """
        path = table.path
        files = NamedFiles(root, FileSizes(root, follow_links, storage_options), suffix)
        box_rows = _find_boxes(path, table, columns)
        told = tell_columns(path, table, columns if box_rows is None else box_rows.columns, files)
        known = [*table.names, *([ONE_HOT] if told.one_hot else [])]
        columns = find_columns(told.columns, path, known, hint=told.hint)
        for line in told.lines:
            tell(line)
        boxes = () if box_rows is None else box_rows.used
        faults = SpooledColumn()
        used = [*(name for _, name in used_columns(columns) if name), *boxes]
        unused = [name for name in table.names if columns.split is None and is_split_column(name) and name not in used]
        cells = told.read(table, list(dict.fromkeys([*used, *unused])), faults)
        notes = [f"{path}: {note}" for name in unused if (note := describe_unused_split(name, cells[name])) is not None]
        if os.path.isdir(path):
            notes += describe_unnamed(root, chain.from_iterable(cells[name] for name in pixel_columns(columns)))
        if box_rows is not None:
            source = cls._of_boxes(path, root, files, box_rows, columns, cells, faults, class_names)
            return replace(source, storage_options=storage_options, notes=tuple(notes))
        if class_names is None:
            class_names = told.class_names or ordered(columns)
        return cls.of_cells(
            path,
            root,
            files,
            columns,
            cells,
            faults,
            class_names,
            target_classes=told.target_classes,
            storage_options=storage_options,
            notes=[*notes, *_unused_annotations(path, table, columns)],
        )

    @classmethod
    def _of_boxes(
        cls,
        path: str,
        root: str,
        files: NamedFiles,
        box_rows: BoxRows,
        columns: Columns,
        cells: Mapping[str, SpooledColumn],
        faults: SpooledColumn,
        class_names: Sequence[str] | None,
    ) -> TableSource:
        """A source with a sample for each image that rows of boxes name; the arguments are those of `of_cells`."""
        rows = _NamedRows.find(files, [cells[name] for name in pixel_columns(columns)], faults)
        files.tell(path)
        firsts = rows.first_rows(files, len(image_columns(columns)))
        grouped = box_rows.group(path, columns, cells, firsts)
        assembled = assemble_blocks(path, grouped.columns, grouped.cells, rows.blocks(grouped.rows, grouped.sizes), class_names)
        return cls(root, assembled.class_names, assembled.images, assembled.fields, box_facts=assembled.box_facts)

    @classmethod
    def of_cells(
        cls,
        path: str,
        root: str,
        files: NamedFiles,
        columns: Columns,
        cells: Mapping[str, SpooledColumn],
        faults: SpooledColumn,
        class_names: Sequence[str] | None,
        *,
        target_classes: Mapping[str, Sequence[str]] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> TableSource:
        """A source with a sample in each row.

        Args:
            path: The file, for messages.
            root: The folder or URL that paths are relative to.
            files: Finds the files that rows name.
            columns: The columns, as `find_columns` found them.
            cells: The cells of these columns.
            faults: For each row why it cannot be read, or None.
            class_names: All classes, in the order of their numbers; None for the classes that the cells name.
            target_classes: The same for targets of several labels, by the names of their fields.
            storage_options: What fsspec's file systems are made with.
            notes: What a user should know of the source.

        Raises:
            SourceError: If no row can be packed.
        """
        rows = _NamedRows.find(files, [cells[name] for name in pixel_columns(columns)], faults)
        files.tell(path)
        # Several rows may share a mask, but not an image.
        repeated = rows.reject_repeated(files, len(image_columns(columns)))
        names_differ = repeated is None and len(image_columns(columns)) == 1
        assembled = assemble_blocks(
            path, columns, cells, rows.blocks(), class_names, names_differ=names_differ, target_classes=target_classes
        )
        parts = (assembled.class_names, assembled.images, assembled.fields)
        return cls(root, *parts, storage_options, box_facts=assembled.box_facts, notes=tuple(notes))

    def read(self, image: SourceImage) -> dict[str, Any]:
        location = image.location
        if not isinstance(location, SizedLocation):
            return super().read(image)
        values = super().read(image._replace(location=location.path))
        height, width, orientation = read_size(values[self.fields[0].name])
        if not location.height:
            return values | {"boxes": values["boxes"] * np.array([width, height] * 2, np.float32)}
        return values | turned_boxes(values, (location.height, location.width), (height, width), orientation)

    def stamp(self, location: Any) -> int:
        return super().stamp(path_of(location))

    def _urls(self, image: SourceImage) -> dict[str, int]:
        return super()._urls(image if image.location is None else image._replace(location=path_of(image.location)))

    def where_is(self, path: bytes) -> str | None:
        """The folder that the paths of the table seem to be relative to."""
        return None if is_url(self.root) else look_for(self.root, os.fsdecode(path))

    @classmethod
    def open(cls, request: SourceRequest, table_format: str) -> TableSource:
        """Open a path of one of `TABLE_FORMATS` as a source."""
        return cls.load(
            request.path,
            table_format,
            request.columns,
            request.image_root,
            request.class_names,
            follow_links=request.follow_links,
            suffix=request.suffix,
            storage_options=request.storage_options,
        )


def _open_table(path: str, table_format: str, columns: Columns, root: str | None) -> tuple[Table, Columns, str]:
    """A table, or those of a folder as one; the columns, with that of its splits; and the folder that its paths are relative
    to."""
    if not os.path.isdir(path):
        check_is_file(path, table_format)
        return Table.open(path, table_format), columns, check_root(path, root)
    table = open_split_tables(path, table_format, columns, is_below=root is None)
    columns = columns if columns.split is not None else replace(columns, split=SPLIT)
    return table, columns, check_root(os.path.join(path, ""), root)


def _find_boxes(path: str, table: Table, columns: Columns) -> BoxRows | None:
    """Which columns hold the corners of boxes; None if there are none, or all are empty."""
    found = find_box_columns(columns, table.names)
    if found is None or _has_values(table, found.corners):
        return found
    tell(f"{path}: its columns {', '.join(found.corners)} are empty: there are no boxes to pack")
    return None


def _ordered_classes(path: str, table_format: str, columns: Columns) -> list[str] | None:
    """The classes in the order of their categories, where a Parquet file has one; None if not."""
    if table_format != "parquet" or columns.label is None:
        return None
    names = open_arrow_file(path).ordered_categories(columns.label)
    if names is not None:
        tell(f"{path}: {describe_ordered(columns.label)}")
    return names


def _has_values(table: Table, names: Sequence[str]) -> bool:
    """Whether some row has a value in one of some columns."""
    head = table.head()
    if any(not is_missing(cell) for name in names for cell in head[name]):
        return True
    return any(not is_missing(cell) for cells in table.read(names, SpooledColumn()).values() for cell in cells)


def _unused_annotations(path: str, table: Table, columns: Columns) -> list[str]:
    """What to say of columns that hold annotations, by their names and cells, and that nothing is read from."""
    named = unused_annotations(table.names, columns)
    head = table.head() if named else {}
    return describe_unused_columns(path, [name for name in named if looks_drawn(head[name])], columns)


class _NamedRows:
    """What is known of the rows of a table before their values are looked at.

    Args:
        num_columns: The number of columns of images and masks.
    """

    def __init__(self, num_columns: int) -> None:
        self._paths = [SpooledColumn() for _ in range(num_columns)]
        self._num_bytes = SpooledColumn()
        self._rejections = SpooledColumn()

    @classmethod
    def find(cls, files: NamedFiles, columns: Sequence[SpooledColumn], faults: SpooledColumn) -> _NamedRows:
        """The files of all rows.

        Args:
            files: Finds them.
            columns: The names of the files, for each column of images and masks.
            faults: For each row why it cannot be read.
        """
        rows = cls(len(columns))
        for block, block_faults in zip(_path_blocks(columns), faults.blocks(), strict=True):
            rejections = list(block_faults)
            if any(rejections) or not all(map(_are_paths, block)):
                rejections = [
                    fault or _invalid_path(names) for fault, names in zip(rejections, zip(*block, strict=True), strict=True)
                ]
                for row, rejection in enumerate(rejections):
                    if rejection is not None and rejection.startswith(_TOO_LONG):
                        # Whole images would be the names of samples.
                        block[0][row] = b""
            asked = [row for row, rejection in enumerate(rejections) if rejection is None]
            num_bytes = [0] * len(rejections)
            for number, names in enumerate(block):
                paths, sizes, why = files.inspect_all([names[row] for row in asked])
                for row, path, size, rejection in zip(asked, paths, sizes, why, strict=True):
                    names[row] = path
                    num_bytes[row] += size
                    rejections[row] = rejections[row] or rejection
                rows._paths[number].extend(names)
            rows._num_bytes.extend(num_bytes)
            rows._rejections.extend(rejections)
        return rows

    def first_rows(self, files: NamedFiles, num_images: int) -> np.ndarray:
        """`(n,)` int64: for each row the first that names the same images; rows that name none are their own first."""
        firsts = find_first_rows(len(self._num_bytes), lambda: self._keys(files, num_images))
        rows = np.arange(len(self._num_bytes))
        if firsts is None:
            return rows
        names_none = np.fromiter((not path for path in self._paths[0]), bool, len(rows))
        return np.where(names_none, rows, firsts)

    def _keys(self, files: NamedFiles, num_images: int) -> Iterator[list[bytes]]:
        """Some rows at a time, for each row bytes that another row has only if it names the same images."""
        for block in zip(*(column.blocks() for column in self._paths[:num_images]), strict=True):
            names = [files.identity(paths) for paths in block]
            # No path that may be packed has a zero byte.
            yield names[0] if len(names) == 1 else list(map(b"\0".join, zip(*names, strict=True)))

    def reject_repeated(self, files: NamedFiles, num_images: int) -> np.ndarray | None:
        """Reject the rows that name the images of an earlier row.

        Returns:
            `(n,)` int64: for each row the first that names the same images; None if none is named again.
        """
        firsts = self.first_rows(files, num_images)
        if np.array_equal(firsts, np.arange(len(firsts))):
            return None if all(self._paths[0]) else firsts
        rejections = zip(self._rejections, firsts.tolist(), strict=True)
        self._rejections = SpooledColumn(
            f"names an image again: that of row {first + 1}"
            if first < row and not (rejection and _is_of_row(rejection))
            else rejection
            for row, (rejection, first) in enumerate(rejections)
        )
        return firsts

    def blocks(self, rows: Sequence[int] | None = None, stated: Sequence[tuple[int, int] | None] = ()) -> Iterator[FoundBlock]:
        """The samples.

        Args:
            rows: The rows that are samples; None for all.
            stated: For each of these rows the height and width that its boxes were drawn on, or None.
        """
        start = 0
        columns = [*self._paths, self._num_bytes, self._rejections]
        if rows is not None:
            columns = [SpooledColumn(column[row] for row in rows) for column in columns]
        for block in zip(*(column.blocks() for column in columns), strict=True):
            *paths, num_bytes, rejections = block
            count = len(num_bytes)
            numbers = range(start, start + count) if rows is None else rows[start : start + count]
            names = paths[0]
            if not all(names):
                names = [name or b"(row %d)" % (row + 1) for row, name in zip(numbers, names, strict=True)]
            sizes = [0 if rejection else size for size, rejection in zip(num_bytes, rejections, strict=True)]
            of_rows = None if rows is None else [row + 1 for row in numbers]
            if rows is not None:
                said = stated[start : start + count]
                paths[0] = [
                    path if size is None else SizedLocation(path, *size) for path, size in zip(paths[0], said, strict=True)
                ]
            yield FoundBlock(names, paths, sizes, [None] * count, rejections, [True] * count, of_rows)
            start += count


def _is_of_row(rejection: str) -> bool:
    """Whether a row is rejected whatever other rows name."""
    return rejection.startswith(("has a path", "lacks a path"))


def _are_paths(paths: Sequence[bytes]) -> bool:
    joined = b"".join(paths)
    return all(paths) and b"\0" not in joined and (len(joined) <= _LONGEST or max(map(len, paths)) <= _LONGEST)


def _path_blocks(columns: Sequence[SpooledColumn]) -> Iterator[list[list[bytes]]]:
    """Some rows at a time, for each of the columns the paths in them."""
    for blocks in zip(*(column.blocks() for column in columns), strict=True):
        yield [_paths(cells) for cells in blocks]


def _invalid_path(paths: Sequence[bytes]) -> str | None:
    """Why the paths of a row are none."""
    for path in paths:
        if not path:
            return "names no image" if not paths[0] else "lacks a path"
        if b"\0" in path:
            return "has a path with a zero byte, which no path has"
        if max(map(len, path.split(b"/"))) > _LONGEST and not is_url(path):
            return (
                f"{_TOO_LONG} {len(path):,} bytes, longer than any: it begins with {path[:_SHOWN].decode(errors='replace')!r}"
            )
    return None


def _paths(cells: Sequence[Any]) -> list[bytes]:
    """The paths in a column; empty for a cell that is missing, or neither text nor a whole number."""
    try:
        # As one text, which is five times as fast.
        paths = path_bytes("\0".join(cells)).split(b"\0")
        return paths if len(paths) == len(cells) else list(map(path_bytes, cells))
    except (TypeError, UnicodeEncodeError):
        return list(map(_path, cells))


def _path(cell: Any) -> bytes:
    try:
        if isinstance(cell, (int, float)) and not isinstance(cell, bool) and cell == cell // 1:
            # A table of ids, which pandas writes as 1.0 where one is missing.
            return b"%d" % int(cell)
        return path_bytes(cell) if isinstance(cell, (str, bytes)) else b""
    except (UnicodeEncodeError, OverflowError):
        return b""


def _source_format(name: str, *suffixes: str) -> SourceFormat:
    return SourceFormat(
        name,
        lambda request: TableSource.open(request, name),
        suffixes,
        TABLE_FORMATS[name].file_names,
        lambda listing: bool(find_split_tables(listing, name)),
        has_columns=True,
        has_root=True,
        has_links=True,
        has_suffix=True,
    )


CSV = _source_format("csv", ".csv", ".tsv")
JSONL = _source_format("jsonl", ".jsonl", ".ndjson")
