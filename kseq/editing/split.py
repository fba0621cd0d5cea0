"""New splits of a packed dataset: drawn by chance, in folds, or from lists.

`train`, `val` and `test` have no sample in common. What is not asked for stays: a `val` or `test` that is neither drawn nor
listed keeps its samples, and what is drawn is drawn from all others that were not dropped; those that are left are `train`.
Where `train` is listed, it is from its samples that the others are drawn, and what is in no list is in no split.

Folds share out all samples of `train` and `val`, those of `test` never among them. They and the splits of other names lie
beside `train`, `val` and `test`, and do not change them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kseq.arguments import spelled, whole
from kseq.editing.sample_lists import read_sample_list
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError
from kseq.ordering.stratified import check_fractions, draw_folds, draw_splits
from kseq.reading.groups import read_groups, units_of
from kseq.reading.label_counts import SplitCounts, count_splits, read_labels
from kseq.sources.base import SPLITS
from kseq.storage.index import Index
from kseq.storage.index_schema import check_split_name

__all__ = ["SplitReport", "split"]

# Where a sample is: the first three may be drawn from or to, in the last are those that are out of all, and of no list.
_TRAIN, _VAL, _TEST, _NOWHERE = range(4)
_PLACES = {"train": _TRAIN, "val": _VAL, "test": _TEST}
_FOLD = re.compile(r"fold[0-9]+-(train|val)")


@dataclass(frozen=True)
class SplitReport:
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


@dataclass(frozen=True)
class _Asked:
    """The arguments of `split`."""

    val: float | None
    test: float | None
    stratify: bool | None
    seed: int
    folds: int | None
    group: str | None
    lists: dict[str, str]

    def __post_init__(self) -> None:
        if self.val is None and self.test is None and self.folds is None and not self.lists:
            raise ArgumentError(
                f"nothing is to be split: give {', '.join(map(spelled, ('val', 'test', 'folds')))} or {spelled('lists')}"
            )
        check_fractions(self.fractions)
        whole("seed", self.seed)
        if self.folds is not None and self.folds != 0:
            whole("folds", self.folds, 2)
        for name in self.lists:
            check_split_name(name)
            usual = SPLITS.get(name.lower(), name)
            if usual != name:
                raise ArgumentError(f"split name {name!r}: allowed is {usual!r}, which is what it means")
            if getattr(self, name, None) is not None and name in _PLACES:
                raise ArgumentError(f"{spelled(name, getattr(self, name))}: {name} is listed as well, give one of the two")
            if self.folds is not None and _FOLD.fullmatch(name):
                raise ArgumentError(f"{spelled('folds', self.folds)}: {name} is listed as well, give one of the two")

    @property
    def fractions(self) -> dict[str, float]:
        """The shares that are to be drawn."""
        return {name: share for name, share in (("val", self.val), ("test", self.test)) if share is not None and share != 0}

    @property
    def redrawn(self) -> set[str]:
        """Of `train`, `val` and `test`, those that do not stay as they are."""
        named = {name for name in ("val", "test") if getattr(self, name) is not None} | (self.lists.keys() & _PLACES.keys())
        return named | {"train"} if named else named

    def said(self) -> str:
        """What is done, in a line."""
        parts = [f"{name}={share}" for name, share in (("val", self.val), ("test", self.test)) if share is not None]
        parts += [] if self.folds is None else [f"{self.folds} folds"]
        drawn = bool(self.fractions or self.folds)
        parts += [f"by {self.group}"] if self.group is not None and drawn else []
        parts += ["stratified" if self.stratify else "not stratified", f"seed {self.seed}"] if drawn else []
        parts += [f"{name} from {os.path.basename(path)}" for name, path in self.lists.items()]
        return f"split {', '.join(parts)}"


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

    What is not asked for stays: without `test`, the samples of a split `test` stay its, and `val` is drawn from all others.
    A dataset that was packed without `val` and `test` gets by this the very splits that `kseq.pack` would have given it with
    the same `val`, `test`, `stratify`, `seed` and group, if it left no file out.

    For a dataset of N samples it takes about 12 bytes of memory for each, and 8 more for each fold.

    Args:
        dataset: The folder of the dataset.
        val: Share of the samples for the split `val`, in (0, 1); 0: there is to be none; None: it stays as it is.
        test: The same for `test`.
        folds: How many folds, 2 or more, to share out the samples that are not in `test`: each is in one `foldN-val` and all
            other `foldN-train`. They take the place of earlier folds; 0: there are to be none.
        lists: Split name to a file that names its samples: one a line, by sample id or source, or a table, as
            `kseq/editing/sample_lists.py` says. `train`, `val` and `test` must not have samples in common, other splits may.
        stratify: Take shares and folds of each class alike; None to do so where samples have a label.
        group: A field (a label, numbers or text): samples with the same value fall into one split, and a share is a share of
            such groups; each counts for the class of its first. Samples with an empty text, or NaN, are groups of their own.
        seed: Draws.

    Raises:
        DatasetNotFoundError: Where there is no dataset.
        ArgumentError: Where arguments do not go with each other or with the dataset, or a split would be empty.
        SourceError: Where a list cannot be read, or names what there is not.
        DamagedError: Where a file of the dataset is damaged.
        LockedError: Where another process changes it.
        WriteError: Where the operating system refuses.

    Examples:
        >>> kseq.split("flowers", val=0.2, test=0.1, seed=3)
        >>> kseq.split("flowers", folds=5)
    """
    files = _paths(lists or {})
    asked = _Asked(val, test, stratify, seed, folds, group, files)
    with begin_transaction(dataset) as change:
        index = change.index
        labels = read_labels(index)
        if stratify and labels is None:
            raise ArgumentError(
                f"{index.path}: {spelled('stratify', True)}: has no label, its fields are "
                f"{', '.join(field.name for field in index.fields)}: give {spelled('stratify', False)}"
            )
        if stratify is None:
            asked = replace(asked, stratify=labels is not None)
        listed, num_dropped = _read_lists(index, files)
        splits = _Drawing(index, asked, labels, listed).splits()
        before = count_splits(index, index.splits, labels)
        after = change.publish(asked.said(), splits=splits)
        counts = count_splits(after, splits, labels)
        return SplitReport(index.path, asked.said(), index.class_names, before, counts, _unused(after), num_dropped)


def _paths(lists: Any) -> dict[str, str]:
    try:
        return {str(name): os.fsdecode(path) for name, path in lists.items()}
    except (AttributeError, TypeError) as error:
        raise ArgumentError(f"{spelled('lists', lists)}: allowed are names of splits, each with a path") from error


def _read_lists(index: Index, files: Mapping[str, str]) -> tuple[dict[str, np.ndarray], int]:
    """Split name to `(n,)` sample ids, rising; and how many were left out, since they were dropped."""
    listed, num_dropped = {}, 0
    for name, path in files.items():
        named = np.unique(read_sample_list(index, path, ()).ids)
        ids = np.setdiff1d(named, index.dropped.astype(np.int64), assume_unique=True)
        if not ids.size:
            raise ArgumentError(f"{path}: names no sample for the split {name}{' that was not dropped' if named.size else ''}")
        num_dropped += len(named) - len(ids)
        listed[name] = ids
    return listed, num_dropped


def _unused(index: Index) -> int:
    used = np.zeros(index.num_samples, bool)
    for ids in (*index.splits.values(), index.dropped):
        used[ids] = True
    return len(used) - int(np.count_nonzero(used))


class _Drawing:
    """The splits that were asked for.

    Args:
        index: Of the dataset as it is.
        asked: What was asked for.
        labels: `(samples,)`: the label of each sample; None where there is none.
        listed: Split name to the sample ids that are listed.
    """

    def __init__(self, index: Index, asked: _Asked, labels: np.ndarray | None, listed: Mapping[str, np.ndarray]) -> None:
        self._index = index
        self._asked = asked
        self._classes = labels if asked.stratify else None
        self._listed = listed

    def splits(self) -> dict[str, np.ndarray]:
        """Split name to `(n,)` uint64 sample ids, of all splits that there are to be."""
        asked = self._asked
        splits = dict(self._index.splits)
        splits.update({name: ids.view("<u8") for name, ids in self._listed.items()})
        if asked.redrawn or asked.folds:
            places = self._places(splits)
            groups = None if asked.group is None else read_groups(self._index, asked.group)
            if groups is not None:
                self._check_groups(places, groups)
            self._draw_shares(places, groups)
            # Of a train that is listed, others may have been drawn.
            for name in (asked.redrawn - self._listed.keys()) | (asked.redrawn & {"train"}):
                splits[name] = _ids(places == _PLACES[name])
            splits = self._checked(splits)
        if asked.folds is not None:
            splits = {name: ids for name, ids in splits.items() if not _FOLD.fullmatch(name)}
        if asked.folds:
            splits |= self._draw_folds(places, groups)
        return splits

    def _places(self, splits: Mapping[str, np.ndarray]) -> np.ndarray:
        """`(samples,)` uint8: where each sample is before any is drawn."""
        places = np.full(self._index.num_samples, _NOWHERE if "train" in self._listed else _TRAIN, np.uint8)
        places[self._index.dropped] = _NOWHERE
        kept: list[str] = []
        for name in (name for name in _PLACES if name in splits and self._stays(name)):
            self._index.check_ids(splits[name])
            if self._asked.redrawn:
                self._check_apart(name, splits[name], places, kept)
            places[splits[name]] = _PLACES[name]
            kept.append(name)
        return places

    def _stays(self, name: str) -> bool:
        return name in self._listed or name not in (self._asked.redrawn or {"train"})

    def _check_apart(self, name: str, ids: np.ndarray, places: np.ndarray, kept: Sequence[str]) -> None:
        """Raise ArgumentError where a split has a sample of one that is kept already."""
        for other in kept:
            both = ids[places[ids] == _PLACES[other]]
            if both.size:
                told = [f"{each} ({'listed' if each in self._listed else 'which stays'})" for each in (other, name)]
                advice = "" if {other, name} <= self._listed.keys() else ": say what is to become of that one too, 0 for none"
                raise ArgumentError(
                    f"{self._index.path}: sample {both[0]} would be in {told[0]} and in {told[1]}, allowed is one{advice}"
                )

    def _check_groups(self, places: np.ndarray, groups: np.ndarray) -> None:
        """Raise ArgumentError where a group lies in two splits already."""
        ids = np.flatnonzero(places != _NOWHERE)
        units, firsts = units_of(groups[ids])
        its = places[ids]
        if not self._asked.redrawn:
            # Folds alone are drawn from both.
            its[its == _VAL] = _TRAIN
        wrong = np.flatnonzero(its != its[firsts][units])
        if wrong.size:
            one, other = int(firsts[units[wrong[0]]]), int(wrong[0])
            names = list(_PLACES)
            raise ArgumentError(
                f"{self._index.path}: {spelled('group', self._asked.group)}: samples {ids[one]} "
                f"({names[its[one]]}) and {ids[other]} ({names[its[other]]}) are of one group, but in splits that are listed "
                "or stay: allowed is one for both"
            )

    def _draw_shares(self, places: np.ndarray, groups: np.ndarray | None) -> None:
        """Move samples from train to where they are drawn to."""
        fractions = self._asked.fractions
        if not fractions:
            return
        pool = places == _TRAIN
        drawn = self._draw(pool, groups, lambda classes: draw_splits(classes, fractions, self._asked.seed))
        numbers = np.array([_TRAIN, *(_PLACES[name] for name in sorted(fractions))], np.uint8)
        places[pool] = numbers[drawn]

    def _draw(self, pool: np.ndarray, groups: np.ndarray | None, draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What is drawn for each sample of the pool; for all of a group the same."""
        if groups is not None:
            units, firsts = units_of(groups[pool])
            classes = np.zeros(len(firsts), np.uint8) if self._classes is None else self._classes[pool][firsts]
            return draw(classes)[units]
        if self._classes is None:
            # As long as the pool, without taking room for it.
            return draw(np.broadcast_to(np.uint8(0), int(np.count_nonzero(pool))))
        return draw(self._classes[pool])

    def _draw_folds(self, places: np.ndarray, groups: np.ndarray | None) -> dict[str, np.ndarray]:
        folds = self._asked.folds
        assert folds is not None
        pool = (places == _TRAIN) | (places == _VAL)
        count = int(np.count_nonzero(pool)) if groups is None else len(np.unique(groups[pool]))
        if count < folds:
            what = "samples" if groups is None else "groups"
            raise ArgumentError(
                f"{self._index.path}: {spelled('folds', folds)}: there are {count} {what} for them, allowed is up to as many"
            )
        of = np.full(len(places), folds, np.min_scalar_type(folds))
        of[pool] = self._draw(pool, groups, lambda classes: draw_folds(classes, folds, self._asked.seed))
        splits = {}
        for number in range(folds):
            its = of == number
            splits[f"fold{number}-train"] = _ids(pool & ~its)
            splits[f"fold{number}-val"] = _ids(its)
        return splits

    def _checked(self, splits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Without the splits that were asked to be none.

        Raises:
            ArgumentError: Where another has no sample, or the folds have samples of a new test split.
        """
        asked = self._asked
        for name in sorted(asked.redrawn):
            if not splits[name].size and getattr(asked, name, None) != 0:
                shares = " ".join(spelled(split, share) for split, share in asked.fractions.items())
                raise ArgumentError(f"{self._index.path}: {shares or 'the lists'}: no sample is left for {name}")
        if "test" in asked.redrawn and asked.folds is None:
            test = np.zeros(self._index.num_samples, bool)
            test[splits["test"]] = True
            for name in (name for name in splits if _FOLD.fullmatch(name)):
                if test[splits[name]].any():
                    raise ArgumentError(
                        f"{self._index.path}: {name} has samples of the new test: give {spelled('folds')} too, 0 for no folds"
                    )
        return {name: ids for name, ids in splits.items() if name not in asked.redrawn or ids.size}


def _ids(chosen: np.ndarray) -> np.ndarray:
    """`(n,)` uint64: the sample ids where it is true."""
    return np.flatnonzero(chosen).view("<u8")
