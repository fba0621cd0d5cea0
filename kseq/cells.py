"""Which column of a file that names samples has the values that are wanted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from kseq.errors import SourceError
from kseq.index import Index
from kseq.named import NamedSamples, read_named

__all__ = ["read_cells"]


def read_cells(
    index: Index, path: str | os.PathLike[str], column: str | None, usual: Sequence[str]
) -> tuple[NamedSamples, Sequence[Any]]:
    """The samples that a table names, each once, and what a column says of each.

    Args:
        index: Of the dataset.
        path: The table.
        column: The column; None for the first of the usual names that there is, or the only one beside that of the samples.
        usual: What it is usually called.

    Raises:
        SourceError: Where the file cannot be read, names no sample or one twice, or which column is meant is open.
    """
    named = read_named(index, path, None if column is None else [column], once=True)
    if column is not None:
        return named, named.columns[column]
    found = next((name for name in usual if name in named.columns), None)
    if found is None and len(named.columns) == 1:
        found = next(iter(named.columns))
    if found is None:
        others = ", ".join(named.columns) or "none beside that of the samples"
        raise SourceError(
            f"{named.path}: which column has the values? (--column) No column is called {usual[0]}; there is {others}"
        )
    return named, named.columns[found]
