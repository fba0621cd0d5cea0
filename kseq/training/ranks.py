"""Which process this is among those that train together, as the libraries that connect them say.

None of them is imported here: what is not loaded connects nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kseq.arguments import whole
from kseq.errors import ArgumentError

__all__ = ["AUTO", "KERAS", "TENSORFLOW", "World", "check_unchanged", "choose_world", "find_world_of"]

# The value of `rank` and `world_size` that stands for what is found.
AUTO = "auto"

# What says which process this is.
KERAS = "keras.distribution"
TENSORFLOW = "tf.distribute"
_JAX = "jax.distributed"
_TORCH = "torch.distributed"


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: Its number, from 0.
        size: How many ranks there are. Processes that hold parts of one model, and read the same samples, are one rank.
        found_in: What says so; empty where nothing speaks of several processes, or numbers were given.
        devices: Among how many devices Keras shares out each batch of this rank, which must be equal parts.
        is_given: Whether the caller gave a number.
    """

    rank: int = 0
    size: int = 1
    found_in: str = ""
    devices: int = 1
    is_given: bool = False

    def __str__(self) -> str:
        return f"{self.rank} of {self.size}" + (f" by {self.found_in}" if self.found_in else "")

    def is_same_rank(self, other: World) -> bool:
        return (self.rank, self.size) == (other.rank, other.size)


def choose_world(rank: Any, world_size: Any) -> World:
    """The process that the arguments `rank` and `world_size` say: numbers, or `"auto"` for what is found.

    Raises:
        ArgumentError: If an argument is neither, or is out of range, or they leave open what cannot be found.
    """
    _check_number("rank", rank, 0)
    _check_number("world_size", world_size, 1)
    if _is_auto(rank) and _is_auto(world_size):
        return _find_world()
    if not _is_auto(rank) and not _is_auto(world_size):
        rank = whole("rank", rank, 0, world_size - 1)
        return World(rank, world_size, devices=_devices(), is_given=True)
    found = _find_world()
    if _is_auto(rank):
        if world_size not in (1, found.size):
            raise ArgumentError(f"world_size={world_size}: found is process {found}, so give rank too")
        return replace(found, is_given=True) if world_size > 1 else World(devices=found.devices, is_given=True)
    if rank >= found.size:
        raise ArgumentError(f"rank={rank}: found is process {found}, so give world_size too")
    return replace(found, rank=rank, is_given=True)


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == AUTO


def _check_number(name: str, value: Any, least: int) -> None:
    if isinstance(value, str) and value != AUTO:
        raise ArgumentError(f"{name}={value!r}: allowed are 'auto' and whole numbers of {least} or more")
    if not _is_auto(value):
        whole(name, value, least)


def _find_world() -> World:
    """The process that this one is.

    Keras's distribution counts first, since it says which processes hold parts of one model. Otherwise, whatever says that
    there are several processes: a strategy of TensorFlow whose scope this is, or its TF_CONFIG, JAX, PyTorch.

    Raises:
        ArgumentError: If two of them say different numbers, or a launcher has started several processes that are not connected.
    """
    in_keras, num_processes = _in_keras()
    if num_processes > 1:
        return in_keras
    found = [world for world in (_in_tensorflow(), _in_jax(), _in_torch()) if world.size > 1]
    if not all(world.is_same_rank(found[0]) for world in found):
        sayings = " and ".join(f"process {world}" for world in found)
        raise ArgumentError(f"rank='auto': this is {sayings}: give rank and world_size")
    if not found:
        _check_launcher()
    return replace(found[0], devices=in_keras.devices) if found else in_keras


def find_world_of(backend: str) -> World:
    """The process that this one is to Keras, which knows of other processes what its backend knows."""
    in_keras, num_processes = _in_keras()
    if num_processes > 1:
        return in_keras
    find = {"tensorflow": _in_tensorflow, "jax": _in_jax, "torch": _in_torch}.get(backend, World)
    return replace(find(), devices=in_keras.devices)


def check_unchanged(world: World) -> None:
    """Raise ArgumentError if processes were connected after it was found that there is only this one.

    It asks only what says the same in every thread.
    """
    if world.is_given or world.size > 1:
        return
    for now in (_in_jax(), _in_torch()):
        if now.size > 1:
            raise ArgumentError(
                f"made as process 0 of 1, before {now.found_in} connected {now.size} processes: make it afterwards, or give "
                "rank=0, world_size=1, for all samples in each process"
            )


def _devices() -> int:
    return _in_keras()[0].devices


def _in_keras() -> tuple[World, int]:
    """What Keras's distribution says, and the number of its processes; one process with one device where there is none."""
    get: Any = getattr(getattr(sys.modules.get("keras"), "distribution", None), "distribution", None)
    distribution = None if get is None else get()
    if distribution is None:
        return World(), 1
    # Called `_num_process` up to Keras 3.11.
    num_processes = int(getattr(distribution, "_num_processes", getattr(distribution, "_num_process", 1)))
    process = int(getattr(distribution, "_process_id", 0))
    mesh = distribution.device_mesh
    batch_axis = getattr(distribution, "batch_dim_name", None) or mesh.axis_names[0]
    replicas = int(mesh.shape[list(mesh.axis_names).index(batch_axis)])
    size = min(replicas, num_processes)
    # Processes that hold one replica together follow on each other.
    rank = process * size // num_processes
    return World(rank, size, KERAS if num_processes > 1 else "", devices=max(1, replicas // size)), num_processes


def _in_tensorflow() -> World:
    keras_backend: Any = getattr(getattr(sys.modules.get("keras"), "backend", None), "backend", None)
    if keras_backend is not None and keras_backend() != "tensorflow":
        return World()
    resolver = _resolver_in_scope()
    if resolver is not None:
        return _in_cluster(resolver.cluster_spec().as_dict(), resolver.task_type, resolver.task_id)
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return World()
    try:
        config = json.loads(text)
        task = config.get("task", {})
        return _in_cluster(config.get("cluster", {}), task.get("type"), int(task.get("index", 0)))
    except (ValueError, TypeError, AttributeError) as error:
        raise ArgumentError(
            f"rank='auto': TF_CONFIG in the environment is {text[:100]!r}, expected is JSON with cluster and task ({error}): "
            "mend it, or give rank and world_size"
        ) from error


def _resolver_in_scope() -> Any:
    """What knows the cluster of the strategy of TensorFlow whose scope this is, if that is for several workers."""
    distribute: Any = getattr(sys.modules.get("tensorflow"), "distribute", None)
    if distribute is None or not distribute.has_strategy():
        return None
    strategy = distribute.get_strategy()
    return strategy.cluster_resolver if isinstance(strategy, distribute.MultiWorkerMirroredStrategy) else None


def _in_cluster(cluster: Mapping[str, Any], task_type: Any, task_id: Any) -> World:
    """The world of TensorFlow's workers, the chief first. An evaluator is alone; so is who directs parameter servers."""
    if cluster.get("ps"):
        return World()
    workers = [(kind, number) for kind in ("chief", "master", "worker") for number in range(len(cluster.get(kind, ())))]
    if (task_type, task_id) not in workers:
        return World()
    return World(workers.index((task_type, task_id)), len(workers), TENSORFLOW)


def _in_jax() -> World:
    jax: Any = sys.modules.get("jax")
    state = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
    # Asked for the number of processes before it is connected, JAX would take all devices for this process.
    if jax is None or getattr(state, "client", None) is None:
        return World()
    return World(jax.process_index(), jax.process_count(), _JAX)


def _in_torch() -> World:
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size(), _TORCH)
    return World()


def _check_launcher() -> None:
    """Raise ArgumentError if torchrun has started several processes, which are not connected yet."""
    started = os.environ.get("WORLD_SIZE", "1")
    # Without the name of its run, others than torchrun may have set the number, for whatever they start.
    if "TORCHELASTIC_RUN_ID" in os.environ and started.isdecimal() and int(started) > 1:
        raise ArgumentError(
            f"torchrun has started {started} processes, which torch.distributed does not connect yet: call "
            "torch.distributed.init_process_group() (with Keras from 3.16 on, keras.distribution.initialize()) before this, or "
            "give rank and world_size"
        )
