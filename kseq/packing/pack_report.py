"""The report of a packing."""

from __future__ import annotations

from dataclasses import dataclass, field

from kseq.storage.box_counts import BoxCounts
from kseq.storage.duplicate_counts import DuplicateCounts
from kseq.storage.notes import note_lines
from kseq.storage.rejected import Rejected, count_reasons
from kseq.storage.report import Report

__all__ = ["PackReport"]


@dataclass(frozen=True)
class PackReport(Report):
    """What `kseq.pack` did; `num_samples + len(rejected) == num_found`.

    The report of a dry run says what a packing would do: `num_bytes` is an estimate, and files that turn out to be broken are
    not known yet.

    Attributes:
        path: The dataset's folder.
        class_names: The class name of each label number.
        splits: Split name to the number of its samples.
        class_counts: Split name to the number of samples of each class; empty if samples have no label.
        rejected: The files that were left out, each with its path below the source folder and the reason.
        image_notes: What is worth knowing of files that were packed all the same, such as pages that were left out, each with
            the number of its files.
        image_note_examples: Note to the path of one of its files.
        num_found: How many files were found.
        num_samples: How many samples the dataset has.
        num_shards: How many shards the dataset has.
        num_resumed: How many of the shards an earlier, unfinished run had built.
        num_bytes: The size of all files of the dataset, in bytes.
        num_bytes_free: How many bytes are free on the disk of the dataset, after packing; 0 for a URL.
        seconds: How long it took.
        boxes: The boxes of the samples, and what was left out; None if samples have no boxes, and for a dry run.
        notes: What was guessed, ignored or is suspicious, a line each.
        duplicates: The byte-identical images among the samples; None for a dry run.
    """

    path: str
    class_names: tuple[str, ...] = field(repr=False)
    splits: dict[str, int]
    class_counts: dict[str, list[int]] = field(repr=False)
    rejected: list[Rejected] = field(repr=False)
    image_notes: dict[str, int] = field(repr=False)
    image_note_examples: dict[str, str] = field(repr=False)
    num_found: int
    num_samples: int
    num_shards: int
    num_resumed: int
    num_bytes: int
    num_bytes_free: int
    seconds: float
    boxes: BoxCounts | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    duplicates: DuplicateCounts | None = None

    @property
    def reasons(self) -> dict[str, int]:
        """Reason to the number of files that were left out for it, the most frequent first; details of single files are cut."""
        return count_reasons(self.rejected)

    @property
    def lines(self) -> list[str]:
        """What a user should know, a line each: notes of images, `notes`, and duplicates; `kseq info` shows them later."""
        duplicates = [] if self.duplicates is None else self.duplicates.lines
        return [*note_lines(self.image_notes, self.image_note_examples), *self.notes, *duplicates]

    @property
    def empty_class_names(self) -> tuple[str, ...]:
        """The classes that have no sample; empty if samples have no label."""
        totals = [sum(counts) for counts in zip(*self.class_counts.values(), strict=True)]
        return tuple(name for name, total in zip(self.class_names, totals, strict=False) if not total)
