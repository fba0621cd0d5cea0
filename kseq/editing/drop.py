"""Taking samples out of a packed dataset: they stay in their shards, but are in no split any more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kseq.arguments import spelled
from kseq.editing.sample_lists import find_sources, read_sample_list
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError, OutOfRangeError
from kseq.reading.dataset import ShardDataset
from kseq.reading.label_counts import SplitCounts, count_splits, read_labels
from kseq.reading.where import describe_condition
from kseq.reading.where_text import parse_conditions
from kseq.storage.index import Index

__all__ = ["DropReport", "drop"]


@dataclass(frozen=True)
class DropReport:
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

    Which ones is said in one way of four. Their sample ids, and those of all others, stay as they are; a split of which nothing
    is left goes. What had been dropped before is counted, and no error.

    Args:
        dataset: The folder of the dataset.
        ids: `(n,)` sample ids.
        where: Field name to condition, or conditions as text such as `"height>0.5"`, as `ShardDataset.where` takes them; all
            must hold.
        sources: Where samples came from, as `ShardDataset.source` tells it.
        rejected_by: A file that names samples: one a line, by sample id or source, or a
            table with a column `id`, `source` or `path`.
        missing_ok: Pass over, and count, sources that no sample has.

    Raises:
        DatasetNotFoundError: Where there is no dataset.
        ArgumentError: Where not just one way is taken, or no sample would be left.
        OutOfRangeError: Where a sample id does not exist.
        SourceError: Where a file cannot be read, or a source is that of no sample or several.
        DamagedError: Where a file of the dataset is damaged.
        LockedError: Where another process changes it.
        WriteError: Where the operating system refuses.

    Examples:
        >>> kseq.drop("flowers", ids=[3, 17])
        >>> kseq.drop("flowers", where={"label": "rose", "height": lambda values: values > 0.5})
        >>> kseq.drop("flowers", where=["label=rose", "height>0.5"])
    """
    given = {"ids": ids, "where": where, "sources": sources, "rejected_by": rejected_by}
    ways = [name for name, value in given.items() if value is not None]
    if len(ways) != 1:
        raise ArgumentError(
            f"{' and '.join(map(spelled, ways)) or 'nothing is'} given: give one of {', '.join(map(spelled, given))}"
        )
    if isinstance(sources, (str, bytes)):
        raise ArgumentError(f"{spelled('sources', sources)}: allowed is a list of sources")
    with begin_transaction(dataset) as change:
        index, unknown = change.index, 0
        conditions: Mapping[str, Any] = {}
        if ids is not None:
            chosen = _checked(index, ids)
        elif where is not None:
            chosen, conditions = _matching(index, where)
        elif sources is not None:
            chosen, unknown = find_sources(index, sources, missing_ok=missing_ok)
        else:
            assert rejected_by is not None
            named = read_sample_list(index, rejected_by, (), missing_ok=missing_ok)
            chosen, unknown = named.ids, named.num_unknown
        gone = np.zeros(index.num_samples, bool)
        gone[index.dropped] = True
        chosen = np.unique(chosen)
        new = chosen[~gone[chosen]]
        gone[new] = True
        if new.size and gone.all():
            raise ArgumentError(
                f"{index.path}: no sample would be left: {new.size} are to be dropped of {new.size} that remain"
            )
        labels = read_labels(index)
        before = after = count_splits(index, index.splits, labels)
        said = f"drop {_counted(new.size)}{_how(conditions, rejected_by)}" if new.size else None
        if said is not None:
            kept = {name: ids[~gone[ids]] for name, ids in index.splits.items()}
            splits = {name: ids for name, ids in kept.items() if ids.size}
            change.publish(said, splits=splits, dropped=np.flatnonzero(gone).view("<u8"))
            after = count_splits(index, splits, labels)
        classes = [] if labels is None else np.bincount(labels[new], minlength=len(index.class_names)).tolist()
        return DropReport(
            path=index.path,
            change=said,
            class_names=index.class_names,
            before=before,
            after=after,
            num_dropped=len(new),
            num_dropped_by_class=classes,
            num_dropped_before=len(chosen) - len(new),
            num_unknown=unknown,
        )


def _checked(index: Index, ids: Iterable[int] | np.ndarray) -> np.ndarray:
    """`(n,)` int64 sample ids that exist."""
    try:
        asked = np.asarray(ids if isinstance(ids, (np.ndarray, range)) else list(ids))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{spelled('ids', ids)}: allowed are whole numbers in one dimension") from error
    if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
        raise ArgumentError(f"{spelled('ids')} are {asked.dtype} {asked.shape}, allowed are whole numbers in one dimension")
    wrong = asked[(asked < 0) | (asked >= index.num_samples)]
    if wrong.size:
        raise OutOfRangeError(f"{index.path}: sample {wrong[0]} is not in [0, {index.num_samples})")
    return asked.astype(np.int64)


def _matching(index: Index, where: Mapping[str, Any] | Sequence[str]) -> tuple[np.ndarray, Mapping[str, Any]]:
    """The sample ids for which all conditions hold, of those that were not dropped; and the conditions, by field."""
    if not isinstance(where, (Mapping, list, tuple)) or not where:
        raise ArgumentError(
            f"{spelled('where', where)}: allowed are names of fields, each with a condition, or a list of conditions such as "
            "'height>0.5'"
        )
    with ShardDataset(index.path) as dataset:
        conditions = where if isinstance(where, Mapping) else parse_conditions(where, dataset.fields, dataset.class_names)
        chosen = dataset.where(**conditions)
        return chosen.sample_ids(np.arange(len(chosen))), conditions


def _how(where: Mapping[str, Any], rejected_by: str | os.PathLike[str] | None) -> str:
    """The end of the line for the history."""
    if rejected_by is not None:
        return f" named by {os.path.basename(os.fspath(rejected_by))}"
    conditions = [describe_condition(name, value) for name, value in where.items()]
    return f" by {', '.join(conditions)}" if conditions else ""


def _counted(count: int) -> str:
    return f"{count} sample{'s' * (count != 1)}"
