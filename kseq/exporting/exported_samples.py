"""The samples that are exported, one after the other, with all that they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kseq.images.codecs import encode_pixels
from kseq.images.crop_decoding import EncodedImages
from kseq.images.formats import PNG, FileFormat, stored_format
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.sample_reader import LocatedSamples
from kseq.storage.fields import Field

__all__ = ["Exported", "Picture", "Sample"]

# So many samples are looked up in one go.
_AT_ONCE = 256
# A sample in several splits counts for the first of these, or else for the first by name.
_FIRST_SPLITS = ("train", "val", "test")


class Picture(NamedTuple):
    """An image or a mask as a file.

    Attributes:
        data: Its bytes: as they are stored, or of raw pixels a PNG.
        format: What they are.
        height: Of the upright image, in pixels.
        width: Of the same.
    """

    data: bytes
    format: FileFormat
    height: int
    width: int

    @property
    def suffix(self) -> str:
        """The end of the file's name."""
        return self.format.suffixes[0]


@dataclass(frozen=True)
class Sample:
    """All that a sample holds.

    Attributes:
        number: Its sample id.
        source: Where it came from.
        split: The split that it counts for; None where it is in none.
        pictures: Its images and masks, by field name.
        values: Its other fields, as they are stored.
    """

    number: int
    source: bytes
    split: str | None
    pictures: Mapping[str, Picture]
    values: Mapping[str, np.ndarray]


class Exported:
    """The samples of a dataset or of a split, each once, in the order of their ids; it can be gone through in bounded memory.

    Args:
        path: The dataset's folder.
        split: The name of a split; None for all that were not dropped.

    Attributes:
        fields: What each holds, by name.
        class_names: The class of each label number.
        settings: The image settings that the dataset was packed with.

    Raises:
        KseqError: Where there is no such dataset or split, or it is damaged.
    """

    def __init__(self, path: str, split: str | None) -> None:
        # Each sample is read once, so there is nothing to remember of those that were compared.
        self._dataset = ShardDataset(path, None if split == "all" else split, verify="always")
        self.fields = self._dataset.fields
        self.class_names = self._dataset.class_names
        self.split = self._dataset.split
        self.settings = self._dataset.settings
        (self._index,) = sample_reader(self._dataset).collection.indexes
        splits = {name: _rising(ids) for name, ids in self._index.splits.items()}
        self._splits = splits if self.split is None else {self.split: splits[self.split]}

    def __len__(self) -> int:
        return len(self._dataset) if self.split is None else len(self._splits[self.split])

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._read(self._ids(start, min(start + _AT_ONCE, len(self))))

    def names(self, field: Field) -> tuple[str, ...]:
        """The class names that the numbers of a field stand for."""
        return self.class_names if field.kind == "label" else field.class_names

    def told(self, name: str, value: np.ndarray) -> Any:
        """A value of a field as JSON has it: classes by their names, text as text, else numbers or lists of them."""
        field = self.fields[name]
        if field.kind == "text":
            return os.fsdecode(value.tobytes())
        if field.kind in ("label", "multi_label", "labels"):
            names = self.names(field)
            return [names[number] for number in value.tolist()] if field.is_ragged else names[int(value)]
        return _shortest(value) if value.dtype == np.float32 else value.tolist()

    def _ids(self, start: int, end: int) -> np.ndarray:
        if self.split is None:
            return self._dataset.sample_ids(np.arange(start, end))
        ids = self._splits[self.split][start:end]
        self._index.check_ids(ids)
        return ids.astype(np.int64)

    def _read(self, ids: np.ndarray) -> Iterator[Sample]:
        samples = sample_reader(self._dataset).locate(ids)
        samples.check()
        splits = self._splits_of(ids)
        encoded = {name: samples.encoded_images(name) for name, field in self.fields.items() if field.encoded}
        values = {name: _values(field, samples) for name, field in self.fields.items() if not field.is_pixels}
        for position, (reader, row) in enumerate(samples):
            pictures = {
                name: _as_stored(encoded[name], position) if field.encoded else _as_png(reader.array(name)[row])
                for name, field in self.fields.items()
                if field.is_pixels
            }
            sample_values = {name: column[position] for name, column in values.items()}
            yield Sample(int(ids[position]), reader.source(row), splits[position], pictures, sample_values)

    def _splits_of(self, ids: np.ndarray) -> list[str | None]:
        found: list[str | None] = [None] * len(ids)
        order = sorted(self._splits, key=lambda name: (_FIRST_SPLITS.index(name) if name in _FIRST_SPLITS else 3, name))
        # The first is to win, so it comes last.
        for name in reversed(order):
            split = self._splits[name]
            places = np.minimum(np.searchsorted(split, ids), max(len(split) - 1, 0))
            for place in np.flatnonzero(split[places] == ids) if len(split) else ():
                found[place] = name
        return found


def _rising(ids: np.ndarray) -> np.ndarray:
    """Each sample id of a split once, in order: as mapped where they are that, else a copy."""
    return ids if (ids[1:] > ids[:-1]).all() else np.unique(ids)


def _values(field: Field, samples: LocatedSamples) -> np.ndarray | list[np.ndarray]:
    return samples.pieces(field.name) if field.is_ragged else samples.values(field.name)


def _as_png(pixels: np.ndarray) -> Picture:
    return Picture(encode_pixels(pixels), PNG, *pixels.shape[:2])


def _as_stored(images: EncodedImages, position: int) -> Picture:
    data = images.data[position].tobytes()
    height, width = images.sizes[position].tolist()
    return Picture(data, stored_format(data), height, width)


def _shortest(value: np.ndarray) -> Any:
    """Float32 numbers as the shortest decimals that give them back, in lists as they were in arrays."""
    return [_shortest(each) for each in value] if value.ndim else float(str(value[()]))
