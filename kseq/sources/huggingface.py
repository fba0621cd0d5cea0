"""Images in Parquet or Arrow files, as Hugging Face's datasets writes them: each a struct of its bytes and its path.

The rules:

- The files are Parquet, or a folder that `datasets.save_to_disk` wrote (Arrow). Their names tell the split
  (`train-00000-of-00002.parquet`), or their folders do (`train/data-00000-of-00001.arrow`). If the `state.json` of a folder
  names files, other files in the folder (`cache-....arrow`, which `map` leaves there) are skipped.
- An image without bytes is the file at its path, relative to the folder of the files.
- If the files name the classes of a column (`ClassLabel`, alone or in a list), these are the classes, in their order: of the
  label, of the labels of boxes, and of targets, which then hold several labels. With several files, each number means the name
  that its own file gives; names that only later files have follow those of the first. If some files name classes and others do
  not, nobody knows what the numbers mean, and the source is refused.
- Where no column is called like a label and nobody says more, a column `objects` of boxes is read, see
  `kseq/sources/object_cells.py`; a line says so.
- Files that `kseq export` wrote say what each column holds, unless the user names columns.
- The first file that can be read tells which columns there are. A file among others that lacks one of them, or that cannot be
  read, is rejected as a whole. In a file that can be opened, images that cannot be read are rejected one by one.
- A sample is called FILE/ROW, with the row counted from 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kseq.errors import ImageError, KseqError, NotAnImageError, SourceError, one_line, tell
from kseq.images.formats import read_header
from kseq.sources.arrow_files import ArrowFile, arrow_errors, open_arrow_file, read_column
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source
from kseq.sources.cell_types import Rejection
from kseq.sources.class_numbers import describe_ordered
from kseq.sources.column_roles import (
    USUAL,
    Columns,
    describe_unused_columns,
    find_columns,
    image_columns,
    pixel_columns,
    value_columns,
)
from kseq.sources.described_columns import described_columns
from kseq.sources.file_reading import read_file
from kseq.sources.file_sets import SourceFile, find_files, read_files, split_from_name
from kseq.sources.object_cells import OBJECTS, class_key, describe_objects, read_objects
from kseq.sources.source_format import SourceFormat
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.text import open_text

__all__ = ["HUGGINGFACE", "HuggingFaceSource"]

_USUAL = {"image": ("image", "img", "jpg", *USUAL["image"]), "label": ("label", "labels", "fine_label", *USUAL["label"])}
# One of these files is in a folder that `datasets.save_to_disk` wrote.
_INFO_NAMES = ("dataset_info.json", "dataset_dict.json")
_OTHER_NAME = "features.json"
_STATE_NAME = "state.json"
_MULTI_LABEL = "multi_label"
# The classes in a column of objects, which is no column of the files.
_OBJECT_CLASSES = "(object classes)"
_FILE_NAMES = r"\.(parquet|pq|arrow)"


@dataclass(frozen=True)
class HuggingFaceSource(Source):
    """The rows of such files; the location of an image is file, part, row and column.

    Attributes:
        files: The paths of the files.
    """

    files: tuple[str, ...] = ()

    def shared_files(self) -> Sequence[str]:
        return self.files

    @staticmethod
    def is_at(path: str) -> bool:
        """Whether a folder was written by `datasets.save_to_disk`."""
        # TensorFlow Datasets writes a dataset_info.json too.
        is_other = os.path.isfile(os.path.join(path, _OTHER_NAME))
        return not is_other and any(os.path.isfile(os.path.join(path, name)) for name in _INFO_NAMES)

    @staticmethod
    def has_images(path: str, columns: Columns) -> bool:
        """Whether a Parquet file holds images, and not only their paths, which may be bytes too: the first row tells."""
        file = open_arrow_file(path)
        names = (
            image_columns(described_columns(file.schema, columns))
            or tuple(name for name in _USUAL["image"] if name in file.schema.names)[:1]
        )
        return any(file.has_encoded_images(name) and not _holds_paths(file, name) for name in names)

    @classmethod
    def load(cls, path: str, columns: Columns, class_names: Sequence[str] | None = None) -> HuggingFaceSource:
        """Read all but the images.

        Args:
            path: A file, a folder of files, or a pattern.
            columns: Which column holds what.
            class_names: All classes, in the order of their numbers; None for those that the files name, or that the cells name.

        Raises:
            SourceError: If the files cannot be read, or have no images.
        """
        files = _without_stale_files(path, find_files(path, _FILE_NAMES, "Parquet or Arrow files"))
        schema = _first_schema(path, files)
        columns, has_objects = _find_columns(path, schema, columns)
        cells = {name: SpooledColumn() for name in value_columns(columns)}
        samples = SpooledColumn()
        names_by_file: dict[str, Mapping[str, list[str] | None]] = {}
        for file, content in read_files(path, files, lambda number, file: _read(number, file, columns)):
            if isinstance(content, Rejection):
                samples.append(FoundSample.of_unreadable_file(file.name, content, len(pixel_columns(columns))))
            elif content.samples:
                samples.extend(content.samples)
                names_by_file[file.name] = content.class_names
            for name, column in cells.items():
                of_unreadable: list[Any] = [([], []) if has_objects and name == OBJECTS else None]
                column.extend(of_unreadable if isinstance(content, Rejection) else content.cells[name])
        named = {column: _join_class_names(path, column, names_by_file) for column in _class_columns(columns)}
        notes = describe_unused_columns(path, schema.names, columns)
        if has_objects:
            boxes, labels = map(SpooledColumn, zip(*cells.pop(OBJECTS), strict=True))
            cells |= {OBJECTS: boxes, _OBJECT_CLASSES: labels}
            columns = replace(columns, box_labels=_OBJECT_CLASSES)
            named[_OBJECT_CLASSES] = _join_class_names(path, OBJECTS, names_by_file)
            notes.append(describe_objects(path))
        columns = _with_label_lists(columns, named)
        of_label, of_boxes = named.get(columns.label or ""), named.get(columns.box_labels or "")
        known = of_boxes if columns.label is None else of_label
        assembled = assemble_samples(
            path,
            columns,
            cells,
            samples,
            known if class_names is None else class_names,
            target_classes={name: names for name, column in columns.targets if (names := named.get(column)) is not None},
            box_class_names=of_boxes,
        )
        return cls(
            path,
            assembled.class_names,
            assembled.images,
            assembled.fields,
            tuple(file.path for file in files),
            box_facts=assembled.box_facts,
            notes=tuple(notes),
        )

    def fetch(self, location: tuple[int, int, int, str]) -> bytes:
        """The bytes of an image."""
        number, part, row, column = location
        cell = read_column(self.files[number], part, column)[row].as_py()
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        if data is not None:
            return bytes(data)
        if not path or "\0" in path:
            raise ImageError("has neither bytes nor a path")
        return read_file(os.path.join(os.path.dirname(self.files[number]), path))


HUGGINGFACE = SourceFormat(
    "huggingface",
    lambda request: HuggingFaceSource.load(request.path, request.columns, request.class_names),
    (".arrow",),
    r"\.arrow",
    lambda listing: HuggingFaceSource.is_at(listing.path),
    in_folders=True,
    has_columns=True,
)


class _FileContents(NamedTuple):
    """What a file holds: cells by column, a sample for each row, and the class names by column, where the file has them."""

    cells: dict[str, SpooledColumn]
    samples: SpooledColumn
    class_names: dict[str, list[str] | None]


def _holds_paths(file: ArrowFile, name: str) -> bool:
    """Whether a column of bytes holds paths and not images."""
    if file.is_struct(name) or not sum(file.part_rows):
        return False
    try:
        read_header(file.first_value(name) or b"")
    except NotAnImageError:
        return True
    except ImageError:
        return False
    except arrow_errors():
        return False
    return False


def _without_stale_files(path: str, files: Sequence[SourceFile]) -> list[SourceFile]:
    """The files without those that are not part of the data, in folders where `datasets` wrote which files are.

    Raises:
        SourceError: If a file that is part of the data is missing.
    """
    present = {file.path for file in files}
    stale: set[str] = set()
    for folder in dict.fromkeys(os.path.dirname(file.path) for file in files):
        data_files = _data_files(folder)
        if data_files is None:
            continue
        missing = [name for name in data_files if not os.path.exists(os.path.join(folder, name))]
        if missing:
            raise SourceError(f"{path}: {folder}/{_STATE_NAME} names {missing[0]!r}, which is not there")
        in_folder = (file for file in present if os.path.dirname(file) == folder)
        stale |= {file for file in in_folder if os.path.basename(file) not in data_files}
    return [file for file in files if file.path not in stale]


def _data_files(folder: str) -> list[str] | None:
    """The names of the files of data that the state file of a folder gives; None if there is no such file."""
    try:
        with open_text(os.path.join(folder, _STATE_NAME), strict=True) as file:
            return [data_file["filename"] for data_file in json.load(file)["_data_files"]] or None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _first_schema(path: str, files: Sequence[SourceFile]) -> Any:
    """The schema of the first file that can be read."""
    contents = read_files(path, files, lambda _, file: open_arrow_file(file.path).schema)
    return next(schema for _, schema in contents if not isinstance(schema, Rejection))


def _find_columns(path: str, schema: Any, columns: Columns) -> tuple[Columns, bool]:
    """Which columns hold what, and whether one holds objects with boxes, which nobody had to say."""
    described = described_columns(schema, columns)
    has_objects = described == Columns() and _holds_objects(schema) and not set(_USUAL["label"]) & set(schema.names)
    if not has_objects:
        return find_columns(described, path, list(schema.names), _USUAL), False
    return find_columns(Columns(label="", boxes=OBJECTS), path, list(schema.names), _USUAL), True


def _holds_objects(schema: Any) -> bool:
    """Whether there is a column of objects with boxes: a struct of lists, or a list of structs."""
    return OBJECTS in schema.names and "bbox:" in str(schema.field(OBJECTS).type)


def _read(number: int, file: SourceFile, columns: Columns) -> _FileContents:
    """All of a file but its images; `number` is that of the file.

    Raises:
        SourceError: If the file cannot be read, or lacks a column.
    """
    path, opened = file.path, open_arrow_file(file.path)
    for name in [*pixel_columns(columns), *value_columns(columns)]:
        if name not in opened.schema.names:
            raise SourceError(f"{path}: has no column {name!r}, its columns are {', '.join(opened.schema.names)}")
        if name in pixel_columns(columns) and not opened.has_encoded_images(name):
            raise SourceError(f"{path}: column {name!r} is {opened.schema.field(name).type}, expected are images, as bytes")
    cells = {name: SpooledColumn() for name in value_columns(columns)}
    try:
        for part in range(len(opened.part_rows) if cells else 0):
            table = opened.read(part, list(cells))
            for name, column in cells.items():
                column.extend(table.column(name).to_pylist())
    except KseqError:
        raise
    except arrow_errors() as error:
        raise SourceError(f"{path}: cannot be read: {one_line(error)}") from error
    class_names = {name: _class_names(opened.schema, name) for name in _class_columns(columns)}
    for name, names in class_names.items():
        if names is None and (ordered := opened.ordered_categories(name)) is not None:
            class_names[name] = ordered
            if not number:
                tell(f"{path}: {describe_ordered(name)}")
    for name, names in class_names.items():
        if names is not None:
            cells[name] = SpooledColumn(_named(cell, names) for cell in cells[name])
    if columns.boxes == OBJECTS and _holds_objects(opened.schema):
        class_names[OBJECTS] = names = _object_class_names(opened.schema)
        pairs = map(read_objects, cells[OBJECTS])
        cells[OBJECTS] = SpooledColumn((boxes, labels if names is None else _named(labels, names)) for boxes, labels in pairs)
    samples = SpooledColumn(_found_samples(number, opened, file.name, pixel_columns(columns)))
    return _FileContents(cells, samples, class_names)


def _found_samples(number: int, opened: ArrowFile, name: str, pixels: Sequence[str]) -> Iterator[FoundSample]:
    split = split_from_name(name)
    file_row = 0
    for part, count in enumerate(opened.part_rows):
        for row in range(count):
            locations = tuple((number, part, row, column) for column in pixels)
            yield FoundSample(os.fsencode(f"{name}/{file_row}"), locations, opened.row_bytes, split)
            file_row += 1


def _class_columns(columns: Columns) -> list[str]:
    """The columns whose numbers may stand for classes that the files name."""
    kinds = dict(columns.kinds)
    targets = [column for name, column in columns.targets if kinds.get(name, _MULTI_LABEL) == _MULTI_LABEL]
    return list(dict.fromkeys(name for name in (columns.label, columns.box_labels, *targets) if name is not None))


def _with_label_lists(columns: Columns, named: Mapping[str, Sequence[str] | None]) -> Columns:
    """The columns, with the kind of those targets whose classes the files name."""
    kinds = {name: _MULTI_LABEL for name, column in columns.targets if named.get(column) is not None}
    return replace(columns, kinds=tuple((kinds | dict(columns.kinds)).items())) if kinds else columns


def _named(cell: Any, names: Sequence[str]) -> Any:
    """The names of the classes that a number, or a list of numbers, stands for; what stands for none stays."""
    if isinstance(cell, list):
        return [_named(number, names) for number in cell]
    return names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else cell


def _class_names(schema: Any, column: str) -> list[str] | None:
    """The class names that `datasets` writes beside the schema; None if there are none."""
    try:
        names = _innermost(json.loads(schema.metadata[b"huggingface"])["info"]["features"][column])["names"]
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _object_class_names(schema: Any) -> list[str] | None:
    """The same for the classes in a column of objects."""
    try:
        features = _innermost(json.loads(schema.metadata[b"huggingface"])["info"]["features"][OBJECTS])
        names = _innermost(features[class_key(features)])["names"]
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _innermost(feature: Any) -> Any:
    """What a list holds: it is written as a feature with a feature in it, or by old versions as a list of one feature."""
    while isinstance(feature, list) or "feature" in feature:
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    return feature


def _join_class_names(
    path: str, column: str, names_by_file: Mapping[str, Mapping[str, Sequence[str] | None]]
) -> list[str] | None:
    """The classes that all files name for a column, in the order in which they appear; None if no file names any.

    Raises:
        SourceError: If some files name classes and others do not.
    """
    of_column = {file: names[column] for file, names in names_by_file.items()}
    without = [file for file, names in of_column.items() if names is None]
    if without:
        with_names = [file for file, names in of_column.items() if names is not None]
        if with_names:
            raise SourceError(
                f"{path}: {with_names[0]} names the classes of {column!r}, {without[0]} does not: nobody knows what its "
                "numbers mean"
            )
        return None
    joined = dict.fromkeys(name for names in of_column.values() for name in names or ())
    return list(joined) if of_column else None
