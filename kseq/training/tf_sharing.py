"""Notices that TensorFlow shares out among its workers, once more, what each of them has only its share of."""

from __future__ import annotations

import gc
import sys
import weakref
from types import FrameType, FunctionType
from typing import Any

from kseq.errors import ArgumentError

__all__ = ["check_shared_once"]

# Functions between TensorFlow's and the one of a batch: generators of the user's, and of a Sequence.
_MOST_FRAMES = 12

# The `tf.data.Dataset.from_generator` that were looked at already.
_seen: weakref.WeakSet[Any] = weakref.WeakSet()


def check_shared_once(caller: FrameType, number: int) -> None:
    """Raise ArgumentError if a batch is one that TensorFlow takes only to leave it out.

    `tf.distribute.Strategy.experimental_distribute_dataset` gives worker `r` of `w` only the batches r, r + w, ... of its own
    `tf.data.Dataset` (unless `auto_shard_policy` is OFF), which is right where each worker has all batches.

    Args:
        caller: Who asks for a batch of one rank of several.
        number: The number of the batch; with 0, a pass begins.
    """
    if "tensorflow" not in sys.modules:
        return
    state = _generator_state(caller)
    if state is None or (number > 0 and state in _seen):
        return
    _seen.add(state)
    if any(_shares_out(distributed, state) for distributed in _distributed_datasets()):
        raise ArgumentError(
            "tf.distribute's experimental_distribute_dataset shares out batches that are shared out by rank and world_size "
            "already, so most samples would never be seen: take distribute_datasets_from_function, or rank=0, world_size=1 and "
            "the batch_size of all workers together"
        )


def _generator_state(frame: FrameType | None) -> Any:
    """What stands for the `from_generator` that runs its generator."""
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return None
        if frame.f_globals.get("__name__") == "tensorflow.python.data.ops.from_generator_op":
            return frame.f_locals.get("generator_state")
        frame = frame.f_back
    return None


def _distributed_datasets() -> list[Any]:
    """All `tf.distribute.DistributedDataset` that there are. Nothing of TensorFlow leads from a generator to them."""
    kind: Any = getattr(sys.modules.get("tensorflow.python.distribute.input_lib"), "DistributedDataset", None)
    # Of many objects, `isinstance` would ask what they stand for.
    return [] if kind is None else [found for found in gc.get_objects() if issubclass(type(found), kind)]


def _shares_out(distributed: Any, state: Any) -> bool:
    dataset = getattr(distributed, "_original_dataset", None)
    if dataset is None or getattr(getattr(distributed, "_input_context", None), "num_input_pipelines", 1) == 1:
        return False
    if dataset.options().experimental_distribute.auto_shard_policy.name == "OFF":
        return False
    waiting = [dataset]
    while waiting:
        part = waiting.pop()
        waiting += part._inputs()
        if any(_refers_to(getattr(function, "_func", None), state) for function in part._functions()):
            return True
    return False


def _refers_to(function: Any, state: Any, depth: int = 3) -> bool:
    """Whether a function, or one that it holds, holds an object."""
    if not isinstance(function, FunctionType):
        return False
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    return any(value is state for value in held) or (depth > 0 and any(_refers_to(value, state, depth - 1) for value in held))
