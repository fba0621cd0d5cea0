"""Plain HDF5 files: contiguous arrays and short attributes, checked before a byte is believed.

Reading goes through h5py once, to learn where each array lies; from then on a file is a map of bytes.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from kseq.errors import DamagedError, DatasetNotFoundError, FormatError, ReadError
from kseq.files import copy_into
from kseq.maps import map_file

__all__ = ["ArrayForm", "Layout", "MappedFile", "Place", "Spool", "first_offset", "read_layout", "write_file"]

# h5py is not asked anything while the process forks: a child must not inherit a half-done call into HDF5.
_H5PY_LOCK = threading.Lock()
os.register_at_fork(before=_H5PY_LOCK.acquire, after_in_parent=_H5PY_LOCK.release, after_in_child=_H5PY_LOCK.release)

# numpy.take copies the whole of an array that is not aligned, so every array starts on this boundary.
_ALIGNMENT = 64


@dataclass(frozen=True)
class ArrayForm:
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
class Place:
    """Where the elements of an array lie in its file."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """All that needs h5py to be known of a file: its size, attributes and arrays."""

    num_bytes: int
    attributes: Mapping[str, int | str]
    places: Mapping[str, Place]


@dataclass(frozen=True)
class Spool:
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


def first_offset(path: str, attributes: Mapping[str, int | str], name: str, dtype: str, row_shape: tuple[int, ...]) -> int:
    """Where the elements of the first array of a file will lie, however many rows it has.

    Args:
        path: Where the file is to be written; it is made, and removed again.
        attributes: Those it will have; of strings only their lengths matter, of numbers nothing.
        name: The array's.
        dtype: The array's.
        row_shape: Its shape without the first axis.
    """
    places = _write_frame(path, attributes, {name: Spool("", dtype, (1, *row_shape))})
    os.unlink(path)
    return places[name]


def write_file(path: str, attributes: Mapping[str, int | str], arrays: Mapping[str, np.ndarray | Spool]) -> None:
    """Write a new HDF5 file; the attribute `complete` is set to 1 after everything else. The files of spools may be gone then.

    The bytes depend on the arguments alone (and on the HDF5 library's version): no times are recorded.
    """
    places = _write_frame(path, attributes, arrays)
    spools = [(array, places[name]) for name, array in arrays.items() if isinstance(array, Spool)]
    in_place = [spool for spool, offset in spools if spool.begin == offset]
    if in_place:
        _put_around(path, in_place[0])
    for spool, offset in spools:
        if spool not in in_place[:1]:
            copy_into(spool.path, spool.begin, spool.end, path, offset)
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = np.uint64(1)


def _write_frame(path: str, attributes: Mapping[str, int | str], arrays: Mapping[str, np.ndarray | Spool]) -> dict[str, int]:
    """Write a file in which the elements of spools are missing; returns where they belong."""
    places = {}
    # A path that the operating system refuses is named in its own short words, not in HDF5's.
    open(path, "wb").close()
    with h5py.File(path, "w", libver=("earliest", "v108"), alignment_threshold=1, alignment_interval=_ALIGNMENT) as file:
        for name, value in attributes.items():
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else np.uint64(value)
        file.attrs["complete"] = np.uint64(0)
        for name, array in arrays.items():
            if isinstance(array, Spool):
                places[name] = _reserve(file, name, array)
            else:
                file.create_dataset(name, data=array)
    return places


def _put_around(path: str, spool: Spool) -> None:
    """Turn the file of a spool into the one at `path`, by writing around it all that this has around its place."""
    copy_into(path, 0, spool.begin, spool.path, 0)
    copy_into(path, spool.end, os.path.getsize(path), spool.path, spool.end)
    os.replace(spool.path, path)


def _reserve(file: h5py.File, name: str, spool: Spool) -> int:
    """Create an array without writing it; returns where its bytes belong (anywhere, if it has none)."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.CONTIGUOUS)
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    create.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5py.h5s.create_simple(spool.shape)
    kind = h5py.h5t.py_create(np.dtype(spool.dtype), logical=True)
    array = h5py.h5d.create(file.id, name.encode(), kind, space, create, links)
    return array.get_offset() or 0


def read_layout(path: str, forms: Mapping[str, ArrayForm | None]) -> Layout:
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
    return Layout(num_bytes, attributes, places)


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


def _place(path: str, name: str, array: h5py.Dataset, forms: Mapping[str, ArrayForm | None], num_bytes: int) -> Place:
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
    return Place(offset, array.dtype.newbyteorder("<").str, array.shape)


class MappedFile:
    """A file of known layout, mapped read-only: its arrays are views of the map, good in any thread.

    Args:
        path: The file.
        layout: Its layout, from `read_layout`.
        mapped: Maps an open file of a given size: `kseq.maps.map_file`, or a span's.

    Raises:
        DamagedError: Where its size is no longer that of the layout: reading past the end of a map of a
            file that shrank would end the process.
        ReadError: Where the operating system does not open or map it.
    """

    def __init__(self, path: str, layout: Layout, mapped: Callable[[int, int], np.ndarray] = map_file) -> None:
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

    def _view(self, place: Place) -> np.ndarray:
        size = math.prod(place.shape) * np.dtype(place.dtype).itemsize
        return self._bytes[place.offset : place.offset + size].view(place.dtype).reshape(place.shape)
