"""Opens a dataset of a billion samples and reads from it; prints seconds, and by how many bytes the process grew."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import kseq
from kseq.ordering.epoch_order import Order
from kseq.ordering.permutation import permute
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.loader import Loader


def _resident() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    with open(sys.argv[1]) as file:
        store = json.load(file)["store"]
    permute(range(8), 8, 0)
    before = _resident()
    started = time.perf_counter()
    dataset = kseq.ShardDataset(store, verify="never")
    opened = time.perf_counter()
    order = Order(len(dataset), 128, shuffle=True)
    loader = Loader(BatchMaker(dataset, ["image", "label"], ImageSpec(8, 8)), order, workers=0)
    loader.batch(0, 0)
    first = time.perf_counter()
    later = [_seconds(lambda number=number: loader.batch(0, number)) for number in range(1, 6)]
    answer = {"open": opened - started, "first batch": first - opened, "a later batch of 128": sorted(later)[2]}
    for size in (128, 1280):
        sized = Order(len(dataset), size, shuffle=True)
        times = [_seconds(lambda sized=sized, number=number: sized.positions(1, number)) for number in range(20)]
        answer[f"order of {size:,} samples"] = sorted(times)[10]
    print(json.dumps({**answer, "memory": _resident() - before}), flush=True)


if __name__ == "__main__":
    main()
