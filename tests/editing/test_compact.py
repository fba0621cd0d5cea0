"""Compacting: nothing dropped is left, nothing lies beside the shards, and what remains is as it was."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import kseq
from kseq.editing.transaction import begin_transaction
from kseq.errors import DamagedError, DatasetNotFoundError, LockedError, WriteError
from kseq.reading.dataset import sample_reader
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.lock import locked
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import raises
from tests.helpers.photos import numbers_of

TOPICS = Field("topics", "multi_label", False, "<i4", (None,), ("garden", "summer"))


def drop(path: Path, dropped: list[int], **more: Any) -> None:
    with begin_transaction(path) as change:
        splits = {name: ids[~np.isin(ids, dropped)] for name, ids in change.index.splits.items()}
        change.publish("drop", dropped=np.array(dropped), splits=splits, **more)


def rows(path: Path) -> list[int]:
    return np.diff(Index.open(str(path)).starts).tolist()


def numbers(path: Path, split: str = "all") -> list[int]:
    dataset = kseq.ShardDataset(path, split)
    return numbers_of(dataset.read(range(len(dataset)))["image"]).tolist()


def test_only_shards_with_dropped_samples_are_rewritten(packed: Path) -> None:
    before, sizes = files(packed), rows(packed)
    whole = {split: numbers(packed, split) for split in ("all", "train", "val")}
    dropped = [0, 17, 99]
    drop(packed, dropped)
    report = kseq.compact(packed)
    assert (report.num_samples, report.num_removed, report.num_shards, report.num_rewritten) == (97, 3, 7, 3)
    index = Index.open(str(packed))
    assert (index.dropped.size, index.changes[-1]) == (0, "compact: 3 dropped samples removed")
    assert index.numbers.tolist() == [7, 8, 2, 3, 4, 5, 9]
    assert rows(packed) == [sizes[0] - 1, sizes[1] - 1, *sizes[2:6], sizes[6] - 1]
    for split in ("all", "train", "val"):
        assert numbers(packed, split) == [number for number in whole[split] if number not in dropped]
    assert kseq.verify(packed).damaged == []
    assert {name: data for name, data in files(packed).items() if name in before and name != "index.h5"} == {
        name: data for name, data in before.items() if name != "index.h5"
    }


def test_splits_keep_their_samples_and_their_order(packed: Path) -> None:
    ids = np.array([90, 3, 55, 3, 20])
    drop(packed, [0, 4, 54, 56, 89])
    with begin_transaction(packed) as change:
        change.publish("split", splits={"odd": ids, "none": np.empty(0)})
    kseq.compact(packed)
    odd = kseq.ShardDataset(packed, "odd")
    assert numbers_of(odd.read(range(5))["image"]).tolist() == ids.tolist()
    assert kseq.ShardDataset(packed).splits == {"odd": 5, "none": 0}


def test_columns_come_into_the_shards(packed: Path) -> None:
    labels = (np.arange(100) % 2).astype("<i4")
    topics = {
        "topics/values": np.concatenate([np.arange(number % 3) for number in range(100)]).astype("<i4"),
        "topics/offsets": np.cumsum([0, *(number % 3 for number in range(100))]).astype("<u8"),
    }
    drop(packed, [1, 2], fields=(*Index.open(str(packed)).fields, TOPICS), columns={"label": labels, **topics})
    report = kseq.compact(packed)
    assert (report.folded_fields, report.num_rewritten) == (("label", "topics"), report.num_shards)
    index = Index.open(str(packed))
    assert (index.columns, index.stored_fields) == ({}, index.fields)
    values = kseq.ShardDataset(packed).read(range(98))
    remaining = np.setdiff1d(np.arange(100), [1, 2])
    assert numbers_of(values["image"]).tolist() == remaining.tolist()
    assert values["label"].tolist() == labels[remaining].tolist()
    assert [value.tolist() for value in values["topics"]] == [list(range(number % 3)) for number in remaining]
    assert kseq.verify(packed).damaged == []
    with h5py.File(index.shard_path(0)) as shard:
        assert shard["label"][:3].tolist() == [0, 1, 0]


def test_stored_bytes_sources_and_what_was_left_out_stay(photos: Path, tmp_path: Path) -> None:
    source, path = Path(shutil.copytree(photos, tmp_path / "photos")), tmp_path / "packed"
    (source / "cat/broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    kseq.pack(source, path, shard_bytes=30_000, workers=0)
    before = kseq.ShardDataset(path)
    wanted = [(before.stored_bytes(number), before.source(number)) for number in range(60) if number % 4]
    sizes = sample_reader(before).locate(np.arange(60)).sizes("image")[np.arange(60) % 4 > 0].tolist()
    drop(path, list(range(0, 60, 4)))
    report = kseq.compact(path)
    after = kseq.ShardDataset(path)
    assert [(after.stored_bytes(number), after.source(number)) for number in range(45)] == wanted
    assert sample_reader(after).locate(np.arange(45)).sizes("image").tolist() == sizes
    shards = [sample_reader(after).collection.shards.get(place) for place in range(report.num_shards)]
    assert [rejection.path for shard in shards for rejection in shard.rejected()] == [b"cat/broken.jpg"]
    assert kseq.verify(path).damaged == []
    assert report.num_bytes < report.num_bytes_before


def test_neighbours_that_shrank_are_joined_up_to_the_usual_size(packed: Path) -> None:
    largest = int(Index.open(str(packed)).num_bytes.max())
    drop(packed, [number for number in range(100) if number % 5])
    report = kseq.compact(packed)
    assert report.num_shards < 7
    assert Index.open(str(packed)).num_bytes.max() <= largest
    dataset = kseq.ShardDataset(packed)
    assert numbers_of(dataset.read(range(20))["image"]).tolist() == list(range(0, 100, 5))


def test_a_shard_that_becomes_empty_goes_and_a_dataset_may_too(packed: Path) -> None:
    count = rows(packed)[0]
    drop(packed, list(range(count)))
    assert (kseq.compact(packed).num_shards, rows(packed)[0]) == (6, rows(packed)[0])
    drop(packed, list(range(100 - count)))
    assert kseq.compact(packed).num_shards == 0
    assert (len(kseq.ShardDataset(packed)), kseq.ShardDataset(packed).splits) == (0, {"train": 0, "val": 0})
    assert kseq.verify(packed).damaged == []


def test_undo_brings_the_bytes_back_unless_they_were_freed(packed: Path) -> None:
    drop(packed, [3])
    before = files(packed)
    report = kseq.compact(packed)
    assert report.num_bytes_kept == Index.open(str(packed), "index.h5.1").num_bytes[0]
    kseq.undo(packed)
    now = files(packed)
    assert {name: now[name] for name in before if name != "index.h5.1"} == {
        name: data for name, data in before.items() if name != "index.h5.1"
    }
    assert kseq.compact(packed, undo=False).num_bytes_kept == 0
    assert sorted(os.listdir(packed)) == sorted(
        ["index.h5", *(os.path.basename(Index.open(str(packed)).shard_path(place)) for place in range(7))]
    )


def test_nothing_to_leave_out_changes_nothing(packed: Path) -> None:
    before = files(packed)
    report = kseq.compact(packed)
    assert (report.num_rewritten, report.num_removed, report.num_shards) == (0, 0, 7)
    assert files(packed) == before
    drop(packed, [3])
    kseq.compact(packed)
    assert len(files(packed)) == 10
    kseq.compact(packed, undo=False)
    assert len(files(packed)) == 8


def test_a_damaged_row_stops_it_and_nothing_is_lost(packed: Path) -> None:
    drop(packed, [0])
    with h5py.File(packed / "shard-00000.h5", "r+") as file:
        file["image"][5, 1, 1, 1] ^= 1
    before = files(packed)
    with raises(DamagedError, "shard-00000.h5", "row 5"):
        kseq.compact(packed)
    assert files(packed) == before


def test_a_full_disk_stops_it_and_nothing_is_left(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(packed, [0, 50, 99])
    before = files(packed)
    done = []

    def fail(path: str) -> None:
        done.append(path)
        if len(done) > 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("kseq.storage.atomic.flush", fail)
    with raises(WriteError, "No space left on device"):
        kseq.compact(packed)
    assert len(done) > 3
    assert files(packed) == before


def test_memory_does_not_grow_with_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((60, 256, 256, 3), np.uint8)
    kseq.pack((images, np.arange(60)), tmp_path / "packed", images=kseq.ImageSettings("raw", (256, 256)), workers=0)
    drop(tmp_path / "packed", [0, 30])
    monkeypatch.setattr("kseq.editing.shard_rewriting._BYTES_AT_ONCE", 1 << 20)
    tracemalloc.start()
    kseq.compact(tmp_path / "packed")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kseq.ShardDataset(tmp_path / "packed")) == 58
    assert peak < images.nbytes / 2


def test_progress_counts_the_samples_that_are_copied(packed: Path) -> None:
    drop(packed, [0])
    calls: list[tuple[int, int]] = []
    kseq.compact(packed, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (rows(packed)[0],) * 2


def test_only_one_process_changes_a_dataset_and_there_must_be_one(packed: Path, tmp_path: Path) -> None:
    with locked(str(packed)), pytest.raises(LockedError):
        kseq.compact(packed)
    with pytest.raises(DatasetNotFoundError):
        kseq.compact(tmp_path)


def test_the_command_says_what_it_saved(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop(packed, [0, 1])
    assert main(["compact", str(packed)]) == 0
    shown = capsys.readouterr().out
    assert f"\n{packed}: 2 dropped samples removed, 1 shard of 7 written anew, " in shown
    assert "of old shards stay for kseq undo, until the next change (--no-undo frees them)\n" in shown
    drop(packed, [0])
    assert main(["compact", str(packed), "--no-undo"]) == 0
    assert "stay for kseq undo" not in capsys.readouterr().out
    assert not (packed / "index.h5.1").exists()
