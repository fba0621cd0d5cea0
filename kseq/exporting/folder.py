"""A folder of image files, with a table beside them that holds all other values.

The rules:

- A file has the bytes that are stored: with `keep`, those of the source's JPEG or PNG, EXIF and all. Raw pixels become PNG, or
  `.npy` if they have more than 8 bits or other channels than colours.
- It has the name of its source, byte for byte, if that is a path below a folder which ends like an image and has no hidden
  part (a leading dot), no `..`, and no archive or file of records on its way (`train-000.tar/0001.jpg`). With `raw` and
  `jpeg`, the suffix becomes that of what is stored; with `keep` it stays, so that a WebP that was stored as PNG has its old
  name.
- If its folder is that of another class or split, as after `kseq relabel`, or if the name is not allowed, or taken (also by a
  name that differs in upper and lower case alone, where the file system does not tell these apart), the file is
  `CLASS/ID.jpg`; or `SPLIT/CLASS/ID.jpg`, if the source of the first sample begins with a split or is no such path either. ID
  is the sample id in eight digits. If no folder can have the name of the class, the class number takes its place.
- A mask, or another image than the first, has the name of the first image, in a folder with the name of its field.
- The table is `samples.csv`, or `samples.jsonl` if samples hold lists, text or whole numbers: a row for each sample, in the
  order of their ids, with the columns `path`, `split` and one for each other field; of several images, each has the column
  with the name of its field. Classes are given by their names.
- For a split that is not train, val or test, the cell of `split` is empty. A sample in several splits counts for train, else
  val, else test.
"""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from kseq.arguments import spelled
from kseq.errors import ArgumentError, one_line
from kseq.exporting.exported_samples import ExportedSample, ExportedSamples, ImageFile
from kseq.exporting.writer import ExportFormat, ExportWriter, close_durably
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.images.number_files import ARRAY_SUFFIXES
from kseq.platforms.files import is_file_name
from kseq.sources.formats import load_formats
from kseq.sources.split_names import SPLITS, folder_split
from kseq.storage.fields import Field

__all__ = ["FOLDER", "FolderWriter"]

# What the operating system says of a name that is taken, or that no file can have there.
_BAD_NAME = (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_MAX_NAME_BYTES = 255


class FolderWriter(ExportWriter):
    """Writes samples as image files and a table.

    Args:
        folder: An empty folder.
        samples: The samples that will be written.
    """

    def __init__(self, folder: str, samples: ExportedSamples) -> None:
        self._folder = os.fsencode(folder)
        self._samples = samples
        self._keeps_names = samples.settings["encoding"] == "keep"
        # Whether files that cannot keep their names lie in folders of splits; the first sample tells.
        self._in_splits: bool | None = None
        self._last_folder = b""
        self._class_names = frozenset(samples.class_names)
        fields = list(samples.fields.values())
        # Several image fields get the names of their columns when they are packed again.
        self._path_column = _unused_name("path", samples.fields) if samples.has_one_image else fields[0].name
        self.split_column = _unused_name("split", samples.fields)
        self.columns = {field.name: field.name for field in fields} | {fields[0].name: self._path_column}
        is_csv = all(field.handler.fits_csv for field in fields)
        self.source = "samples.csv" if is_csv else "samples.jsonl"
        names = [self._path_column, self.split_column, *(field.name for field in fields[1:])]
        # Made before any image, so that no image takes the name.
        self._table = _Table(os.path.join(folder, self.source), names if is_csv else None)

    def add(self, sample: ExportedSample) -> None:
        """Write the files of a sample, and its row of the table."""
        (_, first), *others = sample.images.items()
        path = self._write(self._candidate_names(sample, first), first.data)
        row: dict[str, Any] = {self._path_column: os.fsdecode(path), self.split_column: _packed_split(sample)}
        for number, (name, image) in enumerate(others, start=2):
            stem = name if is_file_name(name) else f"image-{number}"
            beside = b"%s/%s%s" % (stem.encode(), os.path.splitext(path)[0], image.suffix.encode())
            fallbacks = _numbered_names(f"{stem}-{sample.sample_id:08d}", image.suffix)
            row[name] = os.fsdecode(self._write(itertools.chain([beside], fallbacks), image.data))
        row |= {name: self._samples.json_value(name, value) for name, value in sample.values.items()}
        self._table.write(row)

    def close(self) -> None:
        self._table.close()

    def _candidate_names(self, sample: ExportedSample, image: ImageFile) -> Iterator[bytes]:
        """The names that the image of a sample may have, the best first."""
        kept = _kept_name(sample.source, image.suffixes, self._keeps_names)
        if self._in_splits is None:
            first = kept.split(b"/")[0] if kept else b""
            self._in_splits = kept is None or folder_split(os.fsdecode(first)) is not None
        label = int(sample.values["label"]) if "label" in sample.values else None
        if kept is not None and not self._lies_elsewhere(kept, label, _packed_split(sample)):
            yield kept
        folders = [sample.split] if self._in_splits and sample.split else []
        if label is not None:
            folders.append(self._class_folder(label))
        stem = f"{sample.sample_id:08d}"
        yield os.fsencode("/".join([*folders, stem + image.suffix]))
        yield from _numbered_names(stem, image.suffix)

    def _lies_elsewhere(self, name: bytes, label: int | None, split: str) -> bool:
        """Whether a file of this name would lie in the folder of another class or split."""
        *folders, _ = os.fsdecode(name).split("/")
        if label is None or not folders:
            return False
        split_in_name = folder_split(folders[0]) if len(folders) > 1 else None
        class_folder = folders[0] if split_in_name is None else folders[1]
        if class_folder not in self._class_names:
            return False
        is_other_split = split_in_name is not None and split != "" and split_in_name != split
        return class_folder != self._samples.class_names[label] or is_other_split

    def _class_folder(self, label: int) -> str:
        name = self._samples.class_names[label]
        return name if _is_visible_name(name) and len(os.fsencode(name)) <= _MAX_NAME_BYTES else str(label)

    def _write(self, names: Iterator[bytes], data: bytes) -> bytes:
        """Write a file under the first name that it can have; returns that name."""
        while True:
            name = next(names)
            try:
                path = os.path.join(self._folder, name)
                self._make_folder(os.path.dirname(path))
                # Mode "x" never replaces a file: only the file system knows for sure which names are taken.
                with open(path, "xb") as file:
                    file.write(data)
            except OSError as error:
                if error.errno not in _BAD_NAME or (b"/" not in name and error.errno != errno.EEXIST):
                    raise
                continue
            return name

    def _make_folder(self, folder: bytes) -> None:
        if folder != self._last_folder:
            os.makedirs(folder, exist_ok=True)
            self._last_folder = folder


FOLDER = ExportFormat("folder", lambda folder, samples, _: FolderWriter(folder, samples), has_file_bytes=False)


class _Table:
    """A CSV with the given columns, or JSON Lines if no columns are given."""

    def __init__(self, path: str, names: list[str] | None) -> None:
        # Paths may hold bytes that are not UTF-8: they are written as they were read. JSON escapes them.
        self._file = open(path, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115  # see close
        self._names = names
        self._writer = csv.writer(self._file)
        if names is not None:
            self._writer.writerow(names)

    def write(self, row: Mapping[str, Any]) -> None:
        if self._names is None:
            self._file.write(json.dumps(row) + "\n")
            return
        try:
            self._writer.writerow([row[name] for name in self._names])
        except csv.Error as error:
            # Python 3.10 neither writes nor reads a zero byte in a CSV.
            raise ArgumentError(
                f"{self._file.name}: the sample {row['path']!r} has a text that this Python cannot write to a CSV "
                f"({one_line(error)}): {spelled('format', 'webdataset')} or Python 3.11 can"
            ) from error

    def close(self) -> None:
        close_durably(self._file)


def _unused_name(name: str, used: Mapping[str, Field]) -> str:
    while name in used:
        name += "_"
    return name


def _packed_split(sample: ExportedSample) -> str:
    """The split that `kseq pack` can give a sample; empty for another one."""
    return sample.split if sample.split is not None and sample.split in SPLITS.values() else ""


@cache
def _archive() -> re.Pattern[str]:
    """What names of files that hold images end in: such a part of a source's name is no folder. Tables of text hold paths."""
    formats = (known for known in load_formats() if known.name not in ("csv", "jsonl"))
    return re.compile(f"({'|'.join(known.file_names for known in formats if known.file_names)})$", re.IGNORECASE)


def _kept_name(source: bytes, suffixes: tuple[str, ...], keeps_suffix: bool) -> bytes | None:
    """The name that a sample has in its source; None if no file below a folder can have it."""
    *folders, name = os.fsdecode(source).split("/")
    stem, source_suffix = os.path.splitext(name)
    is_named_like_image = source_suffix.lower() in (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)
    if not is_named_like_image or not stem or any(_archive().search(folder) for folder in folders):
        return None
    if not all(map(_is_visible_name, (*folders, name))):
        return None
    is_kept = keeps_suffix or source_suffix.lower() in suffixes
    return source if is_kept else os.fsencode("/".join([*folders, stem + suffixes[0]]))


def _is_visible_name(name: str) -> bool:
    """Whether a name is that of a visible file or folder, and no path on this system: a drive, or parts with separators."""
    is_part = name[:1] not in ("", ".") and "/" not in name and "\0" not in name and os.path.basename(name) == name
    return is_part and is_file_name(name)


def _numbered_names(stem: str, suffix: str) -> Iterator[bytes]:
    """Names in the folder itself, without end."""
    yield f"{stem}{suffix}".encode()
    for number in itertools.count(2):
        yield f"{stem}-{number}{suffix}".encode()
