"""Grain over ArrayRecord files; settings from the pages of Grain's documentation named beside them.

Grain reads in threads and leaves decoding to the user's Python; `num_workers` processes take over where that holds the
interpreter. Measured here on two cores, threads are the faster for R, J and N alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from crops import crop_raw, decode_crop
from stage import Job, perform, raw_side, samples

_SHARDS = 16
_LABEL_BYTES = 8


def write(job: Job) -> None:
    """ "group_size:1" is what the documentation asks for where records are read at random."""
    paths = [os.path.join(job.store, f"{shard:02d}.array_record") for shard in range(_SHARDS)]
    # Photos do not get smaller by compression, nor should they be decompressed.
    writers = [ArrayRecordWriter(path, "group_size:1,uncompressed") for path in paths]
    for number, (data, label) in enumerate(samples(job)):
        writers[number % _SHARDS].write(label.to_bytes(_LABEL_BYTES, "little") + data)
    for each in writers:
        each.close()


def open_store(job: Job) -> Callable[[int], Iterator[Any]]:
    paths = sorted(os.path.join(job.store, name) for name in os.listdir(job.store))
    source = grain.sources.ArrayRecordDataSource(paths)

    side = raw_side(job) if job.table in ("R", "RC") else 0

    def parse_raw(record: bytes) -> tuple[np.ndarray, int]:
        pixels = np.frombuffer(record, np.uint8, offset=_LABEL_BYTES).reshape(side, side, 3)
        return pixels, int.from_bytes(record[:_LABEL_BYTES], "little")

    def parse_raw_crop(record: bytes, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        pixels, label = parse_raw(record)
        return crop_raw(pixels, job.size, rng), label

    def parse_jpeg(record: bytes, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        pixels = decode_crop(memoryview(record)[_LABEL_BYTES:], job.size, rng)
        return pixels, int.from_bytes(record[:_LABEL_BYTES], "little")

    # ReadOptions: as many threads as the others have. Its buffer counts elements, which are batches here, since the threads
    # make them: two for each thread. Fewer than threads would leave some idle; the default, 500, is meant for elements of 1 to
    # 10 KiB.
    options = grain.ReadOptions(num_threads=job.workers, prefetch_buffer_size=2 * job.workers)

    def epoch(number: int) -> Iterator[Any]:
        # "Dataset basics": a lazy global shuffle.
        dataset = grain.MapDataset.source(source).seed(job.seed + number).shuffle()
        if job.table == "R":
            parsed = dataset.map(parse_raw)
        else:
            parsed = dataset.random_map(parse_raw_crop if job.table == "RC" else parse_jpeg)
        return iter(parsed.batch(job.batch_size, drop_remainder=False).to_iter_dataset(options))

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
