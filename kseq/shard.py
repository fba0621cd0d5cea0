"""One shard: an HDF5 file of samples, written once and read by row."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash

from kseq.errors import DamagedError, FormatError, ImageError, KseqError
from kseq.fields import Field
from kseq.files import publishing, start_writing
from kseq.format import (
    FORMAT_VERSION,
    REJECTED_FORMS,
    Rejected,
    ShardEntry,
    arrays_digest,
    check_version,
    digest_of_hashes,
    hash_array,
    pack_rejected,
    pack_strings,
    read_piece,
    read_rejected,
    read_string,
    string_forms,
)
from kseq.hdf5 import ArrayForm, Layout, MappedFile, Spool, first_offset, read_layout, write_file
from kseq.images import decode, decode_mask
from kseq.maps import map_file, will_need
from kseq.tiles import find_tiles

__all__ = ["Encoded", "ShardReader", "ShardWriter"]

# Of the arrays of an encoded or ragged field, those with a few bytes for each row.
_LOOKED_UP = ("offsets", "size", "orientation", "tiles", "tile_offsets", "values")

# The disk begins to write while images are still being decoded: measured, raw photos are packed a fifth faster.
_WRITTEN_AT_ONCE = 4 << 20


@dataclass(frozen=True)
class Encoded:
    """One encoded image as it is stored: its bytes, the size of the upright image, EXIF's orientation, its tiles."""

    data: bytes
    height: int
    width: int
    orientation: int = 1

    @functools.cached_property
    def tiles(self) -> np.ndarray:
        """What `kseq.tiles.find_tiles` says of the bytes; only of images that are stored upright."""
        return find_tiles(self.data if self.orientation == 1 else b"")


def _forms(fields: Sequence[Field], num_rows: int | None) -> dict[str, ArrayForm]:
    """Every array of a shard, and what each must be."""
    forms: dict[str, ArrayForm] = {}
    num_offsets = None if num_rows is None else num_rows + 1
    for each in fields:
        if each.encoded:
            forms |= string_forms(each.name, num_rows)
            forms[f"{each.name}/size"] = ArrayForm("<u4", (num_rows, 2))
            forms[f"{each.name}/orientation"] = ArrayForm("|u1", (num_rows,))
            forms[f"{each.name}/tiles"] = ArrayForm("<u4", (None,))
            forms[f"{each.name}/tile_offsets"] = ArrayForm("<u8", (num_offsets,))
        elif each.is_ragged:
            forms[f"{each.name}/values"] = ArrayForm(each.dtype, each.shape)
            forms[f"{each.name}/offsets"] = ArrayForm("<u8", (num_offsets,))
        else:
            forms[each.name] = ArrayForm(each.dtype, (num_rows, *each.shape))
    forms["checksum"] = ArrayForm("<u8", (num_rows,))
    forms |= string_forms("source", num_rows)
    return forms | REJECTED_FORMS


class _Stream:
    """The bytes of one array of unknown length, hashed on their way into a file of their own, where they begin at `begin`."""

    def __init__(self, path: str, begin: int) -> None:
        self.path = path
        self.begin = self._end = self._under_way = begin
        self._file = open(path, "wb")  # noqa: SIM115  # closed by ShardWriter
        self._file.seek(begin)
        self._hash = xxhash.xxh3_128()

    @property
    def num_bytes(self) -> int:
        return self._end - self.begin

    def append(self, data: bytes | np.ndarray) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._end += data.nbytes if isinstance(data, np.ndarray) else len(data)
        if self._end - self._under_way >= _WRITTEN_AT_ONCE:
            start_writing(self._file.fileno(), self._under_way, self._end)
            self._under_way = self._end

    def close(self) -> bytes:
        self._file.close()
        return self._hash.digest()


def _spool_name(each: Field) -> str:
    """The name of the array that holds the bytes of a field."""
    if each.encoded:
        return f"{each.name}/bytes"
    return f"{each.name}/values" if each.is_ragged else each.name


def _row_form(each: Field) -> tuple[str, tuple[int, ...]]:
    """The dtype of that array, and its shape without the first axis."""
    if each.encoded:
        return "|u1", ()
    return each.dtype, tuple(length for length in each.shape if length is not None)


def _has_offsets(each: Field) -> bool:
    """Whether samples differ in length, so that the array that holds them has one of offsets beside it."""
    return each.encoded or each.is_ragged


@dataclass
class _Rows:
    """What a writer keeps of the rows of an encoded or ragged field besides the streams: a few numbers each."""

    lengths: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    orientations: list[int] = field(default_factory=list)
    tiles: list[np.ndarray] = field(default_factory=list)


class ShardWriter:
    """Writes one shard, sample after sample, in memory that does not grow with their bytes.

    Args:
        path: Where to write; streams of its own lie beside it until `finish`.
        fields: What each sample holds.
        dataset_id: The dataset it belongs to.
        number: Its place in the dataset.
    """

    def __init__(self, path: str, fields: Sequence[Field], dataset_id: str, number: int) -> None:
        self._path = path
        self._fields = fields
        self._attributes: dict[str, int | str] = {
            "format": "kseq shard",
            "version": FORMAT_VERSION,
            "dataset_id": dataset_id,
            "shard": number,
            "rows": 0,
            "digest": digest_of_hashes({}),
        }
        # The first, usually the images, are written where they are to stay; the others are few bytes.
        first = first_offset(self._attributes, _spool_name(fields[0]), *_row_form(fields[0]))
        self._streams = {each.name: _Stream(f"{path}.{each.name}", 0 if place else first) for place, each in enumerate(fields)}
        self._rows = {each.name: _Rows() for each in fields if _has_offsets(each)}
        self._checksums: list[int] = []
        self._sources: list[bytes] = []
        self._rejected: list[Rejected] = []

    @classmethod
    @contextmanager
    def publishing(cls, path: str, fields: Sequence[Field], dataset_id: str, number: int) -> Iterator[ShardWriter]:
        """A writer whose shard appears as `path` at the end of the `with` block, if it was finished."""
        with publishing(path) as temporary:
            writer = cls(temporary, fields, dataset_id, number)
            try:
                yield writer
            finally:
                writer.close()

    def close(self) -> None:
        """Close the streams, each even where another cannot be: on a full disk, what they still hold cannot be written."""
        with ExitStack() as stack:
            for stream in self._streams.values():
                stack.callback(stream.close)

    def add(self, source: bytes, sample: Mapping[str, Encoded | np.ndarray]) -> None:
        """Append one sample: an `Encoded` for each encoded field, an array of the field's shape else."""
        checksum = xxhash.xxh3_64()
        for each in self._fields:
            value = sample[each.name]
            if isinstance(value, Encoded):
                data: bytes | np.ndarray = value.data
                self._add_encoded(each.name, value)
            else:
                data = np.ascontiguousarray(value, each.dtype)
                if each.is_ragged:
                    self._rows[each.name].lengths.append(len(data))
            self._streams[each.name].append(data)
            checksum.update(data)
            if isinstance(value, Encoded):
                checksum.update(value.tiles)
        self._checksums.append(checksum.intdigest())
        self._sources.append(source)

    def _add_encoded(self, name: str, value: Encoded) -> None:
        rows = self._rows[name]
        rows.lengths.append(len(value.data))
        rows.sizes.append((value.height, value.width))
        rows.orientations.append(value.orientation)
        rows.tiles.append(value.tiles)

    def reject(self, path: bytes, reason: str) -> None:
        """Note a file that is left out."""
        self._rejected.append(Rejected(path, reason))

    def finish(self) -> None:
        """Write the HDF5 file from what was added."""
        arrays: dict[str, np.ndarray | Spool] = {}
        hashes = {}
        for each in self._fields:
            stream = self._streams[each.name]
            spool = self._spool(each, stream)
            name = _spool_name(each)
            arrays[name] = spool
            hashes[name] = (spool.dtype, spool.shape, stream.close())
        plain = self._plain_arrays()
        hashes |= {name: (array.dtype.str, array.shape, hash_array(array)) for name, array in plain.items()}
        attributes = self._attributes | {"rows": len(self._sources), "digest": digest_of_hashes(hashes)}
        write_file(self._path, attributes, arrays | plain)

    def _spool(self, each: Field, stream: _Stream) -> Spool:
        dtype, row_shape = _row_form(each)
        num_rows = sum(self._rows[each.name].lengths) if _has_offsets(each) else len(self._sources)
        return Spool(stream.path, dtype, (num_rows, *row_shape), stream.begin)

    def _plain_arrays(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for each in (each for each in self._fields if _has_offsets(each)):
            name, rows = each.name, self._rows[each.name]
            arrays[f"{name}/offsets"] = np.concatenate([[0], np.cumsum(rows.lengths)]).astype("<u8")
            if each.is_ragged:
                continue
            arrays[f"{name}/size"] = np.array(rows.sizes, "<u4").reshape(-1, 2)
            arrays[f"{name}/orientation"] = np.array(rows.orientations, np.uint8)
            arrays[f"{name}/tiles"] = np.concatenate([np.empty(0, "<u4"), *rows.tiles])
            arrays[f"{name}/tile_offsets"] = np.concatenate([[0], np.cumsum([each.size for each in rows.tiles])]).astype("<u8")
        arrays["checksum"] = np.array(self._checksums, "<u8")
        return arrays | pack_strings("source", self._sources) | pack_rejected(self._rejected)


class ShardReader:
    """Reads one shard by row, from any thread, without h5py once it is open.

    Args:
        path: The shard.
        fields: What each of its rows holds, from the index.
        entry: What the index says of it; None while there is no index.
        layout: The layout of this very file from an earlier opening, to leave h5py out.
        mapped: See `kseq.hdf5.MappedFile`.

    Raises:
        DatasetNotFoundError: Where there is no such file.
        DamagedError: Where it is not that shard, or is truncated.
        FormatError: Where it holds what the format does not allow.
    """

    def __init__(
        self,
        path: str,
        fields: Sequence[Field],
        entry: ShardEntry | None = None,
        layout: Layout | None = None,
        mapped: Callable[[int, int], np.ndarray] = map_file,
    ) -> None:
        self.path = path
        self._fields = fields
        if layout is None:
            layout = _checked_layout(path, fields, entry)
        self.layout = layout
        self._file = MappedFile(path, layout, mapped)
        self.num_rows = int(layout.attributes["rows"])
        self._asked_tables = False

    def entry(self, number: int) -> ShardEntry:
        """What an index should say of this shard."""
        return ShardEntry(number, self.num_rows, self.layout.num_bytes, str(self.layout.attributes["digest"]))

    def check_origin(self, dataset_id: str, number: int) -> None:
        """Raise DamagedError unless the shard was made as number `number` of the packing `dataset_id`."""
        _check_attributes(self.path, self.layout, {"dataset_id": dataset_id, "shard": number})

    def array(self, name: str) -> np.ndarray:
        """`(rows, ...)`: all rows of a field that is not encoded, or of `name/size` and `name/orientation`."""
        array: np.ndarray = self._file.arrays[name]
        return array

    def stored(self, name: str, row: int) -> np.ndarray:
        """`(n,)` uint8: the stored bytes of an encoded field, as a view of the file."""
        return read_string(self._file, name, row)

    def ragged(self, name: str, row: int) -> np.ndarray:
        """`(count, ...)`: a row of a field whose samples differ in length, as a view of the file."""
        return self.piece(f"{name}/values", f"{name}/offsets", row)

    def decode(self, name: str, row: int, color_mode: str, out: np.ndarray | None = None) -> np.ndarray:
        """`(height, width, channels)` uint8 pixels of an encoded image, upright; decoded into `out` if given.

        Raises:
            ImageError: Where its bytes are broken, naming the row and its source.
        """
        try:
            return decode(self.stored(name, row), color_mode, int(self.array(f"{name}/orientation")[row]), out)
        except ImageError as error:
            raise self.at(row, error) from error

    def decode_mask(self, name: str, row: int) -> np.ndarray:
        """`(height, width, 1)` uint8 values of an encoded mask, upright.

        Raises:
            ImageError: Where its bytes are broken, naming the row and its source.
        """
        try:
            return decode_mask(self.stored(name, row), int(self.array(f"{name}/orientation")[row]))
        except ImageError as error:
            raise self.at(row, error) from error

    def piece(self, flat: str, offsets: str, row: int) -> np.ndarray:
        """What belongs to a row in the array `flat` of all rows' elements, by the array `offsets`: a view of the file.

        Raises:
            DamagedError: Where the row's offsets do not lie in that array.
        """
        return read_piece(self._file, flat, offsets, row)

    def at(self, row: int, error: KseqError) -> KseqError:
        """The same error, with the place and the source of the row that it is about."""
        return type(error)(f"{self.path}: row {row} ({os.fsdecode(self.source(row))!r}): {error}")

    def will_need(self, rows: np.ndarray) -> None:
        """Ask the operating system to read the stored bytes of rows, `(n,)` int64 and rising, soon."""
        if not self._asked_tables:
            self._asked_tables = True
            for name in (name for name in self._file.arrays if name.partition("/")[2] in _LOOKED_UP):
                table = self._file.arrays[name].reshape(-1).view(np.uint8)
                will_need(table, np.zeros(1, np.int64), np.array([table.size]))
        for each in self._fields:
            if each.encoded:
                offsets = self.array(f"{each.name}/offsets")
                starts, ends = offsets[rows].astype(np.int64), offsets[rows + 1].astype(np.int64)
                will_need(self.array(f"{each.name}/bytes"), starts, ends)
            elif not each.is_ragged:
                flat = self.array(each.name).reshape(-1).view(np.uint8)
                row_bytes = flat.size // self.num_rows
                will_need(flat, rows * row_bytes, (rows + 1) * row_bytes)

    def source(self, row: int) -> bytes:
        """Where a sample came from."""
        return read_string(self._file, "source", row).tobytes()

    def rejected(self) -> list[Rejected]:
        """The files that were left out while this shard was made."""
        return read_rejected(self._file)

    def check_row(self, row: int) -> None:
        """Compare the stored bytes of a row with its checksum.

        Raises:
            DamagedError: Where they differ, naming the row and its source.
        """
        found, expected = self._checksum(row), int(self._file.arrays["checksum"][row])
        if found != expected:
            raise DamagedError(
                f"{self.path}: row {row} ({os.fsdecode(self.source(row))!r}) has checksum {found:016x}, "
                f"expected is {expected:016x}: its bytes have changed"
            )

    def _checksum(self, row: int) -> int:
        checksum = xxhash.xxh3_64()
        for each in self._fields:
            if each.encoded:
                checksum.update(self.stored(each.name, row))
                checksum.update(self.piece(f"{each.name}/tiles", f"{each.name}/tile_offsets", row))
            elif each.is_ragged:
                checksum.update(self.ragged(each.name, row))
            else:
                checksum.update(self.array(each.name)[row])
        return checksum.intdigest()

    def check_all(self) -> list[str]:
        """Read every byte: one line for each thing that is not as it should be."""
        found = []
        for row in range(self.num_rows):
            try:
                self.check_row(row)
            except DamagedError as error:
                found.append(str(error))
        digest, expected = arrays_digest(self._file.arrays), self.layout.attributes["digest"]
        if digest != expected and not found:
            found.append(
                f"{self.path}: the arrays have digest {digest}, expected is {expected}: bytes beside the samples' have changed"
            )
        return found


def _checked_layout(path: str, fields: Sequence[Field], entry: ShardEntry | None) -> Layout:
    if entry is not None and os.path.exists(path) and os.path.getsize(path) != entry.num_bytes:
        raise DamagedError(f"{path}: has {os.path.getsize(path)} bytes, expected are {entry.num_bytes}")
    layout = read_layout(path, _forms(fields, None if entry is None else entry.num_rows))
    check_version(path, layout, "shard")
    if entry is not None:
        _check_attributes(path, layout, {"rows": entry.num_rows, "digest": entry.digest})
    rows = layout.attributes.get("rows")
    if layout.places["checksum"].shape != (rows,):
        raise FormatError(f"{path}: attribute rows is {rows}, its arrays have {layout.places['checksum'].shape[0]}")
    return layout


def _check_attributes(path: str, layout: Layout, expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        found = layout.attributes.get(name)
        if found != value:
            raise DamagedError(f"{path}: attribute {name} is {found!r}, expected is {value!r}: this is another shard")
