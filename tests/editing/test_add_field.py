"""New fields of a packed dataset, from a table or an array."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.editing.transaction import begin_transaction
from kseq.errors import ArgumentError, KseqError, SourceError
from kseq.storage.fields import Field
from tests.helpers.edited import check_undo, class_names_of, labels_of, published_files, write_lines
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import write_numbered


def test_a_table_of_numbers_is_a_field_like_those_that_were_packed(packed: Path, tmp_path: Path) -> None:
    before = published_files(packed)
    rows = [f"{number},{number * 0.1}" for number in reversed(range(100))]
    report = kseq.add_field(packed, "height", write_lines(tmp_path / "heights.csv", "id,height", *rows))
    assert (report.field, report.num_given, report.num_defaulted) == (Field("height", "numbers", False, "<f4", ()), 100, 0)
    dataset = kseq.ShardDataset(packed)
    np.testing.assert_array_equal(dataset.values("height"), np.array([number * 0.1 for number in range(100)], "<f4"))
    with kseq.ShardSequence(packed, "val", batch_size=20, shuffle=False, targets="height") as val:
        np.testing.assert_allclose(val[0][1], val.sample_ids(0) * 0.1, rtol=1e-6)
    assert dataset.changes == ("add-field height (numbers) from 'heights.csv'",)
    check_undo(packed, before)


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
    table = write_lines(tmp_path / "all.jsonl", *lines)
    kind = options.get("kind")
    field_name = kind or name
    columns = kseq.Columns(**({kind: name} if kind else {"targets": name}))
    kseq.pack(table, tmp_path / "with", columns=columns, workers=0)
    kseq.pack(table, tmp_path / "without", workers=0)
    kseq.add_field(tmp_path / "without", field_name, table, column=name, kind=kind)
    expected, found = (kseq.ShardDataset(tmp_path / name) for name in ("with", "without"))
    assert found.fields == expected.fields
    for number in range(12):
        assert found.stored_bytes(number, field_name) == expected.stored_bytes(number, field_name)


def test_a_label_where_there_is_none_makes_a_dataset_of_classes(objects: Path, tmp_path: Path) -> None:
    before = published_files(objects)
    rows = [f"{number},{'even' if number % 2 == 0 else 'a'}" for number in range(30)]
    report = kseq.add_field(objects, "label", write_lines(tmp_path / "new.csv", "id,class", *rows))
    assert report.class_names == ("a", "even")
    dataset = kseq.ShardDataset(objects)
    assert list(dataset.fields)[:2] == ["image", "label"]
    assert dataset.class_names == ("a", "even")
    assert labels_of(objects) == [1 - number % 2 for number in range(30)]
    with kseq.ShardSequence(objects, "all", batch_size=30) as sequence:
        assert sequence[0][1].tolist() == labels_of(objects)
    check_undo(objects, before)
    kseq.add_field(objects, "label", tmp_path / "new.csv", class_names=["even", "odd", "a"])
    assert labels_of(objects) == [0 if number % 2 == 0 else 2 for number in range(30)]


def test_an_array_has_a_row_for_each_sample_id(packed: Path, objects: Path, tmp_path: Path) -> None:
    before = published_files(packed)
    vectors = np.random.default_rng(0).normal(size=(100, 3, 2))
    np.save(tmp_path / "new.npy", vectors)
    assert kseq.add_field(packed, "embedding", tmp_path / "new.npy").field.shape == (3, 2)
    np.testing.assert_array_equal(kseq.ShardDataset(packed).values("embedding"), vectors.astype("<f4"))
    check_undo(packed, before)
    np.save(tmp_path / "new.npy", np.arange(100, dtype=">u2"))
    assert kseq.add_field(packed, "order", tmp_path / "new.npy").field.dtype == "<i8"
    assert kseq.add_field(packed, "weight", tmp_path / "new.npy", kind="sample_weight").field.dtype == "<f4"
    np.testing.assert_array_equal(kseq.ShardDataset(packed).values("order"), np.arange(100))
    np.save(tmp_path / "new.npy", np.arange(30) % 3 * 5)
    assert kseq.add_field(objects, "label", tmp_path / "new.npy").class_names == ("0", "5", "10")
    assert labels_of(objects) == [number % 3 for number in range(30)]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(99), ("float64", 99, 100)),
        (np.array(["x"] * 100), (100,)),
        (np.array([np.nan] * 100), ()),
        (np.full(100, 1e39), ()),
        (np.full(100, 2**63, np.uint64), ()),
        (np.zeros((100, 0)), ()),
        (None, ()),
        (b"PK", ()),
        (np.array([None] * 100), ()),
    ],
    ids=str,
)
def test_arrays_that_are_no_field_are_refused(packed: Path, tmp_path: Path, array: Any, message: Parts) -> None:
    before = published_files(packed)
    if isinstance(array, bytes):
        (tmp_path / "new.npy").write_bytes(array)
    elif array is not None:
        np.save(tmp_path / "new.npy", array)
    with raises(SourceError, *message):
        kseq.add_field(packed, "height", tmp_path / "new.npy")
    assert published_files(packed) == before


def test_every_sample_that_remains_needs_a_value_or_gets_the_default(packed: Path, tmp_path: Path) -> None:
    with begin_transaction(packed) as change:
        change.publish("dropped some", dropped=np.array([1, 50], "<u8"))
    rows = [f"{number},{number}" for number in range(100) if number not in (1, 50)]
    assert kseq.add_field(packed, "one", write_lines(tmp_path / "new.csv", "id,one", *rows)).num_given == 98
    file = write_lines(tmp_path / "new.csv", "id,two", "3,7", "4,", "1,9")
    with raises(SourceError, 96, 98, 0, "default="):
        kseq.add_field(packed, "two", file)
    report = kseq.add_field(packed, "two", file, default="0.5")
    assert (report.field.dtype, report.num_given, report.num_defaulted) == ("<f4", 2, 97)
    values = kseq.ShardDataset(packed).values("two")
    assert values[:5].tolist() == [0.5, 0.5, 7, 0.5, 0.5]
    assert kseq.verify(packed).damaged == []


def test_of_several_labels_none_is_an_empty_list(packed: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "new.csv", "id,topics", "3,x|y", "99,y")
    for default in ("", "[]", []):
        kseq.add_field(packed, "topics", file, default=default, replace=True)
        assert [number for number, name in enumerate(class_names_of(packed, "topics")) if name] == [3, 99]
        assert class_names_of(packed, "topics")[3] == ["x", "y"]


def test_a_field_takes_the_place_of_another_when_that_is_said(objects: Path, tmp_path: Path) -> None:
    before = published_files(objects)
    rows = [f"{number},{'|'.join('xyz'[: number % 4])}" for number in range(30)]
    file = write_lines(tmp_path / "new.csv", "id,height", *rows)
    with raises(ArgumentError, objects, "'height'", "replace=True"):
        kseq.add_field(objects, "height", file)
    assert kseq.add_field(objects, "height", file, replace=True).replaced
    dataset = kseq.ShardDataset(objects)
    assert list(dataset.fields) == ["image", "topics", "height", "labels", "boxes", "text"]
    assert class_names_of(objects, "height") == [list("xyz"[: number % 4]) for number in range(30)]
    # And once more, by one whose samples are as long as each other.
    np.save(tmp_path / "new.npy", np.arange(60).reshape(30, 2))
    kseq.add_field(objects, "height", tmp_path / "new.npy", replace=True)
    np.testing.assert_array_equal(kseq.ShardDataset(objects).values("height"), np.arange(60).reshape(30, 2))
    assert kseq.verify(objects).damaged == []
    kseq.undo(objects)
    assert kseq.ShardDataset(objects).fields["height"].kind == "multi_label"
    assert published_files(objects).keys() == before.keys()


@pytest.mark.parametrize(
    ("name", "cells", "options", "message"),
    [
        ("Height", ["1"], {}, ("'Height'",)),
        ("image", ["1"], {"replace": True}, ("'image'", "kseq.pack", "image")),
        ("mask", ["1"], {"kind": "mask"}, ("kind='mask'", "multi_label", "sample_weight", "numbers", "text")),
        ("label", ["1"], {"kind": "text"}, ("kind='text'",)),
        ("height", ["1"], {"class_names": ["a"]}, ("class_names=", "'label'", "'height'")),
        ("height", ["1", "nan"], {}, ("new.csv", "row 2", "nan")),
        ("height", ["1", ""], {}, ("new.csv", "row 2")),
        (
            "importance",
            ["1", "-1"],
            {"kind": "sample_weight"},
            ("new.csv", "row 2", -1, 0),
        ),
        ("height", ["1"], {"default": "inf"}, ("default='inf'", "inf")),
        (
            "label",
            ["x"],
            {"replace": True, "class_names": ["y"]},
            ("row 1", "'x'"),
        ),
    ],
)
def test_what_is_no_field_is_refused_in_one_line(
    packed: Path, tmp_path: Path, name: str, cells: list[str], options: dict[str, Any], message: Parts
) -> None:
    before = published_files(packed)
    rows = [f"{number},{(cells * 100)[number]}" for number in range(100)]
    with raises(KseqError, *message):
        kseq.add_field(packed, name, write_lines(tmp_path / "new.csv", "id,value", *rows), **options)
    assert published_files(packed) == before
