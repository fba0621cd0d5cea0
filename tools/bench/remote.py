"""What reading from object storage costs: `python -m kseq_tools.bench.remote`, against a server that speaks S3 on this machine.

It needs moto (`pip install 'kseq[test]'`). The server shares the processor with the reader, so that a real store is kinder to
`cold` and `single`; `warm` asks it for next to nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import kseq
from kseq.reading.dataset import sample_reader
from kseq.reading.shard_cache import FETCHED_AT_ONCE
from kseq.workers import WorkerPool

__all__ = ["main"]

_BUCKET = "kseq-bench"
_SIDE = 64


def main(argv: list[str] | None = None) -> int:
    """Measure, and print a line for each thing."""
    parser = argparse.ArgumentParser(prog="python -m kseq_tools.bench.remote", description=__doc__)
    parser.add_argument("--num-images", type=int, default=16_000, help="raw images of 64 x 64 pixels (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=12, help="about so many shards (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (default: %(default)s)")
    arguments = parser.parse_args(argv)
    print(f"load of the last minute when it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="kseq-remote-") as folder, _s3_server() as endpoint:
        local = os.path.join(folder, "packed")
        _make(local, arguments.num_images, arguments.shards)
        options = {"key": "x", "secret": "x", "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"}}
        url = _upload(local, options)
        remote = {"storage_options": options, "cache_dir": os.path.join(folder, "cache")}
        _print_warm(local, url, remote, arguments.rounds)
        _print_cold(local, url, remote, arguments.rounds)
        _print_single(url, options)
    return 0


def _print_warm(local: str, url: str, remote: dict[str, Any], rounds: int) -> None:
    rates: dict[str, list[float]] = {"local": [], "copy": [], "warm": []}
    # How a file was written decides where its pages lie in memory, and so how fast they are read: a plain copy is the measure.
    shutil.copytree(local, f"{local}-copy")
    with (
        kseq.Batches(local, "all", shuffle=True, batch_size=128) as plain,
        kseq.Batches(f"{local}-copy", "all", shuffle=True, batch_size=128) as copy,
        kseq.Batches(url, "all", shuffle=True, batch_size=128, **remote) as cached,
    ):
        for batches in (plain, copy, cached):
            _epoch(batches, 0)
        for epoch in range(1, 4 * rounds + 1):
            for name, batches in (("local", plain), ("copy", copy), ("warm", cached)):
                rates[name].append(len(batches) * 128 / _epoch(batches, epoch))
    warm = statistics.median(rates.pop("warm"))
    for name, rate in ((name, statistics.median(each)) for name, each in rates.items()):
        print(f"warm: {warm:,.0f} images/s through the cache, {rate:,.0f} of the {name} dataset: {warm / rate:.2f}", flush=True)


def _epoch(batches: kseq.Batches, epoch: int) -> float:
    return _seconds(lambda: [None for _ in batches.epoch(epoch)])


def _print_cold(local: str, url: str, remote: dict[str, Any], rounds: int) -> None:
    import fsspec

    cache, target = remote["cache_dir"], f"{remote['cache_dir']}-plain"
    shards = [name for name in sorted(os.listdir(local)) if name.startswith("shard")]
    num_bytes = sum(os.path.getsize(os.path.join(local, name)) for name in shards)
    system = fsspec.filesystem("s3", **remote["storage_options"], config_kwargs={"max_pool_connections": FETCHED_AT_ONCE})
    paths = [f"{url.removeprefix('s3://')}/{name}" for name in shards]
    seconds: dict[str, list[float]] = {"fetch": [], "epoch": [], "plain": []}
    for _ in range(rounds):
        for name in seconds:
            shutil.rmtree(cache, ignore_errors=True)
            shutil.rmtree(target, ignore_errors=True)
            os.makedirs(target)
            if name == "plain":
                copies = [os.path.join(target, shard) for shard in shards]
                seconds[name].append(_seconds(lambda: system.get(paths, copies, batch_size=FETCHED_AT_ONCE)))  # noqa: B023  # called at once
            elif name == "fetch":
                with kseq.ShardDataset(url, **remote) as dataset:
                    seconds[name].append(_seconds(lambda: _fetch_all(dataset)))
            else:
                with kseq.Batches(url, "all", shuffle=True, batch_size=128, **remote) as batches:
                    seconds[name].append(_epoch(batches, 0))
    plain = num_bytes / statistics.median(seconds["plain"]) / 1e6
    for name, text in (("fetch", "all shards, checked"), ("epoch", "first epoch")):
        rate = num_bytes / statistics.median(seconds[name]) / 1e6
        print(f"cold: {rate:,.0f} MB/s for {text}, {plain:,.0f} for fsspec.get: {rate / plain:.2f}", flush=True)


def _fetch_all(dataset: kseq.ShardDataset) -> None:
    shards = sample_reader(dataset).collection.shards
    pool = WorkerPool(FETCHED_AT_ONCE, processes=False)
    for future in [pool.submit(shards.fetch, shard) for shard in range(shards.num_shards)]:
        future.result()
    pool.close()


def _print_single(url: str, options: dict[str, Any]) -> None:
    with kseq.ShardDataset(url, storage_options=options, cache_bytes=0) as dataset:
        (index,) = sample_reader(dataset).collection.indexes
        assert index.remote is not None
        system, counted = index.remote.files._system, [0]
        plain = system.read_ranges

        def ask(wanted: Any, seconds: float) -> Any:
            counted[0] += len(wanted)
            return plain(wanted, seconds)

        system.read_ranges = ask  # type: ignore[method-assign]  # counts requests
        rng = np.random.default_rng(0)
        dataset.read(np.linspace(0, len(dataset) - 1, 64).astype(int))
        for count, times in ((1, 200), (32, 30)):
            chosen = [rng.choice(len(dataset), count, replace=False) for _ in range(times)]
            counted[0] = 0
            seconds = [_seconds(lambda: dataset.read(positions)) for positions in chosen]  # noqa: B023  # called at once
            each = counted[0] / times / count
            median = 1000 * statistics.median(seconds)
            print(f"single: {count} samples without a cache: median {median:.1f} ms, {each:.2f} requests a sample", flush=True)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _make(folder: str, count: int, shards: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, _SIDE, _SIDE, 3), np.uint8)
    labels = np.arange(count) % 10
    form = kseq.ImageSettings("raw", (_SIDE, _SIDE))
    kseq.pack((images, labels), folder, images=form, shard_bytes=images.nbytes // shards, workers=0)


@contextmanager
def _s3_server() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], **quiet)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _upload(local: str, options: dict[str, Any]) -> str:
    import fsspec

    system = fsspec.filesystem("s3", **options)
    system.call_s3("create_bucket", Bucket=_BUCKET)
    for name in os.listdir(local):
        system.put_file(os.path.join(local, name), f"{_BUCKET}/packed/{name}")
    return f"s3://{_BUCKET}/packed"


if __name__ == "__main__":
    sys.exit(main())
