"""`kseq bench`: measures kseq beside other loaders."""

from __future__ import annotations

import argparse
import contextlib
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
from kseq.arguments import path_text, whole
from kseq.errors import ArgumentError, WriteError
from kseq.platforms.processes import usable_cores

from ..bench import curves, machine, packing, photo_fit, planning, reading, remote
from ..bench import fit as fitting
from ..bench.contest import WATCH, ContestantError, Row
from ..bench.estimate import estimate
from ..bench.photos import describe, find_images, make_photo_source, make_raw_source, make_sources
from ..bench.reading import BACKENDS, Setting
from ..bench.roster import CONTESTANTS, FILES, KSEQ
from ..bench.tables import Table, check_plot, plot
from ..console.text import format_count

_TABLES = ("R", "RC", "J", "N", "F", "D", "P", "W", "overlap", "processes", "cold", "scale", "plan", "start", "remote")
# They read no photos.
_WITHOUT_PHOTOS = ("scale", "plan", "remote")
# They measure kseq by itself.
_OURS = ("P", "overlap", "processes", "cold", "scale", "plan", "start", "remote")
# The file that says of a folder that it is the benchmark's.
_MARK = "kseq-bench"
_COUNTS = ("num_images", "batch_size", "workers", "rounds")


def add_parser(commands: Any) -> None:
    """Add `bench` to the command."""
    parser = commands.add_parser(
        "bench",
        examples=("kseq bench --tables J --num-images 1000", "kseq bench --images photos --tables J N --json figures.json"),
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
        "--tables", nargs="+", choices=_TABLES, default=_TABLES, metavar="TABLE", help=f"of {', '.join(_TABLES)} (default: all)"
    )
    parser.add_argument(
        "--contestants", nargs="+", metavar="NAME", help="loaders to run, by their names in the tables (default: all)"
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=BACKENDS,
        metavar="BACKEND",
        help=f"for F, D, P, overlap and start, of {', '.join(BACKENDS)} (default: all, in D {Setting.photo_backends[0]})",
    )
    parser.add_argument("--json", metavar="FILE", help="write every figure there, after each table")
    parser.add_argument("--plot", metavar="FILE", help="draw a bar chart there, such as bars.png (needs matplotlib)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print each table as soon as it is there."""
    setting = _check(arguments)
    print(_machine(setting), flush=True)
    for line in estimate(arguments.tables, setting).lines:
        _say(line)
    with WATCH.run(_say):
        tables = _measure(arguments, setting)
    if arguments.plot:
        plot(tables, arguments.plot)
    return 0


def _measure(arguments: argparse.Namespace, setting: Setting) -> list[Table]:
    """All tables, each printed as soon as it is there; one whose rounds were stopped is the last."""
    sources: dict[str, str] = {}
    if set(arguments.tables) - set(_WITHOUT_PHOTOS):
        _say(f"photos in {setting.path('sources')}")
        sources = make_sources(setting.path("sources"), setting.images, setting.num_images, setting.workers)
    tables: list[Table] = []
    for key, measure in _steps(arguments.tables, setting, sources):
        for table in _measured(key, measure):
            print(f"\n{table.text()}", flush=True)
            tables.append(table)
            if arguments.json:
                _write_json(arguments.json, setting, tables)
        WATCH.check()
    return tables


def _check(arguments: argparse.Namespace) -> Setting:
    """The setting of the run, if everything is such that it can be carried out.

    Raises:
        ArgumentError, SourceError, WriteError: Where it is not.
    """
    if not hasattr(os, "killpg"):
        raise ArgumentError("kseq bench: this system cannot end a contestant with all that it started: run it on Linux")
    counts = {name: whole(name, getattr(arguments, name), 1) for name in _COUNTS}
    names = tuple(arguments.contestants) if arguments.contestants else None
    known = list(dict.fromkeys([*(each.name for each in CONTESTANTS), FILES]))
    for name in names or ():
        if name not in known:
            raise ArgumentError(f"--contestants {name!r}: allowed are {', '.join(map(repr, known))}")
    paths = {name: path_text(name, getattr(arguments, name) or "") for name in ("folder", "images", "json", "plot")}
    folder = _check_folder(os.path.abspath(paths["folder"]))
    images = os.path.abspath(paths["images"]) if paths["images"] else None
    if images:
        if os.path.commonpath([os.path.realpath(each) for each in (images, folder)]) == os.path.realpath(folder):
            raise ArgumentError(f"--images {images}: lies in the folder to work in, {folder}, where things are removed")
        find_images(images)
    if arguments.plot:
        check_plot(arguments.plot)
        _check_writable("--plot", arguments.plot)
    if arguments.json:
        _check_writable("--json", arguments.json)
    asked = arguments.backends
    return Setting(
        folder,
        images,
        **counts,
        names=names,
        backends=tuple(asked or BACKENDS),
        photo_backends=tuple(asked or Setting.photo_backends),
    )


def _check_folder(folder: str) -> str:
    """The folder to work in, marked as such: what it holds is removed when it is made anew, and must not be somebody's."""
    mark = os.path.join(folder, _MARK)
    with _named_failure("--folder", folder):
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder) and not os.path.exists(mark):
            raise ArgumentError(f"--folder {folder}: holds other things, allowed is a new folder, or that of an earlier run")
        with open(mark, "a"):
            pass
    return folder


def _check_writable(option: str, path: str) -> None:
    with _named_failure(option, path):
        there = os.path.exists(path)
        with open(path, "a"):
            pass
        if not there:
            os.unlink(path)


@contextlib.contextmanager
def _named_failure(option: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"{option} {path}: cannot be written: {error.strerror}") from error


Step = Callable[[], list[Table]]


def _steps(keys: list[str], setting: Setting, sources: dict[str, str]) -> Iterator[tuple[str, Step]]:
    """What to measure, in the order that was asked for; each gives one table or some."""
    for key in keys:
        if key in _OURS and not setting.wants(KSEQ):
            yield key, partial(_one, Table, key, "kseq by itself", "", [], KSEQ)
        elif key in ("R", "J", "N"):
            yield key, partial(_one, reading.measure_reading, key, setting, sources[key], _say)
        elif key == "RC":
            yield key, partial(_one, _measure_raw_crops, setting, sources)
        elif key == "D":
            for backend in setting.photo_backends:
                yield key, partial(_measure_photos, backend, setting, sources)
        elif key == "F":
            for backend, model in product(setting.backends, fitting.MODELS):
                yield key, partial(_one, fitting.measure_fit, backend, model, setting, sources, _say)
        elif key == "P":
            for backend in setting.backends:
                yield key, partial(_one, fitting.measure_processes, backend, setting, sources, _say)
        elif key == "overlap":
            for table, backend in product("RJ", setting.backends):
                yield key, partial(_one, fitting.measure_overlap, table, backend, setting, sources, _say)
        elif key == "processes":
            yield key, partial(_one, reading.measure_processes, setting, sources["J"], _say)
        elif key == "W":
            yield key, partial(packing.measure_packing, setting, sources, _say)
        elif key == "plan":
            yield key, partial(_one, planning.measure_planning, setting, sources, _say)
        elif key == "remote":
            yield key, partial(remote.measure_remote, setting, sources, _say)
        else:
            yield key, partial(_one, curves.CURVES[key], setting, sources, _say)


def _measure_raw_crops(setting: Setting, sources: dict[str, str]) -> Table:
    described = describe(setting.images, setting.num_images)
    source = make_raw_source(setting.path("sources"), "RC", sources["J"], described, setting.workers)
    return reading.measure_reading("RC", setting, source, _say)


def _measure_photos(backend: str, setting: Setting, sources: dict[str, str]) -> list[Table]:
    source = make_photo_source(setting.path("sources"), setting.images, sources["N"], setting.num_images)
    return photo_fit.measure_photo_fit(backend, setting, source, _say)


def _one(measure: Callable[..., Table], *arguments: Any) -> list[Table]:
    return [measure(*arguments)]


def _measured(key: str, measure: Step) -> list[Table]:
    """The tables of a step, each with the machine below; where what all its rows need cannot be had, one that says why."""
    load = machine.load()
    try:
        tables = measure()
    except ContestantError as error:
        return [Table(key, "not measured", "", [Row(KSEQ, note=str(error))], KSEQ)]
    for table in tables:
        table.notes += [WATCH.stopped] if WATCH.stopped else []
        table.notes.append(f"{machine.describe_machine()}; load {load} before, {machine.load()} after")
    return tables


def _say(text: str) -> None:
    print(f"[{datetime.now():%H:%M:%S}] {text}", file=sys.stderr, flush=True)


def _machine(setting: Setting) -> str:
    return (
        f"kseq {kseq.__version__}, Python {platform.python_version()}, {machine.describe_machine()}, "
        f"{datetime.now(timezone.utc):%Y-%m-%d}\n"
        f"{format_count(setting.num_images, 'photo')} ({setting.images or 'made'}), batches of {setting.batch_size}, "
        f"{format_count(setting.rounds, 'round')}"
    )


def _write_json(path: str, setting: Setting, tables: list[Table]) -> None:
    with open(path, "w") as file:
        json.dump({"machine": _machine(setting), "tables": [table.as_json() for table in tables]}, file, indent=1)
