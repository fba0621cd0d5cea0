"""Three curves: a cold page cache, a billion samples, and the time from a cold process to the first batch."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kseq import ShardDataset
from kseq.options import choose_blocks
from kseq.order import Order

from .contest import Row, Runner, run_once
from .reading import SCRIPTS, Setting, prepare
from .roster import CONTESTANTS, KSEQ
from .scale import make_sparse
from .tables import Goal, Table

__all__ = ["CURVES"]

_CHUNK = 8 << 20
_SEQUENTIAL = "sequential read"

# The dataset of the scale curve.
_SHARDS, _ROWS = 100_000, 10_000
_SCALE_GOALS = {"open": 2000.0, "first batch": 3000.0}
_MEMORY = "resident memory, growth in MiB"


def _measure_cold(setting: Setting, sources: Mapping[str, str], say: Any) -> Table:
    """Raw samples from the disk itself, each process a fresh one, the cache dropped before."""
    ours = next(each for each in CONTESTANTS if each.name == KSEQ and "R" in each.tables)
    command, job = prepare(ours, "R", setting, sources["R"], say)
    shuffles: dict[str, bool | str] = {
        "kseq, shuffle='block'": "block",
        "kseq, shuffle=True": True,
        "kseq, shuffle=False": False,
    }
    rows = {name: Row(name) for name in (*shuffles, _SEQUENTIAL)}
    say("cold cache")
    for _ in range(setting.rounds):
        for name, row in rows.items():
            _drop_cache(job["store"])
            seconds = (
                _read_all(job["store"]) if name == _SEQUENTIAL else _cold_epoch(name, shuffles[name], command, job, setting)
            )
            row.rates.append(setting.num_images / seconds)
    spread = _spread(setting.num_images, job["store"])
    note = f"shuffle='block' takes neighbours on disk {spread:.2f} times as far from each other as a full shuffle does"
    goals = [Goal(_SEQUENTIAL, 0.8)]
    title = "raw samples from a cold page cache, a fresh process each"
    return Table("cold", title, "images/s", list(rows.values()), "kseq, shuffle='block'", goals, [note])


def _cold_epoch(name: str, shuffle: bool | str, command: Any, job: Mapping[str, Any], setting: Setting) -> float:
    options = {**job["options"], "shuffle": shuffle, "verify": "never"}
    runner = Runner(name, command, {**job, "action": "read", "options": options}, setting.path("logs"))
    try:
        runner.answer()
        return float(runner.epoch()["seconds"])
    finally:
        runner.close()


def _drop_cache(folder: str) -> None:
    """All of it, where that is allowed; else these files' part."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")
        return
    except OSError:
        pass
    for entry in os.scandir(folder):
        descriptor = os.open(entry.path, os.O_RDONLY)
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _read_all(folder: str) -> float:
    """Seconds to read every file, one after the other, in large pieces."""
    piece = bytearray(_CHUNK)
    started = time.perf_counter()
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        with open(entry.path, "rb", buffering=0) as file:
            while file.readinto(piece):
                pass
    return time.perf_counter() - started


def _spread(num_images: int, store: str) -> float:
    """The mean distance, after shuffling by blocks, of samples that are neighbours on disk, by that after a full shuffle."""
    order = Order(num_images, 128, "block", 0, False, 0, 1, *choose_blocks(ShardDataset(store), None, None))
    places = np.empty(num_images)
    places[np.concatenate(order.positions_of(0, range(order.num_batches)))] = np.arange(num_images)
    return float(np.abs(np.diff(places)).mean() / (num_images / 3))


def _measure_scale(setting: Setting, sources: Mapping[str, str], say: Any) -> Table:
    """Opening a simulated dataset of a billion samples, and its first batch."""
    folder = setting.path("scale")
    if not os.path.exists(os.path.join(folder, "index.h5")):
        say(f"scale: making {_SHARDS:,} sparse shards of {_ROWS:,} samples")
        make_sparse(folder, _SHARDS, _ROWS)
    say("scale")
    rows = {
        name: Row(name) for name in (*_SCALE_GOALS, "a later batch of 128", "order of 128 samples", "order of 1,280 samples")
    }
    memory = Row(_MEMORY)
    for _ in range(setting.rounds):
        answer = _script("scale", {"table": "scale", "action": "read", "store": folder}, setting)
        for name, row in rows.items():
            row.rates.append(1e3 * answer[name])
        memory.rates.append(answer["memory"] / (1 << 20))
    goals = [Goal(name, most) for name, most in _SCALE_GOALS.items()] + [Goal(_MEMORY, 150)]
    title = f"{_SHARDS * _ROWS:,} samples in {_SHARDS:,} sparse shards"
    return Table("scale", title, "ms", [*rows.values(), memory], "", goals, less_is_better=True)


def _measure_start(setting: Setting, sources: Mapping[str, str], say: Any) -> Table:
    """From a cold process to the first batch, and what of it is what."""
    say("time to the first batch")
    store = setting.path("stores", "kseq_shards-R")
    rows: dict[str, Row] = {}
    for _ in range(setting.rounds):
        for backend in ("tensorflow", "jax", "torch", ""):
            answer = _script("start", {"table": "start", "action": "read", "store": store}, setting, {"KERAS_BACKEND": backend})
            for name, seconds in answer.items():
                label = f"{backend or 'without Keras'}: {name}"
                rows.setdefault(label, Row(label)).rates.append(1e3 * seconds)
    return Table("start", "a process until its first batch", "ms", list(rows.values()), "", less_is_better=True)


def _script(name: str, job: Mapping[str, Any], setting: Setting, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    command = [sys.executable, os.path.join(SCRIPTS, f"{name}.py")]
    return run_once(f"{name}{'-'.join((variables or {}).values())}", command, job, setting.path("logs"), variables)


CURVES: dict[str, Callable[[Setting, Mapping[str, str], Any], Table]] = {
    "cold": _measure_cold,
    "scale": _measure_scale,
    "start": _measure_start,
}
