"""Parquet files: the images themselves, or a table of their paths.

The rule: one file is a table of paths if `root` is given, or if its column of images holds no images; then the rules of
`kseq/sources/table.py` apply. Otherwise, and for a folder or a pattern of files, those of `kseq/sources/huggingface.py` apply.
"""

from __future__ import annotations

import os

from kseq.errors import SourceError
from kseq.sources.arrow_files import open_arrow_file
from kseq.sources.base import Source
from kseq.sources.column_roles import USUAL, Columns, image_columns
from kseq.sources.huggingface import HuggingFaceSource
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.table import TableSource
from kseq.sources.table_files import TABLE_FORMATS

__all__ = ["PARQUET"]


def _open(request: SourceRequest) -> Source:
    has_images = not os.path.isfile(request.path) or HuggingFaceSource.has_images(request.path, request.columns)
    if request.root is None and has_images:
        return HuggingFaceSource.load(request.path, request.columns, request.class_names)
    if os.path.isfile(request.path):
        _check_paths(request.path, request.columns)
    return TableSource.open(request, "parquet")


def _check_paths(path: str, columns: Columns) -> None:
    """Raise SourceError if the column of the images can hold neither images nor their paths."""
    file = open_arrow_file(path)
    found = image_columns(columns) or [name for name in USUAL["image"] if name in file.schema.names][:1]
    for name in found:
        if name in file.schema.names and not file.has_paths(name):
            raise SourceError(
                f"{path}: column {name!r} is {file.short_type(name)}, allowed are images (binary, or a struct with bytes) "
                "and paths (string)"
            )


PARQUET = SourceFormat(
    "parquet",
    _open,
    (".parquet", ".pq"),
    TABLE_FORMATS["parquet"].file_names,
    in_folders=True,
    has_columns=True,
    has_root=True,
    has_links=True,
    has_suffix=True,
)
