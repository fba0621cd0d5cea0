"""Batches on the devices of JAX, ahead of the step that needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from kseq.arguments import whole
from kseq.errors import ArgumentError

__all__ = ["prefetch_to_device"]


def prefetch_to_device(batches: Iterable[Any], device: Any = None, *, size: int = 2) -> Iterator[Any]:
    """Batches as arrays of JAX: the next ones are on their way to the device while a step runs.

    Args:
        batches: Tuples and dicts of arrays, such as `Batches.epoch` gives.
        device: A device, or a `jax.sharding.Sharding` that all arrays of a batch can have, such as one that divides the first
            axis among devices; None for JAX's default device.
        size: How many batches are on the device at most besides the one that is used; 0 for none ahead.

    Raises:
        ArgumentError: If JAX is not installed, or `size` is below 0. With the batch: if JAX has no such arrays, as of texts.

    Examples:
        >>> for images, labels in kseq.prefetch_to_device(batches.epoch(0)):
        ...     weights = step(weights, images, labels)
    """
    size = whole("size", size, 0)
    try:
        import jax
    except ImportError as error:
        raise ArgumentError("prefetch_to_device needs JAX: pip install 'kseq[jax]'") from error

    def place(batch: Any) -> Any:
        try:
            return jax.device_put(batch, device)
        except TypeError as error:
            raise ArgumentError(
                f"prefetch_to_device: {' '.join(str(error).split())}: leave texts out, or without `ragged`, as bytes"
            ) from error

    return _prefetch(map(place, batches), size)


def _prefetch(placed: Iterator[Any], size: int) -> Iterator[Any]:
    # To put an array on a device returns at once, and the copy goes on meanwhile.
    waiting = deque(islice(placed, size))
    for batch in placed:
        waiting.append(batch)
        yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
