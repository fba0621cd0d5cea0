"""What is to be packed, opened as a source: a path, or an iterable that is spooled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kseq.arguments import path_text
from kseq.sources.columns import Columns
from kseq.sources.files import Source
from kseq.sources.iterables import spooled
from kseq.sources.opening import open_source
from kseq.target import check_apart

__all__ = ["opened_source"]


@contextmanager
def opened_source(
    source: Any,
    target: str,
    source_format: str | None,
    columns: Columns,
    root: str | os.PathLike[str] | None,
    class_names: Sequence[str] | None,
) -> Iterator[Source]:
    """What is to be packed, good until the end of the block; the arguments are those of `kseq.pack`.

    Raises:
        ArgumentError: Where arguments do not go together, or source and dataset lie in each other.
        SourceError: Where there is nothing that can be packed.
        WriteError: Where the disk refuses to spool.
    """
    if not isinstance(source, (str, bytes, os.PathLike)) and source_format is None and root is None:
        with spooled(source, os.path.dirname(os.path.abspath(target)), columns, class_names) as found:
            yield found
        return
    place = path_text("source", source)
    check_apart(place, target)
    yield open_source(place, source_format, columns, None if root is None else path_text("root", root), class_names)
