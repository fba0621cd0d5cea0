"""All batches of an epoch as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kseq.errors import ArgumentError
from kseq.training.batch_leaves import map_leaves

if TYPE_CHECKING:
    from kseq.training.batches import Batches

__all__ = ["joined_batches"]


def joined_batches(batches: Batches, epoch: int) -> Any:
    """The rows of all batches of an epoch that count, in arrays of the form of a batch.

    Raises:
        ArgumentError: If the arrays of batches have several shapes.
        KseqError: If a batch cannot be read.
    """
    counted = [batches.is_counted(epoch, number) for number in range(len(batches))]
    num_rows, start = int(sum(rows.sum() for rows in counted)), 0
    joined: Any = None
    for number, is_counted in enumerate(counted):
        # Not those of `epoch`: a loop that goes on meanwhile keeps its place.
        batch = batches.batch(epoch, number)
        if joined is None:
            joined = map_leaves(lambda rows: np.empty((num_rows, *_shape(rows)), _roomy(rows.dtype)), batch)
        start += _put(batch, joined, start, is_counted)
    # With `on_error="skip"`, damaged samples are missing.
    return map_leaves(lambda rows: _tight(rows[:start]), joined)


def _put(batch: Any, joined: Any, start: int, is_counted: np.ndarray) -> int:
    """Copy the rows of a batch that count; returns how many these are."""
    counts: list[int] = []

    def put(rows: np.ndarray, all_rows: np.ndarray) -> None:
        if rows.shape[1:] != all_rows.shape[1:]:
            shapes = f"{all_rows.shape[1:]} and {rows.shape[1:]}"
            raise ArgumentError(f"batches whose rows have the shapes {shapes} do not become one array: give pad_to")
        if len(rows) != len(is_counted) and not is_counted.all():
            raise ArgumentError(
                "on_error='skip' left a sample out of a batch that others fill up: which rows count is not known, take "
                "on_error='substitute' or remainder='keep'"
            )
        kept = rows[is_counted] if len(rows) == len(is_counted) else rows
        all_rows[start : start + len(kept)] = kept
        counts.append(len(kept))

    map_leaves(put, batch, joined)
    return counts[0]


def _roomy(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """One that also holds the texts of other batches, which may be longer."""
    return np.dtype(object) if dtype.kind == "U" else dtype


def _tight(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.str_) if rows.dtype == object else rows


def _shape(rows: Any) -> tuple[int, ...]:
    if not isinstance(rows, np.ndarray):
        raise ArgumentError("ragged: lists of arrays do not become one array: leave it out, and give pad_to")
    shape: tuple[int, ...] = rows.shape[1:]
    return shape
