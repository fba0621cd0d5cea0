"""Reads a shard by row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kseq.errors import DamagedError, FormatError, ImageError, KseqError, ReadError
from kseq.platforms.maps import will_need
from kseq.storage.box_counts import SHARD_FACTS, fact_attribute
from kseq.storage.checksums import (
    CHECKSUM_DTYPE,
    DIGEST_BYTES,
    arrays_digest,
    checksum,
    format_checksum,
    images_checksum,
    is_digest,
    row_checksum,
)
from kseq.storage.field_kinds.base import RowArray
from kseq.storage.fields import Field
from kseq.storage.file_arrays import FileArrays
from kseq.storage.hdf5_reader import FileHeader, read_header
from kseq.storage.layout import SHARD_KIND
from kseq.storage.notes import Notes
from kseq.storage.opener import DatasetFile, Opener, opener_for
from kseq.storage.pread_array import ByteSource, PreadArray
from kseq.storage.rejected import Rejected, read_rejected
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_schema import shard_schema
from kseq.storage.strings import read_piece, read_string

__all__ = ["ShardReader"]

# The arrays of an encoded or ragged field that hold a few bytes for each row.
_SMALL_ARRAYS = ("offsets", "size", "orientation", "tiles", "tile_offsets", "values")


class ShardReader:
    """Reads one shard by row, from any thread.

    The index says where each array lies, so that opening a shard is to compare its size and its digest, and to map it. Only
    where there is no index yet, the file itself is parsed.

    Args:
        path: The shard.
        fields: What each of its rows holds, from the index.
        entry: What the index says of it; None while there is no index.
        opener: Opens the file; None for what `opener_for` chooses.
        first_id: The sample id of its first row, for messages; None where there are no sample ids.

    Attributes:
        path: The shard.
        num_rows: How many samples it holds.

    Raises:
        DatasetNotFoundError: If there is no such file.
        DamagedError: If it is truncated, or not the shard that the index says.
        FormatError: If it holds something that the format does not allow.
        ReadError: If the operating system refuses to open, read or map it.
    """

    def __init__(
        self,
        path: str,
        fields: Sequence[Field],
        entry: ShardEntry | None = None,
        opener: Opener | None = None,
        first_id: int | None = None,
    ) -> None:
        self.path = path
        self._first_id = first_id
        self._fields = fields
        self._handlers = {field.name: field.handler for field in fields}
        self._row_arrays = [array for handler in self._handlers.values() for array in handler.row_arrays]
        self._opener = opener or opener_for(path)
        self._origin: Mapping[str, int | str] = {}
        with self._opener.open(path) as file:
            if entry is None:
                header = read_header(file, SHARD_KIND, shard_schema(fields, None))
                self._origin, entry = header.attributes, _entry_of(path, header)
            _check_digest(file, entry)
            self._file = FileArrays(file, entry.num_bytes, entry.arrays)
        self._entry = entry
        self.num_rows = entry.num_rows
        self._has_asked_for_small_arrays = False

    def entry(self, number: int) -> ShardEntry:
        """What an index should say of this shard."""
        lengths = {field.name: self._lengths(field.name).astype("<u4") for field in self._fields if field.is_ragged}
        return replace(self._entry, number=number, lengths=lengths)

    def box_facts(self) -> dict[str, int]:
        """What packing counted of the boxes of a shard that was opened without an index, see `kseq.storage.box_counts`."""
        counts = {name: self._origin.get(fact_attribute(name)) for name in SHARD_FACTS}
        return {name: count for name, count in counts.items() if isinstance(count, int) and count > 0}

    def _lengths(self, name: str) -> np.ndarray:
        """`(rows,)` uint64: how many elements each row has of a field whose samples differ in it.

        Raises:
            DamagedError: If the offsets of the field do not rise to the end of its values.
        """
        offsets, values = np.asarray(self.array(f"{name}/offsets")), self.array(f"{name}/values")
        if (offsets[1:] < offsets[:-1]).any() or int(offsets[-1]) > len(values):
            raise DamagedError(f"{self.path}: {name}/offsets do not rise to at most {len(values)}: bytes have changed")
        lengths: np.ndarray = np.diff(offsets)
        return lengths

    def check_origin(self, dataset_id: str, number: int) -> None:
        """Raise DamagedError unless the shard, opened without an index, was made as number `number` of a packing."""
        _check_attributes(self.path, self._origin, {"dataset_id": dataset_id, "shard": number})

    def notes(self) -> Notes:
        """The notes of a shard that was opened without an index."""
        return Notes.from_attribute(self._origin.get("notes", "[]"))

    def check_structure(self) -> None:
        """Parse the file, and raise unless it is, as HDF5, what the index says of it.

        Raises:
            DamagedError: If it is not an HDF5 file, or its arrays lie elsewhere.
            FormatError: If it holds something that the format does not allow.
        """
        with self._opener.open(self.path) as file:
            found = _entry_of(self.path, read_header(file, SHARD_KIND, shard_schema(self._fields, self.num_rows)))
        for name, location in self._entry.arrays.items():
            if found.arrays[name] != location:
                raise DamagedError(f"{self.path}: {name!r} lies at {found.arrays[name]}, expected is {location}")
        if replace(found, number=self._entry.number) != self._entry:
            raise DamagedError(
                f"{self.path}: says that it has {found.num_rows} rows and the digest {found.digest}, expected are "
                f"{self.num_rows} and {self._entry.digest}"
            )

    def _check_lengths(self) -> None:
        """Raise DamagedError unless rows have as many elements as the index says."""
        for name, expected in self._entry.lengths.items():
            lengths = self._lengths(name)
            if not np.array_equal(lengths, expected):
                row = int(np.flatnonzero(lengths != expected)[0])
                raise DamagedError(
                    f"{self.path}: row {row} has {lengths[row]} elements of {name}, expected by the index are {expected[row]}"
                )

    def array(self, name: str) -> Any:
        """`(rows, ...)`: all rows of a field that is not encoded, or of `name/size` and `name/orientation`.

        A view of the mapped file, or a `PreadArray`, which is read when it is indexed.
        """
        return self._file.arrays[name]

    def loaded(self, name: str) -> np.ndarray:
        """The same, as numpy's array: a view of the mapped file, or read as a whole."""
        return np.asarray(self.array(name))

    def stored(self, name: str, row: int) -> np.ndarray:
        """`(n,)` uint8: the stored bytes of an encoded field, as a view of the file."""
        return read_string(self._file, name, row)

    def ragged(self, name: str, row: int) -> np.ndarray:
        """`(count, ...)`: a row of a field whose samples differ in length, as a view of the file."""
        return self.piece(f"{name}/values", f"{name}/offsets", row)

    def decode(self, name: str, row: int, color_mode: str | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """`(height, width, channels)` uint8: the pixels of an encoded field, upright, written to `out` if that is given.

        Args:
            name: Of the field.
            row: In the shard.
            color_mode: Of an image; None for the field's own. Masks have none.
            out: Of the shape of the pixels.

        Raises:
            ImageError: If its bytes are broken, naming the row and its source.
            ReadError: If the operating system refuses to read them.
            DamagedError: If they do not lie in the file.
        """
        try:
            orientation = int(self.array(f"{name}/orientation")[row])
            height, width = self.array(f"{name}/size")[row].tolist()
            return self._handlers[name].decode(self.stored(name, row), orientation, (height, width), color_mode, out)
        except (ImageError, ReadError, DamagedError) as error:
            raise self.at(row, error) from error

    def piece(self, flat: str, offsets: str, row: int) -> np.ndarray:
        """`(n, ...)`: the elements of a row, as a view of the file; see `kseq.storage.strings.read_piece`.

        Raises:
            DamagedError: If the offsets of the row do not lie in that array.
        """
        return read_piece(self._file, flat, offsets, row)

    def at(self, row: int, error: KseqError) -> KseqError:
        """The same error, with the shard, the row, its sample id and its source in the text."""
        reason = str(error).removeprefix(f"{self.path}: ")
        return type(error)(f"{self.place(row)}: {reason}")

    def place(self, row: int) -> str:
        """A row as messages name it: by the shard, its number, its sample id and its source."""
        sample = "" if self._first_id is None else f", sample {self._first_id + row}"
        try:
            source = f" ({os.fsdecode(self.source(row))!r})"
        except (ReadError, DamagedError):
            # What is wrong with the file may concern the name too.
            source = ""
        return f"{self.path}: row {row}{sample}{source}"

    def take(self, name: str, rows: np.ndarray, out: np.ndarray, positions: np.ndarray) -> None:
        """Copy rows of an array.

        Args:
            name: The name of the array.
            rows: `(n,)` whole numbers.
            out: `(m, ...)` of the array's dtype, C-contiguous.
            positions: `(n,)` int64: to which row of `out` each goes.

        Raises:
            ReadError: If the operating system refuses to read a row, naming the row and its source.
            DamagedError: If the file has become shorter.
        """
        array = self.array(name)
        if not isinstance(array, PreadArray):
            out[positions] = array[rows]
            return
        try:
            array.read_rows(rows, out, positions)
        except (ReadError, DamagedError):
            # One call may have read many rows: find the one that is to blame.
            for number, row in enumerate(rows.tolist()):
                try:
                    array.read_rows(rows[number : number + 1], out, positions[number : number + 1])
                except (ReadError, DamagedError) as error:
                    raise self.at(row, error) from error

    def unread(self, rows: np.ndarray, arrays: Sequence[RowArray] | None = None) -> list[tuple[ByteSource, int, int]]:
        """Where bytes of rows lie that are read when they are used: the file, and the first byte and the last; none of a map.

        Args:
            rows: `(n,)` int64.
            arrays: Of which arrays; None for all that hold the stored bytes of fields.
        """
        ranges: list[tuple[ByteSource, int, int]] = []
        for name, offsets in self._row_arrays if arrays is None else arrays:
            array = self._file.arrays.get(name)
            if isinstance(array, PreadArray) and not array.is_kept and len(array):
                size = array.nbytes // len(array)
                edges = np.arange(self.num_rows + 1) if offsets is None else self.array(offsets)
                starts, ends = (np.minimum(edges[at].astype(np.int64), len(array)) * size for at in (rows, rows + 1))
                ranges += [(array.file, start, end) for start, end in array.ranges(starts, ends)]
        return ranges

    def will_need(self, rows: np.ndarray) -> None:
        """Ask the operating system to read the stored bytes of rows, `(n,)` int64 and rising, soon."""
        if not self._has_asked_for_small_arrays:
            self._has_asked_for_small_arrays = True
            for name in (name for name in self._file.arrays if name.partition("/")[2] in _SMALL_ARRAYS):
                _ask_ahead(self.array(name), np.zeros(1, np.int64), np.array([self.array(name).nbytes]))
        for field in self._fields:
            name, offsets = field.handler.row_arrays[0]
            if offsets is None:
                row_bytes = self.array(name).nbytes // self.num_rows
                _ask_ahead(self.array(name), rows * row_bytes, (rows + 1) * row_bytes)
            elif field.encoded:
                ends = self.array(offsets)
                _ask_ahead(self.array(name), ends[rows].astype(np.int64), ends[rows + 1].astype(np.int64))

    def image_checksums(self) -> np.ndarray:
        """`(rows,)` uint64: the checksum of the images of each sample, of which every byte is read."""
        names = [field.name for field in self._fields if field.is_image]
        arrays = {field.name: None if field.encoded else self.array(field.name) for field in self._fields if field.is_image}
        rows = range(self.num_rows)
        images = ([self._image_bytes(name, arrays[name], row) for name in names] for row in rows)
        return np.array([images_checksum(list(map(checksum, pieces))) for pieces in images], CHECKSUM_DTYPE)

    def _image_bytes(self, name: str, array: Any, row: int) -> np.ndarray:
        return self.stored(name, row) if array is None else np.ascontiguousarray(array[row])

    def source(self, row: int) -> bytes:
        """Where a sample came from."""
        return read_string(self._file, "source", row).tobytes()

    def rejected(self) -> list[Rejected]:
        """The files that were left out while this shard was made."""
        return read_rejected(self._file)

    def check_row(self, row: int) -> None:
        """Compare the stored bytes of a row with its checksum.

        Raises:
            DamagedError: If they differ, naming the row and its source.
            ReadError: If the operating system refuses to read them.
        """
        try:
            found, expected = self._checksum(row), int(self._file.arrays["checksum"][row])
        except (ReadError, DamagedError) as error:
            raise self.at(row, error) from error
        if found != expected:
            raise DamagedError(
                f"{self.place(row)} has checksum {format_checksum(found)}, "
                f"expected is {format_checksum(expected)}: its bytes have changed"
            )

    def _checksum(self, row: int) -> int:
        arrays = self._file.arrays
        pieces = [
            arrays[name][row] if offsets is None else self.piece(name, offsets, row) for name, offsets in self._row_arrays
        ]
        return row_checksum(pieces)

    def check_all(self) -> list[str]:
        """Read every byte: one line for everything that is not as it should be."""
        lines = []
        try:
            self.check_structure()
            self._check_lengths()
        except KseqError as error:
            lines.append(str(error))
        for row in range(self.num_rows):
            try:
                self.check_row(row)
            except (DamagedError, ReadError) as error:
                lines.append(str(error))
        try:
            if not lines:
                self.check_digest()
        except (DamagedError, ReadError) as error:
            lines.append(str(error))
        return lines

    def check_digest(self) -> None:
        """Read all arrays, and raise DamagedError unless they have the digest that the index says."""
        digest, expected = arrays_digest(self._file.arrays), self._entry.digest
        if digest != expected:
            raise DamagedError(
                f"{self.path}: the arrays have digest {digest}, expected is {expected}: bytes beside the samples' have changed"
            )


def _ask_ahead(array: Any, starts: np.ndarray, ends: np.ndarray) -> None:
    """Ask the operating system to read ranges of the bytes of an array soon."""
    if isinstance(array, PreadArray):
        array.will_need(starts, ends)
    else:
        will_need(array.reshape(-1).view(np.uint8), starts, ends)


def _entry_of(path: str, header: FileHeader) -> ShardEntry:
    """What an index should say of a shard that was parsed, under the number 0."""
    num_rows, shape = header.attributes.get("rows"), header.locations["checksum"].shape
    if shape != (num_rows,):
        raise FormatError(f"{path}: attribute rows is {num_rows}, its arrays have {shape[0]}")
    digest = header.attributes.get("digest")
    if not is_digest(digest):
        raise FormatError(f"{path}: attribute digest is {digest!r}, allowed are {2 * DIGEST_BYTES} hexadecimal digits")
    return ShardEntry(0, shape[0], header.num_bytes, digest, header.attribute_offsets["digest"], header.locations)


def _check_digest(file: DatasetFile, entry: ShardEntry) -> None:
    """Raise DamagedError unless a file is the shard that the index says: of its size, and with its digest where that lies."""
    if file.num_bytes != entry.num_bytes:
        raise DamagedError(f"{file.path}: has {file.num_bytes} bytes, expected are {entry.num_bytes}")
    digest = file.read(entry.digest_offset, entry.digest_offset + len(entry.digest))
    if digest != entry.digest.encode():
        raise DamagedError(
            f"{file.path}: has {digest.decode('ascii', 'backslashreplace')!r} at byte {entry.digest_offset}, expected is its "
            f"digest {entry.digest!r}: this is another shard"
        )


def _check_attributes(path: str, attributes: Mapping[str, int | str], expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        actual = attributes.get(name)
        if actual != value:
            raise DamagedError(f"{path}: attribute {name} is {actual!r}, expected is {value!r}: this is another shard")
