"""One worker process at a time, that may die and be followed by another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing.process import BaseProcess
from typing import Any

from kseq.errors import WorkerDiedError
from kseq.workers import process_pool

__all__ = ["NO_MEMORY", "WorkerProcess"]

# With this code a worker process ends itself where memory ran out: what it has left may not do for anything else.
NO_MEMORY = 112

# So many processes in a row that end before they can take a task: the next ones would, too.
_MOST_STILLBORN = 3


class WorkerProcess:
    """A worker process, started with the first task; where it dies, `bury` it, and the next task starts another.

    A pool of several processes would end them all with the one that died, and not say which task was its last.

    Args:
        initializer: Called with `initargs` in each new process.
        initargs: Its arguments; picklable.
    """

    def __init__(self, initializer: Callable[..., None], initargs: tuple) -> None:
        self._initializer = initializer
        self._initargs = initargs
        self._pool: Executor | None = None
        self._started: list[BaseProcess] = []
        self._ready: Future = Future()
        self._stillborn = 0

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future:
        """Run a task after those before it; both `fn` and `args` are picklable.

        Raises:
            WorkerDiedError: Where no process can be started.
        """
        while True:
            try:
                pool = self._pool or self._start()
                return pool.submit(fn, *args)
            except BrokenExecutor:
                # It died while it had nothing to do.
                self.bury()
            except OSError as error:
                raise WorkerDiedError(f"no worker process can be started: {error.strerror or error}") from error

    def _start(self) -> Executor:
        self._pool = process_pool(1, self._initializer, self._initargs, self._started)
        self._ready = self._pool.submit(_nothing)
        return self._pool

    def bury(self) -> str | None:
        """Clear away a process that died.

        Returns:
            What it died of, such as `"killed by signal 9"`; None where it had not begun its first task.

        Raises:
            WorkerDiedError: Where it is one of several in a row that had not.
        """
        self.close()
        how = _cause(self._started.pop().exitcode) if self._started else "not started"
        self._started.clear()
        if self._ready.done() and self._ready.exception() is None:
            self._stillborn = 0
            return how
        self._stillborn += 1
        if self._stillborn >= _MOST_STILLBORN:
            raise WorkerDiedError(f"{self._stillborn} worker processes in a row ended before they could begin ({how})")
        return None

    def close(self) -> None:
        """End the process when it has done the task that it is at, and wait for that; tasks after it are cancelled."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _nothing() -> None:
    """The first task of each process: when it is done, the process has begun."""


def _cause(exit_code: int | None) -> str:
    if exit_code == NO_MEMORY:
        return "memory ran out"
    if exit_code is not None and exit_code < 0:
        return f"killed by signal {-exit_code}"
    return f"exit code {exit_code}"
