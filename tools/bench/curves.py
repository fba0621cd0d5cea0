"""Three curves: a cold page cache, a billion samples, and the time from a cold process to the first batch."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from kseq import ShardDataset
from kseq.ordering.epoch_order import Order
from kseq.training.block_shuffle import choose_blocks

from .contest import ContestantError, Row, Runner, check_epoch, run_once
from .folders import read_all
from .reading import SCRIPTS, Setting, prepare
from .roster import KSEQ, contestant
from .scale import make_sparse
from .stamps import make_once
from .tables import Goal, Table

__all__ = ["CURVES"]

_SEQUENTIAL = "sequential read"
_BLOCKS = "kseq, shuffle='block'"

# The dataset of the scale curve.
_SHARDS, _ROWS = 100_000, 10_000
_SCALE_GOALS = {"open": 2000.0, "first batch": 50.0, "a later batch of 128": 30.0}
_MEMORY = "resident memory, growth in MiB"


def _measure_cold(setting: Setting, sources: Mapping[str, str], say: Any) -> Table:
    """Raw samples from the disk itself, each process a fresh one, the cache dropped before."""
    command, job = prepare(contestant(KSEQ, "R"), "R", setting, sources["R"], say)
    shuffles: dict[str, bool | str] = {
        _BLOCKS: "block",
        "kseq, shuffle=True": True,
        "kseq, shuffle=False": False,
    }
    runs: dict[str, Callable[[], float]] = {
        name: partial(_cold_epoch, name, shuffle, command, job, setting) for name, shuffle in shuffles.items()
    }
    runs[_SEQUENTIAL] = partial(_seconds_to_read, job["store"])
    rows = {name: Row(name) for name in runs}
    say("cold cache")
    for _ in range(setting.rounds):
        for name, row in rows.items():
            if row.failed:
                continue
            _drop_cache(job["store"])
            with row.noting():
                row.rates.append(setting.num_images / runs[name]())
    spread = _spread(setting.num_images, job["store"])
    note = f"shuffle='block' takes neighbours on disk {spread:.2f} times as far from each other as a full shuffle does"
    goals = [Goal(_SEQUENTIAL, 0.8)]
    title = "raw samples from a cold page cache, a fresh process each"
    return Table("cold", title, "images/s", list(rows.values()), _BLOCKS, goals, [note])


def _cold_epoch(name: str, shuffle: bool | str, command: Any, job: Mapping[str, Any], setting: Setting) -> float:
    options = {**job["options"], "shuffle": shuffle, "verify": "never"}
    runner = Runner(name, command, {**job, "action": "read", "options": options}, setting.path("logs"))
    try:
        runner.answer()
        answer = runner.epoch()
        if wrong := check_epoch(answer, setting.expected):
            raise ContestantError(f"{name}: {wrong}")
        return float(answer["seconds"])
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


def _seconds_to_read(folder: str) -> float:
    started = time.perf_counter()
    read_all(folder)
    return time.perf_counter() - started


def _spread(num_images: int, store: str) -> float:
    """The mean distance, after shuffling by blocks, of samples that are neighbours on disk, by that after a full shuffle."""
    order = Order(num_images, 128, "block", 0, "keep", 0, 1, *choose_blocks(ShardDataset(store)))
    places = np.empty(num_images)
    batches = order.draw_batches(0, range(order.num_batches))
    places[np.concatenate([batch.positions for batch in batches])] = np.arange(num_images)
    return float(np.abs(np.diff(places)).mean() / (num_images / 3))


def _measure_scale(setting: Setting, sources: Mapping[str, str], say: Any) -> Table:
    """Opening a simulated dataset of a billion samples, and its first batch."""
    folder = setting.path("scale")

    def make() -> None:
        say(f"scale: making {_SHARDS:,} sparse shards of {_ROWS:,} samples")
        make_sparse(folder, _SHARDS, _ROWS)

    make_once(folder, f"{_SHARDS} shards of {_ROWS}", make)
    say("scale")
    rows = {name: Row(name) for name in (*_SCALE_GOALS, "order of 128 samples", "order of 1,280 samples")}
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
    _, job = prepare(contestant(KSEQ, "R"), "R", setting, sources["R"], say)
    say("time to the first batch")
    # A backend's row, until its steps are known.
    backends = {backend: Row(backend or "without Keras") for backend in (*setting.backends, "")}
    rows: dict[str, Row] = {}
    for _ in range(setting.rounds):
        for backend, row in backends.items():
            if row.failed:
                continue
            with row.noting():
                answer = _script("start", job | {"action": "read", "table": "start"}, setting, {"KERAS_BACKEND": backend})
                for step, seconds in answer.items():
                    label = f"{row.name}: {step}"
                    rows.setdefault(label, Row(label)).rates.append(1e3 * seconds)
    failed = [row for row in backends.values() if row.failed]
    title = f"a process until its first batch of {setting.batch_size}"
    return Table("start", title, "ms", [*rows.values(), *failed], "", less_is_better=True)


def _script(name: str, job: Mapping[str, Any], setting: Setting, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    command = [sys.executable, os.path.join(SCRIPTS, f"{name}.py")]
    return run_once(f"{name}{'-'.join((variables or {}).values())}", command, job, setting.path("logs"), variables)


CURVES: dict[str, Callable[[Setting, Mapping[str, str], Any], Table]] = {
    "cold": _measure_cold,
    "scale": _measure_scale,
    "start": _measure_start,
}
