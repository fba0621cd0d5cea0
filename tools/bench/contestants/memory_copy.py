"""A plain copy of the same bytes, in order, with the same threads: what no loader can be faster than.

The source is one file that is mapped, from the page cache, as the loaders' files are; the targets are batches in turn, all
aligned. Option `buffers`: how many; where they are larger than the last-level cache, every copy ends in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from stage import Job, in_threads, load_raw, perform


def write(job: Job) -> None:
    """The source is the store."""


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    memory = np.empty(int(np.prod(shape)) + 64, np.uint8)
    start = -memory.__array_interface__["data"][0] % 64
    return memory[start : start + int(np.prod(shape))].reshape(shape)


def open_store(job: Job):
    images, labels = load_raw(job)
    targets = [aligned((job.batch_size, *images.shape[1:])) for _ in range((job.options or {})["buffers"])]
    starts = range(0, len(images), job.batch_size)
    # A small epoch does not come to all targets: the next one goes on where it ended.
    turns = itertools.count(step=len(starts))

    def copy(turn: int, place: int) -> None:
        for number, start in enumerate(starts):
            batch = images[start : start + job.batch_size]
            first, last = (len(batch) * each // job.workers for each in (place, place + 1))
            np.copyto(targets[(turn + number) % len(targets)][first:last], batch[first:last])

    def epoch(number: int) -> Iterator:
        turn = next(turns)
        in_threads(lambda place: copy(turn, place), job.workers)
        for place, start in enumerate(starts):
            ending = min(job.batch_size, len(images) - start)
            yield targets[(turn + place) % len(targets)][:ending], labels[start : start + ending]

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
