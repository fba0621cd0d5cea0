"""Arrays of images and of labels: `.npz`, `.npy` files side by side, or an HDF5 file.

The rules:

- Images are uint8, `(samples, height, width)` or `(samples, height, width, 1, 3 or 4)`; the array is `images`, `image`,
  `x`, `X` or `data`, or what `--image` says. Labels are `(samples,)` or `(samples, 1)` whole numbers or names, or one-hot
  `(samples, classes)`; their array is called `labels`, `label`, `y`, `Y` or `targets`.
- Arrays `x_train`, `y_train`, `x_val`, `x_test` and so on (also `train_images`, `images_train`) are splits. One of images
  without one of labels, or the reverse, is refused, unless `--label ''` says that there are none.
- To `images.npy` belong the other `.npy` files of its folder.
- An array `label_names` or `class_names` has the names of the classes. Without it they are what labels say; one-hot, 0 to
  classes - 1.
- A file that is damaged or cut off, and an array of Python objects, are refused: such a file is read whole or not at all.
- A sample is called ARRAY/ROW, counted from 0. Rows are read where they lie, except from a member of an `.npz` that is
  compressed (`numpy.savez_compressed`), or an array in Fortran's order: each worker has the whole of it in memory, one at a
  time. Of an HDF5 file it reads one chunk, or 64 rows.

Source: the format of `.npy` and `.npz`, `numpy.lib.format`; for where a stored member lies, PKWARE's APPNOTE.TXT, 4.3.7.
"""

from __future__ import annotations

import functools
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, NamedTuple

import h5py
import numpy as np

from kseq.errors import ImageError, SourceError
from kseq.images.codecs import CHANNELS
from kseq.sources.assemble import Record, draft_samples
from kseq.sources.base import SPLITS, Source, read_piece
from kseq.sources.cell_types import name_numbers, one_hot
from kseq.sources.column_roles import Columns
from kseq.sources.file_sets import stamp

__all__ = ["ArraysSource", "check_images"]

_USUAL = {"image": ("images", "image", "x", "X", "data"), "label": ("labels", "label", "y", "Y", "targets")}
_BY_SPLIT = (("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("images_{}", "labels_{}"), ("X_{}", "Y_{}"), ("X_{}", "y_{}"))
_CLASS_NAMES = ("label_names", "class_names")

# HDF5 arrays may be compressed in chunks: so many rows are read at a time, at least.
_ROWS_AT_ONCE = 64
_PIECE_BYTES = 1 << 20
# What a file that is damaged makes numpy, h5py and zipfile raise; the last also where it is encrypted, or compressed in a way
# that zipfile does not know.
_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    tokenize.TokenError,
    EOFError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


class _Array(NamedTuple):
    """An array in a file.

    Attributes:
        file: The path of the file.
        offset: Where its rows begin, one after the other; None where they do not lie so.
        rows_at_once: Of an HDF5 file, so many are read at a time; 0 of others.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    file: str
    offset: int | None = None
    rows_at_once: int = 0


@dataclass(frozen=True)
class ArraysSource(Source):
    """The rows of arrays; the place of an image is array and row.

    Attributes:
        arrays: Those of images: name and form.
    """

    arrays: tuple[tuple[str, _Array], ...] = ()

    @classmethod
    def load(cls, path: str, columns: Columns, class_names: Sequence[str] | None = None) -> ArraysSource:
        """Read all but the images.

        Args:
            path: The file.
            columns: Which array says what.
            class_names: All classes, in the order of their numbers; None for those that the file names, or that are found.

        Raises:
            SourceError: Where the file cannot be read, or its arrays do not go together.
        """
        try:
            return cls._load(path, columns, class_names)
        except SourceError:
            raise
        except _ERRORS as error:
            raise SourceError(f"{path}: is not a file of arrays that can be read: {' '.join(str(error).split())}") from error

    @classmethod
    def _load(cls, path: str, columns: Columns, class_names: Sequence[str] | None) -> ArraysSource:
        arrays = _look(path)
        if class_names is None:
            class_names = _named_classes(arrays)
        chosen = list(_choose(path, columns, arrays))
        counts = [_check_lengths(path, each, arrays) for _, each in chosen]
        labels, class_names = _read_labels(path, [each.label for _, each in chosen if each.label], arrays, class_names)
        found = chosen[0][1]
        records: list[Record] = []
        cells: dict[str, list[Any]] = {}
        for (split, each), count in zip(chosen, counts, strict=True):
            for name, first in dict(zip(each.others, found.others, strict=True)).items():
                cells.setdefault(first, []).extend(labels[name] if name in labels else _cells(name, arrays))
            records += _records(each, arrays, count, split)
        draft = draft_samples(path, found, cells, records, class_names)
        images = dict.fromkeys(name for _, each in chosen for name in each.pixels)
        return cls(path, draft.class_names, draft.images, draft.fields, tuple((name, arrays[name]) for name in images))

    def fetch(self, place: tuple[str, int]) -> np.ndarray:
        """The pixels of the image at a place."""
        name, row = place
        array = dict(self.arrays)[name]
        try:
            if array.offset is not None:
                size = int(np.prod(array.shape[1:]))
                data = read_piece(array.file, array.offset + row * size, size)
                return np.frombuffer(data, np.uint8).reshape(array.shape[1:])
            if not array.rows_at_once:
                return np.asarray(_kept(array.file, stamp(array.file), name)[row])
            at_once = array.rows_at_once
            return _rows(array.file, stamp(array.file), name, row // at_once * at_once, at_once)[row % at_once]
        except ImageError:
            raise
        except (*_ERRORS, IndexError) as error:
            raise ImageError(f"cannot be read: {' '.join(str(error).split())}") from error


def check_images(path: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise SourceError unless an array of this form can be images."""
    hint = ""
    if dtype.kind == "f":
        hint = " (of floats in [0, 1]: (x * 255).round().astype('uint8'))"
    elif len(shape) == 4 and shape[1] in CHANNELS.values():
        hint = " (of channels first: x.transpose(0, 2, 3, 1))"
    has_channels = len(shape) == 4 and shape[3] in CHANNELS.values()
    if dtype != np.uint8 or not (len(shape) == 3 or has_channels):
        raise SourceError(
            f"{path}: array {name!r} is {dtype} of shape {shape}, allowed is uint8 of (samples, height, width) or "
            f"(samples, height, width, 1, 3 or 4){hint}"
        )


def _ends(path: str, end: str) -> bool:
    return path.lower().endswith(end)


def _look(path: str) -> dict[str, _Array]:
    """The arrays of a file."""
    if _ends(path, ".npz"):
        with zipfile.ZipFile(path) as file:
            members = [each for each in file.infolist() if each.filename.endswith(".npy")]
            return {each.filename[:-4]: _member_form(path, file, each) for each in members}
    if _ends(path, ".npy"):
        folder = os.path.dirname(path)
        names = sorted(name for name in os.listdir(folder or ".") if name.endswith(".npy"))
        return {name[:-4]: _npy_form(os.path.join(folder, name)) for name in names}
    with h5py.File(path, "r") as file:
        found = [(name, each) for name, each in file.items() if isinstance(each, h5py.Dataset) and each.shape is not None]
        return {name: _hdf5_form(path, each) for name, each in found}


def _read_form(path: str, name: str, file: IO[bytes]) -> tuple[_Array, bool]:
    """The form of an array, from the start of its `.npy`; and whether its rows lie one after the other."""
    version = np.lib.format.read_magic(file)
    if version > (2, 0):
        raise SourceError(f"{path}: array {name!r} has names of fields that are no Latin-1, allowed are plain arrays")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    return _Array(shape, dtype, path), not (fortran_order and len(shape) > 1)


def _check_whole(array: _Array, name: str, present: int) -> None:
    expected = int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize
    if not array.dtype.hasobject and present < expected:
        raise SourceError(f"{array.file}: array {name!r} breaks off after {present} of {expected} bytes")


def _npy_form(path: str) -> _Array:
    name = os.path.basename(path)[:-4]
    try:
        with open(path, "rb") as file:
            array, in_rows = _read_form(path, name, file)
            offset = file.tell()
    except SourceError:
        raise
    except _ERRORS as error:
        raise SourceError(f"{path}: is not a file of arrays that can be read: {' '.join(str(error).split())}") from error
    _check_whole(array, name, os.path.getsize(path) - offset)
    return array._replace(offset=offset if in_rows else None)


def _member_form(path: str, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Array:
    with file.open(member) as opened:
        array, in_rows = _read_form(path, member.filename[:-4], opened)
        start = opened.tell()
    _check_whole(array, member.filename[:-4], member.file_size - start)
    if not in_rows or member.compress_type != zipfile.ZIP_STORED:
        return array
    # Of the local header: the lengths of the name and of the extra field behind it.
    name_length, extra_length = struct.unpack("<HH", read_piece(path, member.header_offset + 26, 4))
    return array._replace(offset=member.header_offset + 30 + name_length + extra_length + start)


def _hdf5_form(path: str, array: h5py.Dataset) -> _Array:
    rows = array.chunks[0] if array.chunks else 1
    return _Array(array.shape, array.dtype, path, None, max(rows, _ROWS_AT_ONCE // rows * rows))


# The one array that is in memory as a whole; a cache of functools would hold it while the next is read.
_in_memory: dict[tuple[Any, ...], np.ndarray] = {}


def _kept(file: str, known: tuple[int, ...], name: str) -> np.ndarray:
    """A whole array, kept until another is asked for."""
    key = (file, known, name)
    if key not in _in_memory:
        _in_memory.clear()
        _in_memory[key] = _whole(file, name)
    return _in_memory[key]


@functools.lru_cache(maxsize=2)
def _rows(file: str, known: tuple[int, ...], name: str, start: int, count: int) -> np.ndarray:
    """Some rows of an array of an HDF5 file."""
    with h5py.File(file, "r") as opened:
        found: np.ndarray = opened[name][start : start + count]
        return found


def _whole(path: str, name: str) -> np.ndarray:
    found: np.ndarray
    if _ends(path, ".npz"):
        with np.load(path, allow_pickle=False) as file:
            found = file[name]
    elif _ends(path, ".npy"):
        found = np.load(path, allow_pickle=False)
    else:
        with h5py.File(path, "r") as file:
            array = file[name]
            is_text = h5py.check_string_dtype(array.dtype)
            found = array.asstr(errors="surrogateescape")[()] if is_text else array[()]
    return found


def _named_classes(arrays: Mapping[str, _Array]) -> list[str] | None:
    name = next((each for each in _CLASS_NAMES if each in arrays), None)
    return None if name is None else [_text(each) for each in np.ravel(_whole(arrays[name].file, name)).tolist()]


def _text(value: Any) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def _choose(path: str, columns: Columns, arrays: Mapping[str, _Array]) -> Iterator[tuple[str | None, Columns]]:
    """For each split, or for all at once, which array says what."""
    names = list(arrays)
    by_split = {} if columns.image else _find_splits(path, names, with_labels=columns.label != "")
    stem = os.path.splitext(os.path.basename(path))[0]
    if _ends(path, ".npy") and not columns.image and not by_split:
        columns = replace(columns, image=(stem,))
    if not by_split:
        yield None, columns.find(path, names, _USUAL)
        return
    if columns.label or columns.has_targets or columns.split or columns.group or columns.sample_weight:
        raise SourceError(
            f"{path}: has an array for each split ({', '.join(by_split)}): other columns cannot be told, give --image"
        )
    for image, (split, label) in by_split.items():
        yield split, replace(columns, image=(image,), label=label)


def _find_splits(path: str, names: Sequence[str], *, with_labels: bool) -> dict[str, tuple[str, str | None]]:
    """Name of an array of images to its split and the array of its labels.

    Raises:
        SourceError: Where one of the two is not there.
    """
    pairs = [(SPLITS[word], image.format(word), label.format(word)) for word in SPLITS for image, label in _BY_SPLIT]
    found: dict[str, tuple[str, str | None]] = {}
    for split, image, label in pairs:
        if image in names and (label in names or not with_labels):
            found.setdefault(image, (split, label if with_labels else None))
    used = {label for _, label in found.values()}
    for _, image, label in pairs:
        if image in names and image not in found:
            raise SourceError(f"{path}: has {image} and no {label} beside it (--label '' packs images without labels)")
        if label in names and label not in used and with_labels:
            raise SourceError(f"{path}: has {label} and no {image} beside it (--image and --label say which to pack)")
    return found


def _check_lengths(path: str, columns: Columns, arrays: Mapping[str, _Array]) -> int:
    """How many samples there are: the length of every array that is used. Images that are read in place are read once."""
    for name in columns.pixels:
        check_images(path, name, arrays[name].shape, arrays[name].dtype)
        if _ends(path, ".npz"):
            _check_member(path, name)
    count = arrays[columns.image[0]].shape[0]
    for _, name in columns.named():
        if arrays[name].shape[:1] != (count,):
            raise SourceError(
                f"{path}: array {name!r} has shape {arrays[name].shape}, expected are {count} rows as {columns.image[0]!r} has"
            )
        if arrays[name].dtype.kind == "O" and h5py.check_string_dtype(arrays[name].dtype) is None:
            raise SourceError(f"{path}: array {name!r} holds Python objects, allowed are numbers and text")
    return count


def _check_member(path: str, name: str) -> None:
    """Compare a member of an `.npz` with its checksum: whoever reads single rows in place cannot."""
    with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as member:
        while member.read(_PIECE_BYTES):
            pass


def _read_labels(
    path: str, names: Sequence[str], arrays: Mapping[str, _Array], class_names: Sequence[str] | None
) -> tuple[dict[str, list[Any]], Sequence[str] | None]:
    """The labels of some arrays as cells, and the names of the classes, where they are known.

    Labels that are numbers, or one-hot, become the names of their classes where these are known.
    """
    rows = {name: _whole(arrays[name].file, name) for name in dict.fromkeys(names)}
    widths = {each.shape[1] for each in rows.values() if each.ndim > 1 and each.shape[1] != 1}
    if len(widths) > 1 or (widths and class_names is not None and widths != {len(class_names)}):
        known = "" if class_names is None else f", there are {len(class_names)} class names"
        raise SourceError(f"{path}: one-hot labels of {' and '.join(map(str, sorted(widths)))} classes{known}")
    if widths and class_names is None:
        class_names = [str(number) for number in range(widths.pop())]
    found = {}
    for name, each in rows.items():
        numbers = one_hot(each) if each.ndim > 1 and each.shape[1] != 1 else each.reshape(-1)
        if numbers is None or each.ndim > 2:
            raise SourceError(
                f"{path}: array {name!r} has shape {each.shape}, allowed as labels are (samples,), (samples, 1), or one-hot "
                f"(samples, classes); of several labels a sample: --label '' --target NAME={name}"
            )
        found[name] = name_numbers(numbers.tolist(), class_names)
    return found, class_names


def _cells(name: str, arrays: Mapping[str, _Array]) -> list[Any]:
    """The rows of an array as cells."""
    rows = _whole(arrays[name].file, name)
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    return list(rows) if rows.ndim > 1 else [_text(row) if isinstance(row, bytes) else row for row in rows.tolist()]


def _records(columns: Columns, arrays: Mapping[str, _Array], count: int, split: str | None) -> Iterator[Record]:
    row_bytes = sum(int(np.prod(arrays[name].shape[1:])) for name in columns.pixels)
    for row in range(count):
        places = tuple((name, row) for name in columns.pixels)
        yield Record(f"{columns.image[0]}/{row}".encode(), places, row_bytes, split)
