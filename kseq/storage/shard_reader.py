"""Reads a shard by row: arrays as views of the mapped file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xxhash

from kseq.errors import DamagedError, FormatError, ImageError, KseqError
from kseq.storage.checksums import arrays_digest
from kseq.storage.fields import Field
from kseq.storage.hdf5 import FileHeader, MappedFile, read_file_header
from kseq.storage.layout import ShardEntry, check_version
from kseq.storage.mmap import map_file, will_need
from kseq.storage.rejected import Rejected, read_rejected
from kseq.storage.shard_schema import shard_schema
from kseq.storage.strings import read_piece, read_string

__all__ = ["ShardReader"]

# Of the arrays of an encoded or ragged field, those with a few bytes for each row.
_LOOKED_UP = ("offsets", "size", "orientation", "tiles", "tile_offsets", "values")


class ShardReader:
    """Reads one shard by row, from any thread, without h5py once it is open.

    Args:
        path: The shard.
        fields: What each of its rows holds, from the index.
        entry: What the index says of it; None while there is no index.
        layout: The layout of this very file from an earlier opening, to leave h5py out.
        mapped: See `kseq.storage.hdf5.MappedFile`.

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
        layout: FileHeader | None = None,
        mapped: Callable[[int, int], np.ndarray] = map_file,
    ) -> None:
        self.path = path
        self._fields = fields
        self._handlers = {field.name: field.handler for field in fields}
        self._row_arrays = [array for handler in self._handlers.values() for array in handler.row_arrays]
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

    def decode(self, name: str, row: int, color_mode: str | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """`(height, width, channels)` uint8 pixels of an encoded field, upright; decoded into `out` if given.

        Args:
            name: Of the field.
            row: In the shard.
            color_mode: Of an image; None for the field's own. Masks have none.
            out: Of the shape of the pixels.

        Raises:
            ImageError: Where its bytes are broken, naming the row and its source.
        """
        try:
            orientation = int(self.array(f"{name}/orientation")[row])
            return self._handlers[name].decode(self.stored(name, row), orientation, color_mode, out)
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
        for field in self._fields:
            array, offsets = field.handler.row_arrays[0]
            if offsets is None:
                flat = self.array(array).reshape(-1).view(np.uint8)
                row_bytes = flat.size // self.num_rows
                will_need(flat, rows * row_bytes, (rows + 1) * row_bytes)
            elif field.encoded:
                ends = self.array(offsets)
                will_need(self.array(array), ends[rows].astype(np.int64), ends[rows + 1].astype(np.int64))

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
        for array, offsets in self._row_arrays:
            checksum.update(self.array(array)[row] if offsets is None else self.piece(array, offsets, row))
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


def _checked_layout(path: str, fields: Sequence[Field], entry: ShardEntry | None) -> FileHeader:
    if entry is not None and os.path.exists(path) and os.path.getsize(path) != entry.num_bytes:
        raise DamagedError(f"{path}: has {os.path.getsize(path)} bytes, expected are {entry.num_bytes}")
    layout = read_file_header(path, shard_schema(fields, None if entry is None else entry.num_rows))
    check_version(path, layout.attributes, "shard")
    if entry is not None:
        _check_attributes(path, layout, {"rows": entry.num_rows, "digest": entry.digest})
    rows = layout.attributes.get("rows")
    if layout.places["checksum"].shape != (rows,):
        raise FormatError(f"{path}: attribute rows is {rows}, its arrays have {layout.places['checksum'].shape[0]}")
    return layout


def _check_attributes(path: str, layout: FileHeader, expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        found = layout.attributes.get(name)
        if found != value:
            raise DamagedError(f"{path}: attribute {name} is {found!r}, expected is {value!r}: this is another shard")
