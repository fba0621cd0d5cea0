"""Which source a path is."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kseq.errors import ArgumentError, SourceError
from kseq.sources.coco import CocoSource
from kseq.sources.columns import Columns
from kseq.sources.files import Source
from kseq.sources.folder import FolderSource
from kseq.sources.table import FORMATS, TableSource
from kseq.sources.yolo import YoloSource

__all__ = ["SOURCE_FORMATS", "open_source"]

SOURCE_FORMATS = ("folder", *FORMATS, "coco", "yolo")
_SUFFIXES = {
    ".json": "coco",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def open_source(
    path: str, source_format: str | None, columns: Columns, root: str | None, class_names: Sequence[str] | None
) -> Source:
    """Look through what lies at a path.

    Args:
        path: A folder of images, or a table of them.
        source_format: One of `SOURCE_FORMATS`; None to tell by what lies there and by its name.
        columns: Of a table.
        root: The folder that a table's paths are relative to; None for the table's own.
        class_names: All classes, in the order of their numbers.

    Raises:
        ArgumentError: Where arguments do not go with each other, or with what lies there.
        SourceError: Where there is nothing that can be packed.
    """
    if source_format is not None and source_format not in SOURCE_FORMATS:
        raise ArgumentError(f"source_format={source_format!r}: allowed are {', '.join(SOURCE_FORMATS)}")
    found = source_format or _tell(path)
    if found not in FORMATS and columns != Columns():
        raise ArgumentError(f"{path}: columns go with a table ({', '.join(FORMATS)}), found {found}")
    if found in ("folder", "yolo"):
        if root is not None:
            raise ArgumentError(f"{path}: a root goes with a table or with coco, found {found}")
        return YoloSource.scan(path, class_names) if found == "yolo" else FolderSource.scan(path, class_names)
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError(f"{path}: is not a file, expected is one ({found})")
    if found == "coco":
        return CocoSource.load(path, root, class_names)
    return TableSource.load(path, found, columns, root, class_names)


def _tell(path: str) -> str:
    if not os.path.exists(path):
        raise SourceError(f"{path}: is not there, expected is a folder of images, or a file ({', '.join(_SUFFIXES)})")
    if os.path.isdir(path):
        return "yolo" if YoloSource.is_at(path) else "folder"
    found = _SUFFIXES.get(os.path.splitext(path)[1].lower())
    if found is None or not os.path.isfile(path):
        raise SourceError(
            f"{path}: is neither a folder of images nor a file that its name tells ({', '.join(_SUFFIXES)}; --from)"
        )
    return found
