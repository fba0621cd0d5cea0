"""Exporting: the samples of a dataset as files that other tools read."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kseq.arguments import choice, path_or_url, path_text, spelled, whole
from kseq.display.commands import as_operand, option_words
from kseq.display.progress_bar import progress_shown
from kseq.errors import ArgumentError
from kseq.exporting.exported_samples import ExportedSamples
from kseq.exporting.registry import FORMATS
from kseq.exporting.writer import ExportWriter, pack_options
from kseq.sources.class_names import sort_class_names
from kseq.storage.atomic import publishing_folder
from kseq.storage.output_folder import check_apart
from kseq.storage.report import Report

__all__ = ["EXPORT_FORMATS", "ExportReport", "export"]

_FILE_BYTES = 256 << 20
EXPORT_FORMATS = tuple(export_format.name for export_format in FORMATS)
"""The names of the formats that `export` writes."""
"""The allowed values of the argument `format`."""


@dataclass(frozen=True)
class ExportReport(Report):
    """What `kseq.export` wrote.

    Attributes:
        path: The folder that was made.
        format: `"folder"`, `"webdataset"`, `"tfrecord"` or `"huggingface"`.
        num_samples: How many samples were exported.
        num_files: How many files were written.
        num_bytes: The size of all files, in bytes.
        splits: Split name to the number of its samples; samples in no split are not counted.
        pack_command: The command that packs the folder again, with DATASET in place of the folder to make.
    """

    path: str
    format: str
    num_samples: int
    num_files: int
    num_bytes: int
    splits: dict[str, int]
    pack_command: str


def export(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str = "folder",
    split: str | None = None,
    file_bytes: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | bool | None = None,
) -> ExportReport:
    """Write the samples of a dataset as files that other tools read, and that `kseq.pack` packs again.

    Samples that were dropped are left out. Encoded images are written as they are stored; raw pixels become PNG, or `.npy` if
    they have more than 8 bits or other channels than colours. The report holds the command that packs the files again, with
    every field. A folder `CLASS/IMAGE` (or `train/CLASS/IMAGE`) that was packed with the encoding `"keep"`, without rejected
    files and with no sample dropped since, comes back with its names and bytes: packed with the same options, it gives the same
    digest.

    Some things do not come back from a table or from records: a class called `nan` is no class, and spaces at the ends of a
    class name are lost. Of several labels, and of the labels of boxes where samples have a label too, classes that no sample
    has are lost.

    The folder appears when everything is written; a run that is killed leaves a folder whose name begins with `.kseq-tmp-`
    beside it.

    Args:
        dataset: The folder of the dataset, or its URL.
        out: The folder to make.
        format: `"folder"` (image files, and a table of all other values), `"webdataset"` (tars), `"tfrecord"` or
            `"huggingface"` (Parquet with a card, for `datasets.load_dataset`).
        split: The name of a split; None for all samples.
        file_bytes: About how large each tar, TFRecord or Parquet file is to be, in bytes; None for 256 MiB.
        cache_dir: Of a URL: where copies of its shards lie; this argument and the next two are as in `ShardDataset`.
        cache_bytes: Of a URL: how many bytes all copies may take.
        storage_options: Of a URL: what fsspec's file system gets.
        progress: A function that is called after each sample with how many are written and how many there are.
            None: a bar where a person looks, on a terminal or in a notebook, else nothing. False: nothing. True: a bar.

    Raises:
        ArgumentError: If there is no such format or split, or a package is not installed.
        DatasetNotFoundError: If there is no dataset.
        DatasetExistsError: If something lies at `out`.
        DamagedError: If stored bytes have changed.
        WriteError: If the operating system refuses to write.
    """
    path, target = path_or_url("dataset", dataset), os.path.normpath(path_text("out", out))
    choice("format", format, EXPORT_FORMATS)
    export_format = next(known for known in FORMATS if known.name == format)
    if file_bytes is not None and not export_format.has_file_bytes:
        allowed = " and ".join(known.name for known in FORMATS if known.has_file_bytes)
        raise ArgumentError(f"{spelled('file_bytes', file_bytes)}: goes with {allowed}, found {format}")
    num_bytes = _FILE_BYTES if file_bytes is None else whole("file_bytes", file_bytes, 1)
    reading = {"cache_dir": cache_dir, "cache_bytes": cache_bytes, "storage_options": storage_options}
    samples = ExportedSamples(path, split, **reading)
    check_apart(path, target)
    splits: Counter[str] = Counter()
    labels: set[int] = set()
    class_field = _class_field(samples)
    with progress_shown(progress, "samples") as show, publishing_folder(target) as folder:
        writer = export_format.open(folder, samples, num_bytes)
        try:
            for done, sample in enumerate(samples, start=1):
                writer.add(sample)
                if sample.split is not None:
                    splits[sample.split] += 1
                labels.update(sample.values[class_field].reshape(-1).tolist() if class_field else [])
                if show is not None:
                    show(done, len(samples))
        finally:
            writer.close()
        sizes = list(_file_sizes(folder))
    words = _pack_command(os.path.join(target, writer.source), writer, samples)
    if not writer.numbers_classes:
        words += _class_options(samples, class_field, labels)
    return ExportReport(target, format, len(samples), len(sizes), sum(sizes), dict(splits), shlex.join(words))


def _file_sizes(folder: str) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.getsize(os.path.join(parent, name))


def _pack_command(source: str, writer: ExportWriter, samples: ExportedSamples) -> list[str]:
    words = ["kseq", "pack", as_operand(source.rstrip("/")), "DATASET"]
    words += pack_options(writer.columns, samples)
    if writer.split_column:
        words += ["--split-column", writer.split_column]
    settings = samples.settings
    if settings["encoding"] == "raw":
        height, width, _ = next(field.shape for field in samples.fields.values() if field.is_image)
        words += ["--encoding", "raw", "--image-size", str(height), str(width)]
    # Maps are exported with their scale applied.
    for name in ("dtype", "channels", "map_dtype", "map_channels"):
        words += [f"--{name.replace('_', '-')}", str(settings[name])] if name in settings else []
    if settings["color_mode"] != "rgb":
        words += ["--color-mode", settings["color_mode"]]
    return words


def _class_field(samples: ExportedSamples) -> str | None:
    """The field whose classes `class_names` of a packing names: the label, or else the classes of boxes."""
    kinds = {field.kind: name for name, field in samples.fields.items()}
    return kinds.get("label", kinds.get("labels"))


def _class_options(samples: ExportedSamples, field: str | None, labels: set[int]) -> list[str]:
    """The class names, if packing would otherwise give labels other numbers, or take a name for none or for another."""
    if field is None:
        return []
    names = samples.fields[field].handler.class_names(samples.class_names)
    used = [names[number] for number in labels]
    are_odd = any(name != name.strip() or name.lower() == "nan" for name in used)
    return option_words("--class-names", names) if used and (are_odd or sort_class_names(used) != list(names)) else []
