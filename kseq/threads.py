"""Threads that do one task after the other, and that no program has to wait for when it ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from kseq.platforms import interrupts

__all__ = ["EXIT_SECONDS", "INTERRUPTED_SECONDS", "ThreadPool", "note_end", "program_ends", "start_thread", "watch_end"]

# A program that ends waits so long for tasks that are being worked on, and goes on without those that hang.
EXIT_SECONDS = 1.5
# The same for who interrupts what waits for tasks.
INTERRUPTED_SECONDS = 3.0


_end = threading.Event()


def program_ends() -> bool:
    """Whether the program has come to its end: threads that still wait, in a library or as daemons, are to stop.

    It has not while a thread that is no daemon goes on after the main one, as a training in a thread of its own may.
    """
    return _end.is_set()


def note_end() -> None:
    """The program ends: to be called by every function of the library that runs then, whichever comes first."""
    _end.set()


def watch_end() -> None:
    """Let `program_ends` be true before anything is finalized, at the end of the program, that is registered for it by now."""
    # What is registered last runs first.
    atexit.unregister(note_end)
    atexit.register(note_end)


def start_thread(fn: Callable[..., Any], *args: Any, name: str) -> threading.Thread:
    """A thread that the end of the program does not wait for, and that runs already.

    Raises:
        RuntimeError: If the system has no room for another.
        KeyboardInterrupt: If Ctrl-C was pressed meanwhile; `Thread.start` may make a RuntimeError of it, see `interrupts`.
    """
    thread = threading.Thread(target=fn, args=args, name=name, daemon=True)
    with interrupts.unhidden():
        thread.start()
    return thread


class _Task(NamedTuple):
    future: Future
    fn: Callable[..., Any]
    args: tuple
    kwargs: dict[str, Any]

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.fn(*self.args, **self.kwargs)
        except BaseException as error:
            self.future.set_exception(error)
            # The error refers to this function's variables, and the future to the error: only the garbage collector would free
            # them.
            del self
        else:
            self.future.set_result(result)


# None ends the thread that gets it.
_Tasks: TypeAlias = "queue.SimpleQueue[_Task | None]"


class ThreadPool(Executor):
    """An executor of threads that a program does not wait for when it ends, however long a task hangs.

    With the standard library's `ThreadPoolExecutor`, a program that ends waits for all tasks, those in the queue included: for
    ever, if one reads from a file system that does not answer. Here the tasks in the queue are cancelled, those that are being
    worked on get `EXIT_SECONDS` to be done, and then the program goes.

    As a context manager it waits for all tasks; where an error ends the block, for those that have begun; where an interrupt
    does, for these, and `INTERRUPTED_SECONDS` at most.

    Args:
        workers: How many threads at most, at least 1.
        initializer: Called with `initargs` in each new thread.
        initargs: Its arguments.

    Attributes:
        is_shut: Whether it takes no more tasks.
    """

    def __init__(self, workers: int, initializer: Callable[..., None] | None = None, initargs: tuple = ()) -> None:
        self._workers = workers
        self._start_arguments = (initializer, initargs)
        self._tasks: _Tasks = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.is_shut = False
        # Guards the two above, for moments; no callback of a future is called with it.
        self._lock = threading.Lock()
        self._process = os.getpid()
        # Threads of a pool that nobody refers to any more end.
        weakref.finalize(self, self._tasks.put, None).atexit = False
        _pools.add(self)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a task in a thread.

        Raises:
            RuntimeError: If the pool was shut down.
        """
        future: Future = Future()
        with self._lock:
            if self.is_shut:
                raise RuntimeError("the threads were shut down")
            self._tasks.put(_Task(future, fn, args, kwargs))
            if len(self._threads) < self._workers:
                self._start_thread()
        return future

    def _start_thread(self) -> None:
        try:
            thread = start_thread(_work, self._tasks, *self._start_arguments, name=f"kseq_{len(self._threads)}")
        except RuntimeError:
            # The system has no room for another: those that there are do all tasks.
            if not self._threads:
                self._cancel_waiting()
                raise
        else:
            self._threads.append(thread)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, patience: float | None = None) -> None:
        """Take no more tasks, and end the threads after those that there are.

        Args:
            wait: Whether to wait for the end of the threads.
            cancel_futures: Whether to cancel the tasks that nobody works on yet.
            patience: Wait so many seconds at most; None for as long as it takes.
        """
        with self._lock:
            self.is_shut = True
        if cancel_futures:
            self._cancel_waiting()
        self._tasks.put(None)
        if wait:
            self.join(patience)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        interrupt = interrupts.hidden_by(error)
        # Who interrupts wants to go: a store that does not answer may take minutes.
        is_interrupted = interrupt is not None or (kind is not None and not issubclass(kind, Exception))
        self.shutdown(cancel_futures=kind is not None, patience=INTERRUPTED_SECONDS if is_interrupted else None)
        if interrupt is not None:
            raise interrupt from None

    def _cancel_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is not None:
                    task.future.cancel()

    def join(self, patience: float | None = None) -> bool:
        """Wait for the end of the threads, so many seconds at most; returns whether they have ended."""
        deadline = None if patience is None else time.monotonic() + patience
        threads = list(self._threads)
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def abandon(self) -> None:
        """Take no more tasks, cancel those in the queue, and let go of those that hang; waits for nothing."""
        self.shutdown(wait=False, cancel_futures=True)


def _work(tasks: _Tasks, initializer: Callable[..., None] | None, initargs: tuple) -> None:
    if initializer is not None:
        initializer(*initargs)
    while (task := tasks.get()) is not None:
        task.run()
        del task
    # For the next thread.
    tasks.put(None)


_pools: weakref.WeakSet[ThreadPool] = weakref.WeakSet()


def _end_all() -> None:
    """When the program ends: drop what waits, and give what is being worked on a moment."""
    note_end()
    # A fork has none of the threads, and perhaps a lock that one of them held.
    pools = [pool for pool in list(_pools) if pool._process == os.getpid()]
    for pool in pools:
        pool.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + EXIT_SECONDS
    for pool in pools:
        if not pool.join(max(0.0, deadline - time.monotonic())):
            pool.abandon()


atexit.register(_end_all)
