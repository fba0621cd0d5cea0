"""The result of a packing: which images the shards hold, how large they are, and which files were left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import NamedTuple

import numpy as np

from kseq.arguments import spelled, spelled_call
from kseq.errors import SourceError
from kseq.packing.pack_report import PackReport
from kseq.packing.plan import Plan
from kseq.sources.class_names import like_names
from kseq.storage.box_counts import BoxCounts, add_facts, box_class_names, box_field, count_labels
from kseq.storage.duplicate_counts import DuplicateCounts
from kseq.storage.fields import Field
from kseq.storage.notes import Notes
from kseq.storage.rejected import Rejected
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_reader import ShardReader

__all__ = ["PackResult", "ShardResult", "join_shard_results", "nothing_packed", "read_pack_result", "read_shard_result"]

# How many names a note shows.
_SHOWN = 3


class SampleChecksums(NamedTuple):
    """Two checksums of each of some samples.

    Attributes:
        images: `(n,)` uint64: of the images.
        rows: `(n,)` uint64: of all that is stored.
    """

    images: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class PackResult:
    """What the shards of a plan hold.

    Attributes:
        plan: The plan.
        entries: The entry of each shard in the index.
        rejected: The files that were left out.
        packed: `(n,)` int64: the numbers of the images that were packed, in the order of their rows.
        sizes: Field name to the different sizes of its images; at most two, which is enough to know that they differ.
        image_notes: What is worth knowing of files that were packed.
        box_classes: `(splits, classes)` int64: how many boxes of each class lie in each split of the plan; None without boxes.
        box_facts: What was counted of boxes, see `kseq.storage.box_counts`.
        checksums: Of all samples; None if no shard was built.
    """

    plan: Plan
    entries: list[ShardEntry]
    rejected: list[Rejected]
    packed: np.ndarray
    sizes: Mapping[str, set[tuple[int, int]]]
    image_notes: Notes = dataclass_field(default_factory=Notes)
    box_classes: np.ndarray | None = None
    box_facts: Mapping[str, int] = dataclass_field(default_factory=dict)
    checksums: SampleChecksums | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """What each sample holds; a field whose images all have one size says it."""
        return self.plan.fields({name: next(iter(sizes)) for name, sizes in self.sizes.items() if len(sizes) == 1})

    @property
    def num_bytes(self) -> int:
        """The size of all shards."""
        return sum(entry.num_bytes for entry in self.entries)

    def splits(self) -> dict[str, np.ndarray]:
        """Split name to `(n,)` int64, positions in `packed`."""
        splits = self.plan.splits
        codes = splits.codes[self.packed]
        positions = {str(name): np.flatnonzero(codes == splits.code(name)) for name in splits.names}
        return {name: positions[name] for name in sorted(positions) if len(positions[name])}

    def class_counts(self, splits: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
        """Split name to the number of samples of each class; empty if samples have no label."""
        source = self.plan.source
        if not any(field.is_label for field in source.fields):
            return {}
        labels = source.images.labels[self.packed]
        num_classes = len(source.class_names)
        return {name: np.bincount(labels[ids], minlength=num_classes).tolist() for name, ids in splits.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the packing, a line each."""
        source = self.plan.source
        notes = [*source.notes]
        if any(field.is_label for field in source.fields) and len(source.class_names) == 1:
            notes.append(f"all images are of one class, {source.class_names[0]!r}")
        alike = list(like_names(source.class_names))
        if alike:
            first = " and ".join(map(repr, alike[0][:_SHOWN]))
            more = f", and {len(alike) - 1} more groups" if len(alike) > 1 else ""
            way_out = f"{spelled_call('relabel')} makes one of them"
            notes.append(f"the classes {first} differ in how they are written alone{more}: {way_out}")
        return tuple(notes)

    def box_counts(self, splits: Mapping[str, np.ndarray]) -> BoxCounts | None:
        """The boxes of some splits; None if samples have none, or if no shard was built."""
        boxes = box_field(self.plan.source.fields)
        if boxes is None or self.box_classes is None:
            return None
        lengths = np.concatenate([entry.lengths[boxes.name] for entry in self.entries])
        codes = {name: self.plan.splits.code(name) for name in splits}
        return BoxCounts.of(
            box_class_names(self.plan.source.fields),
            {name: lengths[ids] for name, ids in splits.items()},
            {name: self.box_classes[code] for name, code in codes.items()},
            self.box_facts,
        )

    def duplicates(self) -> DuplicateCounts | None:
        """The byte-identical images; None if no shard was built."""
        if self.checksums is None:
            return None
        splits = self.plan.splits
        names = {code: str(name) for code, name in enumerate(splits.names)}
        return DuplicateCounts.of(*self.checksums, splits.codes[self.packed], names)

    def report(self, splits: Mapping[str, np.ndarray], *, num_resumed: int, num_bytes: int) -> PackReport:
        """The report of the packing; path, seconds and free bytes are left empty.

        Args:
            splits: What `splits` gives.
            num_resumed: How many of the shards an earlier run has built.
            num_bytes: The size of all files of the dataset.
        """
        return PackReport(
            path="",
            class_names=self.plan.source.class_names,
            splits={name: len(ids) for name, ids in splits.items()},
            class_counts=self.class_counts(splits),
            rejected=self.rejected,
            image_notes=dict(self.image_notes.counts),
            image_note_examples=dict(self.image_notes.examples),
            num_found=len(self.plan.source.images),
            num_samples=len(self.packed),
            num_shards=self.plan.num_shards,
            num_resumed=num_resumed,
            num_bytes=num_bytes,
            num_bytes_free=0,
            seconds=0.0,
            boxes=self.box_counts(splits),
            notes=self.notes,
            duplicates=self.duplicates(),
        )


@dataclass(frozen=True)
class ShardResult:
    """What one shard of a plan holds: all that is left to know of it when its index is written.

    Attributes:
        entry: Its entry in the index.
        rejected: The files that were left out of it.
        packed: `(n,)` int64: the numbers of the images that it holds.
        sizes: Field name to the different sizes of its images; at most two.
        notes: What is worth knowing of files that were packed.
        box_classes: As in `PackResult`.
        box_facts: As in `PackResult`.
        checksums: Of its samples.
    """

    entry: ShardEntry
    rejected: list[Rejected]
    packed: np.ndarray
    sizes: Mapping[str, set[tuple[int, int]]]
    notes: Notes
    box_classes: np.ndarray | None
    box_facts: Mapping[str, int]
    checksums: SampleChecksums


def read_pack_result(
    plan: Plan, open_shard: Callable[[int], ShardReader], first: int = 0, checksums: Mapping[int, np.ndarray] | None = None
) -> PackResult:
    """Read what the shards of a plan hold.

    Args:
        plan: The plan.
        open_shard: Opens a shard by its number in the plan.
        first: The number in the file name of the first shard.
        checksums: For shards whose images were just written, the checksums of these; the images of others are read.

    Raises:
        SourceError: If no shard has a sample.
    """
    known = checksums or {}
    return join_shard_results(
        plan,
        (read_shard_result(plan, number, open_shard(number), first, known.get(number)) for number in range(plan.num_shards)),
    )


def read_shard_result(
    plan: Plan, number: int, reader: ShardReader, first: int = 0, image_checksums: np.ndarray | None = None
) -> ShardResult:
    """Read what a shard of a plan holds; the arguments are as in `read_pack_result`."""
    left_out = reader.rejected()
    sizes = {field.name: _image_sizes(reader, field) for field in plan.fields() if field.is_pixels}
    entry, packed = reader.entry(first + number), _packed_images(plan, number, left_out)
    boxes = _box_classes(plan, packed, entry, reader)
    checksums = SampleChecksums(
        reader.image_checksums() if image_checksums is None else image_checksums, np.array(reader.loaded("checksum"))
    )
    return ShardResult(entry, left_out, packed, sizes, reader.notes(), boxes, reader.box_facts(), checksums)


def join_shard_results(plan: Plan, shards: Iterable[ShardResult]) -> PackResult:
    """What all shards of a plan hold.

    Args:
        plan: The plan.
        shards: The result of each shard, in their order.

    Raises:
        SourceError: If no shard has a sample.
    """
    entries: list[ShardEntry] = []
    rejected: list[Rejected] = []
    sizes: dict[str, set[tuple[int, int]]] = {}
    packed: list[np.ndarray] = []
    checksums: list[SampleChecksums] = []
    notes = Notes()
    box_classes: np.ndarray | None = None
    facts: list[Mapping[str, int]] = [plan.source.box_facts]
    for shard in shards:
        entries.append(shard.entry)
        rejected += shard.rejected
        packed.append(shard.packed)
        checksums.append(shard.checksums)
        notes.update(shard.notes)
        facts.append(shard.box_facts)
        if shard.box_classes is not None:
            box_classes = shard.box_classes + (0 if box_classes is None else box_classes)
        for name, of_shard in shard.sizes.items():
            sizes.setdefault(name, set()).update(of_shard)
    all_packed = np.concatenate(packed)
    if not len(all_packed):
        raise nothing_packed(plan, rejected)
    all_checksums = SampleChecksums(*map(np.concatenate, zip(*checksums, strict=True)))
    return PackResult(plan, entries, rejected, all_packed, sizes, notes, box_classes, add_facts(facts), all_checksums)


def nothing_packed(plan: Plan, rejected: Sequence[Rejected]) -> SourceError:
    """The error to raise if all files were left out."""
    reason = f"{os.fsdecode(rejected[0].path)}: {rejected[0].explanation}"
    place, root = plan.source.place, plan.source.where_is(rejected[0].path)
    if root is not None:
        hint = f": it lies in {root} ({spelled('root', root)})"
    else:
        # What was guessed may be wrong.
        hint = "".join(f"; {note.removeprefix(f'{place}: ')}" for note in plan.source.notes[:1])
    return SourceError(f"{place}: none of {len(plan.source.images)} files can be packed (first: {reason}){hint}")


def _packed_images(plan: Plan, number: int, left_out: list[Rejected]) -> np.ndarray:
    """`(n,)` int64: the numbers of the images that a shard holds.

    Images are told by their paths. If several have the same path, all but one of them were rejected by the source.
    """
    images = plan.shard_images(number)
    is_packed = ~images.is_rejected
    if left_out:
        rejected_earlier = set(zip(images.paths, images.rejections, strict=True))
        failed = {rejected.path for rejected in left_out if (rejected.path, rejected.reason) not in rejected_earlier}
        is_packed &= np.fromiter((path not in failed for path in images.paths), bool, len(images))
    return plan.shard_starts[number] + np.flatnonzero(is_packed)


def _box_classes(plan: Plan, packed: np.ndarray, entry: ShardEntry, reader: ShardReader) -> np.ndarray | None:
    """`(splits, classes)` int64: how many boxes of each class a shard has in each split; None if samples have no boxes."""
    fields = plan.source.fields
    boxes = box_field(fields)
    if boxes is None:
        return None
    labels = next((field for field in fields if field.handler.leader == boxes.kind and field.handler.has_class_names), None)
    num_splits = len(plan.splits.names)
    if labels is None:
        return np.zeros((num_splits, 0), np.int64)
    codes = np.repeat(plan.splits.codes[packed], entry.lengths[boxes.name])
    return count_labels(reader.loaded(f"{labels.name}/values"), codes, num_splits, len(labels.class_names))


def _image_sizes(reader: ShardReader, image: Field) -> set[tuple[int, int]]:
    """The different sizes of the images of a shard; at most two."""
    if not image.encoded:
        return {(int(image.shape[0] or 0), int(image.shape[1] or 0))}
    sizes = np.unique(reader.array(f"{image.name}/size")[:], axis=0)[:2]
    return {(int(height), int(width)) for height, width in sizes}
