"""Reads plain HDF5 files: contiguous arrays and short attributes, checked before a byte is believed.

h5py parses a file once, to learn where each array lies. From then on a file is a map of bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from kseq.errors import DamagedError, FormatError, KseqError, one_line
from kseq.storage.array_schema import ArraySchema
from kseq.storage.h5py_lock import H5PY_LOCK
from kseq.storage.layout import check_version
from kseq.storage.opener import DatasetFile

__all__ = ["ArrayLocation", "FileHeader", "MappedFile", "read_header"]


@dataclass(frozen=True)
class ArrayLocation:
    """Where the elements of an array lie in its file.

    Attributes:
        offset: Of the first, in bytes.
        dtype: Little-endian, such as `"<u8"`.
        shape: Of the array.
    """

    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FileHeader:
    """All that is known of a file without reading its arrays.

    Attributes:
        num_bytes: The size of the file.
        attributes: Name to value.
        locations: Name of each array to where it lies.
    """

    num_bytes: int
    attributes: Mapping[str, int | str]
    locations: Mapping[str, ArrayLocation]


def read_header(file: DatasetFile, kind: str, schema: Mapping[str, ArraySchema | None]) -> FileHeader:
    """What a file holds, after checking that it is only what the format allows.

    Only hard links are followed. Groups nest one deep. Every array must be contiguous, unfiltered, of an allowed dtype and
    shape, and lie inside the file.

    Args:
        file: The file.
        kind: What it must say that it is, see `kseq.storage.layout.check_version`.
        schema: Name to what the array must be; the file must have all of them. A name `group/*` allows any array directly in
            that group, and None in place of a schema allows an array of any numbers.

    Raises:
        DamagedError: If it is not an HDF5 file that can be opened, or writing it was not finished.
        FormatError: If it is of another kind or version, holds something that is not allowed, or lacks an array.
    """
    path = file.path
    try:
        with H5PY_LOCK, h5py.File(_FileObject(file), "r") as opened:
            attributes = dict(_attributes(path, opened.id))
            if attributes.get("complete") != 1:
                raise DamagedError(
                    f"{path}: attribute complete is {attributes.get('complete')}, allowed is 1: writing it was not finished"
                )
            check_version(path, attributes, kind)
            locations = {
                name: _location(file, name, array, schema) for name, array in _arrays(path, h5py.h5g.open(opened.id, b"/"))
            }
    except KseqError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: not an HDF5 file that can be read ({one_line(error)})") from error
    missing = [name for name in schema if not name.endswith("/*") and name not in locations]
    if missing:
        raise FormatError(f"{path}: has no array {missing[0]!r}, expected is {schema[missing[0]]}")
    return FileHeader(file.num_bytes, attributes, locations)


class _FileObject(io.RawIOBase):
    """A file as h5py reads it; h5py does not check that such a file is as long as it claims."""

    def __init__(self, file: DatasetFile) -> None:
        self._file = file
        self._offset = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._offset = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._file.num_bytes}[whence]
        return self._offset

    def readinto(self, out: Any) -> int:
        start, self._offset = self._offset, self._offset + len(out)
        if self._offset > self._file.num_bytes:
            raise OSError(f"refers to bytes {start} to {self._offset}, has {self._file.num_bytes}")
        out[:] = self._file.read(start, self._offset)
        return len(out)


def _attributes(path: str, file: h5py.h5f.FileID) -> Iterator[tuple[str, int | str]]:
    for number in range(h5py.h5a.get_num_attrs(file)):
        attribute = h5py.h5a.open(file, index=number)
        name, dtype, shape = attribute.name.decode(), attribute.dtype, attribute.shape
        if shape != () or dtype.kind not in "Su" or isinstance(attribute.get_type(), h5py.h5t.TypeVlenID):
            raise FormatError(f"{path}: attribute {name!r} is {dtype} {shape}, allowed is one number or one string")
        value = np.empty((), dtype)
        attribute.read(value)
        yield name, value.item().decode() if dtype.kind == "S" else int(value)


def _arrays(path: str, group: h5py.h5g.GroupID, prefix: str = "") -> Iterator[tuple[str, h5py.h5d.DatasetID]]:
    """Every array in a group by its name; the type of a link is checked before it is followed."""
    links = group.links
    for link in group:
        name = prefix + link.decode()
        if links.get_info(link).type != h5py.h5l.TYPE_HARD:
            raise FormatError(f"{path}: {name!r} is a soft or external link, allowed are hard links")
        member = h5py.h5o.open(group, link)
        if isinstance(member, h5py.h5d.DatasetID):
            yield name, member
        elif isinstance(member, h5py.h5g.GroupID) and not prefix:
            yield from _arrays(path, member, f"{name}/")
        else:
            kind = "group" if isinstance(member, h5py.h5g.GroupID) else "named type"
            raise FormatError(f"{path}: {name!r} is a {kind}, allowed here is an array")


def _location(
    file: DatasetFile, name: str, array: h5py.h5d.DatasetID, schema: Mapping[str, ArraySchema | None]
) -> ArrayLocation:
    """Where an array lies, after checking that it is what the schema allows."""
    path = file.path
    entry = name if name in schema else f"{name.rpartition('/')[0]}/*"
    if entry not in schema:
        raise FormatError(f"{path}: has an array {name!r}, allowed are {', '.join(schema)}")
    creation = array.get_create_plist()
    if creation.get_layout() != h5py.h5d.CONTIGUOUS or creation.get_external_count() or creation.get_nfilters():
        raise FormatError(f"{path}: {name!r} is chunked, compact, virtual, filtered or external, allowed is contiguous")
    allowed, dtype, shape = schema[entry], array.dtype, array.shape
    if not (_is_plain(dtype, shape) and (allowed is None or allowed.allows(dtype, shape))):
        raise FormatError(f"{path}: {name!r} is {dtype} {shape}, allowed is {allowed or 'an array of little-endian numbers'}")
    size, offset, allocated = math.prod(shape) * dtype.itemsize, array.get_offset() or 0, array.get_storage_size()
    if allocated != size or (size and not offset) or offset + size > file.num_bytes:
        raise DamagedError(
            f"{path}: {name!r} takes {size} bytes from byte {offset}, the file has {file.num_bytes} "
            f"(and {allocated} for this array)"
        )
    return ArrayLocation(offset, dtype.str, shape)


def _is_plain(dtype: np.dtype, shape: tuple[int, ...] | None) -> bool:
    """Whether an array holds little-endian numbers; one without a value has no shape."""
    return dtype.kind in "uif" and dtype == dtype.newbyteorder("<") and shape is not None


class MappedFile:
    """A file whose arrays are views of a read-only map, good in any thread.

    Args:
        file: The file. It may be closed afterwards.
        header: What `read_header` returned for it.

    Attributes:
        path: Of the file.
        attributes: Name to value.
        arrays: Name to array.

    Raises:
        DamagedError: If the file no longer has the size that its header says: reading past the end of a file that
            shrank would end the process.
        ReadError: If the operating system refuses to map it.
    """

    def __init__(self, file: DatasetFile, header: FileHeader) -> None:
        if file.num_bytes != header.num_bytes:
            raise DamagedError(f"{file.path}: has {file.num_bytes} bytes, expected are {header.num_bytes}")
        self.path = file.path
        self.attributes = header.attributes
        data = file.map()
        self.arrays: dict[str, Any] = {
            name: np.ndarray(location.shape, location.dtype, data, location.offset)
            for name, location in header.locations.items()
        }
