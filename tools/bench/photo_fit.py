"""Table D: photos through `model.fit` as the tutorial does it, alone and beside jobs that compete for the cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from .competition import COMPETITIONS, Competition, competing
from .contest import ContestantError, Row, Runner, play_rounds, warmed_up
from .reading import SCRIPTS, Setting, make_job, prepare, python_of
from .roster import FILES, KERAS, KERAS_GRAIN, KSEQ, Contestant, contestant
from .tables import Goal, Table

__all__ = ["measure_photo_fit"]

_SIDE = 160
# What raw photos are packed at where parts of them are cut out: as much larger as FFCV's 256 is than its 224, and even.
_CROP_SIDE = 184

_WHOLE, _CROP = "", ", random crop"
_ENCODINGS = ("keep", "jpeg", "raw")
# Keras's own loader is to be beaten by so much, by what the tutorial teaches.
_TIMES = 1.5
_BARRED = ("keep", "jpeg")

_EPOCHS = 2


def measure_photo_fit(backend: str, setting: Setting, source: str, say: Any) -> list[Table]:
    """Every way to feed the same model, in turns: a table for each of `COMPETITIONS`. The reference is Keras's own loader."""
    say(f"table D on {backend}")
    starts = {
        _name(encoding, crop): partial(_start_kseq, encoding, crop, backend, setting, source, say)
        for crop in (_WHOLE, _CROP)
        for encoding in _ENCODINGS
        if setting.wants(KSEQ)
    }
    for name, feeder in _others(setting).items():
        starts[name] = partial(_start_other, name, feeder, backend, setting, source, say)
    unable = {name: Row(name) for name in starts}
    tables = []
    with warmed_up(starts, unable) as runners:
        for competition in COMPETITIONS:
            say(f"table D on {backend}, {competition.title}")
            rows = {name: Row(name, note=row.note) for name, row in unable.items()}
            notes = _play(competition, runners, setting, rows)
            tables.append(_table(backend, competition, list(rows.values()), notes))
    return tables


def _play(competition: Competition, runners: Mapping[str, Runner], setting: Setting, rows: Mapping[str, Row]) -> list[str]:
    """Fill the rows; returns why that cannot be, where it cannot: only root can start a job of another login."""
    try:
        with competing(competition):
            play_rounds(runners, setting.rounds, rows, {"images": _EPOCHS * setting.num_images})
    except ContestantError as error:
        return [f"not measured: {error}"]
    return []


def _table(backend: str, competition: Competition, rows: list[Row], notes: list[str]) -> Table:
    barred = [_name(encoding, crop) for crop in (_WHOLE, _CROP) for encoding in _BARRED]
    return Table(
        f"D {backend} {competition.key}",
        f"photos resized to {_SIDE}x{_SIDE} through model.fit on {backend}, {competition.title}",
        "images/s",
        rows,
        KSEQ,
        [Goal(name, _TIMES) for name in barred],
        notes,
        reference=KERAS,
        cpu_goals=[Goal(name, 1) for name in barred],
    )


def _name(encoding: str, crop: str) -> str:
    return f"{KSEQ} {encoding}{crop}"


def _others(setting: Setting) -> Mapping[str, Mapping[str, Any]]:
    """By name, what `contestants/fit_photos.py` makes of them; Keras's loader knows no crop."""
    feeders: dict[str, dict[str, Any]] = {
        KERAS: {"feeder": "keras"},
        KERAS_GRAIN: {"feeder": "keras", "format": "grain"},
        FILES: {"feeder": "files"},
        f"{FILES}{_CROP}": {"feeder": "files", "crop": True},
    }
    # Without the reference nothing is compared.
    return {name: feeder for name, feeder in feeders.items() if name == KERAS or setting.wants(name.removesuffix(_CROP))}


def _start_kseq(encoding: str, crop: str, backend: str, setting: Setting, source: str, say: Any) -> Runner:
    side = _CROP_SIDE if crop else _SIDE
    options = {"encoding": encoding, "side": side} if encoding == "raw" else {"encoding": encoding}
    _, job = prepare(Contestant(KSEQ, "kseq_shards.py", ("D",), "kseq", options=options), "D", setting, source, say)
    return _run(
        _name(encoding, crop), sys.executable, {**job, "options": {"feeder": "kseq", "crop": bool(crop)}}, backend, setting
    )


def _start_other(name: str, feeder: Mapping[str, Any], backend: str, setting: Setting, source: str, say: Any) -> Runner:
    python = python_of(contestant(KERAS_GRAIN, "J"), setting, say) if name == KERAS_GRAIN else sys.executable
    return _run(name, python, {**make_job("D", setting, source), "options": dict(feeder)}, backend, setting)


def _run(name: str, python: str, job: Mapping[str, Any], backend: str, setting: Setting) -> Runner:
    options = {"model": "small", "epochs": _EPOCHS, **job["options"]}
    variables = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, os.path.join(SCRIPTS, "fit_photos.py")]
    return Runner(
        f"{name} {backend}",
        command,
        {**job, "action": "read", "size": _SIDE, "options": options},
        setting.path("logs"),
        variables,
    )
