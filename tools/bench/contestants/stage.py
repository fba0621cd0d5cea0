"""What every contestant's script shares: its job, and the loop that times one epoch after the other.

A script runs in the contestant's own virtual environment, so that this module needs nothing but numpy. The job is a JSON file,
the one argument of the script:

    action      "write" (make `store` from `source`, once) or "read" (epochs from `store`, on demand)
    table       "R" (raw pixels), "RC" (raw pixels to be cropped), "J" (JPEG, shorter side 256), "N" (JPEG, native size),
                "D" (photos as they are, to be resized) or "W" (raw pixels to be made of JPEGs)
    source      R, RC: a folder with images.npy, (n, side, side, 3) uint8, and labels.npy, (n,) int64;
                J, N, D, W: a folder of CLASS/NAME.jpg, classes numbered in sorted order
    store       the contestant's folder
    workers     threads or processes that may work at the same time
    batch_size  samples per batch; a last, smaller one counts
    size        height and width of the images of a batch
    seed        of the shuffling

"write" prints one line of JSON, `{"seconds": ...}`. "read" prints `{"ready": ...}`, then for each line on its standard input
reads one epoch and prints `{"images": ..., "seconds": ..., "label_sum": ..., "buffers": ...}`; the last is how many addresses
the batches had, 0 where they tell none.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Job", "count_samples", "in_threads", "jpeg_files", "load_raw", "perform", "raw_side", "samples"]

Epoch = Callable[[int], Iterable[tuple[Any, Any]]]


@dataclass(frozen=True)
class Job:
    """What to do; see the module."""

    action: str
    table: str
    source: str
    store: str
    workers: int
    batch_size: int
    size: int
    seed: int = 0
    options: dict | None = None


def load_raw(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """The raw source: `(n, side, side, 3)` uint8, mapped from its file, and `(n,)` int64."""
    images = np.load(os.path.join(job.source, "images.npy"), mmap_mode="r")
    return images, np.load(os.path.join(job.source, "labels.npy"))


def raw_side(job: Job) -> int:
    """Height and width of the images of the raw source."""
    return load_raw(job)[0].shape[1]


def jpeg_files(job: Job) -> list[tuple[str, int]]:
    """Path and label of every JPEG of the source."""
    classes = sorted(each.name for each in os.scandir(job.source) if each.is_dir())
    return [
        (os.path.join(job.source, name, file), label)
        for label, name in enumerate(classes)
        for file in sorted(os.listdir(os.path.join(job.source, name)))
    ]


def samples(job: Job) -> Iterator[tuple[bytes, int]]:
    """Every sample of the source: its pixels as bytes, or its JPEG, and its label."""
    if job.table in ("R", "RC"):
        for pixels, label in zip(*load_raw(job), strict=True):
            yield pixels.tobytes(), int(label)
    else:
        for path, label in jpeg_files(job):
            with open(path, "rb") as file:
                yield file.read(), label


def count_samples(job: Job) -> int:
    """How many samples the source has."""
    return len(load_raw(job)[1]) if job.table in ("R", "RC") else len(jpeg_files(job))


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Call `work` with 0 to `count - 1`, each in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=work, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def perform(write: Callable[[Job], None], open_store: Callable[[Job], Epoch]) -> None:
    """Do the job that the command line names.

    Args:
        write: Makes the store.
        open_store: Opens it; what it returns is called with the number of an epoch and gives the epoch's batches,
            `(images, labels)`: `(n, size, size, 3)` uint8 in host memory, and `(n,)` whole numbers. Each sample comes
            once, in an order that is new in each epoch. Nothing works on after the last batch.
    """
    # Libraries print to standard output what they like; the answers go where it pointed before.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with open(sys.argv[1]) as file:
        job = Job(**json.load(file))
    if job.action == "write":
        os.makedirs(job.store, exist_ok=True)
        started = time.perf_counter()
        write(job)
        _answer(answers, seconds=time.perf_counter() - started)
        return
    epoch = open_store(job)
    _answer(answers, ready=True)
    for number, _ in enumerate(sys.stdin):
        _answer(answers, **_time_epoch(epoch, number, job))


def _answer(answers: Any, **values: Any) -> None:
    print(json.dumps(values), file=answers, flush=True)


def _time_epoch(epoch: Epoch, number: int, job: Job) -> dict[str, Any]:
    images = label_sum = 0
    addresses = set()
    started = time.perf_counter()
    for pixels, labels in epoch(number):
        if tuple(pixels.shape[1:]) != (job.size, job.size, 3) or str(pixels.dtype).rpartition(".")[2] != "uint8":
            raise SystemExit(
                f"a batch is {pixels.dtype} {tuple(pixels.shape)}, expected is uint8 (n, {job.size}, {job.size}, 3)"
            )
        images += len(pixels)
        label_sum += int(labels.sum())
        if isinstance(pixels, np.ndarray):
            addresses.add(pixels.ctypes.data)
    seconds = time.perf_counter() - started
    return {"images": images, "seconds": seconds, "label_sum": label_sum, "buffers": len(addresses)}
