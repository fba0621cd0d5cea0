"""A folder of image files, with a table beside them that says all the rest.

The rules:

- A file has the bytes that are stored: with `keep`, those of the source's JPEG or PNG, EXIF and all. Raw pixels become PNG.
- It is called as its source was, byte for byte, where that is a path below a folder which ends like an image and has no hidden
  part (a leading dot), no `..`, and no archive or file of records on its way (`train-000.tar/0001.jpg`). Of `raw` and `jpeg`,
  the suffix becomes that of what is stored; of `keep` it stays, so that a WebP that was stored as PNG has its old name.
- Where its folder is that of another class or split, as after `kseq relabel`, or where the name cannot be, or is taken (by one
  that differs in case alone, where the file system does not tell these apart), it is `CLASS/ID.jpg`; or `SPLIT/CLASS/ID.jpg`,
  where the first sample's source begins with a split or is no such path either. ID is the sample id in eight digits. A class
  name that no folder can have gives way to the class number.
- A mask, or another image than the first, is called as the first image, in a folder called like its field.
- The table is `samples.csv`, or `samples.jsonl` where samples hold lists, text or whole numbers: a row for each sample, in the
  order of their ids, with the columns `path`, `split` and one for each other field; of several images, each has the column
  called like its field. Classes are told by their names.
- A split that is not called train, val or test leaves the cell of `split` empty. A sample in several splits counts for train,
  else val, else test.
"""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kseq.exporting.exported_samples import Exported, Picture, Sample
from kseq.images.formats import IMAGE_SUFFIXES, FileFormat
from kseq.sources.base import SPLITS
from kseq.storage.fields import Field

__all__ = ["FolderWriter"]

_ARCHIVE = re.compile(
    r"\.(tar|zip|npz|npy|h5|hdf5|json|parquet|arrow|tfrecords?(-\d+-of-\d+)?|array_?record\S*)$", re.IGNORECASE
)
# What the operating system says of a name that is taken, or that no file can have there.
_NO_NAME = (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_LONGEST_NAME = 255


class FolderWriter:
    """Writes samples into a folder.

    Args:
        folder: An empty folder.
        exported: Where the samples are from.

    Attributes:
        columns: For `kseq pack`: field name to the column of the table that holds it.
        split_column: The column of the splits.
        source: The table, below the folder.
    """

    def __init__(self, folder: str, exported: Exported) -> None:
        self._folder = os.fsencode(folder)
        self._exported = exported
        self._keeps = exported.settings["encoding"] == "keep"
        # Whether files that lose their names lie in folders of splits; the first sample tells.
        self._in_splits: bool | None = None
        self._made = b""
        self._classes = frozenset(exported.class_names)
        fields = list(exported.fields.values())
        # Several image fields are called like their columns when they are packed again.
        is_alone = sum(each.kind == "image" for each in fields) == 1
        self._path = _free("path", exported.fields) if is_alone else fields[0].name
        self.split_column = _free("split", exported.fields)
        self.columns = {each.name: each.name for each in fields} | {fields[0].name: self._path}
        is_csv = all(_fits_into_csv(each) for each in fields)
        self.source = "samples.csv" if is_csv else "samples.jsonl"
        names = [self._path, self.split_column, *(each.name for each in fields[1:])]
        # Before any image, so that none takes its name.
        self._table = _Table(os.path.join(folder, self.source), names if is_csv else None)

    def add(self, sample: Sample) -> None:
        """Write the files of a sample, and its row."""
        (_, picture), *others = sample.pictures.items()
        path = self._write(self._names(sample, picture), picture.data)
        row: dict[str, Any] = {self._path: os.fsdecode(path), self.split_column: _split_of(sample)}
        for name, other in others:
            beside = b"%s/%s%s" % (name.encode(), os.path.splitext(path)[0], other.suffix.encode())
            spare = _numbered(f"{name}-{sample.number:08d}", other.suffix)
            row[name] = os.fsdecode(self._write(itertools.chain([beside], spare), other.data))
        row |= {name: self._exported.told(name, value) for name, value in sample.values.items()}
        self._table.write(row)

    def close(self) -> None:
        """Have the table on the disk."""
        self._table.close()

    def _names(self, sample: Sample, picture: Picture) -> Iterator[bytes]:
        """What the image of a sample may be called: the best first."""
        kept = _kept_name(sample.source, picture.format, self._keeps)
        if self._in_splits is None:
            first = kept.split(b"/")[0] if kept else b""
            self._in_splits = kept is None or os.fsdecode(first).lower() in SPLITS
        label = int(sample.values["label"]) if "label" in sample.values else None
        if kept is not None and not self._is_of_another(kept, label, _split_of(sample)):
            yield kept
        folders = [sample.split] if self._in_splits and sample.split else []
        if label is not None:
            folders.append(self._class_folder(label))
        stem = f"{sample.number:08d}"
        yield os.fsencode("/".join([*folders, stem + picture.suffix]))
        yield from _numbered(stem, picture.suffix)

    def _is_of_another(self, name: bytes, label: int | None, split: str) -> bool:
        """Whether a file of this name would lie in the folder of another class or split."""
        *folders, _ = os.fsdecode(name).split("/")
        if label is None or not folders:
            return False
        named = SPLITS.get(folders[0].lower()) if len(folders) > 1 else None
        folder = folders[0] if named is None else folders[1]
        if folder not in self._classes:
            return False
        return folder != self._exported.class_names[label] or (named is not None and split != "" and named != split)

    def _class_folder(self, label: int) -> str:
        name = self._exported.class_names[label]
        fits = "/" not in name and "\0" not in name and name[:1] not in ("", ".") and len(os.fsencode(name)) <= _LONGEST_NAME
        return name if fits else str(label)

    def _write(self, names: Iterator[bytes], data: bytes) -> bytes:
        """The name under which a file was written: the first that can be."""
        while True:
            name = next(names)
            try:
                path = os.path.join(self._folder, name)
                self._make(os.path.dirname(path))
                # Never over another file: what is taken, the file system knows best.
                with open(path, "xb") as file:
                    file.write(data)
            except OSError as error:
                if error.errno not in _NO_NAME or (b"/" not in name and error.errno != errno.EEXIST):
                    raise
                continue
            return name

    def _make(self, folder: bytes) -> None:
        if folder != self._made:
            os.makedirs(folder, exist_ok=True)
            self._made = folder


class _Table:
    """A CSV of some columns, or JSON Lines where none are given."""

    def __init__(self, path: str, names: list[str] | None) -> None:
        # Paths may be other bytes than UTF-8: they go out as they came in. JSON escapes them.
        self._file = open(path, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115  # see close
        self._names = names
        self._writer = csv.writer(self._file)
        if names is not None:
            self._writer.writerow(names)

    def write(self, row: Mapping[str, Any]) -> None:
        if self._names is None:
            self._file.write(json.dumps(row) + "\n")
        else:
            self._writer.writerow([row[name] for name in self._names])

    def close(self) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())


def _free(name: str, taken: Mapping[str, Field]) -> str:
    while name in taken:
        name += "_"
    return name


def _fits_into_csv(field: Field) -> bool:
    """Whether a cell of a CSV gives a value back as it is."""
    return field.is_pixels or field.kind == "label" or (field.shape == () and field.dtype == "<f4")


def _split_of(sample: Sample) -> str:
    return sample.split if sample.split is not None and sample.split in SPLITS.values() else ""


def _kept_name(source: bytes, file_format: FileFormat, keeps: bool) -> bytes | None:
    """What the source calls a sample, if a file below a folder can be called so."""
    *folders, name = os.fsdecode(source).split("/")
    stem, found = os.path.splitext(name)
    if found.lower() not in IMAGE_SUFFIXES or not stem or any(_ARCHIVE.search(each) for each in folders):
        return None
    if "\0" in name or any(each == "" or each.startswith(".") or "\0" in each for each in (*folders, name)):
        return None
    if keeps or found.lower() in file_format.suffixes:
        return source
    return os.fsencode("/".join([*folders, stem + file_format.suffixes[0]]))


def _numbered(stem: str, suffix: str) -> Iterator[bytes]:
    """Names in the folder itself, without end."""
    yield f"{stem}{suffix}".encode()
    for number in itertools.count(2):
        yield f"{stem}-{number}{suffix}".encode()
