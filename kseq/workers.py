"""Workers: threads, or processes that know nothing of the program that started them."""

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

__all__ = ["WorkerPool", "process_pool", "usable_cores"]

# Long enough that a validation or a slow step between two reads seldom costs a new start of processes.
_IDLE_SECONDS = 5.0

# By how much reading gives way to the training that it serves, in steps of niceness. Measured on two cores, share of
# what batches from memory reach in `fit`, without and with it: tensorflow 0.67, 0.93, torch 0.88, 0.97, jax 0.88, 0.91.
_NICENESS = 10

# Guards the swap of __main__ while processes start.
_START_LOCK = threading.Lock()


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(
    workers: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple = (),
    started: list[BaseProcess] | None = None,
) -> Executor:
    """Worker processes, started afresh ("spawn": no state of this process, no locks held by its threads).

    They do not import the caller's main module, so that a script needs no `if __name__ == "__main__"`; they
    leave Ctrl-C to the parent and end when the parent does, however it ends.

    Args:
        workers: How many.
        initializer: Called with `initargs` in each new process.
        initargs: Its arguments; picklable.
        started: Each new process is added to it, for who wants to know how it ended.
    """
    context = _Context([] if started is None else started)
    return ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(initializer, initargs))


class _Process(SpawnProcess):
    """A process that is started with `__main__` hidden from it, and deaf to Ctrl-C from its first instruction."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # multiprocessing's name
        with _main_hidden(), _interrupts_blocked():
            return SpawnProcess._Popen(process_obj)


class _Context(SpawnContext):
    def __init__(self, started: list[BaseProcess]) -> None:
        self._started = started

    def Process(self, *args: Any, **options: Any) -> BaseProcess:  # type: ignore[override]  # noqa: N802  # its name
        process = _Process(*args, **options)
        self._started.append(process)
        return process


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """multiprocessing tells a new process to import the file of `sys.modules["__main__"]`, if it has one."""
    with _START_LOCK:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A new process inherits which signals are blocked, unlike a handler, which it could only install later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # One thread each: the workers are as many as the cores already.
    cv2.setNumThreads(1)
    if initializer is not None:
        initializer(*initargs)


def _end_with_parent() -> None:
    """A worker waiting for its next task would not notice that its parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _start_reader(initializer: Callable[..., None] | None, initargs: tuple) -> None:
    _give_way()
    if initializer is not None:
        initializer(*initargs)


def _give_way() -> None:
    """Let the training have a core first: what is read ahead can wait, and when it is waited for, the training is not running.

    Where threads have a niceness of their own: on Linux.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # Where a sandbox forbids it, all goes on as well, only later.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)


class WorkerPool:
    """Workers that start with the first task, and end when none has come for some seconds.

    So nothing is left running after a training that ended in any way, and an idle pool costs nothing. On Linux they give way to
    the program's other threads.

    Args:
        workers: How many, at least 1.
        processes: Processes instead of threads.
        initializer: Called with `initargs` in each new process.
        initargs: Its arguments; picklable.
        at_rest: Called when the workers have ended because no task came.
    """

    def __init__(
        self,
        workers: int,
        *,
        processes: bool,
        initializer: Callable[..., None] | None = None,
        initargs: tuple = (),
        at_rest: Callable[[], None] | None = None,
    ) -> None:
        self._workers = workers
        self._processes = processes
        self._initializer = initializer
        self._initargs = initargs
        self._at_rest = at_rest
        self._executor: Executor | None = None
        self._closed = False
        self._last_task = 0.0
        self._under_way = 0
        # Guards the four above, so that no task goes to an executor that is being ended, and none starts after the last.
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future:
        """Run a task; with processes, `fn` and `args` are picklable.

        Raises:
            ClosedError: After `close`.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the workers were ended")
            if self._executor is None:
                self._executor = self._start()
            self._last_task = time.monotonic()
            self._under_way += 1
            try:
                future = self._executor.submit(fn, *args)
            except BaseException:
                self._under_way -= 1
                raise
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Future) -> None:
        with self._lock:
            self._under_way -= 1
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
                pause = _IDLE_SECONDS if self._under_way else self._last_task + _IDLE_SECONDS - time.monotonic()
                if pause <= 0:
                    self._executor = None
        executor.shutdown(wait=True)
        if self._at_rest is not None:
            self._at_rest()

    def renew(self) -> None:
        """End the workers, of which one died; a later `submit` starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            # Nothing is cancelled: another thread may have been here before, and given tasks to new workers.
            executor.shutdown(wait=True)

    def close(self) -> None:
        """End the workers for good; tasks not yet begun are cancelled."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)
