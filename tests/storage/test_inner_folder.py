"""Datasets in folders that cannot be renamed, as mount points: replaced inside, whole at each moment, nothing left over."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import DatasetExistsError, WriteError
from kseq.storage import output_folder
from kseq.storage.inner_folder import is_fixed
from tests.helpers.datasets import files
from tests.helpers.messages import raises
from tests.helpers.paths import ROOT

OPTIONS = {"workers": 0, "shard_bytes": 20_000}


def samples(path: Path) -> list[tuple[str, bytes]]:
    assert not kseq.verify(path).damaged
    with kseq.ShardDataset(path) as dataset:
        return [(dataset.source(number), dataset.stored_bytes(number)) for number in range(len(dataset))]


def refuse_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is known to be a mount point."""
    monkeypatch.setattr("kseq.storage.output_folder.is_fixed", lambda _: True)


def refuse_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system lists no mount points, and refuses to rename the folder."""
    rename = os.rename

    def refuse(old: Any, new: Any) -> None:
        if os.path.isdir(old):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), old)
        rename(old, new)

    monkeypatch.setattr("kseq.storage.output_folder.exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", refuse)


def refuse_links_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, and what lies beside it is on another file system."""
    refuse_late(monkeypatch)
    monkeypatch.setattr("kseq.storage.atomic._try_link", lambda *_: False)


@pytest.fixture(params=[refuse_known, refuse_late, refuse_links_too])
def refusal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    request.param(monkeypatch)
    yield


@pytest.mark.slow
def test_packings_replace_a_dataset_again_and_again(source: Path, tmp_path: Path, refusal: None) -> None:
    target = tmp_path / "volume"
    target.mkdir()
    inode = target.stat().st_ino
    kseq.pack(source, target, **OPTIONS)
    for encoding in ("jpeg", "keep", "jpeg"):
        images = kseq.ImageSettings(encoding)
        report = kseq.pack(source, target, images=images, overwrite=True, **OPTIONS)
        fresh = kseq.pack(source, tmp_path / "fresh", images=images, **OPTIONS)
        assert report.path == str(target)
        assert (report.num_shards, report.num_samples) == (fresh.num_shards, fresh.num_samples)
        assert samples(target) == samples(tmp_path / "fresh")
        assert len(list(target.iterdir())) == 1 + report.num_shards
        assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "photos", "volume"]
        shutil.rmtree(tmp_path / "fresh")
    assert target.stat().st_ino == inode
    # It is a dataset like any other.
    kseq.split(target, val=0.5)
    kseq.drop(target, ids=[0])
    kseq.compact(target)
    assert kseq.pack(source, target, overwrite=True, **OPTIONS).num_samples == len(samples(target))
    assert not (target / "index.h5.1").exists()


def test_a_packing_that_replaced_a_dataset_may_be_asked_for_again(source: Path, tmp_path: Path, refusal: None) -> None:
    target = tmp_path / "volume"
    kseq.pack(source, target, **OPTIONS)
    kseq.pack(source, target, val=0.5, overwrite=True, **OPTIONS)
    before = files(target)
    # As if the overwriting had been killed before it removed the old shards.
    assert "shard-00000.h5" not in before
    shutil.copy(target / max(before), target / "shard-00000.h5")
    report = kseq.pack(source, target, val=0.5, resume=True, **OPTIONS)
    assert report.num_resumed == report.num_shards
    assert files(target) == before
    assert kseq.pack(source, target, val=0.5, resume=True, dry_run=True, **OPTIONS).num_resumed == report.num_shards
    (target / max(before)).unlink()
    kseq.pack(source, target, val=0.5, resume=True, **OPTIONS)
    assert files(target) == before


@pytest.mark.parametrize("old", ["nothing", "a dataset", "an unfinished packing"])
def test_a_merge_replaces_what_is_there(source: Path, tmp_path: Path, refusal: None, old: str) -> None:
    target = tmp_path / "volume"
    target.mkdir()
    if old != "nothing":
        kseq.pack(source, target, **OPTIONS)
        if old == "an unfinished packing":
            (target / "index.h5").unlink()
        with raises(DatasetExistsError, target):
            kseq.pack(source, target)
    kseq.pack(source, tmp_path / "one", **OPTIONS)
    kseq.pack(source, tmp_path / "two", images=kseq.ImageSettings("jpeg"), **OPTIONS)
    report = kseq.merge([tmp_path / "one", tmp_path / "two"], target, overwrite=old != "nothing")
    assert samples(target) == samples(tmp_path / "one") + samples(tmp_path / "two")
    assert len(list(target.iterdir())) == 1 + report.num_shards
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "photos", "two", "volume"]


def test_a_packing_that_fails_leaves_the_old_dataset_and_nothing_else(
    source: Path, tmp_path: Path, refusal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "volume"
    kseq.pack(source, target, **OPTIONS)
    before = {path.name: path.read_bytes() for path in target.iterdir()}

    def stop(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kseq.pack(source, target, images=kseq.ImageSettings("jpeg"), overwrite=True, progress=stop, **OPTIONS)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before

    def refuse(*_: Any, **__: Any) -> None:
        raise WriteError("the disk is full")

    monkeypatch.setattr("kseq.storage.inner_folder.write_index", refuse)
    with raises(WriteError, "the disk is full"):
        kseq.pack(source, target, images=kseq.ImageSettings("jpeg"), overwrite=True, **OPTIONS)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "volume"]


@pytest.mark.parametrize("clear", [lambda path: kseq.split(path, val=0.5), lambda path: kseq.compact(path)])
def test_what_a_killed_overwriting_left_goes_with_the_next_change(
    source: Path, tmp_path: Path, clear: Callable[[Path], Any]
) -> None:
    target = tmp_path / "volume"
    kseq.pack(source, target, **OPTIONS)
    before = samples(target)
    # As a kill amid the moving of shards leaves it.
    kseq.pack(source, target / ".kseq-new", **OPTIONS)
    (target / ".kseq-new" / "shard-00000.h5").rename(target / "shard-00777.h5")
    with raises(DatasetExistsError, target):
        kseq.pack(source, target, **OPTIONS)
    assert samples(target) == before
    clear(target)
    assert samples(target) == before
    assert not (target / ".kseq-new").exists()
    assert not (target / "shard-00777.h5").exists()


def test_what_a_file_system_puts_into_its_topmost_folder_stays(source: Path, tmp_path: Path, refusal: None) -> None:
    target = tmp_path / "volume"
    (target / "lost+found").mkdir(parents=True)
    if not is_fixed_here(target):
        with raises(DatasetExistsError, "lost+found"):
            kseq.pack(source, target, **OPTIONS)
        return
    for encoding in ("keep", "jpeg"):
        kseq.pack(source, target, images=kseq.ImageSettings(encoding), overwrite=True, **OPTIONS)
        assert len(samples(target)) == 30
    assert (target / "lost+found").is_dir()


def is_fixed_here(folder: Path) -> bool:
    return output_folder.is_fixed(str(folder))


MOUNTED = """
import os, subprocess, sys, kseq
from pathlib import Path
from kseq.storage import output_folder
from kseq.storage.inner_folder import is_fixed
source, folder = sys.argv[1], Path(sys.argv[2])
(folder / "behind").mkdir()
target = folder / "a volume"
target.mkdir()
assert not is_fixed(str(target))
subprocess.run(["mount", "--bind", folder / "behind", target], check=True)
assert is_fixed(str(target)) and not os.path.ismount(target)
for encoding in ("keep", "jpeg", "keep"):
    report = kseq.pack(source, target, images=kseq.ImageSettings(encoding), overwrite=True, workers=0, shard_bytes=20_000)
    assert not kseq.verify(target).damaged
    assert len(os.listdir(target)) == report.num_shards + 1
kseq.pack(source, folder / "one", workers=0)
kseq.pack(source, folder / "two", workers=0, images=kseq.ImageSettings("jpeg"))
report = kseq.merge([folder / "one", folder / "two"], target, overwrite=True)
assert not kseq.verify(target).damaged
assert len(os.listdir(target)) == report.num_shards + 1
print(sorted(os.listdir(folder)))
"""


def may_mount() -> bool:
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="nothing may be mounted here")
def test_a_real_mount_point_is_replaced_from_inside(source: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", MOUNTED, source, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(["a volume", "behind", "one", "photos", "two"])


def test_a_folder_whose_parent_takes_no_names_is_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    assert not is_fixed(str(tmp_path / "volume"))
    monkeypatch.setattr(os, "access", lambda path, _: path != str(tmp_path))
    assert is_fixed(str(tmp_path / "volume"))
    assert is_fixed("/proc")
