"""Tables R, RC, J and N: batches into numpy, each contestant in its own process, in turns."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..console.text import format_count
from .contest import ContestantError, Row, Runner, run_once, take_turns
from .environments import installed_version, make_environment
from .machine import ASSUMED_CACHE, cache_bytes
from .photos import NUM_CLASSES, RAW_SIDES, SIDE, describe
from .roster import (
    BARE_DECODE,
    CONTESTANTS,
    COPY,
    COPY_LIKE_KSEQ,
    DALI,
    FFCV,
    GRAIN,
    KSEQ,
    TFDATA,
    Contestant,
    contestant,
)
from .stamps import make_once
from .tables import Goal, Table, cpu_bars

__all__ = [
    "BACKENDS",
    "SCRIPTS",
    "Setting",
    "buffers_beyond_cache",
    "make_job",
    "measure_processes",
    "measure_reading",
    "note_cached_source",
    "prepare",
    "python_of",
]

BACKENDS = ("tensorflow", "jax", "torch")

SCRIPTS = os.path.join(os.path.dirname(__file__), "contestants")

_TITLES = {
    "R": f"raw {SIDE}x{SIDE}x3 batches into numpy",
    "RC": f"raw {RAW_SIDES['RC']}x{RAW_SIDES['RC']}x3, RandomResizedCrop {SIDE} and flip",
    "J": f"JPEG, shorter side 256, quality 90, RandomResizedCrop {SIDE} and flip",
    "N": f"JPEG of native size, quality 90, RandomResizedCrop {SIDE} and flip",
}
_GOALS = {
    "R": (Goal(COPY_LIKE_KSEQ, 0.9),),
    "RC": (Goal(FFCV, 1.2),),
    "J": (Goal(FFCV, 1.5), Goal(TFDATA, 1.5), Goal(GRAIN, 1.5), Goal(DALI, 2), Goal(BARE_DECODE, 1)),
    "N": (Goal(FFCV, 2.5), Goal(DALI, 2.5), Goal(TFDATA, 2)),
}

# How much larger than the last-level cache memory is that is read or written in turn, so that none of it stays there.
_BEYOND_CACHE = 2
# What kseq has in flight where that is not measured: ten read ahead, one at work, one at the user.
_USUAL_BUFFERS = 12

# Microseconds of plain Python for each image.
_DELAYS = (0, 200, 1000)


@dataclass(frozen=True)
class Setting:
    """What all tables of a run share.

    Attributes:
        folder: For sources, stores, environments and logs.
        images: A folder of photos, or None for made ones.
        num_images: Samples in each table.
        batch_size: Samples per batch.
        workers: Threads or processes of each contestant.
        rounds: Epochs that count.
        names: The contestants to run; None for all.
        backends: Of Keras, in the tables that train.
        photo_backends: The same in table D, which takes a quarter of an hour for each.
    """

    folder: str
    images: str | None = None
    num_images: int = 10_000
    batch_size: int = 128
    workers: int = 2
    rounds: int = 5
    names: tuple[str, ...] | None = None
    backends: tuple[str, ...] = BACKENDS
    photo_backends: tuple[str, ...] = BACKENDS[:1]

    def path(self, *parts: str) -> str:
        return os.path.join(self.folder, *parts)

    def wants(self, name: str) -> bool:
        """A contestant was asked for."""
        return self.names is None or name in self.names

    @property
    def expected(self) -> dict[str, int]:
        """What every epoch must come to."""
        return {"images": self.num_images, "label_sum": sum(number % NUM_CLASSES for number in range(self.num_images))}


def measure_reading(table: str, setting: Setting, source: str, say: Any) -> Table:
    """Write each store that is missing, then let the contestants take turns."""
    chosen = [each for each in CONTESTANTS if table in each.tables and setting.wants(each.name)]
    rows = {each.name: Row(each.name) for each in chosen}

    def start(each: Contestant) -> Runner:
        options = _copy_options(each.name, table, setting, source, say) if each.name in (COPY, COPY_LIKE_KSEQ) else {}
        runner = _start(each.name, each, table, setting, source, say, options)
        rows[each.name].version = installed_version(runner.python, each.package) if each.package else ""
        return runner

    starts = {each.name: functools.partial(start, each) for each in chosen}
    say(f"table {table}: {format_count(len(chosen), 'contestant')}, {format_count(setting.rounds, 'round')}")
    take_turns(starts, setting.rounds, rows, setting.expected)
    title = f"{_TITLES[table]}, {setting.workers} threads"
    cpu_goals = cpu_bars(each.name for each in chosen if each.is_rival)
    notes = note_cached_source(setting, RAW_SIDES[table]) if table in RAW_SIDES else []
    return Table(table, title, "images/s", list(rows.values()), KSEQ, _GOALS[table], notes, cpu_goals=cpu_goals)


def _copy_options(name: str, table: str, setting: Setting, source: str, say: Any) -> dict[str, int]:
    """How many batches a plain copy writes to in turn: more than the last-level cache holds, or as many as kseq."""
    count = _buffers_of_kseq(table, setting, source, say) if name == COPY_LIKE_KSEQ else buffers_beyond_cache(setting)
    say(f"{name}: {format_count(count, 'batch')} in turn")
    return {"buffers": count}


def buffers_beyond_cache(setting: Setting) -> int:
    """So many batches of raw pixels are larger than the last-level cache."""
    return -(-_BEYOND_CACHE * (cache_bytes() or ASSUMED_CACHE) // (setting.batch_size * SIDE * SIDE * 3))


def note_cached_source(setting: Setting, side: int = SIDE) -> list[str]:
    """A line where the raw photos are too few to be read from memory each time."""
    needed = -(-_BEYOND_CACHE * (cache_bytes() or ASSUMED_CACHE) // (side * side * 3))
    if setting.num_images >= needed:
        return []
    return [f"the last-level cache may hold many of the raw photos: take --num-images {needed} or more"]


def _buffers_of_kseq(table: str, setting: Setting, source: str, say: Any) -> int:
    """Into how many buffers kseq reads an epoch."""
    if not setting.wants(KSEQ):
        return _USUAL_BUFFERS
    runner = _start(f"{KSEQ}, its buffers", contestant(KSEQ, table), table, setting, source, say)
    try:
        runner.answer()
        return max(1, int([runner.epoch() for _ in range(2)][-1]["buffers"]))
    finally:
        runner.close()


def _start(
    name: str, each: Contestant, table: str, setting: Setting, source: str, say: Any, options: Mapping[str, Any] | None = None
) -> Runner:
    """A contestant that reads its store, which is written before if need be."""
    command, job = prepare(each, table, setting, source, say)
    job = job | {"action": "read", "options": {**job["options"], **(options or {})}}
    return Runner(name, command, job, setting.path("logs"), each.variables)


def measure_processes(setting: Setting, source: str, say: Any) -> Table:
    """Table J in threads and in processes, without and with plain Python for each image, which holds the interpreter's lock."""
    starts: dict[str, Callable[[], Runner]] = {}
    for delay in _DELAYS:
        for kind in ("threads", "processes"):
            name = f"{kind}, {delay} us of Python an image"
            options = {"processes": kind == "processes", "delay": delay}
            starts[name] = functools.partial(_start, name, contestant(KSEQ, "J"), "J", setting, source, say, options)
    rows = {name: Row(name) for name in starts}
    say("threads and processes")
    take_turns(starts, setting.rounds, rows, setting.expected)
    title = f"table J in {setting.workers} threads or processes, and functions in Python that hold the interpreter"
    return Table("processes", title, "images/s", list(rows.values()), "")


def make_job(table: str, setting: Setting, source: str) -> dict[str, Any]:
    """What `contestants/stage.py` calls a job, as far as it is the same for all: without an action, a store, and options."""
    return {
        "table": table,
        "source": source,
        "store": "",
        "workers": setting.workers,
        "batch_size": setting.batch_size,
        "size": SIDE,
        "options": {},
    }


def prepare(each: Contestant, table: str, setting: Setting, source: str, say: Any) -> tuple[Sequence[str], dict[str, Any]]:
    """A contestant's Python and script, and its job; its environment and its store are there afterwards.

    Raises:
        ContestantError: Where it cannot be installed, or cannot write.
    """
    command = [python_of(each, setting, say), os.path.join(SCRIPTS, each.script)]
    suffix = "".join(f"-{value}" for value in each.options.values())
    store = setting.path("stores", f"{each.script[:-3]}-{table}{suffix}")
    job = make_job(table, setting, source) | {"store": store, "options": dict(each.options)}

    def write() -> None:
        say(f"{each.name}: writing its store for table {table}")
        run_once(each.name, command, job | {"action": "write"}, setting.path("logs"), each.variables)

    make_once(store, describe(setting.images, setting.num_images), write)
    return command, job


def python_of(each: Contestant, setting: Setting, say: Any) -> str:
    """The Python of a contestant's environment, which is there afterwards.

    Raises:
        ContestantError: Where it cannot be installed.
    """
    if not each.requirements:
        return sys.executable
    kind = each.options.get("format")
    folder = setting.path("environments", each.script[:-3] + (f"-{kind}" if kind else ""))
    try:
        return make_environment(
            folder, each.requirements, each.pip_options, lambda: say(f"{each.name}: making its environment")
        )
    except ContestantError as error:
        needs = f" (it needs {', '.join(each.debian)} of Debian)" if each.debian else ""
        raise ContestantError(f"{error}{needs}") from error
