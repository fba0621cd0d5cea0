"""Samples of a dataset as tiles: a look at their images, with what is stored beside them drawn and said."""

from __future__ import annotations

import os

import numpy as np

from kseq.display.tiles import Tile, make_tile
from kseq.errors import ArgumentError, KseqError
from kseq.reading.described_values import describe_stored
from kseq.reading.reduced_images import read_reduced
from kseq.reading.sample_reader import SampleReader
from kseq.storage.fields import Field

__all__ = ["make_tiles", "shown_image"]


def shown_image(reader: SampleReader, path: str) -> Field:
    """The field whose images are shown: the first one.

    Raises:
        ArgumentError: If there is none.
    """
    image = next((field for field in reader.fields.values() if field.is_image), None)
    if image is None:
        raise ArgumentError(f"{path}: has no image to be shown, it has {', '.join(reader.fields)}")
    return image


def make_tiles(reader: SampleReader, ids: np.ndarray, path: str, side: int, *, with_sources: bool = False) -> list[Tile]:
    """A tile for each of some samples, by sample id; one that cannot be read says why.

    Args:
        reader: Reads the samples.
        ids: `(n,)` int64.
        path: Of the dataset, for messages.
        side: How many pixels the longer side of a tile has at most.
        with_sources: Whether captions say where samples came from.

    Raises:
        ArgumentError: If samples have no image.
    """
    image = shown_image(reader, path)
    return [_make_tile(reader, int(sample_id), image, side, with_sources) for sample_id in ids]


def _make_tile(reader: SampleReader, sample_id: int, image: Field, side: int, with_source: bool) -> Tile:
    try:
        samples = reader.locate(np.array([sample_id]))
        size = tuple(samples.sizes(image.name)[0].tolist())
        pixels = read_reduced(samples, 0, image, side)
        masks = [read_reduced(samples, 0, field, side) for field in reader.fields.values() if field.kind == "mask"]
        class_names = reader.collection.class_names
        others = [field for field in reader.fields.values() if not field.is_pixels]
        values = [
            {"name": field.name, "kind": field.kind, **describe_stored(samples, 0, field, class_names)} for field in others
        ]
        title = os.fsdecode(samples.sources()[0]) if with_source else ""
        return make_tile(pixels, side, size, values, masks, title)
    except (KseqError, MemoryError) as error:
        return Tile.broken(f"sample {sample_id}: {error}")
