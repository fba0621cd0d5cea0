"""Stratified draws: which samples go to which split or fold, with the same fraction of every class.

Units are drawn: samples, or groups of samples that stay together. One keyed permutation of all units says in which order they
are visited; the first units of each class in this order go to the first split, those after them to the next. So a draw takes
no more than a byte or two for each unit, and small fractions take little time. Units of different sizes are drawn by their
sizes, which takes some numbers for each of them.

A class keeps at least one unit outside of all splits that are drawn: nothing could be learned of it otherwise. Where no class
has two units, classes do not count.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence

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


def draw_splits(classes: np.ndarray, fractions: Mapping[str, float], seed: int, sizes: np.ndarray | None = None) -> np.ndarray:
    """Draw which units go to which of some splits.

    A split gets of each class as near to its fraction as whole numbers allow, and of all units its fraction, rounded to the
    nearest whole number, as far as that is possible where each class keeps a unit. The splits are served in the order of their
    names. Of units of different sizes, a fraction is one of their sum: a unit that is larger than the share of its class is
    drawn only if that brings a split nearer to its fraction of all.

    Args:
        classes: `(n,)` whole numbers of 0 or more: the class of each unit; all 0 to draw without regard to classes.
        fractions: Split name to its fraction, see `check_fractions`.
        seed: Any whole number; another seed draws other units.
        sizes: `(n,)` whole numbers of 1 or more: how large each unit is; None if all are equal.

    Returns:
        `(n,)` uint8: 0 for no split, 1 for the first split in the order of their names, and so on.
    """
    shares = [fraction for _, fraction in sorted(fractions.items())]
    if count_classes(classes, 1).max() == 1:
        classes = np.zeros(len(classes), np.uint8)
    if sizes is None or (sizes == 1).all():
        return _draw_equal_units(classes, shares, seed)
    return _draw_sized_units(classes, shares, seed, sizes)


def _draw_equal_units(classes: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    counts = count_classes(classes, 1)
    left, ends = counts.copy(), []
    for fraction in fractions:
        left -= _class_quotas(counts, left, fraction)
        ends.append(counts - left)
    drawn = np.zeros(len(classes), np.uint8)
    missing = int((counts - left).sum())
    for units, ranks in _visit_shuffled(classes, len(counts), seed):
        if not missing:
            break
        unit_classes = classes[units]
        num_passed = sum((ranks >= end[unit_classes] for end in ends), np.zeros(len(units), np.uint8))
        is_drawn = num_passed < len(ends)
        drawn[units[is_drawn]] = num_passed[is_drawn] + np.uint8(1)
        missing -= int(is_drawn.sum())
    return drawn


def _draw_sized_units(classes: np.ndarray, fractions: Sequence[float], seed: int, sizes: np.ndarray) -> np.ndarray:
    """What `draw_splits` gives, of units of different sizes."""
    order = np.concatenate([units for units, _ in _visit_shuffled(classes, len(count_classes(classes, 1)), seed)])
    drawn = np.zeros(len(classes), np.uint8)
    total, class_sizes = int(sizes.sum()), np.bincount(classes, sizes).astype(np.int64)
    for number, fraction in enumerate(fractions, start=1):
        quotas = np.floor(class_sizes * fraction).astype(np.int64)
        while (chosen := _units_that_fit(drawn, order, quotas, classes, sizes)).size:
            drawn[chosen] = number
            quotas -= np.bincount(classes[chosen], sizes[chosen], len(quotas)).astype(np.int64)
        missing = round(total * fraction) - int(sizes[drawn == number].sum())
        _draw_rest(drawn, number, missing, order, classes, sizes)
    return drawn


def _units_that_fit(
    drawn: np.ndarray, order: np.ndarray, quotas: np.ndarray, classes: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """The first units of each class that are not drawn, as many as fit into its quota, with one left to the class."""
    units = order[drawn[order] == 0]
    # A unit that fits into no quota would keep those after it out.
    units = units[sizes[units] <= quotas[classes[units]]]
    units = units[np.argsort(classes[units], kind="stable")]
    sums = np.cumsum(sizes[units])
    firsts = np.searchsorted(classes[units], classes[units])
    sums -= (sums - sizes[units])[firsts]
    chosen = units[sums <= quotas[classes[units]]]
    left = count_classes(classes[drawn == 0], len(quotas))
    exhausted = np.flatnonzero((left > 0) & (count_classes(classes[chosen], len(left)) == left))
    return np.delete(chosen, np.searchsorted(classes[chosen], exhausted, side="right") - 1)


def _draw_rest(drawn: np.ndarray, number: int, missing: int, order: np.ndarray, classes: np.ndarray, sizes: np.ndarray) -> None:
    """Draw what a split still lacks, at most one unit of each class, by changing `drawn`: units that fit, then one that brings
    it nearer to what it should have."""
    left = count_classes(classes[drawn == 0], int(classes.max()) + 1)
    candidates = order[(drawn[order] == 0) & (sizes[order] < 2 * missing)]
    served: set[int] = set()
    for factor in (1, 2):
        for unit in candidates:
            class_number, size = int(classes[unit]), int(sizes[unit])
            if missing <= 0:
                return
            fits = size <= missing if factor == 1 else size < 2 * missing
            if fits and not drawn[unit] and left[class_number] > 1 and class_number not in served:
                drawn[unit] = number
                served.add(class_number)
                left[class_number] -= 1
                missing -= size


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
    """How many units of each class a split gets: the largest remainders of its fraction are rounded up, so that the sum is its
    fraction of all.

    It is A. Hamilton's method. A class gives no more than other splits left of it but for one unit, and no more than its
    fraction, rounded up.
    """
    exact = sizes * fraction
    floors = np.floor(exact).astype(np.int64)
    spare = np.maximum(left - 1, 0)
    quotas = np.minimum(floors, spare)
    missing = round(int(sizes.sum()) * fraction) - int(quotas.sum())
    if missing > 0:
        has_more = np.flatnonzero(np.minimum(floors + 1, spare) > quotas)
        chosen = has_more[np.argsort(quotas[has_more] - exact[has_more], kind="stable")[:missing]]
        quotas[chosen] += 1
    return quotas
