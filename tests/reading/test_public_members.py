"""What a ShardDataset shows of a dataset besides its samples."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kseq
from kseq.errors import ArgumentError, OutOfRangeError
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from tests.helpers.messages import raises
from tests.helpers.photos import write_numbered

# All that users may rely on. A name that is missing here, or here alone, is a mistake.
MEMBERS = {
    "path", "split", "verify", "class_names", "fields", "splits", "num_shards", "num_bytes", "digest", "settings", "changes",
    "dropped", "rejected", "counts", "box_counts", "packing_notes", "where", "take", "concat", "read", "values",
    "show", "stored_bytes", "source", "sources",
    "sample_ids", "split_ids", "close",
}  # fmt: skip
SPECIAL = ("__len__", "__iter__", "__getitem__", "__enter__", "__exit__", "__repr__")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """30 numbered samples of classes a and b in several shards: 24 train, 6 val."""
    write_numbered(tmp_path / "photos", {"a": 20, "b": 10})
    kseq.pack(
        tmp_path / "photos",
        tmp_path / "packed",
        images=kseq.ImageSettings("raw", (4, 4)),
        val=0.2,
        shard_bytes=400,
        workers=0,
    )
    return tmp_path / "packed"


def test_a_dataset_has_the_documented_members_and_no_others(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    assert {name for name in dir(dataset) if not name.startswith("_")} == MEMBERS
    assert all(inspect.getdoc(getattr(kseq.ShardDataset, name)) for name in MEMBERS)
    assert all(hasattr(kseq.ShardDataset, name) for name in SPECIAL)


def test_members_of_a_dataset_cannot_be_set(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    with pytest.raises(AttributeError):
        dataset.split = "val"  # type: ignore[misc]  # read-only, which is tested


def test_sizes_are_those_of_the_files(small: Path) -> None:
    dataset = kseq.ShardDataset(small, "val")
    shards = list(small.glob("shard-*.h5"))
    assert dataset.num_shards == len(shards) > 1
    assert dataset.num_bytes == sum(shard.stat().st_size for shard in shards)


def test_settings_and_changes_tell_how_the_dataset_came_to_be(small: Path) -> None:
    dataset = kseq.ShardDataset(small)
    assert (dataset.settings["encoding"], dataset.settings["image_size"], dataset.changes) == ("raw", [4, 4], ())
    kseq.drop(small, ids=[3])
    kseq.rename_class(small, "a", "c")
    assert kseq.ShardDataset(small).changes == ("drop 1 sample", "rename-class 'a' to 'c'")


def test_joined_datasets_have_settings_where_they_are_the_same(small: Path, numbered: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "more", {"a": 3, "b": 3})
    for name, resize in (("same", "stretch"), ("other", "pad")):
        images = kseq.ImageSettings("raw", (4, 4), resize=resize)
        kseq.pack(tmp_path / "more", tmp_path / name, images=images, workers=0)
    dataset, same, other = (kseq.ShardDataset(tmp_path / name) for name in ("packed", "same", "other"))
    assert dataset.concat(same).settings == dataset.settings
    with raises(ArgumentError, "settings"):
        _ = dataset.concat(other).settings


def test_dropped_samples_are_listed_by_their_ids_through_all_datasets(small: Path, numbered: Path) -> None:
    kseq.drop(small, ids=[3, 17])
    dataset = kseq.ShardDataset(small)
    assert (dataset.dropped.dtype, dataset.dropped.tolist()) == (np.int64, [3, 17])
    write_numbered(small.parent / "more", {"a": 3, "b": 3})
    kseq.pack(small.parent / "more", small.parent / "other", images=kseq.ImageSettings("raw", (4, 4)), workers=0)
    kseq.drop(small.parent / "other", ids=[5])
    assert dataset.concat(kseq.ShardDataset(small.parent / "other")).dropped.tolist() == [3, 17, 35]
    assert kseq.ShardDataset(numbered).dropped.tolist() == []


def test_counts_are_those_of_all_splits_and_classes(small: Path) -> None:
    expected = {}
    for split in ("train", "val"):
        labels = kseq.ShardDataset(small, split).values("label")
        expected[split] = [int((labels == number).sum()) for number in range(2)]
    counts = kseq.ShardDataset(small, "val").counts()
    assert counts == kseq.SplitCounts({"train": 24, "val": 6}, ("a", "b"), expected)
    joined = kseq.ShardDataset(small).concat(kseq.ShardDataset(small)).counts()
    assert joined == counts


def test_counts_of_joined_datasets_are_added_up(numbered: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 5, "b": 4, "c": 3})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", images=kseq.ImageSettings("raw", (4, 4)), test=0.5, workers=0)
    one, other = kseq.ShardDataset(numbered), kseq.ShardDataset(tmp_path / "packed")
    joined, (first, second) = one.concat(other).counts(), (one.counts(), other.counts())
    assert joined.splits == {"train": 80 + second.splits["train"], "val": 20, "test": second.splits["test"]}
    sums = np.add(first.class_counts["train"], second.class_counts["train"])
    assert joined.class_counts == {**second.class_counts, **first.class_counts, "train": sums.tolist()}


def test_samples_without_a_label_have_counts_of_splits_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((3, 4, 4, 3), np.uint8))
    kseq.pack(tmp_path / "images.npy", tmp_path / "packed", columns=kseq.Columns(label=""), workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").counts() == kseq.SplitCounts({"train": 3}, (), {})


@given(positions=st.lists(st.integers(0, 19), max_size=30))
def test_all_sources_are_the_source_of_each_sample(numbered: Path, positions: list[int]) -> None:
    selection = kseq.ShardDataset(numbered, "val").take(positions)
    assert list(selection.sources()) == [selection.source(position) for position in range(len(positions))]


def test_all_sources_leave_out_those_of_dropped_samples(small: Path) -> None:
    before = list(kseq.ShardDataset(small).sources())
    kseq.drop(small, ids=[0, 29])
    assert list(kseq.ShardDataset(small).sources()) == before[1:-1]


def test_a_source_is_that_of_a_position_in_the_range(numbered: Path) -> None:
    with raises(OutOfRangeError, "sample 20", "[0, 20)"):
        kseq.ShardDataset(numbered, "val").source(20)


def test_split_ids_are_the_sample_ids_of_each_split(small: Path) -> None:
    kseq.drop(small, ids=[3])
    dataset = kseq.ShardDataset(small)
    for name in ("train", "val", "all"):
        split = kseq.ShardDataset(small, name)
        assert dataset.split_ids(name).tolist() == split.sample_ids(range(len(split))).tolist()
        assert dataset.split_ids(name).dtype == np.int64
    with raises(ArgumentError, "'test'", "train", "val", "all"):
        dataset.split_ids("test")


def test_split_ids_of_a_dataset_with_nothing_dropped(numbered: Path) -> None:
    assert kseq.ShardDataset(numbered, "val").split_ids("all").tolist() == list(range(100))


def test_split_ids_that_do_not_exist_are_damage(small: Path) -> None:
    index = Index.open(str(small))
    write_index(str(small), index.contents(splits={"train": np.array([1, 30], "<u8")}))
    with raises(kseq.errors.DamagedError, "sample id 30", 30):
        kseq.ShardDataset(small).split_ids("train")


def test_conditions_may_be_text_or_values(small: Path) -> None:
    np.save(small.parent / "heights.npy", np.arange(30, dtype=np.float32) / 10)
    kseq.add_field(small, "height", small.parent / "heights.npy")
    dataset = kseq.ShardDataset(small)

    def ids(selection: kseq.ShardDataset) -> list[int]:
        return selection.sample_ids(range(len(selection))).tolist()

    assert ids(dataset.where("height>1.75", "height<=2.1", label="b")) == [20, 21]
    assert ids(dataset.where("label=b,a", "height=0.5")) == [5]
    assert ids(dataset.where(height=[0.5, 2.5], label="b")) == [25]
    for text in ("height", "height>tall", "colour=red", "label>1"):
        with raises(ArgumentError, text):
            dataset.where(text)
    with raises(ArgumentError, 3, "FIELD=VALUE"):
        dataset.where(3)  # type: ignore[arg-type]  # what is refused
