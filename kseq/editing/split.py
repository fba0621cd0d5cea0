"""New splits of a packed dataset: drawn at random, in folds, or from lists.

The rules:

- `train`, `val` and `test` have no sample in common. What is not asked for stays: a `val` or `test` that is neither drawn nor
  listed keeps its samples. Samples are drawn from all others that were not dropped; those that are left become `train`.
- If `train` is listed, the others are drawn from its samples, and samples in no list are in no split.
- Folds share out all samples of `train` and `val`, never those of `test`. Folds and splits of other names lie beside `train`,
  `val` and `test`, and do not change them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kseq.arguments import path_text, spelled
from kseq.editing.sample_lists import read_sample_list
from kseq.editing.split_drawing import SplitDrawing
from kseq.editing.split_request import SplitRequest
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError
from kseq.reading.label_counts import SplitCounts, count_splits, read_labels
from kseq.storage.index import Index
from kseq.storage.report import Report

__all__ = ["SplitReport", "split"]


@dataclass(frozen=True)
class SplitReport(Report):
    """What `kseq.split` did.

    Attributes:
        path: The dataset's folder.
        change: The line that the dataset's history has of it.
        class_names: The class name of each label number.
        before: How many samples each split had, and how many of each class.
        after: How many samples each split has, and how many of each class.
        num_unused: How many samples were not dropped, and are in no split.
        num_dropped: How many samples a list named that were left out, since they had been dropped.
    """

    path: str
    change: str
    class_names: tuple[str, ...] = field(repr=False)
    before: SplitCounts
    after: SplitCounts
    num_unused: int
    num_dropped: int


def split(
    dataset: str | os.PathLike[str],
    *,
    val: float | None = None,
    test: float | None = None,
    folds: int | None = None,
    lists: Mapping[str, str | os.PathLike[str]] | None = None,
    stratify: bool | None = None,
    group: str | None = None,
    seed: int = 0,
) -> SplitReport:
    """Give a packed dataset other splits; `kseq.undo` takes that back.

    What is not asked for stays: without `test`, a split `test` keeps its samples, and `val` is drawn from all others. A dataset
    that was packed without `val` and `test` gets the same splits that `kseq.pack` would have given it with the same `val`,
    `test`, `stratify`, `seed` and group, if no file was rejected.

    It needs about 12 bytes of memory for each sample, and 8 more for each fold.

    Args:
        dataset: The folder of the dataset.
        val: The share of the samples for the split `val`, in (0, 1); 0 for no such split; None if it stays as it is.
        test: The same for `test`.
        folds: The number of folds, 2 or more, which share out the samples that are not in `test`: each sample is in one
            `foldN-val` and in all other `foldN-train`. They replace earlier folds; 0 for no folds.
        lists: Split name to a file that names its samples: a list with one sample id or source on each line, or a table with a
            column `id`, `source` or `path`. `train`, `val` and `test` must not have samples in common, other splits may.
        stratify: Draw shares and folds from each class alike; None to do so if samples have a label.
        group: A field (a label, numbers or text) whose value is shared by samples that belong together: they go into one split,
            and a share is a share of such groups. The first sample of a group decides which class the group counts for. Samples
            with an empty text, or NaN, are groups of their own.
        seed: The seed of the random draws.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        ArgumentError: If arguments do not go with each other or with the dataset, or a split would be empty.
        SourceError: If a list cannot be read, or names a sample that does not exist.
        DamagedError: If a file of the dataset is damaged.
        LockedError: If another process changes the dataset.
        WriteError: If the operating system refuses to write.

    Examples:
        >>> kseq.split("flowers", val=0.2, test=0.1, seed=3)
        >>> kseq.split("flowers", folds=5)
    """
    files = _list_files(lists or {})
    request = SplitRequest(val, test, stratify, seed, folds, group, files)
    with begin_transaction(dataset) as change:
        index = change.index
        labels = read_labels(index)
        if stratify and labels is None:
            raise ArgumentError(
                f"{index.path}: {spelled('stratify', True)}: has no label, its fields are "
                f"{', '.join(field.name for field in index.fields)}: give {spelled('stratify', False)}"
            )
        if stratify is None:
            request = replace(request, stratify=labels is not None)
        listed, num_dropped = _read_lists(index, files)
        splits = SplitDrawing(index, request, labels, listed).splits()
        before = count_splits(index, index.splits, labels)
        new_index = change.publish(request.describe(), splits=splits)
        return SplitReport(
            path=index.path,
            change=request.describe(),
            class_names=index.class_names,
            before=before,
            after=count_splits(new_index, splits, labels),
            num_unused=_count_unused(new_index),
            num_dropped=num_dropped,
        )


def _list_files(lists: Any) -> dict[str, str]:
    """Split name to path."""
    if not isinstance(lists, Mapping) or not all(isinstance(path, (str, bytes, os.PathLike)) for path in lists.values()):
        raise ArgumentError(f"{spelled('lists', lists)}: allowed are names of splits, each with a path")
    return {str(name): path_text("lists", path) for name, path in lists.items()}


def _read_lists(index: Index, files: Mapping[str, str]) -> tuple[dict[str, np.ndarray], int]:
    """Split name to `(n,)` sample ids in rising order; and the number of samples that were left out, since they were
    dropped."""
    listed, num_dropped = {}, 0
    for name, path in files.items():
        named = np.unique(read_sample_list(index, path, ()).ids)
        ids = np.setdiff1d(named, index.dropped.astype(np.int64), assume_unique=True)
        if not ids.size:
            raise ArgumentError(f"{path}: names no sample for the split {name}{' that was not dropped' if named.size else ''}")
        num_dropped += len(named) - len(ids)
        listed[name] = ids
    return listed, num_dropped


def _count_unused(index: Index) -> int:
    """The number of samples that are in no split and were not dropped."""
    is_used = np.zeros(index.num_samples, bool)
    for ids in (*index.splits.values(), index.dropped):
        is_used[ids] = True
    return len(is_used) - int(np.count_nonzero(is_used))
