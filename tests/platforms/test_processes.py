"""What is known of processes on systems that tell less than Linux."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from kseq.platforms import forks, processes


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_without_proc_it_is_known_whether_a_process_runs(ended: int) -> None:
    assert processes._start_without_proc(os.getpid()) == ""
    assert processes._start_without_proc(ended) is None


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="asks Linux")
def test_a_process_has_the_same_beginning_each_time_and_one_that_ended_has_none(ended: int) -> None:
    assert processes.process_start(os.getpid()) == processes.process_start(os.getpid()) != ""
    assert processes.process_start(ended) is None


def test_cores_are_counted_where_a_process_has_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert processes.usable_cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processes.usable_cores() == 1


def test_nothing_happens_where_the_system_has_no_forks_and_blocks_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    monkeypatch.delattr(os, "setpriority", raising=False)
    monkeypatch.delattr(signal, "pthread_sigmask", raising=False)
    forks.at_fork(before=pytest.fail)
    processes.lower_priority(10)
    with processes.interrupts_blocked():
        pass
