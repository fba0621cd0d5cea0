"""Tables and arrays as spreadsheets, exporters and other machines write them: read right, or refused by name."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, ImageError, SourceError
from tests.helpers.messages import assert_says, raises, refusal

COLORS = {"a": (220, 20, 20), "b": (20, 200, 20), "c": (20, 20, 220), "d": (128, 128, 128)}


def put_images(folder: Path, *names: str, size: int = 100) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size, size), list(COLORS.values())[number % 4]).save(folder / name)


def put_table(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def pack(table: Path, **options: Any) -> tuple[kseq.ShardDataset, dict[str, str]]:
    """The dataset of a table, and the reason for each sample that was left out."""
    report = kseq.pack(table, table.parent / "packed", workers=0, overwrite=True, **options)
    assert report.num_found == report.num_samples + len(report.rejected)
    return kseq.ShardDataset(report.path), {os.fsdecode(rejected.path): rejected.explanation for rejected in report.rejected}


def classes(dataset: kseq.ShardDataset) -> dict[str, str]:
    labels = dataset.read(range(len(dataset)))["label"]
    return {dataset.source(row): dataset.class_names[label] for row, label in enumerate(labels)}


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "cp1251", "gbk"])
def test_a_table_of_a_code_page_is_read_when_it_is_said_and_else_its_rows_are_named(tmp_path: Path, encoding: str) -> None:
    word = {"cp1252": "café", "shift_jis": "猫です", "cp1251": "кошка", "gbk": "猫咪"}[encoding]
    put_images(tmp_path, "a.png", "b.png")
    table = put_table(tmp_path, f"image,label\na.png,{word}\nb.png,dog\n", encoding=encoding)
    dataset, left_out = pack(table)
    assert dataset.class_names == ("dog",)
    assert_says(left_out["a.png"], "row 1", "UTF-8", "text_encoding=")
    dataset, left_out = pack(table, text_encoding=encoding)
    assert (classes(dataset), left_out) == ({"a.png": word, "b.png": "dog"}, {})


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", "image,label\na.png,é\n"), ("t.jsonl", '{"image": "a.png", "label": "é"}\n')],
)
def test_unicode_is_told_by_its_mark_or_by_its_zero_bytes(tmp_path: Path, encoding: str, name: str, text: str) -> None:
    put_images(tmp_path, "a.png")
    assert classes(pack(put_table(tmp_path, text, name, encoding))[0]) == {"a.png": "é"}


@pytest.mark.parametrize("encoding", ["utf-9", "hex", 3, ""])
def test_an_encoding_that_does_not_exist_is_refused(tmp_path: Path, encoding: Any) -> None:
    table = put_table(tmp_path, "image,label\na.png,x\n")
    with raises(ArgumentError, f"text_encoding={encoding!r}"):
        kseq.pack(table, tmp_path / "packed", text_encoding=encoding)


def test_a_broken_row_is_left_out_by_itself(tmp_path: Path) -> None:
    put_images(tmp_path, "a.png", "b.png")
    table = put_table(tmp_path, 'image,label\na.png,x\nb.png\n"q"r,x\n\nb.png,y,,\nb.png,y,z\na.png,"no end\nb.png,y\n')
    dataset, left_out = pack(table)
    assert classes(dataset) == {"a.png": "x", "b.png": "y"}
    assert list(left_out) == ["(row 2)", "(row 3)", "(row 5)", "(row 6)"]
    assert_says(left_out["(row 5)"], "row 5", 3, 2)
    with raises(ImageError, "row 2"):
        kseq.pack(table, tmp_path / "failed", on_error="fail", workers=0)


@pytest.mark.parametrize(
    "text",
    [
        "image;label;;\r\na.png;x;;\r\nb.png;y;;\r\n;;;\r\n ;;;\r\n",
        "sep=;\nimage;label\na.png;x\nb.png;y\n",
        '"sep=,"\r\nimage,label\r\na.png,x\r\nb.png,y\r\n',
        "\n \nimage,label\na.png,x\n   \nb.png,y\n",
        'image, label\n"a.png", "x"\n"b.png", "y"\n',
        'image,label\n"a.png", "x"\nb.png, y\n',
        "Image,LABEL\na.png,x\nb.png,y\n",
        "File Name\tClass\na.png\tx\nb.png\ty\n",
    ],
)
def test_a_csv_as_a_spreadsheet_writes_it_is_read(tmp_path: Path, text: str) -> None:
    put_images(tmp_path, "a.png", "b.png")
    dataset, left_out = pack(put_table(tmp_path, text))
    assert (classes(dataset), left_out) == ({"a.png": "x", "b.png": "y"}, {})


@pytest.mark.parametrize(
    "text",
    [
        '[{"image": "a.png", "label": "x"}, {"image": "b.png", "label": "y"}]',
        '[\n {"image": "a.png",\n "label": "x"},\n {"image": "b.png", "label": "y"}\n]\n',
        '{"image": "a.png", "label": "x"},\n{"image": "b.png", "label": ["y"]},\n',
    ],
)
@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_a_list_of_objects_is_a_table(tmp_path: Path, text: str, name: str) -> None:
    put_images(tmp_path, "a.png", "b.png")
    dataset, left_out = pack(put_table(tmp_path, text, name), source_format="jsonl")
    assert (classes(dataset), left_out) == ({"a.png": "x", "b.png": "y"}, {})


@pytest.mark.parametrize(
    ("column", "cells", "parts"),
    [
        ("split", ("train", "Test"), ("test, train", "kseq.Columns(split='split')")),
        ("Usage", ("Training", "PublicTest"), ("kseq.Columns(split='Usage')",)),
        ("is_valid", ("True", "False"), ("kseq.Columns(split=)",)),
        ("fold", ("0", "1"), ("kseq.Columns(split=)",)),
        ("split", ("0", "1"), ("kseq.Columns(split=)",)),
        ("partition", ("2", "1"), ("kseq.Columns(split=)",)),
        ("split", ("train", "Holdout"), ("train", "holdout", "kseq.Columns(split=)")),
        ("set", ("red", "blue"), ()),
        ("mode", ("0", "1"), ()),
        ("split", ("", "nan"), ()),
    ],
)
def test_a_column_that_says_splits_and_that_nobody_named_is_said(
    tmp_path: Path, column: str, cells: tuple[str, str], parts: tuple[str, ...]
) -> None:
    put_images(tmp_path, "a.png", "b.png")
    table = put_table(tmp_path, f"image,label,{column}\na.png,x,{cells[0]}\nb.png,y,{cells[1]}\n")
    notes = kseq.pack(table, tmp_path / "packed", workers=0).notes
    assert len(notes) == bool(parts)
    if parts:
        assert_says(notes[0], table, repr(column), *parts)


def test_the_word_nan_names_no_split(tmp_path: Path) -> None:
    put_images(tmp_path, "a.png", "b.png")
    table = put_table(tmp_path, "image,label,part\na.png,x,test\nb.png,y,NaN\n")
    assert pack(table, columns=kseq.Columns(split="part"))[0].splits == {"test": 1, "train": 1}


@pytest.mark.parametrize(
    ("class_names", "parts"),
    [
        (["x", "x"], ("'x'", 2)),
        (["x", ""], ("empty",)),
        (["x,y"], ("class_names=['x', 'y']",)),
        (["classes.txt"], ("classes.txt", "file")),
        ("xy", ("class_names='xy'", "list")),
        (5, ("class_names=5", "list")),
        ([1, 2], ("1", "text")),
        ([["x"]], ("['x']", "text")),
    ],
)
def test_names_of_classes_that_make_no_sense_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, class_names: Any, parts: tuple[object, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("classes.txt").write_text("x")
    put_images(tmp_path, "a.png")
    table = put_table(tmp_path, "image,label\na.png,x\n")
    error = SourceError if class_names == ["x,y"] else ArgumentError
    assert_says(refusal(table, tmp_path / "packed", error, class_names=class_names), "class_names=", *parts)


def test_a_column_of_images_without_a_name_is_refused() -> None:
    with raises(ArgumentError, "image=''"):
        kseq.Columns(image="")


def test_names_of_columns_that_are_not_utf_8_say_so(tmp_path: Path) -> None:
    table = put_table(tmp_path, "image,cat\u00e9gorie\na.png,x\n", encoding="cp1252")
    assert_says(refusal(table, tmp_path / "packed"), r"'cat\xe9gorie'", "UTF-8", "text_encoding=")


def test_a_column_of_splits_in_metadata_is_said(tmp_path: Path) -> None:
    put_images(tmp_path / "in", "a.png", "b.png")
    put_table(tmp_path / "in", "file_name,label,split\na.png,x,train\nb.png,y,test\n", "metadata.csv")
    assert_says(" ".join(kseq.pack(tmp_path / "in", tmp_path / "packed", workers=0).notes), "kseq.Columns(split='split')")


def test_lines_without_a_column_or_without_json_are_left_out_by_themselves(tmp_path: Path) -> None:
    put_images(tmp_path, "a.png", "b.png", "c.png")
    lines = ['{"image": "a.png"}', '{"image": "b.png", "label": "y"}', '{"image', "[1]", '{"image": "c.png", "label": "x"}']
    dataset, left_out = pack(put_table(tmp_path, "\n".join(lines), "t.jsonl"))
    assert classes(dataset) == {"b.png": "y", "c.png": "x"}
    assert list(left_out) == ["a.png", "(row 3)", "(row 4)"]


def test_a_table_without_names_of_columns_says_so(tmp_path: Path) -> None:
    put_images(tmp_path, "a.png")
    assert_says(refusal(put_table(tmp_path, "a.png,x\n"), tmp_path / "packed"), "'a.png'", "image,label")


@pytest.mark.parametrize("root", ["train", "Train"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", "id,label\n0001,a\n0002,b\n"), ("t.jsonl", '{"id": 1, "label": "a"}\n{"id": 2, "label": "b"}\n')],
)
def test_ids_stand_for_the_images_with_a_suffix(tmp_path: Path, name: str, text: str, root: str) -> None:
    names = ["0001", "0002"] if name == "t.csv" else ["1", "2"]
    put_images(tmp_path / root, *(f"{stem}.JPG" for stem in names))
    options: dict[str, Any] = {"root": tmp_path / root, "columns": kseq.Columns(image="id")}
    with pytest.warns(UserWarning, match=r"2 .*suffix"):
        dataset, _ = pack(put_table(tmp_path, text, name), **options)
    assert classes(dataset) == {f"{names[0]}.JPG": "a", f"{names[1]}.JPG": "b"}
    put_images(tmp_path / root, f"{names[0]}.png")
    with pytest.warns(UserWarning, match=r"1 .*suffix"):
        dataset, left_out = pack(tmp_path / name, **options)
    assert_says(left_out[names[0]], f"{names[0]}.JPG", f"{names[0]}.png", "suffix=")
    dataset, left_out = pack(tmp_path / name, suffix=".JPG", **options)
    assert (len(dataset), left_out) == (2, {})


def test_names_without_folders_are_found_in_the_folders_below_where_one_file_alone_has_them(tmp_path: Path) -> None:
    put_images(tmp_path, "part_1/0001.png", "part_2/deep/0002.png", "part_2/both.png", "part_1/both.png")
    table = put_table(tmp_path, "image,label\n0001,a\n0002.png,b\nboth.png,b\n")
    with pytest.warns(UserWarning, match="2 .*folder"):
        dataset, left_out = pack(table)
    assert classes(dataset) == {"part_1/0001.png": "a", "part_2/deep/0002.png": "b"}
    assert_says(left_out["both.png"], "part_1/both.png", "part_2/both.png")


def test_a_table_beside_the_folder_of_its_images_names_that_folder(tmp_path: Path) -> None:
    put_images(tmp_path, "deep/train/x/0001.png")
    table = put_table(tmp_path, "image,label\nx/0001,a\n")
    assert_says(refusal(table, tmp_path / "packed"), f"root='{tmp_path / 'deep/train'}'")


@pytest.mark.parametrize("suffix", ["jpg", "", 3, "./x"])
def test_a_suffix_that_is_none_is_refused(tmp_path: Path, suffix: Any) -> None:
    with raises(ArgumentError, f"suffix={suffix!r}"):
        kseq.pack(put_table(tmp_path, "image,label\na,x\n"), tmp_path / "packed", suffix=suffix)


def test_names_spelled_otherwise_are_found_and_told(tmp_path: Path) -> None:
    put_images(tmp_path, "sub/a.png", "cafe\u0301/b.png", "C.PNG", "d.png")
    table = put_table(tmp_path, "image,label\nsub\\a.png,x\ncaf\u00e9/b.png,x\nc.png,x\nX:\\y\\sub\\a.png,x\n\\\\h\\no.png,x\n")
    with pytest.warns(UserWarning) as told:
        dataset, left_out = pack(table)
    assert list(classes(dataset)) == ["sub/a.png", "cafe\u0301/b.png", "C.PNG"]
    assert len(told) == 2
    assert_says(left_out["X:\\y\\sub\\a.png"], "'sub/a.png'")
    assert len(left_out) == 2


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("my%20cat.png", "my cat.png"),
        ("a.png ", "a.png"),
        ("1.0", "1.png"),
        ("7", "007.png"),
        ("7.png", "007.png"),
        ("caf%C3%A9\\b.png", "caf\u00e9/b.png"),
    ],
)
def test_a_path_of_a_program_is_found_and_told(tmp_path: Path, path: str, file: str) -> None:
    put_images(tmp_path, file)
    with pytest.warns(UserWarning, match=re.escape(repr(path))):
        assert list(classes(pack(put_table(tmp_path, f"image,label\n{path},x\n"))[0])) == [file]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/home/x/sub/a.png", ("'sub/a.png'", "'/home/x/'")),
        ("D:/x/sub/a.png", ("'sub/a.png'", "'D:/x/'")),
        ("images/sub/a.png", ("'sub/a.png'", "'images/'")),
        ("sub/a.jpg", ("'a.png'",)),
        ("iVBORw0KGgo" * 100, ("row 1", "1,100", "'iVBORw0KGgoiVBORw0KG'")),
    ],
)
def test_a_path_at_which_nothing_lies_names_what_lies_near(tmp_path: Path, path: str, parts: tuple[str, ...]) -> None:
    put_images(tmp_path, "sub/a.png")
    message = refusal(put_table(tmp_path, f"image,label\n{path},x\n"), tmp_path / "packed")
    assert_says(message, *parts)
    assert len(message) < 400


def test_one_file_in_several_spellings_is_one_image(tmp_path: Path) -> None:
    put_images(tmp_path, "sub/a.png", "sub/b.png")
    (tmp_path / "link").symlink_to("sub")
    names = ["sub/a.png", "./sub/a.png", "sub//a.png", "sub/../sub/a.png", "link/../sub/a.png", str(tmp_path / "sub/a.png")]
    rows = "".join(f"{name},x,{split}\n" for name, split in zip(names, ["train", "test"] * 3, strict=True))
    table = put_table(tmp_path, f"image,label,part\n{rows}sub/b.png,y,train\n")
    dataset, left_out = pack(table, columns=kseq.Columns(split="part"))
    assert classes(dataset) == {"sub/a.png": "x", "sub/b.png": "y"}
    assert len(left_out) == 5
    for reason in left_out.values():
        assert_says(reason, "again", "row 1")


@pytest.mark.parametrize(
    ("labels", "options", "names", "numbers"),
    [
        (["1.0", "2.0", "10.0", ""], {}, ("1", "2", "10"), [0, 1, 2]),
        (["1.0", "1", "2", "10"], {}, ("1", "2", "10"), [0, 0, 1, 2]),
        (["1.00e+00", "2.00e+00", "1.00e+01", ""], {}, ("1", "2", "10"), [0, 1, 2]),
        (["1.0", "1.5", "x", ""], {}, ("1.0", "1.5", "x"), [0, 1, 2]),
        (["1.0", "0.0", "", ""], {"class_names": ["0", "1"]}, ("0", "1"), [1, 0]),
        (["1.0", "0.0", "", ""], {"class_names": ["0.0", "1.0"]}, ("0.0", "1.0"), [1, 0]),
        (["-1", "0", "1", "-1.0"], {}, ("0", "1"), [0, 1]),
        (["-1", "1", "1", "-1"], {}, ("-1", "1"), [0, 1, 1, 0]),
        (["-1", "0", "1", "0"], {"class_names": ["-1", "0", "1"]}, ("-1", "0", "1"), [0, 1, 2, 1]),
        (["nan", "NaN", "b", "a"], {}, ("a", "b"), [1, 0]),
        (["nan", "b", "b", "a"], {"class_names": ["nan", "a", "b"]}, ("nan", "a", "b"), [0, 2, 2, 1]),
        (["caf\u00e9", "cafe\u0301", "a", "a"], {}, ("a", "caf\u00e9"), [1, 1, 0, 0]),
        (["caf\u00e9", "a", "a", "a"], {"class_names": ["cafe\u0301", "a"]}, ("caf\u00e9", "a"), [0, 1, 1, 1]),
        (["1", "0.0", "-1", "1"], {"class_names": ["cat", "dog"]}, ("cat", "dog"), [1, 0, 1]),
        (["1", "0", "dog", "1"], {"class_names": ["cat", "dog"]}, ("cat", "dog"), [1]),
    ],
)
def test_labels_name_classes_by_one_rule(
    tmp_path: Path, labels: list[str], options: dict[str, Any], names: tuple[str, ...], numbers: list[int]
) -> None:
    put_images(tmp_path, *(f"{number}.png" for number in range(4)))
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    dataset, left_out = pack(put_table(tmp_path, f"image,label\n{rows}"), **options)
    assert (dataset.class_names, dataset.read(range(len(dataset)))["label"].tolist()) == (names, numbers)
    assert all("label" in reason for reason in left_out.values())


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (["1.5", "NA", "2.25"], None, [1.5, 2.25]),
        (["1,5", "2", "2,25"], None, [1.5, 2, 2.25]),
        (["1,5", "NA", "2,25"], None, [1.5, 2.25]),
        (["1.234,5", "3,5", ""], None, [1234.5, 3.5]),
        (["1,234.5", "1,234,567", "2"], None, [1234.5, 1234567, 2]),
        (["1", "2", "x"], "number", [1, 2]),
        (["[1, 2]", "[3, 4]", "5"], "vector", [[1, 2], [3, 4]]),
        (["[1, 2]", "3", "4"], "number", [3, 4]),
    ],
)
def test_a_column_of_mostly_numbers_stays_numbers(
    tmp_path: Path, cells: list[str], kind: str | None, expected: list[Any]
) -> None:
    put_images(tmp_path, "0.png", "1.png", "2.png")
    table = put_table(tmp_path, "image;v\n" + "".join(f"{number}.png;{cell}\n" for number, cell in enumerate(cells)))
    columns = kseq.Columns(label="", targets={"v": "v"}, kinds={} if kind is None else {"v": kind})
    if kind is None:
        with pytest.warns(UserWarning, match="target v"):
            dataset, left_out = pack(table, columns=columns)
    else:
        dataset, left_out = pack(table, columns=columns)
    assert dataset.read(range(len(dataset)))["v"].tolist() == expected
    assert len(left_out) == 3 - len(expected)


def test_a_corner_beyond_all_numbers_is_left_out_by_itself(tmp_path: Path) -> None:
    put_images(tmp_path, "a.png", "b.png")
    row = '{"image": "%s", "label": "x", "x1": 1, "y1": 1, "x2": %s, "y2": 9}\n'
    with pytest.warns(UserWarning, match="row for each box"):
        _, left_out = pack(put_table(tmp_path, row % ("a.png", "9" * 400) + row % ("b.png", "9"), "t.jsonl"))
    assert list(left_out) == ["a.png"]


@pytest.mark.parametrize("cells", [("1,500", "2,250"), ("1,500", "2"), ("1 500", "2"), ("1 050", "2 500")])
def test_a_mark_that_may_stand_between_thousands_is_refused(tmp_path: Path, cells: tuple[str, str]) -> None:
    table = put_table(tmp_path, f"image;v\n0.png;{cells[0]}\n1.png;{cells[1]}\n")
    assert_says(refusal(table, tmp_path / "packed", columns=kseq.Columns(label="", targets="v")), "target v", repr(cells[0]))


@pytest.mark.parametrize(
    ("cells", "is_told"),
    [
        (("12%", "5 %", "3"), True),
        (("$5", "$6.50", "7"), True),
        (("3 kg", "5.5 kg", "n/a"), True),
        (("12°", "30°", "45°"), True),
        (("1a", "2nd", "3d"), False),
        (("0-10", "10-20", "20+"), False),
        (("5 seasons", "4 m", "x"), False),
    ],
)
def test_numbers_with_units_are_labels_and_a_line_says_so(tmp_path: Path, cells: tuple[str, ...], is_told: bool) -> None:
    put_images(tmp_path, "0.png", "1.png", "2.png")
    table = put_table(tmp_path, "image,v\n" + "".join(f"{number}.png,{cell}\n" for number, cell in enumerate(cells)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dataset, _ = pack(table, columns=kseq.Columns(label="", targets="v"))
    assert set(dataset.fields["v"].class_names) == set(cells)
    assert len(told) == is_told
    if is_told:
        assert_says(str(told[0].message), "target v", repr(cells[0]), "kinds={'v': 'multi_label'}")


@pytest.mark.parametrize("names", ["filename,class,xmin,ymin,xmax,ymax", "ImageID,LabelName,X_Min,Y_Min,X_Max,Y_Max"])
def test_a_row_for_each_box_is_a_sample_for_each_image(tmp_path: Path, names: str) -> None:
    put_images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    rows = ["a.png,cat,10,10,50,50", "b.png,dog,1,1,20,20", "a.png,dog,60,60,90,90", "c.png,,,,,", "d.png,cat,x,1,9,9", "d.png"]
    table = put_table(tmp_path, "\n".join([names, *rows, ""]))
    with pytest.warns(UserWarning, match="row for each box"):
        dataset, left_out = pack(table)
    assert [dataset.source(row) for row in range(3)] == ["a.png", "b.png", "c.png"]
    assert dataset[0]["boxes"].tolist() == [[10, 10, 50, 50], [60, 60, 90, 90]]
    assert [[dataset.class_names[label] for label in dataset[row]["labels"]] for row in range(3)] == [
        ["cat", "dog"],
        ["dog"],
        [],
    ]
    assert_says(left_out["d.png"], "row 5", "'x'")
    assert list(left_out) == ["d.png", "(row 6)"]


BOX_COLUMNS = {
    "image,x,y,w,h,label": "10,20,30,40",
    "filename,bbox_x,bbox_y,bbox_width,bbox_height,class": "10,20,30,40",
    "image,left,top,width,height,label": "10,20,30,40",
    "image,x0,y0,x1,y1,label": "10,20,40,60",
    "image,xtl,ytl,xbr,ybr,label": "10,20,40,60",
    "image_name,x-min,y-min,x-max,y-max,label_name": "10,20,40,60",
    "Filename,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId": "10,20,40,60",
    "image,startX,startY,endX,endY,label": "10,20,40,60",
    "Filename,Upper left corner X,Upper left corner Y,Lower right corner X,Lower right corner Y,Annotation tag": "10,20,40,60",
    "image,x_center,y_center,width,height,label": "25,40,30,40",
    "path,cx,cy,w,h,label": ".25,.4,.3,.4",
    "image,xmin,ymin,xmax,ymax,label": ".1,.2,.4,.6",
}


@pytest.mark.parametrize("names", BOX_COLUMNS)
def test_sides_of_boxes_are_read_from_columns_of_each_form(tmp_path: Path, names: str) -> None:
    put_images(tmp_path, "a.png", "b.png")
    table = put_table(tmp_path, f"{names}\na.png,{BOX_COLUMNS[names]},cat\na.png,{BOX_COLUMNS[names]},dog\nb.png,,,,,\n")
    with pytest.warns(UserWarning, match="shares of the image" if "." in BOX_COLUMNS[names] else "row for each box"):
        dataset, left_out = pack(table)
    np.testing.assert_allclose(dataset[0]["boxes"], [[10, 20, 40, 60]] * 2, atol=1e-4)
    assert [dataset.class_names[label] for label in dataset[0]["labels"]] == ["cat", "dog"]
    assert (dataset[1]["boxes"].shape, left_out) == ((0, 4), {})


def test_a_size_beside_corners_is_that_of_the_pixels_which_the_boxes_were_drawn_on(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (100, 60)).save(tmp_path / "turned.jpg", exif=exif)
    put_images(tmp_path, "a.png", "other.png")
    rows = ["turned.jpg,100,60,x,10,20,50,40", "a.png,100,100,x,10,20,50,40", "other.png,50,50,x,10,20,50,40"]
    table = put_table(tmp_path, "\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax", *rows]))
    with pytest.warns(UserWarning, match="row for each box"):
        dataset, left_out = pack(table)
    assert [sample["boxes"].tolist() for sample in dataset] == [[[20, 10, 40, 50]], [[10, 20, 50, 40]]]
    assert_says(left_out["other.png"], 100, 50)


def test_a_column_of_annotations_that_is_not_packed_is_told(tmp_path: Path) -> None:
    put_images(tmp_path, "a.png", "b.png")
    rows = "".join(
        json.dumps({"image": name, "label": name[0], "bboxes": [[1, 2, 3, 4]]}) + "\n" for name in ("a.png", "b.png")
    )
    report = kseq.pack(put_table(tmp_path, rows, "t.jsonl"), tmp_path / "packed", workers=0)
    assert_says(" ".join(report.notes), "bboxes", "boxes")
    columns = kseq.Columns(boxes="bboxes")
    assert kseq.pack(tmp_path / "t.jsonl", tmp_path / "again", columns=columns, workers=0).notes == ()


@pytest.mark.parametrize(
    ("boxes", "kinds"),
    [
        ("[[1, 2, 3, 4], [5, 6, 7, 8]]", "['it', 'dog']"),
        ("[(1, 2, 3, 4), (5, 6, 7, 8)]", "('it', 'dog')"),
        ("[[1 2 3 4]\n [5 6 7 8]]", '["it", "dog"]'),
        ("[[1. 2. 3. 4.]\n [5. 6. 7. 8.]]", "it|dog"),
    ],
)
def test_lists_as_python_and_numpy_write_them_are_lists(tmp_path: Path, boxes: str, kinds: str) -> None:
    put_images(tmp_path, "a.png")
    quoted = [cell.replace('"', '""') for cell in (boxes, kinds)]
    table = put_table(tmp_path, 'image,b,k\na.png,"{}","{}"\n'.format(*quoted))
    dataset, _ = pack(table, columns=kseq.Columns(label="", boxes="b", box_labels="k"))
    assert dataset[0]["boxes"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert dataset.fields["labels"].class_names == ("dog", "it")


def test_an_image_whose_boxes_lie_in_two_splits_is_left_out(tmp_path: Path) -> None:
    put_images(tmp_path, "a.png", "b.png")
    rows = ["image,label,x1,y1,x2,y2,part", "a.png,x,1,1,9,9,train", "a.png,x,1,1,9,9,test", "b.png,x,1,1,9,9,val"]
    with pytest.warns(UserWarning, match="row for each box"):
        dataset, left_out = pack(put_table(tmp_path, "\n".join(rows)), columns=kseq.Columns(split="part"))
    assert dataset.splits == {"val": 1}
    assert_says(left_out["a.png"], "'train'", "row 2", "'test'")


def test_a_dictionary_of_images_in_parquet_is_read(tmp_path: Path) -> None:
    put_images(tmp_path, "a.png", "b.png")
    data = [(tmp_path / name).read_bytes() for name in ("a.png", "b.png")]
    column = pyarrow.array(data, pyarrow.binary()).dictionary_encode()
    pyarrow.parquet.write_table(pyarrow.table({"image": column, "label": ["x", "y"]}), tmp_path / "t.parquet")
    dataset, _ = pack(tmp_path / "t.parquet")
    assert [dataset.stored_bytes(row) for row in range(2)] == data


@pytest.mark.parametrize("column", [[[b"x"]], [{"origin": "a", "data": b"x"}], [True]])
def test_a_parquet_column_that_is_no_image_is_refused_by_its_type(tmp_path: Path, column: list[Any]) -> None:
    array = pyarrow.array(column)
    pyarrow.parquet.write_table(pyarrow.table({"image": array, "label": ["x"]}), tmp_path / "t.parquet")
    assert_says(refusal(tmp_path / "t.parquet", tmp_path / "packed"), "'image'", str(array.type).partition("<")[0])


IMAGES = np.arange(5 * 6 * 8 * 3, dtype=np.uint16).astype(np.uint8).reshape(5, 6, 8, 3)


@pytest.mark.parametrize(
    ("array", "is_matlab", "turned"),
    [
        (IMAGES.transpose(3, 2, 1, 0), False, IMAGES),
        (IMAGES[:4].transpose(3, 2, 1, 0), False, IMAGES[:4]),
        (IMAGES.transpose(1, 2, 3, 0), False, IMAGES),
        (IMAGES.transpose(0, 3, 2, 1), True, IMAGES),
        (IMAGES[..., 0].transpose(0, 2, 1), True, IMAGES[..., 0]),
    ],
)
def test_arrays_in_the_order_of_matlab_are_refused_with_what_mends_them(
    tmp_path: Path, array: np.ndarray, is_matlab: bool, turned: np.ndarray
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = np.ascontiguousarray(array)
        if is_matlab:
            file["X"].attrs["MATLAB_class"] = "uint8"
    message = refusal(tmp_path / "x.h5", tmp_path / "packed", columns=kseq.Columns(label=""))
    order = message.partition("transpose(")[2].partition(")")[0]
    np.testing.assert_array_equal(array.transpose(*map(int, order.split(","))), turned)


def test_groups_of_an_hdf5_file_are_splits(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for split, count in (("train", 3), ("test", 2)):
            file[f"{split}/images"], file[f"{split}/labels"] = IMAGES[:count], np.arange(count) % 2
    assert pack(tmp_path / "x.h5")[0].splits == {"test": 2, "train": 3}


def test_a_virtual_array_is_read_and_refused_when_its_values_are_gone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["x"] = IMAGES
    layout = h5py.VirtualLayout(IMAGES.shape, "u1")
    layout[:] = h5py.VirtualSource("part.h5", "x", IMAGES.shape)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    dataset, _ = pack(tmp_path / "x.h5", columns=kseq.Columns(label=""))
    np.testing.assert_array_equal(dataset.read(range(5))["image"], IMAGES)
    (tmp_path / "part.h5").unlink()
    assert_says(refusal(tmp_path / "x.h5", tmp_path / "again", columns=kseq.Columns(label="")), "'images'", "'part.h5'")


def test_an_array_that_was_never_written_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("images", IMAGES.shape, "u1", chunks=(1, 6, 8, 3))
    assert_says(refusal(tmp_path / "x.h5", tmp_path / "packed", SourceError, columns=kseq.Columns(label="")), "'images'")
