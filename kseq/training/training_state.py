"""Everything of a training that changes as it goes: variables, random generators, other callbacks, as arrays and plain values.

Keras's own `save_weights` leaves out the states of `SeedGenerator`s, of which every Dropout has one, and all metrics.
"""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kseq.errors import ArgumentError

__all__ = [
    "get_callbacks",
    "get_history",
    "get_metrics",
    "get_random",
    "get_variables",
    "set_callbacks",
    "set_history",
    "set_metrics",
    "set_random",
    "set_torch_random",
    "set_variables",
]

Arrays = dict[str, list[np.ndarray]]

# What callbacks of Keras count, by the names of their classes; each is reset when a training begins.
_COUNTED = {
    "EarlyStopping": ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    "ReduceLROnPlateau": ("wait", "cooldown_counter", "best"),
    "ModelCheckpoint": ("best", "_batches_seen_since_last_saving", "_last_batch_seen", "_current_epoch"),
}

_MODEL, _OPTIMIZER, _METRICS, _BUFFERS = "model", "optimizer", "metrics", "buffers"


def get_variables(model: Any) -> Arrays:
    """The values of all variables of a model and of its optimizer, the states of seed generators among them.

    Raises:
        ArgumentError: If a variable is spread over several processes, none of which has all of it.
    """
    return {
        _MODEL: _values(model.variables),
        _OPTIMIZER: _values(_optimizer_variables(model)),
        _BUFFERS: [buffer.detach().cpu().numpy() for _, buffer in _torch_buffers(model)],
    }


def set_variables(model: Any, arrays: Mapping[str, Sequence[np.ndarray]], batch: Any, path: str) -> None:
    """Give a model and its optimizer the values that `get_variables` has returned.

    Args:
        model: The model; it is built if it is not.
        arrays: The values.
        batch: A batch of what the model is trained on, to build it with.
        path: Where the values come from, for messages.

    Raises:
        ArgumentError: If the values are those of another model or optimizer.
    """
    with _scope(model):
        if not model.built or (model.optimizer is not None and not model.optimizer.built):
            model._symbolic_build(data_batch=batch)
    groups = {_MODEL: model.variables, _OPTIMIZER: _optimizer_variables(model)}
    for name, variables in groups.items():
        _check(name, variables, arrays[name], path)
    for name, variables in groups.items():
        for variable, array in zip(variables, arrays[name], strict=True):
            variable.assign(array)
    buffers = _torch_buffers(model)
    if len(buffers) != len(arrays[_BUFFERS]):
        raise ArgumentError(f"{path}: has {len(arrays[_BUFFERS])} torch buffers, the model has {len(buffers)}: {_OTHER_MODEL}")
    for (_, buffer), array in zip(buffers, arrays[_BUFFERS], strict=True):
        buffer.data.copy_(sys.modules["torch"].from_numpy(np.array(array)))


def get_metrics(model: Any) -> Arrays:
    """The values of the metrics of an epoch that is going on."""
    return {_METRICS: _values(model.metrics_variables)}


def set_metrics(model: Any, arrays: Mapping[str, Sequence[np.ndarray]], batch: Any) -> bool:
    """Give the metrics of a model the values that `get_metrics` has returned.

    Args:
        model: The model.
        arrays: The values.
        batch: A batch, to make metrics with that are not made yet.

    Returns:
        Whether it could be done; metrics of other shapes, or other metrics, stay as they are.
    """
    values = arrays[_METRICS]
    if len(model.metrics_variables) != len(values):
        with contextlib.suppress(Exception), _scope(model):
            # On tensorflow, metrics are made by the first step.
            model._symbolic_build(data_batch=batch)
    variables = model.metrics_variables
    if len(variables) != len(values) or any(tuple(v.shape) != a.shape for v, a in zip(variables, values, strict=True)):
        return False
    for variable, array in zip(variables, values, strict=True):
        variable.assign(array)
    return True


def get_random() -> tuple[dict[str, Any], Arrays]:
    """The states of the random generators of Python, numpy, torch, and of Keras's own one: plain values, and arrays."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    plain = {"python": random.getstate(), "numpy": [kind, *rest]}
    arrays = {"numpy": [np.asarray(keys)], "keras": _values(_global_seed()), "torch": []}
    torch = sys.modules.get("torch")
    if torch is not None:
        arrays["torch"] = [torch.get_rng_state().numpy()]
        if torch.cuda.is_available():
            arrays["torch"] += [state.numpy() for state in torch.cuda.get_rng_state_all()]
    return plain, {f"random {name}": values for name, values in arrays.items()}


def set_random(plain: Mapping[str, Any], arrays: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Give the random generators the states that `get_random` has returned."""
    version, keys, gauss = plain["python"]
    random.setstate((version, tuple(keys), gauss))
    kind, *rest = plain["numpy"]
    np.random.set_state((kind, arrays["random numpy"][0], *rest))
    for variable, array in zip(_global_seed(), arrays["random keras"], strict=False):
        variable.assign(array)
    set_torch_random(arrays)


def set_torch_random(arrays: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Give those of torch alone the states that `get_random` has returned."""
    torch = sys.modules.get("torch")
    if torch is not None and arrays["random torch"]:
        cpu, *devices = [torch.from_numpy(np.array(array)) for array in arrays["random torch"]]
        torch.set_rng_state(cpu)
        if torch.cuda.is_available() and len(devices) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(devices)


def get_callbacks(callbacks: Iterable[Any]) -> tuple[list[dict[str, Any]], Arrays]:
    """What callbacks of Keras have counted: plain values in the order of the callbacks, and arrays."""
    plain: list[dict[str, Any]] = []
    weights: list[np.ndarray] = []
    for callback, names in _counting(callbacks):
        values = {name: getattr(callback, name) for name in names if hasattr(callback, name)}
        best = values.pop("best_weights", None)
        if best is not None:
            values["num_best_weights"] = len(best)
            weights += [np.asarray(array) for array in best]
        plain.append({"class": type(callback).__name__, "values": values})
    return plain, {"callbacks": weights}


def set_callbacks(
    callbacks: Iterable[Any], plain: Sequence[Mapping[str, Any]], arrays: Mapping[str, Sequence[np.ndarray]], path: str
) -> None:
    """Give callbacks of Keras what `get_callbacks` has returned; if they are others now, they begin anew, with a warning."""
    counting = list(_counting(callbacks))
    found, kept = [type(callback).__name__ for callback, _ in counting], [entry["class"] for entry in plain]
    if found != kept:
        warnings.warn(
            f"{path}: has what {', '.join(kept) or 'no callback'} counted, the callbacks are now {', '.join(found) or 'none'}: "
            "they count from here on",
            stacklevel=6,
        )
        return
    weights = iter(arrays["callbacks"])
    for (callback, _), entry in zip(counting, plain, strict=True):
        values = dict(entry["values"])
        num_best = values.pop("num_best_weights", None)
        if num_best is not None:
            values["best_weights"] = [next(weights) for _ in range(num_best)]
        for name, value in values.items():
            setattr(callback, name, value)


def get_history(model: Any) -> dict[str, Any]:
    """What `fit` has noted of each epoch."""
    history = getattr(model, "history", None)
    return {"epoch": list(getattr(history, "epoch", ())), "history": dict(getattr(history, "history", {}))}


def set_history(model: Any, kept: Mapping[str, Any]) -> None:
    """Let what `fit` returns begin with the epochs before it went on."""
    history = getattr(model, "history", None)
    if history is not None:
        history.epoch = list(kept["epoch"])
        history.history = {name: list(values) for name, values in kept["history"].items()}


_OTHER_MODEL = "it is of another model: build the model as it was, or take another folder"


def _values(variables: Iterable[Any]) -> list[np.ndarray]:
    return [_value(variable) for variable in variables]


def _value(variable: Any) -> np.ndarray:
    value = getattr(variable, "value", variable)
    if getattr(value, "is_fully_addressable", True) or getattr(value, "is_fully_replicated", True):
        # A copy: an array of a backend may share memory with a variable that goes on changing.
        return np.array(keras.ops.convert_to_numpy(variable))
    raise ArgumentError(
        f"variable {variable.path} is spread over several processes, none of which has all of it: ResumeTraining cannot keep "
        "it, save it with orbax, and the place in the data with Batches.state_dict"
    )


def _optimizer_variables(model: Any) -> list[Any]:
    return list(model.optimizer.variables) if getattr(model, "optimizer", None) is not None else []


def _check(name: str, variables: Sequence[Any], arrays: Sequence[np.ndarray], path: str) -> None:
    if len(variables) != len(arrays):
        raise ArgumentError(f"{path}: has {len(arrays)} variables of the {name}, found are {len(variables)}: {_OTHER_MODEL}")
    for variable, array in zip(variables, arrays, strict=True):
        if tuple(variable.shape) != array.shape:
            found, kept = tuple(variable.shape), array.shape
            raise ArgumentError(f"{path}: {variable.path} had shape {kept}, has {found}: {_OTHER_MODEL}")


def _torch_buffers(model: Any) -> list[tuple[str, Any]]:
    """What modules of torch within a model keep beside their parameters, such as the statistics of a batch normalization."""
    if keras.backend.backend() != "torch" or not hasattr(model, "named_buffers"):
        return []
    return [(name, buffer) for name, buffer in model.named_buffers() if buffer is not None]


def _global_seed() -> list[Any]:
    """The state of the generator that random operations without a seed use, if there is one."""
    try:
        from keras.src.backend.common import global_state  # Keras has no public way to it
    except ImportError:
        return []
    generator = global_state.get_global_attribute("global_seed_generator")
    return [] if generator is None else [generator.state]


def _counting(callbacks: Iterable[Any]) -> Iterable[tuple[Any, tuple[str, ...]]]:
    for callback in callbacks:
        for base in type(callback).__mro__:
            if base.__name__ in _COUNTED and base.__module__.partition(".")[0] == "keras":
                yield callback, _COUNTED[base.__name__]
                break


def _scope(model: Any) -> contextlib.AbstractContextManager[Any]:
    """Where the variables of a model are made: under a strategy of TensorFlow, in its scope."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()
