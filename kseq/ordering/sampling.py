"""Sampling: orders in which some samples come more often than others, as exactly as whole numbers allow.

Everything is arithmetic on (seed, epoch, slot in the epoch), with one list of all samples that is made once.
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

# Draws per epoch, and samples, for which no product of two numbers below overflows an int64.
MOST_DRAWS = 2**31 - 1
# Epochs are taken modulo this, for the same reason.
_EPOCHS = 2**31

# The third number of keys, none of which is that of an augmentation, so that all draws are independent.
_WITHIN_GROUPS, _OF_GROUPS, _OF_MEMBERS = 0, -1, -2

# Weights become whole numbers whose sum is about two to the power of this.
_WEIGHT_BITS = 61
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15


class Sampler(Protocol):
    """Says which sample comes at each slot of an epoch."""

    def draw(self, slots: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The positions at some slots of an epoch.

        Args:
            slots: `(n,)` int64.
            epoch: The epoch.

        Returns:
            `(n,)` int64 positions, and `(n,)` int64 turns: the draws of one position in an epoch have the turns 0, 1, 2, ...
        """


@dataclass(frozen=True)
class SampledOrder(Order):
    """An order of `num_samples` draws an epoch by a sampler; with `shuffle=False`, every epoch is like the first.

    Args:
        sampler: Says which position is drawn at each slot.
    """

    sampler: Sampler | None = field(default=None, compare=False)

    def _draw(self, slots: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.sampler is not None
        return self.sampler.draw(slots, epoch % _EPOCHS if self.shuffle else 0)


class GroupSchedule(Protocol):
    """Says which group of samples each slot of an epoch draws from. The draws of a group are numbered through all epochs."""

    def draw_groups(self, slots: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The group at each of `(n,)` slots, and the number of each draw among those from its group: both `(n,)` int64."""

    def num_draws_before(self, groups: np.ndarray, epoch: int) -> np.ndarray:
        """`(n,)` int64: how many draws each of `(n,)` groups has in all epochs before this one."""


class RoundRobin:
    """A schedule in rounds: each round draws once from every group, in an order of its own.

    Rounds go on through all epochs. In every epoch, and after any number of epochs, the counts of two groups differ by at most
    1.

    Args:
        num_groups: How many groups there are.
        length: Draws per epoch.
        seed: Draws the orders.
    """

    def __init__(self, num_groups: int, length: int, seed: int) -> None:
        self._num_groups = num_groups
        self._length = length
        self._seed = seed

    def draw_groups(self, slots: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        start = np.full_like(slots, epoch * self._length)
        sizes = np.full_like(slots, self._num_groups)
        return _draw_from_passes(start + slots, sizes, start, start + self._length, hash_key(self._seed, epoch, _OF_GROUPS))

    def num_draws_before(self, groups: np.ndarray, epoch: int) -> np.ndarray:
        # Of the round that the start of the epoch cuts in two, the first groups by number come before it: see
        # `_draw_from_passes`.
        return -((groups - epoch * self._length) // self._num_groups)


class Proportions:
    """A schedule in proportion: each epoch has exactly `quotas` draws from each group, evenly spread.

    The slots of the largest group lie at even distances (J. Bresenham, "Algorithm for computer control of a digital plotter",
    1965); of the slots that are left, those of the next largest group do, and so on. In any stretch of slots, such as a batch
    or the part of a batch that a rank takes, the counts of two groups are less than 1 off their proportion, those of three less
    than 2; of more groups, the count of the j-th largest is less than 1 + 1 + 1/2 + ... + 1/(j - 1) off.

    Args:
        quotas: `(groups,)` whole numbers of 1 or more: draws from each group per epoch.
    """

    def __init__(self, quotas: np.ndarray) -> None:
        self._quotas = quotas

    def draw_groups(self, slots: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        groups, numbers = np.empty_like(slots), np.empty_like(slots)
        # The slots that have no group yet, their numbers among those that are left in the epoch, and how many those are.
        open_slots, left, length = np.arange(len(slots)), slots, int(self._quotas.sum())
        for group in np.argsort(-self._quotas, kind="stable").tolist():
            quota = int(self._quotas[group])
            before = left * quota // length
            is_drawn = (left + 1) * quota // length > before
            groups[open_slots[is_drawn]] = group
            numbers[open_slots[is_drawn]] = before[is_drawn]
            open_slots, left, length = open_slots[~is_drawn], (left - before)[~is_drawn], length - quota
        return groups, numbers + self.num_draws_before(groups, epoch)

    def num_draws_before(self, groups: np.ndarray, epoch: int) -> np.ndarray:
        num_draws: np.ndarray = epoch * self._quotas[groups]
        return num_draws


class GroupSampler:
    """Draws from groups of samples by a schedule, and from the samples of a group equally often.

    The draws from a group, one after the other through all epochs, are passes over its samples: each pass has every sample
    once. No sample comes twice in an epoch while another of its group does not come. In every epoch, and in all epochs up to
    any epoch, the counts of two samples of a group differ by at most 1.

    Args:
        groups: `(samples,)` whole numbers in [0, num_groups): the group of each position; every group has at least one.
        num_groups: How many groups there are.
        schedule: Says which group each slot draws from.
        seed: Draws the passes.
    """

    def __init__(self, groups: np.ndarray, num_groups: int, schedule: GroupSchedule, seed: int) -> None:
        self._members = _shuffled_by_group(groups, seed)
        self._sizes = np.bincount(groups, minlength=num_groups)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._schedule = schedule
        self._seed = seed

    def draw(self, slots: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        groups, numbers = self._schedule.draw_groups(slots, epoch)
        starts = self._schedule.num_draws_before(groups, epoch)
        ends = self._schedule.num_draws_before(groups, epoch + 1)
        sizes, keys = self._sizes[groups], hash_each(hash_key(self._seed, epoch, _WITHIN_GROUPS), groups.astype(np.uint64))
        members, passes = _draw_from_passes(numbers, sizes, starts, ends, keys)
        whole_passes, num_drawn = np.divmod(starts, sizes)
        # Of the pass that was under way when the epoch began, the epoch has only the members that had not been drawn.
        turns = passes - whole_passes - (members < num_drawn)
        return self._members[self._starts[groups] + members].astype(np.int64), turns


class WeightedSampler:
    """Draws every sample in each epoch as often as its weight says: its exact share, rounded down or up.

    Systematic sampling (W. Madow, "On the Theory of Systematic Sampling, II", 1949): the weights lie end to end, in an order
    that is drawn once, and points at even distances fall on them; a sample is drawn once for each point on it. Where the first
    point lies is drawn by `seed`, evenly within the distance, so that the expected count in each epoch is the exact share. From
    epoch to epoch the points move on by the golden ratio of their distance, so that a share that was rounded down is soon
    rounded up.

    The arithmetic is in whole numbers: counts are exact for weights that are whole, equal, or multiples of a power of two;
    other weights are rounded to 2**-61 of their sum.

    Args:
        weights: `(samples,)` float64 of 0 or more, finite, not all 0.
        length: Draws per epoch.
        seed: Draws the first point, and the order of the draws in each epoch.
    """

    def __init__(self, weights: np.ndarray, length: int, seed: int) -> None:
        largest = float(weights.max())
        # Scaled first: the sum of finite numbers may be infinite.
        exponent = int(np.frexp(largest)[1])
        scaled = np.ldexp(weights, -exponent)
        whole = np.rint(np.ldexp(scaled, _WEIGHT_BITS - int(np.frexp(scaled.sum())[1]))).astype(np.int64)
        drawn = np.flatnonzero(whole)
        order = _shuffled_by_group(np.zeros(len(drawn), np.int64), seed)
        self._positions = drawn[order]
        self._edges = np.cumsum(whole[self._positions])
        self._total = int(self._edges[-1])
        self._length = length
        self._seed = seed

    def draw(self, slots: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        draws = permute(slots, self._length, hash_key(self._seed, epoch))
        fraction = (hash_key(self._seed, 0, _OF_GROUPS) + epoch * _GOLDEN_GAMMA) % 2**64
        shift = (fraction * self._total) >> 64
        numbers = np.searchsorted(self._edges, self._points(draws, shift), side="right")
        starts = np.where(numbers > 0, self._edges[numbers - 1], 0)
        # The first draw that falls on the sample: floats find it to within 1.
        about = (starts * (self._length / self._total) - shift / self._total).astype(np.int64)
        first = about - 1 + sum(self._points(about + step, shift) < starts for step in (-1, 0, 1))
        return self._positions[numbers], draws - first

    def _points(self, draws: np.ndarray, shift: int) -> np.ndarray:
        """Where points fall, in [0, total): `(draws * total + shift) // length` without a product that overflows an int64."""
        whole, rest = divmod(self._total, self._length)
        return draws * whole + (draws * rest + shift) // self._length


def _draw_from_passes(
    numbers: np.ndarray, sizes: np.ndarray, starts: np.ndarray, ends: np.ndarray, keys: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which member of a group some draws get, if all draws of all epochs are passes over the members, one pass after the other.

    Every pass takes the members in the order of their numbers; then, within a pass, the draws of one epoch are shuffled among
    each other. So the draws of one epoch get consecutive members of a pass, and where an epoch ends one pass and begins the
    next, no member comes twice before all members came.

    Args:
        numbers: `(n,)` int64: the numbers of the draws among all draws from the same group.
        sizes: `(n,)` int64: how many members the group of each draw has.
        starts: `(n,)` int64: the number of the first draw of the epoch from that group.
        ends: `(n,)` int64: the number after that of its last draw.
        keys: A key for all draws, or `(n,)` uint64: another one for each group and epoch.

    Returns:
        `(n,)` int64 members in [0, size), and `(n,)` int64 numbers of passes.
    """
    passes = numbers // sizes
    pass_starts = passes * sizes
    firsts = np.maximum(pass_starts, starts)
    lengths = np.minimum(pass_starts + sizes, ends) - firsts
    shuffled = permute_each(numbers - firsts, lengths, hash_each(keys, passes.astype(np.uint64)))
    return firsts - pass_starts + shuffled, passes


def _shuffled_by_group(groups: np.ndarray, seed: int) -> np.ndarray:
    """`(n,)`: the positions, group by group, shuffled within each group."""
    bits = hash_each(hash_key(seed, 0, _OF_MEMBERS), np.arange(len(groups), dtype=np.uint64)) >> np.uint64(24)
    order = np.argsort((groups.astype(np.uint64) << np.uint64(40)) | bits, kind="stable")
    return order.astype(np.int32 if len(groups) <= MOST_DRAWS else np.int64)


def apportion(length: int, proportions: Sequence[float]) -> np.ndarray:
    """`(groups,)` int64 quotas in proportion to some numbers, each within 1 of exact, whose sum is `length`.

    What is left after rounding down goes to the largest remainders (A. Hamilton's method, 1792).

    Raises:
        ArgumentError: If a quota is 0.
    """
    exact = length * (np.array(proportions, np.float64) / max(proportions))
    exact *= length / exact.sum()
    quotas = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")
    quotas[largest[: length - int(quotas.sum())]] += 1
    if not quotas.all():
        number = int(np.argmin(quotas))
        raise ArgumentError(
            f"an epoch of {length} samples has none of dataset {number} of {len(quotas)}, whose share is "
            f"{proportions[number]:g}: give a larger share or epoch_size"
        )
    return quotas
