"""Batches that Keras looked at to learn shapes, kept for the pass that follows."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from typing import Any

__all__ = ["LookedBatches"]


class LookedBatches:
    """The batches that Keras looked at, by who looked, epoch and number: so a `fit` fills none of its batches twice.

    Each is handed out once more to the same adapter of Keras, and then forgotten; all that an adapter looked at goes with it,
    when its `fit` ends or breaks off. Safe to use from many threads: each step is a single one of a dict.
    """

    def __init__(self) -> None:
        self._batches: weakref.WeakKeyDictionary[Hashable, dict[tuple[int, int], Any]] = weakref.WeakKeyDictionary()

    def keep(self, adapter: Hashable, epoch: int, number: int, batch: Any) -> None:
        self._batches.setdefault(adapter, {})[epoch, number] = batch

    def take(self, adapter: Hashable, epoch: int, number: int) -> Any:
        """The batch, or None if the adapter has not looked at it; None stands for somebody who is no adapter."""
        if adapter is None or not self._batches:
            return None
        return self._batches.get(adapter, {}).pop((epoch, number), None)

    def clear(self) -> None:
        self._batches.clear()
