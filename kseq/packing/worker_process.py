"""A worker process that may die and is then replaced by another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing.process import BaseProcess
from typing import Any

from kseq.arguments import spelled
from kseq.errors import WorkerDiedError
from kseq.workers import process_pool

__all__ = ["OUT_OF_MEMORY_CODE", "WorkerProcess"]

# A worker process ends itself with this exit code when memory runs out: what is left may not do for anything else.
OUT_OF_MEMORY_CODE = 112

# If this many processes in a row end before they can take a task, the next ones would end too.
_MOST_FAILED_STARTS = 3


class WorkerProcess:
    """One worker process at a time, which is started with the first task.

    If the process dies, call `bury`; the next task starts another process. A pool of several processes would end them all with
    the one that died, and would not say which task was its last.

    Args:
        initializer: Called with `initargs` in each new process.
        initargs: The arguments of `initializer`; picklable.
    """

    def __init__(self, initializer: Callable[..., None], initargs: tuple) -> None:
        self._initializer = initializer
        self._initargs = initargs
        self._pool: Executor | None = None
        self._processes: list[BaseProcess] = []
        self._has_started: Future = Future()
        self._failed_starts = 0

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        """Run a task after those that were submitted before; `function` and `args` are picklable.

        Raises:
            WorkerDiedError: If no process can be started.
        """
        while True:
            try:
                pool = self._pool or self._start()
                return pool.submit(function, *args)
            except BrokenExecutor:
                # The process died while it had nothing to do.
                self.bury()
            except OSError as error:
                raise WorkerDiedError(
                    f"no worker process can be started: {error.strerror or error}: {spelled('workers', 0)} needs none"
                ) from error

    def _start(self) -> Executor:
        self._pool = process_pool(1, self._initializer, self._initargs, self._processes)
        self._has_started = self._pool.submit(_do_nothing)
        return self._pool

    def bury(self) -> str | None:
        """Clear away a process that died.

        Returns:
            The cause of its death, such as `"killed by signal 9"`; None if the process died before its first task.

        Raises:
            WorkerDiedError: If several processes in a row died before their first task.
        """
        self.close()
        cause = _cause_of_death(self._processes.pop().exitcode) if self._processes else "not started"
        self._processes.clear()
        if self._has_started.done() and self._has_started.exception() is None:
            self._failed_starts = 0
            return cause
        self._failed_starts += 1
        if self._failed_starts >= _MOST_FAILED_STARTS:
            raise WorkerDiedError(
                f"{self._failed_starts} worker processes in a row ended before they took a task ({cause}): "
                f"{spelled('workers', 0)} needs none"
            )
        return None

    def close(self) -> None:
        """End the process after the task that it works on, and wait for that; tasks that wait are cancelled."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _do_nothing() -> None:
    """The first task of each process: when it is done, the process has started."""


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code == OUT_OF_MEMORY_CODE:
        return "memory ran out"
    if exit_code is not None and exit_code < 0:
        return f"killed by signal {-exit_code}"
    return f"exit code {exit_code}"
