"""MNIST's idx files: all images in one file, their labels in another, plain or compressed by gzip.

The rules:

- The source is a folder, a pattern, or a file of images. Images are in files called `...images-idx3-ubyte`, labels in files of
  the same name but for `labels` and the number: `train-images-idx3-ubyte`, `emnist-letters-train-images-idx3-ubyte.gz`,
  `train-images.idx3-ubyte`. That a file is compressed is told by its bytes.
- Numbers are big-endian. Images are `(n, height, width)` or `(n, height, width, channels)`, uint8 or, where other numbers are
  packed than colours, of any type; labels are whole numbers, one for each image, or rows of them (QMNIST), of which the first
  counts. A file whose header says more or fewer bytes than it has, and labels that are not as many as the images, are
  refused.
- `train` in the name is the split train, `t10k` and `test` are test, `val` is val.
- The classes are the labels, in the order of the numbers; or, where EMNIST's `...-mapping.txt` lies beside the images, the
  letters that it has for them.
- A file that lies there twice (compressed and not, or in a folder of its own name) is read once. Several collections in one
  folder are refused.

Source: the description of the format on MNIST's page; that of EMNIST's mapping in its readme.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kseq.arguments import spelled
from kseq.errors import SourceError
from kseq.images.pixel_form import PixelForm
from kseq.sources.arrays import check_images
from kseq.sources.cell_types import name_classes
from kseq.sources.file_sets import find_files, split_from_name
from kseq.sources.flat_images import FlatFile, FlatImages, FlatSource, LabelledImages
from kseq.sources.listing import Listing
from kseq.sources.source_format import SourceFormat, SourceRequest
from kseq.sources.text import open_text

__all__ = ["IDX"]

_FILE_NAMES = r"idx[1-4][-._ ](ubyte|int)(\.gz)?"
_ROLES = re.compile(r"(images?|imgs|labels?)[-._ ]?idx[1-4][-._ ](ubyte|int)(\.gz)?$", re.IGNORECASE)
_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


class _IdxFile(NamedTuple):
    """A file of images or labels.

    Attributes:
        path: The file.
        name: The path below the source.
        stem: The name before `images` or `labels`, with its folder: equal for files that go together.
        is_images: Whether it has a name of images.
    """

    path: str
    name: str
    stem: str
    is_images: bool


def _open(request: SourceRequest) -> FlatSource:
    """Open such files as a source.

    Raises:
        SourceError: If a file cannot be read, or images and labels do not go together.
    """
    path = request.path
    notes: list[str] = []
    files = _find(path, notes)
    has_labels = request.columns.label != ""
    labels = {file.stem: file for file in files if not file.is_images} if has_labels else {}
    images = [file for file in files if file.is_images]
    if not images:
        raise SourceError(f"{path}: has no images, expected is a file called like train-images-idx3-ubyte")
    _check_one_collection(path, images)
    lonely = sorted(labels.keys() - {file.stem for file in images})
    if lonely:
        raise SourceError(f"{labels[lonely[0]].path}: has labels, and no file of images goes with it")
    found = [_read(file, labels.get(file.stem), request.form, has_labels=has_labels) for file in images]
    class_names = request.class_names
    if has_labels:
        found, class_names = _name_labels(path, found, _mapping(images[0]), class_names)
    if any(os.path.basename(file.path).lower().startswith("emnist") for file in images):
        notes.append(
            f"{path}: the files of EMNIST hold their images with rows and columns exchanged, and they are packed so: "
            "numpy.transpose(images, (0, 2, 1)) turns them, and kseq.pack takes arrays"
        )
    return FlatSource.of(path, found, class_names, notes=notes)


def _is_folder(listing: Listing) -> bool:
    return bool(listing.ending(*(f"idx{number}-ubyte{end}" for number in (3, 4) for end in ("", ".gz"))))


IDX = SourceFormat(
    "idx", _open, ("-idx3-ubyte", "-idx3-ubyte.gz"), _FILE_NAMES, _is_folder, may_lack_label=True, siblings=_FILE_NAMES
)


def _find(path: str, notes: list[str]) -> list[_IdxFile]:
    """The files of a source, each once; of a single file of images also its labels."""
    files = [_IdxFile(file.path, file.name, *_stem(file.name)) for file in find_files(path, _FILE_NAMES, "idx files")]
    if os.path.isfile(path):
        folder = os.path.dirname(path)
        if not files[0].is_images:
            raise SourceError(f"{path}: has a name of labels, expected is the file of the images beside it")
        beside = [_IdxFile(os.path.join(folder, name), name, *_stem(name)) for name in sorted(os.listdir(folder or "."))]
        files += [file for file in beside if not file.is_images and file.stem == files[0].stem]
    chosen: dict[tuple[str, bool], _IdxFile] = {}
    for file in sorted(files, key=lambda file: (file.name.endswith(".gz"), file.name.count("/"), file.name)):
        if _ROLES.search(file.name) is None:
            notes.append(f"{file.path}: is named like neither images nor labels, and is not used")
        elif chosen.setdefault((file.stem, file.is_images), file) is not file:
            notes.append(f"{file.path}: is there twice, {chosen[file.stem, file.is_images].path} is read")
    return sorted(chosen.values(), key=lambda file: os.fsencode(file.name))


def _stem(name: str) -> tuple[str, bool]:
    """What files that go together have in common, and whether a name is that of images."""
    folder, file = os.path.split(name)
    if os.path.basename(folder) == file:
        # Zips of single files are unpacked so.
        folder = os.path.dirname(folder)
    found = _ROLES.search(file)
    head = file if found is None else file[: found.start()]
    return f"{folder}/{head}".lower(), found is not None and found[1].lower().startswith("im")


def _check_one_collection(path: str, images: Sequence[_IdxFile]) -> None:
    """Raise SourceError unless the names of images differ in their splits alone."""
    words = r"(?<![a-z])(train(ing)?|test(ing)?|t10k|test\d+k|val(id|idation)?)(?![a-z])"
    collections: dict[str, _IdxFile] = {}
    for file in images:
        collections.setdefault(re.sub(words, "", file.stem), file)
    if len(collections) > 1:
        names = ", ".join(file.name for file in collections.values())
        raise SourceError(
            f"{path}: has files of {len(collections)} collections ({names}): give a pattern of one, such as "
            f"'{os.path.join(path, next(iter(collections)).strip('/-._ '))}*'"
        )


def _read(file: _IdxFile, labels: _IdxFile | None, form: PixelForm, *, has_labels: bool) -> LabelledImages:
    content, shape, dtype, offset = _header(file.path)
    check_images(file.path, "images", shape, np.dtype(dtype).newbyteorder("="), form)
    name = file.name
    split = "test" if "t10k" in os.path.basename(name).lower() else split_from_name(re.sub(r"(test)\d+k", r"\1", name))
    row_bytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    images = FlatImages(content, name, shape[0], shape[1:], tuple(range(len(shape) - 1)), offset, row_bytes, dtype)
    if not has_labels:
        return LabelledImages(images, None, split)
    if labels is None:
        expected = re.sub(r"(?i)im(age|g)s?([-._ ]?idx)[34]", r"labels\g<2>1", os.path.basename(file.path))
        raise SourceError(
            f"{file.path}: has no labels beside it, expected is {expected} ({spelled('columns.label', '')} packs images alone)"
        )
    label_file, label_shape, label_dtype, label_offset = _header(labels.path)
    if label_shape[:1] != shape[:1]:
        raise SourceError(
            f"{labels.path}: has {label_shape[0]} labels, {file.path} has {shape[0]} images, expected are as many"
        )
    rows = label_file.array(label_offset, label_dtype, label_shape)
    return LabelledImages(images, (rows if rows.ndim == 1 else rows.reshape(len(rows), -1)[:, 0]).tolist(), split)


def _header(path: str) -> tuple[FlatFile, tuple[int, ...], str, int]:
    """A file, the shape and the dtype of its array, and where the array begins.

    Raises:
        SourceError: If it is no idx file, or has not as many bytes as its header says.
    """
    file = FlatFile.open(path)
    head = file.array(0, "u1", (min(4, file.num_bytes),)).tolist()
    if len(head) < 4 or head[:2] != [0, 0] or head[2] not in _DTYPES or not 1 <= head[3] <= 4:
        raise SourceError(
            f"{path}: begins with {bytes(head)!r}, an idx file begins with two zero bytes, a type and a number of axes"
        )
    offset = 4 + 4 * head[3]
    if file.num_bytes < offset:
        raise SourceError(f"{path}: breaks off in its header")
    shape = struct.unpack(f">{head[3]}I", file.array(4, "u1", (4 * head[3],)).tobytes())
    dtype = _DTYPES[head[2]]
    expected = offset + int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if file.num_bytes != expected:
        raise SourceError(f"{path}: has {file.num_bytes} bytes, its header of shape {shape} says {expected}")
    return file, shape, dtype, offset


def _mapping(images: _IdxFile) -> dict[int, str]:
    """The letters that EMNIST's mapping has for the numbers of classes; empty if there is none."""
    folder, name = os.path.split(images.path)
    for other in sorted(os.listdir(folder or ".")):
        stem = other.lower().removesuffix("mapping.txt").rstrip("-_.")
        if other.lower().endswith("mapping.txt") and name.lower().startswith(stem):
            return dict(_mapping_lines(os.path.join(folder, other)))
    return {}


def _mapping_lines(path: str) -> Iterator[tuple[int, str]]:
    try:
        with open_text(path) as file:
            for line in file.read().split("\n"):
                if line.strip():
                    number, *codes = map(int, line.split())
                    yield number, "".join(map(chr, codes))
    except (OSError, ValueError, OverflowError) as error:
        raise SourceError(
            f"{path}: is no mapping of EMNIST, each line has a number and the codes of letters: {error}"
        ) from error


def _name_labels(
    path: str, found: Sequence[LabelledImages], mapping: dict[int, str], class_names: Sequence[str] | None
) -> tuple[list[LabelledImages], Sequence[str] | None]:
    """The labels as class names, and the class names, if they are known."""
    numbers = sorted({label for part in found for label in part.labels or ()})
    if mapping:
        unknown = [number for number in numbers if number not in mapping]
        if unknown:
            raise SourceError(f"{path}: has label {unknown[0]}, which the mapping beside it does not have")
        named = [part._replace(labels=[mapping[label] for label in part.labels or ()]) for part in found]
        return named, list(mapping.values()) if class_names is None else class_names
    are_numbers = class_names is None or set(class_names).issuperset(map(str, numbers))
    if class_names is not None and not are_numbers and numbers and numbers[-1] >= len(class_names):
        raise SourceError(
            f"{path}: has labels {numbers[0]} to {numbers[-1]}, {spelled('class_names')} are {len(class_names)}: the first is "
            "the name of 0"
        )
    named = [part._replace(labels=list(name_classes(part.labels or (), class_names))) for part in found]
    return named, class_names
