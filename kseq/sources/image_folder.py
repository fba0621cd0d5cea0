"""A folder of images with tables about them, as Hugging Face's `imagefolder` has it: `metadata.csv`, `.jsonl` or `.parquet`.

The rules:

- A table lies in the folder, or in folders of it, such as those of splits. Its column `file_name` names images below its own
  folder.
- Columns have the roles that a table of paths gives them. Without options, a column `objects` of
  `{"bbox": ..., "categories": ...}` gives boxes, `[x, y, width, height]` in pixels each.
- The outermost folder on the way to an image that is called like a split is its split.
- Roboflow's `_classes.csv`, with `filename` and columns of 0 and 1, is such a table too. What other columns hold is told as
  in a table of paths: see `told_columns`.
- Columns that only some tables have are missing in the rows of the others. Images that no table names are not packed; a
  line counts them.

Source: the documentation of Hugging Face's datasets, "Create an image dataset".
"""

from __future__ import annotations

import os
from dataclasses import replace

from kseq.errors import SourceError, tell
from kseq.sources.column_roles import Columns, find_columns, image_columns, pixel_columns, used_columns
from kseq.sources.listing import Listing
from kseq.sources.named_files import NamedFiles
from kseq.sources.object_cells import OBJECTS, describe_objects, read_objects
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.split_names import describe_unused_split, is_split_column, split_of_path
from kseq.sources.split_tables import SPLIT, describe_unnamed, join_tables, open_tables
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.table import TableSource
from kseq.sources.table_files import Table, table_format
from kseq.sources.told_columns import ONE_HOT, tell_columns
from kseq.sources.url_files import FileSizes

__all__ = ["IMAGE_FOLDER"]

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE_NAME = "file_name"
# The table of several labels that Roboflow writes, and its column of images.
_CLASSES, _FILENAME = "_classes.csv", "filename"
_BOXES, _BOX_LABELS = "(boxes)", "(box labels)"
_MOST_FOLDERS = 1000
# So many tables are opened to tell the format.
_MOST_OPENED = 5


def _open(request: SourceRequest) -> TableSource:
    """Open such a folder as a source.

    Raises:
        SourceError: If it has no such table, or no image can be packed.
    """
    path = request.path
    files = {folder: os.path.join(path, folder, name) for folder, name in _find(path)}
    if not files:
        raise SourceError(f"{path}: has no {', '.join(_NAMES)}, in itself or in a folder in it")
    known = image_columns(request.columns)
    tables = open_tables(files, lambda names: known or [name for name in (_FILE_NAME, _FILENAME) if name in names][:1])
    names = list(dict.fromkeys(name for table in tables.values() for name in table.names))
    notes: list[str] = []
    has_objects = request.columns == Columns() and OBJECTS in names
    wanted = Columns(label="") if has_objects else request.columns
    wanted = wanted if wanted.image else replace(wanted, image=(_FILE_NAME if _FILE_NAME in names else _FILENAME,))
    wanted = wanted if wanted.split is not None else replace(wanted, split=SPLIT)
    table = join_tables(path, tables, pixel_columns(wanted))
    named = NamedFiles(path, FileSizes(path, request.follow_links, request.storage_options), request.suffix)
    told = tell_columns(path, table, wanted, named)
    columns = find_columns(told.columns, path, [*table.names, *([ONE_HOT] if told.one_hot else [])], hint=told.hint)
    for line in told.lines:
        tell(line)
    asked = [name for _, name in used_columns(columns)] + [OBJECTS] * has_objects
    unused = [name for name in names if request.columns.split is None and is_split_column(name) and name not in asked]
    faults = SpooledColumn()
    cells = told.read(table, list(dict.fromkeys([*asked, *unused])), faults)
    if columns.split == SPLIT:
        # An image may lie in the folder of a split below its table.
        cells[SPLIT] = SpooledColumn(split_of_path(str(name)) for name in cells[image_columns(columns)[0]])
    notes += [f"{path}: {note}" for name in unused if (note := describe_unused_split(name, cells[name])) is not None]
    if has_objects:
        columns = replace(columns, boxes=_BOXES, box_labels=_BOX_LABELS)
        boxes, labels = zip(*map(read_objects, cells[OBJECTS]), strict=True)
        cells[_BOXES], cells[_BOX_LABELS] = SpooledColumn(boxes), SpooledColumn(labels)
        notes.append(describe_objects(path))
    notes += describe_unnamed(path, cells[image_columns(columns)[0]])
    return TableSource.of_cells(
        path,
        path,
        named,
        columns,
        cells,
        faults,
        told.class_names if request.class_names is None else request.class_names,
        target_classes=told.target_classes,
        storage_options=request.storage_options,
        notes=notes,
    )


def _is_folder(listing: Listing) -> bool:
    tables = (path.rpartition("/") for path in listing.others if path.count("/") <= 2)
    found = [(folder, name) for folder, _, name in tables if name in (*_NAMES, _CLASSES)]
    return any(_names_images(listing.path, folder, name) for folder, name in found[:_MOST_OPENED])


def _names_images(path: str, folder: str, name: str) -> bool:
    file = os.path.join(path, folder, name)
    try:
        return (_FILENAME if name == _CLASSES else _FILE_NAME) in Table.open(file, table_format(file) or "csv").names
    except SourceError:
        return False


IMAGE_FOLDER = SourceFormat(
    "imagefolder",
    _open,
    is_folder=_is_folder,
    has_columns=True,
    has_links=True,
    has_suffix=True,
    downloads=r"metadata\.(csv|jsonl|parquet)|_classes\.csv",
)


def _find(path: str) -> list[tuple[str, str]]:
    """The tables in a folder and in those in it, two folders deep: each as the path of its folder, and its name."""
    found = []
    for number, (parent, folders, names) in enumerate(os.walk(path)):
        if number >= _MOST_FOLDERS:
            break
        depth = 0 if parent == path else os.path.relpath(parent, path).count(os.sep) + 1
        folders[:] = [name for name in sorted(folders) if name[0] != "." and depth < 2]
        name = next((name for name in (*_NAMES, _CLASSES) if name in names), None)
        if name is not None:
            found.append(("" if parent == path else os.path.relpath(parent, path).replace(os.sep, "/"), name))
    return found
