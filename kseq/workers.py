"""Workers: pools of threads, or of processes that do not import the program that started them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

import cv2

from kseq.errors import ClosedError
from kseq.platforms.processes import interrupts_blocked, lower_priority

__all__ = ["WorkerPool", "process_pool"]

# Workers end after so long without a task. A validation or a slow step between two reads seldom takes longer.
_IDLE_SECONDS = 5.0

# By how many steps of niceness reading gives way to the training. Measured on two cores: the rate of `fit`, as a share of the
# rate with batches from memory, without and with it: tensorflow 0.67, 0.93, torch 0.88, 0.97, jax 0.88, 0.91.
_NICENESS = 10

# Guards `sys.modules["__main__"]`, which is replaced while a process starts.
_START_LOCK = threading.Lock()


def process_pool(
    workers: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple = (),
    started: list[BaseProcess] | None = None,
) -> Executor:
    """A pool of worker processes that are spawned, so that they share no state and no locks with this process.

    They do not import the caller's main module, so that a script needs no `if __name__ == "__main__"`. They ignore Ctrl-C,
    which is for the parent to handle, and end when the parent ends, however it ends.

    Args:
        workers: How many processes.
        initializer: Called with `initargs` in each new process.
        initargs: The arguments of `initializer`; picklable.
        started: Each new process is appended to this list, so that the caller can see how it ended.
    """
    context = _Context([] if started is None else started)
    return ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(initializer, initargs))


class _Process(SpawnProcess):
    """A process that does not see this program's `__main__`, and ignores Ctrl-C from its first instruction."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # multiprocessing's name
        with _main_hidden(), interrupts_blocked():
            return SpawnProcess._Popen(process_obj)


class _Context(SpawnContext):
    """Starts such processes, and appends each to a list."""

    def __init__(self, started: list[BaseProcess]) -> None:
        self._started = started

    def Process(self, *args: Any, **options: Any) -> BaseProcess:  # type: ignore[override]  # noqa: N802  # its name
        process = _Process(*args, **options)
        self._started.append(process)
        return process


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Replace `sys.modules["__main__"]`, whose file multiprocessing would tell a new process to import."""
    with _START_LOCK:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # There are as many workers as cores already.
    cv2.setNumThreads(1)
    if initializer is not None:
        initializer(*initargs)


def _end_with_parent() -> None:
    """End this process when its parent ends, which it would not notice while it waits for a task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _start_reader(initializer: Callable[..., None] | None, initargs: tuple) -> None:
    _give_way()
    if initializer is not None:
        initializer(*initargs)


def _give_way() -> None:
    """Let the training have a core first: batches that are read ahead can wait."""
    lower_priority(_NICENESS)


class WorkerPool:
    """Workers that start with the first task, and end after some seconds without a task.

    So nothing keeps running after a training, however it ended, and an idle pool costs nothing. On Linux, workers have a lower
    priority than the other threads of the program.

    Args:
        workers: How many, at least 1.
        processes: Whether to use processes instead of threads.
        initializer: Called with `initargs` in each new process.
        initargs: The arguments of `initializer`; picklable.
        on_idle: Called when the workers have ended because no task came.
    """

    def __init__(
        self,
        workers: int,
        *,
        processes: bool,
        initializer: Callable[..., None] | None = None,
        initargs: tuple = (),
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        self._workers = workers
        self._processes = processes
        self._initializer = initializer
        self._initargs = initargs
        self._on_idle = on_idle
        self._executor: Executor | None = None
        self._closed = False
        self._last_task = 0.0
        self._num_unfinished = 0
        # Guards the four attributes above: no task goes to an executor that is being ended, and no executor starts after
        # `close`.
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future:
        """Run a task in a worker; with processes, `fn` and `args` must be picklable.

        Raises:
            ClosedError: If the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the workers were stopped by close()")
            if self._executor is None:
                self._executor = self._start()
            self._last_task = time.monotonic()
            self._num_unfinished += 1
            try:
                future = self._executor.submit(fn, *args)
            except BaseException:
                self._num_unfinished -= 1
                raise
        future.add_done_callback(self._finish_task)
        return future

    def _finish_task(self, _: Future) -> None:
        with self._lock:
            self._num_unfinished -= 1
            self._last_task = time.monotonic()

    def _start(self) -> Executor:
        executor: Executor
        if self._processes:
            executor = process_pool(self._workers, _start_reader, (self._initializer, self._initargs))
        else:
            executor = ThreadPoolExecutor(self._workers, thread_name_prefix="kseq", initializer=_give_way)
        threading.Thread(target=self._end_when_idle, args=(executor,), name="kseq-idle", daemon=True).start()
        return executor

    def _end_when_idle(self, executor: Executor) -> None:
        pause = _IDLE_SECONDS
        while pause > 0:
            time.sleep(min(pause, 0.25))
            with self._lock:
                if self._executor is not executor:
                    return
                pause = _IDLE_SECONDS if self._num_unfinished else self._last_task + _IDLE_SECONDS - time.monotonic()
                if pause <= 0:
                    self._executor = None
        executor.shutdown(wait=True)
        if self._on_idle is not None:
            self._on_idle()

    def restart(self) -> None:
        """End the workers, one of which has died; the next `submit` starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            # Tasks are not cancelled: another thread may have restarted the pool already, and these may be tasks of new
            # workers.
            executor.shutdown(wait=True)

    def close(self) -> None:
        """End the workers for good; tasks that have not begun are cancelled."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)
