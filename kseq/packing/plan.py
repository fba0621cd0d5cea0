"""The plan of a packing: the images in their order, their splits, and the shards that they make up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kseq.arguments import spelled, whole
from kseq.errors import ArgumentError, SourceError
from kseq.ordering.stratified import check_fractions, draw_splits
from kseq.packing.settings import ImageSettings, settings_identity
from kseq.packing.stored_form import estimate_bytes, stored_field
from kseq.sources.base import ImageTable, Source
from kseq.sources.equal_values import number_equal
from kseq.sources.image_table import Splits
from kseq.sources.spooled_column import BLOCK_ROWS
from kseq.sources.value_blocks import add_block
from kseq.storage.checksums import Digest
from kseq.storage.fields import Field, write_fields
from kseq.storage.layout import FORMAT_VERSION

__all__ = ["Plan", "make_plan"]

_SHARD_BYTES = 256 << 20

# A collection too small for sixteen full shards is still cut into sixteen, so that all cores have work,
# but never into shards below this size.
_LEAST_SHARD_BYTES = 8 << 20

_SHARDS_FOR_ALL_CORES = 16


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a dataset, before any image is opened.

    Attributes:
        source: The images.
        settings: How images are stored.
        splits: The split of each image of the source.
        shard_starts: `shards + 1` numbers: the number of the first image of each shard, and at the end the number of images.
        dataset_id: 32 hexadecimal digits, a hash of all of the above and of the format version.
    """

    source: Source
    settings: ImageSettings
    splits: Splits
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

    def shard_images(self, number: int) -> ImageTable:
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
    copies: np.ndarray | None = None,
) -> Plan:
    """Assign images to splits and to shards.

    Args:
        source: The images.
        settings: How images are stored.
        fractions: Split name to its share of the images, in (0, 1); 0 for none.
        stratify: Take the same share of each class.
        seed: Decides which images go to which split.
        shard_bytes: About how large each shard is to be; None for 256 MiB, or less for a small collection.
        copies: `(n,)` int64: for each image the number of the first with the same bytes, which goes into the same split where
            splits are drawn. None if copies may part.

    Raises:
        ArgumentError: If the fractions do not go with each other or with the splits of the source.
        SourceError: If a group lies in two splits.
    """
    splits = _assign_splits(source, fractions, stratify, whole("seed", seed), copies)
    fields = [stored_field(field, settings) for field in source.fields]
    starts = _shard_starts(estimate_bytes(source.images, fields, settings), shard_bytes)
    return Plan(source, settings, splits, starts, _dataset_id(source, settings, splits, starts))


def _assign_splits(
    source: Source, fractions: Mapping[str, float], stratify: bool, seed: int, copies: np.ndarray | None
) -> Splits:
    fractions = {name: fraction for name, fraction in fractions.items() if fraction}
    check_fractions(fractions)
    images = source.images
    for name, fraction in fractions.items():
        if name in images.splits.names:
            raise ArgumentError(f"{spelled(name, fraction)}: {source.place} says already which images {name} has, leave it out")
    splits = _splits_or_train(images.splits, fractions)
    groups = number_equal(images.columns["group"].blocks()) if images.columns["group"].has_values else None
    if not fractions and groups is None:
        return splits
    # The check of groups is needed even if nothing is drawn.
    units, unit_of = _find_units(source, splits, groups, copies)
    if fractions:
        labels = images.labels[units] if stratify else np.zeros(len(units), np.int64)
        counts = None if groups is None and copies is None else np.bincount(unit_of[unit_of >= 0], minlength=len(units))
        drawn = draw_splits(np.unique(labels, return_inverse=True)[1], fractions, seed, counts)
        # In the order of their names, after `train`, which they are drawn from.
        codes = np.array([splits.code(name) for name in ("train", *sorted(fractions))], np.int8)
        is_drawn = unit_of >= 0
        splits.codes[is_drawn] = codes[drawn[unit_of[is_drawn]]]
        _check_none_empty(splits, fractions, len(units), "images" if groups is None else "groups", stratify=stratify)
    return splits


def _splits_or_train(splits: Splits, fractions: Mapping[str, float]) -> Splits:
    """The splits that a source tells, `train` where it tells none; with names for those that are drawn."""
    names = tuple(dict.fromkeys([*(name or "train" for name in splits.names), "train", *fractions]))
    numbers = np.array([names.index(name or "train") for name in splits.names], np.int8)
    return Splits(numbers[splits.codes] if len(splits) else splits.codes, names)


def _check_none_empty(splits: Splits, fractions: Mapping[str, float], num_units: int, what: str, *, stratify: bool) -> None:
    for name in (*fractions, "train"):
        if not (splits.codes == splits.code(name)).any():
            shares = " ".join(spelled(split, share) for split, share in fractions.items())
            remedy = f", or {spelled('stratify', False)}: each class keeps one of its {what} in train" if stratify else ""
            raise ArgumentError(f"{shares}: leaves none of {num_units} {what} for {name}, give other shares{remedy}")


def _find_units(
    source: Source, splits: Splits, groups: np.ndarray | None, copies: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """What may be drawn from `train`: single images, or all images of a group together.

    Args:
        source: The images.
        splits: The split of each image.
        groups: `(n,)` int64: the number of the group of each image, -1 for none; None if no image is in a group.
        copies: As in `make_plan`.

    Returns:
        `(units,)` int64, the number of the first image of each unit, whose class counts for the whole unit; and `(n,)` int64,
        the unit of each image, -1 for an image that is in another split or was rejected.

    Raises:
        SourceError: If a group lies in two splits.
    """
    images = source.images
    leaders = np.arange(len(images))
    if groups is not None:
        members = np.flatnonzero((groups >= 0) & ~images.is_rejected)
        _, firsts, positions = np.unique(groups[members], return_index=True, return_inverse=True)
        leaders[members] = members[firsts][positions]
        _check_groups(source, splits, leaders)
    is_drawn = (splits.codes == splits.code("train")) & ~images.is_rejected
    if copies is not None:
        leaders = _with_copies(leaders, copies, is_drawn)
    units = np.flatnonzero(is_drawn & (leaders == np.arange(len(images))))
    unit_of = np.full(len(images), -1)
    unit_of[is_drawn] = np.searchsorted(units, leaders[is_drawn])
    return units, unit_of


def _with_copies(leaders: np.ndarray, copies: np.ndarray, is_drawn: np.ndarray) -> np.ndarray:
    """The first image of each unit where copies stay together, and with them the groups that they are in.

    Args:
        leaders: `(n,)`: the first image of the group of each image.
        copies: `(n,)`: the first image with the same bytes.
        is_drawn: `(n,)`: which images may be drawn; others lead none of them.
    """
    count = len(leaders)
    joined = np.arange(count)
    drawn = np.flatnonzero(is_drawn)
    first_drawn = np.full(count, count)
    for firsts in (leaders, copies):
        # The first of the drawn images with the same first image leads the others.
        first_drawn[:] = count
        np.minimum.at(first_drawn, firsts[drawn], drawn)
        others = drawn[first_drawn[firsts[drawn]] != drawn]
        for number, first in zip(others.tolist(), first_drawn[firsts[others]].tolist(), strict=True):
            roots = _root(joined, number), _root(joined, first)
            # A unit is led by its first image.
            joined[max(roots)] = min(roots)
    while (further := joined[joined]).tobytes() != joined.tobytes():
        joined = further
    return joined


def _root(joined: np.ndarray, number: int) -> int:
    """The image that stands for all images that one is joined with; the way there is made shorter."""
    while joined[number] != number:
        joined[number] = joined[joined[number]]
        number = int(joined[number])
    return number


def _check_groups(source: Source, splits: Splits, leaders: np.ndarray) -> None:
    apart = np.flatnonzero(splits.codes != splits.codes[leaders])
    if apart.size:
        number = int(apart[0])
        group, earlier = source.images[number].group, splits[leaders[number]]
        raise SourceError(
            f"{source.place}: group {group!r} has images in the splits {earlier} and {splits[number]}, allowed is one"
        )


def _shard_starts(sizes: np.ndarray, shard_bytes: int | None) -> list[int]:
    """Where shards begin: a shard ends before the image with which it would be too large, unless it is still empty."""
    # The size of the first n images.
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    if shard_bytes is None:
        shard_bytes = max(_LEAST_SHARD_BYTES, min(_SHARD_BYTES, int(ends[-1]) // _SHARDS_FOR_ALL_CORES))
    whole("shard_bytes", shard_bytes, 1)
    starts = [0]
    while True:
        start = starts[-1]
        number = int(np.searchsorted(ends[1:], int(ends[start]) + shard_bytes, side="right"))
        number += int(ends[min(number, len(sizes))] == ends[start])
        if number >= len(sizes):
            return [*starts, len(sizes)]
        starts.append(number)


def _dataset_id(source: Source, settings: ImageSettings, splits: Splits, starts: list[int]) -> str:
    digest = Digest()
    head = {
        "format": FORMAT_VERSION,
        "settings": settings_identity(settings),
        "fields": write_fields(source.fields),
        "classes": source.class_names,
        "splits": splits.names,
    }
    digest.update(json.dumps(head, sort_keys=True).encode(errors="surrogateescape"))
    images = source.images
    for array in (np.array(starts), splits.codes, images.labels, images.num_bytes):
        digest.update(f"{array.size} ".encode())
        for start in range(0, len(array), BLOCK_ROWS):
            digest.update(array[start : start + BLOCK_ROWS].astype("<i8"))
    columns = images.columns
    for column in (columns["path"], columns["rejection"], *images.values):
        for block in column.encoded():
            add_block(digest, block)
    return digest.hexdigest()
