"""Kills trainings at random steps, and starts them again until they end: `python -m tests.robustness.kill_training`.

Each backend has a process of its own, which imports Keras once and forks for every run, so that a run takes a second or two.
"""

from __future__ import annotations

import argparse
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


def pack(folder: Path) -> Path:
    """Two tiny datasets, `packed` and `second`; the path of the first."""
    for name, counts in {"packed": {"a": 50, "b": 30, "c": 20}, "second": {"a": 4, "b": 8, "c": 12}}.items():
        write_numbered(folder / f"{name}-photos", counts)
        images = kseq.ImageSettings("raw", (4, 4))
        kseq.pack(folder / f"{name}-photos", folder / name, images=images, val=0.2, shard_bytes=800, workers=0)
    return folder / "packed"


def start(dataset: Path, folder: Path, options: dict[str, Any], kill_after: int = 0, kill_at: float | None = None) -> bool:
    """One run in a process of its own, killed after some steps or seconds, or not at all; whether it came to its end."""
    from tests.helpers.resumed_fit import train

    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(str(dataset), folder, options, kill_after or None)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = _wait(child, kill_at)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise AssertionError(f"{folder}: a run ended with status {status}: {options}")
    return True


def _wait(child: int, kill_at: float | None) -> int:
    began = time.monotonic()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        elapsed = time.monotonic() - began
        if kill_at is not None and elapsed > kill_at:
            os.kill(child, signal.SIGKILL)
            kill_at = None
        if elapsed > LONGEST_RUN:
            os.kill(child, signal.SIGKILL)
            raise AssertionError(f"a run hangs for {elapsed:.0f} s")
        time.sleep(0.01)


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
        How often each scenario was killed, and what was wrong.
    """
    draw = random.Random(seed)
    dataset = pack(folder)
    wholes: dict[str, tuple[Path, int, float]] = {}
    num_killed: Counter[str] = Counter()
    wrong: list[str] = []
    until = time.monotonic() + 60 * minutes
    turn = 0
    while sum(num_killed.values()) < kills and time.monotonic() < until:
        name = scenarios[turn % len(scenarios)]
        turn += 1
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
        for _ in range(draw.randint(1, 3)):
            # At a step, or at any time: while a checkpoint is written, say.
            is_at_step = draw.random() < 0.6
            when = {"kill_after": draw.randint(1, num_steps)} if is_at_step else {"kill_at": draw.uniform(0.1, seconds)}
            if start(dataset, killed, options, **when):
                break
            num_killed[name] += 1
        else:
            start(dataset, killed, options)
        wrong += [f"{name}: {fault}" for fault in faults(whole, killed)]
        shutil.rmtree(killed)
    return {"killed": dict(num_killed), "wrong": wrong}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="only these")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append", help="only these")
    parser.add_argument("--kills", type=int, default=100, help="how many over all backends")
    parser.add_argument("--minutes", type=float, default=60, help="for how long at most, over all backends")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    scenarios = arguments.scenario or list(SCENARIOS)
    if arguments.inside:
        result = campaign(Path(arguments.inside), scenarios, arguments.kills, arguments.minutes, arguments.seed)
        print(json.dumps(result))
        return 0
    backends = arguments.backend or list(BACKENDS)
    failed = False
    print("| backend | scenario | kills | wrong |\n| --- | --- | --- | --- |")
    for number, backend in enumerate(backends):
        kills = arguments.kills * (number + 1) // len(backends) - arguments.kills * number // len(backends)
        result = run_backend(backend, scenarios, kills, arguments.minutes / len(backends), arguments.seed)
        for name in scenarios:
            wrong = [fault for fault in result["wrong"] if fault.startswith(f"{name}: ")]
            print(f"| {backend} | {name} | {result['killed'].get(name, 0)} | {len(wrong)} |", flush=True)
            for fault in wrong:
                failed = True
                print(fault, file=sys.stderr)
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
    return result


if __name__ == "__main__":
    sys.exit(main())
