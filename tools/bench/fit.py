"""Tables F and P, and how reading and training overlap: batches through `model.fit`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from .contest import Row, Runner, take_turns
from .reading import SCRIPTS, Setting, buffers_beyond_cache, make_job, note_cached_source, prepare
from .roster import H5PY, KSEQ, TFDATA, contestant
from .tables import Goal, Table, cpu_bars

__all__ = ["MODELS", "measure_fit", "measure_overlap", "measure_processes"]

# What `contestants/fit_keras.py` calls a model, and what it is.
_SMALL, _GLANCE = "small", "glance"
MODELS = {
    _SMALL: "of the smallest model that looks at every value",
    _GLANCE: "of a model that only loads a batch from memory",
}

_READY, _PROCESSES, _UNSHUFFLED = "ready-made batches", "kseq, processes", "kseq, shuffle=False"
# What any loader costs that copies each sample once, in an order of its own.
_GATHERED = "batches that numpy gathers"
# What `contestants/fit_keras.py` calls whoever makes the batches.
_FEEDERS = {KSEQ: "kseq", _UNSHUFFLED: "kseq", _READY: "ready-made", _GATHERED: "gathered", TFDATA: "tf.data", H5PY: "h5py"}
_FIT_EPOCHS, _OVERLAP_EPOCHS = 3, 1
# Rounds that tell how long the step of the overlap is to be.
_PROBES = 3

Sources = Mapping[str, str]


def _start(
    name: str,
    backend: str,
    setting: Setting,
    sources: Sources,
    say: Any,
    feeder: str = KSEQ,
    table: str = "R",
    epochs: int = _FIT_EPOCHS,
    model: str = _SMALL,
    **options: Any,
) -> Runner:
    """A process that fits, fed by a contestant from its store of a table, written before if need be, or ready-made batches."""
    if feeder in (_READY, _GATHERED):
        job = make_job(table, setting, sources[table])
        options["buffers"] = buffers_beyond_cache(setting)
    else:
        owner = KSEQ if feeder == _UNSHUFFLED else feeder
        _, job = prepare(contestant(owner, table), table, setting, sources[table], say)
    if feeder == _UNSHUFFLED:
        options["shuffle"] = False
    job = job | {"action": "read", "options": {"feeder": _FEEDERS[feeder], "model": model, "epochs": epochs, **options}}
    command = [sys.executable, os.path.join(SCRIPTS, "fit_keras.py")]
    variables = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return Runner(f"{name} {backend}", command, job, setting.path("logs"), variables)


def _measure(
    starts: Mapping[str, Callable[[], Runner]], setting: Setting, rounds: int, epochs: int = _FIT_EPOCHS
) -> dict[str, Row]:
    """The rows of fits that took turns; each fit is checked to train on every sample of its epochs."""
    rows = {name: Row(name) for name in starts}
    take_turns(starts, rounds, rows, {"images": epochs * setting.num_images})
    return rows


def measure_fit(backend: str, model: str, setting: Setting, sources: Sources, say: Any) -> Table:
    """Table F on one backend, of one of `MODELS`; without rows where none of its contestants was asked for."""
    say(f"table F on {backend}, {model}")
    others = {TFDATA: 3.0, H5PY: 10.0} if backend == "tensorflow" else {}
    asked = [name for name in (KSEQ, *others) if setting.wants(name)]
    ours = [_UNSHUFFLED] if KSEQ in asked else []
    feeders = [*asked, *ours, _GATHERED, _READY] if asked else []
    starts = {name: partial(_start, name, backend, setting, sources, say, name, model=model) for name in feeders}
    rows = _measure(starts, setting, setting.rounds)
    goals = [Goal(_READY, 0.9), Goal(_UNSHUFFLED, 0.97), *(Goal(name, times) for name, times in others.items())]
    title = f"raw batches through model.fit on {backend}, {MODELS[model]}"
    notes, cpu_goals = note_cached_source(setting), cpu_bars(others)
    return Table(f"F {backend} {model}", title, "images/s", list(rows.values()), KSEQ, goals, notes, cpu_goals=cpu_goals)


def measure_processes(backend: str, setting: Setting, sources: Sources, say: Any) -> Table:
    """Table P on one backend."""
    say(f"table P on {backend}")
    starts = {
        name: partial(_start, name, backend, setting, sources, say, processes=name == _PROCESSES) for name in (_PROCESSES, KSEQ)
    }
    rows = _measure(starts, setting, setting.rounds)
    title = f"raw batches through model.fit on {backend}, {setting.workers} processes (use_multiprocessing=True) or threads"
    return Table(f"P {backend}", title, "images/s", list(rows.values()), _PROCESSES, [Goal(KSEQ, 0.75)])


def measure_overlap(table: str, backend: str, setting: Setting, sources: Sources, say: Any) -> Table:
    """Reading alone, a step of the same length alone, and both: 1 would be a perfect overlap, 0.5 none."""
    say(f"overlap of table {table} on {backend}")
    both, slower, reading, stepping = "both", "slower one alone", "reading alone", "step alone"
    begin = partial(_start, backend=backend, setting=setting, sources=sources, say=say, epochs=_OVERLAP_EPOCHS, model=_GLANCE)
    read = {reading: partial(begin, reading, table=table)}
    rows = _measure(read, setting, _PROBES, _OVERLAP_EPOCHS)
    if not rows[reading].failed:
        step = setting.batch_size / rows[reading].median
        starts = {
            both: partial(begin, both, table=table, step=step),
            **read,
            stepping: partial(begin, stepping, feeder=_READY, step=step),
        }
        rows = _measure(starts, setting, setting.rounds, _OVERLAP_EPOCHS)
        pairs = zip(rows[reading].rates, rows[stepping].rates, strict=False)
        rows[slower] = Row(slower, [min(pair) for pair in pairs])
    title = f"table {table} through fit on {backend}, with a step that takes as long as the reading"
    return Table(f"overlap {table} {backend}", title, "images/s", list(rows.values()), both, [Goal(slower, 0.85)])
