"""Copying: the same files at another place, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

import kseq
from kseq.errors import (
    ArgumentError,
    DamagedError,
    DatasetExistsError,
    DatasetNotFoundError,
    LockedError,
    ReadError,
    WriteError,
)
from kseq.storage.lock import locked
from kseq.storage.remote_files import RemoteFiles
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import assert_says, raises
from tests.helpers.urls import files_at, memory_url, upload


def cut(url: str, name: str) -> None:
    """Leave half of a file at a URL."""
    system, path = fsspec.url_to_fs(f"{url}/{name}")
    system.pipe_file(path, system.cat_file(path)[: system.size(path) // 2])


def failing_after(monkeypatch: pytest.MonkeyPatch, count: int, error: BaseException) -> list[str]:
    """Let `put` fail after some files; gives the names of those that were put."""
    put, done = RemoteFiles.put, []

    def put_some(self: RemoteFiles, local: str, name: str) -> None:
        if len(done) >= count:
            raise error
        put(self, local, name)
        done.append(name)

    monkeypatch.setattr(RemoteFiles, "put", put_some)
    return done


def test_a_copy_of_a_copy_has_the_same_files_and_bytes(packed: Path, tmp_path: Path) -> None:
    there, other, whole = memory_url(), memory_url(), files(packed)
    report = kseq.copy(packed, there)
    assert files_at(there) == whole
    assert (report.path, report.num_shards, report.num_sent, report.num_samples) == (there, 7, 7, 100)
    assert report.digest == kseq.ShardDataset(packed).digest
    assert report.num_bytes == report.num_bytes_sent == sum(map(len, whole.values()))
    kseq.copy(there, other)
    assert files_at(other) == whole
    kseq.copy(other, tmp_path / "back")
    assert files(tmp_path / "back") == whole
    kseq.copy(tmp_path / "back", tmp_path / "again")
    assert files(tmp_path / "again") == whole
    assert kseq.verify(tmp_path / "again").damaged == []


def test_a_file_url_is_a_place_like_any_other(packed: Path, tmp_path: Path) -> None:
    kseq.copy(packed, f"file://{tmp_path}/new/folder")
    assert files(tmp_path / "new/folder") == files(packed)


def test_all_that_was_edited_is_copied_and_what_undo_needs_is_said_to_stay(packed: Path, tmp_path: Path) -> None:
    kseq.drop(packed, ids=range(10))
    kseq.rename_class(packed, "a", "apple")
    there = memory_url()
    assert kseq.copy(packed, there).can_undo
    kseq.copy(there, tmp_path / "back")
    assert kseq.ShardDataset(tmp_path / "back").digest == kseq.ShardDataset(packed).digest
    assert sorted(files(packed).keys() - files(tmp_path / "back").keys()) == ["index.h5.1"]


def test_a_copy_that_failed_leaves_no_index_and_goes_on(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = memory_url()
    with monkeypatch.context() as patch:
        failing_after(patch, 4, WriteError("the line is down"))
        with raises(WriteError, "the line is down"):
            kseq.copy(packed, there, connections=1)
    left = files_at(there)
    assert sorted(left) == [".kseq-writing", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5"]
    report = kseq.copy(packed, there)
    assert (report.num_sent, report.num_shards) == (4, 7)
    assert files_at(there) == files(packed)


def test_an_interrupted_copy_says_how_it_goes_on(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_after(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        kseq.copy(packed, memory_url(), connections=1)


def test_the_same_again_sends_no_shard_and_mends_what_is_damaged(packed: Path) -> None:
    there = memory_url()
    kseq.copy(packed, there)
    assert kseq.copy(packed, there).num_sent == 0
    cut(there, "shard-00003.h5")
    assert kseq.copy(packed, there).num_sent == 1
    system, path = fsspec.url_to_fs(f"{there}/shard-00005.h5")
    data = bytearray(system.cat_file(path))
    data[-1] ^= 1
    system.pipe_file(path, bytes(data))
    assert kseq.copy(packed, there, read_back=False).num_sent == 0
    assert kseq.copy(packed, there).num_sent == 1
    assert files_at(there) == files(packed)


def test_a_damaged_shard_is_not_copied(packed: Path, tmp_path: Path) -> None:
    data = bytearray((packed / "shard-00002.h5").read_bytes())
    data[-1] ^= 1
    (packed / "shard-00002.h5").write_bytes(data)
    there = memory_url()
    with raises(DamagedError, packed / "shard-00002.h5"):
        kseq.copy(packed, there)
    assert "index.h5" not in files_at(there)
    upload(packed, there2 := memory_url())
    with raises(DamagedError, f"{there2}/shard-00002.h5"):
        kseq.copy(there2, tmp_path / "back")
    assert "index.h5" not in files(tmp_path / "back")


def test_a_missing_shard_is_named(packed: Path, tmp_path: Path) -> None:
    upload(packed, there := memory_url())
    fsspec.filesystem("memory").rm_file(f"{there}/shard-00004.h5")
    with raises(DatasetNotFoundError, f"{there}/shard-00004.h5"):
        kseq.copy(there, tmp_path / "back")
    (packed / "shard-00004.h5").unlink()
    with raises(DatasetNotFoundError, packed / "shard-00004.h5"):
        kseq.copy(packed, memory_url())


def test_what_arrives_with_other_bytes_is_noticed(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put, there = RemoteFiles.put, memory_url()

    def put_wrong(self: RemoteFiles, local: str, name: str) -> None:
        put(self, local, name)
        if name == "shard-00001.h5":
            system, path = fsspec.url_to_fs(f"{there}/{name}")
            system.pipe_file(path, bytes(system.size(path)))

    monkeypatch.setattr(RemoteFiles, "put", put_wrong)
    with raises(WriteError, f"{there}/shard-00001.h5"):
        kseq.copy(packed, there)
    assert "index.h5" not in files_at(there)


Place = Callable[[Path], Any]


@pytest.mark.parametrize("place", [lambda path: path / "target", lambda _: memory_url()], ids=["folder", "url"])
def test_another_dataset_is_overwritten_on_request_only(packed: Path, second: Path, tmp_path: Path, place: Place) -> None:
    target = place(tmp_path)
    kseq.copy(packed, target)
    with raises(DatasetExistsError, str(target), "overwrite=True"):
        kseq.copy(second, target)
    kseq.copy(second, target, overwrite=True)
    assert (files_at(target) if isinstance(target, str) else files(target)) == files(second)


def test_an_overwriting_that_failed_leaves_no_dataset_at_a_url_and_the_old_one_in_a_folder(
    packed: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, whole = memory_url(), files(packed)
    kseq.copy(packed, there)
    shutil.copytree(packed, tmp_path / "here")
    damaged = Path(shutil.copytree(second, tmp_path / "damaged"))
    (damaged / "shard-00001.h5").unlink()
    for target in (there, tmp_path / "here"):
        with raises(DatasetNotFoundError, damaged / "shard-00001.h5"):
            kseq.copy(damaged, target, overwrite=True, connections=1)
    assert files(tmp_path / "here") == whole
    assert "index.h5" not in files_at(there)
    kseq.copy(second, there)
    assert files_at(there) == files(second)


def test_other_unfinished_things_are_not_written_over(packed: Path, second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = memory_url()
    with monkeypatch.context() as patch:
        failing_after(patch, 3, WriteError("down"))
        with raises(WriteError):
            kseq.copy(packed, there)
    before = files_at(there)
    with raises(DatasetExistsError, there, "overwrite=True"):
        kseq.copy(second, there)
    assert files_at(there) == before
    shards = memory_url()
    upload(packed / "shard-00000.h5", f"{shards}/shard-00000.h5")
    with raises(DatasetExistsError, shards, "overwrite=True"):
        kseq.copy(second, shards)
    upload(packed / "shard-00000.h5", f"{(strange := memory_url())}/photo.jpg")
    with raises(DatasetExistsError, strange, "'photo.jpg'"):
        kseq.copy(second, strange, overwrite=True)


def test_a_folder_with_an_unfinished_copy_is_no_unfinished_packing(packed: Path, source: Path, tmp_path: Path) -> None:
    (packed / "shard-00006.h5").rename(tmp_path / "aside.h5")
    with raises(DatasetNotFoundError):
        kseq.copy(packed, tmp_path / "copy", connections=1)
    with raises(DatasetNotFoundError, tmp_path / "copy", re_copy()):
        kseq.ShardDataset(tmp_path / "copy")
    for options in ({}, {"resume": True}):
        with raises(DatasetExistsError, tmp_path / "copy", "overwrite=True"):
            kseq.pack(source, tmp_path / "copy", workers=0, **options)
    (tmp_path / "aside.h5").rename(packed / "shard-00006.h5")
    assert kseq.copy(packed, tmp_path / "copy").num_sent == 1
    assert files(tmp_path / "copy") == files(packed)


def re_copy() -> str:
    return "kseq.copy(...)"


def test_of_two_that_write_different_datasets_to_one_url_the_first_writes_no_index(
    packed: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, put, is_nested = memory_url(), RemoteFiles.put, []

    def put_and_overtake(self: RemoteFiles, local: str, name: str) -> None:
        put(self, local, name)
        if name == "shard-00003.h5" and not is_nested:
            is_nested.append(True)
            kseq.copy(second, there, overwrite=True)

    monkeypatch.setattr(RemoteFiles, "put", put_and_overtake)
    with raises(LockedError, there):
        kseq.copy(packed, there, connections=1)
    assert json.loads(files_at(there).get(".kseq-writing", b"{}")) == {}
    assert files_at(there)["index.h5"] == files(second)["index.h5"]


def test_two_that_write_the_same_dataset_do_no_harm(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, put, is_nested = memory_url(), RemoteFiles.put, []

    def put_and_overtake(self: RemoteFiles, local: str, name: str) -> None:
        put(self, local, name)
        if name == "shard-00003.h5" and not is_nested:
            is_nested.append(True)
            kseq.copy(packed, there)

    monkeypatch.setattr(RemoteFiles, "put", put_and_overtake)
    kseq.copy(packed, there, connections=1)
    assert files_at(there) == files(packed)


def test_a_locked_folder_is_refused(packed: Path, tmp_path: Path) -> None:
    kseq.copy(packed, tmp_path / "copy")
    with locked(str(tmp_path / "copy")), raises(LockedError, tmp_path / "copy"):
        kseq.copy(packed, tmp_path / "copy")


def test_what_cannot_be_copied_is_refused_in_one_line(packed: Path, tmp_path: Path) -> None:
    with raises(DatasetNotFoundError, tmp_path / "none"):
        kseq.copy(tmp_path / "none", memory_url())
    with raises(DatasetNotFoundError, (there := memory_url())):
        kseq.copy(there, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    with raises(ArgumentError, packed):
        kseq.copy(packed, packed)
    with raises(ArgumentError, there):
        kseq.copy(there, f"{there}/inner")
    with raises(ArgumentError, packed):
        kseq.copy(f"file://{packed}", packed)
    with raises(ArgumentError, "connections=0"):
        kseq.copy(packed, there, connections=0)
    with raises(ArgumentError, "storage_options", packed, tmp_path / "x"):
        kseq.copy(packed, tmp_path / "x", storage_options={"anon": True})
    with raises(ArgumentError, "destination_options", tmp_path / "x"):
        kseq.copy(there, tmp_path / "x", destination_options={"anon": True})
    with raises(ArgumentError, "storage_options"):
        kseq.copy(packed, there, storage_options="secret")  # type: ignore[arg-type]  # refused
    with raises(ArgumentError, "strange://place"):
        kseq.copy(packed, "strange://place")
    with raises((WriteError, ReadError, ArgumentError)) as caught:
        kseq.copy(packed, "https://me:secret@127.0.0.1:9/place", storage_options={"deadline": 1})
    assert "secret" not in str(caught.value)


def test_the_command_copies_and_says_so(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kseq.drop(packed, ids=[0])
    assert main(["copy", str(packed), f"file://{tmp_path}/copy"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert_says(printed[0], "100 samples", "7 shards", f"file://{tmp_path}/copy")
    assert_says(printed[1], "digest", kseq.ShardDataset(packed).digest)
    assert_says(printed[2], "kseq undo")
    assert main(["copy", str(packed), f"file://{tmp_path}/copy"]) == 0
    assert_says(capsys.readouterr().out.splitlines()[2], "7 of the shards")


SLOW_COPY = """
import sys, time, kseq
from kseq.storage.remote_files import RemoteFiles
put = RemoteFiles.put

def put_slowly(self, local, name):
    put(self, local, name)
    print(name, flush=True)
    time.sleep(0.05)

RemoteFiles.put = put_slowly
kseq.copy(sys.argv[1], sys.argv[2], connections=2)
"""


@pytest.mark.slow
def test_a_copy_that_is_killed_again_and_again_ends_the_same(packed: Path, tmp_path: Path) -> None:
    whole, target = files(packed), tmp_path / "copy"
    kills = 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW_COPY, str(packed), f"file://{target}"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        assert process.stdout is not None
        # The first line says that the record was written; each further one is a file.
        for _ in range(3):
            process.stdout.readline()
        if process.poll() is None:
            process.kill()
        code = process.wait(timeout=60)
        process.stdout.close()
        if code == 0:
            break
        kills += 1
        assert "index.h5" not in files(target) or files(target).items() >= whole.items()
    assert kills > 1
    kseq.copy(packed, f"file://{target}")
    assert files(target) == whole


def test_what_a_killed_process_left_in_the_temporary_folder_is_removed(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    for name in ("left", "new", "used"):
        (tmp_path / f"spool/kseq-spool-{name}").mkdir(parents=True)
        (tmp_path / f"spool/kseq-spool-{name}/shard-00000.h5").write_bytes(b"x")
    with locked(str(tmp_path / "spool/kseq-spool-used")):
        for name in ("left", "used"):
            os.utime(tmp_path / f"spool/kseq-spool-{name}", (0, 0))
        kseq.copy(packed, memory_url())
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["kseq-spool-new", "kseq-spool-used"]
