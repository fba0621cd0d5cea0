"""A plain copy of the same bytes, in order, with the same threads: what no loader can be faster than.

The source is one file that is mapped, from the page cache, as the loaders' files are; the targets are twelve batches in
turn, all aligned.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from stage import Job, in_threads, load_raw, perform

_TARGETS = 12


def write(job: Job) -> None:
    """The source is the store."""


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    memory = np.empty(int(np.prod(shape)) + 64, np.uint8)
    start = -memory.__array_interface__["data"][0] % 64
    return memory[start : start + int(np.prod(shape))].reshape(shape)


def open_store(job: Job):
    images, labels = load_raw(job)
    targets = [aligned((job.batch_size, *images.shape[1:])) for _ in range(_TARGETS)]
    starts = range(0, len(images), job.batch_size)

    def work(place: int) -> None:
        for number, start in enumerate(starts):
            batch = images[start : start + job.batch_size]
            first, last = (len(batch) * each // job.workers for each in (place, place + 1))
            np.copyto(targets[number % _TARGETS][first:last], batch[first:last])

    def epoch(number: int) -> Iterator:
        in_threads(work, job.workers)
        for place, start in enumerate(starts):
            ending = min(job.batch_size, len(images) - start)
            yield targets[place % _TARGETS][:ending], labels[start : start + ending]

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
