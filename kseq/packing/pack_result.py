"""What became of a plan: which of its images its shards hold, of which sizes they are, and which files were left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kseq.errors import SourceError
from kseq.packing.plan import Plan
from kseq.storage.fields import Field
from kseq.storage.rejected import Rejected, with_remedy
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_reader import ShardReader

__all__ = ["PackResult", "nothing_packed", "read_pack_result"]


@dataclass(frozen=True)
class PackResult:
    """What the shards of a plan hold.

    Attributes:
        plan: The plan.
        entries: One for each shard.
        rejected: The files that were left out.
        packed: `(n,)` int64: the images of the plan that were packed, in the order of their rows.
        sizes: Field name to the different sizes of its images; two are enough to know that they differ.
    """

    plan: Plan
    entries: list[ShardEntry]
    rejected: list[Rejected]
    packed: np.ndarray
    sizes: Mapping[str, set[tuple[int, int]]]

    @property
    def fields(self) -> tuple[Field, ...]:
        """What each sample holds, with the size of images that all have one."""
        return self.plan.fields({name: next(iter(found)) for name, found in self.sizes.items() if len(found) == 1})

    def splits(self) -> dict[str, np.ndarray]:
        """Split name to `(n,)` int64, places in `packed`."""
        names = np.array(self.plan.splits)[self.packed]
        return {name: np.flatnonzero(names == name) for name in sorted(set(self.plan.splits)) if (names == name).any()}

    def class_counts(self, splits: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
        """Split name to the number of samples of each class; nothing where samples have no label."""
        source = self.plan.source
        if not any(field.is_label for field in source.fields):
            return {}
        labels = np.array([each.label for each in source.images])[self.packed]
        num_classes = len(source.class_names)
        return {name: np.bincount(labels[ids], minlength=num_classes).tolist() for name, ids in splits.items()}


def read_pack_result(plan: Plan, shard: Callable[[int], ShardReader], first: int = 0) -> PackResult:
    """Read back what the shards of a plan hold.

    Args:
        plan: The plan.
        shard: Opens a shard by its place in the plan.
        first: The number of the file of the first.

    Raises:
        SourceError: Where there is no sample in any.
    """
    entries: list[ShardEntry] = []
    rejected: list[Rejected] = []
    sizes: dict[str, set[tuple[int, int]]] = {}
    packed: list[int] = []
    for place in range(plan.num_shards):
        reader = shard(place)
        entries.append(reader.entry(first + place))
        left_out = reader.rejected()
        rejected += left_out
        for each in (each for each in plan.fields() if each.is_pixels):
            sizes.setdefault(each.name, set()).update(_image_sizes(reader, each))
        packed += _packed(plan, place, left_out)
    if not packed:
        raise nothing_packed(plan, rejected)
    return PackResult(plan, entries, rejected, np.array(packed), sizes)


def nothing_packed(plan: Plan, rejected: Sequence[Rejected]) -> SourceError:
    """What is to be raised where all was left out."""
    reason = f"{os.fsdecode(rejected[0].path)}: {with_remedy(rejected[0].reason)}"
    return SourceError(f"{plan.source.root}: none of {len(plan.source.images)} files can be packed (first: {reason})")


def _packed(plan: Plan, number: int, left_out: list[Rejected]) -> list[int]:
    """Which images of the plan a shard holds. Of those with the same path, all but one were refused before they were read."""
    images = plan.shard_images(number)
    refused = {(image.path, image.rejection) for image in images}
    failed = {each.path for each in left_out if (each.path, each.reason) not in refused}
    places = [place for place, image in enumerate(images) if image.rejection is None and image.path not in failed]
    return [plan.shard_starts[number] + place for place in places]


def _image_sizes(reader: ShardReader, image: Field) -> set[tuple[int, int]]:
    """The different sizes of the images of a shard; two are enough to know that they differ."""
    if not image.encoded:
        return {(int(image.shape[0] or 0), int(image.shape[1] or 0))}
    sizes = np.unique(reader.array(f"{image.name}/size")[:], axis=0)[:2]
    return {(int(height), int(width)) for height, width in sizes}
