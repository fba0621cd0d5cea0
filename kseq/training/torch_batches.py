"""TorchBatches: batches as a map-style Dataset of PyTorch, for its DataLoader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from kseq.arguments import spelled, whole
from kseq.errors import ArgumentError
from kseq.training.batch_leaves import map_leaves
from kseq.training.batches import Batches, describe
from kseq.training.batches_inside import find_batches, start_of, without_workers

__all__ = ["TorchBatches"]


def _find_torch() -> Any:
    """PyTorch; None if it is not installed: `from kseq import *` takes every public name, and who uses this one is told."""
    try:
        import torch.utils.data
    except ImportError:
        return None
    return torch


_torch = _find_torch()
_Dataset: Any = object if _torch is None else _torch.utils.data.Dataset
_Sampler: Any = object if _torch is None else _torch.utils.data.Sampler


class TorchBatches(_Dataset):
    """The batches of a `Batches` or `ShardSequence` as a map-style Dataset of PyTorch, in kseq's own order.

    `DataLoader(dataset, batch_size=None, sampler=dataset.sampler)` goes through one epoch after the other, each in its own
    order, with any number of workers, started by fork, forkserver or spawn, kept (`persistent_workers`) or not: the sampler
    says epoch and number of each batch, so that no worker has to know which epoch it is. A worker reads in its own thread;
    without workers of the DataLoader, the threads of `batches` read ahead.

    Args:
        batches: A `Batches`, or a `ShardSequence`, whose own epochs stay as they are.

    Attributes:
        sampler: Gives the keys of one epoch, `(epoch, number)`, each time that it is iterated; the next time those of the next
            epoch, if it was iterated to the end. It begins where `load_state_dict` has put `batches` before.

    Raises:
        ArgumentError: If `batches` is neither, or PyTorch is not installed.

    Examples:
        >>> dataset = kseq.TorchBatches(kseq.Batches("flowers", "train", data_format="channels_first"))
        >>> loader = torch.utils.data.DataLoader(dataset, batch_size=None, sampler=dataset.sampler, num_workers=2)
    """

    def __init__(self, batches: Any) -> None:
        if _torch is None:
            raise ArgumentError("TorchBatches needs PyTorch: pip install 'kseq[torch]'")
        found = find_batches(batches)
        if found is None:
            raise ArgumentError(f"{spelled('batches', batches)}: allowed is a Batches or a ShardSequence")
        self._batches = found
        # Those of a worker of a DataLoader, and the process that it is.
        self._of_worker: tuple[int, Batches] | None = None
        self.sampler = _EpochSampler(found)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_of_worker": None}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {describe(self._batches)}>"

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._batches)

    def __getitem__(self, key: int | tuple[int, int]) -> Any:
        """A batch, of tensors in place of arrays.

        Args:
            key: `(epoch, number)`; a number alone is of the epoch that `set_epoch` has set.

        Returns:
            As `Batches.batch`; whole numbers of classes are int64, as the losses of PyTorch take them. Texts stay arrays.

        Raises:
            IndexError: If there is no batch of this number (an `OutOfRangeError`).
            KseqError: As `Batches.batch` does.
        """
        epoch, number = key if isinstance(key, tuple) else (self.sampler.epoch, key)
        return map_leaves(_tensor, self._own_batches().batch(epoch, number))

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration of the sampler be this epoch, as one does with PyTorch's DistributedSampler.

        Args:
            epoch: 0 or more.

        Raises:
            ArgumentError: If it is no such number.
        """
        self.sampler.epoch = whole("epoch", epoch, 0)

    def _own_batches(self) -> Batches:
        """The batches, in a worker of a DataLoader without threads: there are as many workers as the user wants."""
        if _torch.utils.data.get_worker_info() is None:
            return self._batches
        if self._of_worker is None or self._of_worker[0] != os.getpid():
            self._of_worker = os.getpid(), without_workers(self._batches)
        return self._of_worker[1]


class _EpochSampler(_Sampler):
    """Gives epoch and number of each batch, epoch by epoch."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.epoch, _ = start_of(batches)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        first_epoch, start = start_of(self._batches)
        for number in range(start if epoch == first_epoch else 0, len(self._batches)):
            yield epoch, number
        # A set epoch stays.
        self.epoch = epoch + 1 if self.epoch == epoch else self.epoch


def _tensor(rows: Any) -> Any:
    if not isinstance(rows, np.ndarray) or rows.dtype.kind == "U":
        return [_tensor(row) for row in rows] if isinstance(rows, list) else rows
    return _torch.from_numpy(rows.astype(np.int64) if rows.dtype == np.int32 else rows)
