"""Other labels, other names of classes, and new fields of a packed dataset, all of which can be taken back."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kseq
from kseq.editing.columns import read_column, replace_values, select_values
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError, KseqError, LockedError, SourceError
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.lock import locked
from kseq_tools.main import main
from tests.helpers.photos import write_numbered

CLASSES = ("a", "b", "c")


@pytest.fixture
def packed(numbered: Path, tmp_path: Path) -> Path:
    """A copy of the numbered dataset, to be changed."""
    return Path(shutil.copytree(numbered, tmp_path / "packed"))


@pytest.fixture(scope="module")
def topical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 samples with several labels, boxes and their labels, text and numbers, and no class of their own."""
    root = tmp_path_factory.mktemp("topical")
    write_numbered(root / "photos", {"x": 30}, 8, 8)
    lines = []
    for number in range(30):
        boxes = [[0, 0, 1 + each, 2] for each in range(number % 3)]
        kinds = ["bee", "fly"][: number % 3]
        topics = ["garden", "summer", "weg"][number % 4 :]
        row = {"image": f"photos/x/{number:05d}.png", "topics": topics, "boxes": boxes, "kinds": kinds, "words": str(number)}
        lines.append(json.dumps({**row, "height": number}))
    (root / "all.jsonl").write_text("\n".join(lines))
    columns = kseq.Columns(label="", targets=["topics", "height"], boxes="boxes", box_labels="kinds", text="words")
    kseq.pack(
        root / "all.jsonl",
        root / "packed",
        columns=columns,
        images=kseq.ImageSettings("raw", (8, 8)),
        val=0.2,
        shard_bytes=2_000,
        workers=0,
    )
    return root / "packed"


@pytest.fixture
def objects(topical: Path, tmp_path: Path) -> Path:
    """A copy of that, to be changed."""
    return Path(shutil.copytree(topical, tmp_path / "objects"))


def files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.name != "index.h5.1"}


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def labels(path: Path) -> list[int]:
    values = kseq.ShardDataset(path).values("label")
    assert isinstance(values, np.ndarray)
    return values.tolist()


def named(path: Path, field: str) -> list[list[str]]:
    """The class names of each sample of a field of several."""
    dataset = kseq.ShardDataset(path)
    names = dataset.fields[field].class_names
    return [[names[number] for number in each] for each in dataset.values(field)]


def undone(path: Path, before: dict[str, bytes]) -> None:
    """Checks what holds after every change: nothing is damaged, and undo brings the very bytes back."""
    assert kseq.verify(path).damaged == []
    assert kseq.undo(path).taken_back
    assert files(path) == before


# Relabelling.


def test_samples_that_are_named_get_their_labels_and_others_keep_theirs(packed: Path, tmp_path: Path) -> None:
    before, old = files(packed), labels(packed)
    file = write(tmp_path / "new.csv", "id,label", "0,b", "99,a", "60,2", "1,a", "40,c")
    report = kseq.relabel(packed, file)
    assert (report.num_named, report.num_changed, report.new_class_names) == (5, 4, ())
    assert report.label_changes == [("a", "b", 1), ("a", "c", 1), ("b", "c", 1), ("c", "a", 1)]
    changed = {0: 1, 99: 0, 60: 2, 1: 0, 40: 2}
    assert labels(packed) == [changed.get(number, label) for number, label in enumerate(old)]
    dataset = kseq.ShardDataset(packed)
    assert dataset.read([0, 99, 5])["image"][:, 0, 0, 0].tolist() == [0, 99, 5]
    assert dataset.changes == ("relabel 4 samples by 'new.csv'",)
    with kseq.ShardSequence(packed, "all", batch_size=100) as sequence:
        assert sequence[0][1].tolist() == labels(packed)
    undone(packed, before)


def test_a_source_names_a_sample_as_well_as_its_id(packed: Path, tmp_path: Path) -> None:
    kseq.relabel(packed, write(tmp_path / "new.jsonl", '{"source": "b/00050.png", "class": "c"}'))
    assert labels(packed)[50] == 2
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"path": "b/00051.png", "verdict": 0}, {"path": "b/00052.png", "verdict": 1}]),
        tmp_path / "new.parquet",
    )
    assert kseq.relabel(packed, tmp_path / "new.parquet").label_changes == [("b", "a", 1)]
    assert labels(packed)[50:53] == [2, 0, 1]


def test_a_typing_error_is_refused_unless_new_classes_are_asked_for(packed: Path, tmp_path: Path) -> None:
    before = files(packed)
    file = write(tmp_path / "new.csv", "id,label", "3,zebra", "4,ab", "5,zebra", "6,a")
    with pytest.raises(
        SourceError, match=r"new.csv: row 1: there is no class 'zebra', there is 'a', 'b', 'c' \(add_classes=True "
    ):
        kseq.relabel(packed, file)
    assert files(packed) == before
    report = kseq.relabel(packed, file, add_classes=True)
    assert report.new_class_names == ("zebra", "ab")
    assert report.label_changes == [("a", "zebra", 2), ("a", "ab", 1)]
    assert kseq.ShardDataset(packed).class_names == (*CLASSES, "zebra", "ab")
    assert labels(packed)[3:7] == [3, 4, 3, 0]
    assert [len(kseq.ShardDataset(packed).where(label=name)) for name in ("zebra", "ab", "a")] == [2, 1, 47]
    undone(packed, before)


def test_a_class_that_is_called_like_a_number_is_never_taken_for_one(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"10": 2, "1": 2, "x": 2})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").class_names == ("1", "10", "x")
    kseq.relabel(tmp_path / "packed", write(tmp_path / "new.csv", "id,label", "5,1"))
    assert labels(tmp_path / "packed") == [0, 0, 1, 1, 2, 0]
    with pytest.raises(SourceError, match="row 1: there is no class '0'"):
        kseq.relabel(tmp_path / "packed", write(tmp_path / "new.csv", "id,label", "5,0"))


def test_nothing_is_published_where_nothing_changes(packed: Path, tmp_path: Path) -> None:
    before = files(packed)
    report = kseq.relabel(packed, write(tmp_path / "new.csv", "id,label", "0,a", "99,c"), add_classes=True)
    assert (report.num_named, report.num_changed, report.label_changes) == (2, 0, [])
    assert files(packed) == before
    assert not (packed / "index.h5.1").exists()


def test_several_labels_are_changed_as_one_is(objects: Path, tmp_path: Path) -> None:
    before, old = files(objects), named(objects, "topics")
    rows = ["id,topics", "29,weg|garden", "0,", '7,"[""summer"", ""nëw""]"', "1,summer|weg"]
    report = kseq.relabel(objects, write(tmp_path / "new.csv", *rows), field="topics", add_classes=True)
    assert report.label_changes == [("", "summer|nëw", 1), ("garden|summer|weg", "", 1), ("summer|weg", "weg|garden", 1)]
    changed = {29: ["weg", "garden"], 0: [], 7: ["summer", "nëw"]}
    assert named(objects, "topics") == [changed.get(number, value) for number, value in enumerate(old)]
    dataset = kseq.ShardDataset(objects)
    # Samples have no label: the dataset's classes are those of the first field that has some.
    assert dataset.class_names == dataset.fields["topics"].class_names == ("garden", "summer", "weg", "nëw")
    assert dataset.changes == ("relabel topics, 3 samples by 'new.csv', new classes 'nëw'",)
    with kseq.ShardSequence(objects, "all", batch_size=30, targets={"topics": "topics"}) as sequence:
        assert sequence[0][1]["topics"].sum(axis=1).tolist() == [len(each) for each in named(objects, "topics")]
    undone(objects, before)


def test_labels_of_boxes_stay_as_many(objects: Path, tmp_path: Path) -> None:
    assert (
        kseq.relabel(objects, write(tmp_path / "new.csv", "id,labels", "2,fly|fly", "1,fly"), field="labels").num_changed == 2
    )
    assert named(objects, "labels")[:3] == [[], ["fly"], ["fly", "fly"]]
    with pytest.raises(SourceError, match="row 1: has 1 labels, the sample has 2 boxes"):
        kseq.relabel(objects, write(tmp_path / "new.csv", "id,labels", "2,fly"), field="labels")


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["id,label", "100,a"], {}, r"row 1: '100' is no sample id, allowed are 0 to 99"),
        (["id,label", "1,a", "1,b"], {}, r"row 2 names sample 1 again, after row 1"),
        (["id,label", "1,a", "2,"], {}, r"row 2: has no label"),
        (["id,label", "1,3"], {}, r"row 1: 3 is no class number, allowed are 0 to 2"),
        (["id,label", "1,-1"], {}, r"row 1: -1 is no class number, allowed are 0 to 2"),
        (["source,label", "nobody.png,a"], {}, r"row 1: 'nobody.png' is the source of no sample"),
        (
            ["id,one,two", "1,a,b"],
            {},
            r"which column has the values\? No column is called label, there is one, two: name it by column=",
        ),
        (["id,label", "1,a"], {"column": "lable"}, r"has 0 columns called 'lable'"),
        (["id,label", "1,a"], {"field": "image"}, r"field 'image' is image, those with classes are label"),
        (["id,label", "1,a"], {"field": "lable"}, r"there is no field 'lable', those with classes are label"),
    ],
)
def test_what_cannot_be_relabelled_is_refused_in_one_line(
    packed: Path, tmp_path: Path, lines: list[str], options: dict[str, Any], message: str
) -> None:
    before = files(packed)
    with pytest.raises(KseqError, match=message) as caught:
        kseq.relabel(packed, write(tmp_path / "new.csv", *lines), **options)
    assert "\n" not in str(caught.value)
    assert files(packed) == before


@pytest.mark.slow
@settings(deadline=None, max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.dictionaries(st.integers(0, 99), st.sampled_from(["a", "b", "c", "d"]), min_size=1), max_size=3))
def test_labels_are_those_of_the_last_time_that_a_file_named_the_sample(
    numbered: Path, tmp_path: Path, rounds: list[dict[int, str]]
) -> None:
    shutil.rmtree(tmp_path / "packed", ignore_errors=True)
    packed = Path(shutil.copytree(numbered, tmp_path / "packed"))
    names = [CLASSES[label] for label in labels(packed)]
    for new in rounds:
        now = [new.get(number, name) for number, name in enumerate(names)]
        report = kseq.relabel(
            packed,
            write(tmp_path / "new.csv", "id,label", *(f"{number},{name}" for number, name in new.items())),
            add_classes=True,
        )
        wanted = Counter((old, its) for old, its in zip(names, now, strict=True) if old != its)
        assert {(each.before, each.after): each.num_samples for each in report.label_changes} == wanted
        assert [each.num_samples for each in report.label_changes] == sorted(wanted.values(), reverse=True)
        names = now
    dataset = kseq.ShardDataset(packed)
    assert [dataset.class_names[label] for label in labels(packed)] == names


@pytest.mark.slow
@settings(deadline=None, max_examples=200, derandomize=True)
@given(data=st.data())
def test_other_values_for_some_samples_are_what_a_list_would_hold(data: st.DataObject) -> None:
    lists = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=12))
    news = data.draw(st.dictionaries(st.integers(0, len(lists) - 1), st.lists(st.integers(10, 19), max_size=4)))
    field = Field("topics", "multi_label", False, "<i4", (None,))
    flat = np.array([each for value in lists for each in value], "<i4")
    column = {"topics/values": flat, "topics/offsets": np.cumsum([0, *map(len, lists)]).astype("<u8")}
    made = replace_values(column, field, np.array(list(news), np.int64), [np.array(each, "<i4") for each in news.values()])
    found = [each.tolist() for each in select_values(made, field, np.arange(len(lists)))]
    assert found == [news.get(number, value) for number, value in enumerate(lists)]


def test_a_column_is_what_the_shards_hold_one_after_the_other(objects: Path) -> None:
    index, dataset = Index.open(str(objects)), kseq.ShardDataset(objects)
    assert index.num_shards > 2
    for name in ("topics", "boxes", "text", "height"):
        rows = select_values(read_column(index, dataset.fields[name]), dataset.fields[name], np.arange(30))
        stored = [dataset.stored_bytes(number, name) for number in range(30)]
        assert [each.tobytes() for each in rows] == stored


# Names of classes.


def test_a_class_gets_another_name_and_keeps_its_samples(packed: Path) -> None:
    before, old = files(packed), labels(packed)
    report = kseq.rename_class(packed, "b", "ünïque \udcff")
    assert (report.class_number, report.class_names) == (1, ("a", "ünïque \udcff", "c"))
    dataset = kseq.ShardDataset(packed)
    assert dataset.class_names == report.class_names
    assert labels(packed) == old
    assert dataset.changes == ("rename-class 'b' to 'ünïque \\udcff'",)
    undone(packed, before)


def test_a_class_of_several_labels_gets_another_name(objects: Path) -> None:
    before, old = files(objects), named(objects, "labels")
    kseq.rename_class(objects, "bee", "wasp", field="labels")
    assert named(objects, "labels") == [["wasp" if name == "bee" else name for name in each] for each in old]
    # Not the first field that has classes.
    assert kseq.ShardDataset(objects).class_names == ("garden", "summer", "weg")
    undone(objects, before)
    kseq.rename_class(objects, "weg", "path", field="topics")
    assert kseq.ShardDataset(objects).class_names == ("garden", "summer", "path")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kat", "x", "label: there is no class 'kat': is it 'cat'?"),
        ("x", "y", "label: there is no class 'x', there is 'cat', 'dog'"),
        ("cat", "dog", "label: there is a class 'dog' already: kseq.relabel(...) makes one of two"),
        ("cat", "", "new='': allowed is a name that is not empty, not 'nan', with no space at its ends"),
        ("cat", " x", "new=' x': allowed is a name"),
    ],
)
def test_names_that_classes_cannot_have_are_refused(packed_photos: Path, old: str, new: str, message: str) -> None:
    before = files(packed_photos)
    with pytest.raises(ArgumentError) as caught:
        kseq.rename_class(packed_photos, old, new)
    assert message in str(caught.value)
    assert files(packed_photos) == before


# New fields.


def test_a_table_of_numbers_is_a_field_like_those_that_were_packed(packed: Path, tmp_path: Path) -> None:
    before = files(packed)
    rows = [f"{number},{number * 0.1}" for number in reversed(range(100))]
    report = kseq.add_field(packed, "height", write(tmp_path / "heights.csv", "id,height", *rows))
    assert (report.field, report.num_given, report.num_defaulted) == (Field("height", "numbers", False, "<f4", ()), 100, 0)
    dataset = kseq.ShardDataset(packed)
    np.testing.assert_array_equal(dataset.values("height"), np.array([number * 0.1 for number in range(100)], "<f4"))
    with kseq.ShardSequence(packed, "val", batch_size=20, shuffle=False, targets={"height": "height"}) as val:
        np.testing.assert_allclose(val[0][1]["height"], val.sample_ids(0) * 0.1, rtol=1e-6)
    assert dataset.changes == ("add-field height (numbers) from 'heights.csv'",)
    undone(packed, before)


CELLS: dict[str, tuple[Callable[[int], Any], dict[str, Any]]] = {
    "vector": (lambda number: [number, 0.5], {}),
    "lists": (lambda number: [0.5] * (number % 3), {}),
    "whole": (lambda number: 10**17 + number, {}),
    "topics": (lambda number: ["x", "ü"][: number % 3], {}),
    "caption": (lambda number: f" {number}\n" * (number % 2), {"kind": "text"}),
    "importance": (lambda number: number / 2, {"kind": "sample_weight"}),
}


@pytest.mark.parametrize("name", CELLS)
def test_every_kind_of_field_is_what_packing_makes_of_the_same_cells(tmp_path: Path, name: str) -> None:
    cell, options = CELLS[name]
    write_numbered(tmp_path / "photos", {"a": 12})
    lines = [json.dumps({"path": f"photos/a/{number:05d}.png", "label": "a", name: cell(number)}) for number in range(12)]
    table = write(tmp_path / "all.jsonl", *lines)
    kind = options.get("kind")
    field_name = kind or name
    columns = kseq.Columns(**({kind: name} if kind else {"targets": name}))
    kseq.pack(table, tmp_path / "with", columns=columns, workers=0)
    kseq.pack(table, tmp_path / "without", workers=0)
    kseq.add_field(tmp_path / "without", field_name, table, column=name, kind=kind)
    expected, found = (kseq.ShardDataset(tmp_path / each) for each in ("with", "without"))
    assert found.fields == expected.fields
    for number in range(12):
        assert found.stored_bytes(number, field_name) == expected.stored_bytes(number, field_name)


def test_a_label_where_there_is_none_makes_a_dataset_of_classes(objects: Path, tmp_path: Path) -> None:
    before = files(objects)
    rows = [f"{number},{'even' if number % 2 == 0 else 'a'}" for number in range(30)]
    report = kseq.add_field(objects, "label", write(tmp_path / "new.csv", "id,class", *rows))
    assert report.class_names == ("a", "even")
    dataset = kseq.ShardDataset(objects)
    assert list(dataset.fields)[:2] == ["image", "label"]
    assert dataset.class_names == ("a", "even")
    assert labels(objects) == [1 - number % 2 for number in range(30)]
    with kseq.ShardSequence(objects, "all", batch_size=30) as sequence:
        assert sequence[0][1].tolist() == labels(objects)
    undone(objects, before)
    kseq.add_field(objects, "label", tmp_path / "new.csv", class_names=["even", "odd", "a"])
    assert labels(objects) == [0 if number % 2 == 0 else 2 for number in range(30)]


def test_an_array_has_a_row_for_each_sample_id(packed: Path, objects: Path, tmp_path: Path) -> None:
    before = files(packed)
    vectors = np.random.default_rng(0).normal(size=(100, 3, 2))
    np.save(tmp_path / "new.npy", vectors)
    assert kseq.add_field(packed, "embedding", tmp_path / "new.npy").field.shape == (3, 2)
    np.testing.assert_array_equal(kseq.ShardDataset(packed).values("embedding"), vectors.astype("<f4"))
    undone(packed, before)
    np.save(tmp_path / "new.npy", np.arange(100, dtype=">u2"))
    assert kseq.add_field(packed, "order", tmp_path / "new.npy").field.dtype == "<i8"
    assert kseq.add_field(packed, "weight", tmp_path / "new.npy", kind="sample_weight").field.dtype == "<f4"
    np.testing.assert_array_equal(kseq.ShardDataset(packed).values("order"), np.arange(100))
    np.save(tmp_path / "new.npy", np.arange(30) % 3 * 5)
    assert kseq.add_field(objects, "label", tmp_path / "new.npy").class_names == ("0", "5", "10")
    assert labels(objects) == [number % 3 for number in range(30)]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(99), r"is float64 \(99,\), expected are numbers for 100 sample ids"),
        (np.array(["x"] * 100), r"expected are numbers for 100 sample ids"),
        (np.array([np.nan] * 100), "allowed are finite numbers"),
        (np.full(100, 1e39), "allowed are finite numbers"),
        (np.full(100, 2**63, np.uint64), "allowed are finite numbers"),
        (np.zeros((100, 0)), "allowed are finite numbers"),
        (None, "cannot be read: No such file"),
        (b"PK", "is not an .npy array that can be read"),
        (np.array([None] * 100), "is not an .npy array that can be read"),
    ],
    ids=str,
)
def test_arrays_that_are_no_field_are_refused(packed: Path, tmp_path: Path, array: Any, message: str) -> None:
    before = files(packed)
    if isinstance(array, bytes):
        (tmp_path / "new.npy").write_bytes(array)
    elif array is not None:
        np.save(tmp_path / "new.npy", array)
    with pytest.raises(SourceError, match=message):
        kseq.add_field(packed, "height", tmp_path / "new.npy")
    assert files(packed) == before


def test_every_sample_that_remains_needs_a_value_or_gets_the_default(packed: Path, tmp_path: Path) -> None:
    with begin_transaction(packed) as change:
        change.publish("dropped some", dropped=np.array([1, 50], "<u8"))
    rows = [f"{number},{number}" for number in range(100) if number not in (1, 50)]
    assert kseq.add_field(packed, "one", write(tmp_path / "new.csv", "id,one", *rows)).num_given == 98
    file = write(tmp_path / "new.csv", "id,two", "3,7", "4,", "1,9")
    with pytest.raises(
        SourceError, match=r"says nothing of 96 of 98 samples \(the first is 0\): every one needs a value \(default= gives"
    ):
        kseq.add_field(packed, "two", file)
    report = kseq.add_field(packed, "two", file, default="0.5")
    assert (report.field.dtype, report.num_given, report.num_defaulted) == ("<f4", 2, 97)
    values = kseq.ShardDataset(packed).values("two")
    assert values[:5].tolist() == [0.5, 0.5, 7, 0.5, 0.5]
    assert kseq.verify(packed).damaged == []


def test_of_several_labels_none_is_an_empty_list(packed: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "new.csv", "id,topics", "3,x|y", "99,y")
    for default in ("", "[]", []):
        kseq.add_field(packed, "topics", file, default=default, replace=True)
        assert [number for number, each in enumerate(named(packed, "topics")) if each] == [3, 99]
        assert named(packed, "topics")[3] == ["x", "y"]


def test_a_field_takes_the_place_of_another_when_that_is_said(objects: Path, tmp_path: Path) -> None:
    before = files(objects)
    rows = [f"{number},{'|'.join('xyz'[: number % 4])}" for number in range(30)]
    file = write(tmp_path / "new.csv", "id,height", *rows)
    with pytest.raises(ArgumentError, match=r"has a field 'height' already \(replace=True takes its place\)"):
        kseq.add_field(objects, "height", file)
    assert kseq.add_field(objects, "height", file, replace=True).replaced
    dataset = kseq.ShardDataset(objects)
    assert list(dataset.fields) == ["image", "topics", "height", "labels", "boxes", "text"]
    assert named(objects, "height") == [list("xyz"[: number % 4]) for number in range(30)]
    # And once more, by one whose samples are as long as each other.
    np.save(tmp_path / "new.npy", np.arange(60).reshape(30, 2))
    kseq.add_field(objects, "height", tmp_path / "new.npy", replace=True)
    np.testing.assert_array_equal(kseq.ShardDataset(objects).values("height"), np.arange(60).reshape(30, 2))
    assert kseq.verify(objects).damaged == []
    kseq.undo(objects)
    assert kseq.ShardDataset(objects).fields["height"].kind == "multi_label"
    assert files(objects).keys() == before.keys()


@pytest.mark.parametrize(
    ("name", "cells", "options", "message"),
    [
        ("Height", ["1"], {}, "field name 'Height': allowed are lower-case letters"),
        ("image", ["1"], {"replace": True}, "field 'image' is image, which comes by kseq.pack"),
        ("mask", ["1"], {"kind": "mask"}, "kind='mask': allowed is multi_label, numbers, text, sample_weight or None"),
        ("label", ["1"], {"kind": "text"}, "kind='text': allowed is None for the label"),
        ("height", ["1"], {"class_names": ["a"]}, "class_names= goes with the field 'label', found 'height'"),
        ("height", ["1", "nan"], {}, r"new.csv: row 2 has nan, allowed are finite numbers"),
        ("height", ["1", ""], {}, r"new.csv: row 2 has no number"),
        (
            "importance",
            ["1", "-1"],
            {"kind": "sample_weight"},
            r"new.csv: row 2 has weight -1, allowed are finite numbers of 0 or more",
        ),
        ("height", ["1"], {"default": "inf"}, r"default='inf': has inf, allowed are finite numbers"),
        (
            "label",
            ["x"],
            {"replace": True, "class_names": ["y"]},
            r"row 1 has a label that is not among the class names: 'x'",
        ),
    ],
)
def test_what_is_no_field_is_refused_in_one_line(
    packed: Path, tmp_path: Path, name: str, cells: list[str], options: dict[str, Any], message: str
) -> None:
    before = files(packed)
    rows = [f"{number},{(cells * 100)[number]}" for number in range(100)]
    with pytest.raises(KseqError, match=message) as caught:
        kseq.add_field(packed, name, write(tmp_path / "new.csv", "id,value", *rows), **options)
    assert "\n" not in str(caught.value)
    assert files(packed) == before


def test_two_changes_at_once_are_kept_apart(packed: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "new.csv", "id,label", "1,b")
    changes: list[Callable[[], Any]] = [
        lambda: kseq.relabel(packed, file),
        lambda: kseq.add_field(packed, "x", file),
        lambda: kseq.rename_class(packed, "a", "x"),
    ]
    for make in changes:
        with locked(str(packed)), pytest.raises(LockedError, match="is being changed by process"):
            make()


def test_the_commands_say_what_they_did(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "new.csv", "id,label", "0,zebra", "1,zebra", "99,a", "2,a")
    assert main(["relabel", str(packed), str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"kseq: {file}: row 1: there is no class 'zebra'")
    assert main(["relabel", str(packed), str(file), "--add-classes"]) == 0
    assert capsys.readouterr().out == (
        "from     to  samples\na     zebra        2\nc         a        1\n\nnew class: zebra\n"
        f"{packed}: 3 of 4 samples that the file names had another label\n"
    )
    assert main(["rename-class", str(packed), "zebra", "quagga"]) == 0
    assert capsys.readouterr().out == f"{packed}: class 3, zebra, is quagga now; all 4: a, b, c, quagga\n"
    assert main(["add-field", str(packed), "topics", str(file), "--column", "label", "--default", ""]) == 0
    assert capsys.readouterr().out == (
        f"{packed}: topics (multi_label), new: 4 values, 96 samples with the default\n2 classes: a, zebra\n"
    )
    assert main(["undo", str(packed)]) == 0
    assert main(["info", str(packed)]) == 0
    shown = capsys.readouterr().out
    assert "quagga" in shown
    assert "topics:" not in shown
