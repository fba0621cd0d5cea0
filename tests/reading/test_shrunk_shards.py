"""Shards that become shorter while they are mapped: whoever reads them ends, and says which shard it was of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kseq
from tests.helpers.messages import assert_says
from tests.helpers.paths import ROOT
from tests.helpers.photos import write_numbered

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's maps")

CODE = """
import faulthandler, os, sys
import kseq
path, kind = sys.argv[1:3]
if kind == "faulthandler":
    faulthandler.enable()
options = {"threads": {"workers": 2}, "processes": {"workers": 1, "use_multiprocessing": True}}.get(kind, {"workers": 0})
batches = kseq.Batches(path, "all", batch_size=32, **options)
# All shards are mapped.
for _ in batches.epoch(0):
    pass
if kind == "sent":
    os.kill(os.getpid(), 7)
shards = sorted(name for name in os.listdir(path) if name.startswith("shard"))
os.truncate(os.path.join(path, shards[-1]), 100)
try:
    for _ in batches.epoch(1):
        pass
except kseq.KseqError as error:
    print(f"{type(error).__name__}: {error}")
"""


def run(path: Path, kind: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Set where tests run, it would print a traceback in every case.
    environment.pop("PYTHONFAULTHANDLER", None)
    words = [sys.executable, "-c", CODE, str(path), kind]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_numbered(tmp_path / "photos", {"a": 40})
    images = kseq.ImageSettings("raw", (32, 32))
    kseq.pack(tmp_path / "photos", tmp_path / "packed", images=images, shard_bytes=60_000, workers=0)
    return tmp_path / "packed"


@pytest.mark.parametrize("kind", ["calling thread", "threads", "faulthandler"])
def test_a_process_that_dies_of_a_shard_that_became_shorter_names_it(packed: Path, kind: str) -> None:
    done = run(packed, kind)
    assert done.returncode == -signal.SIGBUS, done
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("kseq: "))
    shard = max(packed.glob("shard-*.h5"))
    assert_says(line, str(shard), "has 100 bytes", "expected are", "SIGBUS", "read='pread'")
    assert ("Fatal Python error: Bus error" in done.stderr) == (kind == "faulthandler")


@pytest.mark.slow
def test_where_processes_read_a_shard_that_became_shorter_is_an_error_and_the_signal_is_explained(packed: Path) -> None:
    done = run(packed, "processes")
    assert done.returncode == 0, done
    shard = max(packed.glob("shard-*.h5"))
    # The process that takes the place of the one that died opens the shard, and compares its size.
    assert done.stdout.startswith(f"DamagedError: {shard}: ")
    told = next(line for line in done.stderr.splitlines() if "a worker process failed" in line)
    assert_says(told, str(packed), "SIGBUS", "mapped file", "shorter", "read='pread'")
    assert "memory" not in told
    assert f"kseq: {shard}: has 100 bytes" in done.stderr


def test_a_process_that_somebody_sends_the_signal_to_ends_of_it(packed: Path) -> None:
    done = run(packed, "sent")
    assert done.returncode == -signal.SIGBUS
    assert_says(done.stderr.strip(), "none of", "shards", "SIGBUS")
