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
from kseq.reading.dataset import ShardDataset
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

    Raises:
        KseqError: Where there is no such dataset or split, or it is damaged.
    """

    def __init__(self, path: str, split: str | None) -> None:
        # Each sample is read once, so there is nothing to remember of those that were compared.
        self._dataset = ShardDataset(path, None if split == "all" else split, verify="always")
        self.fields = self._dataset.fields
        self.class_names = self._dataset.classes
        self.split = self._dataset.split
        self.settings = self._dataset.index.settings
        splits = {name: _rising(ids) for name, ids in self._dataset.index.splits.items()}
        self._splits = splits if self.split is None else {self.split: splits[self.split]}

    def __len__(self) -> int:
        return len(self._dataset) if self.split is None else len(self._splits[self.split])

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._read(self._ids(start, min(start + _AT_ONCE, len(self))))

    def names(self, field: Field) -> tuple[str, ...]:
        """The class names that the numbers of a field stand for."""
        return self.class_names if field.content == "label" else field.class_names

    def told(self, name: str, value: np.ndarray) -> Any:
        """A value of a field as JSON has it: classes by their names, text as text, else numbers or lists of them."""
        field = self.fields[name]
        if field.content == "text":
            return os.fsdecode(value.tobytes())
        if field.content in ("label", "multi_label", "labels"):
            names = self.names(field)
            return [names[number] for number in value.tolist()] if field.is_ragged else names[int(value)]
        return _shortest(value) if value.dtype == np.float32 else value.tolist()

    def _ids(self, start: int, end: int) -> np.ndarray:
        if self.split is None:
            return self._dataset.sample_ids(np.arange(start, end))
        ids = self._splits[self.split][start:end]
        self._dataset.index.check_ids(ids)
        return ids.astype(np.int64)

    def _read(self, ids: np.ndarray) -> Iterator[Sample]:
        dataset = self._dataset
        dataset.check(ids)
        splits = self._splits_of(ids)
        stored = {name: dataset.stored(name, ids) for name, each in self.fields.items() if each.encoded}
        values = {name: self._values(each, ids) for name, each in self.fields.items() if not each.is_pixels}
        for place, (reader, row) in enumerate(dataset.places(ids)):
            pictures = {
                name: _as_stored(stored[name], place) if each.encoded else self._as_png(each, ids[place : place + 1])
                for name, each in self.fields.items()
                if each.is_pixels
            }
            row_values = {name: column[place] for name, column in values.items()}
            yield Sample(int(ids[place]), reader.source(row), splits[place], pictures, row_values)

    def _values(self, field: Field, ids: np.ndarray) -> np.ndarray | list[np.ndarray]:
        if field.is_ragged:
            return self._dataset.ragged(field.name, ids)
        return self._gathered(field, ids)

    def _gathered(self, field: Field, ids: np.ndarray) -> np.ndarray:
        values: np.ndarray = np.empty((len(ids), *(length or 0 for length in field.shape)), field.dtype)
        self._dataset.gather(field.name, ids, values)
        return values

    def _as_png(self, field: Field, ids: np.ndarray) -> Picture:
        (pixels,) = self._gathered(field, ids)
        return Picture(encode_pixels(pixels), PNG, *pixels.shape[:2])

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


def _as_stored(stored: EncodedImages, place: int) -> Picture:
    data = stored.data[place].tobytes()
    height, width = stored.sizes[place].tolist()
    return Picture(data, stored_format(data), height, width)


def _shortest(value: np.ndarray) -> Any:
    """Float32 numbers as the shortest decimals that give them back, in lists as they were in arrays."""
    return [_shortest(each) for each in value] if value.ndim else float(str(value[()]))
