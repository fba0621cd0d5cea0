"""What runs in a worker process of the training: it fills rows of its parent's buffers."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping

import numpy as np

from kseq.errors import ArgumentError
from kseq.training.batch_maker import BatchMaker
from kseq.training.buffers import ArraySpec, AttachedBuffers
from kseq.training.read_ahead import Filled

__all__ = ["fill_rows", "pickle_maker", "prepare"]

# What fills the batches, pickled and unpickled, and the buffers of the parent that are mapped here.
_pickled = b""
_maker: BatchMaker | None = None
_attached = AttachedBuffers()


def prepare(pickled: bytes) -> None:
    """The initializer of the process: keep what fills batches, as `pickle_maker` gives it."""
    global _pickled
    _pickled = pickled


def fill_rows(
    name: str,
    names: Collection[str],
    specs: Mapping[str, ArraySpec],
    start: int,
    sample_ids: np.ndarray,
    epoch: int,
    turns: np.ndarray,
) -> Filled:
    """Fill some rows of the buffer `name`, one of `names`, which are all that the parent has; see `BatchMaker.fill`."""
    global _maker
    if _maker is None:
        # Not when the process starts: an error there would only end the process, here it reaches the caller.
        _maker = _unpickle(_pickled)
    _attached.forget_others(names)
    return _maker.fill(_attached.arrays(name, specs), start, sample_ids, epoch, turns)


def pickle_maker(maker: BatchMaker) -> bytes:
    """What fills batches, to be sent to worker processes.

    Raises:
        ArgumentError: If an augmentation cannot be sent.
    """
    try:
        return pickle.dumps(maker)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ArgumentError(
            f"use_multiprocessing=True: augment cannot be sent to worker processes ({error}): "
            "define the classes of augmentations at the top level of a module"
        ) from error


def _unpickle(pickled: bytes) -> BatchMaker:
    try:
        maker: BatchMaker = pickle.loads(pickled)
    except (AttributeError, ImportError) as error:
        raise ArgumentError(
            f"use_multiprocessing=True: a worker process cannot load augment ({error}): "
            "define the classes of augmentations in a module that can be imported, not in the script itself"
        ) from error
    return maker
