"""Writes a shard: an HDF5 file of samples, in memory that does not grow with their bytes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import xxhash

from kseq.images.jpeg_tiles import find_tiles
from kseq.storage.atomic import publishing, start_writing
from kseq.storage.checksums import digest_of_hashes, hash_array
from kseq.storage.fields import Field
from kseq.storage.hdf5 import SpooledArray, first_offset, write_file
from kseq.storage.layout import FORMAT_VERSION
from kseq.storage.rejected import Rejected, pack_rejected
from kseq.storage.shard_schema import has_offsets, row_type, spool_name
from kseq.storage.strings import pack_strings

__all__ = ["EncodedImage", "ShardWriter"]

# The disk begins to write while images are still being decoded: measured, raw photos are packed a fifth faster.
_WRITTEN_AT_ONCE = 4 << 20


@dataclass(frozen=True)
class EncodedImage:
    """One encoded image as it is stored: its bytes, the size of the upright image, EXIF's orientation, its tiles."""

    data: bytes
    height: int
    width: int
    orientation: int = 1

    @functools.cached_property
    def tiles(self) -> np.ndarray:
        """What `kseq.images.jpeg_tiles.find_tiles` says of the bytes; only of images that are stored upright."""
        return find_tiles(self.data if self.orientation == 1 else b"")


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
        first = first_offset(self._attributes, spool_name(fields[0]), *row_type(fields[0]))
        self._streams = {each.name: _Stream(f"{path}.{each.name}", 0 if place else first) for place, each in enumerate(fields)}
        self._rows = {each.name: _Rows() for each in fields if has_offsets(each)}
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

    def add(self, source: bytes, sample: Mapping[str, EncodedImage | np.ndarray]) -> None:
        """Append one sample: an `EncodedImage` for each encoded field, an array of the field's shape else."""
        checksum = xxhash.xxh3_64()
        for each in self._fields:
            value = sample[each.name]
            if isinstance(value, EncodedImage):
                data: bytes | np.ndarray = value.data
                self._add_encoded(each.name, value)
            else:
                data = np.ascontiguousarray(value, each.dtype)
                if each.is_ragged:
                    self._rows[each.name].lengths.append(len(data))
            self._streams[each.name].append(data)
            checksum.update(data)
            if isinstance(value, EncodedImage):
                checksum.update(value.tiles)
        self._checksums.append(checksum.intdigest())
        self._sources.append(source)

    def _add_encoded(self, name: str, value: EncodedImage) -> None:
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
        arrays: dict[str, np.ndarray | SpooledArray] = {}
        hashes = {}
        for each in self._fields:
            stream = self._streams[each.name]
            spool = self._spool(each, stream)
            name = spool_name(each)
            arrays[name] = spool
            hashes[name] = (spool.dtype, spool.shape, stream.close())
        plain = self._plain_arrays()
        hashes |= {name: (array.dtype.str, array.shape, hash_array(array)) for name, array in plain.items()}
        attributes = self._attributes | {"rows": len(self._sources), "digest": digest_of_hashes(hashes)}
        write_file(self._path, attributes, arrays | plain)

    def _spool(self, each: Field, stream: _Stream) -> SpooledArray:
        dtype, row_shape = row_type(each)
        num_rows = sum(self._rows[each.name].lengths) if has_offsets(each) else len(self._sources)
        return SpooledArray(stream.path, dtype, (num_rows, *row_shape), stream.begin)

    def _plain_arrays(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for each in (each for each in self._fields if has_offsets(each)):
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
