"""Table remote: reading from a server that speaks S3, through a cold and a warm cache, and single samples without one.

The server shares the processor with the reader, so that a real store is kinder to the cold cache and to single samples: the
former is read once more through a line of the speed that a network has. The warm one asks the server for next to nothing.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import kseq
from kseq.reading.dataset import sample_reader
from kseq.reading.shard_cache import FETCHED_AT_ONCE
from kseq.storage.layout import shard_name
from kseq.storage.remote_files import RemoteFiles
from kseq.storage.remote_system import Wanted
from kseq.threads import ThreadPool

from ..console.text import format_bytes, format_count
from .contest import Row
from .cpu_time import busy_seconds
from .object_store import ObjectStore, object_store
from .reading import Setting
from .tables import Goal, Table

__all__ = ["measure_remote"]

# Raw images of so many pixels a side, in about so many shards.
_SIDE, _SHARDS = 64, 12

# A line of one gigabit a second, as it carries it.
_LINE = 117e6

_FOLDER, _COPY, _WARM = "kseq, in a folder", "kseq, in a copy of the folder", "kseq, warm cache"
_GET, _FETCH, _EPOCH = "fsspec.get", "kseq, all shards into the cache", "kseq, first epoch"

# So many samples are read at a time without a cache, so many times in a round.
_READS = {1: 40, 32: 10}


class _Remote(NamedTuple):
    """A dataset in a folder and at a URL, and what opens the latter; `folder` is for what is made on the way."""

    setting: Setting
    store: ObjectStore
    folder: str
    local: str
    url: str

    @property
    def cache(self) -> str:
        return os.path.join(self.folder, "cache")

    @property
    def options(self) -> dict[str, Any]:
        return {"storage_options": self.store.options, "cache_dir": self.cache}

    def batches(self, path: str, **options: Any) -> kseq.Batches:
        setting = self.setting
        return kseq.Batches(
            path, "all", shuffle=True, batch_size=setting.batch_size, remainder="keep", workers=setting.workers, **options
        )


def measure_remote(setting: Setting, sources: Mapping[str, str], say: Any) -> list[Table]:
    """The four tables."""
    say("remote: a dataset in a store")
    with object_store() as store, tempfile.TemporaryDirectory(prefix="remote-", dir=setting.folder) as folder:
        local = os.path.join(folder, "packed")
        _make(local, setting.num_images)
        remote = _Remote(setting, store, folder, local, store.upload(local, "packed"))
        say("remote: warm cache")
        warm = _measure_warm(remote)
        say("remote: cold cache")
        cold = _measure_cold(remote, "on this machine")
        say(f"remote: cold cache, {_line_name()}")
        with store.through_line(_LINE) as distant:
            behind = _measure_cold(remote._replace(store=distant), _line_name())
        say("remote: single samples")
        return [warm, cold, behind, _measure_single(remote)]


def _line_name() -> str:
    return f"through a line of {format_bytes(int(_LINE))} a second"


def _make(folder: str, count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, _SIDE, _SIDE, 3), np.uint8)
    form = kseq.ImageSettings("raw", (_SIDE, _SIDE))
    kseq.pack((images, np.arange(count) % 10), folder, images=form, shard_bytes=images.nbytes // _SHARDS, workers=0)


class _Clock:
    """Times epochs, in images a second and seconds of the processor.

    Args:
        remote: What is read.
        rows: Where the figures go.

    Attributes:
        served: By the name of a row, the processor time of the server for 1,000 images, one figure per round.
    """

    def __init__(self, remote: _Remote, *rows: str) -> None:
        self._count = remote.setting.num_images
        self._store = remote.store
        self.rows = {name: Row(name) for name in rows}
        self.served: dict[str, list[float]] = {name: [] for name in rows}

    @contextmanager
    def timing(self, name: str, *, is_counted: bool) -> Iterator[None]:
        """An epoch of a row is what the block does; the first of each row, to warm up, does not count."""
        before = self._now()
        yield
        seconds, own, served, busy = (late - early for late, early in zip(self._now(), before, strict=True))
        if is_counted:
            row = self.rows[name]
            row.rates.append(self._count / seconds)
            row.cpu.append(1e3 * own / self._count)
            row.others.append(max(0.0, busy - own - served) / seconds)
            self.served[name].append(1e3 * served / self._count)

    def _now(self) -> tuple[float, float, float, float]:
        return time.perf_counter(), time.process_time(), self._store.seconds(), busy_seconds() or 0.0


def _measure_warm(remote: _Remote) -> Table:
    # How a file was written decides where its pages lie in memory, and so how fast they are read: a plain copy tells that.
    copy = os.path.join(remote.folder, "copy")
    shutil.copytree(remote.local, copy)
    clock = _Clock(remote, _FOLDER, _COPY, _WARM)
    with (
        remote.batches(remote.local) as plain,
        remote.batches(copy) as copied,
        remote.batches(remote.url, **remote.options) as cached,
    ):
        # An epoch takes a tenth of a second: more of them than rounds.
        for epoch in range(4 * remote.setting.rounds + 1):
            for name, batches in ((_FOLDER, plain), (_COPY, copied), (_WARM, cached)):
                with clock.rows[name].noting(), clock.timing(name, is_counted=epoch > 0):
                    _read(batches, epoch)
    title = f"raw {_SIDE}x{_SIDE}x3 from S3 through a warm cache, {remote.setting.workers} threads"
    rows = list(clock.rows.values())
    return Table("remote", title, "images/s", rows, "", [Goal(_WARM, 0.95)], reference=_FOLDER)


def _read(batches: kseq.Batches, epoch: int) -> None:
    for _ in batches.epoch(epoch):
        pass


def _measure_cold(remote: _Remote, where: str) -> Table:
    names = sorted(name for name in os.listdir(remote.local) if name.startswith("shard"))
    target = os.path.join(remote.folder, "plain")
    # Opened before the time counts, each with all that it has to ask for beside the shards.
    opening = {_GET: _getting(remote, names, target), _FETCH: _fetching(remote), _EPOCH: _reading(remote)}
    clock = _Clock(remote, *opening)
    for number in range(remote.setting.rounds + 1):
        for name, opened in opening.items():
            for folder in (remote.cache, target):
                shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(target)
            with clock.rows[name].noting(), opened() as run, clock.timing(name, is_counted=number > 0):
                run()
    num_bytes = sum(os.path.getsize(os.path.join(remote.local, name)) for name in names)
    served = "; ".join(f"{name} {statistics.median(seconds):.4f}" for name, seconds in clock.served.items() if seconds)
    notes = [
        f"{format_bytes(num_bytes)} in {len(names)} shards, {FETCHED_AT_ONCE} connections",
        f"the server takes, beside that, CPU s per 1,000: {served}",
    ]
    title = f"raw {_SIDE}x{_SIDE}x3 from S3 {where}, for the first time, {remote.setting.workers} threads"
    goals = [Goal(_FETCH, 0.8), Goal(_EPOCH, 0.8)]
    return Table("remote", title, "images/s", list(clock.rows.values()), "", goals, notes, reference=_GET)


# Opens something, and gives what is to be timed.
_Opening: TypeAlias = Callable[[], AbstractContextManager[Callable[[], object]]]


def _getting(remote: _Remote, names: list[str], target: str) -> _Opening:
    import fsspec

    system = fsspec.filesystem("s3", **remote.store.options, config_kwargs={"max_pool_connections": FETCHED_AT_ONCE})
    paths, copies = [f"{remote.url.removeprefix('s3://')}/{name}" for name in names], [f"{target}/{name}" for name in names]
    return lambda: nullcontext(partial(system.get, paths, copies, batch_size=FETCHED_AT_ONCE))


def _fetching(remote: _Remote) -> _Opening:
    @contextmanager
    def opened() -> Iterator[Callable[[], object]]:
        with kseq.ShardDataset(remote.url, **remote.options) as dataset:
            yield partial(_fetch_all, dataset)

    return opened


def _fetch_all(dataset: kseq.ShardDataset) -> None:
    shards = sample_reader(dataset).collection.shards
    with ThreadPool(FETCHED_AT_ONCE) as threads:
        for _ in threads.map(shards.fetch, range(shards.num_shards)):
            pass


def _reading(remote: _Remote) -> _Opening:
    @contextmanager
    def opened() -> Iterator[Callable[[], object]]:
        with remote.batches(remote.url, **remote.options) as batches:
            yield partial(_read, batches, 0)

    return opened


def _measure_single(remote: _Remote) -> Table:
    rows: dict[str, Row] = {}
    rng = np.random.default_rng(0)
    for _ in range(remote.setting.rounds):
        # A new one each time: it keeps what it has read.
        with kseq.ShardDataset(remote.url, storage_options=remote.store.options, cache_bytes=0) as dataset:
            shards = sample_reader(dataset).collection.shards
            # With the first sample of each shard comes what is read once.
            dataset.read(shards.first_ids[:-1])
            order = rng.permutation(np.setdiff1d(np.arange(len(dataset)), shards.first_ids))
            (index,) = sample_reader(dataset).collection.indexes
            assert index.remote is not None
            files = index.remote.files
            for count, times in _READS.items():
                name, chosen = (
                    format_count(count, "sample"),
                    [order[start : start + count] for start in range(0, times * count, count)],
                )
                order = order[times * count :]
                with _counting(files) as asked:
                    seconds = [_seconds(partial(dataset.read, positions)) for positions in chosen if len(positions)]
                if seconds:
                    _add(rows, f"{name}: ms", 1e3 * statistics.median(seconds))
                    _add(rows, f"{name}: requests for each", sum(asked) / sum(map(len, chosen)))
            seconds = [_seconds(partial(files.read, shard_name(0), 0, _SIDE * _SIDE * 3)) for _ in range(_READS[1])]
            _add(rows, "a bare range of as many bytes as a sample: ms", 1e3 * statistics.median(seconds))
    title = f"samples of raw {_SIDE}x{_SIDE}x3 from S3 without a cache, chosen at random"
    return Table("remote", title, "figure", list(rows.values()), "", less_is_better=True)


@contextmanager
def _counting(files: RemoteFiles) -> Iterator[list[int]]:
    """How many ranges each call asks the store for."""
    asked: list[int] = []
    plain = files._system.read_ranges

    def read_ranges(wanted: Sequence[Wanted], seconds: float) -> Sequence[Any]:
        asked.append(len(wanted))
        return plain(wanted, seconds)

    files._system.read_ranges = read_ranges  # type: ignore[method-assign]  # put back below
    try:
        yield asked
    finally:
        files._system.read_ranges = plain  # type: ignore[method-assign]  # as it was


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _add(rows: dict[str, Row], name: str, figure: float) -> None:
    rows.setdefault(name, Row(name)).rates.append(figure)
