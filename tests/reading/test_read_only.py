"""Folders that may only be read, and files that others have locked: reading asks for no lock and writes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import kseq

fcntl = pytest.importorskip("fcntl", reason="this system has no such locks")

READ = ["map", "pread"]


def read_all(path: Path, read: str) -> None:
    with kseq.ShardDataset(path, "train", read=read) as dataset:
        assert len(dataset.read(range(len(dataset)))["image"]) == 80
    with kseq.Batches(path, batch_size=16, read=read, workers=2) as batches:
        assert sum(len(labels) for _, labels in batches.epoch(0)) == 80
    assert kseq.verify(path).damaged == []


_LOCK = """
import fcntl, os, sys
files = [open(os.path.join(sys.argv[1], name), "r+b") for name in sorted(os.listdir(sys.argv[1]))]
for file in files:
    if sys.argv[2] == "flock":
        fcntl.flock(file, fcntl.LOCK_EX)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["flock", "lockf"])
def locked(request: pytest.FixtureRequest, packed: Path) -> Iterator[Path]:
    """A dataset of which another process has every file locked."""
    command = [sys.executable, "-c", _LOCK, str(packed), request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield packed
        process.kill()


@pytest.mark.parametrize("read", READ)
def test_files_that_another_process_has_locked_are_read(locked: Path, read: str) -> None:
    read_all(locked, read)


def _refuse_locks(*_: object) -> None:
    raise OSError(37, "No locks available")


@pytest.mark.parametrize("read", READ)
def test_a_file_system_without_locks_is_read(packed: Path, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", _refuse_locks)
    monkeypatch.setattr(fcntl, "lockf", _refuse_locks)
    read_all(packed, read)


@pytest.mark.parametrize("read", READ)
def test_a_folder_without_the_right_to_write_is_read_and_stays_as_it_was(packed: Path, read: str) -> None:
    for file in packed.iterdir():
        file.chmod(0o444)
    packed.chmod(0o555)
    before = {file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in packed.iterdir()}
    try:
        read_all(packed, read)
    finally:
        packed.chmod(0o755)
    assert {file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in packed.iterdir()} == before


@pytest.fixture
def mounted(packed: Path, tmp_path: Path) -> Iterator[Path]:
    """A dataset on a mount that may only be read."""
    target = tmp_path / "mounted"
    target.mkdir()
    done = subprocess.run(["mount", "--bind", packed, target], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)
        yield target
    finally:
        subprocess.run(["umount", "-l", target], check=True)


@pytest.mark.parametrize("read", READ)
def test_a_read_only_mount_is_read(mounted: Path, read: str) -> None:
    with pytest.raises(OSError, match="Read-only"):
        (mounted / "x").touch()
    read_all(mounted, read)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root becomes another user")
def test_files_of_another_user_are_read(numbered: Path) -> None:
    # Not below the folder of the tests, which is root's alone.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        packed = Path(shutil.copytree(numbered, Path(folder) / "packed"))
        for path in (packed, *packed.iterdir()):
            os.chown(path, 12345, 12345)
            path.chmod(0o755 if path.is_dir() else 0o644)
        # Loaded before nobody may any more.
        open_dataset = kseq.ShardDataset
        child = os.fork()
        if not child:
            try:
                os.setuid(54321)
                values = open_dataset(packed, verify="always").read(range(100))
                os._exit(0 if np.asarray(values["image"]).shape == (100, 4, 4, 3) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
