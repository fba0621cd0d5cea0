"""Batches as trees: tuples and dicts of arrays, and what is done to each array of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["map_leaves"]


def map_leaves(function: Callable[..., Any], batch: Any, *others: Any) -> Any:
    """A tree of the same form, with what a function makes of the arrays, or lists of arrays, at each place of some trees."""
    if isinstance(batch, dict):
        return {name: map_leaves(function, value, *(other[name] for other in others)) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(map_leaves(function, *part) for part in zip(batch, *others, strict=True))
    return function(batch, *others)
