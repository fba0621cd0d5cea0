"""Arrays of images and of labels: `.npz`, `.npy` files side by side, or an HDF5 file.

The rules:

- Images are uint8, `(samples, height, width)` or `(samples, height, width, 1, 3 or 4)`, or numbers that are to be packed as
  uint16 or float32, or with another number of channels; the array is called `images`, `image`, `x`, `X` or `data`, or as
  `Columns.image` says. Labels are `(samples,)` or `(samples, 1)` whole numbers or names, or
  one-hot `(samples, classes)`; the array is called `labels`, `label`, `y`, `Y` or `targets`.
- Arrays `x_train`, `y_train`, `x_val`, `x_test` and so on (also `train_images`, `train_x`, `train_set_x`, in capitals too) are
  splits. An array of images without one of labels, or the reverse, is refused, unless `Columns(label="")` says that there are
  no labels.
- Of an array whose elements are structs (a table, as numpy, PyTables and FITS readers give it), each field is an array: it is
  called like the field, or ARRAY.FIELD if there are other arrays. Numbers and text may be of either byte order.
- The other `.npy` files of its folder belong to `images.npy`.
- In HDF5, an array in a group is called GROUP/ARRAY; groups `train`, `val` and `test` are splits. An array whose values lie in
  files that are gone, or were never written, is refused, since HDF5 gives zeros in their place.
- MATLAB has the lengths of arrays in the reverse order: images that it wrote, and those whose last length is the number of
  samples, are refused with the call that turns them.
- An array of text called `label_names`, `class_names`, `classes`, `list_classes` or `target_names` has the names of the
  classes. Without it the classes are the values of the labels, or for one-hot labels the numbers 0 to classes - 1.
- A file that is damaged or cut off, and an array of Python objects, are refused: such a file is read whole or not at all.
- A sample is called ARRAY/ROW, counted from 0. Rows are read in place. A member of an `.npz` that is compressed
  (`numpy.savez_compressed`), and an array in Fortran order, are read whole: each worker holds one such array in memory at a
  time. From an HDF5 file one chunk, or 64 rows, is read at a time.

Source: the format of `.npy` and `.npz`, `numpy.lib.format`; for the offset of a stored member, PKWARE's APPNOTE.TXT, 4.3.7.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.errors import KseqError, SourceError, one_line
from kseq.images.pixel_form import CHANNELS, MOST_CHANNELS, PLAIN_FORM, PixelForm, settings_of_numbers
from kseq.sources.array_files import ARRAY_ERRORS, StoredArray, find_arrays
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source, common_size
from kseq.sources.cell_types import name_classes, one_hot_classes
from kseq.sources.column_roles import (
    Columns,
    find_columns,
    has_targets,
    image_columns,
    map_targets,
    pixel_columns,
    used_columns,
    value_columns,
)
from kseq.sources.source_format import SourceFormat
from kseq.sources.split_names import SPLITS
from kseq.sources.spooled_column import SpooledColumn
from kseq.sources.text import decode_name
from kseq.sources.wrong_files import describe_wrong_file

__all__ = ["ARRAYS", "ArraysSource", "check_images", "check_map"]

_USUAL = {"image": ("images", "image", "x", "X", "data"), "label": ("labels", "label", "y", "Y", "targets", "target", "ans")}
# What numpy.savez calls arrays that nobody named.
_UNNAMED = {"image": "arr_0", "label": "arr_1"}
_BY_SPLIT = (
    *((f"{{}}/{image}", f"{{}}/{label}") for image in _USUAL["image"] for label in _USUAL["label"]),
    ("x_{}", "y_{}"),
    ("{}_images", "{}_labels"),
    ("images_{}", "labels_{}"),
    ("X_{}", "Y_{}"),
    ("X_{}", "y_{}"),
    ("{}_x", "{}_y"),
    ("{}_X", "{}_y"),
    ("{}X", "{}Y"),
    ("x{}", "y{}"),
    ("{}_set_x", "{}_set_y"),
    ("{}_data", "{}_labels"),
)
_SPLITS = SPLITS | {form(word): split for word, split in SPLITS.items() for form in (str.capitalize, str.upper)}
_CLASS_NAMES = ("label_names", "class_names", "classes", "list_classes", "target_names")


@dataclass(frozen=True)
class ArraysSource(Source):
    """The rows of arrays; the location of an image is the name of its array, and the row.

    Attributes:
        arrays: The arrays of images, by name.
    """

    arrays: tuple[tuple[str, StoredArray], ...] = ()

    @classmethod
    def load(
        cls, path: str, columns: Columns, class_names: Sequence[str] | None = None, form: PixelForm = PLAIN_FORM
    ) -> ArraysSource:
        """Read all arrays but the images.

        Args:
            path: The file.
            columns: Which array holds what.
            class_names: All classes, in the order of their numbers; None for those that the file names, or that labels have.
            form: What the pixels of images become.

        Raises:
            SourceError: If the file cannot be read, or its arrays do not go together.
        """
        try:
            return cls._load(path, columns, class_names, form)
        except KseqError:
            raise
        except ARRAY_ERRORS as error:
            # An .npz is a zip, whose list of members stands at its end.
            wrong = isinstance(error, zipfile.BadZipFile) and not zipfile.is_zipfile(path)
            reason = (describe_wrong_file(path, ".zip") if wrong else None) or one_line(error)
            raise SourceError(f"{path}: is not a file of arrays that can be read: {reason}") from error

    @classmethod
    def _load(cls, path: str, columns: Columns, class_names: Sequence[str] | None, form: PixelForm) -> ArraysSource:
        arrays = find_arrays(path)
        if class_names is None:
            class_names = _stored_class_names(path, columns, arrays)
        by_split = list(_choose_columns(path, columns, arrays))
        counts = [_check_lengths(path, split_columns, arrays, form) for _, split_columns in by_split]
        label_names = [split_columns.label for _, split_columns in by_split if split_columns.label]
        labels, class_names = _read_labels(path, label_names, arrays, class_names)
        first_columns = by_split[0][1]
        samples = SpooledColumn()
        cells: dict[str, SpooledColumn] = {}
        for (split, split_columns), count in zip(by_split, counts, strict=True):
            for name, first_name in dict(zip(value_columns(split_columns), value_columns(first_columns), strict=True)).items():
                cells.setdefault(first_name, SpooledColumn()).extend(labels[name] if name in labels else _cells(arrays[name]))
            samples.extend(_found_samples(split_columns, arrays, count, split))
        assembled = assemble_samples(path, first_columns, cells, samples, class_names)
        images = dict.fromkeys(name for _, split_columns in by_split for name in pixel_columns(split_columns))
        image_arrays = tuple((name, arrays[name]) for name in images)
        return cls(path, assembled.class_names, assembled.images, assembled.fields, image_arrays, box_facts=assembled.box_facts)

    def image_size(self) -> tuple[int, int] | None:
        return common_size(array.shape[1:] for _, array in self.arrays)

    def fetch(self, location: tuple[str, int]) -> np.ndarray:
        """The pixels of an image."""
        name, row = location
        return dict(self.arrays)[name].row(row)


ARRAYS = SourceFormat(
    "arrays",
    lambda request: ArraysSource.load(request.path, request.columns, request.class_names, request.form),
    (".npz", ".npy", ".h5"),
    r"\.(npz|npy|h5|hdf5)",
    has_columns=True,
    siblings=r"\.npy",
)


def check_images(
    path: str, name: str, shape: tuple[int, ...], dtype: np.dtype, form: PixelForm, *, is_matlab: bool = False
) -> None:
    """Raise SourceError unless an array of this shape and dtype can be images of a form.

    Args:
        path: The file.
        name: What the array is called.
        shape: Its shape.
        dtype: Its dtype.
        form: What the pixels of images become.
        is_matlab: Whether MATLAB wrote it.
    """
    turned = _turn(shape, form, is_matlab=is_matlab)
    if turned is not None:
        num_samples, height, width = (shape[axis] for axis in turned[:3])
        raise SourceError(
            f"{path}: array {name!r} of shape {shape} is in the order of MATLAB, or has its samples last: "
            f"x.transpose({', '.join(map(str, turned))}) makes {num_samples} images of {height} x {width} of it"
        )
    is_right_shape = (len(shape) == 3 and form.allows_channels(1)) or (len(shape) == 4 and form.allows_channels(shape[3]))
    is_right_dtype = dtype == np.uint8 if form.is_plain else dtype.kind in "buif"
    if is_right_shape and is_right_dtype:
        return
    allowed = "uint8" if form.is_plain else f"numbers that {form.dtype} holds"
    channels = "1, 3 or 4" if form.channels is None else form.channels
    axes = f"{'(samples, height, width) or ' if form.allows_channels(1) else ''}(samples, height, width, {channels})"
    hint = _hint(shape, dtype, form)
    raise SourceError(f"{path}: array {name!r} is {dtype} of shape {shape}, allowed is {allowed} of {axes}{hint}")


def check_map(path: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise SourceError unless an array of this shape and dtype can be maps."""
    if dtype.kind not in "buif" or not (len(shape) == 3 or (len(shape) == 4 and shape[3] <= MOST_CHANNELS)):
        raise SourceError(
            f"{path}: array {name!r} is {dtype} of shape {shape}, allowed for maps are numbers of (samples, height, width) or "
            f"(samples, height, width, 1 to {MOST_CHANNELS})"
        )


def _hint(shape: tuple[int, ...], dtype: np.dtype, form: PixelForm) -> str:
    """How an array of another shape or dtype is packed."""
    if len(shape) == 4 and form.allows_channels(shape[1]) and not form.allows_channels(shape[3]):
        return " (of channels first: x.transpose(0, 2, 3, 1))"
    if len(shape) == 4 and shape[3] <= MOST_CHANNELS and not form.allows_channels(shape[3]):
        settings = settings_of_numbers(str(dtype) if form.is_plain else form.dtype, (shape[1], shape[2]), shape[3])
        return f" ({spelled('images', **settings)} takes all channels)"
    if dtype.kind in "OVS":
        return " (encoded images, and those of several sizes, are packed as an iterable: kseq.pack(zip(images, labels), ...))"
    if form.is_plain and dtype.kind in "uif" and dtype != np.uint8:
        kept = "uint16" if dtype == np.uint16 else "float32"
        scaled = ", of floats in [0, 1]: (x * 255).round().astype('uint8')" if dtype.kind == "f" else ""
        return f" ({spelled('images', encoding='raw', dtype=kept)} keeps its numbers{scaled})"
    return ""


def _turn(shape: tuple[int, ...], form: PixelForm, *, is_matlab: bool) -> tuple[int, ...] | None:
    """The axes in an order in which samples come first, for `transpose`; None if they are in order, as far as can be told."""
    channels = CHANNELS.values() if form.channels is None else (form.channels,)
    if len(shape) == 3:
        return (0, 2, 1) if is_matlab else None
    if len(shape) != 4:
        return None
    if is_matlab and shape[1] in channels:
        return (0, 3, 2, 1)
    # Two lengths that may be channels: four samples last are more likely than three of four channels.
    is_reverse = shape[0] in channels and (is_matlab or shape[3] not in channels or (shape[0], shape[3]) == (3, 4))
    if is_reverse and min(shape[1:3]) > max(channels):
        return (3, 2, 1, 0)
    if shape[2] in channels and min(shape[:2]) > max(channels):
        return None if form.channels is not None and shape[3] in channels else (3, 0, 1, 2)
    return None


def _stored_class_names(path: str, columns: Columns, arrays: Mapping[str, StoredArray]) -> list[str] | None:
    """The class names that an array holds; None if there is no such array.

    Raises:
        SourceError: If most are there again, as in an array of the label of each sample.
    """
    usable = (name for name in _CLASS_NAMES if name in arrays and name != columns.label)
    name = next((name for name in usable if arrays[name].dtype.kind in "SUO"), None)
    if name is None:
        return None
    names = [_text(value) for value in np.ravel(arrays[name].read()).tolist()]
    # ImageNet has two classes called crane.
    if 2 * len(set(names)) <= len(names) and len(names) > 1:
        raise SourceError(
            f"{path}: {name!r} has {len(names):,} names of classes, of which {len(set(names)):,} are different, expected is "
            f"each once: {spelled('class_names')} says them; {spelled('columns.label', name)}, if they are labels"
        )
    return names


def _text(value: Any) -> str:
    return decode_name(value) if isinstance(value, bytes) else str(value)


def _choose_columns(path: str, columns: Columns, arrays: Mapping[str, StoredArray]) -> Iterator[tuple[str | None, Columns]]:
    """For each split, or for all samples at once, which array holds what."""
    names = list(arrays)
    by_split = {} if columns.image else _find_splits(path, names, with_labels=columns.label != "")
    stem, suffix = os.path.splitext(os.path.basename(path))
    if suffix.lower() == ".npy" and not columns.image and not by_split:
        columns = replace(columns, image=(stem,))
    if not by_split:
        is_unnamed = set(names) <= set(_UNNAMED.values())
        usual = {role: (*known, _UNNAMED[role]) if is_unnamed else known for role, known in _USUAL.items()}
        yield None, find_columns(columns, path, names, usual, hint=_label_hint(columns, arrays))
        return
    if columns.label or has_targets(columns) or columns.split or columns.group or columns.sample_weight:
        raise SourceError(
            f"{path}: has an array for each split ({', '.join(by_split)}): which samples other columns belong to is not clear, "
            f"give {spelled('columns.image')}"
        )
    for image, (split, label) in by_split.items():
        yield split, replace(columns, image=(image,), label=label)


def _label_hint(columns: Columns, arrays: Mapping[str, StoredArray]) -> str:
    """What packs a file without an array of labels of a usual name."""
    lengths = {array.shape[0] for array in arrays.values() if len(array.shape) > 2}
    numbers = [name for name, array in arrays.items() if array.dtype.kind in "iu" and array.shape[:1] == array.shape]
    labels = [name for name in numbers if arrays[name].shape[0] in lengths]
    if labels:
        return f"; {spelled('columns.label', labels[0])} packs classes"
    return "" if len(arrays) > 1 or columns.image else "; with labels of another file: kseq.pack((images, labels), ...)"


def _find_splits(path: str, names: Sequence[str], *, with_labels: bool) -> dict[str, tuple[str, str | None]]:
    """The name of each array of images, with its split and the name of the array of its labels.

    Raises:
        SourceError: If one of the two arrays is missing.
    """
    pairs = [(split, image.format(word), label.format(word)) for word, split in _SPLITS.items() for image, label in _BY_SPLIT]
    image_arrays: dict[str, tuple[str, str | None]] = {}
    for split, image, label in pairs:
        if image in names and (label in names or not with_labels):
            image_arrays.setdefault(image, (split, label if with_labels else None))
    used_labels = {label for _, label in image_arrays.values()}
    for _, image, label in pairs:
        if image in names and image not in image_arrays:
            raise SourceError(
                f"{path}: has {image} and no {label} beside it ({spelled('columns.label', '')} packs images without labels)"
            )
        if label in names and label not in used_labels and with_labels:
            raise SourceError(
                f"{path}: has {label} and no {image} beside it ({spelled('columns.image')} and {spelled('columns.label')} "
                "say which to pack)"
            )
    return image_arrays


def _check_lengths(path: str, columns: Columns, arrays: Mapping[str, StoredArray], form: PixelForm) -> int:
    """The number of samples: the length of every array that is used. Images that are read in place are read once."""
    maps = [column for _, column, _ in map_targets(columns)]
    for name in pixel_columns(columns):
        if name in maps:
            check_map(path, name, arrays[name].shape, arrays[name].dtype)
        else:
            check_images(path, name, arrays[name].shape, arrays[name].dtype, form, is_matlab=arrays[name].is_matlab)
        arrays[name].compare_checksum()
    first_image = image_columns(columns)[0]
    count = arrays[first_image].shape[0]
    for _, name in used_columns(columns):
        array = arrays[name]
        if array.shape[:1] != (count,):
            raise SourceError(
                f"{path}: array {name!r} has shape {array.shape}, expected are {count} rows as {first_image!r} has"
            )
        if array.holds_objects:
            raise SourceError(f"{path}: array {name!r} holds Python objects, allowed are numbers and text")
        if array.dtype.kind not in "biufSUO":
            raise SourceError(f"{path}: array {name!r} is {array.dtype}, allowed are numbers and text")
    return count


def _read_labels(
    path: str, names: Sequence[str], arrays: Mapping[str, StoredArray], class_names: Sequence[str] | None
) -> tuple[dict[str, Sequence[Any]], Sequence[str] | None]:
    """The labels of some arrays as cells, and the class names, if they are known.

    Labels that are numbers, or one-hot, become class names if these are known.
    """
    rows_by_name = {name: arrays[name].read() for name in dict.fromkeys(names)}
    widths = {rows.shape[1] for rows in rows_by_name.values() if _has_width(rows)}
    if len(widths) > 1 or (widths and class_names is not None and widths != {len(class_names)}):
        known = "" if class_names is None else f", there are {len(class_names)} class names"
        raise SourceError(f"{path}: one-hot labels of {' and '.join(map(str, sorted(widths)))} classes{known}")
    if widths and class_names is None:
        class_names = [str(number) for number in range(widths.pop())]
    labels: dict[str, Sequence[Any]] = {}
    for name, rows in rows_by_name.items():
        numbers = one_hot_classes(rows) if _has_width(rows) else rows.reshape(-1)
        if numbers is None or rows.ndim > 2:
            raise SourceError(
                f"{path}: array {name!r} has shape {rows.shape}, allowed as labels are (samples,), (samples, 1), or one-hot "
                f"(samples, classes); of several labels a sample: {spelled('columns', label='', targets={'labels': name})}"
            )
        labels[name] = name_classes(numbers.tolist(), class_names)
    return labels, class_names


def _has_width(rows: np.ndarray) -> bool:
    return rows.ndim > 1 and rows.shape[1] != 1


def _cells(array: StoredArray) -> list[Any]:
    """The rows of an array as cells."""
    rows = array.read()
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    return list(rows) if rows.ndim > 1 else [_text(row) if isinstance(row, bytes) else row for row in rows.tolist()]


def _found_samples(columns: Columns, arrays: Mapping[str, StoredArray], count: int, split: str | None) -> Iterator[FoundSample]:
    pixels = [arrays[name] for name in pixel_columns(columns)]
    row_bytes = sum(int(np.prod(array.shape[1:])) * array.dtype.itemsize for array in pixels)
    for row in range(count):
        locations = tuple((name, row) for name in pixel_columns(columns))
        yield FoundSample(f"{image_columns(columns)[0]}/{row}".encode(), locations, row_bytes, split)
