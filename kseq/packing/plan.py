"""The plan of a packing: the images in their order, their splits, and the shards that they make up."""

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
from kseq.packing.stored_form import estimate_bytes, stored_field
from kseq.sources.base import Source, SourceImage
from kseq.storage.checksums import Digest
from kseq.storage.fields import Field, write_fields
from kseq.storage.layout import FORMAT_VERSION

__all__ = ["Plan", "make_plan"]

_SHARD_BYTES = 256 << 20

# A collection too small for sixteen full shards is still cut into sixteen, so that all cores have work,
# but never into shards below this size.
_LEAST_SHARD_BYTES = 8 << 20

_SHARDS_FOR_ALL_CORES = 16

# So many images are hashed together.
_HASHED_AT_ONCE = 10_000


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a dataset, before any image is opened.

    Attributes:
        source: The images.
        settings: How images are stored.
        splits: The name of the split of each image of the source.
        shard_starts: `(shards + 1,)`: the number of the first image of each shard, and at the end the number of images.
        dataset_id: 32 hexadecimal digits, a hash of all of the above and of the format version.
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
        """What each sample will hold.

        Args:
            sizes: Field name to height and width, for fields whose images all have one size.
        """
        known = sizes or {}
        return tuple(stored_field(field, self.settings, known.get(field.name, (None, None))) for field in self.source.fields)

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
    """Assign images to splits and to shards.

    Args:
        source: The images.
        settings: How images are stored.
        fractions: Split name to its share of the images, in (0, 1); 0 for none.
        stratify: Take the same share of each class.
        seed: Decides which images go to which split.
        shard_bytes: About how large each shard is to be; None for 256 MiB, or less for a small collection.

    Raises:
        ArgumentError: If the fractions do not go with each other or with the splits of the source.
        SourceError: If a group lies in two splits.
    """
    splits = _assign_splits(source, fractions, stratify, whole("seed", seed))
    fields = [stored_field(field, settings) for field in source.fields]
    sizes = [estimate_bytes(image, fields, settings) for image in source.images]
    starts = _shard_starts(sizes, shard_bytes)
    return Plan(source, settings, splits, starts, _dataset_id(source, settings, splits, starts))


def _assign_splits(source: Source, fractions: Mapping[str, float], stratify: bool, seed: int) -> list[str]:
    fractions = {name: fraction for name, fraction in fractions.items() if fraction}
    check_fractions(fractions)
    given_splits = {image.split for image in source.images}
    for name, fraction in fractions.items():
        if name in given_splits:
            raise ArgumentError(f"{spelled(name, fraction)}: {source.root} says already which images {name} has, leave it out")
    splits = [image.split or "train" for image in source.images]
    if not fractions and all(image.group is None for image in source.images):
        return splits
    # The check of groups is needed even if nothing is drawn.
    units, unit_of = _find_units(source, splits)
    if fractions:
        splits = _draw(source, splits, units, unit_of, fractions, stratify, seed)
        _check_none_empty(source, splits, fractions, len(units))
    return splits


def _draw(
    source: Source,
    splits: list[str],
    units: list[int],
    unit_of: list[int],
    fractions: Mapping[str, float],
    stratify: bool,
    seed: int,
) -> list[str]:
    """The splits of the images after units were drawn from `train`."""
    labels = np.array([source.images[first].label for first in units] if stratify else np.zeros(len(units)), np.int64)
    drawn = draw_splits(np.unique(labels, return_inverse=True)[1], fractions, seed).tolist()
    names = ["train", *sorted(fractions)]
    return [split if unit < 0 else names[drawn[unit]] for unit, split in zip(unit_of, splits, strict=True)]


def _check_none_empty(source: Source, splits: list[str], fractions: Mapping[str, float], num_units: int) -> None:
    for name in (*fractions, "train"):
        if name not in splits:
            what = "groups" if any(image.group is not None for image in source.images) else "images"
            shares = " ".join(spelled(split, share) for split, share in fractions.items())
            raise ArgumentError(f"{shares}: leaves none of {num_units} {what} for {name}, give other shares")


def _find_units(source: Source, splits: list[str]) -> tuple[list[int], list[int]]:
    """What may be drawn from `train`: single images, or all images of a group together.

    Returns:
        The number of the first image of each unit, whose class counts for the whole unit; and the unit of each image, -1 for
        an image that is in another split or was rejected.

    Raises:
        SourceError: If a group lies in two splits.
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
    digest = Digest()
    head = {
        "format": FORMAT_VERSION,
        "settings": asdict(settings),
        "fields": write_fields(source.fields),
        "classes": source.class_names,
        "shards": starts,
    }
    digest.update(json.dumps(head, sort_keys=True).encode(errors="surrogateescape"))
    for start in range(0, len(splits), _HASHED_AT_ONCE):
        images = source.images[start : start + _HASHED_AT_ONCE]
        _add_texts(digest, [image.path for image in images])
        _add_texts(digest, [os.fsencode(split) for split in splits[start : start + _HASHED_AT_ONCE]])
        _add_texts(digest, [(image.rejection or "").encode(errors="surrogatepass") for image in images])
        digest.update(np.array([(image.label, image.num_bytes) for image in images], "<i8"))
        for column in zip_longest(*(image.values for image in images)):
            _add_values(digest, column)
    return digest.hexdigest()


def _add_texts(digest: Digest, texts: Sequence[bytes]) -> None:
    """Add texts after their lengths, so that other texts with the same letters give another digest."""
    digest.update(np.fromiter(map(len, texts), "<u8", len(texts)))
    digest.update(b"".join(texts))


def _add_values(digest: Digest, values: Sequence[Any]) -> None:
    """Add the values of a field, or the locations of images."""
    forms = {(value.dtype, value.shape) if isinstance(value, (np.ndarray, np.generic)) else None for value in values}
    have_one_form = len(forms) == 1 and None not in forms
    for value in [np.array(values)] if have_one_form else values:
        if isinstance(value, (np.ndarray, np.generic)):
            digest.update(f"{value.dtype} {value.shape}:".encode())
            digest.update(np.ascontiguousarray(value))
        else:
            _add_texts(digest, [value if isinstance(value, bytes) else repr(value).encode()])
