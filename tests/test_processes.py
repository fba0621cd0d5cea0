"""Worker processes: their deaths, what they tell, and what starting them does to the rest of the program."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from pathlib import Path

import pytest

from kseq.errors import WorkerDiedError
from kseq.processes import ProcessDiedError, ProcessPool
from tests.helpers.messages import raises
from tests.helpers.processes import RunPython

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_death_fails_its_own_task_and_names_the_signal(number: signal.Signals) -> None:
    with ProcessPool(2) as pool:
        before = pool.submit(time.sleep, 1)
        dying = pool.submit(signal.raise_signal, number)
        after = [pool.submit(os.getpid) for _ in range(10)]
        with raises(WorkerDiedError, number.name, int(number)):
            dying.result(60)
        assert before.result(60) is None
        assert len({future.result(60) for future in after}) <= 2


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are not told here")
def test_deaths_leave_no_open_files() -> None:
    def count_after_deaths(number: int) -> int:
        for _ in range(number):
            assert isinstance(pool.submit(os._exit, 3).exception(60), ProcessDiedError)
        return len(os.listdir("/proc/self/fd"))

    gc.collect()
    gc.disable()
    try:
        with ProcessPool(1) as pool:
            assert count_after_deaths(1) == count_after_deaths(4)
    finally:
        gc.enable()


def test_an_exit_is_a_death_too() -> None:
    with ProcessPool(1) as pool:
        with raises(ProcessDiedError, "exit code 3"):
            pool.submit(os._exit, 3).result(60)
        assert pool.submit(abs, -1).result(60) == 1


def test_the_error_of_a_death_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(ProcessDiedError(-9)))
    assert (error.exit_code, error.cause, str(error)) == (-9, "killed by signal 9, SIGKILL", str(ProcessDiedError(-9)))


def test_tasks_that_were_cancelled_before_a_death_do_not_stop_the_others() -> None:
    """In Python 3.11 the manager of a ProcessPoolExecutor fails here: the rest is never done."""
    with ProcessPool(1) as pool:
        pool.submit(abs, 1).result(60)
        dying = pool.submit(_die_soon)
        waiting = [pool.submit(abs, number) for number in range(10)]
        assert sum([future.cancel() for future in waiting[::2]]) == 5
        assert len(wait([dying, *waiting], 60).not_done) == 0
        assert [future.result() for future in waiting[1::2]] == [1, 3, 5, 7, 9]


def _die_soon() -> None:
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_broken_initializer_is_an_error_after_three_starts() -> None:
    with ProcessPool(1, os._exit, (3,)) as pool, raises(WorkerDiedError, 3, "exit code 3", "workers=0"):
        pool.submit(os.getpid).result(60)


def test_errors_of_tasks_come_with_the_place_where_they_were_raised() -> None:
    with ProcessPool(1) as pool:
        with pytest.raises(ZeroDivisionError) as caught:
            pool.submit(divmod, 1, 0).result(60)
        assert "answer_to" in str(caught.value.__cause__)
        # Neither what cannot be sent there nor what cannot be sent back ends the process.
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pool.submit(abs, lambda: 0).result(60)
        with pytest.raises(TypeError, match="pickle"):
            pool.submit(threading.Lock).result(60)
        # An error whose class wants other arguments than it hands on comes as it is, with its attributes.
        with raises(TwoNumbersError, "1 is not 2") as caught:
            pool.submit(_compare).result(60)
        assert caught.value.other == 2  # type: ignore[attr-defined]  # an attribute of that error
        # One that cannot be sent at all is told in words.
        with raises(RuntimeError, "LockedInError", "it holds a lock"):
            pool.submit(_hold_lock).result(60)
        assert pool.submit(abs, -1).result(60) == 1


class TwoNumbersError(Exception):
    """An error that can be pickled, but not unpickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} is not {other}")
        self.other = other


def _compare() -> None:
    raise TwoNumbersError(1, 2)


class LockedInError(Exception):
    """An error with an attribute that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("it holds a lock")
        self.lock = threading.Lock()


def _hold_lock() -> None:
    raise LockedInError


def test_a_stopped_process_keeps_neither_close_nor_abandon_waiting() -> None:
    for end in ("shutdown", "abandon"):
        pool = ProcessPool(1)
        (pid,) = [pool.submit(os.getpid).result(60)]
        assert pool.pids == [pid]
        os.kill(pid, signal.SIGSTOP)
        hanging = pool.submit(abs, -1)
        time.sleep(0.2)
        begun = time.monotonic()
        if end == "shutdown":
            pool.shutdown(cancel_futures=True, patience=0.5)
        else:
            pool.abandon()
        assert isinstance(hanging.exception(60), ProcessDiedError)
        assert time.monotonic() - begun < 60
        assert pid not in {child.pid for child in multiprocessing.active_children()}


def test_a_death_is_noticed_while_a_fork_of_this_process_holds_the_pipe() -> None:
    """A fork that happens while a worker starts inherits the worker's end of the pipe."""
    with ProcessPool(1) as pool:
        pipe, forks = multiprocessing.Pipe, []

        def pipe_and_fork() -> object:
            ends = pipe()
            child = os.fork()
            if child == 0:
                time.sleep(300)
                os._exit(0)
            forks.append(child)
            return ends

        multiprocessing.Pipe = pipe_and_fork  # type: ignore[assignment]  # on purpose
        try:
            assert pool.submit(abs, -1).result(60) == 1
        finally:
            multiprocessing.Pipe = pipe
        started = time.monotonic()
        with raises(ProcessDiedError, "SIGKILL"):
            pool.submit(signal.raise_signal, signal.SIGKILL).result(100)
        assert time.monotonic() - started < 100
    for child in forks:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_pool_that_is_dropped_leaves_no_process() -> None:
    pool = ProcessPool(2)
    pids = {pool.submit(os.getpid).result(60)}
    del pool
    deadline = time.monotonic() + 60
    while pids & {child.pid for child in multiprocessing.active_children()}:
        assert time.monotonic() < deadline
        gc.collect()
        time.sleep(0.05)


SCRIPT = """
import multiprocessing, os, pickle, signal, sys, threading
from kseq.processes import ProcessPool

class Mine:
    def __init__(self, number):
        self.number = number

if __name__ != "__main__":
    print("imported", flush=True)

def unpickle():
    while not done.is_set():
        counts.append(0)
        try:
            assert type(pickle.loads(pickle.dumps(Mine(1)))) is Mine
            assert sys.modules["__main__"].Mine is Mine
        except BaseException as error:
            errors.append(repr(error))

def answer(queue):
    queue.put(Mine(7).number)

done, counts, errors = threading.Event(), [], []
threads = [threading.Thread(target=unpickle) for _ in range(3)]
if __name__ == "__main__":
    for thread in threads:
        thread.start()
    pool = ProcessPool(4)
    assert len({future.result(60) for future in [pool.submit(os.getpid) for _ in range(40)]}) >= 1
    # Processes that the program itself starts find its classes as ever.
    queue = multiprocessing.get_context("spawn").Queue()
    own = multiprocessing.get_context("spawn").Process(target=answer, args=(queue,))
    own.start()
    assert queue.get(timeout=60) == 7
    own.join()
    done.set()
    for thread in threads:
        thread.join()
    print(len(counts) > 1000, len(errors), errors[:1])
"""


def run_script(tmp_path: Path, text: str) -> list[str]:
    script = tmp_path / "script.py"
    script.write_text(text)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_other_threads_find_the_classes_of_the_main_module_while_workers_start(tmp_path: Path) -> None:
    # The one process that imports the script is the program's own.
    assert run_script(tmp_path, SCRIPT) == ["imported", "True 0 []"]


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "pool.shutdown()"])
def test_a_program_ends_though_it_leaves_a_pool_open(tmp_path: Path, end: str) -> None:
    text = f"import os\nfrom kseq.processes import ProcessPool\npool = ProcessPool(2)\npool.submit(os.getpid).result()\n{end}\n"
    assert run_script(tmp_path, text) == []


FIRST_PROCESS = """
import signal
from kseq.processes import ProcessPool
with ProcessPool(1) as pool:
    print(signal.SIGINT in pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result())
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system blocks no signals")
def test_the_first_process_of_a_program_ignores_ctrl_c_from_its_first_instruction(run_python: RunPython) -> None:
    assert run_python(FIRST_PROCESS).stdout.strip() == "True"
