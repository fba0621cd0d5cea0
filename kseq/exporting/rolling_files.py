"""Files of many samples: several files of about one size for each split, numbered."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

from kseq.exporting.exported_samples import ExportedSample
from kseq.exporting.writer import ExportWriter

__all__ = ["RollingWriter", "SampleFile"]

# The start of the names of files with samples that are in no split.
_NO_SPLIT = "rest"


class SampleFile(Protocol):
    """A file of many samples, open for writing."""

    def add(self, sample: ExportedSample) -> int:
        """Append a sample; returns the size of the file in bytes."""

    def close(self) -> None:
        """Finish the file, and flush it to the disk."""


class RollingWriter(ExportWriter):
    """Writes samples into files that are named like their split: `train-000000.tar`, `train-000001.tar` and so on.

    Args:
        folder: An empty folder.
        suffix: The end of the names of the files.
        open_file: Makes the file at a path.
        file_bytes: A file of at least so many bytes is followed by the next one.
        columns: Field name to the column that `kseq pack` reads it from.
    """

    def __init__(
        self, folder: str, suffix: str, open_file: Callable[[str], SampleFile], file_bytes: int, columns: Mapping[str, str]
    ) -> None:
        self.columns = dict(columns)
        self._folder = folder
        self._suffix = suffix
        self._open_file = open_file
        self._file_bytes = file_bytes
        # For each split the open file, and how many files were begun.
        self._files: dict[str, SampleFile] = {}
        self._counts: dict[str, int] = {}

    def add(self, sample: ExportedSample) -> None:
        """Append a sample to the last file of its split."""
        split = self.split_of(sample)
        file = self._files.get(split)
        if file is None:
            count = self._counts.get(split, 0)
            file = self._files[split] = self._open_file(self._path(split, count))
            self._counts[split] = count + 1
        if file.add(sample) >= self._file_bytes:
            self._files.pop(split).close()

    @staticmethod
    def split_of(sample: ExportedSample) -> str:
        """What the names of the files of a sample begin with."""
        return sample.split or _NO_SPLIT

    def num_bytes(self, split: str) -> int:
        """The size of all files of a split, in bytes."""
        return sum(os.path.getsize(self._path(split, number)) for number in range(self._counts.get(split, 0)))

    def _path(self, split: str, number: int) -> str:
        return os.path.join(self._folder, f"{split}-{number:06d}{self._suffix}")

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()
