"""What an index says beside its tables: columns that stand for what lies in shards, and samples that were dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseq
from kseq.errors import DamagedError, FormatError
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.remaining_ids import Remaining
from tests.helpers.datasets import rewrite_index
from tests.helpers.messages import raises

HEIGHT = Field("height", "numbers", False, "<f4", (2,))
TOPICS = Field("topics", "multi_label", False, "<i4", (None,), ("garden", "summer"))
TEXT = Field("text", "text", False, "|u1", (None,))


def columns(count: int) -> dict[str, np.ndarray]:
    """A vector, any number of classes, and a text for each sample, all of which name it."""
    texts = [f"sample {number}".encode() for number in range(count)]
    return {
        "height": np.stack([np.arange(count), -np.arange(count)], 1).astype("<f4"),
        "topics/values": np.concatenate([np.arange(number % 3) for number in range(count)]).astype("<i4"),
        "topics/offsets": np.cumsum([0, *(number % 3 for number in range(count))]).astype("<u8"),
        "text/values": np.frombuffer(b"".join(texts), np.uint8),
        "text/offsets": np.cumsum([0, *map(len, texts)]).astype("<u8"),
        "label": (np.arange(count) % 2).astype("<i4"),
    }


def with_columns(path: Path) -> Index:
    index = Index.open(str(path))
    return rewrite_index(path, fields=(*index.fields, HEIGHT, TOPICS, TEXT), columns=columns(index.num_samples))


@settings(max_examples=200)
@given(data=st.data())
def test_what_remains_is_what_was_not_dropped(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 60))
    dropped = np.array(sorted(data.draw(st.sets(st.integers(0, max(count - 1, 0)), max_size=count))), "<u8")
    wanted = np.setdiff1d(np.arange(count), dropped)
    remaining = Remaining(count, dropped)
    assert remaining.size == len(wanted)
    np.testing.assert_array_equal(remaining[np.arange(len(wanted))], wanted)


def test_a_column_is_read_in_place_of_what_the_shards_hold(packed: Path) -> None:
    with_columns(packed)
    dataset = kseq.ShardDataset(packed)
    ids = [99, 0, 17, 17, 50]
    values = dataset.read(ids)
    assert values["image"][:, 0, 0, 0].tolist() == ids
    assert values["label"].tolist() == [number % 2 for number in ids]
    assert values["height"].tolist() == [[number, -number] for number in ids]
    assert [value.tolist() for value in values["topics"]] == [list(range(number % 3)) for number in ids]
    assert values["text"] == [f"sample {number}" for number in ids]
    assert dataset.stored_bytes(17, "height") == np.array([17, -17], "<f4").tobytes()
    assert dataset.stored_bytes(17, "text") == b"sample 17"
    assert kseq.verify(packed).damaged == []
    chosen = dataset.where(label=1, height=lambda values: values[:, 0] > 90)
    assert chosen.read(range(len(chosen)))["image"][:, 0, 0, 0].tolist() == [91, 93, 95, 97, 99]


@pytest.mark.slow
def test_batches_have_columns_as_they_have_fields(packed: Path) -> None:
    with_columns(packed)
    targets = {name: name for name in ("label", "height", "topics", "text")}
    for workers, processes in ((0, False), (2, True)):
        with kseq.ShardSequence(
            packed, "val", batch_size=7, targets=targets, workers=workers, use_multiprocessing=processes
        ) as val:
            for number in range(len(val)):
                images, values = val[number]
                ids = val.sample_ids(number)
                assert images[:, 0, 0, 0].tolist() == ids.tolist()
                assert values["label"].tolist() == (ids % 2).tolist()
                assert values["height"][:, 1].tolist() == (-ids).tolist()
                assert values["topics"].sum(axis=1).tolist() == (ids % 3).tolist()
                texts = [row.tobytes().rstrip(b"\0").decode() for row in values["text"]]
                assert texts == [f"sample {number}" for number in ids]


def test_a_dataset_with_columns_joins_one_without(packed: Path, numbered: Path) -> None:
    rewrite_index(packed, columns={"label": np.full(100, 2, "<i4")})
    both = kseq.ShardDataset(packed).concat(kseq.ShardDataset(numbered))
    labels = both.read(range(200))["label"]
    assert labels[:100].tolist() == [2] * 100
    assert labels[100:].tolist() == kseq.ShardDataset(numbered).values("label").tolist()


def test_dropped_samples_are_not_among_all(packed: Path) -> None:
    dropped = np.array([0, 17, 18, 99])
    rewrite_index(packed, dropped=dropped)
    dataset = kseq.ShardDataset(packed)
    remaining = np.setdiff1d(np.arange(100), dropped)
    assert len(dataset) == 96
    assert dataset.read(range(96))["image"][:, 0, 0, 0].tolist() == remaining.tolist()
    assert dataset[-1]["image"][0, 0, 0] == 98
    with kseq.ShardSequence(packed, "all", batch_size=10) as sequence:
        assert (
            sorted(sample_id for number in range(len(sequence)) for sample_id in sequence.sample_ids(number))
            == remaining.tolist()
        )


def test_columns_and_what_was_dropped_count_for_the_digest_and_history_does_not(packed: Path) -> None:
    before = Index.open(str(packed))
    found = {before.digest}
    for changes in ({"columns": {"label": np.zeros(100, "<i4")}}, {"dropped": np.array([3])}, {"dropped": np.array([4])}):
        found.add(rewrite_index(packed, **changes).digest)
    assert len(found) == 4
    rewrite_index(packed, columns={}, dropped=np.empty(0))
    again = rewrite_index(packed, changes=("a line", "ünother\n"), shards=before.contents().shards)
    assert (again.digest, again.changes) == (before.digest, ("a line", "ünother\n"))


def test_thousands_of_class_names_have_room(packed: Path) -> None:
    many = Field("kinds", "multi_label", False, "<i4", (None,), tuple(f"a class called {number}" for number in range(20_000)))
    columns = {"kinds/values": np.array([19_999], "<i4"), "kinds/offsets": np.array([0] * 100 + [1], "<u8")}
    index = rewrite_index(packed, fields=(*Index.open(str(packed)).fields, many), columns=columns)
    assert index.fields[-1] == many
    assert kseq.ShardDataset(packed)[99]["kinds"].tolist() == [19_999]


@pytest.mark.parametrize(
    "wrong",
    [
        {"columns": {"label": np.zeros(99, "<i4")}},
        {"columns": {"label": np.zeros(100, "<i8")}},
        {"columns": {"height": np.zeros((100, 2), "<f4")}},
        {"columns": {"image": np.zeros((100, 4, 4, 3), np.uint8)}},
        {"fields": "with height"},
    ],
    ids=str,
)
def test_rejects_columns_that_are_not_what_the_fields_say(packed: Path, wrong: dict[str, Any]) -> None:
    fields = (*Index.open(str(packed)).fields, HEIGHT)
    with raises(FormatError, "index.h5"):
        rewrite_index(packed, **(wrong if "columns" in wrong else {"fields": fields}))


@pytest.mark.parametrize("dropped", [[5, 5], [7, 5], [100]], ids=str)
def test_rejects_a_list_of_dropped_samples_that_makes_no_sense(packed: Path, dropped: list[int]) -> None:
    rewrite_index(packed, dropped=np.array(dropped))
    with raises(DamagedError, 100):
        kseq.ShardDataset(packed)
    assert any("dropped" in line for line in kseq.verify(packed).damaged)


def test_offsets_of_a_column_that_are_broken_are_named(packed: Path) -> None:
    with_columns(packed)
    with h5py.File(packed / "index.h5", "r+") as file:
        file["columns/topics.offsets"][51] = 10**6
    with raises(DamagedError, "topics/values", 0):
        kseq.ShardDataset(packed).read([50])
    assert kseq.verify(packed).damaged
