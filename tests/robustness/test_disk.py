"""Disks that are full or fail, at any write: one line, nothing half written, whole shards kept, and a resume goes on."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import WriteError
from tests.helpers.datasets import files
from tests.helpers.messages import assert_says, raises
from tests.helpers.paths import ROOT
from tests.helpers.photos import write_photos
from tests.helpers.processes import kseq_command

SHARD_BYTES = 10_000
# Of the packing in helpers/faults.py.
NUM_SHARDS = 2


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, {"cat": 8, "dog": 4})
    return folder


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    target = tmp_path_factory.mktemp("fresh") / "packed"
    kseq.pack(source, target, workers=0, shard_bytes=SHARD_BYTES)
    return files(target)


class Disk:
    """A small disk in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, kibibytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kibibytes}k", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", path], capture_output=True, text=True, check=False
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is too small is tried all the same."""
    monkeypatch.setattr("kseq.packing.disk_space.free_bytes", lambda _: 1 << 40)


def check_left(target: Path, expected: dict[str, bytes]) -> None:
    left = files(target)
    assert {name: data for name, data in left.items() if name != ".kseq-plan"}.items() <= expected.items(), sorted(left)


def fill_disks(disk: Disk, source: Path, expected: dict[str, bytes], workers: int = 0, **options: Any) -> set[int]:
    """Pack onto disks that are ever larger, until one holds it all, and resume each packing on a disk that is large enough.

    Returns:
        How many files there were when a disk was full.
    """
    target, kept = disk.path / "packed", set()
    for kibibytes in range(4, 4000, 4):
        disk.resize(kibibytes)
        try:
            kseq.pack(source, target, workers=workers, **options)
        except WriteError as error:
            assert_says(str(error), target, os.strerror(errno.ENOSPC))
        else:
            break
        check_left(target, expected)
        kept.add(len(files(target)))
        disk.resize(8000)
        kseq.pack(source, target, workers=0, resume=True, **options)
        assert files(target) == expected, kibibytes
        shutil.rmtree(target)
    assert files(target) == expected
    return kept


@pytest.mark.usefixtures("no_estimate")
def test_a_disk_of_any_size_that_is_too_small_leaves_whole_shards_and_can_be_resumed(
    source: Path, expected: dict[str, bytes], disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = fill_disks(disk, source, expected, shard_bytes=SHARD_BYTES)
    # It ended at every number of shards.
    assert kept == {0, *range(2, len(expected) + 1)}
    assert capfd.readouterr() == ("", "")


@pytest.mark.campaign
@pytest.mark.usefixtures("no_estimate")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "images",
    [kseq.ImageSettings(), kseq.ImageSettings("raw", (20, 25)), kseq.ImageSettings("jpeg")],
    ids=["keep", "raw", "jpeg"],
)
def test_many_shards_of_every_encoding_survive_disks_of_every_size(
    tmp_path: Path, disk: Disk, images: kseq.ImageSettings, workers: int
) -> None:
    write_photos(tmp_path / "photos", {"cat": 60, "dog": 40})
    options: dict[str, Any] = {"images": images, "val": 0.2, "shard_bytes": 40_000}
    kseq.pack(tmp_path / "photos", tmp_path / "fresh", workers=0, **options)
    fill_disks(disk, tmp_path / "photos", files(tmp_path / "fresh"), workers=workers, **options)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_command_tells_of_a_full_disk_in_one_line(
    source: Path, expected: dict[str, bytes], disk: Disk, workers: str
) -> None:
    disk.resize(len(b"".join(expected.values())) * 19 // 20480)
    arguments = ["pack", source, disk.path / "packed", "--shard-bytes", SHARD_BYTES, "--workers", workers]
    done = subprocess.run(kseq_command(*arguments), capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    # On a slow machine, a line of progress may come before it.
    *others, last = done.stderr.splitlines()
    assert re.fullmatch(rf"kseq: {disk.path}/packed/\S+: cannot be written: No space left on device", last)
    assert all("images/s" in line for line in others)
    check_left(disk.path / "packed", expected)
    disk.resize(1000)
    kseq.pack(source, disk.path / "packed", workers=0, shard_bytes=SHARD_BYTES, resume=True)
    assert files(disk.path / "packed") == expected


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(source: Path, disk: Disk) -> None:
    disk.resize(16)
    with raises(WriteError, disk.path / "packed", re.compile(r"\b1\d,\d{3}\b")):
        kseq.pack(source, disk.path / "packed", workers=0)
    assert not list(disk.path.iterdir())


def samples() -> Any:
    return ({"image": np.full((64, 64, 3), number, np.uint8), "label": number % 2} for number in range(10))


@pytest.mark.usefixtures("no_estimate")
@pytest.mark.parametrize("kibibytes", [16, 64, 120])
def test_a_disk_that_is_too_small_for_the_spool_of_an_iterable_is_left_empty(disk: Disk, kibibytes: int) -> None:
    disk.resize(kibibytes)
    with raises(WriteError, "No space left on device"):
        kseq.pack(samples(), disk.path / "packed", workers=0)
    assert not list(disk.path.iterdir())
    disk.resize(1000)
    assert kseq.pack(samples(), disk.path / "packed", workers=0).num_samples == 10


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/helpers/faults.c, built."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler cc, or no preloading of libraries as Linux has it")
    path = tmp_path_factory.mktemp("library") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, ROOT / "tests/helpers/faults.c", "-ldl"], check=True)
    return path


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is some: hundreds of flushes take their time on a disk."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if place.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.parametrize("calls", [pytest.param("writes", marks=pytest.mark.campaign), "flushes"])
def test_every_call_that_fails_is_told_and_no_flush_is_tried_again(library: Path, memory: Path, calls: str) -> None:
    environment = dict(os.environ, LD_PRELOAD=str(library))
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.faults", str(memory), calls],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count = int(done.stderr.split()[0])
    # Each of the files is flushed once, and the folder after each.
    assert count == 2 * (NUM_SHARDS + 2) if calls == "flushes" else count > 100, count
