"""Table W: packing a folder of JPEGs."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import simplejpeg

import kseq
from kseq.workers import process_pool

from .contest import ContestantError, Row, run_once
from .photos import SIDE
from .reading import Setting, prepare
from .roster import CONTESTANTS
from .tables import Goal, Table

__all__ = ["measure_packing"]

_CHUNK = 64
_FFCV = "FFCV"


def measure_packing(setting: Setting, source: str, say: Any) -> list[Table]:
    """`keep` beside a plain copy of the files, `raw` beside FFCV's writer and beside decoding and resizing alone."""
    target = setting.path("packed")
    pack = functools.partial(kseq.pack, source, target, workers=setting.workers)
    keep = {
        "kseq pack --no-check": lambda: pack(encoding="keep", check=False),
        "kseq pack": lambda: pack(encoding="keep"),
        "cp -r and sync": lambda: _copy(source, target),
    }
    raw: dict[str, Callable[[], object]] = {
        "kseq pack --encoding raw": lambda: pack(encoding="raw", image_size=(SIDE, SIDE)),
        "decode and resize alone": lambda: _decode(source, setting.workers),
    }
    rows = {name: Row(name) for name in raw}
    ffcv = _ffcv_writer(setting, source, say)
    rows[_FFCV] = Row(_FFCV)
    if isinstance(ffcv, str):
        rows[_FFCV].note = ffcv
    else:
        raw[_FFCV] = ffcv
    say("table W")
    workers = f"{setting.workers} processes"
    return [
        Table(
            "W keep", f"packing a folder of JPEGs as they are, {workers}", "images/s",
            _measure(keep, {name: Row(name) for name in keep}, setting, target),
            "kseq pack --no-check", [Goal("cp -r and sync", 0.5)],
        ),
        Table(
            "W raw", f"packing the same as raw {SIDE} x {SIDE}, {workers}", "images/s", _measure(raw, rows, setting, target),
            "kseq pack --encoding raw", [Goal(_FFCV, 3), Goal("decode and resize alone", 0.8)],
        ),
    ]  # fmt: skip


def _measure(runs: Mapping[str, Callable[[], object]], rows: dict[str, Row], setting: Setting, target: str) -> list[Row]:
    for number in range(setting.rounds + 1):
        for name, run in runs.items():
            shutil.rmtree(target, ignore_errors=True)
            os.sync()
            started = time.perf_counter()
            run()
            if number:
                rows[name].rates.append(setting.num_images / (time.perf_counter() - started))
    shutil.rmtree(target, ignore_errors=True)
    return list(rows.values())


def _copy(source: str, target: str) -> None:
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)


def _decode(source: str, workers: int) -> None:
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with process_pool(workers) as pool:
        for _ in pool.map(_decode_some, chunks):
            pass


def _decode_some(paths: list[str]) -> None:
    target = np.empty((SIDE, SIDE, 3), np.uint8)
    for path in paths:
        with open(path, "rb") as file:
            cv2.resize(simplejpeg.decode_jpeg(file.read(), "RGB"), (SIDE, SIDE), dst=target)


def _ffcv_writer(setting: Setting, source: str, say: Any) -> Callable[[], object] | str:
    """FFCV's own writer of raw images, from the same folder; or why there is none."""
    ffcv = next((each for each in CONTESTANTS if each.name == _FFCV), None)
    if ffcv is None or (setting.names is not None and _FFCV not in setting.names):
        return "not asked for"
    try:
        command, job = prepare(ffcv, "W", setting, source, say)
    except ContestantError as error:
        return str(error)
    return lambda: run_once(ffcv.name, command, job | {"action": "write"}, setting.path("logs"), ffcv.variables)
