"""Contestants as processes that take turns: A B C A B C, each its own epoch, medians over the rounds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from typing import Any

from kseq.errors import KseqError

from .cpu_time import busy_seconds, group_seconds
from .folders import read_all

__all__ = [
    "OWN_GROUP",
    "WATCH",
    "ContestantError",
    "Row",
    "Runner",
    "check_epoch",
    "play_rounds",
    "run_once",
    "take_turns",
    "warmed_up",
]

# Seconds: writing a store, or one epoch of the slowest, takes minutes; longer than this is a hang.
_PATIENCE = 1800

# And what a process started has so many seconds to end by itself.
_FAREWELL = 2.0


# A group of its own, so that its worker processes end with it and their time is counted. No session of its own: Linux shares
# out the cores among sessions first ("autogroup"), and niceness would count within a contestant only.
OWN_GROUP: Mapping[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"preexec_fn": os.setpgrp}


class ContestantError(KseqError, RuntimeError):
    """A contestant's process ended, or said something else than expected."""


# What may befall one row and leave the others as they are.
_FAILURES = (KseqError, OSError, subprocess.SubprocessError, BrokenExecutor)


@dataclass
class Row:
    """What one contestant did.

    Attributes:
        name: Of the contestant.
        rates: One figure per round, all of the same unit.
        note: Why there are none, or what else to know.
        version: Of the library.
        cpu: Seconds of processor time, user and system, of the process and its children for 1,000 images, one figure per round;
            none where the system does not tell.
        others: How many cores all other processes of the machine kept busy meanwhile, one figure per round, or none.
    """

    name: str
    rates: list[float] = field(default_factory=list)
    note: str = ""
    version: str = ""
    cpu: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}".strip()

    @property
    def median(self) -> float:
        return statistics.median(self.rates) if self.rates else float("nan")

    @property
    def median_cpu(self) -> float | None:
        return statistics.median(self.cpu) if self.cpu else None

    def keep_rounds(self, count: int) -> None:
        """Keep the figures of the first rounds alone."""
        for figures in (self.rates, self.cpu, self.others):
            del figures[count:]

    @property
    def failed(self) -> bool:
        """It has no rates, and its note says why."""
        return bool(self.note) and not self.rates

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """What fails in the block makes this row one without rates, whose note says why."""
        try:
            yield
        except _FAILURES as error:
            self.note = str(error)
            for figures in (self.rates, self.cpu, self.others):
                figures.clear()

    def ratio_to(self, other: Row) -> float | None:
        """The median over the rounds of this rate by the other's of the same round; None where no round has both."""
        return _median_ratio(self.rates, other.rates)

    def cpu_ratio_to(self, other: Row) -> float | None:
        """The same of the processor time."""
        return _median_ratio(self.cpu, other.cpu)


def _median_ratio(mine: Sequence[float], theirs: Sequence[float]) -> float | None:
    ratios = [one / other for one, other in zip(mine, theirs, strict=False) if other]
    return statistics.median(ratios) if ratios else None


@dataclass(frozen=True)
class Effort:
    """Processor time between two moments: of a contestant, and how many cores all others kept busy meanwhile."""

    seconds: float
    others: float


class Runner:
    """A contestant's process: told to read an epoch, it answers how long that took.

    Args:
        name: For messages.
        command: The Python to run it, its options, and the script.
        job: What `contestants/stage.py` calls a job.
        folder: For the job's file and what the process prints.
        environment: Variables beside those of this process.

    Attributes:
        name: As given.
        python: The command's first part.

    Raises:
        ContestantError: Where the process cannot be started; by the methods, where it ended, or hangs.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        job: Mapping[str, Any],
        folder: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        WATCH.check()
        os.makedirs(folder, exist_ok=True)
        self.name, self.python = name, command[0]
        self._folders = [job.get("store", ""), job.get("source", "")]
        stem = os.path.join(folder, f"{name.replace(' ', '-').replace('/', '-')}-{job['table']}-{job['action']}")
        with open(f"{stem}.json", "w") as file:
            json.dump(dict(job), file)
        self._log = f"{stem}.log"
        with open(self._log, "w") as log:
            try:
                self._process = subprocess.Popen(
                    [*command, f"{stem}.json"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    bufsize=1,
                    env={**os.environ, **(environment or {})},
                    **OWN_GROUP,
                )
            except OSError as error:
                raise ContestantError(f"{name}: {command[0]} cannot be run: {error.strerror}") from error

    def answer(self) -> dict[str, Any]:
        """The next line that the process says."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
        if not readable:
            # It may be at work, in the others' time.
            self.close()
            raise ContestantError(f"{self.name}: no answer in {_PATIENCE} s")
        line = self._process.stdout.readline()
        if not line:
            raise ContestantError(f"{self.name}: {self._last_words()}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise ContestantError(f"{self.name}: said {line.strip()[:200]!r}, expected is JSON") from None
        return answer

    def warm(self) -> None:
        """Bring its store into the page cache, or the source if that is what it reads: the others' may have pushed it out."""
        read_all(self._folders[0]) or read_all(self._folders[1])

    def epoch(self) -> dict[str, Any]:
        """Have it read one epoch."""
        assert self._process.stdin is not None
        try:
            print("epoch", file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise ContestantError(f"{self.name}: {self._last_words()}") from None
        return self.answer()

    @contextlib.contextmanager
    def measuring(self, efforts: list[Effort]) -> Iterator[None]:
        """Append the effort of what happens in the block, where the system tells it."""
        before = self._clocks()
        yield
        after = self._clocks()
        if before and after:
            seconds, own, busy = (late - early for late, early in zip(after, before, strict=True))
            efforts.append(Effort(own, max(0.0, busy - own) / max(seconds, 1e-9)))

    def _clocks(self) -> tuple[float, float, float] | None:
        own, busy = group_seconds(self._process.pid), busy_seconds()
        return None if own is None or busy is None else (time.perf_counter(), own, busy)

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with open(self._log, errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Failed)\b", line)]
        return f"ended with {self._process.returncode}: {(errors or lines or ['no message'])[-1][:200]}"

    def close(self) -> None:
        """End it first and then whatever it started: Python's resource tracker needs a moment to remove its semaphores."""
        self._process.kill()
        self._process.wait()
        ending = time.monotonic() + _FAREWELL
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < ending:
                os.killpg(self._process.pid, 0)
                time.sleep(0.02)
            os.killpg(self._process.pid, signal.SIGKILL)


def run_once(
    name: str, command: Sequence[str], job: Mapping[str, Any], folder: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a process that answers once, such as to write a store."""
    runner = Runner(name, command, job, folder, environment)
    try:
        return runner.answer()
    finally:
        runner.close()


def take_turns(
    starts: Mapping[str, Callable[[], Runner]], rounds: int, rows: Mapping[str, Row], expected: Mapping[str, int]
) -> None:
    """Let all read an epoch to warm up, then `rounds` more in turn; the rates, in images a second, go to the rows.

    Before each epoch its files are read once, so that they are in the page cache even where all contestants' together are not.

    A contestant that cannot be started, or fails, is left out from then on; its row says so, and also if an epoch differs from
    `expected` (`images`, `label_sum`).
    """
    with warmed_up(starts, rows) as runners:
        play_rounds(runners, rounds, rows, expected)


@contextlib.contextmanager
def warmed_up(starts: Mapping[str, Callable[[], Runner]], rows: Mapping[str, Row]) -> Iterator[dict[str, Runner]]:
    """All that can be started and have read an epoch, until the block ends; the rows of the others say why they cannot."""
    with contextlib.ExitStack() as closing:
        runners: dict[str, Runner] = {}
        for name, start in starts.items():
            with rows[name].noting():
                runners[name] = start()
                closing.callback(runners[name].close)
        for name, runner in runners.items():
            with rows[name].noting():
                runner.answer()
                runner.epoch()
        yield {name: runner for name, runner in runners.items() if not rows[name].failed}


class RoundWatch:
    """What is told of each round, and whether the run was stopped in one; one for the process.

    Args:
        say: Gets a line after each round.

    Attributes:
        stopped: Where Ctrl-C or SIGTERM came while contestants took turns: which round of how many. Their rows keep the rounds
            before, and the table is made of them.
        cause: What came.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say
        self.stopped = ""
        self.cause: KeyboardInterrupt | None = None

    @contextlib.contextmanager
    def run(self, say: Callable[[str], None]) -> Iterator[None]:
        """A whole run, whose rounds are told to `say`."""
        self._say = say
        try:
            yield
        finally:
            self._say, self.stopped, self.cause = None, "", None

    def check(self) -> None:
        """Raise what came before, so that nothing else is begun."""
        if self.cause is not None:
            raise self.cause

    @contextlib.contextmanager
    def round(self, number: int, rounds: int, rows: Mapping[str, Row]) -> Iterator[None]:
        """A round of contestants: its figures and how long the others will take, or where it was stopped."""
        self.check()
        started = time.monotonic()
        try:
            yield
        except KeyboardInterrupt as cause:
            if number == 1:
                raise
            self.stopped, self.cause = f"stopped in round {number} of {rounds}: figures of {number - 1}", cause
            for row in rows.values():
                row.keep_rounds(number - 1)
            return
        seconds = time.monotonic() - started
        rates = ", ".join(f"{name} {row.rates[-1]:,.0f}" for name, row in rows.items() if row.rates)
        left = f"; {rounds - number} more, about {(rounds - number) * seconds:.0f} s" if number < rounds else ""
        self._tell(f"round {number} of {rounds} in {seconds:.0f} s: {rates}{left}")

    def _tell(self, line: str) -> None:
        if self._say is not None:
            self._say(line)


WATCH = RoundWatch()


def play_rounds(runners: Mapping[str, Runner], rounds: int, rows: Mapping[str, Row], expected: Mapping[str, int]) -> None:
    """Let them take turns, see `take_turns`. A run that is stopped after the first round ends here, with the rounds so far."""
    for number in range(1, rounds + 1):
        with WATCH.round(number, rounds, {name: rows[name] for name in runners}):
            _play_round(runners, rows, expected)
        if WATCH.cause is not None:
            return


def _play_round(runners: Mapping[str, Runner], rows: Mapping[str, Row], expected: Mapping[str, int]) -> None:
    for name, runner in runners.items():
        row = rows[name]
        if row.failed:
            continue
        with row.noting():
            runner.warm()
            efforts: list[Effort] = []
            with runner.measuring(efforts):
                answer = runner.epoch()
            row.note = check_epoch(answer, expected) or row.note
            row.rates.append(answer["images"] / answer["seconds"])
            row.cpu.extend(1e3 * effort.seconds / max(answer["images"], 1) for effort in efforts)
            row.others.extend(effort.others for effort in efforts)


def check_epoch(answer: Mapping[str, Any], expected: Mapping[str, int]) -> str:
    """What is wrong with an epoch, or nothing."""
    wrong = {key: answer[key] for key, value in expected.items() if answer.get(key, value) != value}
    return f"not every sample once: {wrong}, expected {dict(expected)}" if wrong else ""
