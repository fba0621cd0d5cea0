"""Writes a shard: an HDF5 file of samples, in memory that does not grow with their bytes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import numpy as np

from kseq.images.jpeg_tiles import find_tiles
from kseq.platforms.files import start_writing
from kseq.storage.atomic import publishing
from kseq.storage.box_counts import SHARD_FACTS, fact_attribute
from kseq.storage.checksums import (
    CHECKSUM_DTYPE,
    Digest,
    checksum,
    digest_of_hashes,
    hash_array,
    images_checksum,
    row_checksums,
)
from kseq.storage.fields import Field
from kseq.storage.hdf5_writer import SpooledArray, first_offset, write_file
from kseq.storage.layout import SHARD_KIND, format_attributes
from kseq.storage.notes import Notes
from kseq.storage.rejected import Rejected, pack_rejected
from kseq.storage.shard_schema import has_offsets, row_type, spool_name
from kseq.storage.strings import pack_strings

__all__ = ["EncodedImage", "ShardWriter"]

# The disk begins to write while images are still being decoded: measured, raw photos are packed a fifth faster.
_WRITTEN_AT_ONCE = 4 << 20


@dataclass(frozen=True)
class EncodedImage:
    """One encoded image as it is stored.

    Attributes:
        data: Its bytes, JPEG or PNG.
        height: Of the upright image, in pixels.
        width: Of the upright image, in pixels.
        orientation: EXIF's, 1 to 8.
    """

    data: bytes
    height: int
    width: int
    orientation: int = 1

    @functools.cached_property
    def tiles(self) -> np.ndarray:
        """What `kseq.images.jpeg_tiles.find_tiles` returns for the bytes; `(0,)` for an image that is not stored upright."""
        return find_tiles(self.data if self.orientation == 1 else b"")


class _Spool:
    """Collects the elements of one array, whose length is not known yet, in a file of their own.

    Args:
        path: The file.
        start: The offset of the first element in the file.
    """

    def __init__(self, path: str, start: int) -> None:
        self.path = path
        self.start = self._end = self._asked_to_write = start
        self._file = open(path, "wb")  # noqa: SIM115  # closed by ShardWriter
        self._file.seek(start)
        self._digest = Digest()

    def append(self, data: bytes | np.ndarray) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._end += data.nbytes if isinstance(data, np.ndarray) else len(data)
        if self._end - self._asked_to_write >= _WRITTEN_AT_ONCE:
            start_writing(self._file.fileno(), self._asked_to_write, self._end)
            self._asked_to_write = self._end

    def close(self) -> bytes:
        """Close the file; returns the digest of the elements."""
        self._file.close()
        return self._digest.digest()


@dataclass
class _Rows:
    """What a writer keeps in memory of the rows of an encoded or ragged field: a few numbers for each."""

    lengths: list[int] = dataclass_field(default_factory=list)
    sizes: list[tuple[int, int]] = dataclass_field(default_factory=list)
    orientations: list[int] = dataclass_field(default_factory=list)
    tiles: list[np.ndarray] = dataclass_field(default_factory=list)

    def add(self, data: bytes | np.ndarray, value: EncodedImage | np.ndarray) -> None:
        """Note a row whose main array gets `data`."""
        self.lengths.append(len(data))
        if isinstance(value, EncodedImage):
            self.sizes.append((value.height, value.width))
            self.orientations.append(value.orientation)
            self.tiles.append(value.tiles)


class ShardWriter:
    """Writes one shard, sample after sample, in memory that does not grow with their bytes.

    Args:
        path: The file to write. Until `finish`, the samples are in other files, whose names begin with its name.
        fields: What each sample holds.
        dataset_id: The dataset that the shard belongs to.
        number: The number in its file name.
    """

    def __init__(self, path: str, fields: Sequence[Field], dataset_id: str, number: int) -> None:
        self._path = path
        self._fields = fields
        self._attributes: dict[str, int | str] = {
            **format_attributes(SHARD_KIND),
            "dataset_id": dataset_id,
            "shard": number,
            "rows": 0,
            "digest": digest_of_hashes({}),
            "notes": Notes().as_attribute(),
        }
        has_positions = any(field.handler.has_positions for field in fields)
        self._box_facts = dict.fromkeys(SHARD_FACTS if has_positions else (), 0)
        self._attributes |= self._fact_attributes()
        # The elements of the first field, usually images, are written at their final offset; the other fields are small.
        starts = [first_offset(self._attributes, spool_name(fields[0]), *row_type(fields[0])), *[0] * (len(fields) - 1)]
        self._spools = {field.name: _Spool(f"{path}.{field.name}", start) for field, start in zip(fields, starts, strict=True)}
        self._rows = {field.name: _Rows() for field in fields if has_offsets(field)}
        self._checksums: list[int] = []
        self._image_checksums: list[int] = []
        self._sources: list[bytes] = []
        self._rejected: list[Rejected] = []
        self._notes = Notes()

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
        """Close all files, even if closing one fails: on a full disk, what they still hold cannot be written."""
        with ExitStack() as stack:
            for spool in self._spools.values():
                stack.callback(spool.close)

    def _fact_attributes(self) -> dict[str, int | str]:
        return {fact_attribute(name): count for name, count in self._box_facts.items()}

    def add(
        self, source: bytes, sample: Mapping[str, EncodedImage | np.ndarray], box_facts: Mapping[str, int] | None = None
    ) -> None:
        """Append one sample.

        Args:
            source: Where it came from.
            sample: Field name to an `EncodedImage` for an encoded field, and to an array of the field's shape for any other.
            box_facts: How many boxes of the sample were left out or are remarkable, by the names of `SHARD_FACTS`.
        """
        for name, count in (box_facts or {}).items():
            self._box_facts[name] += count
        pieces: list[bytes | np.ndarray] = []
        more_images: list[bytes | np.ndarray] = []
        for field in self._fields:
            value, rows = sample[field.name], self._rows.get(field.name)
            if isinstance(value, EncodedImage):
                data: bytes | np.ndarray = value.data
                pieces += (data, value.tiles)
            else:
                data = np.ascontiguousarray(value, field.dtype)
                pieces.append(data)
            if field.is_image and field is not self._fields[0]:
                more_images.append(data)
            if rows is not None:
                rows.add(data, value)
            self._spools[field.name].append(data)
        image, row = row_checksums(pieces)
        self._checksums.append(row)
        self._image_checksums.append(images_checksum([image, *map(checksum, more_images)]))
        self._sources.append(source)

    @property
    def image_checksums(self) -> np.ndarray:
        """`(rows,)` uint64: the checksum of the images of each sample that was added, see `images_checksum`."""
        return np.array(self._image_checksums, CHECKSUM_DTYPE)

    def reject(self, path: bytes, reason: str) -> None:
        """Note a file that is left out."""
        self._rejected.append(Rejected(path, reason))

    def note(self, path: bytes, text: str) -> None:
        """Note what is worth knowing of a file that was added."""
        self._notes.add(path, text)

    def finish(self) -> None:
        """Write the HDF5 file from what was added."""
        arrays: dict[str, np.ndarray | SpooledArray] = {}
        hashes = {}
        for field in self._fields:
            spool = self._spools[field.name]
            array = self._spooled_array(field, spool)
            name = spool_name(field)
            arrays[name] = array
            hashes[name] = (array.dtype, array.shape, spool.close())
        small = self._small_arrays()
        hashes |= {name: (array.dtype.str, array.shape, hash_array(array)) for name, array in small.items()}
        attributes = (
            self._attributes | {"rows": len(self._sources), "digest": digest_of_hashes(hashes)} | self._fact_attributes()
        )
        attributes["notes"] = self._notes.as_attribute()
        write_file(
            self._path,
            attributes,
            arrays | small,
            {spool_name(field): field.handler.array_attributes for field in self._fields},
        )

    def _spooled_array(self, field: Field, spool: _Spool) -> SpooledArray:
        dtype, row_shape = row_type(field)
        length = sum(self._rows[field.name].lengths) if has_offsets(field) else len(self._sources)
        return SpooledArray(spool.path, dtype, (length, *row_shape), spool.start)

    def _small_arrays(self) -> dict[str, np.ndarray]:
        """The arrays with a few bytes for each row, which are made from what is kept in memory."""
        arrays: dict[str, np.ndarray] = {}
        for field in (field for field in self._fields if has_offsets(field)):
            name, rows = field.name, self._rows[field.name]
            arrays[f"{name}/offsets"] = _offsets(rows.lengths)
            if field.is_ragged:
                continue
            arrays[f"{name}/size"] = np.array(rows.sizes, "<u4").reshape(-1, 2)
            arrays[f"{name}/orientation"] = np.array(rows.orientations, np.uint8)
            arrays[f"{name}/tiles"] = np.concatenate([np.empty(0, "<u4"), *rows.tiles])
            arrays[f"{name}/tile_offsets"] = _offsets([tiles.size for tiles in rows.tiles])
        arrays["checksum"] = np.array(self._checksums, CHECKSUM_DTYPE)
        return arrays | pack_strings("source", self._sources) | pack_rejected(self._rejected)


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    """`(rows + 1,)` uint64: where each row begins, and the last ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype("<u8")
