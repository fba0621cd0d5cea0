"""Batches that Keras looked at to learn shapes, kept for the pass that follows."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Any

__all__ = ["LookedBatches"]

# NUM_BATCHES_FOR_TENSOR_SPEC of Keras.
_MOST = 2


class LookedBatches:
    """The last batches that Keras looked at, by epoch and number: so a `fit` fills none of its batches twice.

    Each is handed out once more, and then forgotten. Safe to use from many threads: each step is a single one of a dict.
    """

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def keep(self, epoch: int, number: int, batch: Any) -> None:
        self._batches[epoch, number] = batch
        while len(self._batches) > _MOST:
            with contextlib.suppress(KeyError):
                self._batches.popitem(last=False)

    def take(self, epoch: int, number: int) -> Any:
        """The batch, or None if Keras has not looked at it."""
        return self._batches.pop((epoch, number), None)

    def clear(self) -> None:
        self._batches.clear()
