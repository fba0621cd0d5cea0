"""LMDB: one environment, a record for each sample, read by threads of our own; settings from py-lmdb's documentation.

LMDB is a store and no loader: the threads, the batches and the order are those that somebody would write around it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import lmdb
import numpy as np
from crops import crop_raw, decode_crop
from stage import Job, perform, raw_side, samples

_AHEAD = 8
_LABEL_BYTES = 8


def write(job: Job) -> None:
    """Keys are numbers, in rising order ("append=True" of `Transaction.put`)."""
    environment = lmdb.open(os.path.join(job.store, "data"), map_size=1 << 36, subdir=False)
    with environment.begin(write=True) as transaction:
        for number, (data, label) in enumerate(samples(job)):
            transaction.put(_key(number), label.to_bytes(_LABEL_BYTES, "little") + data, append=True)
    environment.close()


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def open_store(job: Job) -> Callable[[int], Iterator[Any]]:
    # "Environment": without locks for reading alone, without read-ahead for random access; "buffers" saves a copy.
    environment = lmdb.open(os.path.join(job.store, "data"), subdir=False, readonly=True, lock=False, readahead=False)
    count = environment.stat()["entries"]
    pool = ThreadPoolExecutor(job.workers)
    shape = (job.size, job.size, 3)
    stored = (raw_side(job), raw_side(job), 3) if job.table in ("R", "RC") else ()

    def fill(ids: np.ndarray, seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        images, labels = np.empty((len(ids), *shape), np.uint8), np.empty(len(ids), np.int64)
        rng = np.random.default_rng(seed)
        with environment.begin(buffers=True) as transaction:
            for place, number in enumerate(ids.tolist()):
                record = transaction.get(_key(number))
                labels[place] = int.from_bytes(record[:_LABEL_BYTES], "little")
                if job.table == "R":
                    np.copyto(images[place], np.frombuffer(record, np.uint8, offset=_LABEL_BYTES).reshape(stored))
                elif job.table == "RC":
                    pixels = np.frombuffer(record, np.uint8, offset=_LABEL_BYTES).reshape(stored)
                    crop_raw(pixels, job.size, rng, images[place])
                else:
                    decode_crop(record[_LABEL_BYTES:], job.size, rng, images[place])
        return images, labels

    def epoch(number: int) -> Iterator[Any]:
        ids = np.random.default_rng((job.seed, number)).permutation(count)
        waiting: deque[Future] = deque()
        for start in range(0, count, job.batch_size):
            waiting.append(pool.submit(fill, ids[start : start + job.batch_size], (job.seed, number, start)))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
