"""Tables of one name in the folders of splits are one table, whose rows have the splits of their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import SourceError
from kseq.sources.registry import choose_format
from tests.helpers.messages import assert_says, raises
from tests.sources.test_yolo_layouts import Packed, write

BOXES = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
LABELS = "image,label\n"


def labels_of(source: Path, **options: Any) -> dict[str, dict[str, str]]:
    """What was packed: for each split the class of each sample, by its source."""
    kseq.pack(source, source.parent / "out", workers=0, overwrite=True, **options)
    with kseq.ShardDataset(source.parent / "out") as dataset:
        names = dataset.class_names
        return {
            split: {dataset.source(row): names[int(dataset[row]["label"])] for row in dataset.split_ids(split)}
            for split in dataset.splits
        }


def test_boxes_of_each_split_are_packed_as_roboflow_writes_them(tmp_path: Path) -> None:
    files = {
        "train/a.png": None,
        "train/b.png": None,
        "train/_annotations.csv": f"{BOXES}a.png,100,100,cat,1,2,30,40\na.png,100,100,dog,5,6,7,8\nb.png,100,100,cat,0,0,9,9\n",
        "valid/a.png": None,
        "valid/_annotations.csv": f"{BOXES}a.png,100,100,dog,10,20,30,40\n",
        "test/c.png": None,
        "test/_annotations.csv": f"{BOXES}c.png,100,100,bird,10,20,30,40\n",
        "README.roboflow.txt": "photos",
    }
    packed = Packed(write(tmp_path / "in", files))
    assert packed.objects == {
        "train/a.png": [("cat", [1, 2, 30, 40]), ("dog", [5, 6, 7, 8])],
        "train/b.png": [("cat", [0, 0, 9, 9])],
        "valid/a.png": [("dog", [10, 20, 30, 40])],
        "test/c.png": [("bird", [10, 20, 30, 40])],
    }
    assert packed.splits == {"train": {"train/a.png", "train/b.png"}, "val": {"valid/a.png"}, "test": {"test/c.png"}}


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("labels.csv", ("image,label\na.png,cat\n", "image,label\nb.png,dog\n")),
        ("labels.tsv", ("image\tlabel\na.png\tcat\n", "label\timage\ndog\tb.png\n")),
        ("labels.csv", ("image,label\ntrain/a.png,cat\n", "image,label\nval/b.png,dog\n")),
        ("labels.csv", ("image,label\na,cat\n", "image,label\nb,dog\n")),
        ("labels.csv", ("image,label,weight\na.png,cat,1\n", "image,label\nb.png,dog\n")),
        ("labels.jsonl", ('{"image": "a.png", "label": "cat"}\n', '{"image": "b.png", "label": "dog"}\n')),
    ],
)
def test_labels_of_each_split_are_packed(tmp_path: Path, name: str, tables: tuple[str, str]) -> None:
    files = {"train/a.png": None, f"train/{name}": tables[0], "val/b.png": None, f"val/{name}": tables[1]}
    found = labels_of(write(tmp_path / "in", files))
    assert {split: list(labels.values()) for split, labels in found.items() if labels} == {"train": ["cat"], "val": ["dog"]}


def test_images_that_no_table_names_are_counted(tmp_path: Path) -> None:
    files = {
        "train/a.png": None,
        "train/left.png": None,
        "train/labels.csv": f"{LABELS}a.png,cat\n",
        "val/b.png": None,
        "val/labels.csv": f"{LABELS}b.png,cat\ngone.png,cat\n",
    }
    report = kseq.pack(write(tmp_path / "in", files), tmp_path / "out", workers=0)
    assert_says(" ".join(report.notes), tmp_path / "in", 1, "none")
    assert [rejected.path for rejected in report.rejected] == [b"val/gone.png"]


@pytest.mark.parametrize("table", ["", "\n", "x,y\n1,2\n", "a.png,cat\n", b"\x00" * 99, bytes(range(256)), b"PK\x03\x04" * 9])
@pytest.mark.parametrize(("name", "head"), [("labels.csv", LABELS), ("metadata.csv", "file_name,label\n")])
@pytest.mark.parametrize(("good", "bad"), [("train", "val"), ("val", "train")])
def test_a_table_of_a_split_that_cannot_be_read_refuses_the_whole_by_its_name(
    tmp_path: Path, name: str, head: str, table: Any, good: str, bad: str
) -> None:
    files = {"train/a.png": None, "val/a.png": None, f"{good}/{name}": f"{head}a.png,cat\n", f"{bad}/{name}": table}
    with raises(SourceError, tmp_path / "in" / bad / name):
        kseq.pack(write(tmp_path / "in", files), tmp_path / "out", workers=0)


@pytest.mark.parametrize(
    ("files", "known"),
    [
        # A table beside classes, a split without a table, images that lie elsewhere too.
        ({"train/cat/a.png": None, "train/labels.csv": LABELS, "val/cat/b.png": None, "val/labels.csv": LABELS}, "folder"),
        ({"train/a.png": None, "train/labels.csv": LABELS, "val/b.png": None}, "folder"),
        ({"train/a.png": None, "train/labels.csv": LABELS, "more/b.png": None, "more/labels.csv": LABELS}, "folder"),
        ({"train/a.png": None, "train/labels.csv": "x,y\n1,2\n", "val/b.png": None, "val/labels.csv": ""}, "folder"),
        ({"train/a.png": None, "train/labels.csv": LABELS}, "csv"),
    ],
)
def test_other_folders_with_tables_are_none_of_these(tmp_path: Path, files: dict[str, Any], known: str) -> None:
    assert choose_format(str(write(tmp_path / "in", files)), None).name == known


def test_the_columns_and_the_root_of_the_caller_count(tmp_path: Path) -> None:
    files = {
        "train/a.png": None,
        "train/t.csv": "image,label,photo,fold\nx.png,9,a.png,val\n",
        "val/b.png": None,
        "val/t.csv": "image,label,photo,fold\nx.png,8,b.png,train\n",
    }
    source = write(tmp_path / "in", files)
    found = labels_of(source, columns=kseq.Columns(image="photo", label="label", split="fold"))
    assert found == {"train": {"val/b.png": "8"}, "val": {"train/a.png": "9"}}
    write(tmp_path / "other", {"a.png": None, "b.png": None})
    found = labels_of(source, columns=kseq.Columns(image="photo"), root=tmp_path / "other")
    assert found == {"train": {"a.png": "9"}, "val": {"b.png": "8"}}


def test_a_folder_that_is_no_such_one_says_what_is_expected(tmp_path: Path) -> None:
    with raises(SourceError, tmp_path / "in", "csv", "table"):
        kseq.pack(write(tmp_path / "in", {"train/cat/0.png": None}), tmp_path / "out", source_format="csv", workers=0)


TOP = {"train.csv": f"{LABELS}a.png,cat\nb.png,dog\n", "val.csv": f"{LABELS}c.png,dog\n"}


@pytest.mark.parametrize(
    "images",
    [
        ("a.png", "b.png", "c.png"),
        ("images/a.png", "images/b.png", "images/c.png"),
        # The same names in the folders of several splits.
        ("train/a.png", "train/b.png", "train/c.png", "val/a.png", "val/c.png"),
    ],
)
@pytest.mark.parametrize("has_suffix", [True, False])
def test_tables_at_the_top_that_are_called_like_splits_are_these(
    tmp_path: Path, images: tuple[str, ...], has_suffix: bool
) -> None:
    tables = {name: text if has_suffix else text.replace(".png", "") for name, text in TOP.items()}
    found = labels_of(write(tmp_path / "in", {**dict.fromkeys(images), **tables}))
    assert {split: list(labels.values()) for split, labels in found.items() if labels} == {
        "train": ["cat", "dog"],
        "val": ["dog"],
    }
    assert all("train/" not in source for source in found["val"])


def test_a_table_at_the_top_without_labels_is_told_and_not_read(tmp_path: Path) -> None:
    files = {"images/a.png": None, "images/b.png": None, "images/c.png": None, **TOP, "test.csv": "image\nc.png\n"}
    root = write(tmp_path / "in", files)
    with pytest.warns(UserWarning, match=r"test\.csv lacks the columns label"):
        assert kseq.pack(root, tmp_path / "out", workers=0).splits == {"train": 2, "val": 1}


@pytest.mark.parametrize(
    "files",
    [
        {"val.csv": f"{LABELS}a.png,cat\n", "test.csv": f"{LABELS}b.png,dog\n"},
        {"train.csv": f"{LABELS}a.png,cat\n", "training.csv": f"{LABELS}b.png,dog\n"},
        {"train.csv": "epoch,loss\n1,0.5\n", "val.csv": "epoch,loss\n1,0.5\n"},
    ],
)
def test_tables_at_the_top_that_say_no_splits_are_not_taken_for_them(tmp_path: Path, files: dict[str, str]) -> None:
    root = write(tmp_path / "in", {"images/a.png": None, "images/b.png": None, **files})
    assert choose_format(str(root), None).name != "csv"
    root = write(tmp_path / "classes", {"cat/a.png": None, "dog/b.png": None, **TOP})
    assert choose_format(str(root), None).name == "folder"
