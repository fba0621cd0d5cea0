"""The sample ids of a dataset that were not dropped."""

from __future__ import annotations

import numpy as np

__all__ = ["Remaining"]


class Remaining:
    """The sample ids that were not dropped, in order, computed only for the positions that are asked for.

    Args:
        num_samples: How many sample ids there are.
        dropped: `(n,)` sample ids, each larger than the one before.

    Attributes:
        size: How many sample ids remain.
    """

    def __init__(self, num_samples: int, dropped: np.ndarray) -> None:
        self.size = num_samples - len(dropped)
        # How many sample ids remain before each dropped one.
        self._before = dropped.astype(np.int64) - np.arange(len(dropped))

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """`(n,)` int64: the sample ids at `positions`, `(n,)` int64 in [0, size)."""
        ids: np.ndarray = positions + np.searchsorted(self._before, positions, side="right")
        return ids
