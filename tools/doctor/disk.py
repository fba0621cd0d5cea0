"""How fast bytes of samples come from the disk itself, past the memory that the system keeps files in."""

from __future__ import annotations

import mmap
import os
import random
import time

import kseq
from kseq.reading.dataset import sample_reader
from kseq.threads import start_thread

__all__ = ["measure_disk", "memory_bytes", "num_stored"]

_BLOCK = 4096


def memory_bytes() -> int | None:
    """How much memory the machine has; None where no one tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def num_stored(dataset: kseq.ShardDataset) -> int:
    """How many samples the shards of a dataset hold, whatever its split."""
    return sample_reader(dataset).collection.num_samples


def measure_disk(dataset: kseq.ShardDataset, readers: int, seconds: float) -> float | None:
    """Samples per second that several threads read from random places of the shards; None where that cannot be told.

    Files are opened with O_DIRECT, which not every system and file system has.

    Args:
        dataset: A dataset of the local file system.
        readers: How many threads read.
        seconds: How long.
    """
    folder = os.fspath(dataset.path)
    names = [name for name in _names(folder) if name.startswith("shard-") and name.endswith(".h5")]
    sample_bytes = max(1, dataset.num_bytes // max(num_stored(dataset), 1))
    counts, threads = [0] * readers, []
    try:
        files = [os.open(os.path.join(folder, name), os.O_RDONLY | os.O_DIRECT) for name in sorted(names)[:64]]
    except (AttributeError, OSError):
        return None
    if not files:
        return None
    try:
        end = time.perf_counter() + seconds
        for number in range(readers):
            threads.append(start_thread(_read, files, sample_bytes, end, counts, number, name=f"kseq-disk-{number}"))
        for thread in threads:
            thread.join()
        passed = time.perf_counter() - end + seconds
    finally:
        for file in files:
            os.close(file)
    return sum(counts) / passed if all(counts) else None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(files: list[int], sample_bytes: int, end: float, counts: list[int], number: int) -> None:
    """Read samples until it is time; leave a 0 where the file system refuses."""
    draw = random.Random(number)
    # Whole blocks, into memory that begins with one.
    buffer = mmap.mmap(-1, (sample_bytes // _BLOCK + 2) * _BLOCK)
    sizes = [os.fstat(file).st_size for file in files]
    while time.perf_counter() < end or not counts[number]:
        position = draw.randrange(len(files))
        offset = draw.randrange(max(1, (sizes[position] - sample_bytes) // _BLOCK)) * _BLOCK
        try:
            os.preadv(files[position], [buffer], offset)
        except OSError:
            counts[number] = 0
            return
        counts[number] += 1
