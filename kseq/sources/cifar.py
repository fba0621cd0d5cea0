"""The binary versions of CIFAR-10, CIFAR-100 and STL-10: files of labels and pixels, all of one size.

The rules:

- The source is the folder of the files, or one around it. `data_batch_1.bin` and so on are train, `test_batch.bin` is test
  (CIFAR-10); `train.bin`, `test.bin` (CIFAR-100, whose fine labels are the classes); `train_X.bin`, `test_X.bin` with the
  labels in `train_y.bin`, `test_y.bin` (STL-10). STL-10's `unlabeled_X.bin` is left out, and a line says so.
- The classes are those in `batches.meta.txt`, `fine_label_names.txt` or `class_names.txt`, in the order of that file.
- A file that does not consist of whole records, or has a label without a name, is refused.
- The versions for Python are pickles, which may run any program when they are read: they are refused.

Source: the pages of the three collections, "Binary version".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kseq.arguments import spelled
from kseq.errors import SourceError
from kseq.sources.flat_images import FlatFile, FlatImages, FlatSource, LabelledImages
from kseq.sources.listing import Listing
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.text import describe_bytes, open_text
from kseq.storage.rejected import with_remedy

__all__ = ["CIFAR"]

_SIDE, _STL_SIDE = 32, 96
_PIXELS, _STL_PIXELS = 3 * _SIDE**2, 3 * _STL_SIDE**2


class _Version(NamedTuple):
    """One of the collections.

    Attributes:
        files: The names of its files, with their splits.
        names_file: The file of the names of its classes.
        read: Reads a file; given its path and name, the split, and whether labels are wanted.
    """

    files: dict[str, str]
    names_file: str
    read: Callable[[str, str, str, bool], LabelledImages]


def _read_cifar(path: str, name: str, split: str, has_labels: bool, *, label_bytes: int) -> LabelledImages:
    file, row_bytes = FlatFile.open(path), label_bytes + _PIXELS
    count = _count_rows(file, row_bytes)
    images = FlatImages(file, name, count, (3, _SIDE, _SIDE), (1, 2, 0), label_bytes, row_bytes)
    # The last byte before the pixels: of CIFAR-100 the fine label.
    labels = file.array(0, "u1", (count, row_bytes))[:, label_bytes - 1].tolist() if has_labels else None
    return LabelledImages(images, labels, split)


def _read_cifar10(path: str, name: str, split: str, has_labels: bool) -> LabelledImages:
    return _read_cifar(path, name, split, has_labels, label_bytes=1)


def _read_cifar100(path: str, name: str, split: str, has_labels: bool) -> LabelledImages:
    return _read_cifar(path, name, split, has_labels, label_bytes=2)


def _read_stl(path: str, name: str, split: str, has_labels: bool) -> LabelledImages:
    file = FlatFile.open(path)
    count = _count_rows(file, _STL_PIXELS)
    # Channel by channel, and each of them column by column.
    images = FlatImages(file, name, count, (3, _STL_SIDE, _STL_SIDE), (2, 1, 0), 0, _STL_PIXELS)
    if not has_labels:
        return LabelledImages(images, None, split)
    label_path = path[: -len("X.bin")] + "y.bin"
    label_file = FlatFile.open(label_path)
    if label_file.num_bytes != count:
        raise SourceError(f"{label_path}: has {label_file.num_bytes} labels, {path} has {count} images, expected are as many")
    return LabelledImages(images, (label_file.array(0, "u1", (count,)) - 1).tolist(), split)


_VERSIONS = (
    _Version(
        {**{f"data_batch_{number}.bin": "train" for number in range(1, 6)}, "test_batch.bin": "test"},
        "batches.meta.txt",
        _read_cifar10,
    ),
    _Version({"train.bin": "train", "test.bin": "test"}, "fine_label_names.txt", _read_cifar100),
    _Version({"train_X.bin": "train", "test_X.bin": "test"}, "class_names.txt", _read_stl),
)
# The files of the versions for Python: all of them are there.
_PICKLES = (("data_batch_1", "test_batch", "batches.meta"), ("train", "test", "meta"))


def _count_rows(file: FlatFile, row_bytes: int) -> int:
    if not file.num_bytes or file.num_bytes % row_bytes:
        raise SourceError(f"{file.path}: has {file.num_bytes} bytes, expected is a multiple of {row_bytes}")
    return file.num_bytes // row_bytes


def _open(request: SourceRequest) -> FlatSource:
    """Open such a folder as a source.

    Raises:
        SourceError: If it holds pickles, or a file makes no sense.
    """
    path, has_labels = request.path, request.columns.label != ""
    for folder in _folders(path):
        if _has_pickles(folder):
            raise SourceError(
                f"{folder}: has the pickles of CIFAR, which may run any program when they are read: pack the binary version, "
                "or the arrays of keras.datasets.cifar10.load_data()"
            )
        version = _version(folder)
        if version is not None:
            break
    else:
        raise SourceError(f"{path}: has no files of CIFAR or STL-10, expected are data_batch_1.bin, train.bin or train_X.bin")
    names = _class_names(os.path.join(folder, version.names_file)) if has_labels else []
    present = {name: split for name, split in version.files.items() if os.path.isfile(os.path.join(folder, name))}
    found = [version.read(os.path.join(folder, name), name, split, has_labels) for name, split in present.items()]
    notes = [f"{folder}: has no {name}, which belongs to it" for name in version.files if name not in present]
    unlabelled = os.path.join(folder, "unlabeled_X.bin")
    if os.path.isfile(unlabelled):
        notes.append(f"{unlabelled}: has images without labels, and is left out")
    return FlatSource.of(path, _named(found, names), _wanted(path, names, request.class_names, has_labels), notes=notes)


def _is_folder(listing: Listing) -> bool:
    return any(_version(folder) is not None or _has_pickles(folder) for folder in _folders(listing.path))


CIFAR = SourceFormat("cifar", _open, is_folder=_is_folder, may_lack_label=True)


def _folders(path: str) -> list[str]:
    """A folder, and those in it."""
    try:
        with os.scandir(path) as entries:
            inner = sorted(entry.path for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
    return [path, *inner[:64]]


def _version(folder: str) -> _Version | None:
    """Which version a folder has: the names of its classes and one of its files lie there."""
    for version in _VERSIONS:
        has_names = os.path.isfile(os.path.join(folder, version.names_file))
        if has_names and any(os.path.isfile(os.path.join(folder, name)) for name in version.files):
            return version
    return None


def _has_pickles(folder: str) -> bool:
    for names in _PICKLES:
        paths = [os.path.join(folder, name) for name in names]
        if all(map(os.path.isfile, paths)) and all(map(_begins_like_pickle, paths)):
            return True
    return False


def _begins_like_pickle(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(1) == b"\x80"
    except OSError:
        return False


def _class_names(path: str) -> list[str]:
    try:
        with open_text(path, strict=True) as file:
            return [line.strip() for line in file.read().split("\n") if line.strip()]
    except UnicodeError as error:
        raise SourceError(f"{path}: {with_remedy(describe_bytes(error))}") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


def _named(found: Sequence[LabelledImages], names: Sequence[str]) -> list[LabelledImages]:
    """The labels as class names."""
    for part in found:
        unknown = next((label for label in part.labels or () if not 0 <= label < len(names)), None)
        if unknown is not None:
            raise SourceError(f"{part.images.file.path}: has label {unknown}, there are {len(names)} names of classes")
    return [part if part.labels is None else part._replace(labels=[names[label] for label in part.labels]) for part in found]


def _wanted(path: str, names: Sequence[str], class_names: Sequence[str] | None, has_labels: bool) -> Sequence[str] | None:
    if class_names is None:
        return names if has_labels else None
    if set(names).isdisjoint(class_names):
        raise SourceError(
            f"{path}: {spelled('class_names')} are {', '.join(class_names)}, allowed are some of {', '.join(names)}"
        )
    return class_names
