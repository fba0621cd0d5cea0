"""How fast batches come: the stages on one thread, and all workers together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import kseq
from kseq.training.batches_inside import arguments_of, open_again

__all__ = ["Cursor", "measure_rate", "measure_stages", "take", "without_checksums"]

# The stages are measured in batches of so many samples at most: of slow ones, few are enough.
_MOST_SAMPLES = 16
_LEAST_BATCHES = 4
# So many samples, one by one, say how many a batch may have.
_PROBES = 2
# So many batches are not counted: workers start, files are opened. Of batches that take long, one is enough.
_WARM_UP = 2


class Cursor:
    """Where the next measurement begins, so that none reads again what another one has brought into memory."""

    def __init__(self) -> None:
        self.epoch = 0
        self.share = 0.0

    def batches(self, batches: kseq.Batches) -> Iterator[Any]:
        """Batches without end, from there on."""
        while True:
            start = int(self.share * len(batches))
            for number, batch in enumerate(batches.epoch(self.epoch, start), start + 1):
                self.share = number / len(batches)
                yield batch
            self.epoch, self.share = self.epoch + 1, 0.0


def take(batches: Iterator[Any], seconds: float) -> tuple[int, float]:
    """How many batches came, of which the last one after so many seconds, and how long that took; at least one."""
    count, started = 0, time.perf_counter()
    while True:
        next(batches)
        count += 1
        passed = time.perf_counter() - started
        if passed >= seconds:
            return count, passed


def measure_rate(batches: kseq.Batches, cursor: Cursor, seconds: float) -> float:
    """Samples per second, of who does nothing but to ask for batches: for so many seconds, and in two batches at least."""
    coming, started = cursor.batches(batches), time.perf_counter()
    for _ in range(_WARM_UP):
        next(coming)
        if time.perf_counter() - started >= seconds:
            break
    before = batches.stats
    _, passed = take(coming, seconds)
    return (batches.stats - before).num_samples / passed


def without_checksums(batches: kseq.Batches) -> dict[str, Any]:
    """What is changed of the arguments so that each epoch is like those after the first, which compares checksums."""
    arguments = arguments_of(batches)
    is_opened_here = not isinstance(arguments["dataset"], kseq.ShardDataset)
    return {"verify": "never"} if is_opened_here and arguments["verify"] == "first" else {}


def measure_stages(batches: kseq.Batches, cursor: Cursor, seconds: float) -> kseq.InputStats:
    """What the stages cost, on one thread, which nothing holds up; of very slow samples, in a few of them."""
    changed: dict[str, Any] = {"workers": 0, "use_multiprocessing": False, "global_batch_size": None}
    # What is shared out among ranks has the batch size of one.
    changed |= {"rank": 0, "world_size": 1} if arguments_of(batches)["world_size"] != 1 else {}
    changed |= without_checksums(batches)
    with open_again(batches, batch_size=1, **changed) as single:
        coming = cursor.batches(single)
        next(coming)
        passed = sum(take(coming, 0.0)[1] for _ in range(_PROBES))
        # With the first one: opening files is little beside samples that take long.
        probed = single.stats
    each = max(passed / _PROBES, 1e-9)
    size = min(batches.batch_size, _MOST_SAMPLES, int(seconds / (each * (_LEAST_BATCHES + 1))))
    if size < 1:
        # There is no time for more.
        return probed
    with open_again(batches, batch_size=size, **changed) as alone:
        coming = cursor.batches(alone)
        next(coming)
        before = alone.stats
        for _ in range(_LEAST_BATCHES - 1):
            next(coming)
        take(coming, seconds * (1 - _LEAST_BATCHES / (_LEAST_BATCHES + 1)))
        return alone.stats - before
