"""A place in the order of samples: what is kept of it with a checkpoint, and where another run goes on."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from kseq.arguments import choice, spelled, whole
from kseq.errors import ArgumentError
from kseq.ordering.epoch_order import Order
from kseq.storage.checksums import checksum, format_checksum

__all__ = ["ON_CHANGE", "Position", "find_position", "to_state"]

# What may become of a state of other samples, or of another order.
ON_CHANGE = ("fail", "warn")

# A newer kseq may keep more; what an older one does not know, it refuses.
_VERSION = 1

# What must be as it was, and what it means if it is not.
_SETTINGS = {
    "digest": "the dataset was changed or packed again",
    "split": "other samples",
    "num_samples": "other samples",
    "seed": "another order",
    "shuffle": "another order",
    "order": "another order: balance, sampling_weights, proportions, blocks or the samples' weights differ",
}


class Position(NamedTuple):
    """Where a run goes on.

    Attributes:
        epoch: The epoch.
        start: The number of the batch that comes next in it.
        order: The order, in which the batches of this epoch may begin with another sample than in other epochs.
    """

    epoch: int
    start: int
    order: Order


def to_state(order: Order, epoch: int, number: int, *, digest: str, split: str) -> dict[str, Any]:
    """The place before a batch, as plain values.

    Args:
        order: The order.
        epoch: The epoch.
        number: The batch that comes next; the number of batches for the beginning of the next epoch.
        digest: Of the dataset.
        split: Of the dataset.
    """
    if number >= order.num_batches:
        epoch, number = epoch + 1, 0
    return {
        "kseq_state": _VERSION,
        "epoch": epoch,
        "batch": number,
        "samples": order.first_slot(epoch, number),
        "batch_size": order.batch_size,
        "world_size": order.world_size,
        "global_batch_size": order.global_batch,
        **_settings(order, digest, split),
    }


def find_position(order: Order, state: Any, *, digest: str, split: str, path: str, on_change: str = "fail") -> Position:
    """Where a run goes on from a state, on batches of any size.

    Args:
        order: The order of this run.
        state: What `to_state` has returned, in this or another run.
        digest: Of the dataset.
        split: Of the dataset.
        path: What messages call the dataset.
        on_change: `"fail"` to refuse a state of other samples or of another order; `"warn"` to go on all the same.

    Raises:
        ArgumentError: If the state is none, or is of other samples or of another order.
    """
    choice("on_change", on_change, ON_CHANGE)
    plain = dataclasses.replace(order, rest=None)
    epoch, samples = _checked(state, path)
    changes = _changes(state, _settings(plain, digest, split))
    if changes:
        text = f"{path}: the state that was loaded is of another run: {'; '.join(changes)}"
        if on_change == "fail":
            way_out = spelled("on_change", "warn")
            raise ArgumentError(f"{text}: take the same dataset and arguments, or {way_out} to go on at the same place")
        warnings.warn(f"{text}: goes on with sample {samples} of epoch {epoch}", stacklevel=4)
    return _continued(plain, epoch, samples)


def _settings(order: Order, digest: str, split: str) -> dict[str, Any]:
    return {
        "digest": digest,
        "split": split,
        "num_samples": order.num_samples,
        "seed": order.seed,
        "shuffle": order.shuffle if isinstance(order.shuffle, str) else bool(order.shuffle),
        "order": format_checksum(checksum(order.sketch.astype("<i8"))),
    }


def _checked(state: Any, path: str) -> tuple[int, int]:
    """The epoch, and how many samples of it have come."""
    if not isinstance(state, Mapping) or "kseq_state" not in state:
        raise ArgumentError(f"{path}: {type(state).__name__} is no state of kseq: expected is what state_dict() returns")
    missing = [name for name in ("epoch", "samples", *_SETTINGS) if name not in state]
    if state["kseq_state"] != _VERSION or missing:
        found = f"without {', '.join(missing)}" if missing else f"of version {state['kseq_state']!r}"
        raise ArgumentError(f"{path}: a state {found}: this version of kseq reads version {_VERSION}: update kseq")
    return whole("epoch", state["epoch"], 0), whole("samples", state["samples"], 0)


def _changes(state: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """What differs, in words; the first that differs explains what follows."""
    different = [name for name in _SETTINGS if state[name] != settings[name]]
    if len(different) > 1 and different[-1] == "order":
        different.pop()
    return [f"{name} was {state[name]!r}, is {settings[name]!r} ({_SETTINGS[name]})" for name in different]


def _continued(order: Order, epoch: int, samples: int) -> Position:
    """Where an order goes on after so many samples of an epoch."""
    num_left = order.num_batches_from(samples)
    if num_left == 0:
        return Position(epoch + 1, 0, order)
    if samples % order.global_batch:
        order = dataclasses.replace(order, rest=(epoch, samples))
    return Position(epoch, order.num_batches - num_left, order)
