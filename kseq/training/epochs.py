"""Which epoch it is: counts the passes of Keras over a Sequence from the few calls that Keras makes.

What Keras 3.15.1 does (`keras/src/trainers/epoch_iterator.py`, `data_adapters/py_dataset_adapter.py`):

- It reads `num_batches` whenever it makes an iterator: before every pass (on jax and torch at the end of the pass before), when
  `fit` begins, and when it resets its iterator; never during a pass.
- Before the first pass of a fit, it may read one or two batches to learn their shapes: outside any epoch on tensorflow, after
  `on_epoch_begin` on jax and torch. Then it resets: it reads `num_batches` once and calls `on_epoch_end`.
- It calls `on_epoch_end` after each of its epochs. With `steps_per_epoch`, an epoch of Keras is not a pass.
"""

from __future__ import annotations

import numpy as np

__all__ = ["EpochTracker"]

# How many batches Keras reads at most before the first pass (NUM_BATCHES_FOR_TENSOR_SPEC; two on jax with a GPU).
_MOST_PREVIEWED = 2


class EpochTracker:
    """The epoch number of one Sequence: it rises by one when a pass has served every batch.

    A pass that ends early (an error, `stop_training`) leaves the number as it is: the next pass is the same epoch, from its
    first batch.

    The batches that Keras reads to learn shapes, its preview, can be mistaken for a pass only if the Sequence is so short that
    they are all of its batches. Two facts tell them apart: a new iterator of Keras reads `num_batches` outside any epoch, and
    everything before the next `on_epoch_end` then comes before the first pass. (`predict` does not reset its iterator: a
    `predict` of at most two batches does not count as a pass.)

    Args:
        num_batches: Batches per pass.
        epoch: The first epoch.
    """

    def __init__(self, num_batches: int, epoch: int = 0) -> None:
        self._served = np.zeros(num_batches, dtype=bool)
        self._epoch = epoch
        # Whether Keras is between on_epoch_begin and on_epoch_end, and whether its iterator has made no pass yet.
        self._in_keras_epoch = False
        self._in_preview = False
        self._epoch_before_preview = epoch

    @property
    def epoch(self) -> int:
        """The current pass or, between passes, the next one."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._restart(value)
        self._epoch_before_preview = value

    def on_num_batches_read(self) -> None:
        """Keras has read `num_batches`: a pass may begin."""
        self._restart(self._epoch + self._is_complete())
        if not self._in_keras_epoch and not self._in_preview:
            self._begin_preview()

    def on_epoch_begin(self) -> None:
        """Keras has called `on_epoch_begin`."""
        if self._in_keras_epoch:
            # The fit before ended early, and this is another one.
            self._begin_preview()
        self._in_keras_epoch = True

    def on_batch_served(self, batch_number: int) -> None:
        """A batch of the epoch was handed out."""
        self._served[batch_number] = True

    def on_epoch_end(self) -> None:
        """Keras has called `on_epoch_end`."""
        if self._in_preview and len(self._served) <= _MOST_PREVIEWED:
            self._restart(self._epoch_before_preview)
        elif self._is_complete():
            self._restart(self._epoch + 1)
        self._in_keras_epoch = self._in_preview = False

    def _begin_preview(self) -> None:
        self._in_preview = True
        self._epoch_before_preview = self._epoch

    def _is_complete(self) -> bool:
        return bool(self._served.all())

    def _restart(self, epoch: int) -> None:
        self._epoch = epoch
        self._served[:] = False
