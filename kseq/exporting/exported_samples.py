"""The samples that are exported, one after the other, with all their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kseq.images.codecs import encode_pixels
from kseq.images.crop_decoding import EncodedImages
from kseq.images.formats import PNG, stored_format
from kseq.images.number_files import ARRAY_SUFFIXES, encode_npy
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field
from kseq.storage.shard_reader import ShardReader

__all__ = ["ExportedSample", "ExportedSamples", "ImageFile"]

# So many samples are read at a time.
_SAMPLES_AT_ONCE = 256
# So many texts are looked at in one go.
_TEXTS_AT_ONCE = 1 << 14
# A sample in several splits counts for the first of these, or else for the first by name.
_FIRST_SPLITS = ("train", "val", "test")


class ImageFile(NamedTuple):
    """An image or a mask as a file.

    Attributes:
        data: The bytes of the file: as they are stored, or a PNG of raw pixels; a `.npy` of pixels that fit into no PNG of 8
            bits.
        format: The name of the format of these bytes: `"jpeg"`, `"png"` or `"npy"`.
        suffixes: How the names of such files end, the usual end first.
        height: The height of the upright image, in pixels.
        width: The width of the upright image, in pixels.
    """

    data: bytes
    format: str
    suffixes: tuple[str, ...]
    height: int
    width: int

    @property
    def suffix(self) -> str:
        """The end of the file's name, such as `.jpg`."""
        return self.suffixes[0]


@dataclass(frozen=True)
class ExportedSample:
    """All values of a sample.

    Attributes:
        sample_id: The sample id.
        source: Where the sample came from.
        split: The split that the sample counts for; None if it is in no split.
        images: The images and masks, by field name.
        values: The values of all other fields by field name, as they are stored.
    """

    sample_id: int
    source: bytes
    split: str | None
    images: Mapping[str, ImageFile]
    values: Mapping[str, np.ndarray]


class ExportedSamples:
    """The samples of a dataset or of a split, each once, in the order of their ids; iterating needs bounded memory.

    Args:
        path: The dataset's folder or URL.
        split: The name of a split; None for all samples that were not dropped.
        reading: Arguments of `ShardDataset` that say how a URL is read.

    Attributes:
        fields: What each sample holds, by field name.
        class_names: The name of the class of each label number.
        split: The split; None for all samples.
        settings: The image settings that the dataset was packed with.
        has_one_image: Whether samples have one image field, and not several.

    Raises:
        KseqError: If there is no such dataset or split, or it is damaged.
    """

    def __init__(self, path: str, split: str | None, **reading: Any) -> None:
        # Each sample is read once, so it is of no use to remember which ones were compared with their checksums.
        self._dataset = ShardDataset(path, None if split == "all" else split, verify="always", **reading)
        self.fields = self._dataset.fields
        self.class_names = self._dataset.class_names
        self.split = self._dataset.split
        self.settings = self._dataset.settings
        self.has_one_image = sum(field.is_image for field in self.fields.values()) == 1
        (self._index,) = sample_reader(self._dataset).collection.indexes
        splits = {name: _sorted_once(ids) for name, ids in self._index.splits.items()}
        self._splits = splits if self.split is None else {self.split: splits[self.split]}

    def __len__(self) -> int:
        return len(self._dataset) if self.split is None else len(self._splits[self.split])

    def __iter__(self) -> Iterator[ExportedSample]:
        for start in range(0, len(self), _SAMPLES_AT_ONCE):
            yield from self._read(self._sample_ids(start, min(start + _SAMPLES_AT_ONCE, len(self))))

    def json_value(self, name: str, value: np.ndarray) -> Any:
        """A value of a field for JSON: classes by their names, text as text, else numbers or lists of numbers."""
        handler = self.fields[name].handler
        return handler.as_json(value, handler.class_names(self.class_names))

    def are_utf8(self, name: str) -> bool:
        """Whether all texts of a field are UTF-8: reads them."""
        for start in range(0, len(self), _TEXTS_AT_ONCE):
            ids = self._sample_ids(start, min(start + _TEXTS_AT_ONCE, len(self)))
            if not all(map(_is_utf8, sample_reader(self._dataset).locate(ids).pieces(name))):
                return False
        return True

    @property
    def dataset(self) -> ShardDataset:
        """The dataset that the samples are of."""
        return self._dataset

    def _sample_ids(self, start: int, end: int) -> np.ndarray:
        if self.split is None:
            return self._dataset.sample_ids(np.arange(start, end))
        ids = self._splits[self.split][start:end]
        self._index.check_ids(ids)
        return ids.astype(np.int64)

    def _read(self, ids: np.ndarray) -> Iterator[ExportedSample]:
        samples = sample_reader(self._dataset).locate(ids)
        samples.check()
        splits = self._splits_by_sample(ids)
        sources = samples.sources()
        pixels = [name for name, field in self.fields.items() if field.is_pixels]
        encoded = {name: samples.encoded_images(name) for name in pixels if self.fields[name].encoded}
        values = {name: _values(field, samples) for name, field in self.fields.items() if name not in pixels}
        for name in (name for name, field in self.fields.items() if field.is_label):
            samples.check_labels(np.asarray(values[name]))
        for position, (reader, row) in enumerate(samples):
            images = {
                name: _as_stored(encoded[name], position) if name in encoded else _as_file(self.fields[name], reader, row)
                for name in pixels
            }
            sample_values = {name: column[position] for name, column in values.items()}
            yield ExportedSample(int(ids[position]), sources[position], splits[position], images, sample_values)

    def _splits_by_sample(self, ids: np.ndarray) -> list[str | None]:
        """The split that each sample counts for."""
        splits_by_sample: list[str | None] = [None] * len(ids)
        order = sorted(self._splits, key=lambda name: (_FIRST_SPLITS.index(name) if name in _FIRST_SPLITS else 3, name))
        # The first split comes last, and replaces the others.
        for name in reversed(order):
            split = self._splits[name]
            positions = np.minimum(np.searchsorted(split, ids), max(len(split) - 1, 0))
            for number in np.flatnonzero(split[positions] == ids) if len(split) else ():
                splits_by_sample[number] = name
        return splits_by_sample


def _sorted_once(ids: np.ndarray) -> np.ndarray:
    """The sample ids of a split in rising order, each once: the same array if it is that already, else a copy."""
    return ids if (ids[1:] > ids[:-1]).all() else np.unique(ids)


def _is_utf8(text: np.ndarray) -> bool:
    try:
        text.tobytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def _values(field: Field, samples: LocatedSamples) -> np.ndarray | list[np.ndarray]:
    return samples.pieces(field.name) if field.is_ragged else samples.values(field.name)


def _as_file(field: Field, reader: ShardReader, row: int) -> ImageFile:
    pixels = reader.array(field.name)[row]
    if field.handler.fits_png:
        return ImageFile(encode_pixels(pixels), PNG.name.lower(), PNG.suffixes, *pixels.shape[:2])
    return ImageFile(encode_npy(pixels), "npy", ARRAY_SUFFIXES[:1], *pixels.shape[:2])


def _as_stored(images: EncodedImages, position: int) -> ImageFile:
    data = images.data[position].tobytes()
    height, width = images.sizes[position].tolist()
    file_format = stored_format(data)
    return ImageFile(data, file_format.name.lower(), file_format.suffixes, height, width)
