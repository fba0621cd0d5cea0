"""How long a table of a million rows takes to be planned, and how much memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from kseq.platforms.processes import usable_cores

from .contest import Row, run_once
from .reading import SCRIPTS, Setting
from .stamps import make_once
from .tables import Goal, Table

__all__ = ["measure_planning"]

_FOLDERS, _FILES = 1000, 1000
_CLASSES = 100
_CASES = ("path, label, split", "and a target of numbers")
_MOST_SECONDS, _MOST_MEMORY = 20, 1024


def measure_planning(setting: Setting, sources: Mapping[str, str], say: Any) -> Table:
    """A CSV whose paths all exist: each is looked at, as in any packing."""
    folder = setting.path("planning")

    def make() -> None:
        say(f"plan: making a table of {_FOLDERS * _FILES:,} files")
        _make(folder)

    make_once(folder, f"{_FOLDERS} folders of {_FILES} files", make)
    say("plan")
    rows: dict[str, Row] = {}
    for _ in range(setting.rounds):
        for case in _CASES:
            job = {"table": "plan", "action": "read", "source": os.path.join(folder, "table.csv"), "targets": case != _CASES[0]}
            command = [sys.executable, os.path.join(SCRIPTS, "planning.py")]
            for what, figure in run_once(f"planning {case}", command, job, setting.path("logs")).items():
                rows.setdefault(f"{case}: {what}", Row(f"{case}: {what}")).rates.append(figure)
    goals = [Goal(f"{case}: {what}", most) for case in _CASES for what, most in (("s", _MOST_SECONDS), ("MiB", _MOST_MEMORY))]
    title = f"a CSV of {_FOLDERS * _FILES:,} rows until its shards are known, {usable_cores()} cores"
    return Table("plan", title, "figure", list(rows.values()), "", goals, less_is_better=True)


def _make(folder: str) -> None:
    """In each folder one file, by many names: a name costs a look, whatever it is a name of."""
    os.makedirs(folder)
    with open(os.path.join(folder, "table.csv"), "w") as table:
        table.write("path,label,split,age\n")
        for number in range(_FOLDERS):
            place = f"class{number % _CLASSES:02d}/{number:04d}"
            os.makedirs(os.path.join(folder, place))
            first = os.path.join(folder, place, "first.jpg")
            with open(first, "wb") as file:
                file.write(bytes(1000))
            for name in range(_FILES):
                os.link(first, os.path.join(folder, place, f"image-{name:04d}.jpg"))
                split = ("train", "train", "val", "test")[name % 4]
                table.write(
                    f"{place}/image-{name:04d}.jpg,class{number % _CLASSES:02d},{split},{(number * 31 + name) / 7:.3f}\n"
                )
