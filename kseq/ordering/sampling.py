"""Laws of drawing: orders in which some samples come more often than others, as exactly as can be.

All is arithmetic on (seed, epoch, place in the epoch), with one list of all samples that is made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from kseq.errors import ArgumentError
from kseq.ordering.epoch_order import Order
from kseq.ordering.permutation import hash_each, hash_key, permute, permute_each

__all__ = ["MOST_DRAWS", "GroupSampler", "Proportions", "RoundRobin", "SampledOrder", "Sampler", "WeightedSampler", "apportion"]

# Draws per epoch, and samples, for which no product of two numbers below leaves an int64.
MOST_DRAWS = 2**31 - 1
# So many epochs are told apart, for the same reason.
_EPOCHS = 2**31

# The third number of keys, none of which is that of an augmentation; and of the order in which members are listed.
_IN_GROUPS, _OF_GROUPS, _OF_MEMBERS = 0, -1, -2

# Weights become whole numbers whose sum is about this.
_WEIGHT_BITS = 61
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15


class Sampler(Protocol):
    """Which sample comes at each place of an epoch."""

    def drawn(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` int64 positions at `(n,)` int64 places, and turns: those of a position count from 0."""


@dataclass(frozen=True)
class SampledOrder(Order):
    """An order of `num_samples` draws an epoch, by a law; with `shuffle=False`, each epoch is like the first.

    Args:
        law: Which position is drawn at each place.
    """

    law: Sampler | None = field(default=None, compare=False)

    def _drawn(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.law is not None
        return self.law.drawn(places, epoch % _EPOCHS if self.shuffle else 0)


class GroupSchedule(Protocol):
    """Which group's turn it is."""

    def dealt(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` int64 groups at places of an epoch, and how many draws of that group, of all epochs, came before."""

    def begins(self, groups: np.ndarray, epoch: int) -> np.ndarray:
        """How many draws of each of `(n,)` groups came before an epoch."""


class RoundRobin:
    """Groups take turns: each comes once in every round, in an order of its own; rounds go on through all epochs.

    So after any number of epochs, and in every one of them, no group came more than once more than another.

    Args:
        num_groups: How many.
        length: Draws per epoch.
        seed: Draws the orders.
    """

    def __init__(self, num_groups: int, length: int, seed: int) -> None:
        self._num_groups = num_groups
        self._length = length
        self._seed = seed

    def dealt(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        begin = np.full_like(places, epoch * self._length)
        sizes = np.full_like(places, self._num_groups)
        return _in_passes(begin + places, sizes, begin, begin + self._length, hash_key(self._seed, epoch, _OF_GROUPS))

    def begins(self, groups: np.ndarray, epoch: int) -> np.ndarray:
        # Of the round that the epoch's begin cuts in two, the first groups by number came before it: see `_in_passes`.
        return -((groups - epoch * self._length) // self._num_groups)


class Proportions:
    """Groups take turns in proportion: each epoch has exactly `quotas` draws of each, evenly spread.

    The largest group's turns lie at even distances (J. Bresenham, "Algorithm for computer control of a digital plotter",
    1965); of the places that are left, those of the next largest do, and so on. In any stretch of places - a batch, or a rank's
    share of one - the count of two groups is off their proportion by less than 1, that of three by less than 2; of more, the
    count of the j-th largest by less than 1 + 1 + 1/2 + ... + 1/(j - 1).

    Args:
        quotas: `(groups,)` whole numbers of 1 or more: draws of each group per epoch.
    """

    def __init__(self, quotas: np.ndarray) -> None:
        self._quotas = quotas

    def dealt(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        groups, numbers = np.empty_like(places), np.empty_like(places)
        # Which of `places` are still open, where they are among those that are left in the epoch, and how many these are.
        open_ones, left, length = np.arange(len(places)), places, int(self._quotas.sum())
        for group in np.argsort(-self._quotas, kind="stable").tolist():
            quota = int(self._quotas[group])
            before = left * quota // length
            is_its = (left + 1) * quota // length > before
            groups[open_ones[is_its]] = group
            numbers[open_ones[is_its]] = before[is_its]
            open_ones, left, length = open_ones[~is_its], (left - before)[~is_its], length - quota
        return groups, numbers + self.begins(groups, epoch)

    def begins(self, groups: np.ndarray, epoch: int) -> np.ndarray:
        begins: np.ndarray = epoch * self._quotas[groups]
        return begins


class GroupSampler:
    """Groups of samples are drawn as a dealer says, and the samples of a group alike.

    The draws of a group, one after the other through all epochs, are passes over its samples: each pass has every one of them
    once. Nor does a sample come twice in an epoch while another of its group does not come: in every epoch, and in all epochs
    up to any, the counts of two samples of a group differ by at most 1.

    Args:
        groups: `(samples,)` whole numbers in [0, num_groups): the group of each position; each group has one at least.
        num_groups: How many.
        dealer: Whose turn it is.
        seed: Draws the passes.
    """

    def __init__(self, groups: np.ndarray, num_groups: int, dealer: GroupSchedule, seed: int) -> None:
        self._members = _shuffled(groups, seed)
        self._sizes = np.bincount(groups, minlength=num_groups)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._dealer = dealer
        self._seed = seed

    def drawn(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        groups, numbers = self._dealer.dealt(places, epoch)
        begins, ends = (self._dealer.begins(groups, each) for each in (epoch, epoch + 1))
        sizes, keys = self._sizes[groups], hash_each(hash_key(self._seed, epoch, _IN_GROUPS), groups.astype(np.uint64))
        members, passes = _in_passes(numbers, sizes, begins, ends, keys)
        whole, cut = np.divmod(begins, sizes)
        # The pass that was under way when the epoch began has only those that had not come.
        turns = passes - whole - (members < cut)
        return self._members[self._starts[groups] + members].astype(np.int64), turns


class WeightedSampler:
    """Each epoch draws every sample as often as its weight says: its exact share, rounded down or up.

    Systematic sampling (W. Madow, "On the Theory of Systematic Sampling, II", 1949): the weights lie end to end, in an order
    that is drawn once, and points at even distances fall on them; a sample is drawn once for each point on it. Where the first
    point lies is drawn by `seed`, evenly within the distance: so what is expected of each epoch is the exact share. From epoch
    to epoch the points move on by the golden ratio of their distance, so that what was rounded down soon is rounded up.

    All is done in whole numbers: the law holds to the last bit for weights that are whole, equal, or multiples of a power of
    two, others are rounded to 2**-61 of their sum.

    Args:
        weights: `(samples,)` float64 of 0 or more, finite, not all 0.
        length: Draws per epoch.
        seed: Draws the first point, and the order of the draws in each epoch.
    """

    def __init__(self, weights: np.ndarray, length: int, seed: int) -> None:
        largest = float(weights.max())
        # Divided first: the sum of finite numbers need not be finite.
        exponent = int(np.frexp(largest)[1])
        scaled = np.ldexp(weights, -exponent)
        whole = np.rint(np.ldexp(scaled, _WEIGHT_BITS - int(np.frexp(scaled.sum())[1]))).astype(np.int64)
        drawn = np.flatnonzero(whole)
        order = _shuffled(np.zeros(len(drawn), np.int64), seed)
        self._positions = drawn[order]
        self._edges = np.cumsum(whole[self._positions])
        self._total = int(self._edges[-1])
        self._length = length
        self._seed = seed

    def drawn(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        draws = permute(places, self._length, hash_key(self._seed, epoch))
        fraction = (hash_key(self._seed, 0, _OF_GROUPS) + epoch * _GOLDEN_GAMMA) % 2**64
        shift = (fraction * self._total) >> 64
        found = np.searchsorted(self._edges, self._points(draws, shift), side="right")
        starts = np.where(found > 0, self._edges[found - 1], 0)
        # The first draw that falls on the sample: about there, since floats are exact to less than 1.
        about = (starts * (self._length / self._total) - shift / self._total).astype(np.int64)
        first = about - 1 + sum(self._points(about + step, shift) < starts for step in (-1, 0, 1))
        return self._positions[found], draws - first

    def _points(self, draws: np.ndarray, shift: int) -> np.ndarray:
        """Where points fall, in [0, total): `(draws * total + shift) // length`, of which no part leaves an int64."""
        whole, rest = divmod(self._total, self._length)
        return draws * whole + (draws * rest + shift) // self._length


def _in_passes(
    numbers: np.ndarray, sizes: np.ndarray, begins: np.ndarray, ends: np.ndarray, keys: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which of `sizes` things come at some places of an endless row of passes over them, and in which pass.

    All passes go through the things in the order of their numbers, each place of a pass within the part of it that belongs to
    one epoch changed for another: so what an epoch has of a pass is a stretch of numbers, and where an epoch ends one pass and
    begins the next, the stretches overlap no sooner than they cover everything.

    Args:
        numbers: `(n,)` int64 places in the row.
        sizes: `(n,)` int64: how many things there are.
        begins: `(n,)` int64: the place in the row where the epoch of each number begins.
        ends: `(n,)` int64: where it ends.
        keys: One, or `(n,)` uint64: for each row and epoch another.

    Returns:
        `(n,)` int64 numbers of things in [0, size), and `(n,)` int64 passes.
    """
    passes = numbers // sizes
    starts = passes * sizes
    firsts = np.maximum(starts, begins)
    lengths = np.minimum(starts + sizes, ends) - firsts
    shuffled = permute_each(numbers - firsts, lengths, hash_each(keys, passes.astype(np.uint64)))
    return firsts - starts + shuffled, passes


def _shuffled(groups: np.ndarray, seed: int) -> np.ndarray:
    """`(n,)`: the positions, group by group, in an order that is drawn within each."""
    bits = hash_each(hash_key(seed, 0, _OF_MEMBERS), np.arange(len(groups), dtype=np.uint64)) >> np.uint64(24)
    order = np.argsort((groups.astype(np.uint64) << np.uint64(40)) | bits, kind="stable")
    return order.astype(np.int32 if len(groups) <= MOST_DRAWS else np.int64)


def apportion(length: int, shares: Sequence[float]) -> np.ndarray:
    """`(groups,)` int64 quotas in proportion to shares, each within 1 of exact, whose sum is `length`.

    What is left after rounding down goes to the largest remainders (A. Hamilton's method, 1792).

    Raises:
        ArgumentError: Where a share comes to nothing.
    """
    exact = length * (np.array(shares, np.float64) / max(shares))
    exact *= length / exact.sum()
    quotas = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")
    quotas[largest[: length - int(quotas.sum())]] += 1
    if not quotas.all():
        raise ArgumentError(
            f"an epoch of {length} samples has none of dataset {int(np.argmin(quotas))} of {len(quotas)}, whose share is "
            f"{shares[int(np.argmin(quotas))]:g}: give a larger share or epoch_size"
        )
    return quotas
