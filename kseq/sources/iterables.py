"""Samples from an iterable, such as a generator or a `tf.data.Dataset`: their images are spooled to a file, in bounded memory.

The rules:

- An element is a dict, a row of an array of structs, or a pair of image and label. If its images have four dimensions, it is a
  batch of samples.
- An image is `(height, width)` or `(height, width, 1, 3 or 4)` uint8 (or of what is to be packed: numbers that become uint16 or
  float32, or another number of channels), the bytes of an encoded image, or the path of one.
  Tensors count as arrays.
- A dataset of the packages `datasets` or torchvision is read by the rules of `kseq/sources/hub_datasets.py`. An image of
  Pillow is its pixels, upright.
- `(x, y)` and `((x_train, y_train), (x_test, y_test))`, as `keras.datasets` give them, are pairs of arrays.
- A label is a number or a name; or one-hot, for all samples alike, of classes 0 to its length - 1. If `class_names` are given,
  numbers are looked up in them.
- A sample is called by its number, counted from 0, or by its path.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from kseq.arguments import spelled
from kseq.errors import ArgumentError, SourceError, WriteError
from kseq.images.pillow_pixels import to_colours
from kseq.images.pixel_form import PLAIN_FORM, PixelForm
from kseq.platforms.files import path_bytes
from kseq.sources.arrays import check_images, check_map
from kseq.sources.assemble import FoundSample, assemble_samples
from kseq.sources.base import Source, common_size
from kseq.sources.cell_types import name_classes, one_hot_classes
from kseq.sources.column_roles import USUAL, Columns, find_columns, map_targets, pixel_columns, used_columns, value_columns
from kseq.sources.file_reading import file_stamp, read_file, read_range
from kseq.sources.hub_datasets import HubDataset, find_hub_dataset, listed_classes
from kseq.sources.spooled_column import SpooledColumn
from kseq.storage.checksums import checksum
from kseq.storage.layout import TEMPORARY_PREFIX

__all__ = ["SpooledSource", "spool_samples"]

_NAME = "the iterable"
_USUAL = {"image": (*USUAL["image"], "img"), "label": (*USUAL["label"], "labels", "fine_label")}
# The key of a split that the form of the iterable tells; no dict of a user has this key.
_SPLIT = "(split)"


class SpooledImage(NamedTuple):
    """Where an image is.

    Attributes:
        offset: Of its bytes in the spool file.
        size: The number of its bytes.
        shape: The shape of pixels; None for an encoded image.
        hash: Of its bytes.
        path: The path of the image file, if the image is not in the spool file.
        dtype: Of pixels.
    """

    offset: int
    size: int
    shape: tuple[int, ...] | None
    hash: int = 0
    path: str | None = None
    dtype: str = "|u1"


@dataclass(frozen=True)
class SpooledSource(Source):
    """The samples of an iterable, in their order; `root` is the spool file, which holds their images."""

    def shared_files(self) -> Sequence[str]:
        return ()

    def image_size(self) -> tuple[int, int] | None:
        return common_size(location.shape or (0, 0) for location in self.images.locations)

    def stamp(self, location: SpooledImage) -> int:
        """The hash of what lies in the spool file; of an image file, when it was written last."""
        return location.hash if location.path is None else file_stamp(location.path)[1] % (1 << 64)

    def fetch(self, location: SpooledImage) -> bytes | np.ndarray:
        """The bytes or the pixels of an image."""
        if location.path is not None:
            return read_file(location.path)
        data = read_range(self.root, location.offset, location.size)
        return data if location.shape is None else np.frombuffer(data, location.dtype).reshape(location.shape)


@contextmanager
def spool_samples(
    samples: Iterable[Any],
    folder: str,
    columns: Columns,
    class_names: Sequence[str] | None = None,
    form: PixelForm = PLAIN_FORM,
) -> Iterator[SpooledSource]:
    """Go through an iterable once; its images lie in a file in `folder` until the end of the block.

    Args:
        samples: The iterable, by the rules above.
        folder: A folder with enough free space.
        columns: Which key of a dict holds what.
        class_names: All classes, in the order of their numbers; None for the classes that the samples name.
        form: What the pixels of images become.

    Raises:
        ArgumentError: If `samples` is not iterable.
        SourceError: If an element is no sample by the rules above.
        WriteError: If the images cannot be written.
    """
    hub = find_hub_dataset(samples)
    elements = _elements(samples, form) if hub is None else _hub_elements(hub)
    named = listed_classes(samples) if hub is None else None
    try:
        os.makedirs(folder, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX, delete=False)  # noqa: SIM115  # closed below
    except OSError as error:
        raise WriteError(f"{folder}: the images cannot be spooled there: {error.strerror}") from error
    try:
        yield _spool(elements, file, columns, class_names or named, {} if hub is None else hub.class_names, form)
    finally:
        # If the disk is full, closing cannot write what is still buffered; nobody needs it.
        with suppress(OSError):
            file.close()
        with suppress(OSError):
            os.unlink(file.name)


def _hub_elements(hub: HubDataset) -> Iterator[dict[str, Any]]:
    for split, element in hub.elements():
        yield {**element, _SPLIT: split}


def _spool(
    elements: Iterable[Mapping[str, Any]],
    file: Any,
    columns: Columns,
    class_names: Sequence[str] | None,
    class_names_of: Mapping[str, Sequence[str]],
    form: PixelForm,
) -> SpooledSource:
    sample_columns: Columns | None = None
    cells: dict[str, SpooledColumn] = {}
    samples = SpooledColumn()
    for number, element in enumerate(elements):
        if sample_columns is None:
            sample_columns = find_columns(columns, _NAME, list(element), _USUAL)
            class_names = class_names or class_names_of.get(sample_columns.label or "")
            cells = {name: SpooledColumn() for name in value_columns(sample_columns)}
        missing = [name for _, name in used_columns(sample_columns) if name not in element]
        if missing:
            raise SourceError(f"{_NAME}: sample {number} has no {missing[0]!r}, it has {', '.join(element)}")
        for name, column in cells.items():
            column.append(_cell(element[name]))
        maps = [column for _, column, _ in map_targets(sample_columns)]
        locations = tuple(
            _spool_image(file, number, name, element[name], None if name in maps else form)
            for name in pixel_columns(sample_columns)
        )
        path = locations[0].path
        sample_name = path_bytes(path) if path is not None else b"%d" % number
        samples.append(FoundSample(sample_name, locations, sum(location.size for location in locations), element.get(_SPLIT)))
    if sample_columns is None:
        raise SourceError(f"{_NAME}: has no sample")
    _write(file, b"", flush=True)
    if sample_columns.label is not None:
        cells[sample_columns.label], class_names = _labels(sample_columns.label, cells[sample_columns.label], class_names)
    assembled = assemble_samples(_NAME, sample_columns, cells, samples, class_names)
    return SpooledSource(file.name, assembled.class_names, assembled.images, assembled.fields, box_facts=assembled.box_facts)


def _labels(name: str, cells: SpooledColumn, class_names: Sequence[str] | None) -> tuple[SpooledColumn, Sequence[str] | None]:
    """Labels, and the class names, if they are known."""
    if not any(isinstance(cell, list) for cell in cells):
        return name_classes(cells, class_names), class_names
    try:
        rows = np.asarray(list(cells))
    except ValueError:
        rows = np.empty(0)
    numbers = one_hot_classes(rows)
    if numbers is None or (class_names is not None and len(class_names) != rows.shape[1]):
        known = "" if class_names is None else f" of {len(class_names)} classes"
        raise SourceError(
            f"{_NAME}: {name} is {str(cells[0])[:40]}, allowed as labels are a number, a name, or one-hot{known}; of several "
            f"labels a sample: {spelled('columns', label='', targets={'labels': name})}"
        )
    class_names = class_names or [str(number) for number in range(rows.shape[1])]
    return name_classes(numbers.tolist(), class_names), class_names


def _elements(samples: Any, form: PixelForm) -> Iterator[dict[str, Any]]:
    """One dict for each sample."""
    if isinstance(samples, tuple) and len(samples) == 2 and all(_is_pair(pair) for pair in samples):
        for split, pair in zip(("train", "test"), samples, strict=True):
            yield from ({**sample, _SPLIT: split} for sample in _samples_of_pair(pair, form))
    elif _is_pair(samples):
        yield from _samples_of_pair(samples, form)
    else:
        try:
            iterator = iter(samples)
        except TypeError as error:
            raise ArgumentError(f"{spelled('source', samples)}: allowed is a path, or an iterable of samples") from error
        for number, element in enumerate(iterator):
            yield from _samples_of_element(number, element)


def _is_pair(value: Any) -> bool:
    """Whether a value is `(x, y)`: two arrays, or values like arrays."""
    return isinstance(value, tuple) and len(value) == 2 and all(getattr(array, "ndim", 0) > 0 for array in value)


def _samples_of_pair(pair: Any, form: PixelForm) -> Iterator[dict[str, Any]]:
    images, labels = pair
    check_images(_NAME, "x", tuple(images.shape), np.dtype(getattr(images, "dtype", None)), form)
    if len(images) != len(labels):
        raise SourceError(f"{_NAME}: has {len(images)} images and {len(labels)} labels, expected are as many")
    rows = np.asarray(labels)
    cells = rows.reshape(-1) if rows.size == len(rows) else rows
    return ({"image": image, "label": label} for image, label in zip(images, cells, strict=True))


def _samples_of_element(number: int, element: Any) -> Iterator[dict[str, Any]]:
    """The sample that an element is, or the samples of a batch."""
    if isinstance(element, np.void) and element.dtype.names:
        element = {name: element[name] for name in element.dtype.names}
    if isinstance(element, (tuple, list)) and len(element) in (1, 2):
        element = dict(zip(("image", "label"), element, strict=False))
    if not isinstance(element, Mapping):
        raise SourceError(
            f"{_NAME}: element {number} is a {type(element).__name__}, expected is a dict, or a pair of image and label"
        )
    values = {str(name): _without_tensors(value) for name, value in element.items()}
    batched = [name for name, value in values.items() if isinstance(value, np.ndarray) and value.ndim == 4]
    if not batched:
        yield values
        return
    count = len(values[batched[0]])
    uneven = [name for name, value in values.items() if not hasattr(value, "__len__") or len(value) != count]
    if uneven:
        raise SourceError(f"{_NAME}: element {number} is a batch of {count}, but its {uneven[0]!r} is not as long")
    for row in range(count):
        yield {name: value[row] for name, value in values.items()}


def _pixels(value: Any) -> Any:
    """The pixels of an image of Pillow, upright; any other value as it is."""
    if not isinstance(value, Image.Image):
        return value
    upright = ImageOps.exif_transpose(value)
    has_numbers = upright.mode == "F" or upright.mode.startswith("I")
    return np.asarray(upright) if has_numbers else to_colours(upright)


def _without_tensors(value: Any) -> Any:
    """A tensor or an image of Pillow as an array, any other value as it is."""
    value = _pixels(value)
    if isinstance(value, (str, bytes, os.PathLike, list, tuple, dict, np.ndarray)) or value is None or np.isscalar(value):
        return value
    return np.asarray(value)


def _cell(value: Any) -> Any:
    """An array as a list, an array of one number or one string as that."""
    if isinstance(value, np.ndarray):
        return value.item() if value.ndim == 0 else value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _spool_image(file: Any, number: int, name: str, value: Any, form: PixelForm | None) -> SpooledImage:
    """Write an image to the spool file, unless it is a path; `form` is that of images, None for a map."""
    value = _without_tensors(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (str, os.PathLike)):
        path = os.path.abspath(os.fsdecode(value))
        if "\0" in path:
            raise SourceError(f"{_NAME}: {name} of sample {number} is a path with a zero byte, which no path has")
        return SpooledImage(0, os.path.getsize(path) if os.path.isfile(path) else 0, None, path=path)
    offset = file.tell()
    if isinstance(value, bytes):
        _write(file, value)
        return SpooledImage(offset, len(value), None, checksum(value))
    if isinstance(value, np.ndarray):
        called, shape = f"{name} of sample {number}", (1, *value.shape)
        if form is None:
            check_map(_NAME, called, shape, value.dtype)
        else:
            check_images(_NAME, called, shape, value.dtype, form)
        data = np.ascontiguousarray(value).data
        _write(file, data)
        return SpooledImage(offset, value.nbytes, value.shape, checksum(data), dtype=value.dtype.str)
    raise SourceError(f"{_NAME}: {name} of sample {number} is a {type(value).__name__}, expected are pixels, bytes or a path")


def _write(file: Any, data: bytes | memoryview, *, flush: bool = False) -> None:
    try:
        file.write(data)
        if flush:
            file.flush()
    except OSError as error:
        raise WriteError(f"{file.name}: the images cannot be spooled there: {error.strerror}") from error
