"""Pools of workers, threads or processes, that end by themselves after a while without a task."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from kseq.errors import ClosedError
from kseq.platforms.processes import lower_priority
from kseq.processes import ProcessPool
from kseq.threads import ThreadPool, start_thread

__all__ = ["IDLE_SECONDS", "WorkerPool"]

# Workers end after so long without a task. A validation or a slow step between two reads seldom takes longer.
IDLE_SECONDS = 5.0

# Seconds between two looks whether the pool was closed.
_CHECK_INTERVAL = 0.25

# `close` waits so many seconds for tasks that are being worked on, and then goes on without them.
_CLOSE_SECONDS = 1.5


class WorkerPool:
    """Workers that start with the first task, and end after some seconds without a task.

    So nothing keeps running after a training, however it ended, and an idle pool costs nothing.

    Args:
        workers: How many, at least 1.
        processes: Whether to use processes instead of threads.
        initializer: Called with `initargs` in each new process.
        initargs: The arguments of `initializer`; picklable.
        on_idle: Called when the workers have ended because no task came.
        idle_seconds: How long workers without a task stay.
        niceness: By how many steps workers stand back from all other threads of the machine; only on Linux.
    """

    def __init__(
        self,
        workers: int,
        *,
        processes: bool,
        initializer: Callable[..., None] | None = None,
        initargs: tuple = (),
        on_idle: Callable[[], None] | None = None,
        idle_seconds: float = IDLE_SECONDS,
        niceness: int = 0,
    ) -> None:
        self._workers = workers
        self._processes = processes
        self._initializer = initializer
        self._initargs = initargs
        self._on_idle = on_idle
        self._idle_seconds = idle_seconds
        self._niceness = niceness
        self._executor: ThreadPool | None = None
        self._closed = False
        self._last_task = 0.0
        # Adding to a set and removing from it are single steps, which need no lock.
        self._unfinished: set[Future] = set()
        # Guards `_executor` and `_closed`, for some assignments at a time: it is never held while a task is submitted, and no
        # callback of a future takes it, since an executor calls these whenever it likes, with locks of its own.
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future:
        """Run a task in a worker; with processes, `fn` and `args` must be picklable.

        The future raises WorkerDiedError, which names the signal, if the process dies over the task; the next task finds a new
        process.

        Raises:
            ClosedError: If the pool is closed.
        """
        while True:
            executor = self._started()
            try:
                future = executor.submit(fn, *args)
            except RuntimeError as error:
                # The executor may have been ended since the last line, because it was idle.
                if self._executor is not executor:
                    continue
                if executor.is_shut:
                    raise ClosedError("the program ends") from error
                raise
            self._unfinished.add(future)
            future.add_done_callback(self._finish_task)
            return future

    def _finish_task(self, future: Future) -> None:
        self._last_task = time.monotonic()
        self._unfinished.discard(future)

    def _started(self) -> ThreadPool:
        with self._lock:
            if self._closed:
                raise ClosedError("the workers were stopped by close()")
            self._last_task = time.monotonic()
            if self._executor is not None:
                return self._executor
            executor = self._executor = self._new_executor()
        start_thread(self._end_when_idle, executor, name="kseq-idle")
        return executor

    def _new_executor(self) -> ThreadPool:
        if self._processes:
            return ProcessPool(self._workers, self._initializer, self._initargs, niceness=self._niceness)
        return ThreadPool(self._workers, lower_priority, (self._niceness,))

    def _end_when_idle(self, executor: ThreadPool) -> None:
        pause = self._idle_seconds
        while pause > 0:
            time.sleep(min(pause, _CHECK_INTERVAL))
            with self._lock:
                if self._executor is not executor:
                    return
                pause = _CHECK_INTERVAL if self._unfinished else self._last_task + self._idle_seconds - time.monotonic()
                if pause <= 0:
                    self._executor = None
        # A task that was submitted just now is done first.
        executor.shutdown(wait=True)
        if self._on_idle is not None:
            self._on_idle()

    @property
    def pids(self) -> list[int]:
        """The ids of the worker processes that there are now; none of threads."""
        executor = self._executor
        return executor.pids if isinstance(executor, ProcessPool) else []

    def abandon(self) -> None:
        """Let go of workers that hang: processes are killed, threads are left to themselves; waits for nothing.

        Tasks that have not begun are cancelled. The next task starts other workers.
        """
        with self._lock:
            executor, self._executor = self._executor, None
            # What hangs says nothing of the workers to come.
            self._unfinished.clear()
        if executor is not None:
            executor.abandon()

    def close(self) -> None:
        """End the workers for good; tasks that have not begun are cancelled, those that hang are let go of as by `abandon`."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True, patience=_CLOSE_SECONDS)
