"""Tables F and P, and how reading and training overlap: batches through `model.fit`."""

from __future__ import annotations

import os
import sys
from typing import Any

from .contest import Row, Runner, take_turns
from .reading import SCRIPTS, Setting
from .tables import Goal, Table

__all__ = ["BACKENDS", "measure_fit", "measure_overlap", "measure_processes"]

BACKENDS = ("tensorflow", "jax", "torch")

_READY, _THREADS, _PROCESSES = "ready-made batches", "kseq", "kseq, 2 processes"
_OVERLAP_EPOCHS = 1


def _runner(name: str, backend: str, setting: Setting, source: str, store: str, table: str = "R", **options: Any) -> Runner:
    job = {
        "action": "read",
        "table": table,
        "source": source,
        "store": store,
        "workers": setting.workers,
        "batch_size": setting.batch_size,
        "size": 224,
        "options": {"num_images": setting.num_images, **options},
    }
    variables = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, os.path.join(SCRIPTS, "fit_keras.py")]
    return Runner(f"{name} {backend}", command, job, setting.path("logs"), variables)


def measure_fit(backend: str, setting: Setting, source: str, say: Any) -> Table:
    """Table F on one backend."""
    feeders = {_THREADS: ("kseq", "kseq_shards-R"), _READY: ("ready-made", "")}
    goals = [Goal(_READY, 0.9)]
    if backend == "tensorflow":
        feeders |= {"tf.data, TFRecord": ("tf.data", "tfdata_tfrecord-R"), "h5py by hand": ("h5py", "h5py_by_hand-R")}
        goals += [Goal("tf.data, TFRecord", 3), Goal("h5py by hand", 10)]
    say(f"table F on {backend}")
    runners = {
        name: _runner(name, backend, setting, source, setting.path("stores", store), feeder=feeder)
        for name, (feeder, store) in feeders.items()
    }
    return _table(f"F {backend}", f"raw batches through model.fit on {backend}", setting, runners, goals)


def measure_processes(backend: str, setting: Setting, source: str, say: Any) -> Table:
    """Table P on one backend."""
    say(f"table P on {backend}")
    store = setting.path("stores", "kseq_shards-R")
    runners = {
        _PROCESSES: _runner(_PROCESSES, backend, setting, source, store, feeder="kseq", processes=True),
        _THREADS: _runner(_THREADS, backend, setting, source, store, feeder="kseq"),
    }
    title = f"raw batches through model.fit on {backend}, use_multiprocessing=True"
    return _table(f"P {backend}", title, setting, runners, [Goal(_THREADS, 0.75)], _PROCESSES)


def _table(
    key: str, title: str, setting: Setting, runners: dict[str, Runner], goals: list[Goal], ours: str = _THREADS
) -> Table:
    rows = {name: Row(name) for name in runners}
    take_turns(runners, setting.rounds, rows, {})
    return Table(key, title, "images/s", list(rows.values()), ours, goals)


def measure_overlap(table: str, backend: str, setting: Setting, source: str, say: Any) -> Table:
    """Reading alone, a step of the same length alone, and both: 1 would be a perfect overlap, 0.5 none."""
    say(f"overlap of table {table} on {backend}")
    store = setting.path("stores", f"kseq_shards-{table}" + ("-jpeg" if table == "J" else ""))
    alone = {"reading alone": Row("reading alone")}
    options: dict[str, Any] = {"table": table, "feeder": "kseq", "epochs": _OVERLAP_EPOCHS}
    take_turns({"reading alone": _runner("reading", backend, setting, source, store, **options)}, 3, alone, {})
    title = f"overlap: table {table} through fit on {backend} with a step that takes as long as the reading"
    rows = {name: Row(name) for name in ("both", "slower one alone", "reading alone", "step alone")}
    if not alone["reading alone"].rates:
        return Table(f"overlap {table} {backend}", title, "images/s", list(alone.values()), "both")
    step = setting.batch_size / alone["reading alone"].median
    runners = {
        "both": _runner("both", backend, setting, source, store, **options, step=step),
        "reading alone": _runner("reading", backend, setting, source, store, **options),
        "step alone": _runner("step", backend, setting, source, "", feeder="ready-made", epochs=_OVERLAP_EPOCHS, step=step),
    }
    take_turns(runners, setting.rounds, rows, {})
    pairs = zip(rows["reading alone"].rates, rows["step alone"].rates, strict=False)
    rows["slower one alone"].rates = [min(pair) for pair in pairs]
    return Table(f"overlap {table} {backend}", title, "images/s", list(rows.values()), "both", [Goal("slower one alone", 0.85)])
