"""The folder that a dataset is written to: who may write there, and how a new dataset replaces an old one."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import ArgumentError, DatasetExistsError, LockedError
from kseq.storage.layout import LOCK_NAME
from kseq.storage.lock import locked
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import raises
from tests.helpers.processes import RunPython
from tests.helpers.unfinished import stop_after


def test_a_second_packer_is_refused_whatever_it_wants(source: Path, tmp_path: Path) -> None:
    kseq.pack(source, tmp_path / "packed", workers=0)
    before = files(tmp_path / "packed")
    with locked(str(tmp_path / "packed")):
        for options in ({"overwrite": True}, {"resume": True}):
            with raises(LockedError, "packed", os.getpid()):
                kseq.pack(source, tmp_path / "packed", workers=0, **options)
    assert files(tmp_path / "packed") == before


@pytest.mark.parametrize("options", [[], ["--resume"], ["--overwrite"]])
def test_a_second_command_stops_in_one_line_and_the_first_goes_on(
    source: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "packed"

    def second(*_: int) -> None:
        assert main(["pack", str(source), str(target), *options]) == 1
        found = capsys.readouterr().err
        assert re.fullmatch(
            rf"kseq: {target}: is being changed by process {os.getpid()} on \S+: wait until it is done\n", found
        )

    kseq.pack(source, target, workers=0, progress=second)
    assert sorted(files(target)) == ["index.h5", "shard-00000.h5"]


OVERWRITE = """
import sys, os, kseq
def die(done, total):
    if done == total:
        os.kill(os.getpid(), 9)
kseq.pack(sys.argv[1], sys.argv[2], workers=0, overwrite=True, progress=die)
"""


def test_a_killed_overwriting_leaves_the_old_dataset_and_the_next_takes_over(
    source: Path, tmp_path: Path, run_python: RunPython
) -> None:
    kseq.pack(source, tmp_path / "packed", workers=0)
    before = files(tmp_path / "packed")
    assert run_python(OVERWRITE, source, tmp_path / "packed", check=False).returncode == -signal.SIGKILL
    assert {name: data for name, data in files(tmp_path / "packed").items() if name != LOCK_NAME} == before
    kseq.pack(source, tmp_path / "packed", workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
    kseq.pack(source, tmp_path / "fresh", workers=0, images=kseq.ImageSettings("jpeg"))
    assert files(tmp_path / "packed") == files(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "packed", "photos"]


# Looks at the dataset before each step that concerns a name.
WATCHED = """
import sys, kseq
found, looking = [], False
def look(event, arguments):
    global looking
    if event.startswith("os.") and not looking:
        looking = True
        found.append(len(kseq.ShardDataset(sys.argv[2])))
        looking = False
sys.addaudithook(look)
kseq.pack(sys.argv[1], sys.argv[2], workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
print(len(found), set(found))
"""


def test_a_dataset_that_is_overwritten_is_there_at_every_moment(source: Path, tmp_path: Path, run_python: RunPython) -> None:
    kseq.pack(source, tmp_path / "packed", workers=0)
    count, *numbers = run_python(WATCHED, source, tmp_path / "packed").stdout.split()
    assert int(count) > 20 and numbers == ["{30}"]


@pytest.mark.parametrize("killed_after", ["the first rename", "the second rename", "nothing"])
def test_where_names_cannot_be_exchanged_the_next_run_mends_what_a_kill_left(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: str
) -> None:
    target = tmp_path / "packed"
    kseq.pack(source, target, workers=0)
    kseq.pack(source, tmp_path / "fresh", workers=0, images=kseq.ImageSettings("jpeg"))
    monkeypatch.setattr("kseq.storage.output_folder.exchange", lambda *_: False)
    rename, left = os.rename, {"the first rename": 1, "the second rename": 2, "nothing": 9}[killed_after]

    class Killed(BaseException):
        pass

    def die(*names: Any) -> None:
        nonlocal left
        rename(*names)
        left -= 1
        if not left:
            raise Killed

    monkeypatch.setattr(os, "rename", die)
    if left < 9:
        with pytest.raises(Killed):
            kseq.pack(source, target, workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
        monkeypatch.setattr(os, "rename", rename)
        assert target.exists() == (killed_after == "the second rename")
        with raises(DatasetExistsError):
            kseq.pack(source, target, workers=0)
        assert {name: data for name, data in files(target).items() if name != LOCK_NAME} == files(tmp_path / "fresh")
    kseq.pack(source, target, workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
    assert files(target) == files(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "packed", "photos"]


def test_a_link_to_a_dataset_stays_when_that_is_overwritten(source: Path, tmp_path: Path) -> None:
    kseq.pack(source, tmp_path / "there", workers=0)
    (tmp_path / "link").symlink_to("there")
    kseq.pack(source, tmp_path / "link", workers=0, images=kseq.ImageSettings("jpeg"), overwrite=True)
    kseq.pack(source, tmp_path / "fresh", workers=0, images=kseq.ImageSettings("jpeg"))
    assert files(tmp_path / "there") == files(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "link", "photos", "there"]


def test_datasets_that_are_called_like_it_stay(source: Path, tmp_path: Path) -> None:
    for name in ("packed", "packed.old", "packed.new"):
        kseq.pack(source, tmp_path / name, workers=0)
    kseq.pack(source, tmp_path / "packed", workers=0, overwrite=True)
    assert files(tmp_path / "packed.old") == files(tmp_path / "packed.new") == files(tmp_path / "packed")


@pytest.mark.parametrize("name", ["shard-cats.h5", "shard-1.h5", "shard-00000.h5.bak", "index.h5~"])
def test_files_that_are_only_called_alike_are_never_removed(source: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / name).write_bytes(b"years of work")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with raises(DatasetExistsError):
            kseq.pack(source, tmp_path / "packed", workers=0, **options)
    assert files(tmp_path / "packed") == {name: b"years of work"}


def test_a_path_with_a_zero_byte_is_refused(source: Path, tmp_path: Path) -> None:
    for paths in (("a\0b", tmp_path / "packed"), (source, "packed\0")):
        with raises(ArgumentError):
            kseq.pack(*paths)


def test_a_run_that_made_no_shard_leaves_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        kseq.pack(source, tmp_path / "packed", workers=0, progress=stop_after(0, tmp_path / "packed"))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
