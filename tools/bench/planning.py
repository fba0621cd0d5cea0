"""How long tables of one and of ten million rows take to be planned, and how much memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kseq.platforms.processes import usable_cores

from .contest import Row, run_once
from .reading import SCRIPTS, Setting
from .stamps import make_once
from .tables import Goal, Table

__all__ = ["measure_planning"]

_FOLDERS, _FILES = 1000, 1000
_CLASSES = 100
# The long table names every file by so many paths.
_COPIES = 10


class _Case(NamedTuple):
    """A table to plan.

    Attributes:
        name: Of the row.
        file: The name of the table.
        copies: How many paths it has for each file.
        targets: Whether the column of numbers becomes a field.
        most_seconds: What it must stay under.
        most_memory: The same, in MB.
    """

    name: str
    file: str
    copies: int
    targets: bool
    most_seconds: float
    most_memory: float


def _cases() -> list[_Case]:
    short, long = _FOLDERS * _FILES, _FOLDERS * _FILES * _COPIES
    return [
        _Case(f"CSV, {short:,} rows", "short.csv", 1, False, 15, 200),
        _Case(f"CSV, {short:,} rows, and a target", "short.csv", 1, True, 15, 200),
        _Case(f"Parquet, {short:,} rows, and a target", "short.parquet", 1, True, 15, 200),
        _Case(f"CSV, {long:,} rows, and a target", "long.csv", _COPIES, True, 90, 1500),
        _Case(f"Parquet, {long:,} rows, and a target", "long.parquet", _COPIES, True, 90, 1500),
    ]


def measure_planning(setting: Setting, sources: Mapping[str, str], say: Any) -> Table:
    """Tables whose paths all exist: each is looked at, as in any packing. The long ones take a minute, and one round."""
    folder = setting.path("planning")

    def make() -> None:
        say(f"plan: making tables of {_FOLDERS * _FILES:,} files, with {_COPIES} paths for each")
        _make(folder)

    make_once(folder, f"{_FOLDERS} folders of {_FILES} files, {_COPIES} paths", make)
    say("plan")
    rows: dict[str, Row] = {}
    goals = []
    for number in range(setting.rounds):
        for case in _cases():
            if number and case.copies > 1:
                continue
            job = {"table": "plan", "action": "read", "source": os.path.join(folder, case.file), "targets": case.targets}
            command = [sys.executable, os.path.join(SCRIPTS, "planning.py")]
            for what, figure in run_once(f"planning {case.name}", command, job, setting.path("logs")).items():
                rows.setdefault(f"{case.name}: {what}", Row(f"{case.name}: {what}")).rates.append(figure)
            if not number:
                goals += [Goal(f"{case.name}: s", case.most_seconds), Goal(f"{case.name}: MB", case.most_memory)]
    title = f"tables until their shards are known, {usable_cores()} cores"
    return Table("plan", title, "figure", list(rows.values()), "", goals, less_is_better=True)


def _make(folder: str) -> None:
    """In each folder one file, by many names: a name costs a look, whatever it is a name of."""
    for number in range(_FOLDERS):
        place = os.path.join(folder, "copy0", _folder_name(number))
        os.makedirs(place)
        first = os.path.join(place, "first.jpg")
        with open(first, "wb") as file:
            file.write(bytes(1000))
        for name in range(_FILES):
            os.link(first, os.path.join(place, f"image-{name:04d}.jpg"))
    for copy in range(1, _COPIES):
        os.symlink("copy0", os.path.join(folder, f"copy{copy}"))
    for stem, copies in (("short", 1), ("long", _COPIES)):
        with open(os.path.join(folder, f"{stem}.csv"), "w") as table:
            table.write("path,label,split,age\n")
            table.writelines(_lines(copies))
        _write_parquet(os.path.join(folder, stem))


def _folder_name(number: int) -> str:
    return f"class{number % _CLASSES:02d}/{number:04d}"


def _lines(copies: int) -> Iterator[str]:
    for copy in range(copies):
        for number in range(_FOLDERS):
            place = f"copy{copy}/{_folder_name(number)}"
            for name in range(_FILES):
                split, age = ("train", "train", "val", "test")[name % 4], (number * 31 + name + copy * 7) / 7
                yield f"{place}/image-{name:04d}.jpg,class{number % _CLASSES:02d},{split},{age:.3f}\n"


def _write_parquet(stem: str) -> None:
    """The CSV as Parquet, a part at a time."""
    import pyarrow.csv
    import pyarrow.parquet

    with pyarrow.csv.open_csv(f"{stem}.csv") as parts, pyarrow.parquet.ParquetWriter(f"{stem}.parquet", parts.schema) as writer:
        for part in parts:
            writer.write_batch(part)
