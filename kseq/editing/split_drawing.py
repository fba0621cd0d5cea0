"""Drawing splits and folds, with the rules of `kseq/editing/split.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kseq.arguments import spelled
from kseq.editing.split_request import BASIC_SPLITS, SplitRequest, is_fold
from kseq.errors import ArgumentError
from kseq.ordering.stratified import draw_folds, draw_splits
from kseq.reading.groups import number_groups, read_groups
from kseq.storage.index import Index

__all__ = ["SplitDrawing"]

# The code of the split that a sample is in; samples that were dropped, or that no list names, are in none.
_CODES = {name: code for code, name in enumerate(BASIC_SPLITS)}
_TRAIN, _VAL = _CODES["train"], _CODES["val"]
_NONE = len(BASIC_SPLITS)


class SplitDrawing:
    """The splits that were asked for.

    Args:
        index: The index of the dataset.
        request: What was asked for; `stratify` is not None.
        labels: `(samples,)`: the label of each sample; None if there is no label.
        listed: Split name to the `(n,)` sample ids in its list, in rising order.
    """

    def __init__(
        self, index: Index, request: SplitRequest, labels: np.ndarray | None, listed: Mapping[str, np.ndarray]
    ) -> None:
        self._index = index
        self._request = request
        self._classes = labels if request.stratify else None
        self._listed = listed

    def splits(self) -> dict[str, np.ndarray]:
        """Split name to `(n,)` uint64 sample ids, for all splits of the dataset after the change.

        Raises:
            ArgumentError: If a split would be empty, or splits would have samples in common that must not.
        """
        request = self._request
        splits = dict(self._index.splits)
        splits.update({name: ids.view("<u8") for name, ids in self._listed.items()})
        if request.changed or request.folds:
            codes = self._codes(splits)
            groups = None if request.group is None else read_groups(self._index, request.group)
            if groups is not None:
                self._check_groups(codes, groups)
            self._draw_fractions(codes, groups)
            # A train that is listed may have lost samples to others.
            for name in (request.changed - self._listed.keys()) | (request.changed & {"train"}):
                splits[name] = _ids_where(codes == _CODES[name])
            self._check_not_empty(splits)
            self._check_old_folds(splits)
            splits = {name: ids for name, ids in splits.items() if name not in request.changed or ids.size}
        if request.folds is not None:
            splits = {name: ids for name, ids in splits.items() if not is_fold(name)}
        if request.folds:
            splits |= self._draw_folds(request.folds, codes, groups)
        return splits

    def _codes(self, splits: Mapping[str, np.ndarray]) -> np.ndarray:
        """`(samples,)` uint8: the code of each sample's split before any sample is drawn."""
        codes = np.full(self._index.num_samples, _NONE if "train" in self._listed else _TRAIN, np.uint8)
        codes[self._index.dropped] = _NONE
        fixed: list[str] = []
        for name in (name for name in BASIC_SPLITS if name in splits and self._is_fixed(name)):
            self._index.check_ids(splits[name])
            if self._request.changed:
                self._check_apart(name, splits[name], codes, fixed)
            codes[splits[name]] = _CODES[name]
            fixed.append(name)
        return codes

    def _is_fixed(self, name: str) -> bool:
        """Whether the samples of a split are listed, or stay."""
        return name in self._listed or name not in (self._request.changed or {"train"})

    def _check_apart(self, name: str, ids: np.ndarray, codes: np.ndarray, fixed: Sequence[str]) -> None:
        """Raise ArgumentError if a split has a sample of another split that is listed or stays."""
        for other in fixed:
            common = ids[codes[ids] == _CODES[other]]
            if common.size:
                first, second = (f"{split} ({'listed' if split in self._listed else 'which stays'})" for split in (other, name))
                are_listed = {other, name} <= self._listed.keys()
                advice = "" if are_listed else ": say what is to become of that one too, 0 for none"
                raise ArgumentError(
                    f"{self._index.path}: sample {common[0]} would be in {first} and in {second}, allowed is one{advice}"
                )

    def _check_groups(self, codes: np.ndarray, groups: np.ndarray) -> None:
        """Raise ArgumentError if a group has samples in two splits already."""
        ids = np.flatnonzero(codes != _NONE)
        units, firsts = number_groups(groups[ids])
        unit_codes = codes[ids]
        if not self._request.changed:
            # Folds are drawn from both.
            unit_codes[unit_codes == _VAL] = _TRAIN
        wrong = np.flatnonzero(unit_codes != unit_codes[firsts][units])
        if wrong.size:
            pair = int(firsts[units[wrong[0]]]), int(wrong[0])
            first, second = (f"{ids[number]} ({BASIC_SPLITS[unit_codes[number]]})" for number in pair)
            raise ArgumentError(
                f"{self._index.path}: {spelled('group', self._request.group)}: samples {first} and {second} are of one group, "
                "but in splits that are listed or stay: allowed is one for both"
            )

    def _draw_fractions(self, codes: np.ndarray, groups: np.ndarray | None) -> None:
        """Move samples from train to `val` and `test`, by changing their codes."""
        fractions = self._request.fractions
        if not fractions:
            return
        is_train = codes == _TRAIN
        drawn = self._draw(is_train, groups, lambda classes, sizes: draw_splits(classes, fractions, self._request.seed, sizes))
        drawn_codes = np.array([_TRAIN, *(_CODES[name] for name in sorted(fractions))], np.uint8)
        codes[is_train] = drawn_codes[drawn]

    def _draw(
        self, pool: np.ndarray, groups: np.ndarray | None, draw: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    ) -> np.ndarray:
        """What is drawn for each sample of a pool; the same for all samples of a group.

        Args:
            pool: `(samples,)` bool: which samples take part.
            groups: `(samples,)` int64: the group of each sample; None if each sample is drawn on its own.
            draw: Given the `(n,)` classes of units and their sizes, None if all are equal, returns what is drawn for each.
        """
        if groups is not None:
            units, firsts = number_groups(groups[pool])
            classes = np.zeros(len(firsts), np.uint8) if self._classes is None else self._classes[pool][firsts]
            return draw(classes, np.bincount(units))[units]
        if self._classes is None:
            # As long as the pool, without memory for it.
            return draw(np.broadcast_to(np.uint8(0), int(np.count_nonzero(pool))), None)
        return draw(self._classes[pool], None)

    def _draw_folds(self, folds: int, codes: np.ndarray, groups: np.ndarray | None) -> dict[str, np.ndarray]:
        """The splits of all folds."""
        pool = (codes == _TRAIN) | (codes == _VAL)
        count = int(np.count_nonzero(pool)) if groups is None else len(np.unique(groups[pool]))
        if count < folds:
            units = "samples" if groups is None else "groups"
            raise ArgumentError(
                f"{self._index.path}: {spelled('folds', folds)}: there are {count} {units} for them, allowed is up to as many"
            )
        fold_of_sample = np.full(len(codes), folds, np.min_scalar_type(folds))
        fold_of_sample[pool] = self._draw(pool, groups, lambda classes, _: draw_folds(classes, folds, self._request.seed))
        splits = {}
        for number in range(folds):
            is_in_fold = fold_of_sample == number
            splits[f"fold{number}-train"] = _ids_where(pool & ~is_in_fold)
            splits[f"fold{number}-val"] = _ids_where(is_in_fold)
        return splits

    def _check_not_empty(self, splits: Mapping[str, np.ndarray]) -> None:
        """Raise ArgumentError if a split has no sample, unless it is to be removed."""
        request = self._request
        for name in sorted(request.changed):
            if not splits[name].size and request.shares.get(name) != 0:
                shares = " ".join(spelled(split, share) for split, share in request.fractions.items())
                raise ArgumentError(f"{self._index.path}: {shares or 'the lists'}: no sample is left for {name}")

    def _check_old_folds(self, splits: Mapping[str, np.ndarray]) -> None:
        """Raise ArgumentError if folds that stay have samples of a new test split."""
        if "test" not in self._request.changed or self._request.folds is not None:
            return
        is_test = np.zeros(self._index.num_samples, bool)
        is_test[splits["test"]] = True
        for name in (name for name in splits if is_fold(name)):
            if is_test[splits[name]].any():
                raise ArgumentError(
                    f"{self._index.path}: {name} has samples of the new test: give {spelled('folds')} too, 0 for no folds"
                )


def _ids_where(chosen: np.ndarray) -> np.ndarray:
    """`(n,)` uint64: the sample ids of the chosen samples, given as `(samples,)` bool."""
    return np.flatnonzero(chosen).view("<u8")
