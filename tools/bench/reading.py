"""Tables R, J and N: batches into numpy, each contestant in its own process, in turns."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .contest import ContestantError, Row, Runner, run_once, take_turns
from .environments import installed_version, make_environment
from .photos import NUM_CLASSES, SIDE
from .roster import BARE_DECODE, CONTESTANTS, COPY, KSEQ, Contestant
from .tables import Goal, Table

__all__ = ["SCRIPTS", "Setting", "measure_processes", "measure_reading", "prepare"]

SCRIPTS = os.path.join(os.path.dirname(__file__), "contestants")

_TITLES = {
    "R": "raw 224x224x3 batches into numpy",
    "J": "JPEG, shorter side 256, quality 90, RandomResizedCrop 224 and flip",
    "N": "JPEG of native size, quality 90, RandomResizedCrop 224 and flip",
}
_GOALS = {
    "R": (Goal(COPY, 0.9),),
    "J": (
        Goal("FFCV", 1.5),
        Goal("tf.data, TFRecord", 1.5),
        Goal("Grain, ArrayRecord", 1.5),
        Goal("DALI, CPU", 2),
        Goal(BARE_DECODE, 1),
    ),
    "N": (Goal("FFCV", 2.5), Goal("DALI, CPU", 2.5), Goal("tf.data, TFRecord", 2)),
}


# Microseconds of plain Python for each image.
_DELAYS = (0, 200, 1000)


@dataclass(frozen=True)
class Setting:
    """What all tables of a run share.

    Attributes:
        folder: For sources, stores, environments and logs.
        images: A folder of photos, or None.
        num_images: Samples in each table.
        batch_size: Samples per batch.
        workers: Threads or processes of each contestant.
        rounds: Epochs that count.
        names: The contestants to run; None for all.
    """

    folder: str
    images: str | None = None
    num_images: int = 10_000
    batch_size: int = 128
    workers: int = 2
    rounds: int = 5
    names: tuple[str, ...] | None = None

    def path(self, *parts: str) -> str:
        return os.path.join(self.folder, *parts)

    @property
    def expected(self) -> dict[str, int]:
        """What every epoch must come to."""
        return {"images": self.num_images, "label_sum": sum(number % NUM_CLASSES for number in range(self.num_images))}


def contestants_of(table: str, setting: Setting) -> list[Contestant]:
    """Those that stand in a table, and were asked for."""
    return [each for each in CONTESTANTS if table in each.tables and (setting.names is None or each.name in setting.names)]


def measure_reading(table: str, setting: Setting, source: str, say: Any) -> Table:
    """Write each store that is missing, then let the contestants take turns."""
    chosen = contestants_of(table, setting)
    rows = {each.name: Row(each.name) for each in chosen}
    runners: dict[str, Runner] = {}
    for each in chosen:
        try:
            command, job = prepare(each, table, setting, source, say)
            rows[each.name].version = installed_version(command[0], each.package) if each.package else ""
            runners[each.name] = Runner(each.name, command, job | {"action": "read"}, setting.path("logs"), each.variables)
        except ContestantError as error:
            needs = f" (it needs {', '.join(each.debian)} of Debian)" if each.debian else ""
            rows[each.name].note = f"{error}{needs}"
    say(f"table {table}: {len(runners)} contestants, {setting.rounds} rounds")
    take_turns(runners, setting.rounds, rows, setting.expected)
    title = f"{_TITLES[table]}, {setting.workers} threads"
    return Table(table, title, "images/s", list(rows.values()), KSEQ, _GOALS[table])


def measure_processes(setting: Setting, source: str, say: Any) -> Table:
    """Table J in threads and in processes, without and with plain Python for each image, which holds the interpreter's lock."""
    ours = next(each for each in CONTESTANTS if each.name == KSEQ and "J" in each.tables)
    rows, runners = {}, {}
    for delay in _DELAYS:
        for kind in ("threads", "processes"):
            name = f"{kind}, {delay} us of Python an image"
            command, job = prepare(ours, "J", setting, source, say)
            job = job | {"action": "read", "options": {**job["options"], "processes": kind == "processes", "delay": delay}}
            rows[name] = Row(name)
            runners[name] = Runner(name, command, job, setting.path("logs"))
    say("threads and processes")
    take_turns(runners, setting.rounds, rows, setting.expected)
    title = f"table J in {setting.workers} threads or processes, and functions in Python that hold the interpreter"
    return Table("processes", title, "images/s", list(rows.values()), f"processes, {_DELAYS[0]} us of Python an image")


def prepare(each: Contestant, table: str, setting: Setting, source: str, say: Any) -> tuple[Sequence[str], dict[str, Any]]:
    """A contestant's Python and script, and its job; its environment and its store are there afterwards.

    Raises:
        ContestantError: Where it cannot be installed, or cannot write.
    """
    python = sys.executable
    if each.requirements:
        say(f"{each.name}: environment")
        python = make_environment(setting.path("environments", each.script[:-3]), each.requirements, each.pip_options)
    command = [python, os.path.join(SCRIPTS, each.script)]
    suffix = "".join(f"-{value}" for value in each.options.values())
    job: dict[str, Any] = {
        "table": table,
        "source": source,
        "store": setting.path("stores", f"{each.script[:-3]}-{table}{suffix}"),
        "workers": setting.workers,
        "batch_size": setting.batch_size,
        "size": SIDE,
        "options": dict(each.options),
    }
    written, stamp = f"{job['store']}.written", f"{setting.num_images} {setting.images}"
    if not _says(written, stamp):
        say(f"{each.name}: writing its store for table {table}")
        shutil.rmtree(job["store"], ignore_errors=True)
        run_once(each.name, command, job | {"action": "write"}, setting.path("logs"), each.variables)
        with open(written, "w") as file:
            file.write(stamp)
    return command, job


def _says(path: str, text: str) -> bool:
    if not os.path.exists(path):
        return False
    with open(path) as file:
        return file.read() == text
