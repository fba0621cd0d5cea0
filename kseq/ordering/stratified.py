"""Shares of samples drawn by chance, of each class alike: which go to which split or fold.

What is drawn are units: samples, or groups of samples that stay together. One keyed permutation of all units says in which
order they are looked at; of each class, the first in this order go to the first split, those after them to the next. So it
takes no more than a byte or two for each unit, and where the shares are small, no more time than they are worth.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping

import numpy as np

from kseq.arguments import spelled, whole
from kseq.errors import ArgumentError
from kseq.ordering.permutation import hash_key, permute

__all__ = ["check_fractions", "count_classes", "draw_folds", "draw_splits"]

# So many units are looked at in one go, which is what stays in a core's cache (measured: twice as fast as four times as many).
_AT_ONCE = 1 << 14
_COUNTED_AT_ONCE = 1 << 20


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Raise ArgumentError unless each share is in (0, 1), and something is left of the whole."""
    for name, fraction in fractions.items():
        if not isinstance(fraction, numbers.Real) or not 0 < fraction < 1:
            raise ArgumentError(f"{spelled(name, fraction)}: allowed is a share between 0 and 1")
    if sum(fractions.values()) >= 1:
        shares = " and ".join(spelled(name, share) for name, share in fractions.items())
        raise ArgumentError(f"{shares}: leaves nothing for train, allowed are shares that sum to less than 1")


def count_classes(classes: np.ndarray, num_classes: int = 0) -> np.ndarray:
    """`(num_classes or more,)` int64: how many there are of each class, without a copy of `classes`."""
    sizes = np.zeros(num_classes, np.int64)
    for start in range(0, len(classes), _COUNTED_AT_ONCE):
        found = np.bincount(classes[start : start + _COUNTED_AT_ONCE], minlength=len(sizes))
        found[: len(sizes)] += sizes
        sizes = found
    return sizes


def draw_splits(classes: np.ndarray, fractions: Mapping[str, float], seed: int) -> np.ndarray:
    """Which units go to which of some splits.

    A split gets its share of all units, rounded to the nearest whole number, and of each class as near to that as whole
    numbers are. The splits take their turns in the order of their names.

    Args:
        classes: `(n,)` whole numbers of 0 or more: the class of each unit; all 0 for shares of the whole alone.
        fractions: Split name to its share, see `check_fractions`.
        seed: Any whole number; another draws others.

    Returns:
        `(n,)` uint8: 0 for no split, 1 for the first in the order of their names, and so on.
    """
    sizes = count_classes(classes, 1)
    left, ends = sizes.copy(), []
    for _, fraction in sorted(fractions.items()):
        left -= _whole_shares(sizes, left, fraction)
        ends.append(sizes - left)
    drawn = np.zeros(len(classes), np.uint8)
    wanted = int((sizes - left).sum())
    for units, ranks in _by_chance(classes, len(sizes), seed):
        if not wanted:
            break
        its = classes[units]
        passed = sum((ranks >= end[its] for end in ends), np.zeros(len(units), np.uint8))
        taken = passed < len(ends)
        drawn[units[taken]] = passed[taken] + np.uint8(1)
        wanted -= int(taken.sum())
    return drawn


def draw_folds(classes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Which fold each unit is in; folds differ by one unit at most, as a whole and in each class.

    Args:
        classes: As `draw_splits` takes them.
        folds: How many.
        seed: Any whole number; another draws others.

    Returns:
        `(n,)` unsigned integers below `folds`.
    """
    sizes = count_classes(classes, 1)
    firsts = np.cumsum(sizes) - sizes
    drawn = np.empty(len(classes), np.min_scalar_type(folds - 1))
    for units, ranks in _by_chance(classes, len(sizes), seed):
        # Classes are dealt one after the other, each on where the one before ended.
        drawn[units] = (firsts[classes[units]] + ranks) % folds
    return drawn


def _by_chance(classes: np.ndarray, num_classes: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All units in an order of chance, part by part; with each, how many of its class came before it."""
    key, count = hash_key(whole("seed", seed), 1), len(classes)
    seen = np.zeros(num_classes, np.int64)
    for start in range(0, count, _AT_ONCE):
        units = permute(np.arange(start, min(start + _AT_ONCE, count)), count, key)
        its = classes[units]
        order = np.argsort(its, kind="stable")
        rising = its[order]
        begins = np.flatnonzero(np.concatenate([[True], rising[1:] != rising[:-1]]))
        lengths = np.diff(begins, append=len(units))
        found = rising[begins]
        ranks = np.empty(len(units), np.int64)
        ranks[order] = np.arange(len(units)) + np.repeat(seen[found] - begins, lengths)
        seen[found] += lengths
        yield units, ranks


def _whole_shares(sizes: np.ndarray, left: np.ndarray, fraction: float) -> np.ndarray:
    """Whole shares of classes that add up to the share of the total: largest remainders round up (Hamilton's method).

    A class gives no more than what other splits left of it.
    """
    exact = sizes * fraction
    shares = np.minimum(np.floor(exact).astype(np.int64), left)
    missing = round(int(sizes.sum()) * fraction) - int(shares.sum())
    while missing > 0 and (can := np.flatnonzero(shares < left)).size:
        best = can[np.argsort(shares[can] - exact[can], kind="stable")[:missing]]
        shares[best] += 1
        missing -= len(best)
    return shares
