"""Contestants as processes that take turns: A B C A B C, each its own epoch, medians over the rounds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kseq.errors import KseqError

__all__ = ["ContestantError", "Row", "Runner", "run_once", "take_turns"]

# Seconds: writing a store, or one epoch of the slowest, takes minutes; longer than this is a hang.
_PATIENCE = 1800


class ContestantError(KseqError, RuntimeError):
    """A contestant's process ended, or said something else than expected."""


@dataclass
class Row:
    """What one contestant did.

    Attributes:
        name: Of the contestant.
        rates: One figure per round, all of the same unit.
        note: Why there are none, or what else to know.
        version: Of the library.
    """

    name: str
    rates: list[float] = field(default_factory=list)
    note: str = ""
    version: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.rates) if self.rates else float("nan")

    def ratio_to(self, other: Row) -> float:
        """The median over the rounds of this rate by the other's of the same round."""
        pairs = [(mine, theirs) for mine, theirs in zip(self.rates, other.rates, strict=False) if theirs]
        return statistics.median(mine / theirs for mine, theirs in pairs) if pairs else float("nan")


class Runner:
    """A contestant's process: told to read an epoch, it answers how long that took.

    Args:
        name: For messages.
        command: The Python to run it, its options, and the script.
        job: What `contestants/stage.py` calls a job.
        folder: For the job's file and what the process prints.
        environment: Variables beside those of this process.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        job: Mapping[str, Any],
        folder: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        os.makedirs(folder, exist_ok=True)
        self.name = name
        stem = os.path.join(folder, f"{name.replace(' ', '-').replace('/', '-')}-{job['table']}-{job['action']}")
        with open(f"{stem}.json", "w") as file:
            json.dump(dict(job), file)
        self._log = f"{stem}.log"
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [*command, f"{stem}.json"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                env={**os.environ, **(environment or {})},
                # Its own worker processes end with it.
                start_new_session=True,
            )

    def answer(self) -> dict[str, Any]:
        """The next line that the process says."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            raise ContestantError(f"{self.name}: {self._last_words() if readable else f'no answer in {_PATIENCE} s'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def epoch(self) -> dict[str, Any]:
        """Have it read one epoch."""
        assert self._process.stdin is not None
        try:
            print("epoch", file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise ContestantError(f"{self.name}: {self._last_words()}") from None
        return self.answer()

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with open(self._log, errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Failed)\b", line)]
        return f"ended with {self._process.returncode}: {(errors or lines or ['no message'])[-1][:200]}"

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()


def run_once(
    name: str, command: Sequence[str], job: Mapping[str, Any], folder: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a process that answers once, such as to write a store."""
    runner = Runner(name, command, job, folder, environment)
    try:
        return runner.answer()
    finally:
        runner.close()


@contextlib.contextmanager
def _closing(runners: Mapping[str, Runner]) -> Iterator[None]:
    try:
        yield
    finally:
        for each in runners.values():
            each.close()


def take_turns(runners: Mapping[str, Runner], rounds: int, rows: Mapping[str, Row], expected: Mapping[str, int]) -> None:
    """Let all read an epoch to warm up, then `rounds` more in turn; the rates, in images a second, go to the rows.

    A contestant that fails is left out from then on; its row says so, and also if an epoch differs from `expected` (`images`,
    `label_sum`).
    """
    alive = dict(runners)
    with _closing(runners):
        for number in range(rounds + 1):
            for name, runner in list(alive.items()):
                try:
                    answer = runner.answer() if number == 0 else {}
                    answer = runner.epoch()
                except ContestantError as error:
                    rows[name].note = str(error)
                    rows[name].rates.clear()
                    del alive[name]
                    continue
                wrong = {key: answer[key] for key, value in expected.items() if answer.get(key, value) != value}
                if wrong:
                    rows[name].note = f"not every sample once: {wrong}, expected {dict(expected)}"
                if number:
                    rows[name].rates.append(answer["images"] / answer["seconds"])
