"""`kseq bench`: measures kseq beside other loaders."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from itertools import product
from typing import Any

import kseq
from kseq.workers import usable_cores

from . import curves, fitting, packing, reading
from .photos import make_sources
from .reading import Setting
from .roster import CONTESTANTS
from .tables import Table, plot

_TABLES = ("R", "J", "N", "F", "P", "W", "overlap", "processes", "cold", "scale", "start")


def add_parser(commands: Any) -> None:
    """Add `bench` to the command."""
    parser = commands.add_parser(
        "bench",
        help="measure kseq beside other loaders",
        description="Write the same photos in each loader's format, let the loaders take turns at reading them, and print what "
        "each reached: medians over the rounds, with the lowest and the highest. Other loaders are installed from PyPI, each "
        "into a virtual environment of its own. All of it lies in one folder, which is used again by the next run.",
    )
    parser.add_argument("--folder", default="kseq-bench", metavar="DIR", help="folder to work in (default: %(default)s)")
    parser.add_argument("--images", metavar="DIR", help="photos to measure on (default: made ones)")
    parser.add_argument("--num-images", type=int, default=10_000, metavar="N", help="samples (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds that count (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="samples per batch (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), metavar="N", help="threads of each loader (default: as many as cores)"
    )
    parser.add_argument(
        "--tables", nargs="+", choices=_TABLES, default=_TABLES, metavar="TABLE", help=f"of {', '.join(_TABLES)}"
    )
    parser.add_argument(
        "--contestants", nargs="+", metavar="NAME", help="which loaders, by the names in the tables (default: all)"
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=fitting.BACKENDS,
        default=fitting.BACKENDS,
        metavar="BACKEND",
        help="for F, P and overlap",
    )
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    parser.add_argument("--plot", metavar="FILE", help="draw a bar chart there, such as bars.png (needs matplotlib)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print each table as soon as it is there."""
    names = _check_names(arguments.contestants)
    setting = Setting(
        os.path.abspath(arguments.folder), arguments.images, arguments.num_images, arguments.batch_size,
        arguments.workers, arguments.rounds, names,
    )  # fmt: skip
    print(_machine(setting), flush=True)
    _say(f"photos in {setting.path('sources')}")
    sources = make_sources(setting.path("sources"), arguments.images, setting.num_images, setting.workers)
    tables: list[Table] = []
    for measure in _steps(arguments, setting, sources):
        for table in measure():
            print(f"\n{table.text()}", flush=True)
            tables.append(table)
            if arguments.json:
                _write_json(arguments.json, setting, tables)
    if arguments.plot:
        plot(tables, arguments.plot)
    return 0


def _check_names(names: list[str] | None) -> tuple[str, ...] | None:
    known = list(dict.fromkeys(each.name for each in CONTESTANTS))
    for name in names or ():
        if name not in known:
            raise kseq.errors.ArgumentError(f"--contestants {name!r}: allowed are {', '.join(known)}")
    return tuple(names) if names else None


def _steps(arguments: argparse.Namespace, setting: Setting, sources: dict[str, str]) -> Iterator[Callable[[], list[Table]]]:
    """What to measure, in the order that was asked for; each gives one or two tables."""
    for key in arguments.tables:
        if key in "RJN":
            yield partial(_one, reading.measure_reading, key, setting, sources[key], _say)
        elif key == "F":
            for backend in arguments.backends:
                yield partial(_one, fitting.measure_fit, backend, setting, sources["R"], _say)
        elif key == "P":
            for backend in arguments.backends:
                yield partial(_one, fitting.measure_processes, backend, setting, sources["R"], _say)
        elif key == "overlap":
            for table, backend in product("RJ", arguments.backends):
                yield partial(_one, fitting.measure_overlap, table, backend, setting, sources["R"], _say)
        elif key == "processes":
            yield partial(_one, reading.measure_processes, setting, sources["J"], _say)
        elif key == "W":
            yield partial(packing.measure_packing, setting, sources["J"], _say)
        else:
            yield partial(_one, curves.CURVES[key], setting, sources, _say)


def _one(measure: Callable[..., Table], *arguments: Any) -> list[Table]:
    return [measure(*arguments)]


def _say(text: str) -> None:
    print(f"[{datetime.now():%H:%M:%S}] {text}", file=sys.stderr, flush=True)


def _machine(setting: Setting) -> str:
    return (
        f"kseq {kseq.__version__}, Python {platform.python_version()}, {_processor()}, {usable_cores()} cores, "
        f"{datetime.now(timezone.utc):%Y-%m-%d}\n"
        f"{setting.num_images:,} photos ({setting.images or 'made'}), batches of {setting.batch_size}, {setting.rounds} rounds"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _write_json(path: str, setting: Setting, tables: list[Table]) -> None:
    with open(path, "w") as file:
        json.dump({"machine": _machine(setting), "tables": [table.as_json() for table in tables]}, file, indent=1)
