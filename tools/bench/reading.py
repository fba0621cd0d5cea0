"""Tables R, J and N: batches into numpy, each contestant in its own process, in turns."""

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
from .photos import NUM_CLASSES, SIDE, describe
from .roster import BARE_DECODE, CONTESTANTS, COPY, DALI, FFCV, GRAIN, KSEQ, TFDATA, Contestant, contestant
from .stamps import make_once
from .tables import Goal, Table

__all__ = ["BACKENDS", "SCRIPTS", "Setting", "make_job", "measure_processes", "measure_reading", "prepare"]

BACKENDS = ("tensorflow", "jax", "torch")

SCRIPTS = os.path.join(os.path.dirname(__file__), "contestants")

_TITLES = {
    "R": f"raw {SIDE}x{SIDE}x3 batches into numpy",
    "J": f"JPEG, shorter side 256, quality 90, RandomResizedCrop {SIDE} and flip",
    "N": f"JPEG of native size, quality 90, RandomResizedCrop {SIDE} and flip",
}
_GOALS = {
    "R": (Goal(COPY, 0.9),),
    "J": (Goal(FFCV, 1.5), Goal(TFDATA, 1.5), Goal(GRAIN, 1.5), Goal(DALI, 2), Goal(BARE_DECODE, 1)),
    "N": (Goal(FFCV, 2.5), Goal(DALI, 2.5), Goal(TFDATA, 2)),
}

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
    """

    folder: str
    images: str | None = None
    num_images: int = 10_000
    batch_size: int = 128
    workers: int = 2
    rounds: int = 5
    names: tuple[str, ...] | None = None
    backends: tuple[str, ...] = BACKENDS

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
        runner = _start(each.name, each, table, setting, source, say)
        rows[each.name].version = installed_version(runner.python, each.package) if each.package else ""
        return runner

    starts = {each.name: functools.partial(start, each) for each in chosen}
    say(f"table {table}: {format_count(len(chosen), 'contestant')}, {format_count(setting.rounds, 'round')}")
    take_turns(starts, setting.rounds, rows, setting.expected)
    title = f"{_TITLES[table]}, {setting.workers} threads"
    return Table(table, title, "images/s", list(rows.values()), KSEQ, _GOALS[table])


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
    command = [_python_of(each, setting, say), os.path.join(SCRIPTS, each.script)]
    suffix = "".join(f"-{value}" for value in each.options.values())
    store = setting.path("stores", f"{each.script[:-3]}-{table}{suffix}")
    job = make_job(table, setting, source) | {"store": store, "options": dict(each.options)}

    def write() -> None:
        say(f"{each.name}: writing its store for table {table}")
        run_once(each.name, command, job | {"action": "write"}, setting.path("logs"), each.variables)

    make_once(store, describe(setting.images, setting.num_images), write)
    return command, job


def _python_of(each: Contestant, setting: Setting, say: Any) -> str:
    if not each.requirements:
        return sys.executable
    folder = setting.path("environments", each.script[:-3])
    try:
        return make_environment(
            folder, each.requirements, each.pip_options, lambda: say(f"{each.name}: making its environment")
        )
    except ContestantError as error:
        needs = f" (it needs {', '.join(each.debian)} of Debian)" if each.debian else ""
        raise ContestantError(f"{error}{needs}") from error
