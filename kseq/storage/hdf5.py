"""Plain HDF5 files: contiguous arrays and short attributes, checked before a byte is believed.

Reading goes through h5py once, to learn where each array lies; from then on a file is a map of bytes.
"""

from __future__ import annotations

import io
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import h5py
import numpy as np

from kseq.errors import DamagedError, DatasetNotFoundError, FormatError, ReadError
from kseq.storage.atomic import copy_into
from kseq.storage.mmap import map_file

__all__ = [
    "ArrayLocation",
    "ArraySchema",
    "FileHeader",
    "MappedFile",
    "SpooledArray",
    "first_offset",
    "read_file_header",
    "write_file",
]

# h5py is not asked anything while the process forks: a child must not inherit a half-done call into HDF5.
_H5PY_LOCK = threading.Lock()
os.register_at_fork(before=_H5PY_LOCK.acquire, after_in_parent=_H5PY_LOCK.release, after_in_child=_H5PY_LOCK.release)

# numpy.take copies the whole of an array that is not aligned, so every array starts on this boundary.
_ALIGNMENT = 64


@dataclass(frozen=True)
class ArraySchema:
    """What an array must be: its little-endian dtype, and its shape with None where any length is allowed."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        lengths = ", ".join("any" if length is None else str(length) for length in self.shape)
        return f"{np.dtype(self.dtype).name} ({lengths})"

    def allows(self, dtype: np.dtype, shape: tuple[int, ...] | None) -> bool:
        return (
            dtype == np.dtype(self.dtype)
            and shape is not None
            and len(shape) == len(self.shape)
            and all(wanted in (None, found) for wanted, found in zip(self.shape, shape, strict=True))
        )


@dataclass(frozen=True)
class ArrayLocation:
    """Where the elements of an array lie in its file."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FileHeader:
    """All that needs h5py to be known of a file: its size, attributes and arrays."""

    num_bytes: int
    attributes: Mapping[str, int | str]
    places: Mapping[str, ArrayLocation]


@dataclass(frozen=True)
class SpooledArray:
    """An array to write whose elements lie in a file of their own, from byte `begin` on, since its length was not known before.

    Where it lies just there in the HDF5 file too (see `first_offset`), its own file becomes the HDF5 file, and is not copied.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    begin: int = 0

    @property
    def end(self) -> int:
        """Where the byte after its last would lie."""
        return self.begin + math.prod(self.shape) * np.dtype(self.dtype).itemsize


def first_offset(attributes: Mapping[str, int | str], name: str, dtype: str, row_shape: tuple[int, ...]) -> int:
    """Where the elements of the first array of a file will lie, however many rows it has.

    Args:
        attributes: Those that the file will have; of strings only their lengths matter, of numbers nothing.
        name: The array's.
        dtype: The array's.
        row_shape: Its shape without the first axis.
    """
    return _make_frame(attributes, {name: SpooledArray("", dtype, (1, *row_shape))})[1][name]


def write_file(path: str, attributes: Mapping[str, int | str], arrays: Mapping[str, np.ndarray | SpooledArray]) -> None:
    """Write a new HDF5 file, with the attribute `complete`, which is 1. The files of spools may be gone then.

    The bytes depend on the arguments alone (and on the HDF5 library's version): no times are recorded. The beginning is written
    last: before that, it is no HDF5 file.

    Raises:
        OSError: Where the operating system refuses.
    """
    frame, offsets = _make_frame(attributes, arrays)
    kept = next((each for name, each in arrays.items() if isinstance(each, SpooledArray) and each.begin == offsets[name]), None)
    if kept is not None:
        os.replace(kept.path, path)
    with open(path, "wb" if kept is None else "r+b") as file:
        for name, array in arrays.items():
            if isinstance(array, SpooledArray):
                if array is not kept:
                    copy_into(file, offsets[name], array.path, array.begin, array.end)
            elif array.size:
                file.seek(offsets[name])
                file.write(np.ascontiguousarray(array))
        file.truncate(frame.size)
        frame.copy_into(file)


class _Memory(io.RawIOBase):
    """A file in memory, of which only what was written takes any.

    HDF5 writes into it, not to the disk: of a disk that is full or fails it tells in many lines on stderr, or not at all.

    Attributes:
        size: In bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._place = 0
        # What was written last from each offset on, in the order of writing.
        self._pieces: dict[tuple[int, int], bytes] = {}

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def write(self, data: Any) -> int:
        piece = bytes(data)
        where = (self._place, len(piece))
        self._pieces.pop(where, None)
        self._pieces[where] = piece
        self.size = max(self.size, self.seek(len(piece), io.SEEK_CUR))
        return len(piece)

    def readinto(self, out: Any) -> int:
        begin, end = self._place, self.seek(len(out), io.SEEK_CUR)
        found = bytearray(len(out))
        for (start, _), piece in self._pieces.items():
            first, last = max(start, begin), min(start + len(piece), end)
            if first < last:
                found[first - begin : last - begin] = piece[first - start : last - start]
        out[:] = found
        return len(found)

    def truncate(self, size: int | None = None) -> int:
        self.size = self._place if size is None else size
        return self.size

    def copy_into(self, file: BinaryIO) -> None:
        """Write to another file what was written here, in the same order: HDF5 writes the beginning last."""
        for (start, _), piece in self._pieces.items():
            file.seek(start)
            file.write(piece)


def _make_frame(
    attributes: Mapping[str, int | str], arrays: Mapping[str, np.ndarray | SpooledArray]
) -> tuple[_Memory, dict[str, int]]:
    """A file in which the elements of all arrays are missing, and where they belong."""
    frame = _Memory()
    with (
        _H5PY_LOCK,
        h5py.File(frame, "w", libver=("earliest", "v108"), alignment_threshold=1, alignment_interval=_ALIGNMENT) as file,
    ):
        for name, value in attributes.items():
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else np.uint64(value)
        file.attrs["complete"] = np.uint64(1)
        return frame, {name: _reserve(file, name, array.dtype, array.shape) for name, array in arrays.items()}


def _reserve(file: h5py.File, name: str, dtype: str | np.dtype, shape: tuple[int, ...]) -> int:
    """Create an array without writing it; returns where its bytes belong (anywhere, if it has none)."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.CONTIGUOUS)
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    create.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    array = h5py.h5d.create(file.id, name.encode(), kind, space, create, links)
    return array.get_offset() or 0


def read_file_header(path: str, forms: Mapping[str, ArraySchema | None]) -> FileHeader:
    """What a file holds, after checking that it is only what `forms` allows.

    A form named `group/*` allows any array directly in that group, and None as a form any numbers. Groups nest one deep.
    Only hard links are followed; every array must be contiguous, unfiltered, of the stated dtype and shape, and lie inside
    the file.

    Raises:
        DatasetNotFoundError: Where there is no such file.
        DamagedError: Where it is not HDF5 that can be opened, or is not complete.
        FormatError: Where something in it is not allowed.
    """
    try:
        num_bytes = os.stat(path).st_size
        with _H5PY_LOCK, h5py.File(path, "r") as file:
            attributes = dict(_attributes(path, file))
            if attributes.get("complete") != 1:
                raise DamagedError(
                    f"{path}: attribute complete is {attributes.get('complete')}, allowed is 1: writing it was not finished"
                )
            places = {name: _place(path, name, array, forms, num_bytes) for name, array in _arrays(path, file)}
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"{path}: there is no such file") from error
    except (DamagedError, FormatError):
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: not an HDF5 file that can be read ({_one_line(error)})") from error
    missing = [name for name in forms if not name.endswith("/*") and name not in places]
    if missing:
        raise FormatError(f"{path}: has no array {missing[0]!r}, expected is {forms[missing[0]]}")
    return FileHeader(num_bytes, attributes, places)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _attributes(path: str, file: h5py.File) -> Iterator[tuple[str, int | str]]:
    for name in file.attrs:
        kind = file.attrs.get_id(name)
        if kind.shape != () or kind.dtype.kind not in "Su" or isinstance(kind.get_type(), h5py.h5t.TypeVlenID):
            raise FormatError(f"{path}: attribute {name!r} is {kind.dtype} {kind.shape}, allowed is one number or one string")
        value = file.attrs[name]
        yield name, value.decode() if isinstance(value, bytes) else int(value)


def _arrays(path: str, group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Every array under a group, by its name; a link is looked at before it is opened."""
    for link in group:
        name = prefix + link
        found = group.id.links.get_info(link.encode()).type
        if found != h5py.h5l.TYPE_HARD:
            raise FormatError(f"{path}: {name!r} is a soft or external link, allowed are hard links")
        thing = group[link]
        if isinstance(thing, h5py.Dataset):
            yield name, thing
        elif isinstance(thing, h5py.Group) and not prefix:
            yield from _arrays(path, thing, f"{link}/")
        else:
            raise FormatError(f"{path}: {name!r} is a {type(thing).__name__.lower()}, allowed here is an array")


def _place(path: str, name: str, array: h5py.Dataset, forms: Mapping[str, ArraySchema | None], num_bytes: int) -> ArrayLocation:
    allowed = name if name in forms else f"{name.rpartition('/')[0]}/*"
    if allowed not in forms:
        raise FormatError(f"{path}: has an array {name!r}, allowed are {', '.join(forms)}")
    create = array.id.get_create_plist()
    if create.get_layout() != h5py.h5d.CONTIGUOUS or create.get_external_count() or create.get_nfilters():
        raise FormatError(f"{path}: {name!r} is chunked, compact, virtual, filtered or external, allowed is contiguous")
    form = forms[allowed]
    if array.dtype.kind not in "uif" or not (form is None or form.allows(array.dtype, array.shape)):
        raise FormatError(f"{path}: {name!r} is {array.dtype} {array.shape}, allowed is {form or 'an array of numbers'}")
    size = math.prod(array.shape) * array.dtype.itemsize
    offset = array.id.get_offset() or 0
    if array.id.get_storage_size() != size or (size and not offset) or offset + size > num_bytes:
        raise DamagedError(
            f"{path}: {name!r} takes {size} bytes from byte {offset}, the file has {num_bytes} "
            f"(and {array.id.get_storage_size()} for this array)"
        )
    return ArrayLocation(offset, array.dtype.newbyteorder("<").str, array.shape)


class MappedFile:
    """A file of known layout, mapped read-only: its arrays are views of the map, good in any thread.

    Args:
        path: The file.
        layout: Its layout, from `read_file_header`.
        mapped: Maps an open file of a given size: `kseq.storage.mmap.map_file`, or a span's.

    Raises:
        DamagedError: Where its size is no longer that of the layout: reading past the end of a map of a
            file that shrank would end the process.
        ReadError: Where the operating system does not open or map it.
    """

    def __init__(self, path: str, layout: FileHeader, mapped: Callable[[int, int], np.ndarray] = map_file) -> None:
        self.path = path
        self.attributes = layout.attributes
        try:
            with open(path, "rb", buffering=0) as file:
                found = os.fstat(file.fileno()).st_size
                if found != layout.num_bytes:
                    raise DamagedError(f"{path}: has {found} bytes, expected are {layout.num_bytes}")
                self._bytes = mapped(file.fileno(), found)
        except FileNotFoundError as error:
            raise DatasetNotFoundError(f"{path}: there is no such file") from error
        except DamagedError:
            raise
        except OSError as error:
            raise ReadError(f"{path}: cannot be opened and mapped: {error.strerror}") from error
        self.arrays: dict[str, Any] = {name: self._view(place) for name, place in layout.places.items()}

    def _view(self, place: ArrayLocation) -> np.ndarray:
        size = math.prod(place.shape) * np.dtype(place.dtype).itemsize
        return self._bytes[place.offset : place.offset + size].view(place.dtype).reshape(place.shape)
