"""Threads that no program has to wait for: what is waited for, and for how long."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kseq import threads
from kseq.platforms import interrupts
from kseq.threads import ThreadPool, start_thread
from kseq.training.waiting import Patience
from kseq_tools.main import EXIT_INTERRUPTED, main


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


@pytest.fixture
def ctrl_c_amid_a_wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    """Ctrl-C comes whenever the main thread has given back the lock of what it waits for, and does not wait yet.

    The list has an entry for each time.
    """
    init = threading.Condition.__init__
    times: list[None] = []

    def prepare(condition: Any, lock: Any = None) -> None:
        init(condition, lock)
        give_back = condition._release_save

        def give_back_and_interrupt() -> Any:
            state = give_back()
            if threading.current_thread() is threading.main_thread():
                times.append(None)
                _thread.interrupt_main()
            return state

        condition._release_save = give_back_and_interrupt

    # What runs the tests may ignore it, as a shell does for what it runs in the background.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(threading.Condition, "__init__", prepare)
    try:
        yield times
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGINT, handler)


@pytest.fixture
def waited_for(ctrl_c_amid_a_wait: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that starts says so only once the main one waits for it; else the main one may find it started."""
    tell, main_thread = threading.Event.set, _thread.get_ident()

    def tell_late(event: threading.Event) -> None:
        while _thread.get_ident() != main_thread and not ctrl_c_amid_a_wait:
            time.sleep(0.001)
        tell(event)

    monkeypatch.setattr(threading.Event, "set", tell_late)


@pytest.mark.usefixtures("waited_for")
def test_ctrl_c_while_a_thread_starts_is_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):
        start_thread(time.sleep, 0, name="short")


@pytest.mark.usefixtures("waited_for")
def test_ctrl_c_is_not_lost_while_a_pool_starts_its_second_thread() -> None:
    pool = ThreadPool(2)
    pool._threads.append(threading.current_thread())
    with pytest.raises(KeyboardInterrupt):
        pool.submit(time.sleep, 0)
    pool.abandon()


@pytest.mark.usefixtures("ctrl_c_amid_a_wait")
def test_ctrl_c_while_a_block_waits_for_a_task_ends_it_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "INTERRUPTED_SECONDS", 0.2)
    released, began = threading.Event(), time.monotonic()
    pool = ThreadPool(1)
    with pytest.raises(KeyboardInterrupt), pool:
        # Started by another thread: what starts one waits too.
        starter = _thread.start_new_thread(lambda: futures.append(pool.submit(released.wait, 300)), ())
        assert starter
        futures: list[Any] = []
        while not futures:
            time.sleep(0.001)
        futures[0].result()
    assert time.monotonic() - began < 100
    released.set()


@pytest.mark.usefixtures("ctrl_c_amid_a_wait")
def test_ctrl_c_while_a_batch_is_waited_for_is_an_interrupt() -> None:
    batch: Any = threads.Future()
    with pytest.raises(KeyboardInterrupt):
        Patience(None).begin(lambda: "").finish(batch, None)


@pytest.mark.usefixtures("ctrl_c_amid_a_wait")
def test_ctrl_c_amid_a_wait_of_a_command_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kseq.ShardDataset.__init__", lambda *_, **__: threading.Event().wait(300))
    assert main(["info", "anything"]) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "kseq: interrupted\n"


@pytest.mark.parametrize("message", ["release unlocked lock", "anything else"])
def test_an_error_after_an_interrupt_that_was_handled_stays_what_it_is(message: str) -> None:
    with pytest.raises(RuntimeError, match=message), interrupts.unhidden():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            try:
                raise ValueError
            except ValueError:
                raise RuntimeError(message)  # noqa: B904  # it happens while another is handled
