"""Runs that are killed, interrupted or starved of workers, and what --resume makes of what they left."""

from __future__ import annotations

import _thread
import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import kseq
from kseq.errors import DatasetExistsError
from kseq.packing.resume_record import describe_settings
from tests.helpers.datasets import files
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import write_photos
from tests.helpers.processes import kseq_command

SHARD_BYTES = 12_000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    write_photos(folder, {"cat": 120, "dog": 120})
    (folder / "cat/broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


@pytest.fixture(scope="module")
def unkilled(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    target = tmp_path_factory.mktemp("unkilled") / "packed"
    kseq.pack(source, target, val=0.2, shard_bytes=SHARD_BYTES, workers=0)
    return files(target)


def start(source: Path, target: Path, *options: str) -> subprocess.Popen[str]:
    arguments = ["pack", source, target, "--val", "0.2", "--shard-bytes", SHARD_BYTES, "--workers", "2", *options]
    return subprocess.Popen(
        kseq_command(*arguments),
        start_new_session=True,
        # A program that was started in the background by a shell ignores it, and so do all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_shards(target: Path) -> int:
    return len(list(target.glob("shard-*.h5"))) if target.exists() else 0


def wait_for_shards(process: subprocess.Popen[str], target: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while count_shards(target) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def wait_for_no_process(group: int) -> None:
    """No orphan: of those that a command started, as members of its group, none is left after a moment."""
    deadline = time.monotonic() + 60
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            assert time.monotonic() < deadline, "a process is left"
            time.sleep(0.01)


def resume(source: Path, target: Path) -> kseq.PackReport:
    return kseq.pack(source, target, val=0.2, shard_bytes=SHARD_BYTES, workers=0, resume=True)


@pytest.mark.parametrize(
    "whole",
    [2, pytest.param(10, marks=pytest.mark.slow), *(pytest.param(whole, marks=pytest.mark.campaign) for whole in (1, 5, 20))],
)
def test_a_run_killed_after_some_shards_resumes_to_the_same_bytes(
    source: Path, unkilled: dict[str, bytes], tmp_path: Path, whole: int
) -> None:
    process = start(source, tmp_path / "packed")
    wait_for_shards(process, tmp_path / "packed", whole)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    left = count_shards(tmp_path / "packed")
    assert left >= whole
    assert resume(source, tmp_path / "packed").num_resumed == left
    assert files(tmp_path / "packed") == unkilled


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.campaign) for seed in range(1, 6))])
def test_a_run_killed_at_any_time_resumes_to_the_same_bytes(
    source: Path, unkilled: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    process = start(source, tmp_path / "packed")
    wait_for_shards(process, tmp_path / "packed", 1)
    time.sleep(random.Random(seed).uniform(0, 0.25))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    resume(source, tmp_path / "packed")
    assert files(tmp_path / "packed") == unkilled


@pytest.mark.slow
def test_a_parent_killed_alone_takes_its_workers_along(source: Path, unkilled: dict[str, bytes], tmp_path: Path) -> None:
    process = start(source, tmp_path / "packed")
    wait_for_shards(process, tmp_path / "packed", 2)
    process.kill()
    # The pipes close when the last process that holds them has ended.
    process.communicate(timeout=100)
    resume(source, tmp_path / "packed")
    assert files(tmp_path / "packed") == unkilled


def test_resume_removes_what_was_half_written(source: Path, unkilled: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/.kseq-tmp-123-shard-00001.h5.image").write_bytes(b"half")
    resume(source, tmp_path / "packed")
    assert files(tmp_path / "packed") == unkilled


def test_resume_of_a_whole_dataset_and_of_nothing_is_harmless(source: Path, unkilled: dict[str, bytes], tmp_path: Path) -> None:
    assert resume(source, tmp_path / "packed").num_resumed == 0
    assert resume(source, tmp_path / "packed").num_resumed == len(unkilled) - 1
    assert files(tmp_path / "packed") == unkilled


def unfinished(unkilled: dict[str, bytes], target: Path) -> dict[str, bytes]:
    target.mkdir()
    for name in ("shard-00000.h5", "shard-00002.h5"):
        (target / name).write_bytes(unkilled[name])
    return files(target)


def test_an_unfinished_packing_is_refused_without_resume_and_says_so(
    source: Path, unkilled: dict[str, bytes], tmp_path: Path
) -> None:
    before = unfinished(unkilled, tmp_path / "packed")
    with raises(DatasetExistsError, "resume=True"):
        kseq.pack(source, tmp_path / "packed", workers=0)
    assert files(tmp_path / "packed") == before


@pytest.mark.parametrize(
    "options", [{"val": 0.3}, {"seed": 1}, {"images": kseq.ImageSettings("jpeg")}, {"shard_bytes": 10_000}], ids=str
)
def test_resume_with_other_settings_is_refused_and_loses_nothing(
    source: Path, unkilled: dict[str, bytes], tmp_path: Path, options: dict[str, Any]
) -> None:
    before = unfinished(unkilled, tmp_path / "packed")
    with raises(DatasetExistsError, tmp_path / "packed"):
        kseq.pack(
            source, tmp_path / "packed", workers=0, resume=True, **{"val": 0.2, "shard_bytes": SHARD_BYTES, **options}
        )  # fmt: skip
    assert files(tmp_path / "packed") == before


def test_resume_of_a_whole_dataset_with_other_settings_says_which(source: Path, tmp_path: Path) -> None:
    kseq.pack(source, tmp_path / "packed", workers=0)
    before = files(tmp_path / "packed")
    with raises(DatasetExistsError, tmp_path / "packed", "encoding", "'keep'", "'raw'", "image_size"):
        kseq.pack(source, tmp_path / "packed", workers=0, resume=True, images=kseq.ImageSettings("raw", (8, 8)))
    assert files(tmp_path / "packed") == before


def test_resume_from_another_source_is_refused(source: Path, unkilled: dict[str, bytes], tmp_path: Path) -> None:
    before = unfinished(unkilled, tmp_path / "packed")
    write_photos(tmp_path / "photos", {"cat": 3})
    with raises(DatasetExistsError, tmp_path / "packed"):
        resume(tmp_path / "photos", tmp_path / "packed")
    assert files(tmp_path / "packed") == before


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 4])
def test_ctrl_c_ends_soon_in_one_line_and_can_be_resumed(
    source: Path, unkilled: dict[str, bytes], tmp_path: Path, times: int
) -> None:
    process = start(source, tmp_path / "packed")
    wait_for_shards(process, tmp_path / "packed", 1)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        # In what the first one clears away; the process that has ended waits for who started it.
        time.sleep(0.01)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    # Before it, where the machine is busy, how far it was.
    assert_says(printed.splitlines()[-1], "interrupted", "--resume")
    wait_for_no_process(process.pid)
    # Neither a lock nor anything half written.
    assert [path.name for path in (tmp_path / "packed").glob(".*")] == [".kseq-plan"]
    resume(source, tmp_path / "packed")
    assert files(tmp_path / "packed") == unkilled


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_signal_amid_a_shard_of_many_seconds_ends_soon(
    tmp_path: Path, workers: str, number: signal.Signals, code: int, words: str
) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    Image.new("RGB", (2000, 2000)).save(tmp_path / "large.png")
    for place in range(2000):
        (tmp_path / f"photos/a/{place}.png").symlink_to(tmp_path / "large.png")
    process = start(tmp_path / "photos", tmp_path / "packed", "--shard-bytes", "1G", "--workers", workers, "--follow-links")
    while not list(tmp_path.glob("packed/.kseq-tmp-*")):
        assert process.poll() is None
        time.sleep(0.01)
    # Ctrl-C goes to all processes of a terminal, a system that shuts down tells the first.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    # Sooner than the shard, which takes about a minute of a core.
    _, printed = process.communicate(timeout=30)
    assert (process.returncode, printed.splitlines()[-1]) == (code, f"kseq: {words}")
    wait_for_no_process(process.pid)
    assert not (tmp_path / "packed").exists()


@pytest.mark.slow
def test_ctrl_c_waits_for_no_worker_that_hangs(source: Path, tmp_path: Path) -> None:
    stopped: list[int] = []

    def stop_workers(done: int, total: int) -> None:
        if done and not stopped:
            stopped.extend(child.pid or 0 for child in multiprocessing.active_children())
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kseq.pack(source, tmp_path / "packed", shard_bytes=SHARD_BYTES, workers=2, progress=stop_workers)
    assert stopped
    assert not multiprocessing.active_children()
    assert not list((tmp_path / "packed").glob(".kseq-[!p]*"))


def test_an_interrupt_while_the_record_is_written_is_an_interrupt(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressor = zipfile._get_compressor  # type: ignore[attr-defined]  # where numpy is amid a file of arrays

    def interrupt(*arguments: object) -> object:
        _thread.interrupt_main()
        time.sleep(0.1)
        return compressor(*arguments)

    monkeypatch.setattr("zipfile._get_compressor", interrupt)
    # What runs the tests may ignore it, as a shell does for what it runs in the background.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            kseq.pack(source, tmp_path / "packed", workers=0)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not (tmp_path / "packed").exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_from_outside_is_survived_and_nothing_is_left_out(
    source: Path, unkilled: dict[str, bytes], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if 0 < done < total and not killed and (children := multiprocessing.active_children()):
            killed.append(children[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    kseq.pack(source, tmp_path / "packed", val=0.2, shard_bytes=SHARD_BYTES, workers=2, progress=kill_one)
    assert killed
    assert files(tmp_path / "packed") == unkilled


def test_of_long_settings_the_part_that_differs_is_shown() -> None:
    common = "x" * 500
    (text,) = describe_settings({"fields": f"{common}mask{common}"}, {"fields": f"{common}instances{common}"})
    assert "mask" in text and "instances" in text and len(text) < 300
