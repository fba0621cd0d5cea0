"""The weight of each row of a batch: what the user gave, and 0 where a row does not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kseq.training.mixing import Mixture
from kseq.training.read_ahead import LoadedBatch

__all__ = ["RowWeights"]


class RowWeights:
    """Makes the third element of batches, the weights by which losses are multiplied.

    A row that does not count (see `LoadedBatch.is_counted`), since it only fills its batch up, has weight 0.

    Args:
        sample_weight: `(samples of the split,)` float32, the name of a field that holds a number for each sample, or None.
        row_weight: The weight of a row that counts: `Order.row_weight`.
        may_not_count: Whether batches may have rows that do not count. Then all have weights, so that all look alike.
    """

    def __init__(self, sample_weight: np.ndarray | str | None, row_weight: float, *, may_not_count: bool) -> None:
        self._sample_weight = sample_weight
        self._row_weight = np.float32(row_weight)
        self._may_not_count = may_not_count

    @property
    def field(self) -> str | None:
        """The name of the field that holds the weights, which every batch must load."""
        return self._sample_weight if isinstance(self._sample_weight, str) else None

    @property
    def are_there(self) -> bool:
        """Whether batches have weights."""
        return self._may_not_count or self._sample_weight is not None

    def count(self, loaded: LoadedBatch) -> np.ndarray:
        """`(n,)` bool: which rows of a batch have a weight above 0."""
        weights = self._given(loaded, loaded.arrays)
        return loaded.is_counted if weights is None else loaded.is_counted & (weights > 0)

    def of(
        self, loaded: LoadedBatch, values: Mapping[str, Any], targets: Any, mixtures: Sequence[Mixture] = ()
    ) -> np.ndarray | dict[str, np.ndarray] | None:
        """The float32 weights of a batch; None if it has none.

        Args:
            loaded: The batch.
            values: Its fields.
            targets: The targets of the batch, or a dict of them.
            mixtures: How the rows were mixed.

        Returns:
            `(n,)`. For targets of three and more axes, such as masks, their shape without the last axis: that is the shape of
            their losses, and Keras aligns axes from the last one on. A dict as the targets are if shapes differ.
        """
        weights = self._given(loaded, values)
        # Those of a field were mixed with all fields.
        if weights is not None and self.field is None:
            for mixture in mixtures:
                weights = mixture.of(weights)
        if self._may_not_count:
            weights = np.where(loaded.is_counted, self._row_weight if weights is None else weights * self._row_weight, 0)
        if weights is None:
            return None
        weights = weights.astype(np.float32, copy=False)
        if not isinstance(targets, dict):
            return _shaped_for(targets, weights)
        shaped = {name: _shaped_for(target, weights) for name, target in targets.items()}
        return weights if all(array is weights for array in shaped.values()) else shaped

    def _given(self, loaded: LoadedBatch, values: Mapping[str, Any]) -> np.ndarray | None:
        if self._sample_weight is None:
            return None
        if isinstance(self._sample_weight, str):
            return np.asarray(values[self._sample_weight])
        weights: np.ndarray = self._sample_weight[loaded.positions]
        return weights


def _shaped_for(target: Any, weights: np.ndarray) -> np.ndarray:
    if not isinstance(target, np.ndarray) or target.ndim < 3:
        return weights
    return np.broadcast_to(weights.reshape(-1, *[1] * (target.ndim - 2)), target.shape[:-1]).copy()
