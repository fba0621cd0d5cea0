"""What to pack: the samples in their order, their splits, and which of them make up each shard."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from kseq.arguments import spelled, whole
from kseq.errors import ArgumentError, SourceError
from kseq.ordering.stratified import check_fractions, draw_splits
from kseq.packing.settings import ImageSettings
from kseq.sources.base import Source, SourceImage
from kseq.storage.checksums import Digest
from kseq.storage.fields import Field, write_fields
from kseq.storage.layout import FORMAT_VERSION

__all__ = ["Plan", "make_plan"]

_MEBIBYTE = 1 << 20

_SHARD_BYTES = 256 * _MEBIBYTE

# A collection too small for sixteen full shards is still cut into sixteen, so that all cores have work,
# but never into shards below this size.
_LEAST_SHARD_BYTES = 8 * _MEBIBYTE

_SHARDS_FOR_ALL_CORES = 16

# Images whose hashes are taken together.
_HASHED_AT_ONCE = 10_000


@dataclass(frozen=True)
class Plan:
    """All that decides the bytes of a dataset, before any image is opened.

    Attributes:
        source: Where the images are.
        settings: How each is stored.
        splits: For each image of the source, the name of its split.
        shard_starts: `(shards + 1,)`: the first image of each shard; the last is their number.
        dataset_id: 32 hexadecimal digits derived from all of the above and the format's version.
    """

    source: Source
    settings: ImageSettings
    splits: list[str]
    shard_starts: list[int]
    dataset_id: str

    @property
    def num_shards(self) -> int:
        return len(self.shard_starts) - 1

    def fields(self, sizes: Mapping[str, tuple[int, int]] | None = None) -> tuple[Field, ...]:
        """What each sample will hold; `sizes` has the height and width of each field whose images have all the same."""
        known = sizes or {}
        return tuple(self.settings.stored(each, known.get(each.name, (None, None))) for each in self.source.fields)

    def shard_images(self, number: int) -> list[SourceImage]:
        """The images planned for one shard."""
        return self.source.images[self.shard_starts[number] : self.shard_starts[number + 1]]


def make_plan(
    source: Source,
    settings: ImageSettings,
    fractions: Mapping[str, float],
    *,
    stratify: bool = True,
    seed: int = 0,
    shard_bytes: int | None = None,
) -> Plan:
    """Decide splits and shards.

    Args:
        source: Where the images are.
        settings: How each is stored.
        fractions: Split name to the share of the images, in (0, 1), that it is to have.
        stratify: Take the share of each class alike.
        seed: Draws the splits.
        shard_bytes: About how large each shard is to be; None for 256 MiB, or less for a small collection.

    Raises:
        ArgumentError: Where fractions do not go with each other or with the folders.
    """
    splits = _assign_splits(source, fractions, stratify, whole("seed", seed))
    fields = [settings.stored(each) for each in source.fields]
    sizes = [settings.estimate_bytes(image, fields) for image in source.images]
    starts = _shard_starts(sizes, shard_bytes)
    return Plan(source, settings, splits, starts, _dataset_id(source, settings, splits, starts))


def _assign_splits(source: Source, fractions: Mapping[str, float], stratify: bool, seed: int) -> list[str]:
    wanted = {name: fraction for name, fraction in fractions.items() if fraction}
    named = {image.split for image in source.images} - {None}
    check_fractions(wanted)
    for name in wanted:
        if name in named:
            raise ArgumentError(
                f"{spelled(name, wanted[name])}: {source.root} says already which images {name} has, leave this out"
            )
    splits = [image.split or "train" for image in source.images]
    if not wanted and all(image.group is None for image in source.images):
        return splits
    units, unit_of = _units(source, splits)
    labels = np.array([source.images[first].label for first in units] if stratify else np.zeros(len(units)), np.int64)
    drawn = draw_splits(np.unique(labels, return_inverse=True)[1], wanted, seed).tolist()
    names = ["train", *sorted(wanted)]
    splits = [split if unit < 0 else names[drawn[unit]] for unit, split in zip(unit_of, splits, strict=True)]
    for name in [*wanted, "train"] if wanted else []:
        if name not in splits:
            found = f"{len(units)} groups" if any(image.group is not None for image in source.images) else f"{len(units)}"
            shares = " ".join(spelled(split, share) for split, share in wanted.items())
            raise ArgumentError(f"{shares}: leaves no sample of {found} for {name}, give other shares")
    return splits


def _units(source: Source, splits: list[str]) -> tuple[list[int], list[int]]:
    """What may go to other splits than `train`: single images, or those of a group together.

    Returns:
        The first image of each unit, whose class counts for all of it; and for each image its unit, -1 where it has none.

    Raises:
        SourceError: Where a group lies in two splits already.
    """
    firsts: list[int] = []
    unit_of = [-1] * len(splits)
    of_group: dict[str, tuple[int, str]] = {}
    for number, (image, split) in enumerate(zip(source.images, splits, strict=True)):
        if image.rejection is not None:
            continue
        unit = len(firsts)
        if image.group is not None:
            unit, earlier = of_group.setdefault(image.group, (unit, split))
            if split != earlier:
                raise SourceError(
                    f"{source.root}: group {image.group!r} has images in the splits {earlier} and {split}, allowed is one"
                )
        if split == "train":
            unit_of[number] = unit
            if unit == len(firsts):
                firsts.append(number)
    return firsts, unit_of


def _shard_starts(sizes: list[int], shard_bytes: int | None) -> list[int]:
    if shard_bytes is None:
        shard_bytes = max(_LEAST_SHARD_BYTES, min(_SHARD_BYTES, sum(sizes) // _SHARDS_FOR_ALL_CORES))
    whole("shard_bytes", shard_bytes, 1)
    starts, filled = [0], 0
    for number, size in enumerate(sizes):
        if filled and filled + size > shard_bytes:
            starts.append(number)
            filled = 0
        filled += size
    return [*starts, len(sizes)]


def _dataset_id(source: Source, settings: ImageSettings, splits: list[str], starts: list[int]) -> str:
    total = Digest()
    head = {
        "format": FORMAT_VERSION,
        "settings": asdict(settings),
        "fields": write_fields(source.fields),
        "classes": source.class_names,
        "shards": starts,
    }
    total.update(json.dumps(head, sort_keys=True).encode(errors="surrogateescape"))
    for start in range(0, len(splits), _HASHED_AT_ONCE):
        images, some = source.images[start : start + _HASHED_AT_ONCE], splits[start : start + _HASHED_AT_ONCE]
        _add_texts(total, [image.path for image in images])
        _add_texts(total, [os.fsencode(split) for split in some])
        _add_texts(total, [(image.rejection or "").encode(errors="surrogatepass") for image in images])
        total.update(np.array([(image.label, image.num_bytes) for image in images], "<i8"))
        for column in zip_longest(*(image.values for image in images)):
            _add_values(total, column)
    return total.hexdigest()


def _add_texts(total: Digest, texts: Sequence[bytes]) -> None:
    """Add texts, and before them how long each is, so that none can pass for a part of another."""
    total.update(np.fromiter(map(len, texts), "<u8", len(texts)))
    total.update(b"".join(texts))


def _add_values(total: Digest, values: Sequence[Any]) -> None:
    """Add the values of a field, or the places of images."""
    kinds = {(each.dtype, each.shape) if isinstance(each, (np.ndarray, np.generic)) else None for each in values}
    alike = [np.array(values)] if len(kinds) == 1 and None not in kinds else values
    for value in alike:
        if isinstance(value, (np.ndarray, np.generic)):
            total.update(f"{value.dtype} {value.shape}:".encode())
            total.update(np.ascontiguousarray(value))
        else:
            _add_texts(total, [value if isinstance(value, bytes) else repr(value).encode()])
