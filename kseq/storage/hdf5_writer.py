"""Writes plain HDF5 files of contiguous arrays, the same bytes for the same arguments."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from kseq.platforms.files import replace
from kseq.storage.atomic import copy_into
from kseq.storage.h5py_lock import H5PY_LOCK

if TYPE_CHECKING:
    import h5py

__all__ = ["AttributeValues", "SpooledArray", "first_offset", "write_file"]

# Of an array: name to a text, which becomes a string of fixed length with a zero at its end, or to a number of 8 bits.
AttributeValues = Mapping[str, str | int]

# numpy.take copies the whole of an array that is not aligned, so every array starts on this boundary.
_ALIGNMENT = 64


@dataclass(frozen=True)
class SpooledArray:
    """An array to write whose elements lie in a file of their own, since its length was not known before.

    If they begin there at the same offset as in the HDF5 file (see `first_offset`), that file becomes the HDF5 file,
    and nothing is copied.

    Attributes:
        path: The file of the elements.
        dtype: Little-endian.
        shape: Of the array.
        start: Where the elements begin in the file, in bytes.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    start: int = 0

    @property
    def end(self) -> int:
        """The offset of the byte after the last element."""
        return self.start + math.prod(self.shape) * np.dtype(self.dtype).itemsize


def first_offset(attributes: Mapping[str, int | str], name: str, dtype: str, row_shape: tuple[int, ...]) -> int:
    """The offset of the first array of a file, in bytes, which does not depend on how many rows it has.

    Args:
        attributes: The attributes of the file. Of strings only the lengths matter, of numbers nothing.
        name: The name of the array.
        dtype: Its dtype.
        row_shape: Its shape without the first axis.
    """
    # Attributes of arrays come behind the elements, whatever they are.
    _, offsets = _make_frame(attributes, {name: SpooledArray("", dtype, (1, *row_shape))}, {})
    return offsets[name]


def write_file(
    path: str,
    attributes: Mapping[str, int | str],
    arrays: Mapping[str, np.ndarray | SpooledArray],
    array_attributes: Mapping[str, AttributeValues] | None = None,
) -> None:
    """Write a new HDF5 file, with an attribute `complete` of 1. One of the spools' files may become it.

    Args:
        path: The file.
        attributes: Those of the file.
        arrays: Name to array.
        array_attributes: Name of an array to its attributes, which other programs look at and kseq does not.

    The bytes depend on the arguments alone (and on the version of the HDF5 library): no times are recorded. The first bytes are
    written last; without them, it is not an HDF5 file.

    Raises:
        OSError: If the operating system refuses.
    """
    frame, offsets = _make_frame(attributes, arrays, array_attributes or {})
    spools = {name: array for name, array in arrays.items() if isinstance(array, SpooledArray)}
    base = next((name for name, spool in spools.items() if spool.start == offsets[name]), None)
    if base is not None:
        replace(spools[base].path, path)
    with open(path, "wb" if base is None else "r+b") as file:
        for name, array in arrays.items():
            if name != base:
                _write_elements(file, offsets[name], array)
        file.truncate(frame.size)
        frame.copy_into(file)


def _write_elements(file: BinaryIO, offset: int, array: np.ndarray | SpooledArray) -> None:
    if isinstance(array, SpooledArray):
        copy_into(file, offset, array.path, array.start, array.end)
    elif array.size:
        file.seek(offset)
        file.write(np.ascontiguousarray(array))


class _MemoryFile(io.RawIOBase):
    """A file in memory that holds only what was written to it, so that gaps take no memory.

    HDF5 writes into it, not to the disk: it reports a disk that is full or fails in many lines on stderr, or not at all.

    Attributes:
        size: In bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._offset = 0
        # (offset, length) to the bytes that were last written there, in the order of writing.
        self._pieces: dict[tuple[int, int], bytes] = {}

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._offset = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self.size}[whence]
        return self._offset

    def write(self, data: Any) -> int:
        piece = bytes(data)
        key = (self._offset, len(piece))
        self._pieces.pop(key, None)
        self._pieces[key] = piece
        self.size = max(self.size, self.seek(len(piece), io.SEEK_CUR))
        return len(piece)

    def readinto(self, out: Any) -> int:
        start, end = self._offset, self.seek(len(out), io.SEEK_CUR)
        data = bytearray(len(out))
        for (offset, _), piece in self._pieces.items():
            first, last = max(offset, start), min(offset + len(piece), end)
            if first < last:
                data[first - start : last - start] = piece[first - offset : last - offset]
        out[:] = data
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        self.size = self._offset if size is None else size
        return self.size

    def copy_into(self, file: BinaryIO) -> None:
        """Write everything to another file, in the order of writing: HDF5 writes the first bytes last."""
        for (offset, _), piece in self._pieces.items():
            file.seek(offset)
            file.write(piece)


def _make_frame(
    attributes: Mapping[str, int | str],
    arrays: Mapping[str, np.ndarray | SpooledArray],
    array_attributes: Mapping[str, AttributeValues],
) -> tuple[_MemoryFile, dict[str, int]]:
    """A file without the elements of its arrays, and the offset at which those of each belong."""
    # Not at the top: who only reads must not need it, nor wait for it.
    import h5py

    frame = _MemoryFile()
    with (
        H5PY_LOCK,
        h5py.File(frame, "w", libver=("earliest", "v108"), alignment_threshold=1, alignment_interval=_ALIGNMENT) as file,
    ):
        for name, value in attributes.items():
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else np.uint64(value)
        file.attrs["complete"] = np.uint64(1)
        return frame, {
            name: _reserve(file, name, array.dtype, array.shape, array_attributes.get(name, {}))
            for name, array in arrays.items()
        }


def _reserve(file: h5py.File, name: str, dtype: str | np.dtype, shape: tuple[int, ...], attributes: AttributeValues) -> int:
    """Create an array without writing its elements; returns the offset of these (0 if it has none)."""
    import h5py

    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5py.h5s.create_simple(shape)
    element_type = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    array = h5py.h5d.create(file.id, name.encode(), element_type, space, creation, links)
    for attribute, value in attributes.items():
        _write_attribute(array, attribute, value)
    return array.get_offset() or 0


def _write_attribute(array: h5py.h5d.DatasetID, name: str, value: str | int) -> None:
    import h5py

    if isinstance(value, int):
        data, element_type = np.array(value, np.uint8), h5py.h5t.STD_U8LE
    else:
        data, element_type = np.array(value.encode()), h5py.h5t.C_S1.copy()
        element_type.set_size(len(value.encode()) + 1)
        element_type.set_strpad(h5py.h5t.STR_NULLTERM)
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    h5py.h5a.create(array, name.encode(), element_type, space).write(data)
