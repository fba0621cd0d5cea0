"""The report of a packing."""

from __future__ import annotations

from dataclasses import dataclass, field

from kseq.storage.rejected import Rejected, count_reasons

__all__ = ["PackReport"]


@dataclass(frozen=True)
class PackReport:
    """What a packing did; `packed + len(rejected) == found`.

    The report of a dry run says what a packing would do: `bytes` is an estimate, and files that turn out to be broken are not
    known yet.

    Attributes:
        path: The folder of the dataset.
        found: How many files were found.
        packed: How many samples the dataset has.
        rejected: The files that were left out, each with its path below the source folder and the reason.
        shards: How many shards the dataset has.
        bytes: The size of its files together, in bytes.
        seconds: How long packing took.
        class_names: The class of each label number.
        splits: Split name to the number of its samples.
        class_counts: Split name to the number of samples of each class; empty if samples have no label.
        resumed: How many of the shards an earlier, unfinished run had built.
        free: How many bytes are free on the disk of the dataset, after packing.
    """

    path: str
    found: int
    packed: int
    rejected: list[Rejected] = field(repr=False)
    shards: int
    bytes: int
    seconds: float
    class_names: tuple[str, ...]
    splits: dict[str, int]
    class_counts: dict[str, list[int]]
    resumed: int = 0
    free: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """Reason to the number of files that were left out for it, the most frequent first; details of single files are cut."""
        return count_reasons(self.rejected)

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """The classes that have no sample; empty if samples have no label."""
        totals = [sum(counts) for counts in zip(*self.class_counts.values(), strict=True)]
        return tuple(name for name, total in zip(self.class_names, totals, strict=False) if not total)
