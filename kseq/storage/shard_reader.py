"""Reads a shard by row: arrays as views of the mapped file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kseq.errors import DamagedError, FormatError, ImageError, KseqError
from kseq.platforms.maps import will_need
from kseq.storage.checksums import arrays_digest, format_checksum, row_checksum
from kseq.storage.fields import Field
from kseq.storage.hdf5_reader import FileHeader, MappedFile, read_header
from kseq.storage.layout import SHARD_KIND
from kseq.storage.opener import DatasetFile, Opener, opener_for
from kseq.storage.rejected import Rejected, read_rejected
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_schema import shard_schema
from kseq.storage.strings import read_piece, read_string

__all__ = ["ShardReader"]

# The arrays of an encoded or ragged field that hold a few bytes for each row.
_SMALL_ARRAYS = ("offsets", "size", "orientation", "tiles", "tile_offsets", "values")


class ShardReader:
    """Reads one shard by row, from any thread. Once it is open, it does not use h5py.

    Args:
        path: The shard.
        fields: What each of its rows holds, from the index.
        entry: What the index says of it; None while there is no index.
        header: The header of this file from an earlier opening, so that h5py need not parse it again.
        opener: Opens the file; None for what `opener_for` chooses.

    Attributes:
        path: The shard.
        header: The header of the file, for a later opening.
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
        header: FileHeader | None = None,
        opener: Opener | None = None,
    ) -> None:
        self.path = path
        self._fields = fields
        self._handlers = {field.name: field.handler for field in fields}
        self._row_arrays = [array for handler in self._handlers.values() for array in handler.row_arrays]
        with (opener or opener_for(path)).open(path) as file:
            self.header = _checked_header(file, fields, entry) if header is None else header
            self._file = MappedFile(file, self.header)
        self.num_rows = int(self.header.attributes["rows"])
        self._has_asked_for_small_arrays = False

    def entry(self, number: int) -> ShardEntry:
        """What an index should say of this shard."""
        return ShardEntry(number, self.num_rows, self.header.num_bytes, str(self.header.attributes["digest"]))

    def check_origin(self, dataset_id: str, number: int) -> None:
        """Raise DamagedError unless the shard was made as number `number` of the packing `dataset_id`."""
        _check_attributes(self.path, self.header, {"dataset_id": dataset_id, "shard": number})

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

    def decode(self, name: str, row: int, color_mode: str | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """`(height, width, channels)` uint8: the pixels of an encoded field, upright, written to `out` if that is given.

        Args:
            name: Of the field.
            row: In the shard.
            color_mode: Of an image; None for the field's own. Masks have none.
            out: Of the shape of the pixels.

        Raises:
            ImageError: If its bytes are broken, naming the row and its source.
        """
        try:
            orientation = int(self.array(f"{name}/orientation")[row])
            return self._handlers[name].decode(self.stored(name, row), orientation, color_mode, out)
        except ImageError as error:
            raise self.at(row, error) from error

    def piece(self, flat: str, offsets: str, row: int) -> np.ndarray:
        """`(n, ...)`: the elements of a row, as a view of the file; see `kseq.storage.strings.read_piece`.

        Raises:
            DamagedError: If the offsets of the row do not lie in that array.
        """
        return read_piece(self._file, flat, offsets, row)

    def at(self, row: int, error: KseqError) -> KseqError:
        """The same error, with the shard, the row and its source in the text."""
        return type(error)(f"{self.path}: row {row} ({os.fsdecode(self.source(row))!r}): {error}")

    def will_need(self, rows: np.ndarray) -> None:
        """Ask the operating system to read the stored bytes of rows, `(n,)` int64 and rising, soon."""
        if not self._has_asked_for_small_arrays:
            self._has_asked_for_small_arrays = True
            for name in (name for name in self._file.arrays if name.partition("/")[2] in _SMALL_ARRAYS):
                data = self._file.arrays[name].reshape(-1).view(np.uint8)
                will_need(data, np.zeros(1, np.int64), np.array([data.size]))
        for field in self._fields:
            name, offsets = field.handler.row_arrays[0]
            if offsets is None:
                data = self.array(name).reshape(-1).view(np.uint8)
                row_bytes = data.size // self.num_rows
                will_need(data, rows * row_bytes, (rows + 1) * row_bytes)
            elif field.encoded:
                ends = self.array(offsets)
                will_need(self.array(name), ends[rows].astype(np.int64), ends[rows + 1].astype(np.int64))

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
        """
        checksum, expected = self._checksum(row), int(self._file.arrays["checksum"][row])
        if checksum != expected:
            raise DamagedError(
                f"{self.path}: row {row} ({os.fsdecode(self.source(row))!r}) has checksum {format_checksum(checksum)}, "
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
        for row in range(self.num_rows):
            try:
                self.check_row(row)
            except DamagedError as error:
                lines.append(str(error))
        digest, expected = arrays_digest(self._file.arrays), self.header.attributes["digest"]
        if digest != expected and not lines:
            lines.append(
                f"{self.path}: the arrays have digest {digest}, expected is {expected}: bytes beside the samples' have changed"
            )
        return lines


def _checked_header(file: DatasetFile, fields: Sequence[Field], entry: ShardEntry | None) -> FileHeader:
    """The header of a shard, after checking that it is one, and the one that the index says."""
    if entry is not None and file.num_bytes != entry.num_bytes:
        raise DamagedError(f"{file.path}: has {file.num_bytes} bytes, expected are {entry.num_bytes}")
    header = read_header(file, SHARD_KIND, shard_schema(fields, None if entry is None else entry.num_rows))
    if entry is not None:
        _check_attributes(file.path, header, {"rows": entry.num_rows, "digest": entry.digest})
    num_rows, shape = header.attributes.get("rows"), header.locations["checksum"].shape
    if shape != (num_rows,):
        raise FormatError(f"{file.path}: attribute rows is {num_rows}, its arrays have {shape[0]}")
    return header


def _check_attributes(path: str, header: FileHeader, expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        actual = header.attributes.get(name)
        if actual != value:
            raise DamagedError(f"{path}: attribute {name} is {actual!r}, expected is {value!r}: this is another shard")
