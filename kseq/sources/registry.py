"""Which source a path is."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kseq.arguments import choice, spelled
from kseq.errors import ArgumentError, SourceError
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.arrayrecord import ARRAY_RECORDS, ArrayRecordSource
from kseq.sources.arrays import ArraysSource
from kseq.sources.base import Source
from kseq.sources.coco import CocoSource
from kseq.sources.column_roles import Columns
from kseq.sources.file_sets import is_pattern, match_files
from kseq.sources.folder import FolderSource
from kseq.sources.huggingface import HuggingFaceSource
from kseq.sources.table import ENDS, TableSource
from kseq.sources.tfrecord import TFRECORDS, TFRecordSource
from kseq.sources.webdataset import TARS, WebDatasetSource
from kseq.sources.yolo import YoloSource
from kseq.sources.zip_archive import ZipSource

__all__ = ["SOURCE_FORMATS", "open_source"]


@dataclass(frozen=True)
class _Request:
    """What was asked for: the arguments of `open_source`."""

    path: str
    columns: Columns
    root: str | None
    class_names: Sequence[str] | None
    follow_links: bool


def _table(table_format: str) -> Callable[[_Request], Source]:
    def load(asked: _Request) -> Source:
        if os.path.exists(asked.path) and not os.path.isfile(asked.path):
            raise SourceError(f"{asked.path}: is not a file, expected is one ({table_format})")
        return TableSource.load(
            asked.path, table_format, asked.columns, asked.root, asked.class_names, follow_links=asked.follow_links
        )

    return load


def _parquet(asked: _Request) -> Source:
    """Where the images are in the files themselves, not a table of paths."""
    if asked.root is None and (not os.path.isfile(asked.path) or HuggingFaceSource.has_images(asked.path, asked.columns)):
        return HuggingFaceSource.load(asked.path, asked.columns, asked.class_names)
    return _table("parquet")(asked)


def _coco(asked: _Request) -> Source:
    if os.path.exists(asked.path) and not os.path.isfile(asked.path):
        raise SourceError(f"{asked.path}: is not a file, expected is one (coco)")
    return CocoSource.load(asked.path, asked.root, asked.class_names, follow_links=asked.follow_links)


_OPEN: dict[str, Callable[[_Request], Source]] = {
    "folder": lambda asked: FolderSource.scan(asked.path, asked.class_names, follow_links=asked.follow_links),
    "csv": _table("csv"),
    "jsonl": _table("jsonl"),
    "parquet": _parquet,
    "coco": _coco,
    "yolo": lambda asked: YoloSource.scan(asked.path, asked.class_names, follow_links=asked.follow_links),
    "webdataset": lambda asked: WebDatasetSource.load(asked.path, asked.columns, asked.class_names),
    "zip": lambda asked: ZipSource.load(asked.path, asked.class_names),
    "tfrecord": lambda asked: TFRecordSource.load(asked.path, asked.columns, asked.class_names),
    "arrayrecord": lambda asked: ArrayRecordSource.load(asked.path, asked.columns, asked.class_names),
    "huggingface": lambda asked: HuggingFaceSource.load(asked.path, asked.columns, asked.class_names),
    "arrays": lambda asked: ArraysSource.load(asked.path, asked.columns, asked.class_names),
}
SOURCE_FORMATS = tuple(_OPEN)
_WITHOUT_COLUMNS = ("folder", "coco", "yolo", "zip")
_WITH_ROOT = ("csv", "jsonl", "parquet", "coco")
_WITH_LINKS = ("folder", "yolo", *_WITH_ROOT)

# What the end of a file's name says; of a folder, that of the files in it.
_ENDS = {
    **ENDS,
    r"\.arrow": "huggingface",
    r"\.json": "coco",
    TARS: "webdataset",
    r"\.zip": "zip",
    TFRECORDS: "tfrecord",
    ARRAY_RECORDS: "arrayrecord",
    r"\.(npz|npy|h5|hdf5)": "arrays",
}
_IN_FOLDERS = ("parquet", "huggingface", "webdataset", "tfrecord", "arrayrecord")
_KNOWN = ".csv, .tsv, .jsonl, .ndjson, .parquet, .pq, .arrow, .json, .tar, .zip, .tfrecord, .array_record, .npz, .npy, .h5"


def open_source(
    path: str,
    source_format: str | None,
    columns: Columns,
    root: str | None,
    class_names: Sequence[str] | None,
    *,
    follow_links: bool = False,
) -> Source:
    """Look through what lies at a path.

    Args:
        path: A folder of images, a file that names or holds them, or a pattern of such files.
        source_format: One of `SOURCE_FORMATS`; None to tell by what lies there and by its name.
        columns: Which column, feature, array or kind of file says what.
        root: The folder that a table's paths are relative to; None for the table's own.
        class_names: All classes, in the order of their numbers.
        follow_links: Follow links out of the folder of images, and links to folders.

    Raises:
        ArgumentError: Where arguments do not go with each other, or with what lies there.
        SourceError: Where there is nothing that can be packed.
    """
    if source_format is not None:
        choice("source_format", source_format, SOURCE_FORMATS)
    found = source_format or _tell(path)
    if found in _WITHOUT_COLUMNS and columns != Columns():
        others = ", ".join(each for each in SOURCE_FORMATS if each not in _WITHOUT_COLUMNS)
        raise ArgumentError(f"{path}: columns go with a table or with records ({others}), found {found}")
    if found not in _WITH_ROOT and root is not None:
        raise ArgumentError(f"{path}: {spelled('root', root)} goes with {', '.join(_WITH_ROOT)}, found {found}")
    if found not in _WITH_LINKS and follow_links:
        raise ArgumentError(f"{path}: {spelled('follow_links', True)} goes with {', '.join(_WITH_LINKS)}, found {found}")
    return _OPEN[found](_Request(path, columns, root, class_names, follow_links))


def _tell(path: str) -> str:
    if is_pattern(path):
        return _tell_file(match_files(path)[0])
    if not os.path.exists(path):
        raise SourceError(f"{path}: is not there, expected is a folder of images, or a file ({_KNOWN})")
    return _tell_folder(path) if os.path.isdir(path) else _tell_file(path)


def _tell_file(path: str) -> str:
    for end, source_format in _ENDS.items():
        if os.path.isfile(path) and re.search(rf"{end}$", path, re.IGNORECASE):
            return source_format
    raise SourceError(
        f"{path}: is neither a folder of images nor a file that its name tells ({_KNOWN}): "
        f"{spelled('source_format')} says what it is"
    )


def _tell_folder(path: str) -> str:
    """Images in a folder of classes are the rule; records lie in it, or one folder deeper."""
    if HuggingFaceSource.is_at(path):
        return "huggingface"
    if YoloSource.is_at(path):
        return "yolo"
    if _has_image_below(path):
        # Whatever lies beside the class folders: an archive of them, say.
        return "folder"
    files = glob.glob(os.path.join(glob.escape(path), "*")) + glob.glob(os.path.join(glob.escape(path), "*", "*"))
    for file in sorted(each for each in files if os.path.isfile(each)):
        for end, source_format in _ENDS.items():
            if source_format in _IN_FOLDERS and re.search(rf"{end}$", file, re.IGNORECASE):
                return source_format
    return "folder"


def _has_image_below(path: str) -> bool:
    """Whether a folder in this one holds an image, at any depth; the first one tells."""
    for place, folders, names in os.walk(path):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        if place != path and any(name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".") for name in names):
            return True
    return False
