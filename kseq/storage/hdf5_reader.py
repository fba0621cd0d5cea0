"""The structure of a plain HDF5 file: read by pyfive within limits, and refused wherever it is not what the format allows.

The profile, of all that HDF5 can express: superblock and object headers of the oldest form, groups that nest one deep, hard
links, contiguous arrays of little-endian numbers, and attributes of the file that are one number or one string. pyfive is pure
Python: a hostile file can make it raise, but not crash. It reads through `_LimitedFile`, so that it cannot read or allocate
without end either, and it never comes to see what the profile does not allow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kseq.errors import DamagedError, FormatError, KseqError, one_line
from kseq.storage.array_location import ArrayLocation
from kseq.storage.array_schema import ArraySchema
from kseq.storage.layout import MOST_ARRAYS, check_version
from kseq.storage.opener import DatasetFile

if TYPE_CHECKING:
    from pyfive.dataobjects import DataObjects

__all__ = ["FileHeader", "read_header"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"

# What the structure of one file may take. A file of `MOST_ARRAYS` arrays stays below a third of each.
_MOST_READS, _MOST_BYTES = 40 * MOST_ARRAYS, 64 << 20
# Of one object: a root group of kseq's has fewer than 16.
_MOST_MESSAGES, _MOST_NAME_BYTES = 64, 1024

# Types of header messages, and a flag of theirs (HDF5 File Format Specification 3.0, IV.A.2).
_NIL, _DATASPACE, _DATATYPE, _OLD_FILL_VALUE, _FILL_VALUE, _EXTERNAL, _LAYOUT = 0, 1, 3, 4, 5, 7, 8
_FILTERS, _ATTRIBUTE, _OLD_TIME, _CONTINUATION, _SYMBOL_TABLE, _TIME, _REFERENCES = 11, 12, 14, 16, 17, 18, 22
_LINK_INFO, _LINK = 2, 6
_IS_SHARED = 2
_EVERYWHERE = {_NIL, _ATTRIBUTE, _OLD_TIME, _CONTINUATION, _TIME, _REFERENCES}
_IN_GROUP = _EVERYWHERE | {_SYMBOL_TABLE}
_IN_ARRAY = _EVERYWHERE | {_DATASPACE, _DATATYPE, _OLD_FILL_VALUE, _FILL_VALUE, _LAYOUT}

# Of a symbol table entry that is a hard link: nothing, or the addresses in a group, are cached in it.
_HARD_LINK = (0, 1)

_LAYOUT_VERSION, _CONTIGUOUS, _UNDEFINED = 3, 1, (1 << 64) - 1

# Classes of datatypes.
_INTEGER, _FLOAT, _STRING = 0, 1, 3
_CLASS_NAMES = (
    *("integer", "float", "date", "string", "bit field", "opaque", "compound", "reference"),
    *("enumeration", "variable-length", "array"),
)


def _integer_type(kind: str, size: int) -> bytes:
    return struct.pack("<BB2xIHH", 0x10, 8 if kind == "i" else 0, size, 0, 8 * size)


# The whole message of each datatype that an array may have, to the dtype: little-endian, every bit of it used, IEEE 754.
_DTYPES = {
    **{_integer_type(kind, size): np.dtype(f"<{kind}{size}") for kind in "ui" for size in (1, 2, 4, 8)},
    bytes.fromhex("11200f0002000000000010000a05000a0f000000"): np.dtype("<f2"),
    bytes.fromhex("11201f000400000000002000170800177f000000"): np.dtype("<f4"),
    bytes.fromhex("11203f000800000000004000340b0034ff030000"): np.dtype("<f8"),
}


@dataclass(frozen=True)
class FileHeader:
    """All that is known of a file without reading its arrays.

    Attributes:
        num_bytes: The size of the file.
        attributes: Name to value.
        attribute_offsets: Name to where the value lies in the file, in bytes.
        locations: Name of each array to where it lies.
    """

    num_bytes: int
    attributes: Mapping[str, int | str]
    attribute_offsets: Mapping[str, int]
    locations: Mapping[str, ArrayLocation]


def read_header(file: DatasetFile, kind: str, schema: Mapping[str, ArraySchema | None]) -> FileHeader:
    """What a file holds, after checking that it is only what the format allows.

    Args:
        file: The file.
        kind: What it must say that it is, see `kseq.storage.layout.check_version`.
        schema: Name to what the array must be; the file must have all of them. A name `group/*` allows any array directly in
            that group, and None in place of a schema allows an array of any numbers.

    Raises:
        DamagedError: If it is not an HDF5 file that can be read, or writing it was not finished.
        FormatError: If it is of another kind or version, holds something that is not allowed, or lacks an array.
        ReadError: If the operating system refuses.
    """
    try:
        header = _read(file, kind, schema)
    except (KseqError, ImportError):
        raise
    except Exception as error:
        # Whatever pyfive meets, it meets in the file: it has no other input. MemoryError and RecursionError are among them.
        raise DamagedError(f"{file.path}: not an HDF5 file that can be read ({one_line(error)})") from error
    missing = [name for name in schema if not name.endswith("/*") and name not in header.locations]
    if missing:
        raise FormatError(f"{file.path}: has no array {missing[0]!r}, expected is {schema[missing[0]]}")
    return header


def _read(file: DatasetFile, kind: str, schema: Mapping[str, ArraySchema | None]) -> FileHeader:
    limited = _LimitedFile(file)
    root = _open_object(limited, _root_address(limited))
    attributes = {attribute.name: attribute for attribute in _attributes(limited, root)}
    values = {name: attribute.value for name, attribute in attributes.items()}
    if values.get("complete") != 1:
        raise DamagedError(
            f"{file.path}: attribute complete is {values.get('complete')}, allowed is 1: writing it was not finished"
        )
    check_version(file.path, values, kind)
    locations: dict[str, ArrayLocation] = {}
    for name, array in _arrays(limited, root):
        if len(locations) == MOST_ARRAYS:
            raise FormatError(f"{file.path}: has more than the {MOST_ARRAYS} arrays that are allowed")
        if name in locations:
            raise FormatError(f"{file.path}: has two arrays {name!r}, allowed is one")
        locations[name] = _location(file, name, array, schema)
    return FileHeader(file.num_bytes, values, {name: attribute.offset for name, attribute in attributes.items()}, locations)


class _LimitedFile:
    """A file as pyfive reads it, which ends after so many reads and bytes as the structure of a file may take."""

    def __init__(self, file: DatasetFile) -> None:
        self.path = file.path
        self.num_bytes = file.num_bytes
        self._file = file
        self._offset = 0
        self._reads_left, self._bytes_left = _MOST_READS, _MOST_BYTES

    def seek(self, offset: int) -> int:
        self._offset = offset
        return offset

    def tell(self) -> int:
        return self._offset

    def read(self, size: int) -> bytes:
        start, self._offset = self._offset, self._offset + size
        if not 0 <= start <= self._offset <= self.num_bytes:
            raise DamagedError(
                f"{self.path}: not an HDF5 file that can be read (it refers to bytes {start} to {self._offset}, "
                f"and has {self.num_bytes})"
            )
        self._reads_left -= 1
        self._bytes_left -= size
        if self._reads_left < 0 or self._bytes_left < 0:
            raise FormatError(
                f"{self.path}: its structure takes more than {_MOST_BYTES} bytes or {_MOST_READS} reads, allowed are "
                f"{MOST_ARRAYS} arrays and their names"
            )
        return self._file.read(start, self._offset)


def _root_address(file: _LimitedFile) -> int:
    """Where the root group lies."""
    from pyfive.misc_low_level import SuperBlock

    file.seek(0)
    signature = file.read(min(len(_SIGNATURE), file.num_bytes))
    if signature != _SIGNATURE:
        raise DamagedError(f"{file.path}: not an HDF5 file that can be read (it begins with {signature!r})")
    superblock = SuperBlock(file, 0)
    base, end = (superblock._contents[name] for name in ("base_address", "end_of_file_address"))
    if base or end > file.num_bytes:
        raise DamagedError(
            f"{file.path}: not an HDF5 file that can be read (it says that it goes from byte {base} to {end}, and has "
            f"{file.num_bytes})"
        )
    address: int = superblock.offset_to_dataobjects
    return address


def _open_object(file: _LimitedFile, address: int) -> DataObjects:
    """The group or array at an address, after checking that its header is of the oldest form, and short."""
    # Not at the top: it takes a tenth of a second to import, and worker processes never need it.
    from pyfive.dataobjects import DataObjects

    file.seek(address)
    version, count = struct.unpack("<BxH", file.read(4))
    if version != 1 or count > _MOST_MESSAGES:
        raise FormatError(
            f"{file.path}: the object at byte {address} has a header of version {version} with {count} messages, allowed are "
            f"version 1 (h5py's libver='earliest') and {_MOST_MESSAGES} messages"
        )
    return DataObjects(file, address)


class _Attribute(NamedTuple):
    name: str
    value: int | str
    # Where the value lies in the file.
    offset: int


def _attributes(file: _LimitedFile, root: DataObjects) -> Iterator[_Attribute]:
    """The attributes of the file."""
    from pyfive.dataobjects import determine_data_shape

    data = root.msg_data
    for message in root.find_msg_type(_ATTRIBUTE):
        start = message["offset_to_message"]
        version, *sizes = struct.unpack_from("<BxHHH", data, start)
        if version != 1 or message["flags"] & _IS_SHARED:
            raise FormatError(f"{file.path}: an attribute has a message of version {version}, allowed is 1")
        # Each of the three pieces before the value is padded to 8 bytes.
        name_at, type_at, space_at, value_at = (start + 8 + sum(-(-size // 8) * 8 for size in sizes[:n]) for n in range(4))
        name = data[name_at : name_at + sizes[0]].partition(b"\0")[0].decode()
        shape, _ = determine_data_shape(data, space_at)
        type_class, size = data[type_at] & 15, struct.unpack_from("<I", data, type_at + 4)[0]
        dtype = _dtype(data[type_at:space_at])
        is_number = dtype is not None and dtype.kind == "u"
        if shape != () or not (is_number or type_class == _STRING):
            raise FormatError(
                f"{file.path}: attribute {name!r} is {_describe_type(data[type_at:space_at])} {shape}, allowed is one number "
                "or one string"
            )
        value = data[value_at : value_at + size]
        if len(value) != size or value_at + size > start + message["size"]:
            raise DamagedError(f"{file.path}: attribute {name!r} takes {size} bytes, its message has {message['size']}")
        decoded = int.from_bytes(value, "little") if is_number else value.rstrip(b"\0").decode()
        yield _Attribute(name, decoded, _offset_in_file(root, value_at))


def _offset_in_file(header: DataObjects, offset: int) -> int:
    """Where a byte of an object's messages lies in the file: they are in one block after the header and in those that continue
    it, which pyfive puts together."""
    # The header itself takes 16 bytes.
    blocks = [(header.offset + 16, int(header._header["object_header_size"]))]
    for message in header.find_msg_type(_CONTINUATION):
        blocks.append(struct.unpack_from("<QQ", header.msg_data, message["offset_to_message"]))
    for start, size in blocks:
        if offset < size:
            return start + offset
        offset -= size
    raise ValueError(f"offset {offset} lies in no block")


def _arrays(file: _LimitedFile, group: DataObjects, prefix: str = "") -> Iterator[tuple[str, DataObjects]]:
    """Every array in a group by its name; the type of a link is checked before it is followed."""
    unknown = {message["type"] for message in group.msgs} - _IN_GROUP
    if unknown:
        links = "soft or external links, or a group in a newer form" if unknown & {_LINK, _LINK_INFO} else "unknown messages"
        raise FormatError(f"{file.path}: the group '/{prefix}' has {links}, allowed are hard links")
    for link, address in _links(file, group, prefix):
        name = prefix + link
        member = _open_object(file, address)
        types = {message["type"] for message in member.msgs}
        if _LAYOUT in types:
            yield name, member
        elif types & {_SYMBOL_TABLE, _LINK, _LINK_INFO} and not prefix:
            yield from _arrays(file, member, f"{name}/")
        else:
            what = "group" if types & {_SYMBOL_TABLE, _LINK, _LINK_INFO} else "named type"
            raise FormatError(f"{file.path}: {name!r} is a {what}, allowed here is an array")


def _links(file: _LimitedFile, group: DataObjects, prefix: str) -> Iterator[tuple[str, int]]:
    """The name of each link in a group, and the address that it leads to."""
    from pyfive.btree import BTreeV1Groups
    from pyfive.misc_low_level import Heap, SymbolTable

    tables = group.find_msg_type(_SYMBOL_TABLE)
    if len(tables) != 1 or tables[0]["size"] != 16:
        raise FormatError(f"{file.path}: the group '/{prefix}' has {len(tables)} symbol tables, allowed is one")
    tree_address, heap_address = struct.unpack_from("<QQ", group.msg_data, tables[0]["offset_to_message"])
    names = Heap(file, heap_address).data
    for table_address in BTreeV1Groups(file, tree_address).symbol_table_addresses():
        for entry in SymbolTable(file, table_address).entries:
            start = entry["link_name_offset"]
            # Not pyfive's own search for the end, which copies a name as long as the file may hold.
            link, end, _ = names[start : start + _MOST_NAME_BYTES].partition(b"\0")
            name = link.decode()
            if not end or not name or "/" in name:
                raise FormatError(f"{file.path}: a link in '/{prefix}' has the name {name[:40]!r}, which is not allowed")
            if entry["cache_type"] not in _HARD_LINK:
                raise FormatError(f"{file.path}: {prefix + name!r} is a soft or external link, allowed are hard links")
            yield name, entry["object_header_address"]


def _location(file: DatasetFile, name: str, array: DataObjects, schema: Mapping[str, ArraySchema | None]) -> ArrayLocation:
    """Where an array lies, after checking that it is what the schema allows."""
    path = file.path
    entry = name if name in schema else f"{name.rpartition('/')[0]}/*"
    if entry not in schema:
        raise FormatError(f"{path}: has an array {name!r}, allowed are {', '.join(schema)}")
    layout = _message(path, name, array, _LAYOUT)
    version, layout_class, offset, allocated = struct.unpack_from("<BBQQ", layout.ljust(18, b"\0"))
    types = {message["type"] for message in array.msgs}
    if (version, layout_class) != (_LAYOUT_VERSION, _CONTIGUOUS) or types & {_FILTERS, _EXTERNAL}:
        raise FormatError(f"{path}: {name!r} is chunked, compact, virtual, filtered or external, allowed is contiguous")
    if types - _IN_ARRAY or any(message["flags"] & _IS_SHARED for message in array.msgs):
        raise FormatError(f"{path}: {name!r} has a shared or unknown header message, allowed is a plain array")
    allowed, datatype, shape = schema[entry], _message(path, name, array, _DATATYPE), _shape(path, name, array)
    dtype = _dtype(datatype)
    if dtype is None or shape is None or not (allowed is None or allowed.allows(dtype, shape)):
        raise FormatError(
            f"{path}: {name!r} is {_describe_type(datatype)} {shape}, allowed is "
            f"{allowed or 'an array of little-endian numbers'}"
        )
    location = ArrayLocation(0 if offset == _UNDEFINED else offset, dtype.str, shape)
    size = location.num_bytes
    if allocated != size or (size and not location.offset) or location.offset + size > file.num_bytes:
        raise DamagedError(
            f"{path}: {name!r} takes {size} bytes from byte {location.offset}, the file has {file.num_bytes} "
            f"(and {allocated} for this array)"
        )
    return location if size else location._replace(offset=0)


def _message(path: str, name: str, array: DataObjects, message_type: int) -> bytes:
    """The one message of a type that an array has."""
    messages = array.find_msg_type(message_type)
    if len(messages) != 1:
        raise FormatError(f"{path}: {name!r} has {len(messages)} header messages of type {message_type}, allowed is 1")
    start = messages[0]["offset_to_message"]
    data: bytes = array.msg_data[start : start + messages[0]["size"]]
    return data


def _shape(path: str, name: str, array: DataObjects) -> tuple[int, ...] | None:
    """The shape of an array; None if it is without a value."""
    from pyfive.dataobjects import determine_data_shape

    shape: tuple[int, ...] | None = determine_data_shape(_message(path, name, array, _DATASPACE), 0)[0]
    return shape


def _dtype(datatype: bytes) -> np.dtype | None:
    """The dtype of a datatype message; None if an array may not have it. Messages are padded to 8 bytes."""
    size = 20 if datatype[0] & 15 == _FLOAT else 12
    return _DTYPES.get(datatype[:size])


def _describe_type(datatype: bytes) -> str:
    """A datatype in messages: numpy's name for a number, HDF5's for anything else."""
    type_class, size = datatype[0] & 15, struct.unpack_from("<I", datatype, 4)[0]
    if type_class in (_INTEGER, _FLOAT) and size in (1, 2, 4, 8) and (type_class, size) != (_FLOAT, 1):
        kind = "f" if type_class == _FLOAT else "ui"[datatype[1] >> 3 & 1]
        dtype: Any = np.dtype(f"{'<>'[datatype[1] & 1]}{kind}{size}")
        return str(dtype) if _dtype(datatype) is not None or dtype.str[0] == ">" else f"an unusual {dtype}"
    return _CLASS_NAMES[type_class] if type_class < len(_CLASS_NAMES) else f"class {type_class}"
