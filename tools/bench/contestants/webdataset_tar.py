"""WebDataset: tar files, read in sequence by worker processes; settings from its documentation, named beside them.

It streams, so that it knows no shuffle of all samples: shards are shuffled, and samples in a buffer of 1,000 in each worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import webdataset as wds
from crops import decode_crop
from stage import Job, count_samples, perform, samples

_SHARDS = 16
_BUFFER = 1000


def write(job: Job) -> None:
    """Sixteen tar files ("ShardWriter")."""
    kind = "bin" if job.table == "R" else "jpg"
    pattern = os.path.join(job.store, "%02d.tar")
    with wds.ShardWriter(pattern, maxcount=-(-count_samples(job) // _SHARDS), verbose=0) as writer:
        for number, (data, label) in enumerate(samples(job)):
            writer.write({"__key__": f"{number:06d}", kind: data, "cls": str(label).encode()})


class _Parse:
    """A sample of a tar file as pixels and label; made in each worker."""

    def __init__(self, job: Job) -> None:
        self._size = job.size
        self._raw = job.table == "R"
        self._rng: np.random.Generator | None = None

    def __call__(self, sample: dict[str, Any]) -> tuple[np.ndarray, int]:
        label = int(sample["cls"])
        if self._raw:
            return np.frombuffer(sample["bin"], np.uint8).reshape(self._size, self._size, 3), label
        if self._rng is None:
            self._rng = np.random.default_rng()
        return decode_crop(sample["jpg"], self._size, self._rng), label


def _collate(samples: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([pixels for pixels, _ in samples]), np.array([label for _, label in samples])


def open_store(job: Job) -> Callable[[int], Iterator[Any]]:
    shards = sorted(os.path.join(job.store, name) for name in os.listdir(job.store))
    # "WebDataset": shardshuffle, then a shuffle buffer; batches are made in the workers, so that fewer things travel. Only with
    # detshuffle is the order of the shards another in each epoch: without, each starts again from the seed.
    dataset = (
        wds.WebDataset(shards, shardshuffle=_SHARDS, detshuffle=True, seed=job.seed)
        .shuffle(_BUFFER)
        .map(_Parse(job))
        .batched(job.batch_size, collation_fn=_collate, partial=True)
    )
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=job.workers, persistent_workers=job.workers > 0)

    def epoch(number: int) -> Iterator[Any]:
        return iter(loader)

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
