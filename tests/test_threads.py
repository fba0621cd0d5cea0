"""Threads that no program has to wait for: what is waited for, and for how long."""

from __future__ import annotations

import threading
import time

import pytest

from kseq import threads
from kseq.threads import ThreadPool


def test_the_end_of_a_block_waits_for_all_tasks() -> None:
    with ThreadPool(2) as pool:
        tasks = [pool.submit(time.sleep, 0.05) for _ in range(6)]
    assert all(task.done() and not task.cancelled() for task in tasks)


def test_an_error_waits_for_the_tasks_that_have_begun_and_cancels_the_others() -> None:
    begun = threading.Event()

    def work() -> None:
        begun.set()
        time.sleep(0.1)

    with pytest.raises(ValueError, match="in the block"), ThreadPool(1) as pool:
        first, second = pool.submit(work), pool.submit(work)
        assert begun.wait(30)
        raise ValueError("in the block")
    assert first.done()
    assert not first.cancelled()
    assert second.cancelled()


def test_an_interrupt_waits_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "INTERRUPTED_SECONDS", 0.2)
    released, began = threading.Event(), time.monotonic()
    with pytest.raises(KeyboardInterrupt), ThreadPool(1) as pool:
        pool.submit(released.wait, 300)
        raise KeyboardInterrupt
    assert 0.2 <= time.monotonic() - began < 100
    released.set()
