"""Reads samples by sample id: what training, exporting and `ShardDataset` stand on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np

from kseq.errors import DamagedError, KseqError
from kseq.images.crop_decoding import EncodedImages
from kseq.platforms.maps import touch
from kseq.reading.concatenated import ConcatenatedDatasets
from kseq.reading.shard_cache import ShardCache
from kseq.storage.field_kinds.base import RowArray
from kseq.storage.fields import Field
from kseq.storage.shard_reader import ShardReader

__all__ = ["LocatedSamples", "SampleReader"]

# Of a PNG: its format has 31 bits for a side.
_MOST_SIDE = (1 << 31) - 1


class SampleReader:
    """Reads samples of one or several datasets by sample id, from any thread.

    Args:
        collection: The datasets, one after the other.
        verify: When stored bytes are compared with their checksums: see `kseq.ShardDataset`.

    Attributes:
        collection: As passed.
        verify: As passed.
    """

    def __init__(self, collection: ConcatenatedDatasets, verify: str) -> None:
        self.collection = collection
        self.verify = verify
        # Which samples were compared with their checksums. Pages of it take memory only once samples of them are read, so a
        # billion samples cost nothing at the start.
        self._verified = np.zeros(collection.num_samples if verify == "first" else 0, bool)
        self._has_verified = False

    @property
    def num_flags(self) -> int:
        """How many flags `share_flags` needs: one for each sample id, or none unless `verify` is `"first"`."""
        return len(self._verified)

    def share_flags(self, flags: np.ndarray) -> None:
        """Keep in memory of the caller's, from now on, which samples were compared with their checksums.

        Processes that map the same memory compare each sample once among them, however often a process starts anew.

        Args:
            flags: `(num_flags,)` bool. What was compared so far is added to it.
        """
        if self._has_verified:
            # Not `|=`, which would write to all pages, and so take memory for samples that were never read.
            flags[np.flatnonzero(self._verified)] = True
        self._verified = flags

    @property
    def fields(self) -> dict[str, Field]:
        """What each sample holds, by name."""
        return self.collection.fields

    def locate(self, sample_ids: np.ndarray) -> LocatedSamples:
        """Look up where samples are stored, once for all that is then read of them.

        Args:
            sample_ids: `(n,)` int64, each in [0, number of samples), in any order.
        """
        return LocatedSamples(self, sample_ids, *self.collection.locate(sample_ids))

    def unverified(self, sample_ids: np.ndarray) -> np.ndarray:
        """`(m,)` int64: the positions in `sample_ids`, `(n,)` int64, of the samples whose bytes are to be compared now."""
        if self.verify == "first":
            return np.flatnonzero(~self._verified[sample_ids])
        return np.arange(len(sample_ids) if self.verify == "always" else 0)

    def note_verified(self, sample_ids: np.ndarray) -> None:
        """Remember that the bytes of samples, `(n,)` int64, were compared with their checksums."""
        if self.verify == "first":
            self._has_verified = True
            self._verified[sample_ids] = True


class LocatedSamples:
    """Some samples whose shards and rows were looked up. `SampleReader.locate` makes it.

    Iterating gives the `ShardReader` and the row of each sample, and opens a shard when its first sample comes; indexing by a
    position, in [0, n), gives those of one sample.

    Args:
        reader: Reads the samples.
        sample_ids: `(n,)` int64.
        shards: `(n,)` int64: the shard number of each sample.
        rows: `(n,)` int64: the row of each sample in its shard.

    Attributes:
        sample_ids: As passed.
    """

    def __init__(self, reader: SampleReader, sample_ids: np.ndarray, shards: np.ndarray, rows: np.ndarray) -> None:
        self.sample_ids = sample_ids
        self._reader = reader
        self._cache: ShardCache = reader.collection.shards
        self._shards = shards
        self._rows = rows

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __iter__(self) -> Iterator[tuple[ShardReader, int]]:
        return self._iterate(self._shards, self._rows)

    def __getitem__(self, position: int) -> tuple[ShardReader, int]:
        # Who keeps readers of many samples keeps all their shards open, however many may be.
        return self._cache.get(int(self._shards[position])), int(self._rows[position])

    def part(self, first: int, last: int) -> LocatedSamples:
        """The samples at the positions from `first` up to `last`."""
        rows = slice(first, last)
        return LocatedSamples(self._reader, self.sample_ids[rows], self._shards[rows], self._rows[rows])

    def prepare(self, arrays: Sequence[RowArray] | None = None) -> None:
        """Bring what lies under a URL, many shards and samples at once; nothing for files of this machine.

        Args:
            arrays: What is read next; None for all that is stored of the samples.

        Raises:
            KseqError: As reading does.
        """
        self._cache.prepare(self._shards, self._rows, arrays)

    def check(self) -> None:
        """Compare stored bytes with their checksums, as far as `verify` asks for it.

        Raises:
            DamagedError: If the bytes of a sample differ; it names the first such sample.
        """
        self.prepare()
        positions = self._reader.unverified(self.sample_ids)
        if positions.size and self._cache.was_checked.size and self._reader.verify == "first":
            # Their bytes were compared with the digests of their shards when these were fetched.
            positions = positions[~self._cache.was_checked[self._shards[positions]]]
        if positions.size:
            for reader, row in self._iterate(self._shards[positions], self._rows[positions]):
                reader.check_row(row)
            self._reader.note_verified(self.sample_ids[positions])

    def wait_for_pages(self, field: str) -> None:
        """Wait until the stored bytes of a field of the samples are in memory, if their files are mapped.

        What is wrong with them is left to be found by who reads them.
        """
        is_encoded = self._reader.fields[field].encoded
        for reader, row in self:
            array = reader.array(f"{field}/bytes" if is_encoded else field)
            if not isinstance(array, np.ndarray):
                return
            with suppress(KseqError):
                touch(reader.stored(field, row) if is_encoded else array[row])

    def gather(self, field: str, out: np.ndarray) -> None:
        """Copy a field whose samples have one shape into `out`, in a single call that holds no GIL.

        Args:
            field: The name of a field that is not encoded (or, of an encoded field, `name/size`).
            out: `(n, ...)` of the field's dtype and shape, C-contiguous.
        """
        if self._cache.is_remote:
            self.prepare([RowArray(field, None)])
        self._cache.take(field, self._shards, self._rows, out)

    def values(self, field: str) -> np.ndarray:
        """`(n, ...)`: a field that is not encoded and whose samples have one shape, in a new array."""
        form = self._reader.fields[field]
        values: np.ndarray = np.empty((len(self), *(length or 0 for length in form.shape)), form.dtype)
        self.gather(field, values)
        return values

    def sizes(self, field: str) -> np.ndarray:
        """`(n, 2)` int64: height and width of images or masks, upright, in pixels."""
        form = self._reader.fields[field]
        if not form.encoded:
            return np.tile(np.array(form.shape[:2], np.int64), (len(self), 1))
        sizes = np.empty((len(self), 2), "<u4")
        self.gather(f"{field}/size", sizes)
        self._check_sizes(form, sizes)
        return sizes.astype(np.int64)

    def check_labels(self, labels: np.ndarray) -> None:
        """Raise DamagedError unless the labels of the samples, `(n,)`, are numbers of classes."""
        count = len(self._reader.collection.class_names)
        for position in np.flatnonzero((labels < 0) | (labels >= count))[:1].tolist():
            error = DamagedError(f"has the label {labels[position]}, allowed are [0, {count})")
            raise self.error_at(position, error)

    def _check_sizes(self, field: Field, sizes: np.ndarray) -> None:
        """Raise DamagedError unless sizes of encoded images or masks, `(n, 2)`, are possible, and those of the field."""
        is_wrong = ((sizes < 1) | (sizes > _MOST_SIDE)).any(axis=1)
        for column, length in enumerate(field.shape[:2]):
            if length is not None:
                is_wrong |= sizes[:, column] != length
        for position in np.flatnonzero(is_wrong).tolist():
            expected = " x ".join("any" if length is None else str(length) for length in field.shape[:2])
            height, width = sizes[position].tolist()
            error = DamagedError(f"has {height} x {width} pixels in {field.name}, allowed are {expected}, at least 1")
            raise self.error_at(position, error)

    def counts(self, field: str) -> np.ndarray:
        """`(n,)` int64: how many elements each sample has of a field whose samples differ in length; no shard is opened."""
        return self._cache.counts(field, self._shards, self._rows)

    def pieces(self, field: str) -> list[np.ndarray]:
        """A field whose samples differ in length: for each sample `(count, ...)`, a view of the file.

        Raises:
            DamagedError: If offsets are broken.
        """
        flat, offsets = f"{field}/values", f"{field}/offsets"
        self.prepare([RowArray(flat, offsets)])
        return self._cache.pieces(flat, offsets, self._shards, self._rows)

    def encoded_images(self, field: str) -> EncodedImages:
        """An encoded field: images or masks as they are stored, without a copy of their bytes.

        Raises:
            DamagedError: If offsets are broken.
        """
        cache, shards, rows = self._cache, self._shards, self._rows
        self.prepare(self._reader.fields[field].handler.row_arrays)
        sizes, orientations = np.empty((len(self), 2), "<u4"), np.empty(len(self), np.uint8)
        cache.take(f"{field}/size", shards, rows, sizes)
        self._check_sizes(self._reader.fields[field], sizes)
        cache.take(f"{field}/orientation", shards, rows, orientations)
        data = cache.pieces(f"{field}/bytes", f"{field}/offsets", shards, rows)
        tiles = cache.pieces(f"{field}/tiles", f"{field}/tile_offsets", shards, rows)
        return EncodedImages(data, sizes.astype(np.int64), orientations, tiles)

    def sources(self) -> list[bytes]:
        """Where each sample came from."""
        self.prepare([RowArray("source/bytes", "source/offsets")])
        return [piece.tobytes() for piece in self._cache.pieces("source/bytes", "source/offsets", self._shards, self._rows)]

    def error_at(self, position: int, error: KseqError) -> KseqError:
        """The same error, with the shard, the row, the id and the source of the sample at a position, in [0, n)."""
        reader, row = self[position]
        return reader.at(row, error)

    def place_at(self, position: int) -> str:
        """The sample at a position, in [0, n), as messages name it: by its shard, row, sample id and source."""
        reader, row = self[position]
        return reader.place(row)

    def where(self, position: int) -> str:
        """The same without its source: no file is opened or read for it."""
        shard, row = int(self._shards[position]), int(self._rows[position])
        return f"{self._cache.path(shard)}: row {row}, sample {int(self.sample_ids[position])}"

    def shard_paths(self) -> list[str]:
        """The shards that the samples are in; no file is opened for it."""
        return [self._cache.path(shard) for shard in sorted(set(self._shards.tolist()))]

    def will_need(self) -> None:
        """Ask the operating system to read the samples from the disk soon, without waiting for it."""
        order = np.argsort(self.sample_ids)
        shards, rows = self._shards[order], self._rows[order]
        starts = (np.flatnonzero(shards[1:] != shards[:-1]) + 1).tolist()
        for shard, shard_rows in zip(shards[[0, *starts]].tolist(), np.split(rows, starts), strict=True):
            self._cache.get(shard).will_need(shard_rows)

    def _iterate(self, shards: np.ndarray, rows: np.ndarray) -> Iterator[tuple[ShardReader, int]]:
        cache = self._cache
        return ((cache.get(shard), row) for shard, row in zip(shards.tolist(), rows.tolist(), strict=True))
