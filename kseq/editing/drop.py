"""Dropping samples from a packed dataset: they stay in their shards, but are in no split any more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import flag, path_text, spelled
from kseq.editing.sample_lists import find_sources, read_sample_list
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError, OutOfRangeError
from kseq.reading.dataset import ShardDataset
from kseq.reading.label_counts import SplitCounts, count_splits, read_labels
from kseq.reading.where import describe_condition
from kseq.reading.where_text import parse_conditions
from kseq.storage.index import Index
from kseq.storage.report import Report

__all__ = ["DropReport", "drop"]


@dataclass(frozen=True)
class DropReport(Report):
    """What `kseq.drop` did.

    Attributes:
        path: The dataset's folder.
        change: The line that the dataset's history has of it; None if all the samples had been dropped before, so that nothing
            was changed.
        class_names: The class name of each label number.
        before: How many samples each split had, and how many of each class.
        after: How many samples each split has, and how many of each class.
        num_dropped: How many samples were dropped.
        num_dropped_by_class: How many samples of each class were dropped; empty if samples have no label.
        num_dropped_before: How many of the samples asked for had been dropped before.
        num_unknown: How many sources were passed over, since no sample has them.
    """

    path: str
    change: str | None
    class_names: tuple[str, ...] = field(repr=False)
    before: SplitCounts
    after: SplitCounts
    num_dropped: int
    num_dropped_by_class: list[int] = field(repr=False)
    num_dropped_before: int
    num_unknown: int


class _Choice(NamedTuple):
    """Which samples are to be dropped.

    Attributes:
        ids: `(n,)` int64 sample ids.
        num_unknown: The number of sources that no sample has.
        description: How the samples were chosen, as the end of the line for the history.
    """

    ids: np.ndarray
    num_unknown: int = 0
    description: str = ""


def drop(
    dataset: str | os.PathLike[str],
    *,
    ids: Iterable[int] | np.ndarray | None = None,
    where: Mapping[str, Any] | Sequence[str] | None = None,
    sources: Sequence[str | bytes] | None = None,
    rejected_by: str | os.PathLike[str] | None = None,
    missing_ok: bool = False,
) -> DropReport:
    """Take samples out of all splits of a dataset, `all` included; `kseq.undo` takes that back.

    The samples are chosen in one of four ways: by `ids`, `where`, `sources` or `rejected_by`. Sample ids stay the same for all
    samples; a split without samples is removed. Samples that had been dropped before are counted, and are no error.

    Args:
        dataset: The folder of the dataset.
        ids: `(n,)` sample ids.
        where: Field name to condition, or conditions as text such as `"height>0.5"`, as `ShardDataset.where` takes them; all
            must hold.
        sources: Where samples came from, as `ShardDataset.source` tells it.
        rejected_by: A file that names samples: a list with one sample id or source on each line, or a table with a column `id`,
            `source` or `path`.
        missing_ok: Skip, and count, sources that no sample has; goes with `sources` and `rejected_by`.

    Raises:
        DatasetNotFoundError: If there is no dataset.
        ArgumentError: If the samples are not chosen in exactly one way, or no sample would be left.
        OutOfRangeError: If a sample id does not exist.
        SourceError: If a file cannot be read, or a source is that of no sample or of several.
        DamagedError: If a file of the dataset is damaged.
        LockedError: If another process changes the dataset.
        WriteError: If the operating system refuses to write.

    Examples:
        >>> kseq.drop("flowers", ids=[3, 17])
        >>> kseq.drop("flowers", where={"label": "rose", "height": lambda values: values > 0.5})
        >>> kseq.drop("flowers", where=["label=rose", "height>0.5"])
    """
    choices = {"ids": ids, "where": where, "sources": sources, "rejected_by": rejected_by}
    given = [name for name, value in choices.items() if value is not None]
    if len(given) != 1:
        raise ArgumentError(
            f"{' and '.join(map(spelled, given)) or 'nothing is'} given: give one of {', '.join(map(spelled, choices))}"
        )
    if flag("missing_ok", missing_ok) and sources is None and rejected_by is None:
        raise ArgumentError(
            f"{spelled('missing_ok', True)}: goes with {spelled('sources')} and {spelled('rejected_by')}, "
            f"found {spelled(given[0])}"
        )
    if isinstance(sources, (str, bytes)):
        raise ArgumentError(f"{spelled('sources', sources)}: allowed is a list of sources")
    listed = None if rejected_by is None else path_text("rejected_by", rejected_by)
    with begin_transaction(dataset) as change:
        index = change.index
        choice = _choose(index, ids, where, sources, listed, missing_ok=missing_ok)
        chosen = np.unique(choice.ids)
        is_dropped = np.zeros(index.num_samples, bool)
        is_dropped[index.dropped] = True
        new = chosen[~is_dropped[chosen]]
        is_dropped[new] = True
        if new.size and is_dropped.all():
            raise ArgumentError(
                f"{index.path}: no sample would be left: {new.size} are to be dropped of {new.size} that remain"
            )
        labels = read_labels(index)
        before = after = count_splits(index, index.splits, labels)
        description = None
        if new.size:
            description = f"drop {new.size} sample{'s' * (new.size != 1)}{choice.description}"
            kept = {name: split[~is_dropped[split]] for name, split in index.splits.items()}
            splits = {name: split for name, split in kept.items() if split.size}
            change.publish(description, splits=splits, dropped=np.flatnonzero(is_dropped).view("<u8"))
            after = count_splits(index, splits, labels)
        return DropReport(
            path=index.path,
            change=description,
            class_names=index.class_names,
            before=before,
            after=after,
            num_dropped=len(new),
            num_dropped_by_class=(
                [] if labels is None else np.bincount(labels[new], minlength=len(index.class_names)).tolist()
            ),
            num_dropped_before=len(chosen) - len(new),
            num_unknown=choice.num_unknown,
        )


def _choose(
    index: Index,
    ids: Iterable[int] | np.ndarray | None,
    where: Mapping[str, Any] | Sequence[str] | None,
    sources: Sequence[str | bytes] | None,
    rejected_by: str | None,
    *,
    missing_ok: bool,
) -> _Choice:
    """The samples that are chosen by the one argument that is not None."""
    if ids is not None:
        return _Choice(_check_ids(index, ids))
    if where is not None:
        return _choose_where(index, where)
    if sources is not None:
        return _Choice(*find_sources(index, sources, missing_ok=missing_ok))
    assert rejected_by is not None
    samples = read_sample_list(index, rejected_by, (), missing_ok=missing_ok)
    return _Choice(samples.ids, samples.num_unknown, f" named by {os.path.basename(rejected_by)}")


def _check_ids(index: Index, ids: Iterable[int] | np.ndarray) -> np.ndarray:
    """`(n,)` int64 sample ids, all of which exist."""
    try:
        array = np.asarray(ids if isinstance(ids, (np.ndarray, range)) else list(ids))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{spelled('ids', ids)}: allowed are whole numbers in one dimension") from error
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ArgumentError(f"{spelled('ids')} are {array.dtype} {array.shape}, allowed are whole numbers in one dimension")
    wrong = array[(array < 0) | (array >= index.num_samples)]
    if wrong.size:
        raise OutOfRangeError(f"{index.path}: sample {wrong[0]} is not in [0, {index.num_samples})")
    return array.astype(np.int64)


def _choose_where(index: Index, where: Mapping[str, Any] | Sequence[str]) -> _Choice:
    """The samples for which all conditions hold, without those that were dropped."""
    if not isinstance(where, (Mapping, list, tuple)) or not where:
        raise ArgumentError(
            f"{spelled('where', where)}: allowed are names of fields, each with a condition, or a list of conditions such as "
            "'height>0.5'"
        )
    with ShardDataset(index.path) as dataset:
        conditions = where if isinstance(where, Mapping) else parse_conditions(where, dataset.fields, dataset.class_names)
        chosen = dataset.where(**conditions)
        texts = [describe_condition(name, value) for name, value in conditions.items()]
        return _Choice(chosen.sample_ids(np.arange(len(chosen))), 0, f" by {', '.join(texts)}" if texts else "")
