"""What other modules of kseq ask of Batches, beyond what users may."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kseq.arguments import whole
from kseq.errors import ArgumentError
from kseq.reading.dataset import ShardDataset
from kseq.storage.fields import Field
from kseq.training.arguments import choose_pad_to, choose_ragged
from kseq.training.batches import Batches, check_number
from kseq.training.image_spec import ImageSpec
from kseq.training.stage_times import Stopwatch

__all__ = [
    "BatchParts",
    "arguments_of",
    "dataset_of",
    "find_batches",
    "have_one_size",
    "num_image_bytes",
    "num_workers",
    "open_again",
    "read_parts",
    "read_with_room",
    "start_of",
    "storage_options_of",
    "without_workers",
]


class BatchParts(NamedTuple):
    """A batch, and what it was made of.

    Attributes:
        batch: As `Batches.batch` returns it.
        fields: The fields that it was made of.
        values: Their values, see `FieldEncoder.encode`: the same arrays, by the names of the fields.
        spec: What its images are like.
        augment: What is done to them, as it was passed.
    """

    batch: Any
    fields: Mapping[str, Field]
    values: Mapping[str, Any]
    spec: ImageSpec
    augment: Sequence[Any]


def read_parts(batches: Batches, epoch: int, number: int) -> BatchParts:
    """Batch `number` of an epoch, for who looks at it field by field. Raises what `Batches.batch` raises."""
    loaded, values, mixtures = batches._read(whole("epoch", epoch, 0), check_number(batches, number), Stopwatch(), is_look=True)
    augment = batches._arguments["augment"]
    listed = augment if isinstance(augment, Sequence) else [augment]
    return BatchParts(batches._arrange(loaded, values, mixtures), batches._fields_of_a_batch(), values, batches._spec, listed)


def read_with_room(batches: Batches) -> tuple[Any, Any]:
    """Batch 0 of epoch 0, and the same with room for one more element in what is padded to the longest sample of a batch:
    where their shapes differ, those of batches do. Raises what `Batches.batch` raises."""
    loaded, values, mixtures = batches._read(0, check_number(batches, 0), Stopwatch())
    fields = batches._fields_of_a_batch()
    lists = choose_ragged(fields, batches._arguments["ragged"])
    if lists:
        raise ArgumentError(
            f"ragged: {', '.join(sorted(lists))} are lists of arrays, which are no tensors: give pad_to instead"
        )
    fixed = choose_pad_to(fields, batches._arguments["pad_to"], lists)
    padded = [name for name, field in fields.items() if field.handler.is_padded and name not in fixed]
    longer = {name: _with_room(values[name]) for key in padded for name in (key, f"{key}_mask") if name in values}
    return batches._arrange(loaded, values, mixtures), batches._arrange(loaded, {**values, **longer}, mixtures)


def _with_room(rows: np.ndarray) -> np.ndarray:
    return np.pad(rows, [(0, 0), (0, 1)] + [(0, 0)] * (rows.ndim - 2))


def start_of(batches: Batches) -> tuple[int, int]:
    """The epoch and the batch with which a run begins: those that `load_state_dict` has set, else the first."""
    return batches._start


def have_one_size(batches: Batches) -> bool:
    """Whether all batches have equally many rows, in every epoch and wherever it begins."""
    return batches.remainder != "keep" and batches._arguments["on_error"] != "skip"


def num_image_bytes(batches: Batches) -> int:
    """How many bytes the images of a batch take, with its masks and maps."""
    fields = batches._fields_of_a_batch().values()
    specs = [field.handler.image_spec(batches._spec) for field in fields if field.is_pixels]
    return batches.batch_size * sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs)


def num_workers(batches: Batches) -> int:
    """How many threads or processes read batches; 0 for the one that asks."""
    return batches._loader.num_workers


def arguments_of(batches: Batches) -> Mapping[str, Any]:
    """The arguments that batches were made with, by name."""
    return batches._arguments


def dataset_of(batches: Batches) -> ShardDataset:
    """The samples that batches are made of."""
    return batches._dataset


def storage_options_of(batches: Batches) -> Any:
    """The argument `storage_options` of batches."""
    return batches._arguments["storage_options"]


def find_batches(sequence: Any) -> Batches | None:
    """The Batches behind a ShardSequence, or those that were passed; None for anything else."""
    found = sequence if isinstance(sequence, Batches) else getattr(sequence, "_batches", None)
    return found if isinstance(found, Batches) else None


def open_again(batches: Batches, **changed: Any) -> Batches:
    """Other Batches with the same arguments but some, of the dataset as it is now; after `load_state_dict`, with that state."""
    again = Batches(**{**batches._arguments, **changed})
    again._go_on(batches._start, dataclasses.replace(again._order, rest=batches._order.rest))
    return again


def without_workers(batches: Batches) -> Batches:
    """The same batches, at the same place, read in the thread that asks for them."""
    state = batches.__getstate__()
    copy = object.__new__(Batches)
    copy.__setstate__({**state, "arguments": {**state["arguments"], "workers": 0, "use_multiprocessing": False}})
    return copy
