"""A table for each split, read as one: of one name in the folders of splits, as Roboflow's `_annotations.csv`, or called so.

The rules:

- All images lie in folders at the top that are called like splits (`train`, `valid`, `test`), and each of these has a table,
  all of one name.
- Their columns are those of any table; a column that only some have is missing in the rows of the others. Paths of images are
  relative to the folder of their table, unless they begin with its name.
- A table that cannot be read, or names no images by the column by which the first does, refuses the whole: the images of a
  split would be left out.
- The folder of a table is the split of its rows, unless the caller names a column of splits.
- Tables at the top that are called like splits (`train.csv`, `val.csv`), each like another, and `train` among them, beside
  folders that are called like no class: their names are the splits. One that lacks a column of `train`, as that of labels, is
  told, and not read. Paths are relative to the top, or to the folder of the split, or to another one in which the images lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from kseq.arguments import counted
from kseq.errors import SourceError, tell
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.box_rows import find_box_columns
from kseq.sources.column_roles import Columns, find_usual, image_columns, listed, pixel_columns
from kseq.sources.folder_tree import FolderTree
from kseq.sources.listing import Listing, folder_of, list_folder, stem_of
from kseq.sources.split_names import folder_split, loose_folder_split, split_of_path
from kseq.sources.table_files import Block, Table, table_format
from kseq.sources.wrong_files import describe_wrong_file

__all__ = ["SPLIT", "describe_unnamed", "find_place", "find_split_tables", "join_tables", "open_split_tables", "open_tables"]

SPLIT = "(split)"
"""The column of such a table that has the splits."""

# How many paths are looked for.
_LOOKED_FOR = 5
_WAY_OUT = "mend it, or take its folder out"


def find_split_tables(listing: Listing, format_name: str) -> dict[str, str]:
    """The folders of splits and the table in each, or the names of tables at the top that are called like splits, and these;
    nothing if there are none, or one folder has no such table.

    Args:
        listing: What lies in a folder.
        format_name: Of which of `TABLE_FORMATS` the tables are.
    """
    return _in_folders(listing, format_name) or _at_top(listing, format_name)


def _at_top(listing: Listing, format_name: str) -> dict[str, str]:
    """The tables at the top that are called like splits, by their names without suffix."""
    if not listing.images or not listing.has_no_class:
        return {}
    named = [file for file in listing.others if "/" not in file and table_format(file) == format_name]
    found = {stem_of(file): file for file in named if folder_split(stem_of(file)) is not None}
    splits = [folder_split(stem) for stem in found]
    is_told = "train" in splits and 1 < len(set(splits)) == len(splits)
    return found if is_told and all(_names_images(listing, file, format_name) for file in found.values()) else {}


def _in_folders(listing: Listing, format_name: str) -> dict[str, str]:
    """The folders of splits and the table in each."""
    splits = listing.image_folders
    # In folders of classes, a table says something else of the images.
    if not splits or any("/" in folder or folder_split(folder) is None for folder in splits):
        return {}
    by_name: dict[str, dict[str, str]] = {}
    for file in listing.others:
        if folder_of(file) in splits and table_format(file) == format_name:
            by_name.setdefault(file.rpartition("/")[2], {})[folder_of(file)] = file
    found = next((tables for _, tables in sorted(by_name.items()) if len(tables) == len(splits)), {})
    return found if any(_names_images(listing, file, format_name) for file in found.values()) else {}


def _names_images(listing: Listing, file: str, format_name: str) -> bool:
    """Whether a table has a column that is called as those of images are."""
    try:
        names = Table.open(listing.full_path(file), format_name).names
    except SourceError:
        return False
    return bool(_image_columns(Columns(), names))


def open_tables(files: Mapping[str, str], image: Callable[[Sequence[str]], Sequence[str]]) -> dict[str, Table]:
    """The tables in some folders.

    Args:
        files: The file of each, by its folder.
        image: The columns of images among columns of these names.

    Raises:
        SourceError: If one cannot be read, or lacks a column of images that another has.
    """
    tables = {}
    for folder, file in files.items():
        try:
            tables[folder] = Table.open(file, table_format(file) or "csv")
        except SourceError as error:
            raise SourceError(f"{error}; it is one of {counted(len(files), 'table', 'tables')}: {_WAY_OUT}") from error
    model = next((table for table in tables.values() if image(table.names)), None)
    wanted = () if model is None else image(model.names)
    for table in tables.values():
        missing = [name for name in wanted if name not in table.names]
        if missing and model is not None:
            is_text = "".join(table.names).isprintable()
            found = None if is_text else describe_wrong_file(table.path, ".csv") or "is no text"
            has = f"its columns are {listed(table.names)}" if found is None else f"and {found}"
            raise SourceError(f"{table.path}: has no column {missing[0]!r}, as {model.path} has, {has}: {_WAY_OUT}")
    return tables


def _image_columns(columns: Columns, names: Sequence[str]) -> tuple[str, ...]:
    """The columns of files, as far as they are told by their names."""
    boxes = find_box_columns(columns, names)
    columns = columns if boxes is None else boxes.columns
    image = image_columns(columns) if columns.image else find_usual("image", names)
    return pixel_columns(replace(columns, image=image)) if image else ()


def open_split_tables(path: str, format_name: str, columns: Columns, *, is_below: bool) -> Table:
    """Such tables as one, with the column `SPLIT`.

    Args:
        path: The folder that they lie in.
        format_name: Of which of `TABLE_FORMATS` they are.
        columns: What the caller says of their columns.
        is_below: Whether the paths in a table are relative to its folder.

    Raises:
        SourceError: If there are none, or one cannot be read as such a table.
    """
    listing = list_folder(path)
    files = find_split_tables(listing, format_name)
    if not files:
        raise SourceError(
            f"{path}: is not a file, expected is one ({format_name}), or a folder of train, val and test with images, and a "
            "table of the same name, in each"
        )
    full = {folder: os.path.join(path, file) for folder, file in files.items()}
    tables = open_tables(full, lambda names: _image_columns(columns, names))
    is_at_top = not any("/" in file for file in files.values())
    if is_at_top:
        tables = _with_all_columns(path, tables)
    told = [files[key] for key in tables]
    are_read = f"its tables {', '.join(told)} are read as one" if len(told) > 1 else f"its table {told[0]} is read"
    tell(f"{path}: {are_read}: the {'name' if is_at_top else 'folder'} of each is the split of its rows")
    names = list(dict.fromkeys(name for table in tables.values() for name in table.names))
    paths = _image_columns(columns, names) if is_below else ()
    return join_tables(path, tables, paths, _find_places(listing, tables, paths) if is_at_top else {})


def _with_all_columns(path: str, tables: Mapping[str, Table]) -> dict[str, Table]:
    """The tables that have all columns of that of train; of the others, a line is told."""
    model = next(table for stem, table in tables.items() if folder_split(stem) == "train")
    lacking = {stem: [name for name in model.names if name not in table.names] for stem, table in tables.items()}
    for stem, missing in lacking.items():
        if missing:
            tell(f"{path}: {os.path.basename(tables[stem].path)} lacks the columns {listed(missing)}, and is not packed")
    return {stem: table for stem, table in tables.items() if not lacking[stem]}


def _find_places(listing: Listing, tables: Mapping[str, Table], columns: Sequence[str]) -> dict[str, str]:
    """The folder that the paths of each table at the top are relative to."""
    suffix = os.path.splitext(listing.images[0])[1]
    places = {}
    for stem, table in tables.items():
        cells = table.head()[columns[0]][:_LOOKED_FOR] if columns else []
        names = [str(cell) for cell in cells if cell]
        found = find_place(listing, "", folder_split(stem), [*names, *(f"{name}{suffix}" for name in names)])
        places[stem] = found or ""
    return places


def find_place(listing: Listing, folder: str, split: str | None, names: Iterable[str]) -> str | None:
    """The folder that paths are relative to, by the first of them; None if they lie in none.

    Args:
        listing: What lies in a folder.
        folder: Where the paths are written, which counts first.
        split: That of the images; a folder at the top that is called like it counts before others.
        names: The paths.
    """
    tops = sorted((top for top in listing.folders if "/" not in top), key=lambda top: loose_folder_split(top) != split)
    some = [name.lstrip("/") for name in names]
    places = dict.fromkeys([folder, "", *tops])
    return next((place for place in places if any(listing.holds(place, name) for name in some)), None)


def join_tables(path: str, tables: Mapping[str, Table], paths: Iterable[str], places: Mapping[str, str] | None = None) -> Table:
    """Tables of several folders as one, with the column `SPLIT`: the split that the path of each folder tells.

    Args:
        path: The folder that they lie in, for messages.
        tables: The tables, by the paths of their folders.
        paths: The columns of paths that are relative to the folder of their table.
        places: Where they are relative to another folder, for each table.
    """
    names = list(dict.fromkeys(name for table in tables.values() for name in table.names))
    below = set(paths)
    places = {folder: folder for folder in tables} | dict(places or {})

    def read_blocks(asked: Sequence[str]) -> Iterator[Block]:
        for folder, table in tables.items():
            there = set(table.names)
            own = [name for name in asked if name in there]
            for block in table.read_blocks(own or table.names[:1]):
                count = len(block.columns[0])
                cells: dict[str, Sequence[Any]] = dict(zip(own, block.columns, strict=False))
                cells[SPLIT] = [split_of_path(f"{folder}/")] * count
                placed = ((name, cells.get(name, [None] * count)) for name in asked)
                place = places[folder]
                yield block._replace(
                    columns=[[_below(place, cell) for cell in column] if name in below else column for name, column in placed]
                )

    return Table(path, [*names, SPLIT], read_blocks)


def _below(folder: str, cell: Any) -> Any:
    is_relative = folder and isinstance(cell, str) and cell and not cell.startswith((f"{folder}/", "/"))
    return f"{folder}/{cell}" if is_relative else cell


def _spellings(path: str) -> set[str]:
    """A path, and what else it may mean."""
    plain = path.strip().replace("\\", "/")
    return {path, plain, unquote(plain)}


def describe_unnamed(root: str, named: Iterable[Any]) -> Iterator[str]:
    """How many images of a folder no table names.

    Args:
        root: The folder.
        named: The paths that tables name, relative to it or from the top of the system on, as somebody has written them.
    """
    top = os.path.join(os.path.abspath(root), "")
    known = {os.path.normpath(path.removeprefix(top)) for name in named if isinstance(name, str) for path in _spellings(name)}
    tree = FolderTree(root, follow_links=False)
    images = (entry.path for entry in tree.files(tree.top) if entry.name.lower().endswith(IMAGE_SUFFIXES))
    count = sum(os.path.normpath(image) not in known for image in images)
    if count:
        yield f"{root}: {counted(count, 'image is', 'images are')} named in none of its tables or lists, and not packed"
