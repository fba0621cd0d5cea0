"""What every export format gives: a writer of samples, and how the registry knows it.

To add a format, write one module beside this one, with an `ExportWriter` and an `ExportFormat`, and list the format in
`kseq/exporting/registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

from kseq.exporting.exported_samples import ExportedSample, ExportedSamples
from kseq.platforms.files import flush_file

__all__ = ["ExportFormat", "ExportWriter", "close_durably", "pack_options"]


class ExportWriter:
    """Writes samples into an empty folder, so that `kseq pack` can pack them again.

    Attributes:
        columns: Field name to the column that `kseq pack` reads it from; without the fields that it finds by itself.
        split_column: The column of the splits; empty if the names of files tell them.
        source: What `kseq pack` is given, as a path below the folder; empty for the folder itself.
        numbers_classes: Whether the files say which number each class has, so that packing need not be told.
    """

    columns: dict[str, str]
    split_column: str = ""
    source: str = ""
    numbers_classes: bool = False

    def add(self, sample: ExportedSample) -> None:
        """Write one sample."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish all files, and flush them to the disk."""
        raise NotImplementedError


@dataclass(frozen=True)
class ExportFormat:
    """A format in which samples can be exported.

    Attributes:
        name: What callers call it: `format="tfrecord"`.
        open: Gives a writer; called with an empty folder, the samples, and about how large a file is to be, in bytes. It raises
            ArgumentError if a package is missing.
        has_file_bytes: Whether it writes files of many samples, so that callers can choose their size.
    """

    name: str
    open: Callable[[str, ExportedSamples, int], ExportWriter]
    has_file_bytes: bool


def pack_options(columns: Mapping[str, str], samples: ExportedSamples) -> list[str]:
    """The options of `kseq pack`, each with its value, that make fields from columns; field name to column."""
    fields, has_one_image = samples.fields, samples.has_one_image
    return [word for name in columns for word in fields[name].handler.pack_options(columns[name], has_one_image)]


def close_durably(file: IO) -> None:
    """Flush a file to the disk, and close it."""
    with file:
        file.flush()
        flush_file(file.fileno())
