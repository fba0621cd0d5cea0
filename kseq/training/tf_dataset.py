"""A ShardSequence as a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.platforms import interrupts
from kseq.training.batch_leaves import map_leaves
from kseq.training.batches import Batches
from kseq.training.batches_inside import have_one_size, read_with_room, start_of
from kseq.training.tf_passes import WeakPasses

__all__ = ["make_tf_dataset"]


class _Source:
    """What TensorFlow's threads ask for a pass."""

    def __init__(self, sequence: Iterable[Any]) -> None:
        self._sequence = sequence

    def _get_iterator(self) -> Iterator[Any]:
        return iter(self._sequence)


def make_tf_dataset(sequence: Iterable[Any], batches: Batches) -> Any:
    """A dataset, each iteration of which is one over the sequence.

    Args:
        sequence: Gives the batches.
        batches: The same, to learn their shapes.

    Raises:
        ArgumentError: If TensorFlow is not installed, or batches have lists.
        KseqError: If a batch cannot be read.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ArgumentError("to_tf_dataset needs TensorFlow: pip install 'kseq[tensorflow]'") from error
    interrupts.watch()
    num_rows = batches.batch_size if have_one_size(batches) else None

    def spec(rows: np.ndarray, longer: np.ndarray) -> Any:
        lengths = [length if length == other else None for length, other in zip(rows.shape, longer.shape, strict=True)]
        return tf.TensorSpec([num_rows, *lengths[1:]], tf.string if rows.dtype.kind == "U" else rows.dtype)

    source = _Source(sequence)
    signature = map_leaves(spec, *read_with_room(batches))
    dataset = tf.data.Dataset.from_generator(WeakPasses(source, keeps_error=False), output_signature=signature)
    if start_of(batches)[1] == 0:
        # A pass that begins within an epoch has fewer.
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))
    # kseq reads ahead by itself, and a thread that tunes would be waited for at the end of a pass: see `keras_adapter`.
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.with_options(options)
    # Who goes through the dataset, or holds it, needs the source; TensorFlow's function does not hold it.
    dataset._kseq_source = source
    return dataset
