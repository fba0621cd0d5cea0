"""Kills trainings at random steps, and starts them again until they end: `python -m tests.robustness.kill_training`.

Other things happen to them too, see `FAULTS`. Whatever it was, the run must end with the same samples, weights and history as
one to which nothing happened. Between them, runs of several ranks go on on other numbers of them, see `change_ranks`. Each
backend has a process of its own, which imports Keras once and forks for every run, so that a run takes a second or two.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import kseq
from tests.helpers.paths import ROOT
from tests.helpers.photos import write_numbered
from tests.robustness.change_ranks import SAMPLINGS, change_ranks

BACKENDS = ("tensorflow", "jax", "torch")

# How long one run may take, in seconds, before it counts as a hang.
LONGEST_RUN = 120

# A name, and the options of tests/helpers/resumed_fit.py.
SCENARIOS: dict[str, dict[str, Any]] = {
    "plain": {},
    "validated, 4 workers": {"validation": True, "workers": 4},
    "processes": {"processes": True, "workers": 2},
    "compiled, not built": {"eager": False, "unbuilt": True},
    "fewer steps than batches": {"steps_per_epoch": 5, "epochs": 5},
    "steps that divide a pass": {"steps_per_epoch": 4, "epochs": 4},
    "two fits": {"fits": 2, "epochs": 2},
    "two fits, stopped early": {"fits": 2, "epochs": 6, "validation": True, "patience": 1},
    "balanced": {"sampling": {"balance": "class"}},
    "weighted": {"sampling": {"weighted": True}},
    "mixed": {"sampling": {"mixed": "second"}},
    "by blocks": {"sampling": {"shuffle": "block"}},
    "checkpoints at each step, averaged weights": {"every": 1, "ema": True},
    "checkpoints at epochs": {"every": "epoch"},
}


# Of tests/robustness/change_ranks.py.
RANK_SCENARIOS = {f"other ranks, {name}": name for name in SAMPLINGS}

# What happens to runs, drawn with these weights.
FAULTS = {
    "killed after a step": 5,
    "killed at any time": 3,
    "killed, and the last checkpoint truncated": 2,
    "reads fail (EIO)": 2,
    "its processes stopped for a while": 2,
}
# What happens to those of `RANK_SCENARIOS`.
RANK_FAULT = "all ranks killed, others go on"
# Seconds for which they are stopped.
STOPPED_FOR = 1.5

# The exit code of a run whose reads failed, and that said so.
_READ_ERROR = 7


def pack(folder: Path) -> Path:
    """Two tiny datasets, `packed` and `second`; the path of the first."""
    for name, counts in {"packed": {"a": 50, "b": 30, "c": 20}, "second": {"a": 4, "b": 8, "c": 12}}.items():
        write_numbered(folder / f"{name}-photos", counts)
        images = kseq.ImageSettings("raw", (4, 4))
        kseq.pack(folder / f"{name}-photos", folder / name, images=images, val=0.2, shard_bytes=800, workers=0)
    return folder / "packed"


def start(dataset: Path, folder: Path, options: dict[str, Any], fault: str = "", at: float = 0) -> bool:
    """One run in a process of its own, to which something happens, or nothing; whether it came to its end.

    Args:
        dataset: The dataset.
        folder: Of the run.
        options: Of tests/helpers/resumed_fit.py.
        fault: What happens, of `FAULTS`.
        at: When: after so many steps, reads or seconds.
    """
    from tests.helpers.resumed_fit import train

    child = os.fork()
    if child == 0:
        code = 1
        # Of a run that hangs, where it does.
        faulthandler.register(signal.SIGUSR1)
        try:
            if fault == "reads fail (EIO)":
                options = {**options, "read": "pread"}
                _let_reads_fail(int(at))
            train(str(dataset), folder, options, int(at) if fault == "killed after a step" else None)
            code = 0
        except BaseException as error:
            if isinstance(error, kseq.KseqError) and os.strerror(errno.EIO) in str(error):
                code = _READ_ERROR
            else:
                import traceback

                traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = _wait(child, fault, at)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if os.waitstatus_to_exitcode(status) == _READ_ERROR:
        return False
    if status:
        raise AssertionError(f"{folder}: a run ended with status {status}: {fault} {options}")
    return True


def _let_reads_fail(after: int) -> None:
    """Let this process read nothing more after so many reads."""
    plain, count = os.preadv, iter(range(1_000_000))

    def preadv(*arguments: Any) -> int:
        if next(count) >= after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return plain(*arguments)

    os.preadv = preadv


def _wait(child: int, fault: str, at: float) -> int:
    """The status with which a run ends; what happens at a time is done to it."""
    began, is_due = time.monotonic(), not fault.startswith(("killed after", "reads"))
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        elapsed = time.monotonic() - began
        if fault and is_due and elapsed > at:
            is_due = False
            if fault.startswith("killed"):
                os.kill(child, signal.SIGKILL)
            else:
                _stop(_descendants(child))
        if elapsed > LONGEST_RUN:
            os.kill(child, signal.SIGUSR1)
            time.sleep(1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"a run hangs for {elapsed:.0f} s: {fault} {at}")
        time.sleep(0.01)


def _stop(processes: list[int]) -> None:
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        time.sleep(STOPPED_FOR if number == signal.SIGSTOP else 0)


def _descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [one for child in map(int, children) for one in (child, *_descendants(child))]
    return []


def _truncate_newest(folder: Path) -> None:
    """Cut off the end of the last checkpoint, as a full disk or a lost machine may leave it."""
    found = sorted((folder / "checkpoints").glob("checkpoint-*.zip"))
    if found:
        os.truncate(found[-1], found[-1].stat().st_size // 2)


def faults(whole: Path, killed: Path) -> list[str]:
    """What differs between a run that was never killed and one that was; nothing if it is as it should be."""
    found = []
    steps = {(fit, epoch, batch): ids for fit, epoch, batch, ids in _lines(whole)}
    seen: dict[tuple[int, int, int], Any] = {}
    for fit, epoch, batch, ids in _lines(killed):
        if steps.get((fit, epoch, batch), "no such step") != ids:
            found.append(f"step {batch} of epoch {epoch} of fit {fit} got {ids}")
        seen[fit, epoch, batch] = ids
    found += [f"step {step} is missing" for step in steps if step not in seen]
    expected, got = np.load(whole / "weights.npz"), np.load(killed / "weights.npz")
    found += [f"variable {name} differs" for name in expected.files if not np.array_equal(expected[name], got[name])]
    if json.loads((whole / "done.json").read_text()) != json.loads((killed / "done.json").read_text()):
        found.append(f"the histories differ: {(whole / 'done.json').read_text()} {(killed / 'done.json').read_text()}")
    return found


def _lines(folder: Path) -> list[Any]:
    # The line that was being written when the process was killed may be half there; its step is made again.
    lines = []
    for line in (folder / "steps.jsonl").read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def campaign(folder: Path, scenarios: list[str], kills: int, minutes: float, seed: int) -> dict[str, Any]:
    """Kill runs of scenarios in turn; each is started again until it ends, and then compared.

    Returns:
        How often each scenario was broken off, how often each fault happened, and what was wrong.
    """
    draw = random.Random(seed)
    dataset = pack(folder)
    wholes: dict[str, tuple[Path, int, float]] = {}
    num_killed: Counter[str] = Counter()
    num_faults: Counter[str] = Counter()
    wrong: list[str] = []
    until = time.monotonic() + 60 * minutes
    turn = 0
    while sum(num_killed.values()) < kills and time.monotonic() < until:
        name = scenarios[turn % len(scenarios)]
        turn += 1
        if name in RANK_SCENARIOS:
            notes = folder / "ranks"
            notes.mkdir()
            worlds, found = change_ranks(dataset, folder / "second", notes, RANK_SCENARIOS[name], draw)
            num_killed[name] += len(worlds)
            num_faults[RANK_FAULT] += len(worlds)
            wrong += [f"{name}: {fault}" for fault in found]
            shutil.rmtree(notes)
            continue
        options = json.loads(json.dumps(SCENARIOS[name]))
        if "mixed" in options.get("sampling", {}):
            options["sampling"]["mixed"] = str(folder / "second")
        if name not in wholes:
            whole = folder / f"whole-{len(wholes)}"
            whole.mkdir()
            began = time.monotonic()
            start(dataset, whole, options)
            wholes[name] = whole, len(_lines(whole)), time.monotonic() - began
        whole, num_steps, seconds = wholes[name]
        killed = folder / "killed"
        killed.mkdir()
        happened: list[str] = []
        try:
            _break_off(dataset, killed, options, num_steps, seconds, draw, happened)
            found = faults(whole, killed)
        except AssertionError as error:
            found = [str(error)]
            print(f"{name}: {error}", file=sys.stderr, flush=True)
        num_faults.update(happened)
        num_killed[name] += sum(not fault.startswith("its") for fault in happened)
        wrong += [f"{name}: {fault}" for fault in found]
        shutil.rmtree(killed)
    return {"killed": dict(num_killed), "faults": dict(num_faults), "wrong": wrong}


def _break_off(
    dataset: Path,
    folder: Path,
    options: dict[str, Any],
    num_steps: int,
    seconds: float,
    draw: random.Random,
    happened: list[str],
) -> None:
    """Start a run, to which something happens up to three times, again and again until it ends.

    Args:
        dataset: The dataset.
        folder: Of the run.
        options: Of tests/helpers/resumed_fit.py.
        num_steps: How many steps a run has to which nothing happens.
        seconds: How long it takes.
        draw: Draws what happens, and when.
        happened: What did; added to.
    """
    for _ in range(draw.randint(1, 3)):
        fault = draw.choices(list(FAULTS), list(FAULTS.values()))[0]
        if fault.startswith("reads") and options.get("processes"):
            # They read in processes of their own.
            fault = "killed at any time"
        is_counted = fault in ("killed after a step", "reads fail (EIO)")
        at = draw.randint(1, num_steps) if is_counted else draw.uniform(0.1, seconds)
        is_ended = start(dataset, folder, options, fault, at)
        if not is_ended or fault.startswith("its"):
            happened.append(fault)
        if is_ended:
            return
        if fault.endswith("truncated"):
            _truncate_newest(folder)
    start(dataset, folder, options)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="only these")
    parser.add_argument("--scenario", choices=sorted([*SCENARIOS, *RANK_SCENARIOS]), action="append", help="only these")
    parser.add_argument("--kills", type=int, default=100, help="how many runs are broken off, over all backends")
    parser.add_argument("--minutes", type=float, default=60, help="for how long at most, over all backends")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    scenarios = arguments.scenario or [*SCENARIOS, *RANK_SCENARIOS]
    if arguments.inside:
        result = campaign(Path(arguments.inside), scenarios, arguments.kills, arguments.minutes, arguments.seed)
        print(json.dumps(result))
        return 0
    backends = arguments.backend or list(BACKENDS)
    failed = False
    happened: Counter[str] = Counter()
    print("| backend | scenario | broken off | wrong |\n| --- | --- | --- | --- |")
    for number, backend in enumerate(backends):
        kills = arguments.kills * (number + 1) // len(backends) - arguments.kills * number // len(backends)
        result = run_backend(backend, scenarios, kills, arguments.minutes / len(backends), arguments.seed)
        happened.update(result["faults"])
        for name in scenarios:
            wrong = [fault for fault in result["wrong"] if fault.startswith(f"{name}: ")]
            print(f"| {backend} | {name} | {result['killed'].get(name, 0)} | {len(wrong)} |", flush=True)
            for fault in wrong:
                failed = True
                print(fault, file=sys.stderr)
    print("\n| what happened | times |\n| --- | --- |")
    for fault in (*FAULTS, RANK_FAULT):
        print(f"| {fault} | {happened[fault]} |")
    return int(failed)


def run_backend(backend: str, scenarios: list[str], kills: int, minutes: float, seed: int) -> dict[str, Any]:
    """A campaign in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.robustness.kill_training", "--inside", folder, "--seed", str(seed)]
        command += ["--kills", str(kills), "--minutes", str(minutes)]
        for name in scenarios:
            command += ["--scenario", name]
        environment = dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
        limit = 60 * minutes + 10 * LONGEST_RUN
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        raise AssertionError(f"{backend}: exit code {done.returncode}\n{done.stdout}\n{done.stderr[-6000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if result["wrong"]:
        print(done.stderr[-20000:], file=sys.stderr)
    return result


if __name__ == "__main__":
    sys.exit(main())
