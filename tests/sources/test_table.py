"""Tables of images: which columns are read, what becomes of odd rows, and that a table packs what a folder does."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, DatasetExistsError, KseqError, SourceError
from kseq.packing.plan import make_plan
from kseq.sources.column_roles import Columns
from kseq.sources.registry import open_source
from kseq.sources.table import TableSource
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.photos import write_numbered
from tests.helpers.tables import TABLE_WRITERS, write_csv, write_jsonl, write_parquet

Writer = Callable[[Path, list[dict[str, Any]]], Path]


def load(path: Path, columns: Columns | None = None, **settings: Any) -> TableSource:
    found = open_source(str(path), None, columns or Columns(), settings.pop("root", None), settings.pop("class_names", None))
    assert isinstance(found, TableSource)
    return found


def named(source: TableSource) -> list[tuple[str, int]]:
    return [(os.fsdecode(image.path), image.label) for image in source.images]


def refused(source: TableSource) -> dict[str, str]:
    return {os.fsdecode(image.path): image.rejection for image in source.images if image.rejection}


@pytest.mark.parametrize("write", TABLE_WRITERS)
def test_a_table_packs_what_the_folder_does(tmp_path: Path, write: Writer) -> None:
    write_numbered(tmp_path / "photos", {"daisy": 7, "rose": 5})
    files = sorted((tmp_path / "photos").rglob("*.png"))
    rows = [{"file": str(file.relative_to(tmp_path / "photos")), "class": file.parent.name} for file in files]
    table = write(tmp_path / "photos" / "table", rows)
    options: dict[str, Any] = {"images": kseq.ImageSettings("raw", (4, 4)), "val": 0.25, "workers": 0}
    kseq.pack(table, tmp_path / "from-table", **options)
    table.unlink()
    kseq.pack(tmp_path / "photos", tmp_path / "from-folder", **options)
    one, other = (kseq.ShardDataset(tmp_path / name) for name in ("from-table", "from-folder"))
    assert one.class_names == other.class_names == ("daisy", "rose")
    assert [one.source(number) for number in range(12)] == [other.source(number) for number in range(12)]
    for split in ("train", "val"):
        pair = [kseq.ShardDataset(tmp_path / name, split) for name in ("from-table", "from-folder")]
        batches = [entry.read(range(len(entry))) for entry in pair]
        for field in ("image", "label"):
            np.testing.assert_array_equal(batches[0][field], batches[1][field], strict=True)


@pytest.mark.parametrize("write", TABLE_WRITERS)
def test_rows_stay_in_their_order_and_columns_go_by_their_names(tmp_path: Path, write: Writer) -> None:
    rows = [
        {"note": "x, y", "kind": "rose", "photo": "b.jpg", "part": "Valid", "owner": "ann"},
        {"note": None, "kind": "daisy", "photo": "a.jpg", "part": "train", "owner": "bob"},
        {"note": "z", "kind": "rose", "photo": "c.jpg", "part": None, "owner": None},
    ]
    source = load(write(tmp_path / "t", rows), Columns(image="photo", label="kind", split="part", group="owner"))
    assert source.class_names == ("daisy", "rose")
    found = [(image.path, image.label, image.split, image.group) for image in source.images]
    assert found == [(b"b.jpg", 1, "val", "ann"), (b"a.jpg", 0, "train", "bob"), (b"c.jpg", 1, None, None)]


@pytest.mark.parametrize("write", TABLE_WRITERS)
def test_classes_that_are_numbers_come_in_the_order_of_numbers(tmp_path: Path, write: Writer) -> None:
    rows = [{"path": f"{label}.jpg", "label": label} for label in (10, 9, 2)]
    assert load(write(tmp_path / "t", rows)).class_names == ("2", "9", "10")


def test_the_delimiter_is_found_and_a_mark_of_the_byte_order_is_no_name(tmp_path: Path) -> None:
    for delimiter in ",;\t|":
        (tmp_path / "t.csv").write_text(f"\ufeffimage{delimiter}label\n'a b.jpg{delimiter}x\n\nc.jpg{delimiter}y\n", "utf-8")
        assert named(load(tmp_path / "t.csv")) == [("'a b.jpg", 0), ("c.jpg", 1)]


def test_a_csv_with_the_mark_of_utf16_is_read_as_such(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\nä.jpg,x\n", "utf-16")
    assert named(load(tmp_path / "t.csv")) == [("ä.jpg", 0)]


def test_numbers_too_long_to_be_numbers_are_names(tmp_path: Path) -> None:
    long = "9" * 5000
    assert load(write_csv(tmp_path / "t", [{"image": "a", "label": long}, {"image": "b", "label": "10"}])).class_names == (
        "10",
        long,
    )


def test_a_path_or_a_label_that_is_no_text_is_none(tmp_path: Path) -> None:
    paths = [{"image": value, "label": "x"} for value in ({"path": "a.jpg"}, ["a.jpg"], 3.5, "\ud800.jpg")]
    values = ([], {"x": 1}, ["x", "y"], [["x"]], "\ud800", ["x"])
    labels = [{"image": f"{number}.jpg", "label": value} for number, value in enumerate(values)]
    source = load(write_jsonl(tmp_path / "t", [*paths, *labels]))
    reasons = [image.rejection or "" for image in source.images]
    assert reasons[:5] == [*(f"row {row} names no image" for row in range(1, 5)), "row 5 has no label"]
    for reason, part in zip(reasons[5:], ("{'x': 1}", "['x', 'y']", "no label", r"'\ud800'"), strict=False):
        assert_says(reason, part)
    assert (reasons[9], source.class_names) == ("", ("x",))


def test_bytes_of_a_parquet_file_are_text(tmp_path: Path) -> None:
    source = load(write_parquet(tmp_path / "t", [{"image": b"a\xe9.jpg", "label": b"x"}]))
    assert (source.images[0].path, source.class_names) == (b"a\xe9.jpg", ("x",))


def test_a_pipe_is_no_table_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    for source_format in (None, "csv"):
        with raises(SourceError, "t.csv"):
            kseq.pack(tmp_path / "t.csv", tmp_path / "packed", source_format=source_format, workers=0)


def test_a_name_that_is_not_utf8_survives_byte_for_byte(tmp_path: Path) -> None:
    name = b"f\xe9e, or not.png"
    write_numbered(tmp_path / "x", {"a": 1})
    os.rename(tmp_path / "x/a/00000.png", os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / "t.csv").write_bytes(b'image,label\n"' + name + b'",a\n')
    kseq.pack(tmp_path / "t.csv", tmp_path / "packed", workers=0)
    assert os.fsencode(kseq.ShardDataset(tmp_path / "packed").source(0)) == name


@pytest.mark.parametrize("write", TABLE_WRITERS)
def test_odd_rows_are_refused_with_the_reason(tmp_path: Path, write: Writer) -> None:
    rows = [
        {"image": "a.jpg", "label": "x"},
        {"image": "b.jpg", "label": None},
        {"image": "a.jpg", "label": "y"},
        {"image": None, "label": "x"},
        {"image": "c.jpg", "label": "z"},
    ]
    source = load(write(tmp_path / "t", rows), class_names=["y", "x", "never"])
    assert source.class_names == ("y", "x", "never")
    assert refused(source) == {
        "b.jpg": "row 2 has no label",
        "a.jpg": "row 3 names an image again: that of row 1",
        "(row 4)": "row 4 names no image",
        "c.jpg": "row 5 has a label that is not among the class names: 'z'",
    }


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_nan_is_no_label_and_floats_that_are_whole_are_numbers(tmp_path: Path, write: Writer) -> None:
    rows = [{"image": "a.jpg", "label": 1.0}, {"image": "b.jpg", "label": math.nan}]
    source = load(write(tmp_path / "t", rows))
    assert source.class_names == ("1",)
    assert refused(source) == {"b.jpg": "row 2 has no label"}


def test_refused_rows_are_counted_and_listed(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 4})
    rows: list[dict[str, Any]] = [{"image": f"photos/a/{number:05d}.png", "label": "a"} for number in range(4)]
    rows += [{"image": "photos/a/00000.png", "label": "a"}, {"image": "nowhere.png", "label": "a"}, {"image": "x", "label": ""}]
    report = kseq.pack(write_csv(tmp_path / "t", rows), tmp_path / "packed", val=0.5, workers=0)
    assert (report.num_found, report.num_samples) == (7, 4)
    assert [(rejection.path, rejection.reason) for rejection in report.rejected] == [
        (b"photos/a/00000.png", "row 5 names an image again: that of row 1"),
        (b"nowhere.png", "cannot be read: No such file or directory"),
        (b"x", "row 7 has no label"),
    ]
    assert len(kseq.ShardDataset(tmp_path / "packed")) == 4


def test_paths_are_relative_to_the_table_or_to_the_root_or_absolute(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 2})
    (tmp_path / "tables").mkdir()
    rows = [{"image": "a/00000.png", "label": "a"}, {"image": str(tmp_path / "photos/a/00001.png"), "label": "a"}]
    table = write_csv(tmp_path / "tables/t", rows)
    assert [image.num_bytes > 0 for image in load(table).images] == [False, True]
    assert [image.num_bytes > 0 for image in load(table, root=str(tmp_path / "photos")).images] == [True, True]


def test_images_of_a_group_share_a_split(tmp_path: Path) -> None:
    rows = [{"image": f"{n}.jpg", "label": f"c{n % 2}", "patient": f"p{n // 10}" if n < 90 else ""} for n in range(100)]
    source = load(write_csv(tmp_path / "t", rows), Columns(group="patient"))
    plan = make_plan(source, kseq.ImageSettings(), {"val": 0.3, "test": 0.2})
    for patient in range(9):
        assert len(set(plan.splits[10 * patient : 10 * patient + 10])) == 1
    assert {"train", "val", "test"} == set(plan.splits)
    val, test = (list(plan.splits).count(split) for split in ("val", "test"))
    assert abs(val - 30) < 5 and abs(test - 20) < 5


def test_a_group_that_lies_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    rows = [{"image": "1.jpg", "label": "a", "who": "ann", "split": "train"}]
    rows += [{"image": "2.jpg", "label": "a", "who": "ann", "split": "test"}]
    source = load(write_csv(tmp_path / "t", rows), Columns(split="split", group="who"))
    with raises(SourceError, "'ann'", "train", "test"):
        make_plan(source, kseq.ImageSettings(), {})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "", ("empty",)),
        (
            "t.csv",
            "photo,label\na,b\n",
            (),
        ),
        ("t.csv", "image,label\na,b,c\n", ("row 1", 3, 2)),
        ("t.csv", 'image,label\n"a,b\n', ("CSV",)),
        ("t.csv", "image,label\n", (0,)),
        ("t.csv", "image,label\na,\n", (1, "row 1")),
        ("t.csv", "image,label,label\na,b,c\n", (2, "'label'")),
        ("t.jsonl", "[" * 100_000, ("row 1", "JSON")),
        ("t.jsonl", "", ("empty",)),
        ("t.parquet", "PAR1 or not", ()),
        ("t.xlsx", "x", ()),
    ],
)
def test_a_table_that_cannot_be_read_says_why_in_one_line(tmp_path: Path, name: str, text: str, words: Parts) -> None:
    (tmp_path / name).write_text(text)
    with raises(SourceError, tmp_path / name, *words):
        load(tmp_path / name)


def test_a_split_that_does_not_exist_is_named_with_its_row(tmp_path: Path) -> None:
    rows = [{"image": "a", "label": "x", "s": "train"}, {"image": "b", "label": "x", "s": "extra"}]
    with raises(SourceError, "row 2", "'extra'", "train", "val", "test", "validation", "valid"):
        load(write_csv(tmp_path / "t", rows), Columns(split="s"))


def test_arguments_that_do_not_go_with_the_source_are_refused(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    table = write_csv(tmp_path / "t", [{"image": "a", "label": "b"}])
    cases: list[tuple[Path, dict[str, Any], type[KseqError], str]] = [
        (tmp_path / "photos", {"columns": kseq.Columns(label="x")}, ArgumentError, ("csv",)),
        (tmp_path / "photos", {"root": tmp_path}, ArgumentError, ("root=", "csv")),
        (table, {"source_format": "excel"}, ArgumentError, ("source_format='excel'", "folder", "csv", "jsonl", "parquet")),
        (table, {"root": tmp_path / "none"}, SourceError, ("none",)),
        (
            table,
            {"columns": kseq.Columns(group="who")},
            SourceError,
            ("'who'",),
        ),
        (table, {"source_format": "folder"}, SourceError, (table,)),
    ]
    for source, options, kind, words in cases:
        with raises(kind, *words):
            kseq.pack(source, tmp_path / "packed", workers=0, **options)
        assert not (tmp_path / "packed").exists()


def test_a_format_that_the_name_does_not_tell_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("image,label\na.jpg,x\n")
    found = open_source(str(tmp_path / "list.txt"), "csv", Columns(), None, None)
    assert found.class_names == ("x",)


def test_a_killed_packing_of_a_table_is_resumed_from_the_same_table_only(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 6, "b": 6})
    files = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "photos").rglob("*.png"))
    rows: list[dict[str, Any]] = [{"image": file, "label": file.split("/")[1]} for file in files]
    options: dict[str, Any] = {"images": kseq.ImageSettings("raw", (4, 4)), "shard_bytes": 100, "workers": 0}
    table = write_csv(tmp_path / "t", rows)
    kseq.pack(table, tmp_path / "packed", **options)
    (tmp_path / "packed/index.h5").unlink()
    (tmp_path / "packed/shard-00003.h5").unlink()
    assert kseq.pack(table, tmp_path / "packed", resume=True, **options).num_resumed > 0
    (tmp_path / "packed/index.h5").unlink()
    write_csv(tmp_path / "t", [*rows[1:], rows[0]])
    with raises(DatasetExistsError, tmp_path / "packed"):
        kseq.pack(table, tmp_path / "packed", resume=True, **options)


def test_a_sample_called_as_another_one_becomes_is_told_from_it(tmp_path: Path) -> None:
    write_numbered(tmp_path, {"a": 3})
    first, second, third = sorted((tmp_path / "a").iterdir())
    # The row of this image is the third of the other name.
    first.rename(tmp_path / "x (row 3)")
    second.rename(tmp_path / "x")
    third.rename(tmp_path / "y")
    rows = [("x (row 3)", "gone", "a"), ("x", "x", "a"), ("x", "y", "b"), ("y", "y", "c")]
    table = write_csv(tmp_path / "t", [dict(zip(("one", "two", "label"), row, strict=True)) for row in rows])
    report = kseq.pack(table, tmp_path / "dataset", columns=Columns(image=["one", "two"]), workers=0)
    assert report.num_found == report.num_samples + len(report.rejected) == 4
    assert [rejected.path for rejected in report.rejected] == [b"x (row 3) (row 1)"]
    assert kseq.ShardDataset(tmp_path / "dataset").read([0, 1, 2])["label"].tolist() == [0, 1, 2]
