"""Worker processes that die while they pack: killed, crashed, out of memory; and what becomes of their shards."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import kseq
from kseq.errors import ImageError, WorkerDiedError
from kseq.sources.folder import FolderSource
from tests.helpers.datasets import files
from tests.helpers.deadly import CrampedSource, DeadlySource
from tests.helpers.messages import raises
from tests.helpers.photos import write_photos

SHARD_BYTES = 8_000
DEADLY = b"cat/00012.jpg"
DIED = "a worker process died twice while it was packed ({})"
HOW = {"killed": "killed by signal 9, SIGKILL", "segfault": "killed by signal 11, SIGSEGV", "exit": "exit code 7"}


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, dict[str, Any]], None]:
    """Lets `kseq.pack` open folders as another kind of source."""

    def use(kind: type, options: dict[str, Any]) -> None:
        def opened(path: str, *_: object, **__: object) -> FolderSource:
            found = FolderSource.scan(path)
            source: FolderSource = kind(found.root, found.class_names, found.images, found.fields, **options)
            return source

        monkeypatch.setattr("kseq.packing.open_source.open_source", opened)

    return use


Pack = Callable[..., kseq.PackReport]


@pytest.fixture
def pack(opening: Callable[..., None], tmp_path: Path) -> Pack:
    """Packs photos of which some are deadly in a given way; deaths are noted in the folder `deaths`."""
    write_photos(tmp_path / "photos", {"cat": 30, "dog": 30})
    (tmp_path / "deaths").mkdir()

    def run(name: str, how: str, deadly: tuple[bytes, ...] = (DEADLY,), at_most: int = 1000, **options: Any) -> kseq.PackReport:
        opening(DeadlySource, {"deadly": deadly, "how": how, "notes": str(tmp_path / "deaths"), "at_most": at_most})
        return kseq.pack(tmp_path / "photos", tmp_path / name, val=0.2, shard_bytes=SHARD_BYTES, **options)

    return run


def deaths(folder: Path) -> int:
    return len(list((folder / "deaths").iterdir()))


@pytest.mark.parametrize("how", ["killed", *(pytest.param(how, marks=pytest.mark.campaign) for how in ("segfault", "exit"))])
def test_an_image_that_kills_is_left_out_and_all_else_is_packed(pack: Pack, tmp_path: Path, how: str) -> None:
    report = pack("packed", how, workers=2)
    assert [(rejection.path, rejection.reason) for rejection in report.rejected] == [(DEADLY, DIED.format(HOW[how]))]
    assert deaths(tmp_path) == 4
    pack("by-other-means", DIED.format(HOW[how]), workers=0)
    assert files(tmp_path / "packed") == files(tmp_path / "by-other-means")


@pytest.mark.campaign
def test_several_that_kill_are_left_out_and_the_progress_never_falls(pack: Pack, tmp_path: Path) -> None:
    deadly, seen = (b"cat/00000.jpg", b"cat/00001.jpg", b"dog/00059.jpg"), []
    report = pack("packed", "killed", deadly, workers=2, progress=lambda done, total: seen.append(done))
    assert {rejection.path for rejection in report.rejected} == set(deadly)
    assert seen == sorted(seen)
    assert seen[-1] == 60
    pack("by-other-means", DIED.format(HOW["killed"]), deadly, workers=0)
    assert files(tmp_path / "packed") == files(tmp_path / "by-other-means")


@pytest.mark.slow
@pytest.mark.parametrize("at_most", [1, pytest.param(3, marks=pytest.mark.campaign)])
def test_an_image_that_was_only_there_when_processes_died_is_packed(pack: Pack, tmp_path: Path, at_most: int) -> None:
    assert not pack("packed", "killed", at_most=at_most, workers=2).rejected
    assert deaths(tmp_path) == at_most
    kseq.pack(tmp_path / "photos", tmp_path / "unkilled", val=0.2, shard_bytes=SHARD_BYTES, workers=0)
    assert files(tmp_path / "packed") == files(tmp_path / "unkilled")


@pytest.mark.slow
def test_with_on_error_fail_it_stops_the_run(pack: Pack, tmp_path: Path) -> None:
    with raises(ImageError, "photos/cat/00012.jpg", "signal 9"):
        pack("packed", "killed", workers=2, on_error="fail")
    assert not list((tmp_path / "packed").glob(".kseq-tmp-*"))


@pytest.mark.slow
def test_an_executor_that_breaks_is_survived_and_left_alone(pack: Pack, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        report = pack("packed", "killed", executor=executor)
    assert [(rejection.path, rejection.reason) for rejection in report.rejected] == [(DEADLY, DIED.format(HOW["killed"]))]
    pack("by-other-means", DIED.format(HOW["killed"]), workers=0)
    assert files(tmp_path / "packed") == files(tmp_path / "by-other-means")


@pytest.mark.slow
def test_an_image_for_which_memory_does_not_do_is_left_out(opening: Callable[..., None], tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", {"cat": 5})
    Image.new("RGB", (4000, 4000)).save(tmp_path / "photos/cat/large.png")
    opening(CrampedSource, {"more": 30 << 20})
    report = kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=1)
    assert [(rejection.path, rejection.reason) for rejection in report.rejected] == [
        (b"cat/large.png", DIED.format("memory ran out"))
    ]
    assert not kseq.verify(tmp_path / "packed").damaged


def _die(_: object) -> None:
    os.abort()


@pytest.fixture
def no_worker_lives(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("kseq.packing.process_runner._remember_shared", _die)
    yield


@pytest.mark.slow
def test_processes_that_die_before_they_begin_are_an_error_after_three(
    no_worker_lives: None, photos: Path, tmp_path: Path
) -> None:
    with raises(WorkerDiedError, 3, "signal 6"):
        kseq.pack(photos, tmp_path / "packed", workers=1)


@pytest.mark.slow
def test_a_shard_that_is_never_built_is_an_error_and_what_is_whole_stays(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kseq.packing.process_runner._MOST_DEATHS", 2)
    with raises(WorkerDiedError, "shard-00001.h5", 2, "signal 9", "resume=True"):
        pack("packed", "killed", workers=1)
    assert not list((tmp_path / "packed").glob(".kseq-tmp-*"))
    assert pack("packed", "killed", at_most=0, workers=0, resume=True).num_resumed > 0


def test_memory_that_runs_out_in_this_process_is_one_line(pack: Pack) -> None:
    with raises(WorkerDiedError, "photos/cat/00012.jpg"):
        pack("packed", "memory", workers=0)
