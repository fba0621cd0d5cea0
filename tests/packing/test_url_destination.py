"""Packing to URLs: the same bytes as in a folder, a bounded disk, and no index before all is there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

import kseq
from kseq.errors import DatasetExistsError, LockedError, SourceError, WriteError
from kseq.packing import url_destination
from kseq.storage.remote_files import RemoteFiles
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import write_photos
from tests.helpers.urls import files_at, memory_url

OPTIONS: dict[str, Any] = {"val": 0.2, "shard_bytes": 8_000}


@pytest.fixture
def local(source: Path, tmp_path: Path) -> dict[str, bytes]:
    """The dataset as a folder has it."""
    kseq.pack(source, tmp_path / "local", workers=0, **OPTIONS)
    return files(tmp_path / "local")


def put_some(monkeypatch: pytest.MonkeyPatch, count: int, error: BaseException) -> None:
    """Let only some shards be put."""
    put, done = RemoteFiles.put, []

    def put_or_fail(self: RemoteFiles, path: str, name: str) -> None:
        if name.startswith("shard-") and len(done) >= count:
            raise error
        put(self, path, name)
        if name.startswith("shard-"):
            done.append(name)

    monkeypatch.setattr(RemoteFiles, "put", put_or_fail)


@pytest.mark.slow
def test_a_url_gets_the_same_bytes_as_a_folder(source: Path, local: dict[str, bytes], tmp_path: Path) -> None:
    there = memory_url()
    report = kseq.pack(source, there, workers=0, **OPTIONS)
    assert files_at(there) == local
    assert (report.path, report.num_bytes, report.num_bytes_free) == (there, sum(map(len, local.values())), 0)
    assert (report.num_samples, report.num_shards) == (30, len(local) - 1)
    kseq.pack(source, f"file://{tmp_path}/new/place", workers=2, **OPTIONS)
    assert files(tmp_path / "new/place") == local


def test_an_executor_builds_for_a_url_too(source: Path, local: dict[str, bytes]) -> None:
    there = memory_url()
    with ThreadPoolExecutor(2) as executor:
        kseq.pack(source, there, executor=executor, **OPTIONS)
    assert files_at(there) == local


def test_a_packing_that_failed_leaves_no_index_and_is_gone_on_with(
    source: Path, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = memory_url()
    with monkeypatch.context() as patch:
        put_some(patch, 3, WriteError("the line is down"))
        with raises(WriteError, "the line is down"):
            kseq.pack(source, there, workers=0, **OPTIONS)
    left = files_at(there)
    assert "index.h5" not in left
    assert sum(name.startswith("shard-") for name in left) == 3
    with raises(DatasetExistsError, there, "resume=True", "overwrite=True"):
        kseq.pack(source, there, workers=0, **OPTIONS)
    with raises(DatasetExistsError, there, "overwrite=True"):
        kseq.pack(source, there, workers=0, resume=True, **{**OPTIONS, "val": 0.5})
    assert kseq.pack(source, there, workers=0, resume=True, dry_run=True, **OPTIONS).num_resumed == 3
    assert files_at(there) == left
    assert kseq.pack(source, there, workers=0, resume=True, **OPTIONS).num_resumed == 3
    assert files_at(there) == local


def test_a_shard_that_arrived_in_part_is_built_again(
    source: Path, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = memory_url()
    with monkeypatch.context() as patch:
        put_some(patch, 3, WriteError("down"))
        with raises(WriteError):
            kseq.pack(source, there, workers=0, **OPTIONS)
    system, path = fsspec.url_to_fs(f"{there}/shard-00001.h5")
    system.pipe_file(path, system.cat_file(path)[:-100])
    assert kseq.pack(source, there, workers=0, resume=True, **OPTIONS).num_resumed == 2
    assert files_at(there) == local


def test_an_interrupted_packing_says_how_it_goes_on(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_some(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match="resume=True"):
        kseq.pack(source, memory_url(), workers=0, **OPTIONS)


def test_a_dataset_stays_until_the_one_that_overwrites_it_is_whole(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = memory_url()
    write_photos(tmp_path / "others", {"x": 6, "y": 6})
    kseq.pack(tmp_path / "others", there, workers=0)
    old = files_at(there)
    with raises(DatasetExistsError, there, "overwrite=True"):
        kseq.pack(source, there, workers=0, **OPTIONS)
    with monkeypatch.context() as patch:
        put_some(patch, 2, WriteError("down"))
        with raises(WriteError):
            kseq.pack(source, there, workers=0, overwrite=True, **OPTIONS)
    assert files_at(there).items() >= old.items()
    kseq.copy(there, tmp_path / "still-old")
    assert kseq.pack(source, there, workers=0, resume=True, **OPTIONS).num_resumed == 2
    kseq.copy(there, tmp_path / "new")
    kseq.pack(source, tmp_path / "local", workers=0, **OPTIONS)
    new, expected = kseq.ShardDataset(tmp_path / "new"), kseq.ShardDataset(tmp_path / "local")
    assert new.splits == expected.splits
    assert [new.stored_bytes(row) for row in range(30)] == [expected.stored_bytes(row) for row in range(30)]
    assert not {".kseq-plan", ".kseq-writing"} & files_at(there).keys()
    assert len(files_at(there)) == len(files(tmp_path / "local"))


def test_the_disk_holds_a_few_shards_at_a_time(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(url_destination, "MOST_WAITING", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    put, most = RemoteFiles.put, []

    def put_and_count(self: RemoteFiles, path: str, name: str) -> None:
        put(self, path, name)
        most.append(len(list((tmp_path / "spool").glob("*/shard-*.h5"))))

    monkeypatch.setattr(RemoteFiles, "put", put_and_count)
    report = kseq.pack(source, memory_url(), workers=0, val=0.2, shard_bytes=4_000)
    assert report.num_shards > 8
    assert max(most) <= 3
    assert list((tmp_path / "spool").iterdir()) == []


def test_another_packing_at_the_same_url_is_noticed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, put, is_nested = memory_url(), RemoteFiles.put, []
    write_photos(tmp_path / "others", {"x": 6, "y": 6})

    def put_and_overtake(self: RemoteFiles, path: str, name: str) -> None:
        put(self, path, name)
        if name == "shard-00001.h5" and not is_nested:
            is_nested.append(True)
            kseq.pack(tmp_path / "others", there, workers=0, overwrite=True)

    monkeypatch.setattr(RemoteFiles, "put", put_and_overtake)
    with raises(LockedError, there):
        kseq.pack(source, there, workers=0, **OPTIONS)
    kseq.copy(there, tmp_path / "back")
    assert kseq.ShardDataset(tmp_path / "back").class_names == ("x", "y")


def test_a_source_of_which_nothing_can_be_packed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    (tmp_path / "photos/a/b.jpg").write_bytes(b"no image")
    there = memory_url()
    with raises(SourceError, tmp_path / "photos"):
        kseq.pack(tmp_path / "photos", there, workers=0)
    assert files_at(there) == {}


def test_files_that_are_not_ours_are_refused(source: Path) -> None:
    there = memory_url()
    fsspec.filesystem("memory").pipe_file(f"{there}/notes.txt", b"")
    with raises(DatasetExistsError, there, "'notes.txt'"):
        kseq.pack(source, there, workers=0, overwrite=True)


def test_a_dry_run_writes_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = memory_url()
    assert main(["pack", str(source), there, "--dry-run"]) == 0
    assert_says(capsys.readouterr().out.splitlines()[-1], there, "30 images")
    assert files_at(there) == {}


SLOW_PACK = """
import sys, time, kseq
from kseq.storage.remote_files import RemoteFiles
put = RemoteFiles.put

def put_slowly(self, local, name):
    put(self, local, name)
    print(name, flush=True)
    time.sleep(0.05)

RemoteFiles.put = put_slowly
kseq.pack(sys.argv[1], sys.argv[2], workers=0, val=0.2, shard_bytes=8000, resume=True)
"""


@pytest.mark.campaign
def test_a_packing_that_is_killed_again_and_again_ends_the_same(source: Path, local: dict[str, bytes], tmp_path: Path) -> None:
    target = tmp_path / "place"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    kills = 0
    for _ in range(20):
        words = [sys.executable, "-c", SLOW_PACK, str(source), f"file://{target}"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        if process.poll() is None:
            process.kill()
        code = process.wait(timeout=60)
        process.stdout.close()
        if code == 0:
            break
        kills += 1
        assert "index.h5" not in files(target) or files(target).items() >= local.items()
    assert kills > 1
    kseq.pack(source, f"file://{target}", workers=0, resume=True, **OPTIONS)
    assert files(target) == local
