"""Stratified draws: which samples go to which split or fold, with the same fraction of every class.

Units are drawn: samples, or groups of samples that stay together. One keyed permutation of all units says in which order they
are visited; the first units of each class in this order go to the first split, those after them to the next. So a draw takes
no more than a byte or two for each unit, and small fractions take little time.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping

import numpy as np

from kseq.arguments import spelled, whole
from kseq.errors import ArgumentError
from kseq.ordering.permutation import hash_key, permute

__all__ = ["check_fractions", "count_classes", "draw_folds", "draw_splits"]

# Units that are visited at once: as many as stay in a core's cache (measured: twice as fast as four times as many).
_AT_ONCE = 1 << 14
_COUNTED_AT_ONCE = 1 << 20


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Raise ArgumentError unless each fraction is in (0, 1), and their sum is below 1."""
    for name, fraction in fractions.items():
        if not isinstance(fraction, numbers.Real) or not 0 < fraction < 1:
            raise ArgumentError(f"{spelled(name, fraction)}: allowed is a share between 0 and 1")
    if sum(fractions.values()) >= 1:
        shares = " and ".join(spelled(name, share) for name, share in fractions.items())
        raise ArgumentError(f"{shares}: leaves nothing for train, allowed are shares that sum to less than 1")


def count_classes(classes: np.ndarray, num_classes: int = 0) -> np.ndarray:
    """`(num_classes or more,)` int64: how many units there are of each class, without a copy of `classes`."""
    sizes = np.zeros(num_classes, np.int64)
    for start in range(0, len(classes), _COUNTED_AT_ONCE):
        counts = np.bincount(classes[start : start + _COUNTED_AT_ONCE], minlength=len(sizes))
        counts[: len(sizes)] += sizes
        sizes = counts
    return sizes


def draw_splits(classes: np.ndarray, fractions: Mapping[str, float], seed: int) -> np.ndarray:
    """Draw which units go to which of some splits.

    A split gets its fraction of all units, rounded to the nearest whole number, and of each class as near to that fraction as
    whole numbers allow. The splits are served in the order of their names.

    Args:
        classes: `(n,)` whole numbers of 0 or more: the class of each unit; all 0 to draw without regard to classes.
        fractions: Split name to its fraction, see `check_fractions`.
        seed: Any whole number; another seed draws other units.

    Returns:
        `(n,)` uint8: 0 for no split, 1 for the first split in the order of their names, and so on.
    """
    sizes = count_classes(classes, 1)
    left, ends = sizes.copy(), []
    for _, fraction in sorted(fractions.items()):
        left -= _class_quotas(sizes, left, fraction)
        ends.append(sizes - left)
    drawn = np.zeros(len(classes), np.uint8)
    missing = int((sizes - left).sum())
    for units, ranks in _visit_shuffled(classes, len(sizes), seed):
        if not missing:
            break
        unit_classes = classes[units]
        num_passed = sum((ranks >= end[unit_classes] for end in ends), np.zeros(len(units), np.uint8))
        is_drawn = num_passed < len(ends)
        drawn[units[is_drawn]] = num_passed[is_drawn] + np.uint8(1)
        missing -= int(is_drawn.sum())
    return drawn


def draw_folds(classes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Draw which fold each unit is in. The sizes of folds differ by one unit at most, as a whole and in each class.

    Args:
        classes: As in `draw_splits`.
        folds: How many folds there are.
        seed: Any whole number; another seed draws other folds.

    Returns:
        `(n,)` unsigned integers below `folds`.
    """
    sizes = count_classes(classes, 1)
    firsts = np.cumsum(sizes) - sizes
    drawn = np.empty(len(classes), np.min_scalar_type(folds - 1))
    for units, ranks in _visit_shuffled(classes, len(sizes), seed):
        # Classes are dealt one after the other, each from the fold where the one before ended.
        drawn[units] = (firsts[classes[units]] + ranks) % folds
    return drawn


def _visit_shuffled(classes: np.ndarray, num_classes: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All units in a shuffled order, part by part; with each unit, how many of its class came before it."""
    key, count = hash_key(whole("seed", seed), 1), len(classes)
    num_seen = np.zeros(num_classes, np.int64)
    for start in range(0, count, _AT_ONCE):
        units = permute(np.arange(start, min(start + _AT_ONCE, count)), count, key)
        unit_classes = classes[units]
        order = np.argsort(unit_classes, kind="stable")
        sorted_classes = unit_classes[order]
        starts = np.flatnonzero(np.concatenate([[True], sorted_classes[1:] != sorted_classes[:-1]]))
        lengths = np.diff(starts, append=len(units))
        present = sorted_classes[starts]
        ranks = np.empty(len(units), np.int64)
        ranks[order] = np.arange(len(units)) + np.repeat(num_seen[present] - starts, lengths)
        num_seen[present] += lengths
        yield units, ranks


def _class_quotas(sizes: np.ndarray, left: np.ndarray, fraction: float) -> np.ndarray:
    """How many units of each class a split gets: their sum is its fraction of all, the largest remainders are rounded up.

    It is A. Hamilton's method. A class gives no more than other splits left of it.
    """
    exact = sizes * fraction
    quotas = np.minimum(np.floor(exact).astype(np.int64), left)
    missing = round(int(sizes.sum()) * fraction) - int(quotas.sum())
    while missing > 0 and (has_more := np.flatnonzero(quotas < left)).size:
        chosen = has_more[np.argsort(quotas[has_more] - exact[has_more], kind="stable")[:missing]]
        quotas[chosen] += 1
        missing -= len(chosen)
    return quotas
