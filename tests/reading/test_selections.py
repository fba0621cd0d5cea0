"""Selections: where, take and concat give what numpy indexing gives, over the same files."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq.errors import ArgumentError, ClosedError, DamagedError, OutOfRangeError
from kseq.reading.dataset import reopen, sample_reader
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import numbers_of, write_numbered
from tests.helpers.processes import RunPython

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture(scope="module")
def whole(numbered: Path) -> kseq.ShardDataset:
    """Samples 0 to 99: classes a (50), b (30) and c (20)."""
    return kseq.ShardDataset(numbered)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> kseq.ShardDataset:
    """Six samples with a field of every content that samples can be chosen by."""
    folder = tmp_path_factory.mktemp("rich")
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 0, 7)).save(folder / f"{number}.png")
    columns: dict[str, list[Any]] = {
        "image": [f"{number}.png" for number in range(6)],
        "kind": ["cat", "dog", "cat", "eel", "dog", "eel"],
        "height": [0.1, 0.2, 0.3, 0.1, 0.9, 0.5],
        "age": [3, 5, 8, 5, 1, 0],
        "at": [[1, 2], [3, 4], [1, 4], [5, 5], [2, 2], [0, 0]],
        "topics": ["red|blue", "", "blue", "red", "green", "red"],
        "text": ["a", "b", "é", "", "a", "c"],
        "boxes": [[], [[0, 0, 1, 1]], [], [], [], []],
    }
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    (folder / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    targets = {name: name for name in ("height", "age", "at", "topics")}
    kseq.pack(
        folder / "table.jsonl", folder / "packed", images=kseq.ImageSettings("raw", (8, 8)), workers=0,
        columns=kseq.Columns(label="kind", targets=targets, text="text", boxes="boxes"), shard_bytes=500,
    )  # fmt: skip
    return kseq.ShardDataset(folder / "packed")


def ids_of(dataset: kseq.ShardDataset) -> list[int]:
    return dataset.sample_ids(range(len(dataset))).tolist()


@given(
    takes=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=30), min_size=1, max_size=3),
    asked=st.lists(st.integers(0, 99), max_size=20),
)
def test_selections_of_selections_are_numpy_indexing(
    whole: kseq.ShardDataset, takes: list[list[int]], asked: list[int]
) -> None:
    dataset, expected = whole, np.arange(100)
    for numbers in takes:
        within = [number % len(dataset) for number in numbers]
        dataset, expected = dataset.take(within), expected[within]
    asked = [number % len(dataset) for number in asked]
    assert len(dataset) == len(expected)
    assert dataset.sample_ids(asked).tolist() == expected[asked].tolist()
    assert numbers_of(dataset.read(asked)["image"]).tolist() == expected[asked].tolist()


def test_a_selection_of_a_split_counts_within_the_split(numbered: Path) -> None:
    val = kseq.ShardDataset(numbered, "val")
    selected = val.take([7, 3, 7])
    assert ids_of(selected) == val.sample_ids([7, 3, 7]).tolist()
    assert selected.split == "val"
    assert selected.source(1) == val.source(3)
    np.testing.assert_array_equal(selected[-1]["image"], val[7]["image"])


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("b", range(50, 80)),
        (1, range(50, 80)),
        (np.int64(1), range(50, 80)),
        (["a", "c"], [*range(50), *range(80, 100)]),
        (("c", 0), [*range(50), *range(80, 100)]),
        ({"a", "b", "c"}, range(100)),
        (range(2), range(80)),
        (np.array([2, 1]), range(50, 100)),
        ([], []),
        (lambda labels: labels > 1, range(80, 100)),
    ],
)
def test_where_chooses_by_classes(whole: kseq.ShardDataset, condition: Any, numbers: Any) -> None:
    assert ids_of(whole.where(label=condition)) == list(numbers)


def test_where_of_a_split_chooses_within_it(numbered: Path) -> None:
    train = kseq.ShardDataset(numbered, "train")
    assert ids_of(train.where(label="c")) == [number for number in ids_of(train) if number >= 80]


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({}, range(6)),
        ({"label": "dog"}, [1, 4]),
        ({"label": ["cat", "dog"], "age": 5}, [1]),
        # What is stored is the float32 nearest to it.
        ({"height": 0.1}, [0, 3]),
        ({"height": [0.1, 0.5]}, [0, 3, 5]),
        ({"height": lambda values: values > 0.4}, [4, 5]),
        ({"age": 5}, [1, 3]),
        ({"age": 5.0}, [1, 3]),
        ({"age": 4.5}, []),
        # Of several values, one that fits is enough.
        ({"at": 4}, [1, 2]),
        ({"topics": "red"}, [0, 3, 5]),
        ({"topics": ["blue", "green"]}, [0, 2, 4]),
        ({"topics": lambda values: np.array([len(value) == 0 for value in values])}, [1]),
        ({"text": "a"}, [0, 4]),
        ({"text": ["é", ""]}, [2, 3]),
        ({"boxes": lambda values: np.array([len(value) > 0 for value in values])}, [1]),
    ],
)
def test_where_chooses_by_every_content(rich: kseq.ShardDataset, conditions: dict[str, Any], numbers: Any) -> None:
    assert ids_of(rich.where(**conditions)) == list(numbers)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"kind": "cat"}, ("'kind'", "image", "label", "height")),
        ({"image": 5}, ("'image'", "label", "height")),
        ({"label": "cta"}, ("'cta'", "'cat'")),
        ({"label": 3}, ("label=3", "[0, 3)")),
        ({"label": -1}, ("label=-1", "[0, 3)")),
        ({"label": True}, ("label=True",)),
        ({"label": [1.0]}, ("label=1.0",)),
        ({"label": None}, ("label=None",)),
        ({"topics": "cat"}, ("'cat'", "'blue'", "'green'", "'red'")),
        ({"height": "tall"}, ("height='tall'",)),
        ({"text": 1}, ("text=1",)),
        ({"boxes": 1}, ()),
        ({"age": lambda values: values}, ("age", "int64", "(6,)", "bool")),
        ({"age": lambda values: [True]}, ("age", "(1,)", "(6,)")),
    ],
)
def test_where_refuses_in_one_line(rich: kseq.ShardDataset, conditions: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        rich.where(**conditions)


def test_where_on_nothing_is_nothing(rich: kseq.ShardDataset) -> None:
    nothing = rich.where(label=[])
    assert len(nothing) == 0 and list(nothing) == []
    assert len(nothing.where(label="cat", at=1, topics="red", text="a")) == 0


def test_of_many_classes_a_message_names_some(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {f"k{number:02d}": 1 for number in range(14)})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    with raises(ArgumentError, "'x'", "'k00'", "'k09'", 4):
        kseq.ShardDataset(tmp_path / "packed").where(label="x")


def test_values_are_those_of_a_read(rich: kseq.ShardDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.reading.dataset._VALUES_AT_ONCE", 4)
    dataset = rich.take([5, 0, 0, 3, 1])
    read = dataset.read(range(5))
    for name in ("label", "height", "age", "at"):
        np.testing.assert_array_equal(dataset.values(name), read[name], strict=True)
    assert dataset.values("text") == read["text"]
    for name in ("topics", "boxes"):
        assert [sample.tolist() for sample in dataset.values(name)] == [value.tolist() for value in read[name]]


@pytest.mark.parametrize(
    ("numbers", "error", "words"),
    [
        ([100], OutOfRangeError, ("sample 100", "[0, 100)")),
        ([-1], OutOfRangeError, ("sample -1", "[0, 100)")),
        ([0.5], ArgumentError, ("float64", "(1,)")),
        ([True] * 100, ArgumentError, ("bool", "(100,)")),
        (5, ArgumentError, ("int64", "()")),
    ],
)
def test_take_refuses_what_a_read_refuses(whole: kseq.ShardDataset, numbers: Any, error: type, words: Parts) -> None:
    with raises(error, *words):
        whole.take(numbers)


def test_selections_share_their_open_shards(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    selected = dataset.where(label="b").take(range(10))
    selected.read(range(10))
    assert sample_reader(selected).collection.shards is sample_reader(dataset).collection.shards


def test_closing_one_closes_no_other(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    selected, more = dataset.take([5, 6]), dataset.take([7])
    more.close()
    dataset.close()
    assert numbers_of(selected.read([0, 1])["image"]).tolist() == [5, 6]
    for closed in (dataset, more):
        for use in (len, lambda each: each.read([0]), lambda each: each.take([0]), lambda each: each.where(label="a")):
            with pytest.raises(ClosedError):
                use(closed)
    with pytest.raises(ClosedError):
        selected.concat(dataset)


def test_a_digest_stands_for_what_was_selected(numbered: Path, second: Path) -> None:
    dataset, again = kseq.ShardDataset(numbered), kseq.ShardDataset(numbered, "train")
    other = kseq.ShardDataset(second)
    selected = dataset.take([5, 6])
    train = again.sample_ids(range(2))
    digests = [
        dataset.digest, selected.digest, dataset.take([6, 5]).digest, dataset.take([5, 6, 6]).digest, other.digest,
        dataset.concat(other).digest, other.concat(dataset).digest, dataset.concat(dataset).digest, other.take([5, 6]).digest,
    ]  # fmt: skip
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)
    assert dataset.where(label="a").take([5, 6]).digest == selected.digest
    assert again.take([0, 1]).digest == dataset.take(train).digest


@pytest.mark.parametrize("joined", [False, True])
def test_a_pickled_selection_reads_the_same_in_a_process_started_afresh(
    whole: kseq.ShardDataset, second: Path, joined: bool
) -> None:
    selected = whole.take([70, 3, 3, 99])
    if joined:
        selected = selected.concat(kseq.ShardDataset(second).take([23, 0]))
    copy = pickle.loads(pickle.dumps(selected))
    assert (ids_of(copy), copy.digest, copy.class_names) == (ids_of(selected), selected.digest, selected.class_names)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        images = executor.submit(kseq.ShardDataset.read, selected, range(len(selected))).result(60)["image"]
    assert numbers_of(images).tolist() == [70, 3, 3, 99] + [23, 0] * joined


def test_a_pickle_of_a_selection_that_was_packed_anew_is_refused(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 6})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    pickled = pickle.dumps(kseq.ShardDataset(tmp_path / "packed").take([5]))
    write_numbered(tmp_path / "photos", {"b": 6})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0, overwrite=True)
    with raises(DamagedError):
        pickle.loads(pickled)


@needs_fork
def test_a_forked_child_reads_selections_and_joined_datasets(numbered: Path, second: Path, run_python: RunPython) -> None:
    code = """
import os, sys
import kseq
from kseq.reading.dataset import reopen, sample_reader
from tests.helpers.photos import numbers_of
dataset = kseq.ShardDataset(sys.argv[1])
selected = dataset.where(label="c")
joined = selected.concat(kseq.ShardDataset(sys.argv[2]))
joined.read(range(len(joined)))
with sample_reader(dataset).collection.shards._lock:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            assert numbers_of(selected.read(range(20))["image"]).tolist() == list(range(80, 100))
            assert numbers_of(joined.read([19, 20, 43])["image"]).tolist() == [99, 0, 23]
            status = 0
        finally:
            os._exit(status)
assert os.waitpid(process, 0)[1] == 0
"""
    run_python(code, numbered, second, timeout=200)


@given(data=st.data())
def test_joined_datasets_read_as_their_arrays_in_a_row(whole: kseq.ShardDataset, second: Path, data: st.DataObject) -> None:
    other = kseq.ShardDataset(second)
    here = data.draw(st.lists(st.integers(0, 99), max_size=10))
    there = data.draw(st.lists(st.integers(0, 23), min_size=1, max_size=10))
    joined = whole.take(here).concat(other.take(there))
    pixels = np.array([*here, *there])
    labels = [*np.searchsorted([50, 80], here, side="right"), *np.searchsorted([4, 12], there, side="right")]
    asked = data.draw(st.lists(st.integers(0, len(pixels) - 1), max_size=20))
    read = joined.read(asked)
    assert numbers_of(read["image"]).tolist() == pixels[asked].tolist()
    assert read["label"].tolist() == np.array(labels)[asked].tolist()
    assert joined.sample_ids(asked).tolist() == np.array([*here, *(100 + number for number in there)])[asked].tolist()
    assert [joined.source(number) for number in asked] == [
        whole.source(here[number]) if number < len(here) else other.source(there[number - len(here)]) for number in asked
    ]


def test_many_datasets_join_in_any_grouping(numbered: Path, second: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 1, "b": 2, "c": 3})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", images=kseq.ImageSettings("raw", (4, 4)), workers=0)
    one, two, three = (kseq.ShardDataset(path) for path in (numbered, second, tmp_path / "packed"))
    left, right = one.concat(two).concat(three), one.concat(two.concat(three))
    assert ids_of(left) == ids_of(right) == list(range(130))
    assert left.digest == right.digest
    for joined in (left, right):
        assert numbers_of(joined.read([99, 100, 123, 124, 129])["image"]).tolist() == [99, 0, 23, 0, 5]
    # In another order, sample ids are others; the samples are the same.
    assert numbers_of(three.concat(one.concat(two)).read([5, 6, 105, 106])["image"]).tolist() == [5, 0, 99, 0]


def test_samples_of_the_same_dataset_keep_their_ids(numbered: Path, second: Path) -> None:
    train, val = kseq.ShardDataset(numbered, "train"), kseq.ShardDataset(numbered, "val")
    both = val.concat(train)
    assert ids_of(both) == ids_of(val) + ids_of(train)
    assert both.split is None and train.concat(train).split == "train"
    assert len(sample_reader(both).collection.indexes) == 1
    again = kseq.ShardDataset(second).concat(train).concat(val)
    assert ids_of(again) == [*range(24), *(24 + number for number in ids_of(train) + ids_of(val))]


def test_joined_encoded_images_may_differ_in_size(tmp_path: Path) -> None:
    for name, side in (("small", 6), ("large", 9)):
        write_numbered(tmp_path / name, {"a": 3}, side, side)
        kseq.pack(tmp_path / name, tmp_path / f"{name}-packed", workers=0)
    small, large = (kseq.ShardDataset(tmp_path / f"{name}-packed") for name in ("small", "large"))
    joined = small.concat(large)
    assert (small.fields["image"].shape, joined.fields["image"].shape) == ((6, 6, 3), (None, None, 3))
    images = joined.read(range(6))["image"]
    assert [image.shape for image in images] == [(6, 6, 3)] * 3 + [(9, 9, 3)] * 3
    assert sample_reader(joined).locate(np.arange(6)).sizes("image").tolist() == [[6, 6]] * 3 + [[9, 9]] * 3


def test_joined_ragged_fields_come_in_the_order_asked(rich: kseq.ShardDataset, tmp_path: Path) -> None:
    shutil.copytree(rich.path, tmp_path / "copy")
    joined = rich.take([0, 1]).concat(kseq.ShardDataset(tmp_path / "copy").take([2, 3]))
    assert len(sample_reader(joined).collection.indexes) == 2
    assert joined.read([3, 0, 2, 1])["text"] == ["", "a", "é", "b"]
    assert [value.tolist() for value in joined.values("topics")] == [[2, 0], [], [0], [2]]


def pack_numbered(folder: Path, counts: dict[str, int], **options: Any) -> kseq.ShardDataset:
    write_numbered(folder / "photos", counts)
    kseq.pack(folder / "photos", folder / "packed", workers=0, **options)
    return kseq.ShardDataset(folder / "packed")


@pytest.mark.parametrize(
    ("counts", "options", "words"),
    [
        ({"a": 1, "b": 1}, {"images": kseq.ImageSettings("raw", (4, 4))}, ("class 2", "'c'")),
        ({"a": 1, "b": 1, "d": 1}, {"images": kseq.ImageSettings("raw", (4, 4))}, ("class 2", "'d'", "'c'")),
        (
            {"a": 1, "b": 1, "c": 1}, {"images": kseq.ImageSettings("raw", (8, 8))},
            ("'image'", "8 x 8", "4 x 4", 3),
        ),
        (
            {"a": 1, "b": 1, "c": 1}, {},
            ("'image'", "4 x 4", "encoded", "raw"),
        ),
    ],
)  # fmt: skip
def test_refuses_to_join_what_does_not_go_together(
    whole: kseq.ShardDataset, tmp_path: Path, counts: dict[str, int], options: dict[str, Any], words: Parts
) -> None:
    other = pack_numbered(tmp_path, counts, **options)
    with raises(ArgumentError, other.path, whole.path, *words):
        whole.concat(other)


def test_refuses_to_join_samples_that_hold_other_fields(whole: kseq.ShardDataset, rich: kseq.ShardDataset) -> None:
    for one, other in ((whole, rich), (rich, whole)):
        with raises(ArgumentError, whole.path, "'height'", rich.path):
            one.concat(other)


@pytest.mark.parametrize("other", [None, "flowers", []])
def test_refuses_to_join_what_is_no_dataset(whole: kseq.ShardDataset, other: Any) -> None:
    with raises(ArgumentError, f"other={other!r}"):
        whole.concat(other)


def test_joined_datasets_describe_themselves(numbered: Path, second: Path) -> None:
    joined = kseq.ShardDataset(numbered, "train").concat(kseq.ShardDataset(second, "train"))
    assert joined.path == f"{numbered} + {second}"
    content = "image (raw pixels, 4 x 4, 3 channels), label (int32), 3 classes: a, b, c"
    assert repr(joined) == f"<ShardDataset '{numbered} + {second}' train: 98 samples, selected; {content}>"
    assert joined.splits == {"train": 98, "val": 26}
    assert (joined.rejected(), joined.class_names) == ([], ("a", "b", "c"))
    with raises(ArgumentError, 2):
        joined.split_ids("train")
    assert "train: 1 sample, selected;" in repr(joined.take([3]))


def test_damage_in_a_joined_dataset_names_its_file(numbered: Path, tmp_path: Path) -> None:
    other = pack_numbered(tmp_path, {"a": 1, "b": 1, "c": 1}, images=kseq.ImageSettings("raw", (4, 4)))
    name = Path(other.path) / "shard-00000.h5"
    content = bytearray(name.read_bytes())
    pixel = content.index(bytes([1, 0, 7] * 16))
    content[pixel] ^= 255
    name.write_bytes(content)
    joined = kseq.ShardDataset(numbered).concat(kseq.ShardDataset(other.path))
    joined.read([99, 100, 102])
    with raises(DamagedError, name, "row 1"):
        joined.read([101])


def test_reopened_datasets_stand_on_their_own(numbered: Path, second: Path) -> None:
    joined = kseq.ShardDataset(numbered, verify="never").take([5]).concat(kseq.ShardDataset(second))
    again = reopen(joined, "always")
    assert (again.verify, ids_of(again), again.digest) == ("always", ids_of(joined), joined.digest)
    joined.close()
    assert numbers_of(again.read([0, 1])["image"]).tolist() == [5, 0]
