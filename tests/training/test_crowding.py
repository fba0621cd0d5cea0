"""More threads read by default while other jobs take the cores and the training waits."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kseq
from kseq.platforms.processes import busy_seconds, usable_cores
from kseq.training import crowding
from kseq.training.crowding import Crowding

# Says that it is at work, and works until it is killed.
_BUSY = "print(flush=True)\nwhile True:\n    pass"


class Clock:
    """What `Crowding` asks the system, in seconds: time, processor time of this process, and of all processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = self.own = 0.0
        self.all: float | None = 0.0
        monkeypatch.setattr(crowding, "usable_cores", lambda: 2)
        monkeypatch.setattr(crowding, "busy_seconds", lambda: self.all)
        monkeypatch.setattr(crowding.time, "monotonic", lambda: self.time)
        monkeypatch.setattr(crowding.time, "process_time", lambda: self.own)

    def second(self, seen: Crowding, own: float, others: float, waited: float) -> bool:
        """A second passes, in which this process and others had so much of two cores: whether it is crowded afterwards."""
        self.time += 1.0
        self.own += own
        self.all = None if self.all is None else self.all + own + others
        seen.waited(waited)
        return seen.is_crowded


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_it_is_crowded_while_others_take_the_cores_and_somebody_waits(clock: Clock) -> None:
    seen = Crowding()
    assert not seen.is_crowded
    assert not clock.second(seen, own=2.0, others=0.0, waited=0.9)
    assert clock.second(seen, own=1.0, others=1.0, waited=0.9)
    # With more threads, it gets more; that is no reason to go back.
    assert clock.second(seen, own=1.7, others=0.3, waited=0.3)
    assert not clock.second(seen, own=2.0, others=0.0, waited=0.9)


def test_it_is_not_crowded_where_nobody_waits_or_cores_are_free(clock: Clock) -> None:
    seen = Crowding()
    assert not clock.second(seen, own=0.5, others=1.5, waited=0.2)
    # A disk, or Python's lock, lets nobody have the second core.
    assert not clock.second(seen, own=1.0, others=0.0, waited=0.9)
    assert clock.second(seen, own=1.0, others=1.0, waited=0.9)
    assert not clock.second(seen, own=1.0, others=1.0, waited=0.0)


def test_what_another_thread_has_just_looked_at_is_not_looked_at_again(clock: Clock) -> None:
    seen = Crowding()
    assert clock.second(seen, own=1.0, others=1.0, waited=0.9)
    # A thread that has seen, before the other one, that it is time: the system counts in hundredths, and nobody has waited.
    clock.time += 0.0001
    seen._look()
    assert seen.is_crowded
    assert clock.second(seen, own=1.0, others=1.0, waited=0.9)


def test_it_is_not_crowded_where_the_system_does_not_tell(clock: Clock) -> None:
    clock.all = None
    assert not clock.second(Crowding(), own=0.1, others=1.9, waited=0.9)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_the_work_of_other_processes_is_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE) as job:
        assert job.stdout is not None and job.stdout.readline()
        begun, before, own = time.monotonic(), busy_seconds(), time.process_time()
        time.sleep(0.5)
        after, elapsed = busy_seconds(), time.monotonic() - begun
        others = -1.0 if before is None or after is None else after - before - (time.process_time() - own)
        job.kill()
    # Whatever else the machine does, at least one core worked, and never more than there are.
    assert 0.2 <= others <= 1.6 * elapsed * usable_cores()


def test_a_crowded_loader_has_the_same_batches_from_more_threads(packed: Path) -> None:
    with kseq.Batches(packed, "all", batch_size=32, shuffle=True) as batches:
        expected = [images.copy() for images, _ in batches.epoch(0)]
        (_, few), (more, many) = batches._loader._crews
        assert many > few
        batches._loader._crowding.is_crowded = True
        found = [images.copy() for images, _ in batches.epoch(0)]
        assert more._executor is not None
    assert all(map(np.array_equal, found, expected))


def test_the_memory_of_a_backlog_is_free_once_a_crowded_loader_is_idle(packed: Path) -> None:
    with kseq.Batches(packed, "all", batch_size=2, max_queue_size=2, idle_seconds=0.3) as batches:
        loader = batches._loader
        loader._crowding.is_crowded = True
        held = [batches.batch(0, number) for number in range(20)]
        del held
        deadline = time.monotonic() + 60
        while len(loader._buffers._idle) > loader._depth + 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    "arguments", [{"workers": 2}, {"niceness": 1}, {"use_multiprocessing": True}, {"rank": 0, "world_size": 2}, {"workers": 0}]
)
def test_who_says_how_many_read_or_that_they_stand_back_means_it(packed: Path, arguments: dict[str, int]) -> None:
    with kseq.Batches(packed, "all", batch_size=2, **arguments) as batches:  # type: ignore[arg-type]  # any argument
        assert len(batches._loader._crews) == 1
