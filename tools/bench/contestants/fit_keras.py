"""Batches through `model.fit`, of a model that costs almost nothing; KERAS_BACKEND says on what.

Options: `feeder`, who makes the batches: "kseq", "ready-made", "gathered", "tf.data" or "h5py"; `buffers`, how many batches
"ready-made" has; `processes`, for kseq; and those of `fitting.fitted`. What counts as an epoch of the stage is one `fit`, and
its images are those that the model trained on.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from fitting import fitted
from memory_copy import aligned
from stage import Job, load_raw, perform

import kseq

# So many batches kseq reads ahead, too.
_AHEAD = 10


class ReadyMade(keras.utils.PyDataset):
    """Hands out batches that lie in memory, in turn, aligned as the backends like them; all of them are more than a cache."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        images, labels = load_raw(job)
        self._count, self._size = len(images), job.batch_size
        self._batches = []
        for number in range((job.options or {})["buffers"]):
            rows = np.arange(number * self._size, (number + 1) * self._size) % len(images)
            batch = aligned((self._size, *images.shape[1:]))
            batch[:] = images[rows]
            self._batches.append((batch, labels[rows].astype(np.int32)))
        # Not by the number of the batch: a small epoch does not come to all.
        self._turns = itertools.cycle(self._batches)

    def __len__(self) -> int:
        return -(-self._count // self._size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = next(self._turns)
        rows = min(self._size, self._count - index * self._size)
        return images[:rows], labels[:rows]


class Gathered(keras.utils.PyDataset):
    """The least that a shuffle costs: numpy gathers each batch once, ahead, in threads, into buffers in turn."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        images, labels = load_raw(job)
        self._images = np.asarray(images)
        self._labels, self._size = labels.astype(np.int32), job.batch_size
        targets = [aligned((self._size, *self._images.shape[1:])) for _ in range(_AHEAD + 4)]
        self._targets = itertools.cycle(targets)
        self._rng = np.random.default_rng(job.seed)
        self._pool = ThreadPoolExecutor(job.workers)
        self._ahead: deque[Future] = deque()

    def __len__(self) -> int:
        return -(-len(self._labels) // self._size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        while len(self._ahead) <= _AHEAD:
            order = self._rng.integers(0, len(self._labels), self._size)
            self._ahead.append(self._pool.submit(self._gather, order, next(self._targets)))
        images, labels = self._ahead.popleft().result()
        rows = min(self._size, len(self._labels) - index * self._size)
        return images[:rows], labels[:rows]

    def _gather(self, order: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # With this mode, numpy writes to the target at once.
        return np.take(self._images, order, axis=0, out=target, mode="clip"), self._labels[order]


def _kseq(job: Job) -> Any:
    options = job.options or {}
    jpeg = job.table == "J"
    return kseq.ShardSequence(
        job.store,
        batch_size=job.batch_size,
        workers=job.workers,
        use_multiprocessing=options.get("processes", False),
        augment=[kseq.RandomResizedCrop(job.size), kseq.RandomFlip()] if jpeg else (),
    )


def _tfdata(job: Job) -> Any:
    from tfdata_tfrecord import make_dataset

    return make_dataset(job)


def _h5py(job: Job) -> Any:
    from h5py_by_hand import HandWritten

    return HandWritten(job)


_FEEDERS: dict[str, Callable[[Job], Any]] = {
    "kseq": _kseq,
    "ready-made": ReadyMade,
    "gathered": Gathered,
    "tf.data": _tfdata,
    "h5py": _h5py,
}


def write(job: Job) -> None:
    """The stores are those of tables R and J."""


def open_store(job: Job) -> Callable[[int], Iterator]:
    return fitted(job, _FEEDERS[(job.options or {})["feeder"]](job))


if __name__ == "__main__":
    perform(write, open_store)
