"""Rows of a batch whose worker process died: they are filled again, by another process and then by this one."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from kseq.errors import WorkerDiedError, tell
from kseq.training.error_places import list_samples
from kseq.training.read_ahead import DamagedRow, Filled, Rows
from kseq.worker_errors import ProcessDiedError, StartFailedError

__all__ = ["Filler", "WorkerDeaths"]

# Deaths within so many seconds are one event, such as several workers that were killed at once: one line tells of it.
_ONE_EVENT = 5.0


class _Death:
    """How filling some rows ended in a process that died.

    Attributes:
        cause: Such as `killed by signal 9, SIGKILL`.
        is_crash: Whether the process died of what it did, so that this process would die of it as well.
    """

    def __init__(self, cause: str, is_crash: bool) -> None:
        self.cause = cause
        self.is_crash = is_crash


class Filler(NamedTuple):
    """The ways to fill rows of a batch.

    Attributes:
        finish: Waits for what `submit` gives.
        submit: Has rows filled by a worker process.
        fill_here: Fills rows in this process.
        where: Names the sample of a single row, without opening a file.
        tolerates_damage: Whether a sample that crashes each process is a damaged row, and not an error.
    """

    finish: Callable[[Future, Rows], Filled]
    submit: Callable[[Rows], Future]
    fill_here: Callable[[Rows], Filled]
    where: Callable[[Rows], str]
    tolerates_damage: bool


class WorkerDeaths:
    """Fills rows again whose worker process died.

    A process that was killed, by somebody or by the system for want of memory, says nothing of the rows that it was about: they
    are filled by another process and, if that is killed too, by this one, row by row, which takes less memory.

    A process that crashed (SIGSEGV, SIGBUS, an exit) may have done so because of one of its samples, and another process would
    do so again: this one, too, and with it the training. So the rows are filled by another process, and if that crashes too, by
    processes one by one: a sample that even then ends its process is an error that names it. They never reach this process.

    Args:
        name: Of the dataset, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._last_told = -_ONE_EVENT

    def finisher(self, filler: Filler) -> Callable[[Future, Rows], Filled]:
        """What waits until some rows of a batch are filled, and fills them again if the process that does so dies.

        It raises WorkerDiedError if some cannot be filled.
        """
        return functools.partial(self._finish, filler)

    def _finish(self, filler: Filler, filling: Future, rows: Rows) -> Filled:
        try:
            outcome = _outcome(filler, filling, rows)
        finally:
            # An error refers to this function's variables: with the future, only the garbage collector would free it.
            del filling
        if isinstance(outcome, _Death):
            death, again = outcome, filler.submit(rows)
            # Not where `submit` says that everything was closed, which kills what hangs.
            self._tell(death, rows)
            try:
                outcome = _outcome(filler, again, rows)
            finally:
                del again
        if not isinstance(outcome, _Death):
            return outcome
        if outcome.is_crash:
            return functools.reduce(Filled.then, (_finish_alone(filler, row) for row in rows.singles()))
        return _finish_here(filler, rows)

    def _tell(self, death: _Death, rows: Rows) -> None:
        if time.monotonic() - self._last_told >= _ONE_EVENT:
            self._last_told = time.monotonic()
            tell(
                f"{self._name}: a worker process failed ({death.cause}) while it filled {list_samples(rows.sample_ids)}: "
                f"they are filled again{_advice(death)}"
            )


def _finish_alone(filler: Filler, row: Rows) -> Filled:
    outcome = _outcome(filler, filler.submit(row), row)
    if not isinstance(outcome, _Death):
        return outcome
    if not outcome.is_crash:
        return _finish_here(filler, row)
    text = (
        f"{filler.where(row)}: every worker process that reads it dies ({outcome.cause}){_advice(outcome)}: it was tried three "
        "times, and not in this process, which might die of it too; kseq.drop takes a sample out of a dataset"
    )
    if filler.tolerates_damage:
        return Filled([DamagedRow(row.start, text)])
    raise WorkerDiedError(text)


def _finish_here(filler: Filler, rows: Rows) -> Filled:
    filled = Filled()
    for row in rows.singles():
        try:
            filled = filled.then(filler.fill_here(row))
        except MemoryError as error:
            raise WorkerDiedError(
                f"{filler.where(row)}: memory ran out, in worker processes and in this one: fewer workers, a smaller batch "
                "or a smaller max_queue_size need less"
            ) from error
    return filled


def _outcome(filler: Filler, filling: Future, rows: Rows) -> Filled | _Death:
    """Wait for a filling: what it came to, or how its process died."""
    try:
        return filler.finish(filling, rows)
    except ProcessDiedError as error:
        return _Death(error.cause, error.is_crash)
    except StartFailedError as error:
        if error.is_crash:
            raise
        return _Death(error.cause, is_crash=False)
    except MemoryError:
        return _Death("memory ran out", is_crash=False)
    finally:
        del filling


def _advice(death: _Death) -> str:
    if "SIGBUS" in death.cause:
        return "; a mapped file has become shorter, or its disk fails: read='pread' makes that an error that names it"
    if "SIGKILL" in death.cause or "memory" in death.cause:
        return "; if memory is short, fewer workers need less"
    return ""
