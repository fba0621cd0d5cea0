"""Damaged samples that a training meets: what becomes of their rows in a batch, and who is told of them."""

from __future__ import annotations

import errno
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kseq.errors import DamagedError, ImageError, ReadError, tell
from kseq.training.read_ahead import LoadedBatch

__all__ = ["ON_ERROR", "DamagedSample", "Damages", "is_damage"]

# What `on_error` may be.
ON_ERROR = ("raise", "skip", "substitute")

# So many damaged samples of an epoch are named in its line.
_MOST_NAMED = 5


def is_damage(error: BaseException) -> bool:
    """Whether an error in reading says that a sample is damaged.

    So does a disk that cannot read some of its bytes. A system or a store that refuses, or does not answer, says nothing of the
    samples, and would do the same with all others.
    """
    if isinstance(error, ReadError):
        return any(isinstance(cause, OSError) and cause.errno == errno.EIO for cause in _causes(error))
    return isinstance(error, (DamagedError, ImageError))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


class DamagedSample(NamedTuple):
    """A damaged sample that was met in training with `on_error="skip"` or `"substitute"`.

    Attributes:
        sample_id: Its sample id.
        reason: What is wrong with it, with its shard, its row and its source.
        epoch: The epoch in which it was met last.
        batch: The batch of that epoch.
    """

    sample_id: int
    reason: str
    epoch: int
    batch: int


class Damages:
    """Mends batches that have rows without a sample, since it is damaged, and tells of them once an epoch.

    Args:
        name: Of the dataset and its split, for messages.
        on_error: `"skip"`: the batch is smaller. `"substitute"`: the row is a copy of the next whole one, and does not count.
    """

    def __init__(self, name: str, on_error: str) -> None:
        self._name = name
        self._on_error = on_error
        # By sample id; and the ids of each epoch of which nothing was told yet.
        self._found: dict[int, DamagedSample] = {}
        self._untold: defaultdict[int, set[int]] = defaultdict(set)
        # Guards both.
        self._lock = threading.Lock()

    @property
    def found(self) -> tuple[DamagedSample, ...]:
        """All that were met, each once, by sample id."""
        with self._lock:
            return tuple(self._found[sample] for sample in sorted(self._found))

    def mend(self, loaded: LoadedBatch, sample_ids: np.ndarray, epoch: int, batch: int) -> LoadedBatch:
        """The batch without the rows of damaged samples.

        Args:
            loaded: The batch.
            sample_ids: `(n,)` int64: its samples.
            epoch: Its epoch.
            batch: Its number.

        Raises:
            DamagedError: If no row is whole.
        """
        with self._lock:
            for row, reason in loaded.damaged:
                sample = int(sample_ids[row])
                self._found[sample] = DamagedSample(sample, reason, epoch, batch)
            # Of a batch without a whole row, the error tells.
            if len(loaded.damaged) < len(sample_ids):
                self._untold[epoch].update(int(sample_ids[row]) for row, _ in loaded.damaged)
        is_whole = np.ones(len(sample_ids), bool)
        is_whole[[row for row, _ in loaded.damaged]] = False
        if not is_whole.any():
            raise DamagedError(f"{loaded.damaged[0].reason}; so are all other {len(sample_ids) - 1} samples of the batch")
        if self._on_error == "skip":
            arrays = {name: array[is_whole] for name, array in loaded.arrays.items()}
            return LoadedBatch(arrays, loaded.positions[is_whole], loaded.is_counted[is_whole], times=loaded.times)
        _substitute(loaded, np.flatnonzero(~is_whole), np.flatnonzero(is_whole))
        return LoadedBatch(loaded.arrays, loaded.positions, loaded.is_counted & is_whole, times=loaded.times)

    def end_epoch(self, epoch: int | None) -> None:
        """Tell, in a line for each, which damaged samples an epoch had, and those before it that broke off, if any.

        Args:
            epoch: The epoch; None for all, once no batch will be read any more.
        """
        with self._lock:
            ended = sorted(number for number in self._untold if epoch is None or number <= epoch)
            found = {number: [self._found[sample] for sample in sorted(self._untold.pop(number))] for number in ended}
        for number, samples in found.items():
            done = "left out" if self._on_error == "skip" else "substituted, with weight 0"
            reasons = "; ".join(sample.reason for sample in samples[:_MOST_NAMED])
            others = f"; and {len(samples) - _MOST_NAMED} others" if len(samples) > _MOST_NAMED else ""
            tell(
                f"{self._name}: epoch {number}: {len(samples)} damaged sample{'s' if len(samples) > 1 else ''} {done}: "
                f"{reasons}{others} (damaged_samples lists them)"
            )


def _substitute(loaded: LoadedBatch, rows: np.ndarray, whole: np.ndarray) -> None:
    """Copy the next whole row, or the first one, to each of some rows."""
    sources = whole[np.searchsorted(whole, rows) % len(whole)]
    for array in loaded.arrays.values():
        array[rows] = array[sources]
