"""Files of many samples: several of about one size for each split, numbered."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

from kseq.exporting.exported_samples import Sample

__all__ = ["Part", "RollingWriter"]

# What begins the names of files with samples that are in no split.
_NO_SPLIT = "rest"


class Part(Protocol):
    """One such file, open for writing."""

    def add(self, sample: Sample) -> int:
        """Append a sample; how many bytes the file has then."""

    def close(self) -> None:
        """Finish the file, and have it on the disk."""


class RollingWriter:
    """Writes samples into files called like their split: `train-000000.tar`, `train-000001.tar` and so on.

    Args:
        folder: An empty folder.
        suffix: What their names end with.
        opened: Makes the file at a path.
        file_bytes: A file that has as many bytes is followed by the next one.
        columns: For `kseq pack`: field name to what holds it.
    """

    source = ""
    split_column = ""

    def __init__(
        self, folder: str, suffix: str, opened: Callable[[str], Part], file_bytes: int, columns: Mapping[str, str]
    ) -> None:
        self.columns = dict(columns)
        self._folder = folder
        self._suffix = suffix
        self._opened = opened
        self._file_bytes = file_bytes
        # The open file of each split, and how many there were before.
        self._parts: dict[str, Part] = {}
        self._counts: dict[str, int] = {}

    def add(self, sample: Sample) -> None:
        """Append a sample to the last file of its split."""
        split = sample.split or _NO_SPLIT
        part = self._parts.get(split)
        if part is None:
            count = self._counts.get(split, 0)
            path = os.path.join(self._folder, f"{split}-{count:06d}{self._suffix}")
            part = self._parts[split] = self._opened(path)
            self._counts[split] = count + 1
        if part.add(sample) >= self._file_bytes:
            self._parts.pop(split).close()

    def close(self) -> None:
        """Finish all files."""
        while self._parts:
            self._parts.popitem()[1].close()
