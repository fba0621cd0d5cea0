"""The lists of images that worker processes read: beside the shards, as long as these are built."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import ReadError, WriteError
from kseq.packing import run
from kseq.packing.listed_images import ListedImages, listing_images
from kseq.packing.plan import Plan, make_plan
from kseq.packing.settings import ImageSettings
from kseq.sources import spooled_column
from kseq.sources.base import FileSource, ImageTable, SourceImage
from kseq.storage.layout import TEMPORARY_PREFIX
from tests.helpers.datasets import files
from tests.helpers.messages import raises
from tests.helpers.photos import write_numbered
from tests.helpers.unfinished import stop_after


def plan(count: int, shard_bytes: int) -> Plan:
    images = ImageTable.of(SourceImage(b"%d.jpg" % number, 0, None, 1000) for number in range(count))
    return make_plan(FileSource("photos", ("a",), images), ImageSettings(), {}, shard_bytes=shard_bytes)


def test_each_shard_finds_its_images_and_the_file_is_gone_afterwards(tmp_path: Path) -> None:
    made = plan(105, 10_000)
    wanted = {0, 3, 10}
    with listing_images(made, wanted, str(tmp_path)) as listed:
        assert listed.keys() == wanted
        assert [name.startswith(TEMPORARY_PREFIX) for name in os.listdir(tmp_path)] == [True]
        for number, images in listed.items():
            assert images.num_images == len(images.read())
            assert list(pickle.loads(pickle.dumps(images)).read()) == list(made.shard_images(number))
    assert os.listdir(tmp_path) == []


def test_only_the_user_may_write_what_is_unpickled(tmp_path: Path) -> None:
    with listing_images(plan(5, 10_000), {0}, str(tmp_path)) as listed:
        assert os.stat(listed[0].path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("count", [10, 100_000])
def test_a_task_is_small_however_many_images_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    sizes = []
    monkeypatch.setattr(run, "_run_tasks", lambda tasks, *_: sizes.extend(len(pickle.dumps(task)) for task in tasks))
    made = plan(count, 1 << 40)
    run.build_shards(made, {0: str(tmp_path / "shard-00000.h5")}, 0, None, 0, None, stop_at_error=False)
    assert len(sizes) == 1
    assert sizes[0] < 4000


def test_a_list_that_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    with raises(ReadError, tmp_path / "gone", "resume=True"):
        ListedImages(str(tmp_path / "gone"), 0, 10, 1).read()
    (tmp_path / "short").write_bytes(b"")
    with raises(ReadError, tmp_path / "short"):
        ListedImages(str(tmp_path / "short"), 0, 10, 1).read()


def test_a_folder_that_takes_no_list_is_an_error_that_names_it(tmp_path: Path) -> None:
    with raises(WriteError, tmp_path / "none"), listing_images(plan(5, 10_000), {0}, str(tmp_path / "none")):
        pass


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 3})
    (tmp_path / "packed").mkdir()
    (tmp_path / f"packed/{TEMPORARY_PREFIX}0123-images").write_bytes(b"left")
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0, resume=True)
    assert sorted(os.listdir(tmp_path / "packed")) == ["index.h5", "shard-00000.h5"]


def write_table(folder: Path) -> Path:
    write_numbered(folder / "photos", {"a": 30, "b": 10})
    files = sorted((folder / "photos").rglob("*.png"))
    rows = [
        f"{file.relative_to(folder)},{file.parent.name},{number / 7:.2f},g{number // 4}\n" for number, file in enumerate(files)
    ]
    (folder / "t.csv").write_text("image,label,age,who\nphotos/gone.png,a,1,\n" + "".join(rows) + "photos/a/00000.png,a,x,\n")
    return folder / "t.csv"


@pytest.mark.slow
def test_columns_in_files_are_packed_by_workers_as_columns_in_memory_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_table(tmp_path)
    options: dict[str, Any] = {"columns": kseq.Columns(targets="age", group="who"), "val": 0.25, "shard_bytes": 800}
    expected = kseq.pack(table, tmp_path / "in-memory", workers=0, **options)
    assert (len(expected.rejected), expected.num_shards > 2) == (2, True)
    monkeypatch.setattr(spooled_column, "BLOCK_ROWS", 4)
    monkeypatch.setattr(spooled_column, "_BYTES_IN_MEMORY", 0)
    for name, workers in (("alone", 0), ("workers", 2)):
        report = kseq.pack(table, tmp_path / name, workers=workers, **options)
        assert (report.splits, report.rejected) == (expected.splits, expected.rejected)
    assert files(tmp_path / "alone") == files(tmp_path / "workers")
    with kseq.ShardDataset(tmp_path / "in-memory") as one, kseq.ShardDataset(tmp_path / "alone") as other:
        for number in range(len(one)):
            assert one.source(number) == other.source(number)
            assert {name: one[number][name] for name in ("label", "age")} == {
                name: other[number][name] for name in ("label", "age")
            }
    with pytest.raises(KeyboardInterrupt):
        kseq.pack(table, tmp_path / "killed", workers=0, progress=stop_after(2, tmp_path / "killed"), **options)
    assert kseq.pack(table, tmp_path / "killed", workers=2, resume=True, **options).num_resumed == 2
    assert files(tmp_path / "killed") == files(tmp_path / "alone")
