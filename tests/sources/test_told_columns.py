"""Tables whose columns are called as none usually is: what their cells tell, and which options a refusal names."""

from __future__ import annotations

import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import kseq
from kseq.sources.named_files import NamedFiles
from kseq_tools.main import main
from tests.helpers.messages import assert_says, refusal
from tests.sources.test_odd_tables import classes, pack, put_images, put_table


def numbered_table(folder: Path, head: str, *rows: str, name: str = "t.csv") -> Path:
    """A table of `0.png`, `1.png` and so on, which lie beside it, with the other cells of each row."""
    put_images(folder, *(f"{row}.png" for row in range(len(rows))))
    return put_table(folder, head + "\n" + "".join(f"{row}.png,{cells}\n" for row, cells in enumerate(rows)), name)


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ("image,MEL,NV,BCC", ("0.0,1.0,0.0", "1.0,0.0,0.0", "0.0,0.0,1.0")),
        ("image,MEL,NV,BCC,Unnamed: 0,split", ("0,1,0,0,train", "1,0,0,1,val", "0,0,1,2,train")),
        ("image, MEL, NV, BCC", (" False, True, False", " True, False, False", " False, False, True")),
    ],
)
def test_columns_of_0_and_1_with_one_1_in_each_row_are_the_classes_in_their_order(
    tmp_path: Path, head: str, rows: tuple[str, ...]
) -> None:
    table = numbered_table(tmp_path, head, *rows)
    with pytest.warns(UserWarning, match="one 1") as told:
        dataset, _ = pack(table)
    assert dataset.class_names == ("MEL", "NV", "BCC")
    assert classes(dataset) == {"0.png": "NV", "1.png": "MEL", "2.png": "BCC"}
    assert_says(str(told[0].message), table, "kseq.Columns(label='', targets=['MEL', 'NV', 'BCC'])")


@pytest.mark.parametrize("is_folder", [False, True])
def test_columns_of_0_and_1_with_any_number_of_1s_are_several_labels(tmp_path: Path, is_folder: bool) -> None:
    table = numbered_table(
        tmp_path / "in" / ("train" if is_folder else "x"),
        "filename,dog,cat,bird",
        "1,1,0",
        "0,0,0",
        "0,1,1",
        name="_classes.csv",
    )
    with pytest.warns(UserWarning, match="0 and 1"):
        report = kseq.pack(tmp_path / "in" if is_folder else table, tmp_path / "packed", workers=0)
    with kseq.ShardDataset(report.path) as dataset:
        assert dataset.fields["labels"].class_names == ("dog", "cat", "bird")
        assert [sample["labels"].tolist() for sample in dataset] == [[0, 1], [], [1, 2]]
        assert dataset.splits == {"train": 3}


@pytest.mark.parametrize(
    ("index", "numbers"),
    [("", "7 3 5"), ("Unnamed: 0.1,Unnamed: 0", "0,7 1,3 2,3"), ("#", "1 2 3"), ("__index_level_0__", "7 3 5")],
)
@pytest.mark.parametrize(
    ("name", "head", "cells", "names"),
    [
        ("t.csv", "image,cat,dog", ("1,0", "0,1", "1,0"), ["cat", "dog", "cat"]),
        ("metadata.csv", "file_name,cat,dog", ("1,0", "0,1", "1,0"), ["cat", "dog", "cat"]),
        ("metadata.csv", "file_name,breed", ("a", "b", "a"), ["a", "b", "a"]),
        ("t.csv", "id,breed", ("a", "b", "a"), ["a", "b", "a"]),
        ("t.csv", "ImageId,EncodedPixels", ("1 2", "3 4", "5 6"), ["object"] * 3),
    ],
)
def test_a_column_that_numbers_the_rows_is_none_of_the_others(
    tmp_path: Path, index: str, numbers: str, name: str, head: str, cells: tuple[str, ...], names: list[str]
) -> None:
    put_images(tmp_path, "0.png", "1.png", "2.png")
    rows = (f"{number},{row}.png,{cell}\n" for row, (number, cell) in enumerate(zip(numbers.split(), cells, strict=True)))
    table = put_table(tmp_path, f"{index},{head}\n{''.join(rows)}", name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset, _ = pack(tmp_path if name.startswith("metadata") else table)
    field = dataset.fields["label" if "label" in dataset.fields else "labels"]
    known = field.class_names or dataset.class_names
    assert [dataset.source(row) for row in range(3)] == ["0.png", "1.png", "2.png"]
    assert [known[int(np.ravel(sample[field.name])[0])] for sample in dataset] == names


@pytest.mark.parametrize(
    ("head", "rows", "parts"),
    [
        ("image,a,b", ("1,0", "0,-1"), ("targets=['a', 'b']",)),
        ("image,a,b,age", ("1,0,33", "0,1,44"), ("targets=['a', 'b']",)),
        ("image,dx,age", ("nv,33", "mel,44", "nv,2"), ("label='dx'", "targets=['age']")),
        ("image,labels,x", ("['a'],1", "a|b,2"), ("targets={'tags': 'labels'}",)),
        ("image,caption", ("a cat", "a dog"), ("text='caption'",)),
        ("image,tags", ("haze primary", "clear"), ("label='tags'", "targets={'tags': 'tags'}")),
        ("image,age", ("3.5", "4"), ("targets=['age']",)),
        ("image,truth", ("m/0.png", "m/0.png"), ("mask='truth'",)),
        ("image,ship_pixels", ("1 5 20 5", "7 1"), ("ship_pixels", "mask='mask'")),
    ],
)
def test_a_table_without_a_label_names_the_options_for_its_columns(
    tmp_path: Path, head: str, rows: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert_says(refusal(numbered_table(tmp_path, head, *rows), tmp_path / "packed"), *parts)


@pytest.mark.parametrize(
    ("head", "rows", "fields"),
    [
        ("image,MEL,NV", ("1,0.5", "0,-1"), {"mel", "nv"}),
        ("image,Age (years),2nd,2Nd", ("1,2.5,3", "4,2,1"), {"age_years", "target_2", "target_3"}),
        ("image,Größe,age=cm", ("1.5,2", "2,3"), {"gr_e", "age_cm"}),
        ("image,dx,age", ("nv,33", "mel,44", "nv,2"), {"label"}),
        ("image,Labels,x", ("['a'],1", "a|b,2"), {"tags"}),
        ("image,Caption", ("a cat", "a dog"), {"text"}),
    ],
)
def test_the_options_that_a_refusal_names_pack_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], head: str, rows: tuple[str, ...], fields: set[str]
) -> None:
    call = ["pack", str(numbered_table(tmp_path, head, *rows)), str(tmp_path / "packed"), "--workers", "0"]
    assert main(call) == 1
    named = re.search(r"; ((?:--\S+ .+?)) packs", capsys.readouterr().err.replace("\n", " "))
    assert named is not None
    assert main([*call, *shlex.split(named[1])]) == 0
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert set(dataset.fields) == {"image", *fields}


@pytest.mark.parametrize("head", ["Dateiname,Klasse", "id_code,diagnosis", "image_id,breed"])
@pytest.mark.parametrize("has_suffix", [False, True])
def test_images_and_a_lone_label_are_found_under_any_name_and_told(tmp_path: Path, head: str, has_suffix: bool) -> None:
    put_images(tmp_path / "train", "x1.png", "x2.png", "x3.png")
    end = ".png" if has_suffix else ""
    table = put_table(tmp_path, f"{head}\nx1{end},b\nx2{end},a\nx3{end},b\n")
    with pytest.warns(UserWarning) as told:
        dataset, _ = pack(table)
    assert classes(dataset) == {"train/x1.png": "b", "train/x2.png": "a", "train/x3.png": "b"}
    image, label = head.split(",")
    assert_says(str(told[0].message), table, repr(image), "image=")
    assert_says(str(told[1].message), table, repr(label), f"targets=[{label!r}]")


def test_a_column_that_names_images_which_are_gone_is_named_with_what_is_missing(tmp_path: Path) -> None:
    put_images(tmp_path / "elsewhere/x", "1.png")
    table = put_table(tmp_path, "image_id,label\nx/1,a\n")
    assert_says(refusal(table, tmp_path / "packed"), "x/1", f"root='{tmp_path / 'elsewhere'}'")


def test_of_very_many_columns_a_few_are_looked_for_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    is_there = NamedFiles.is_there
    monkeypatch.setattr(NamedFiles, "is_there", lambda self, cell, **how: asked.append(cell) or is_there(self, cell, **how))
    table = put_table(tmp_path, f"{','.join(f'g{number}' for number in range(5000))}\n{','.join(['0.5'] * 5000)}\n")
    assert_says(refusal(table, tmp_path / "packed"), "image", "g0")
    assert 0 < len(asked) <= 1000


def test_columns_of_boxes_that_are_empty_make_no_boxes_of_labels(tmp_path: Path) -> None:
    table = numbered_table(tmp_path, "image,label,xmin,ymin,xmax,ymax", "cat,,,,", "dog,,,,")
    with pytest.warns(UserWarning, match="empty") as told:
        dataset, _ = pack(table)
    assert classes(dataset) == {"0.png": "cat", "1.png": "dog"}
    assert_says(str(told[0].message), table, "xmin, ymin, xmax, ymax")


@pytest.mark.parametrize(
    ("cells", "is_told"),
    [("3,2,1", False), ("1.5e6,0,1", False), (",,", False), ('"[[1, 2, 3, 4]]",2,1', True), ("a_mask.png,1,2", True)],
)
def test_a_column_is_told_as_annotations_by_its_name_and_its_cells(tmp_path: Path, cells: str, is_told: bool) -> None:
    table = numbered_table(tmp_path, "image,label,box_office,object_count,bbox_count", f"a,{cells}", f"b,{cells}")
    report = kseq.pack(table, tmp_path / "packed", workers=0)
    assert [re.search("box_office|bbox_count|object_count", note) is not None for note in report.notes] == [True] * is_told


RUNS = "ImageId,EncodedPixels\n0.png,1 3 101 3\n0.png,9950 2\n1.png,\n2,-1\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (RUNS, ["object", "object"]),
        (RUNS.replace("ImageId,", "ImageId,ClassId,").replace(".png,", ".png,3,").replace("2,-1", "2,4,-1"), ["3", "3"]),
        (RUNS.replace("ImageId", "Image_Label").replace("g,", "g_Fish,"), ["Fish", "Fish"]),
    ],
)
def test_run_lengths_of_a_table_are_masks_and_the_boxes_around_them(tmp_path: Path, text: str, names: list[str]) -> None:
    put_images(tmp_path, "0.png", "1.png", "2.png")
    dataset, left_out = pack(put_table(tmp_path, text), columns=kseq.Columns(mask="instances"))
    expected = np.zeros((100, 100), np.uint8)
    expected[:3, :2], expected[49:51, 99] = 1, 2
    np.testing.assert_array_equal(dataset[0]["instances"][:, :, 0], expected)
    assert dataset[0]["boxes"].tolist() == [[0, 0, 2, 3], [99, 49, 100, 51]]
    assert [dataset.class_names[label] for label in dataset[0]["labels"]] == names
    assert (len(dataset), left_out, dataset[1]["boxes"].shape) == (3, {}, (0, 4))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("1.png,1 3 2 4", "1.png"),
        ("1.png,9999 3", "1.png"),
        ("1.png,1 3 7", "1.png"),
        ("1.png,1 0", "1.png"),
        ("1.png", "1.png"),
        ("1.png,1 2,7 8", "1.png"),
        (",1 2", "row 2"),
    ],
)
def test_run_lengths_that_make_no_sense_reject_their_image(tmp_path: Path, row: str, name: str) -> None:
    put_images(tmp_path, "0.png", "1.png")
    dataset, left_out = pack(put_table(tmp_path, f"ImageId,EncodedPixels\n0.png,5 6\n{row}\n"))
    assert (len(dataset), list(left_out)) == (1, [name])
    message = refusal(put_table(tmp_path, "ImageId,EncodedPixels\ngone.png,5 6\n"), tmp_path / "out")
    assert_says(message, "gone.png", "root=")


def test_a_point_is_no_run_of_pixels(tmp_path: Path) -> None:
    message = refusal(numbered_table(tmp_path, "image,annotation", "11 20", "14 25"), tmp_path / "out")
    assert_says(message, "annotation", "label")


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ("cat,10,20,30,40,0.png,100,100\ncat,1,2,3\n", "row 2"),
        ("TRAIN,0.png,cat\nTEST,1.png\n", "1.png"),
    ],
)
def test_a_row_of_too_few_cells_is_told_in_words_of_the_table(tmp_path: Path, rows: str, name: str) -> None:
    put_images(tmp_path, "0.png", "1.png")
    dataset, left_out = pack(put_table(tmp_path, rows))
    assert (len(dataset), list(left_out)) == (1, [name])
    assert re.fullmatch(r"row 2 has \d cells, .*", left_out[name])


def test_boxes_of_makesense_have_no_names_of_columns(tmp_path: Path) -> None:
    put_images(tmp_path, "0.png", "1.png")
    table = put_table(tmp_path, "cat,10,20,30,40,0.png,100,100\ndog,1,2,3,4,0.png,100,100\ncat,1,2,3,4,1.png,7,9\n")
    dataset, left_out = pack(table)
    assert dataset[0]["boxes"].tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert_says(left_out["1.png"], 7, 9)


def test_boxes_of_an_image_in_one_cell_are_read(tmp_path: Path) -> None:
    table = numbered_table(tmp_path, "image_name,BoxesString,domain", "1 2 3 4;5 6 7 8,x", "no_box,x", "1 2 3,y")
    dataset, left_out = pack(table)
    samples: Any = {dataset.source(row): dataset[row]["boxes"].tolist() for row in range(len(dataset))}
    assert samples == {"0.png": [[1, 2, 3, 4], [5, 6, 7, 8]], "1.png": []}
    assert_says(left_out["2.png"], "row 3", re.compile("BoxesString", re.IGNORECASE))


@pytest.mark.parametrize("has_bytes", [False, True])
@pytest.mark.parametrize("is_ordered", [False, True])
def test_ordered_categories_of_parquet_give_classes_their_order(tmp_path: Path, has_bytes: bool, is_ordered: bool) -> None:
    put_images(tmp_path, "0.png", "1.png", "2.png")
    images = [(tmp_path / f"{row}.png").read_bytes() if has_bytes else f"{row}.png" for row in range(3)]
    sizes = pyarrow.DictionaryArray.from_arrays(pyarrow.array([2, 0, 1]), ["small", "medium", "large"], ordered=is_ordered)
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": sizes}), tmp_path / "t.parquet", row_group_size=2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dataset, _ = pack(tmp_path / "t.parquet")
    assert dataset.class_names == (("small", "medium", "large") if is_ordered else ("large", "medium", "small"))
    assert list(classes(dataset).values()) == ["large", "small", "medium"]
    assert ["'label'" in str(line.message) for line in told] == [True] * is_ordered
