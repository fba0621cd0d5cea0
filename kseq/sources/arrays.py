"""Arrays of images and of labels: `.npz`, `.npy` files side by side, or an HDF5 file.

The rules:

- Images are uint8, `(samples, height, width)` or `(samples, height, width, 1, 3 or 4)`; the array is `images`, `image`,
  `x` or `data`, or what `--image` says. Labels are `(samples,)` or `(samples, 1)` numbers or names, or, where the names of the
  classes are known, one-hot `(samples, classes)`; their array is called `labels`, `label`, `y` or `targets`.
- Arrays `x_train`, `y_train`, `x_val`, `x_test` and so on (also `train_images`, `images_train`) are splits.
- To `images.npy` belong the other `.npy` files of its folder.
- An array `label_names` or `class_names` has the names of the classes.
- A sample is called ARRAY/ROW, counted from 0. An `.npz` is loaded by each worker as a whole; the others are read row by row.
"""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import h5py
import numpy as np

from kseq.errors import ImageError, SourceError
from kseq.images import CHANNELS
from kseq.sources.columns import Columns
from kseq.sources.drafts import Record, draft_samples
from kseq.sources.files import SPLITS, Source

__all__ = ["ArraysSource", "check_images"]

_USUAL = {"image": ("images", "image", "x", "X", "data"), "label": ("labels", "label", "y", "Y", "targets")}
_BY_SPLIT = (("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("images_{}", "labels_{}"), ("X_{}", "Y_{}"), ("X_{}", "y_{}"))
_CLASS_NAMES = ("label_names", "class_names")

# HDF5 arrays may be compressed in chunks: so many rows are read at a time, at least.
_ROWS_AT_ONCE = 64


class _Array(NamedTuple):
    """An array in a file: its shape and dtype, and the rows that are read at once; 0 for an array in memory or mapped."""

    shape: tuple[int, ...]
    dtype: np.dtype
    rows_at_once: int


@dataclass(frozen=True)
class ArraysSource(Source):
    """The rows of arrays; the place of an image is array and row.

    Attributes:
        rows_at_once: Array name to how many of its rows are read at a time.
    """

    rows_at_once: tuple[tuple[str, int], ...] = ()

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
        arrays = _look(path)
        if class_names is None:
            class_names = _named_classes(path, arrays)
        records: list[Record] = []
        cells: dict[str, list[Any]] = {}
        found = columns
        for split, chosen in _choose(path, columns, arrays):
            found = found if records else chosen
            count = _check_lengths(path, chosen, arrays)
            for (_, name), (_, first) in zip(chosen.named(), found.named(), strict=True):
                if name not in chosen.pixels:
                    cells.setdefault(first, []).extend(_cells(path, name, class_names if name == chosen.label else None))
            records += _records(chosen, arrays, count, split)
        draft = draft_samples(path, found, cells, records, class_names)
        return cls(
            path,
            draft.class_names,
            draft.images,
            draft.fields,
            tuple((name, each.rows_at_once) for name, each in arrays.items()),
        )

    def fetch(self, place: tuple[str, int]) -> np.ndarray:
        """The pixels of the image at a place."""
        name, row = place
        at_once = dict(self.rows_at_once)[name]
        try:
            if not at_once:
                return np.asarray(_load(self.root, name)[row])
            return _rows(self.root, name, row // at_once * at_once, at_once)[row % at_once]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
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


def _look(path: str) -> dict[str, _Array]:
    """The arrays of a file."""
    try:
        if path.endswith(".npz"):
            with np.load(path, allow_pickle=False) as file:
                return {name: _Array(file[name].shape, file[name].dtype, 0) for name in file.files}
        if path.endswith(".npy"):
            beside = sorted(name[:-4] for name in os.listdir(os.path.dirname(path) or ".") if name.endswith(".npy"))
            found = {name: _load(path, name) for name in beside}
            return {name: _Array(each.shape, each.dtype, 0) for name, each in found.items()}
        with h5py.File(path, "r") as file:
            return {name: _hdf5_form(each) for name, each in file.items() if isinstance(each, h5py.Dataset)}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path}: is not a file of arrays that can be read: {' '.join(str(error).split())}") from error


def _hdf5_form(array: h5py.Dataset) -> _Array:
    rows = array.chunks[0] if array.chunks else 1
    return _Array(array.shape, array.dtype, max(rows, _ROWS_AT_ONCE // rows * rows))


@functools.lru_cache(maxsize=8)
def _load(path: str, name: str) -> np.ndarray:
    """A whole array, in memory or mapped; kept in this process."""
    if path.endswith(".npz"):
        with np.load(path, allow_pickle=False) as file:
            found: np.ndarray = file[name]
            return found
    return np.load(os.path.join(os.path.dirname(path), f"{name}.npy"), mmap_mode="r", allow_pickle=False)


@functools.lru_cache(maxsize=2)
def _rows(path: str, name: str, start: int, count: int) -> np.ndarray:
    """Some rows of an array of an HDF5 file."""
    with h5py.File(path, "r") as file:
        found: np.ndarray = file[name][start : start + count]
        return found


def _whole(path: str, name: str) -> np.ndarray:
    if path.endswith((".npz", ".npy")):
        return np.asarray(_load(path, name))
    with h5py.File(path, "r") as file:
        array = file[name]
        found: np.ndarray = array.asstr(errors="surrogateescape")[:] if h5py.check_string_dtype(array.dtype) else array[:]
        return found


def _named_classes(path: str, arrays: Mapping[str, _Array]) -> list[str] | None:
    name = next((each for each in _CLASS_NAMES if each in arrays), None)
    return None if name is None else [_text(each) for each in _whole(path, name).tolist()]


def _text(value: Any) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def _choose(path: str, columns: Columns, arrays: Mapping[str, _Array]) -> Iterator[tuple[str | None, Columns]]:
    """For each split, or for all at once, which array says what."""
    names = list(arrays)
    by_split = [
        (SPLITS[word], image.format(word), label.format(word))
        for word in SPLITS
        for image, label in _BY_SPLIT
        if image.format(word) in names and (label.format(word) in names or columns.label == "")
    ]
    stem = os.path.splitext(os.path.basename(path))[0]
    if path.endswith(".npy") and not columns.image and not by_split:
        columns = replace(columns, image=(stem,))
    if columns.image or not by_split:
        yield None, columns.find(path, names, _USUAL)
        return
    if columns.label or columns.has_targets or columns.split or columns.group or columns.weight:
        raise SourceError(
            f"{path}: has an array for each split ({by_split[0][1]}, ...): other columns cannot be told, give --image"
        )
    for split, image, label in by_split:
        yield split, replace(columns, image=(image,), label=None if columns.label == "" else label)


def _check_lengths(path: str, columns: Columns, arrays: Mapping[str, _Array]) -> int:
    """How many samples there are: the length of every array that is used."""
    for name in columns.pixels:
        check_images(path, name, arrays[name].shape, arrays[name].dtype)
    count = arrays[columns.image[0]].shape[0]
    for _, name in columns.named():
        if arrays[name].shape[:1] != (count,):
            raise SourceError(
                f"{path}: array {name!r} has shape {arrays[name].shape}, expected are {count} rows as {columns.image[0]!r} has"
            )
    return count


def _cells(path: str, name: str, class_names: Sequence[str] | None) -> list[Any]:
    """The rows of an array as cells; labels that are numbers or one-hot by the names of their classes, if these are known."""
    rows = _whole(path, name)
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if class_names is not None and rows.ndim == 2 and ((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all():
        rows = rows.argmax(axis=1)
    if (
        rows.ndim == 1
        and rows.dtype.kind in "iuf"
        and class_names is not None
        and not set(map(str, rows.tolist())) <= set(class_names)
    ):
        return [class_names[int(row)] if 0 <= row < len(class_names) else str(row) for row in rows.tolist()]
    return list(rows) if rows.ndim > 1 else [_text(row) if isinstance(row, bytes) else row for row in rows.tolist()]


def _records(columns: Columns, arrays: Mapping[str, _Array], count: int, split: str | None) -> Iterator[Record]:
    row_bytes = sum(int(np.prod(arrays[name].shape[1:])) for name in columns.pixels)
    for row in range(count):
        places = tuple((name, row) for name in columns.pixels)
        yield Record(f"{columns.image[0]}/{row}".encode(), places, row_bytes, split)
