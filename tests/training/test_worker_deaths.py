"""Worker processes that die over a batch: it is made again, elsewhere, and only what kills each of them is an error."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import WorkerDiedError
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import numbers_of
from tests.helpers.trouble import Trouble

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("told_late")]


def deadly(numbered: Path, tmp_path: Path, what: str, at_most: int = 1000) -> kseq.Batches:
    """Batches whose sample 18, in batch 1, is deadly."""
    (tmp_path / "deaths").mkdir()
    augment = Trouble(18, what, tmp_path / "deaths", at_most)
    return kseq.Batches(
        numbered, "all", augment=augment, batch_size=16, shuffle=False, workers=2, use_multiprocessing=True, max_queue_size=2
    )


def deaths(tmp_path: Path) -> int:
    return len(list((tmp_path / "deaths").iterdir()))


def read_all(batches: kseq.Batches) -> list[int]:
    return [number for images, _ in batches.epoch(0) for number in numbers_of(images).tolist()]


@pytest.mark.parametrize(("what", "signal_name"), [("killed", "SIGKILL"), ("segfault", "SIGSEGV"), ("exit", "exit code 7")])
@pytest.mark.parametrize("at_most", [1, 2])
def test_what_does_not_kill_every_process_costs_one_line_and_no_sample(
    numbered: Path, tmp_path: Path, what: str, signal_name: str, at_most: int
) -> None:
    with warnings.catch_warnings(record=True) as caught, deadly(numbered, tmp_path, what, at_most) as batches:
        warnings.simplefilter("always")
        assert read_all(batches) == list(range(100))
    assert deaths(tmp_path) == at_most
    (line,) = [str(warning.message) for warning in caught]
    assert_says(line, numbered, signal_name, "18" if at_most == 1 else re.compile("sample"))


def test_what_kills_every_worker_process_is_made_in_this_one(numbered: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="SIGKILL") as caught, deadly(numbered, tmp_path, "killed") as batches:
        assert read_all(batches) == list(range(100))
    assert len(caught) == 1
    assert deaths(tmp_path) == 2


@pytest.mark.parametrize(("what", "cause"), [("segfault", "SIGSEGV"), ("exit", "exit code 7")])
def test_a_sample_that_crashes_each_process_is_an_error_that_names_it_and_never_reaches_this_process(
    numbered: Path, tmp_path: Path, what: str, cause: str
) -> None:
    with pytest.warns(UserWarning), deadly(numbered, tmp_path, what) as batches:
        batches.batch(0, 0)
        begun = time.monotonic()
        with raises(WorkerDiedError, numbered / "shard-00001.h5", "row 2", "sample 18", cause, "batch 1", "epoch 0"):
            batches.batch(0, 1)
        assert time.monotonic() - begun < 100
        assert deaths(tmp_path) == 3
        assert numbers_of(batches.batch(0, 2)[0]).tolist() == list(range(32, 48))


def test_memory_that_runs_out_everywhere_is_an_error_that_names_the_sample(numbered: Path, tmp_path: Path) -> None:
    batches, shard = deadly(numbered, tmp_path, "memory"), numbered / "shard-00001.h5"
    with (
        pytest.warns(UserWarning, match="memory ran out"),
        batches,
        raises(WorkerDiedError, shard, "row 2", "sample 18", "memory ran out", "batch 1"),
    ):
        batches.batch(0, 1)


def test_an_epoch_is_read_though_somebody_kills_every_process_as_soon_as_it_lives(numbered: Path) -> None:
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.05):
            for child in multiprocessing.active_children():
                child.kill()

    options: dict[str, Any] = {"batch_size": 50, "shuffle": False, "workers": 1, "use_multiprocessing": True}
    with kseq.Batches(numbered, "all", **options) as batches, pytest.warns(UserWarning, match="SIGKILL"):
        killer = threading.Thread(target=kill)
        killer.start()
        begun = time.monotonic()
        try:
            assert read_all(batches) == list(range(100))
        finally:
            done.set()
            killer.join()
        assert time.monotonic() - begun < 100


def test_several_workers_that_are_killed_at_once_are_one_event(numbered: Path) -> None:
    options: dict[str, Any] = {"batch_size": 16, "workers": 2, "use_multiprocessing": True, "max_queue_size": 1}
    with kseq.Batches(numbered, "all", shuffle=False, **options) as batches, pytest.warns(UserWarning) as caught:
        batches.batch(0, 0)
        children = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
        for child in children:
            os.kill(child, signal.SIGSTOP)
        reading: list[Any] = []
        readers = [threading.Thread(target=lambda number=number: reading.append(batches.batch(0, number))) for number in (3, 5)]
        for reader in readers:
            reader.start()
        time.sleep(0.5)
        for child in children:
            os.kill(child, signal.SIGKILL)
        for reader in readers:
            reader.join(60)
        assert sorted(numbers_of(images)[0] for images, _ in reading) == [48, 80]
    assert len(caught) == 1
    assert_says(str(caught[0].message), "SIGKILL", 9, numbered)
