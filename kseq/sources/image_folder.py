"""A folder of images with tables about them, as Hugging Face's `imagefolder` has it: `metadata.csv`, `.jsonl` or `.parquet`.

The rules:

- A table lies in the folder, or in folders of it, such as those of splits. Its column `file_name` names images below its own
  folder.
- Columns have the roles that a table of paths gives them. Without options, a column `objects` of
  `{"bbox": ..., "categories": ...}` gives boxes, `[x, y, width, height]` in pixels each.
- The outermost folder on the way to an image that is called like a split is its split.
- Columns that only some tables have are missing in the rows of the others. Images that no table names are not packed; a
  line counts them.

Source: the documentation of Hugging Face's datasets, "Create an image dataset".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from kseq.arguments import counted
from kseq.errors import SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.column_roles import USUAL, Columns, find_columns, image_columns, pixel_columns, used_columns
from kseq.sources.folder_tree import FolderTree
from kseq.sources.listing import Listing
from kseq.sources.named_files import NamedFiles
from kseq.sources.object_cells import OBJECTS, describe_objects, read_objects
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import describe_unused_split, is_split_column, split_of_path
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table import TableSource
from kseq.sources.table_files import Table, table_format
from kseq.sources.url_files import FileSizes

__all__ = ["IMAGE_FOLDER"]

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE_NAME, _SPLIT = "file_name", "(split)"
_BOXES, _BOX_LABELS = "(boxes)", "(box labels)"
_MOST_FOLDERS = 1000


def _open(request: SourceRequest) -> TableSource:
    """Open such a folder as a source.

    Raises:
        SourceError: If it has no such table, or no image can be packed.
    """
    path = request.path
    tables = [(folder, _table(path, folder, name)) for folder, name in _find(path)]
    if not tables:
        raise SourceError(f"{path}: has no {', '.join(_NAMES)}, in itself or in a folder in it")
    names = list(dict.fromkeys(name for _, table in tables for name in table.names))
    notes: list[str] = []
    has_objects = request.columns == Columns() and OBJECTS in names
    wanted = Columns(image=_FILE_NAME, label="") if has_objects else request.columns
    columns = find_columns(wanted, path, names, {**USUAL, "image": (_FILE_NAME,)})
    asked = dict.fromkeys([name for _, name in used_columns(columns)] + [OBJECTS] * has_objects)
    unused = [name for name in names if columns.split is None and is_split_column(name) and name not in asked]
    asked |= dict.fromkeys(unused)
    cells = {name: SpooledColumn() for name in (*asked, _SPLIT)}
    faults = SpooledColumn()
    for folder, table in tables:
        own = table.read([name for name in asked if name in table.names], faults_of := SpooledColumn())
        faults.extend(faults_of)
        for name in asked:
            column: Any = own[name] if name in own else [None] * len(faults_of)
            cells[name].extend(_below(folder, column) if name in pixel_columns(columns) else column)
        images: Any = own.get(image_columns(columns)[0], [None] * len(faults_of))
        cells[_SPLIT].extend(split_of_path(str(name)) for name in _below(folder, images))
    notes += [f"{path}: {note}" for name in unused if (note := describe_unused_split(name, cells[name])) is not None]
    if columns.split is None:
        columns = replace(columns, split=_SPLIT)
    if has_objects:
        columns = replace(columns, boxes=_BOXES, box_labels=_BOX_LABELS)
        boxes, labels = zip(*map(read_objects, cells[OBJECTS]), strict=True)
        cells[_BOXES], cells[_BOX_LABELS] = SpooledColumn(boxes), SpooledColumn(labels)
        notes.append(describe_objects(path))
    num_others = _count_others(path, cells[image_columns(columns)[0]])
    if num_others:
        notes.append(f"{path}: {counted(num_others, 'image is', 'images are')} in none of its tables, and not packed")
    files = NamedFiles(path, FileSizes(path, request.follow_links, request.storage_options), request.suffix)
    return TableSource.of_cells(
        path,
        path,
        files,
        columns,
        cells,
        faults,
        request.class_names,
        storage_options=request.storage_options,
        notes=notes,
    )


def _is_folder(listing: Listing) -> bool:
    path = next((name for name in listing.others if name.rpartition("/")[2] in _NAMES and name.count("/") <= 2), None)
    if path is None:
        return False
    folder, _, name = path.rpartition("/")
    try:
        return _FILE_NAME in _table(listing.path, folder, name).names
    except SourceError:
        return False


IMAGE_FOLDER = SourceFormat(
    "imagefolder",
    _open,
    is_folder=_is_folder,
    has_columns=True,
    has_links=True,
    has_suffix=True,
    downloads=r"metadata\.(csv|jsonl|parquet)",
)


def _find(path: str) -> list[tuple[str, str]]:
    """The tables in a folder and in those in it, two folders deep: each as the path of its folder, and its name."""
    found = []
    for number, (parent, folders, names) in enumerate(os.walk(path)):
        if number >= _MOST_FOLDERS:
            break
        depth = 0 if parent == path else os.path.relpath(parent, path).count(os.sep) + 1
        folders[:] = [name for name in sorted(folders) if name[0] != "." and depth < 2]
        name = next((name for name in _NAMES if name in names), None)
        if name is not None:
            found.append(("" if parent == path else os.path.relpath(parent, path).replace(os.sep, "/"), name))
    return found


def _table(path: str, folder: str, name: str) -> Table:
    file = os.path.join(path, folder, name)
    return Table.open(file, table_format(file) or "csv")


def _below(folder: str, names: Sequence[Any]) -> Iterator[Any]:
    """Names below the folder of their table as paths below the folder of all."""
    return (f"{folder}/{name}" if folder and isinstance(name, str) and name else name for name in names)


def _count_others(path: str, named: SpooledColumn) -> int:
    known = {os.path.normpath(name) for name in named if isinstance(name, str)}
    tree = FolderTree(path, follow_links=False)
    images = (entry.path for entry in tree.files(tree.top) if entry.name.lower().endswith(IMAGE_SUFFIXES))
    return sum(os.path.normpath(image) not in known for image in images)
