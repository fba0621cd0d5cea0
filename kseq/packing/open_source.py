"""Opening what is to be packed as a source: a path, or an iterable that is spooled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kseq.arguments import path_text, spelled
from kseq.errors import ArgumentError
from kseq.sources.base import Source
from kseq.sources.column_roles import Columns
from kseq.sources.iterables import spool_samples
from kseq.sources.registry import open_source
from kseq.storage.output_folder import check_apart

__all__ = ["check_target_path", "open_or_spool"]

_PATHS = (str, bytes, os.PathLike)


@contextmanager
def open_or_spool(
    source: Any,
    folder: str,
    source_format: str | None,
    columns: Columns,
    root: str | os.PathLike[str] | None,
    class_names: Sequence[str] | None,
    *,
    follow_links: bool = False,
) -> Iterator[Source]:
    """Gives the source, which is valid until the end of the block; the arguments are those of `kseq.pack`.

    Args:
        folder: Where an iterable may be spooled; `""` for nowhere.

    Raises:
        ArgumentError: If arguments do not go together.
        SourceError: If there is nothing that can be packed.
        WriteError: If the disk refuses to spool.
    """
    if isinstance(source, _PATHS) or source_format is not None or root is not None or follow_links:
        path, root_path = path_text("source", source), None if root is None else path_text("root", root)
        yield open_source(path, source_format, columns, root_path, class_names, follow_links=follow_links)
        return
    if not folder:
        raise ArgumentError(f"{spelled('dry_run', True)}: goes with a path, an iterable can be read only once")
    with spool_samples(source, folder, columns, class_names) as spooled_source:
        yield spooled_source


def check_target_path(source: Any, dataset: str | os.PathLike[str]) -> str:
    """The path of the dataset.

    Raises:
        ArgumentError: If it is no path, or the source and the dataset lie in each other.
    """
    target = path_text("dataset", dataset)
    if isinstance(source, _PATHS):
        check_apart(path_text("source", source), target)
    elif not target:
        raise ArgumentError(f"{spelled('dataset', target)}: allowed is a path that is not empty")
    return target
