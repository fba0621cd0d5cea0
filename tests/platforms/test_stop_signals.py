"""Ctrl-C within a block that one Ctrl-C ends: where it may come, how often, and what else becomes of it."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.platforms import interrupts, stop_signals
from kseq.platforms.stop_signals import CTRL_C, stopping_once


@pytest.fixture(autouse=True)
def python_handler() -> Iterator[None]:
    """What runs the tests may ignore Ctrl-C, as a shell does for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    # It returns before the handler is called, in the frame of the caller.
    _thread.interrupt_main()


def function_of(module: str, *lines: str, **names: Any) -> Callable[[], None]:
    """A function of these lines that stands in a module of this name."""
    names |= {"__name__": module, "press": _thread.interrupt_main}
    exec("\n    ".join(("def function():", *lines)), names)
    made: Callable[[], None] = names["function"]
    return made


def wait_for_ctrl_c() -> None:
    for _ in range(3000):
        time.sleep(0.01)
    pytest.fail("Ctrl-C did not come")


@pytest.mark.parametrize("module", ["threading", "concurrent.futures._base", "contextlib", "importlib._bootstrap"])
def test_it_waits_until_a_lock_is_in_order(module: str) -> None:
    steps: list[str] = []
    take = function_of(module, "steps.append('taken')", "press()", "steps.append('given back')", steps=steps)
    with pytest.raises(KeyboardInterrupt), stopping_once():
        take()
        wait_for_ctrl_c()
    assert steps == ["taken", "given back"]


@pytest.mark.parametrize(
    "module", ["kseq.storage.atomic", "kseq.storage.lock", "kseq.storage.output_folder", "shutil", "tempfile"]
)
def test_it_waits_until_what_is_temporary_is_removed_whatever_that_calls(module: str) -> None:
    steps: list[str] = []

    def remove() -> None:
        press()
        steps.append("removed")

    clear = function_of(module, "remove()", "steps.append('cleared')", remove=remove, steps=steps)
    with pytest.raises(KeyboardInterrupt), stopping_once():
        clear()
        wait_for_ctrl_c()
    assert steps == ["removed", "cleared"]


@pytest.mark.parametrize("module", ["threading", "shutil"])
def test_it_breaks_off_what_waits_there(module: str) -> None:
    began, lock = time.monotonic(), threading.Lock()
    wait = function_of(module, "lock.acquire()", "press()", "lock.acquire(True, 300)", lock=lock)
    with pytest.raises(KeyboardInterrupt), stopping_once():
        wait()
    assert time.monotonic() - began < 100


def test_it_breaks_off_what_takes_long_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signals, "_MOST_SECONDS", 0.05)
    copy = function_of("shutil", "press()", "while True:", "    sum(range(10))", "    len('')")
    with pytest.raises(KeyboardInterrupt), stopping_once():
        copy()


def test_a_future_is_of_use_after_it_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    condition = threading.Condition(threading.Lock())
    give_back = condition._release_save
    # From C, so that the handler is called in `Condition.wait`, between what gives the lock back and what waits.
    steps = iter((give_back, _thread.interrupt_main))
    monkeypatch.setattr(condition, "_release_save", function_of("threading", "for step in steps: step()", steps=steps))
    with pytest.raises(KeyboardInterrupt), stopping_once(), condition:
        condition.wait(30)
    assert condition.acquire(timeout=10)


class _Dropped:
    def __del__(self) -> None:
        press()


def test_what_python_would_print_and_forget_comes_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), stopping_once():
        _Dropped()
        wait_for_ctrl_c()
    assert capsys.readouterr().err == ""


def test_other_errors_there_go_where_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: heard.append(unraisable.exc_type))

    class Failing:
        def __del__(self) -> None:
            raise ValueError

    with stopping_once():
        Failing()
    assert heard == [ValueError]


@pytest.mark.parametrize(("seconds", "steps"), [(300.0, ["cleared"]), (0.0, [])])
def test_a_second_one_is_the_same_wish_for_some_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: float, steps: list[str]
) -> None:
    monkeypatch.setattr(stop_signals, "AGAIN_SECONDS", seconds)
    done: list[str] = []

    def clear() -> None:
        try:
            press()
            wait_for_ctrl_c()
        finally:
            press()
            time.sleep(0.01)
            done.append("cleared")

    with pytest.raises(KeyboardInterrupt), stopping_once():
        clear()
    assert done == steps


def test_it_is_not_lost_if_somebody_passes_over_it() -> None:
    with pytest.raises(KeyboardInterrupt), stopping_once():
        try:
            press()
            wait_for_ctrl_c()
        except KeyboardInterrupt:
            pass


def test_what_became_another_error_is_it_again_and_names_the_error() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, stopping_once():
        try:
            press()
            wait_for_ctrl_c()
        finally:
            raise ImportError("a library could not be loaded")
    assert isinstance(caught.value.__cause__, ImportError)


def test_other_signals_raise_what_is_theirs() -> None:
    class Terminated(KeyboardInterrupt):
        pass

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Terminated), stopping_once({**CTRL_C, signal.SIGTERM: Terminated}):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_without_a_signal_stays_what_it_is_and_all_is_as_before() -> None:
    hook = sys.unraisablehook
    with pytest.raises(ValueError, match="wrong"), stopping_once():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        # Threads that serve TensorFlow break off as ever.
        assert interrupts._raises(signal.getsignal(signal.SIGINT))
        raise ValueError("wrong")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert sys.unraisablehook == hook


@pytest.mark.parametrize("handler", [lambda *_: None, signal.SIG_IGN])
def test_a_handler_of_the_program_stays(handler: Any) -> None:
    signal.signal(signal.SIGINT, handler)
    with stopping_once():
        assert signal.getsignal(signal.SIGINT) is handler


def test_a_block_within_a_block_changes_nothing() -> None:
    with stopping_once():
        outer = signal.getsignal(signal.SIGINT)
        with stopping_once():
            assert signal.getsignal(signal.SIGINT) is outer
        assert signal.getsignal(signal.SIGINT) is outer


def test_in_another_thread_it_does_nothing() -> None:
    handlers: list[Any] = []

    def look() -> None:
        with stopping_once():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


def test_ctrl_c_while_a_name_is_loaded_is_no_error_of_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "interrupted_library.py").write_text(
        "import signal\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    raise ImportError('cannot be loaded') from None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(kseq._HOMES, "Interrupted", "interrupted_library")
    with pytest.raises(KeyboardInterrupt):
        kseq.Interrupted  # noqa: B018  # it is loaded
