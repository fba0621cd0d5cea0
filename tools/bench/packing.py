"""Table W: packing a folder of JPEGs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
import simplejpeg

import kseq
from kseq.processes import ProcessPool

from .contest import ContestantError, Row, run_once
from .folders import read_all
from .photos import SIDE
from .reading import Setting, prepare
from .roster import FFCV, KSEQ, contestant
from .tables import Goal, Table

__all__ = ["measure_packing"]

_CHUNK = 64

# Does its work once, and returns the seconds that it took.
Run = Callable[[], float]


def measure_packing(setting: Setting, source: str, say: Any) -> list[Table]:
    """`keep` beside a plain copy of the files, `raw` beside FFCV's writer and beside decoding and resizing alone.

    Both are without rows where neither kseq nor FFCV was asked for, the first also without kseq.
    """
    target = setting.path("packed")
    pack = partial(kseq.pack, source, target, workers=setting.workers)
    keep: dict[str, Run] = {}
    raw: dict[str, Run] = {}
    if setting.wants(KSEQ):
        keep["kseq pack --no-check"] = partial(_seconds, partial(pack, images=kseq.ImageSettings("keep", check=False)))
        keep["kseq pack"] = partial(_seconds, partial(pack, images=kseq.ImageSettings("keep")))
        keep["cp -r and sync"] = partial(_seconds, partial(_copy, source, target))
        raw["kseq pack --encoding raw"] = partial(_seconds, partial(pack, images=kseq.ImageSettings("raw", (SIDE, SIDE))))
    if setting.wants(KSEQ) or setting.wants(FFCV):
        raw["decode and resize alone"] = partial(_seconds, partial(_decode, source, setting.workers))
        raw[FFCV] = _ffcv_writer(setting, source, say)
    workers = f"{setting.workers} processes"
    say("table W")
    return [
        Table(
            "W keep", f"packing a folder of JPEGs as they are, {workers}", "images/s",
            _measure(keep, setting, source, target),
            "kseq pack --no-check", [Goal("cp -r and sync", 0.5)],
        ),
        Table(
            "W raw", f"packing the same as raw {SIDE} x {SIDE}, {workers}", "images/s",
            _measure(raw, setting, source, target),
            "kseq pack --encoding raw", [Goal(FFCV, 3), Goal("decode and resize alone", 0.8)],
        ),
    ]  # fmt: skip


def _measure(runs: Mapping[str, Run], setting: Setting, source: str, target: str) -> list[Row]:
    rows = {name: Row(name) for name in runs}
    for number in range(setting.rounds + 1):
        for name, run in runs.items():
            row = rows[name]
            if row.failed:
                continue
            shutil.rmtree(target, ignore_errors=True)
            os.sync()
            read_all(source)
            with row.noting():
                seconds = run()
                if number:
                    row.rates.append(setting.num_images / seconds)
    shutil.rmtree(target, ignore_errors=True)
    return list(rows.values())


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _copy(source: str, target: str) -> None:
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)


def _decode(source: str, workers: int) -> None:
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ProcessPool(workers) as pool:
        for _ in pool.map(_decode_some, chunks):
            pass


def _decode_some(paths: list[str]) -> None:
    target = np.empty((SIDE, SIDE, 3), np.uint8)
    for path in paths:
        with open(path, "rb") as file:
            cv2.resize(simplejpeg.decode_jpeg(file.read(), "RGB"), (SIDE, SIDE), dst=target)


def _ffcv_writer(setting: Setting, source: str, say: Any) -> Run:
    """FFCV's own writer of raw images, from the same folder; timed by its script, without the import of its libraries."""

    def run() -> float:
        if not setting.wants(FFCV):
            raise ContestantError("not asked for")
        each = contestant(FFCV, "R")
        command, job = prepare(each, "W", setting, source, say)
        answer = run_once(each.name, command, job | {"action": "write"}, setting.path("logs"), each.variables)
        return float(answer["seconds"])

    return run
