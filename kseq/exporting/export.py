"""Exporting: a dataset back to image files with a table, to WebDataset tars, or to TFRecords."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from kseq.arguments import path_text, whole
from kseq.errors import ArgumentError
from kseq.exporting.exported_samples import Exported, Sample
from kseq.exporting.folder import FolderWriter
from kseq.exporting.tfrecord import RecordsWriter
from kseq.exporting.webdataset import TarsWriter
from kseq.sources.cell_types import sort_class_names
from kseq.storage.atomic import publishing_folder
from kseq.storage.output_folder import check_apart

__all__ = ["EXPORT_FORMATS", "ExportReport", "export"]

_FILE_BYTES = 256 << 20
_WITH_FILE_BYTES = {"webdataset": TarsWriter, "tfrecord": RecordsWriter}
EXPORT_FORMATS = ("folder", *_WITH_FILE_BYTES)

# Of `kseq pack`: content of a field to the option that names its column; others are targets.
_OPTIONS = {
    "image": "--image",
    "label": "--label",
    "mask": "--mask",
    "boxes": "--boxes",
    "labels": "--box-labels",
    "text": "--text",
    "sample_weight": "--sample-weight",
}


class _Writer(Protocol):
    source: str
    split_column: str
    columns: dict[str, str]

    def add(self, sample: Sample) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        path: The folder.
        format: Of `kseq.export`.
        samples: How many samples are in it.
        files: How many files.
        bytes: Their size.
        splits: Split name to the number of its samples; those in no split are missing.
        pack_command: What packs it again, with DATASET in place of the folder to make.
    """

    path: str
    format: str
    samples: int
    files: int
    bytes: int
    splits: dict[str, int]
    pack_command: str


def export(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str = "folder",
    split: str | None = None,
    file_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write the samples of a dataset as files that other tools read, and `kseq.pack` packs again.

    Samples that were dropped are left out. Encoded images are written as they are stored; raw pixels become PNG. What packs
    the files again stands in the report, with every field; the rules of each format, which say what cannot come back, are at
    the top of its module in `kseq/exports`. A folder `CLASS/IMAGE` (or `train/CLASS/IMAGE`) that was packed with
    `encoding="keep"`, with no file left out and none dropped since, comes back with its names and bytes: packed with the same
    options, it gives the same digest. In a table or a record, a class called `nan` is none, spaces at the ends of a name are
    lost, and labels of which no sample has any come back as numbers, or from TFRecords not at all.

    The folder appears when all is written; a run that is killed leaves one whose name begins with `.kseq-tmp-` beside it.

    Args:
        dataset: The dataset's folder.
        out: The folder to make.
        format: `"folder"` (image files, and a table of all the rest), `"webdataset"` (tars) or `"tfrecord"`.
        split: The name of a split; None for all samples.
        file_bytes: About how large each tar or TFRecord file is to be; None for 256 MiB.
        progress: Called after each sample with how many are done and how many there are.

    Raises:
        ArgumentError: Where there is no such format or split, or an extra is not installed.
        DatasetNotFoundError: Where there is no dataset.
        DatasetExistsError: Where something lies at `out`.
        DamagedError: Where stored bytes have changed.
        WriteError: Where the operating system refuses.
    """
    path, target = path_text("dataset", dataset), os.path.normpath(path_text("out", out))
    if format not in EXPORT_FORMATS:
        raise ArgumentError(f"format={format!r}: allowed are {', '.join(EXPORT_FORMATS)}")
    if file_bytes is not None and format == "folder":
        raise ArgumentError(f"file_bytes={file_bytes}: goes with webdataset and tfrecord, found folder")
    num_bytes = _FILE_BYTES if file_bytes is None else whole("file_bytes", file_bytes, 1)
    exported = Exported(path, split)
    check_apart(path, target)
    splits: Counter[str] = Counter()
    labels: set[int] = set()
    with publishing_folder(target) as folder:
        writer = _open_writer(format, folder, exported, num_bytes)
        try:
            for done, sample in enumerate(exported, start=1):
                writer.add(sample)
                if sample.split is not None:
                    splits[sample.split] += 1
                labels.update([int(sample.values["label"])] if "label" in sample.values else [])
                if progress is not None:
                    progress(done, len(exported))
        finally:
            writer.close()
        sizes = list(_sizes(folder))
    command = shlex.join(
        [*_pack_command(os.path.join(target, writer.source), writer, exported), *_class_options(exported, labels)]
    )
    return ExportReport(target, format, len(exported), len(sizes), sum(sizes), dict(splits), command)


def _open_writer(format: str, folder: str, exported: Exported, file_bytes: int) -> _Writer:
    if format in _WITH_FILE_BYTES:
        return _WITH_FILE_BYTES[format](folder, exported, file_bytes)
    return FolderWriter(folder, exported)


def _sizes(folder: str) -> Iterator[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield os.path.getsize(os.path.join(place, name))


def _pack_command(source: str, writer: _Writer, exported: Exported) -> list[str]:
    words = ["kseq", "pack", source.rstrip("/"), "DATASET"]
    for name, column in writer.columns.items():
        option = _OPTIONS.get(exported.fields[name].kind)
        words += ["--target", f"{name}={column}"] if option is None else [option, column]
    if writer.split_column:
        words += ["--split-column", writer.split_column]
    settings = exported.settings
    if settings["encoding"] == "raw":
        words += ["--encoding", "raw", "--image-size", *map(str, settings["image_size"])]
    if settings["color_mode"] != "rgb":
        words += ["--color-mode", settings["color_mode"]]
    return words


def _class_options(exported: Exported, labels: set[int]) -> list[str]:
    """The classes, where packing would not number those that samples have as they are numbered."""
    names = exported.class_names
    found = [names[number] for number in labels]
    return ["--class-names", *names] if found and sort_class_names(found) != list(names) else []
