"""Worker processes: each runs one task after the other for one thread of this process, and may die without harm to others."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.spawn
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cv2

from kseq.arguments import spelled
from kseq.errors import one_line
from kseq.platforms.processes import interrupts_blocked, lower_priority
from kseq.threads import EXIT_SECONDS, ThreadPool, program_ends
from kseq.worker_errors import ProcessDiedError, StartFailedError, answer_to, describe_exit, is_crash, value_of

__all__ = ["ProcessDiedError", "ProcessPool"]

# If this many processes in a row end before they can take a task, the next ones would end too.
_MOST_FAILED_STARTS = 3

# Seconds between two looks whether a silent process still lives: its end of the pipe may be open in a fork of this process too.
_CHECK_INTERVAL = 1.0

# A process that was asked to end, and has not after so many seconds, is stopped or hangs: it is killed.
_END_SECONDS = 5.0

# Says, for each thread, whether it is starting a worker.
_starting = threading.local()


class ProcessPool(ThreadPool):
    """An executor of worker processes that are spawned, so that they share no state and no locks with this process.

    They do not import the caller's main module, so that a script needs no `if __name__ == "__main__"`. They ignore Ctrl-C,
    which is for the parent to handle, and end when the parent ends, however it ends. A program that ends waits for none that
    is stopped or hangs, see `ThreadPool`.

    Each process is held by a thread of this process, which hands it a task and waits for the answer. So a process that dies
    fails its own task, with `ProcessDiedError`, and no other; the next task starts another process. With the standard library's
    `ProcessPoolExecutor`, all tasks end with the process that died; and in Python 3.11 its manager fails on a task that was
    cancelled before, and everybody waits for ever.

    Args:
        workers: How many processes at most, at least 1.
        initializer: Called with `initargs` in each new process.
        initargs: The arguments of `initializer`; picklable, or what a process may only inherit, as shared arrays.
        niceness: By how many steps the processes stand back from others, see `lower_priority`.
    """

    def __init__(
        self, workers: int, initializer: Callable[..., None] | None = None, initargs: tuple = (), *, niceness: int = 0
    ) -> None:
        super().__init__(workers)
        self._process_arguments = (initializer, initargs, niceness)
        # Deques need no lock. The process that worked last is taken first: it has the files mapped.
        self._resting: deque[_WorkerProcess] = deque()
        self._processes: deque[_WorkerProcess] = deque()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that there are now."""
        running = [process.running for process in list(self._processes)]
        return [one[0].pid for one in running if one is not None and one[0].pid is not None]

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run a task in a process; `fn`, its arguments, and what it returns are picklable.

        The future raises what the task raises, `ProcessDiedError` if the process dies over it, and `StartFailedError` if no
        process can be started.
        """
        return super().submit(self._run, fn, args, kwargs)

    def _run(self, fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        try:
            process = self._resting.pop()
        except IndexError:
            process = _WorkerProcess(*self._process_arguments)
            self._processes.append(process)
        try:
            return process.call(fn, args, kwargs)
        finally:
            self._resting.append(process)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, patience: float | None = None) -> None:
        """End the processes after the tasks that they work on; without `wait`, once nothing refers to the pool.

        With `patience`, those that are still at work after so many seconds are killed.
        """
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if wait and not self.join(patience):
            self._kill()
            # Their threads notice at once.
            self.join(_CHECK_INTERVAL)
        with contextlib.suppress(IndexError):
            while wait:
                self._resting.pop().close()

    def abandon(self) -> None:
        """Take no more tasks, cancel those in the queue, and kill the processes, whatever they do; waits for nothing."""
        super().abandon()
        self._kill()
        with contextlib.suppress(IndexError):
            while True:
                self._resting.pop().close()

    def _kill(self) -> None:
        for process in list(self._processes):
            process.kill()


class _WorkerProcess:
    """One process at a time, started with the first task, and replaced when it has died. For one thread at a time."""

    def __init__(self, initializer: Callable[..., None] | None, initargs: tuple, niceness: int) -> None:
        self._start_arguments = (initializer, initargs, niceness)
        # The process, and this end of the pipe to it.
        self.running: tuple[SpawnProcess, Connection] | None = None
        self._end: util.Finalize | None = None

    def call(self, fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        # Let go of at once: a view that is collected as garbage together with what it shows is told as an error on stderr.
        with ForkingPickler.dumps((fn, args, kwargs)) as task:
            if self.running is not None and self.running[0].exitcode is not None:
                # It died while it had nothing to do.
                self.close()
            if self.running is None:
                self._start()
            answer = self._exchange(task)
        if answer is None:
            raise ProcessDiedError(self.close())
        return value_of(answer)

    def _exchange(self, task: Any = None) -> bytes | None:
        """Send a task, if there is one, and wait for the answer; None if the process ends before that.

        It raises nothing, since a traceback would keep the process and its files until the next collection of garbage.
        """
        assert self.running is not None
        process, connection = self.running
        try:
            if task is not None:
                connection.send_bytes(task)
            while not wait([connection], _CHECK_INTERVAL):
                if process.exitcode is not None and not connection.poll():
                    return None
            return connection.recv_bytes()
        except (EOFError, OSError):
            return None

    def _start(self) -> None:
        """Start the process, and wait until it takes tasks.

        Raises:
            StartFailedError: If it does not come to that.
        """
        for _ in range(_MOST_FAILED_STARTS):
            self.running = _start_process(*self._start_arguments)
            # With a priority, it runs before multiprocessing waits for its processes when the program ends; never in a fork.
            self._end = util.Finalize(self, _end_process, self.running, exitpriority=10)
            if self._exchange() is not None:
                return
            exit_code = self.close()
        cause = describe_exit(exit_code)
        raise StartFailedError(
            f"{_MOST_FAILED_STARTS} worker processes in a row ended before they took a task ({cause}): "
            f"{spelled('workers', 0)} needs none",
            cause,
            is_crash(exit_code),
        )

    def kill(self) -> None:
        """End the process at once, whatever it does. Of use from any thread."""
        running = self.running
        if running is not None:
            with contextlib.suppress(OSError, ValueError):
                running[0].kill()

    def close(self) -> int | None:
        """End the process, and wait for that; returns its exit code, None if there is no process."""
        if self._end is None:
            return None
        exit_code: int | None = self._end()
        self.running = self._end = None
        return exit_code


def _start_process(*arguments: Any) -> tuple[SpawnProcess, Connection]:
    """A process that serves tasks, and this end of the pipe to it."""
    try:
        connection, other_end = multiprocessing.Pipe()
        with other_end:
            process = _Process(target=_serve, args=(other_end, *arguments))
            process.start()
    except OSError as error:
        cause = f"no worker process can be started: {one_line(error)}"
        raise StartFailedError(f"{cause}: {spelled('workers', 0)} needs none", cause, is_crash=False) from error
    return process, connection


def _end_process(process: SpawnProcess, connection: Connection) -> int | None:
    # An empty message, and not the end of the pipe alone: a fork of this process may hold it open.
    with contextlib.suppress(OSError), connection:
        connection.send_bytes(b"")
    # At the end of a program, its thread may still wait for an answer.
    process.join(EXIT_SECONDS if program_ends() else _END_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
    # Another thread may have fetched the exit code from the system, and be about to write it down.
    deadline = time.monotonic() + _CHECK_INTERVAL
    while process.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.001)
    return process.exitcode


class _Process(SpawnProcess):
    """A process that does not see this program's `__main__`, and ignores Ctrl-C from its first instruction."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # multiprocessing's name
        with _main_hidden(), interrupts_blocked():
            return SpawnProcess._Popen(process_obj)


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep multiprocessing from telling a process, which this thread starts, to import the file of `__main__`.

    `sys.modules` stays as it is: other threads may be looking for their classes there.
    """
    _starting.is_main_hidden = True
    try:
        yield
    finally:
        _starting.is_main_hidden = False


def _leaving_out_main(prepare: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    def get_preparation_data(name: str) -> dict[str, Any]:
        data = prepare(name)
        if getattr(_starting, "is_main_hidden", False):
            data.pop("init_main_from_name", None)
            data.pop("init_main_from_path", None)
        return data

    return get_preparation_data


# Replaced once and for all: to put it back after each start would be a race between threads.
setattr(  # noqa: B010  # an assignment would not do for mypy
    multiprocessing.spawn, "get_preparation_data", _leaving_out_main(multiprocessing.spawn.get_preparation_data)
)


def _serve(connection: Connection, initializer: Callable[..., None] | None, initargs: tuple, niceness: int) -> None:
    """In a worker process: run the tasks that come, until an empty message or the end of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lower_priority(niceness)
    # There are as many workers as cores already.
    cv2.setNumThreads(1)
    if initializer is not None:
        initializer(*initargs)
    with contextlib.suppress(EOFError, OSError):
        connection.send_bytes(b"")
        while task := connection.recv_bytes():
            with answer_to(task) as answer:
                connection.send_bytes(answer)


def _end_with_parent() -> None:
    """End this process when its parent ends, which it would not notice while it works."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A fork of the parent may hold the pipe open whose end is waited for; then this process has another parent.
        while not wait([parent.sentinel], _CHECK_INTERVAL) and os.getppid() == parent.pid:
            pass
        os._exit(1)
