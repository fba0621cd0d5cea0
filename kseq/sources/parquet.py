"""Parquet files: the images themselves, or a table of their paths.

The rule: one file is a table of paths if `root` is given, or if its column of images holds no images; then the rules of
`kseq/sources/table.py` apply. Otherwise, and for a folder or a pattern of files, those of `kseq/sources/huggingface.py` apply.
"""

from __future__ import annotations

import os

from kseq.sources.base import Source
from kseq.sources.huggingface import HuggingFaceSource
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.table import TableSource
from kseq.sources.table_files import TABLE_FORMATS

__all__ = ["PARQUET"]


def _open(request: SourceRequest) -> Source:
    has_images = not os.path.isfile(request.path) or HuggingFaceSource.has_images(request.path, request.columns)
    if request.root is None and has_images:
        return HuggingFaceSource.load(request.path, request.columns, request.class_names)
    return TableSource.open(request, "parquet")


PARQUET = SourceFormat(
    "parquet",
    _open,
    (".parquet", ".pq"),
    TABLE_FORMATS["parquet"].file_names,
    in_folders=True,
    has_columns=True,
    has_root=True,
    has_links=True,
)
