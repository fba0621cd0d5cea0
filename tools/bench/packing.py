"""Table W: packing a folder of JPEGs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import simplejpeg

import kseq
from kseq.processes import ProcessPool

from .contest import ContestantError, Row, run_once
from .folders import read_all
from .photos import SIDE, make_large_source
from .reading import Setting, prepare
from .roster import FFCV, KSEQ, contestant
from .tables import Goal, Table

__all__ = ["measure_packing"]

_CHUNK = 8
# Each takes as long as twenty of the others.
_MOST_LARGE = 100

_RAW, _ALONE = "kseq pack --encoding raw", "decode and resize alone"
_RAW_GOALS = {"W raw": [Goal(_ALONE, 0.8)], "W large": [Goal(FFCV, 3)]}
_INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}

# Does its work once, and returns the seconds that it took.
Run = Callable[[], float]


def measure_packing(setting: Setting, sources: Mapping[str, str], say: Any) -> list[Table]:
    """`keep` beside a plain copy of the files, `raw` beside FFCV's writer and beside decoding and resizing alone.

    All are without rows where neither kseq nor FFCV was asked for, the first also without kseq.
    """
    say("table W")
    large = replace(setting, num_images=min(setting.num_images, _MOST_LARGE))
    takes_part = setting.wants(KSEQ) or setting.wants(FFCV)
    large_source = make_large_source(setting.path("sources"), large.num_images, setting.workers) if takes_part else ""
    return [
        _keep_table(setting, sources["J"]),
        _raw_table("W raw", "JPEGs of native size, 500 x 375 and larger", "bilinear", setting, sources["N"], say),
        _raw_table("W large", f"{large.num_images} JPEGs of 12 megapixels", "area", large, large_source, say),
    ]


def _keep_table(setting: Setting, source: str) -> Table:
    target = setting.path("packed")
    pack = partial(kseq.pack, source, target, workers=setting.workers)
    keep: dict[str, Run] = {}
    if setting.wants(KSEQ):
        keep["kseq pack --no-check"] = partial(_seconds, partial(pack, images=kseq.ImageSettings("keep", check=False)))
        keep["kseq pack"] = partial(_seconds, partial(pack, images=kseq.ImageSettings("keep")))
        keep["cp -r and sync"] = partial(_seconds, partial(_copy, source, target))
    title = f"packing a folder of JPEGs as they are, {setting.workers} processes"
    rows = _measure(keep, setting, source, target)
    return Table("W keep", title, "images/s", rows, "kseq pack --no-check", [Goal("cp -r and sync", 0.5)])


def _raw_table(key: str, photos: str, interpolation: str, setting: Setting, source: str, say: Any) -> Table:
    target = setting.path("packed")
    raw: dict[str, Run] = {}
    if setting.wants(KSEQ):
        images = kseq.ImageSettings("raw", (SIDE, SIDE), interpolation=interpolation)
        raw[_RAW] = partial(_seconds, partial(kseq.pack, source, target, images=images, workers=setting.workers))
    if setting.wants(KSEQ) or setting.wants(FFCV):
        raw[_ALONE] = partial(_seconds, partial(_decode, source, setting.workers, interpolation))
        raw[FFCV] = _ffcv_writer(setting, source, interpolation, say)
    title = f"packing {photos} as raw {SIDE} x {SIDE}, {setting.workers} processes"
    return Table(key, title, "images/s", _measure(raw, setting, source, target), _RAW, _RAW_GOALS[key])


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


def _decode(source: str, workers: int, interpolation: str) -> None:
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ProcessPool(workers) as pool:
        for _ in pool.map(partial(_decode_some, _INTERPOLATIONS[interpolation]), chunks):
            pass


def _decode_some(flag: int, paths: list[str]) -> None:
    target = np.empty((SIDE, SIDE, 3), np.uint8)
    for path in paths:
        with open(path, "rb") as file:
            cv2.resize(simplejpeg.decode_jpeg(file.read(), "RGB"), (SIDE, SIDE), dst=target, interpolation=flag)


def _ffcv_writer(setting: Setting, source: str, interpolation: str, say: Any) -> Run:
    """FFCV's own writer of raw images, from the same folder; timed by its script, without the import of its libraries."""

    def run() -> float:
        if not setting.wants(FFCV):
            raise ContestantError("not asked for")
        writer = replace(contestant(FFCV, "R"), options={"interpolation": interpolation})
        command, job = prepare(writer, "W", setting, source, say)
        answer = run_once(writer.name, command, job | {"action": "write"}, setting.path("logs"), writer.variables)
        return float(answer["seconds"])

    return run
