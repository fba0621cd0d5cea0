"""Orders that draw samples more or less often: classes alike, datasets in proportion, samples by weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kseq.errors import ArgumentError
from kseq.order import Order, hash_each, hash_key, permute, permute_each, uniform

__all__ = ["DrawnOrder", "Law", "Shares", "Weights", "share_out"]


class Law(Protocol):
    """What decides which sample each draw of an epoch gives; draws are numbered from 0 to the epoch's length."""

    def drawn(self, draws: np.ndarray, epoch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """For `(n,)` draws, `(n,)` int64 positions, and `(n,)` int64 turns.

        Turns tell apart the draws of one epoch that give the same position, so that each can be cropped and flipped anew.
        """


@dataclass(frozen=True)
class DrawnOrder(Order):
    """An order that draws by a law: so many draws an epoch, shuffled as `Order` shuffles; other arguments are the same.

    Args:
        law: Which position each of `num_samples` draws gives.
    """

    law: Law | None = None

    def drawn_at(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.law is not None
        return self.law.drawn(permute(places, self.num_samples, hash_key(self.seed, epoch)), epoch, self.seed)


class Shares:
    """Every epoch draws as many samples of each group as its quota says, and the samples of a group alike.

    A group is gone through in shuffled passes, one after the other over all epochs: no sample comes again before all of
    its group have come, and the next epoch goes on where the last one stopped.

    Args:
        members: `(n,)` int64: positions, the groups one after the other.
        sizes: `(groups,)`: how many of them each group has, at least 1.
        quotas: `(groups,)`: draws of each group per epoch.
    """

    def __init__(self, members: np.ndarray, sizes: Sequence[int] | np.ndarray, quotas: Sequence[int] | np.ndarray) -> None:
        self._members = members
        self._sizes = np.asarray(sizes, np.int64)
        self._quotas = np.asarray(quotas, np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._ends = np.cumsum(self._quotas)

    def drawn(self, draws: np.ndarray, epoch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Law` says; turns are the passes of the group."""
        groups = np.searchsorted(self._ends, draws, side="right")
        quotas, sizes = self._quotas[groups], self._sizes[groups]
        passes, places = np.divmod(epoch * quotas + draws - (self._ends[groups] - quotas), sizes)
        # One number is no epoch's key.
        keys = hash_each(hash_each(hash_key(seed), groups.astype(np.uint64)), passes.astype(np.uint64))
        return self._members[self._starts[groups] + permute_each(places, sizes, keys)], passes


class Weights:
    """Every epoch draws each sample as often as its weight says, rounded up or down: in proportion, within one.

    Systematic resampling: points at even distances over the cumulative weights, of which one number drawn for the epoch
    moves them all (R. Douc, O. Cappé, E. Moulines, "Comparison of Resampling Schemes for Particle Filtering", 2005, after
    G. Kitagawa, 1996). From epoch to epoch that number goes on by the golden ratio, so that what is rounded down now is
    rounded up soon.

    Args:
        weights: `(n,)` float64 of 0 or more, not all 0.
        length: Draws per epoch.
    """

    def __init__(self, weights: np.ndarray, length: int) -> None:
        cumulated = np.cumsum(weights)
        # In distances of the points; the last sample of a weight ends where the last point cannot be.
        self._edges = cumulated * (length / cumulated[-1])
        self._edges[int(np.flatnonzero(weights)[-1]) :] = length

    def drawn(self, draws: np.ndarray, epoch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Law` says; turns are a sample's draws before this one."""
        start = float(uniform(hash_key(seed), np.zeros(1), 1)[0, 0])
        shift = (start + epoch * _GOLDEN_RATIO) % 1.0
        positions = np.searchsorted(self._edges, np.minimum(draws + shift, np.nextafter(self._edges[-1], 0)), side="right")
        before = np.where(positions > 0, self._edges[positions - 1], 0.0)
        return positions, draws - np.ceil(before - shift).astype(np.int64)


_GOLDEN_RATIO = (5**0.5 - 1) / 2


def share_out(length: int, shares: Sequence[float] | np.ndarray) -> np.ndarray:
    """`(groups,)` int64 quotas in proportion to shares, each within one of exact, whose sum is `length`.

    What is left after rounding down goes to the largest remainders (the method of A. Hamilton, 1792).

    Raises:
        ArgumentError: Where a share would come to nothing.
    """
    exact = length * np.asarray(shares, np.float64) / np.sum(shares)
    quotas = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")
    quotas[largest[: length - int(quotas.sum())]] += 1
    if not quotas.all():
        raise ArgumentError(
            f"an epoch of {length} samples has none of group {int(np.argmin(quotas))} of {len(quotas)}: give epoch_samples a "
            "larger number"
        )
    return quotas
