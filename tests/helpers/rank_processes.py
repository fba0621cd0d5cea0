"""Starts a program in several processes that train together on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import LEAN

# Of the tries to find a port that nobody takes before the processes do.
_TRIES = 2


def run_ranks(
    program: str, path: Path, folder: Path, world: int, *, backend: str, timeout: float = 300
) -> list[dict[str, Any]]:
    """What each process of a program of rank_programs.py found; one that fails or hangs ends all, and fails the test.

    Args:
        program: Its name.
        path: The dataset.
        folder: Where the processes write what they print.
        world: How many processes.
        backend: Keras's.
        timeout: For all of them, in seconds.
    """
    for trial in range(_TRIES):
        results, failure = _run(program, path, folder, world, backend, timeout)
        if not failure:
            return results
        if "in use" not in failure or trial == _TRIES - 1:
            pytest.fail(failure)
    raise AssertionError


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        code: Its exit code; None if it was still there.
        seconds: How long after the first of them.
        stderr: What it printed.
    """

    code: int | None
    seconds: float
    stderr: str


def end_ranks(program: str, path: Path, folder: Path, world: int, *, backend: str, timeout: float = 120) -> list[Ended]:
    """How each process of a program ends in which a rank fails; those that are left after so many seconds are killed."""
    with _started(program, path, folder, world, backend) as (processes, outs):
        ends: dict[int, float] = {}
        deadline = time.monotonic() + timeout
        while len(ends) < world and time.monotonic() < deadline:
            for rank, process in enumerate(processes):
                if rank not in ends and process.poll() is not None:
                    ends[rank] = time.monotonic()
            time.sleep(0.05)
        codes, last = [process.poll() for process in processes], time.monotonic()
    first = min(ends.values(), default=last)
    texts = [out.with_suffix(".err").read_text(errors="replace") for out in outs]
    return [Ended(codes[rank], ends.get(rank, last) - first, texts[rank]) for rank in range(world)]


@contextmanager
def _started(
    program: str, path: Path, folder: Path, world: int, backend: str
) -> Iterator[tuple[list[subprocess.Popen[bytes]], list[Path]]]:
    """The processes of a program, and where each writes what it prints; they are killed in the end."""
    code = f"{LEAN}from tests.helpers import rank_programs; rank_programs.main()"
    environment = {name: value for name, value in os.environ.items() if name not in ("TF_CONFIG", "RANK", "WORLD_SIZE")}
    environment |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONFAULTHANDLER": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    port = _free_port(world)
    outs = [folder / f"{program}-{backend}-{rank}.txt" for rank in range(world)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank, out in enumerate(outs):
            words = [sys.executable, "-c", code, program, str(path), str(rank), str(world), str(port)]
            with out.open("wb") as file, out.with_suffix(".err").open("wb") as errors:
                processes.append(subprocess.Popen(words, stdout=file, stderr=errors, env=environment))
        yield processes, outs
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _run(program: str, path: Path, folder: Path, world: int, backend: str, timeout: float) -> tuple[list[dict[str, Any]], str]:
    with _started(program, path, folder, world, backend) as (processes, outs):
        deadline = time.monotonic() + timeout
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        codes = [process.poll() for process in processes]
    if any(codes) or None in codes:
        texts = [f"rank {rank}\n{out.with_suffix('.err').read_text(errors='replace')[-4000:]}" for rank, out in enumerate(outs)]
        return [], f"{program}: exit codes {codes} within {timeout} s\n" + "\n".join(texts)
    return [json.loads(out.read_text().splitlines()[-1]) for out in outs], ""


def _free_port(count: int) -> int:
    """The first of several ports in a row that nobody listens at."""
    while True:
        with socket.socket() as found:
            found.bind(("localhost", 0))
            port = int(found.getsockname()[1])
        try:
            for number in range(port, port + count):
                with socket.socket() as probe:
                    probe.bind(("localhost", number))
        except (OSError, OverflowError):
            continue
        return port
