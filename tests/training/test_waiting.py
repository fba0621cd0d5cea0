"""Waits that take long: a line says who waits for what, a deadline ends them, and a program that ends waits for nobody."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import ArgumentError, ReadTimeoutError
from kseq.training import waiting
from tests.helpers.messages import assert_says, raises
from tests.helpers.processes import RunPython
from tests.helpers.trouble import Trouble


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Trouble]:
    """An augmentation that hangs at sample 18, until the test is over."""
    yield Trouble(18, "hang", tmp_path)
    (tmp_path / "go on").touch()


def lines(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in caught]


@pytest.mark.slow
def test_a_wait_that_takes_long_is_told_once_with_what_is_waited_for(
    numbered: Path, hanging: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_TELL_AFTER", 2.0)
    batches = kseq.Batches(numbered, "all", augment=hanging, batch_size=16, shuffle=False, workers=2, timeout=4)
    with pytest.warns(UserWarning) as caught, pytest.raises(ReadTimeoutError):
        for number in range(7):
            batches.batch(0, number)
    (line,) = lines(list(caught))
    assert_says(line, f"{numbered}, all", "batch 1", "epoch 0", "shard-00001.h5", "18", "Ctrl-C", "timeout=")
    batches.close()


@pytest.mark.slow
def test_without_trouble_nothing_is_told_and_after_five_seconds_it_is(numbered: Path, hanging: Trouble) -> None:
    batches = kseq.Batches(numbered, "all", augment=hanging, batch_size=16, shuffle=False, workers=1, timeout=6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches.batch(0, 0)
        time.sleep(0.5)
        assert not lines(caught)
        with pytest.raises(ReadTimeoutError):
            batches.batch(0, 1)
    assert len(lines(caught)) == 1
    batches.close()


@pytest.mark.slow
def test_a_deadline_is_an_error_that_names_what_was_waited_for_and_reading_goes_on(numbered: Path, hanging: Trouble) -> None:
    batches = kseq.Batches(numbered, "all", augment=hanging, batch_size=16, shuffle=False, workers=2, timeout=3)
    for _ in range(2):
        with raises(ReadTimeoutError, str(numbered), "batch 1", "epoch 0", "18", "shard-00001.h5", "timeout=3"):
            batches.batch(0, 1)
        # Both workers may hang; others do the rest.
        assert len(batches.batch(0, 2)[1]) == 16
        assert len(batches.batch(0, 0)[1]) == 16
    begun = time.monotonic()
    batches.close()
    assert time.monotonic() - begun < 40


@pytest.mark.parametrize("timeout", [0, -1, "10", True, float("nan")])
def test_a_deadline_is_a_number_of_seconds_above_0(numbered: Path, timeout: Any) -> None:
    with raises(ArgumentError, f"timeout={timeout!r}"):
        kseq.Batches(numbered, timeout=timeout)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
def test_stopped_workers_are_named_and_the_deadline_and_close_get_out(numbered: Path) -> None:
    batches = kseq.Batches(
        numbered, "all", batch_size=16, shuffle=False, workers=2, use_multiprocessing=True, max_queue_size=1, timeout=200
    )
    batches.batch(0, 0)
    # Not before: to start the processes takes long where the machine is busy.
    patience = batches._loader._patience
    patience.tell_after, patience.timeout = 1.0, 3.0
    time.sleep(0.5)
    children = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    for child in children:
        os.kill(child, signal.SIGSTOP)
    with pytest.warns(UserWarning) as caught, pytest.raises(ReadTimeoutError):
        batches.batch(0, 3)
    (line,) = lines(list(caught))
    assert_says(line, "batch 3", "stopped")
    assert any(str(child) in line for child in children)
    # They were killed, and others take their place.
    patience.timeout = 200.0
    assert len(batches.batch(0, 3)[1]) == 16
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSTOP)
    begun = time.monotonic()
    batches.close()
    assert time.monotonic() - begun < 60
    assert not multiprocessing.active_children()


END = """
import sys, threading, time, kseq
from kseq.training import waiting
from tests.helpers.trouble import Trouble
waiting._TELL_AFTER = 500.0
batches = kseq.Batches(
    sys.argv[1], "all", augment=Trouble(18, "hang", sys.argv[2]), batch_size=16, shuffle=False, workers=2,
    use_multiprocessing=sys.argv[3] == "processes", max_queue_size=3,
)
assert len(batches.batch(0, 0)[1]) == 16
if sys.argv[4] == "waiting":
    threading.Thread(target=batches.batch, args=(0, 1), daemon=True).start()
time.sleep(1)
print(time.time(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["threads", "processes"])
@pytest.mark.parametrize("who", [pytest.param("nobody", marks=pytest.mark.campaign), "waiting"])
def test_a_program_ends_with_batches_in_flight_that_hang(
    numbered: Path, tmp_path: Path, run_python: RunPython, how: str, who: str
) -> None:
    done = run_python(END, numbered, tmp_path, how, who, timeout=100)
    assert time.time() - float(done.stdout) < 60
    assert done.stderr == ""


LATER = """
import sys, threading, time, kseq
from kseq.training import waiting
waiting._TELL_AFTER = 500.0
def train():
    time.sleep(1)
    batches = kseq.Batches(sys.argv[1], "all", augment=slow, batch_size=16, workers=2)
    print(sum(len(labels) for images, labels in batches.epoch(0)), flush=True)
def slow(images):
    time.sleep(0.6)
    return images
threading.Thread(target=train).start()
"""


@pytest.mark.slow
def test_a_training_in_a_thread_goes_on_after_the_main_thread(numbered: Path, run_python: RunPython) -> None:
    done = run_python(LATER, numbered, timeout=100)
    assert done.stdout.split() == [str(len(kseq.ShardDataset(numbered)))]
    assert done.stderr == ""


INTERRUPT = """
import os, signal, sys, threading, time, kseq
from tests.helpers.trouble import Trouble
signal.signal(signal.SIGINT, signal.default_int_handler)
batches = kseq.Batches(
    sys.argv[1], "all", augment=Trouble(18, "hang", sys.argv[2]), batch_size=16, shuffle=False, workers=2,
    use_multiprocessing=sys.argv[3] == "processes",
)
def press():
    while not os.path.exists(os.path.join(sys.argv[2], "hangs")):
        time.sleep(0.05)
    time.sleep(0.5)
    global pressed
    pressed = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press).start()
try:
    with batches:
        for number in range(7):
            batches.batch(0, number)
except KeyboardInterrupt:
    print(time.monotonic() - pressed)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["threads", "processes"])
def test_one_ctrl_c_ends_a_wait_for_what_hangs_and_the_program_after_it(
    numbered: Path, tmp_path: Path, run_python: RunPython, how: str
) -> None:
    done = run_python(INTERRUPT, numbered, tmp_path, how, timeout=100)
    assert float(done.stdout) < 40
    assert "Traceback" not in done.stderr
