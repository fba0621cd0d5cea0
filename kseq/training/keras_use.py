"""Refuses what Keras would do wrongly with the batches of one process among several."""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Any, NamedTuple

from kseq.errors import ArgumentError
from kseq.training.batches import Batches
from kseq.training.ranks import KERAS, TENSORFLOW, World, find_world_of

__all__ = ["KerasUse", "check_use", "find_use"]

# Functions between `fit` and the one that makes the adapter.
_MOST_FRAMES = 12

_ADVICE_OF_JAX = "keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))"


class KerasUse(NamedTuple):
    """What Keras is about to do with a Sequence.

    Attributes:
        adapter: Keras's adapter for it, which is being made.
        model: The model.
        function: `"fit"`, `"evaluate"` (which a `fit` does for its `validation_data`) or `"predict"`.
    """

    adapter: Any
    model: Any
    function: str


def find_use(sequence: Any, frame: FrameType) -> KerasUse | None:
    """What Keras makes an adapter for; None where it makes none.

    Args:
        sequence: The Sequence.
        frame: Where it was asked for its workers, as Keras's adapter does when it is made.
    """
    adapter = frame.f_locals.get("self")
    if frame.f_code.co_name != "__init__" or getattr(adapter, "py_dataset", None) is not sequence:
        return None
    above: FrameType | None = frame.f_back
    for _ in range(_MOST_FRAMES):
        if above is None:
            break
        name, model = above.f_code.co_name, above.f_locals.get("self")
        if name in ("fit", "evaluate", "predict") and hasattr(model, "predict_function"):
            is_validation = name == "fit" and above.f_locals.get("val_x") is sequence
            return KerasUse(adapter, model, "evaluate" if is_validation else name)
        above = above.f_back
    return None


def check_use(batches: Batches, use: KerasUse) -> None:
    """Let Keras share nothing out by itself, and raise ArgumentError where processes would not be given what they need.

    That is: where each would train a model of its own; where ranks are not those of the processes that train together; where
    JAX or TensorFlow would not be able to divide a batch; where the figures of an evaluation would be those of one rank.
    """
    _keep_keras_from_sharing(use.adapter)
    backend = str(sys.modules["keras"].backend.backend())
    found = find_world_of(backend)
    if not batches._world.is_given and not batches._world.is_same_rank(found):
        raise ArgumentError(
            f"{_name(batches)}: made as process {batches._world}, and this is now process {found}: make it after the processes "
            "are connected, or give rank and world_size"
        )
    if found.size > 1:
        _check_ranks(batches, use, found, backend)
    if backend == "jax":
        _check_parts(batches, found)
    if backend == "tensorflow" and use.function != "predict":
        _check_first_batch(batches, use.model)
    _check_weights(batches, use)


def _keep_keras_from_sharing(adapter: Any) -> None:
    """From Keras 3.16 on, an adapter serves process r of w only the batches r, r + w, ..., of whatever it gets."""
    if hasattr(adapter, "_num_data_shards"):
        adapter._num_data_shards, adapter._data_shard_id = 1, 0


def _check_ranks(batches: Batches, use: KerasUse, found: World, backend: str) -> None:
    """Of several processes that train together, those that Keras connects must have their ranks, and others none."""
    if use.function != "predict" and _is_multi_worker(use.model):
        raise ArgumentError(
            f"{_name(batches)}: Keras's {use.function} fails under MultiWorkerMirroredStrategy, whatever the data (Keras issue "
            "20585): take a training loop of your own over kseq.Batches, or Keras on JAX or PyTorch"
        )
    is_connected = found.found_in == KERAS or (backend == "torch" and hasattr(use.model, "ddp_model"))
    if not is_connected:
        if use.function == "fit":
            raise ArgumentError(f"{_name(batches)}: {found}, but {_how_to_connect(found, backend)}")
        if use.function == "evaluate" and batches.world_size > 1:
            raise ArgumentError(
                f"{_name(batches)}: process {found}, but Keras does not put the figures of the processes together, so those of "
                f"{batches.num_samples} samples would be those of one share: give rank=0, world_size=1, for all in each process"
            )
    elif not batches._world.is_same_rank(found) and (use.function == "fit" or batches.world_size > 1):
        raise ArgumentError(
            f"{_name(batches)}: rank={batches.rank}, world_size={batches.world_size}, but this is process {found}, so ranks "
            "would miss samples or see them twice: leave rank and world_size out"
        )


def _how_to_connect(found: World, backend: str) -> str:
    separate = "Keras would train a model of its own in each process: "
    if found.found_in == TENSORFLOW:
        return separate + "make it in a training loop of your own under MultiWorkerMirroredStrategy, or unset TF_CONFIG"
    if backend == "jax":
        return f"{separate}call {_ADVICE_OF_JAX} before the model is made"
    if backend == "torch":
        return separate + (
            "from version 3.16 on it connects them; before, take a training loop of your own with "
            "torch.nn.parallel.DistributedDataParallel"
        )
    return f"{separate}{backend} is not what connects them"


def _check_parts(batches: Batches, found: World) -> None:
    """JAX divides each batch among the devices, and infers the shape of all processes' batch from this one's."""
    if found.devices > 1 and batches.batch_size % found.devices:
        raise ArgumentError(
            f"{_name(batches)}: batch_size={batches.batch_size} is what each process gets, and is divided among its "
            f"{found.devices} devices: give a multiple of {found.devices}"
        )
    num_partial = batches.num_samples % batches.global_batch_size
    needs_one_size = found.devices > 1 or found.found_in == KERAS
    if needs_one_size and batches._arguments["on_error"] == "skip":
        raise ArgumentError(
            f"{_name(batches)}: on_error='skip' makes batches with damaged samples smaller, and Keras's distribution on JAX "
            "needs batches of one size: on_error='substitute' keeps them as they are"
        )
    if needs_one_size and batches.remainder == "keep" and num_partial:
        raise ArgumentError(
            f"{_name(batches)}: the last batch would hold {num_partial} samples, and Keras's distribution on JAX needs batches "
            "of one size: give remainder='pad' or 'drop', or make it after keras.distribution.set_distribution()"
        )


def _check_first_batch(batches: Batches, model: Any) -> None:
    """Under a strategy of TensorFlow, Keras adds the parts of the first batch up, which must be equal for that."""
    replicas = int(getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1))
    size = batches.batch_size if batches.remainder != "keep" else min(batches.batch_size, batches.num_samples)
    if size % replicas:
        raise ArgumentError(
            f"{_name(batches)}: the first batch has {size} samples, which Keras divides into equal parts for {replicas} "
            f"replicas of {type(model.distribute_strategy).__name__}: give a batch_size that is a multiple of {replicas}"
            + ("" if size == batches.batch_size else ", and remainder='pad'")
        )


def _check_weights(batches: Batches, use: KerasUse) -> None:
    if batches._weights.are_there and getattr(use.adapter, "class_weight", None) is not None:
        raise ArgumentError(
            f"{_name(batches)}: class_weight does not go with the weights that batches have already (by sample_weight, or "
            f"global_batch_size, or remainder={batches.remainder!r}): give batch_size and remainder='drop', or the weights of "
            "classes as sample_weight"
        )
    unweighted = getattr(getattr(use.model, "_compile_metrics", None), "_user_metrics", None)
    fills_each = batches.global_batch_size < batches.batch_size * batches.world_size
    if unweighted and batches._order.num_filled and (use.function == "evaluate" or fills_each):
        warnings.warn(
            f"{_name(batches)}: {batches._order.num_filled} rows only fill batches up, and what compile(metrics=) names counts "
            "them too: give compile(weighted_metrics=...) for exact figures",
            stacklevel=2,
        )


def _is_multi_worker(model: Any) -> bool:
    distribute: Any = getattr(sys.modules.get("tensorflow"), "distribute", None)
    strategy = getattr(model, "distribute_strategy", None)
    return distribute is not None and isinstance(strategy, distribute.MultiWorkerMirroredStrategy)


def _name(batches: Batches) -> str:
    return f"<ShardSequence {batches.split}>"
