"""Which epoch it is: counts Keras's passes over a Sequence from the few things that Keras tells it.

What Keras 3.15.1 does (`keras/src/trainers/epoch_iterator.py`, `data_adapters/py_dataset_adapter.py`):

- it reads `num_batches` whenever it makes an iterator: before every pass (on jax and torch already at the end of
  the one before), when `fit` begins, and when it resets its iterator; never within a pass;
- before the first pass of a fit it may look at one or two batches, to learn shapes: outside any epoch on tensorflow,
  within `on_epoch_begin` on jax and torch. Then it resets: one read of `num_batches`, then `on_epoch_end`;
- `on_epoch_end` comes after each of its epochs, which is not a pass where `steps_per_epoch` is given.
"""

from __future__ import annotations

import numpy as np

__all__ = ["EpochTracker"]


# How many batches Keras looks at before the first pass, at most (NUM_BATCHES_FOR_TENSOR_SPEC; two on jax with a GPU).
_LOOKED_AT = 2


class EpochTracker:
    """The epoch number of one Sequence: it rises by one when a pass has served every batch.

    A pass that ends early (an error, `stop_training`) leaves the number as it is: the next pass is the same
    epoch from its first batch.

    A look at shapes differs from a pass only where the Sequence is so short that the look takes in all of it. Then
    what tells is that a new iterator of Keras begins with a read of `num_batches` outside any epoch, and that all up
    to the next `on_epoch_end` is before the first pass. (`predict` does not reset: on at most two batches, it does
    not count.)
    """

    def __init__(self, num_batches: int, epoch: int = 0) -> None:
        self._served = np.zeros(num_batches, dtype=bool)
        self._epoch = epoch
        # Whether Keras is between on_epoch_begin and on_epoch_end, and whether its iterator has made no pass yet.
        self._within = False
        self._looking = False
        self._epoch_before_look = epoch

    @property
    def epoch(self) -> int:
        """The pass under way or, between passes, the next."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._restart(value)
        self._epoch_before_look = value

    def opened(self) -> None:
        """`num_batches` was read: a pass may begin."""
        self._restart(self._epoch + self._is_complete())
        if not self._within and not self._looking:
            self._look()

    def begun(self) -> None:
        """`on_epoch_begin` was called."""
        if self._within:
            # The fit before was broken off, this is another.
            self._look()
        self._within = True

    def served(self, batch_number: int) -> None:
        """A batch of the epoch was handed out."""
        self._served[batch_number] = True

    def ended(self) -> None:
        """`on_epoch_end` was called."""
        if self._looking and len(self._served) <= _LOOKED_AT:
            self._restart(self._epoch_before_look)
        elif self._is_complete():
            self._restart(self._epoch + 1)
        self._within = self._looking = False

    def _look(self) -> None:
        self._looking = True
        self._epoch_before_look = self._epoch

    def _is_complete(self) -> bool:
        return bool(self._served.all())

    def _restart(self, epoch: int) -> None:
        self._epoch = epoch
        self._served[:] = False
