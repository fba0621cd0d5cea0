"""Columns end to end: those of indexes, or what shards hold in place of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from kseq.errors import DamagedError
from kseq.fields import Field
from kseq.schema import renumbered

__all__ = ["Piece", "joined"]


class Piece(NamedTuple):
    """A field of some samples.

    Attributes:
        path: Where it lies, for messages.
        array: Gives an array by the name that it has in a shard: `NAME`, or `NAME/values` and `NAME/offsets`.
        numbers: What its class numbers become, see `kseq.schema.class_numbers`.
    """

    path: str
    array: Callable[[str], np.ndarray]
    numbers: np.ndarray | None = None


def joined(field: Field, pieces: Iterable[Piece]) -> dict[str, np.ndarray]:
    """The arrays of a column that holds one piece after the other.

    Raises:
        DamagedError: Where offsets are broken.
    """
    if not field.is_ragged:
        shape = tuple(length or 0 for length in field.shape)
        rows = [renumbered(each.array(field.name), each.numbers) for each in pieces]
        return {field.name: np.concatenate([np.empty((0, *shape), field.dtype), *rows])}
    values = [np.empty((0, *(length or 0 for length in field.shape[1:])), field.dtype)]
    offsets, total = [np.zeros(1, "<u8")], 0
    for each in pieces:
        found, its = each.array(f"{field.name}/values"), each.array(f"{field.name}/offsets")
        if int(its[0]) != 0 or int(its[-1]) != len(found) or (its[1:] < its[:-1]).any():
            raise DamagedError(f"{each.path}: {field.name}/offsets do not rise from 0 to {len(found)}: bytes have changed")
        values.append(renumbered(found, each.numbers))
        offsets.append(its[1:] + np.uint64(total))
        total += len(found)
    return {f"{field.name}/values": np.concatenate(values), f"{field.name}/offsets": np.concatenate(offsets)}
