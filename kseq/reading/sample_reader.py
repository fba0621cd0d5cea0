"""Samples by sample id, their position in all that a collection holds: what serves the loader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kseq.errors import ClosedError, KseqError
from kseq.images.crop_decoding import EncodedImages
from kseq.reading.concatenated import ConcatenatedDatasets
from kseq.reading.shard_cache import ShardCache
from kseq.storage.fields import Field
from kseq.storage.shard_reader import ShardReader

__all__ = ["SampleReader"]


class SampleReader:
    """Reads samples by sample id, until it is closed.

    Attributes:
        path: The dataset's folder.
        verify: When stored bytes are compared with their checksums: see `kseq.ShardDataset`.
    """

    path: str
    verify: str
    _collection: ConcatenatedDatasets | None

    @property
    def _opened(self) -> ConcatenatedDatasets:
        if self._collection is None:
            raise ClosedError(f"{self.path}: the dataset was closed")
        return self._collection

    @property
    def _shards(self) -> ShardCache:
        return self._opened.shards

    @property
    def classes(self) -> tuple[str, ...]:
        """The class name of each label number."""
        return self._opened.classes

    @property
    def fields(self) -> dict[str, Field]:
        """What each sample holds, by name."""
        return dict(self._opened.fields)

    @property
    def collection(self) -> ConcatenatedDatasets:
        """What lies in the files, of which these samples are a part; for tools."""
        return self._opened

    def check(self, sample_ids: np.ndarray) -> None:
        """Compare the stored bytes of samples with their checksums, if `verify` says that it is time.

        Raises:
            DamagedError: At the first that differs.
        """
        if self.verify == "never":
            return
        verified = self._opened.verified
        if self.verify == "first":
            sample_ids = sample_ids[~verified[sample_ids]]
        for reader, row in self.places(sample_ids):
            reader.check_row(row)
        if self.verify == "first":
            verified[sample_ids] = True

    def gather(self, field: str, sample_ids: np.ndarray, out: np.ndarray) -> None:
        """Copy a field that is not encoded into `out`, one row per sample id, in a single call that holds no GIL.

        Args:
            field: Its name (or, of an encoded field, `name/size`).
            sample_ids: `(n,)` int64 that exist.
            out: `(n, ...)` of the field's dtype and shape, C-contiguous.
        """
        self._shards.take(field, *self._locate(sample_ids), out)

    def sizes(self, field: str, sample_ids: np.ndarray) -> np.ndarray:
        """`(n, 2)` int64: height and width of images or masks, upright."""
        form = self.fields[field]
        if not form.encoded:
            return np.tile(np.array(form.shape[:2], np.int64), (len(sample_ids), 1))
        found = np.empty((len(sample_ids), 2), "<u4")
        self.gather(f"{field}/size", sample_ids, found)
        return found.astype(np.int64)

    def counts(self, field: str, sample_ids: np.ndarray) -> np.ndarray:
        """`(n,)` int64: how many elements each sample has of a field whose samples differ in length."""
        places, edges = self._locate(sample_ids), np.empty((2, len(sample_ids)), "<u8")
        for more, edge in enumerate(edges):
            self._shards.take(f"{field}/offsets", places[0], places[1] + more, edge)
        # Of broken offsets: what reading them will complain of, not a length to make room for.
        return np.maximum(np.diff(edges.astype(np.int64), axis=0)[0], 0)

    def ragged(self, field: str, sample_ids: np.ndarray) -> list[np.ndarray]:
        """A field whose samples differ in length: for each sample `(count, ...)`, a view of the file.

        Raises:
            DamagedError: Where offsets are broken.
        """
        return self._shards.pieces(f"{field}/values", f"{field}/offsets", *self._locate(sample_ids))

    def stored(self, field: str, sample_ids: np.ndarray) -> EncodedImages:
        """Encoded images as they are stored, without a copy of their bytes.

        Args:
            field: The name of an encoded field.
            sample_ids: `(n,)` int64 that exist.

        Raises:
            DamagedError: Where offsets are broken.
        """
        places, shards = self._locate(sample_ids), self._shards
        sizes, orientations = np.empty((len(sample_ids), 2), "<u4"), np.empty(len(sample_ids), np.uint8)
        shards.take(f"{field}/size", *places, sizes)
        shards.take(f"{field}/orientation", *places, orientations)
        data = shards.pieces(f"{field}/bytes", f"{field}/offsets", *places)
        tiles = shards.pieces(f"{field}/tiles", f"{field}/tile_offsets", *places)
        return EncodedImages(data, sizes.astype(np.int64), orientations, tiles)

    def at(self, sample_id: int, error: KseqError) -> KseqError:
        """The same error, with the place and the source of the sample that it is about."""
        ((reader, row),) = self.places(np.array([sample_id]))
        return reader.at(row, error)

    def will_need(self, sample_ids: np.ndarray) -> None:
        """Ask the operating system to read samples from the disk soon, without waiting for it.

        Args:
            sample_ids: `(n,)` int64 that exist.
        """
        numbers, rows = self._locate(np.sort(sample_ids))
        breaks = np.flatnonzero(np.diff(numbers)) + 1
        shards = self._shards
        for number, chosen in zip(numbers[[0, *breaks]].tolist(), np.split(rows, breaks), strict=True):
            shards.get(number).will_need(chosen)

    def places(self, sample_ids: np.ndarray) -> Iterator[tuple[ShardReader, int]]:
        """For each sample id, when its turn comes, the shard that holds it and its row there."""
        numbers, rows = self._locate(sample_ids)
        shards = self._shards
        return ((shards.get(number), row) for number, row in zip(numbers.tolist(), rows.tolist(), strict=True))

    def _locate(self, sample_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._opened.locate(sample_ids)
