"""Datasets of the package `datasets`, as objects and as folders of images with metadata; images of Pillow."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import assert_says, raises
from tests.helpers.records import png
from tests.sources.test_annotation_tools import write_image
from tests.sources.test_flat_images import read

datasets = pytest.importorskip("datasets", reason="the files are written by Hugging Face's datasets")


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (level, level, level)).save(file, "JPEG")
    return file.getvalue()


def dataset(labels: list[int], image: str = "img", split: str | None = None) -> Any:
    features = datasets.Features({image: datasets.Image(), "label": datasets.ClassLabel(names=["zebra", "ant", "ox"])})
    columns = {image: [{"bytes": jpeg(20 * number), "path": None} for number in range(len(labels))], "label": labels}
    return datasets.Dataset.from_dict(columns, features=features, split=split)


def test_a_dataset_dict_has_its_splits_and_named_classes_in_their_order(tmp_path: Path) -> None:
    parts = {"train": dataset([0, 1, 1]), "validation": dataset([1]), "test": dataset([0])}
    kseq.pack(datasets.DatasetDict(parts), tmp_path / "packed", workers=0)
    classes, splits, images, labels = read(tmp_path / "packed")
    assert (classes, splits) == (("zebra", "ant", "ox"), {"train": 3, "val": 1, "test": 1})
    assert labels == ["zebra", "ant", "ant", "ant", "zebra"]
    with kseq.ShardDataset(tmp_path / "packed") as packed:
        assert packed.encoded(0)[:2] == b"\xff\xd8" if hasattr(packed, "encoded") else images.shape == (5, 6, 8, 3)


@pytest.mark.parametrize("form", ["plain", "torch", "iterable", "mapped"])
def test_a_dataset_is_an_iterable_in_all_its_forms(tmp_path: Path, form: str) -> None:
    source = dataset([0, -1, 2], "image", "test")
    if form == "torch":
        source = source.with_format("numpy")
    elif form == "iterable":
        source = source.to_iterable_dataset()
    elif form == "mapped":
        source = source.filter(lambda row: row["label"] != 0)
    report = kseq.pack(source, tmp_path / "packed", workers=0)
    assert report.class_names == ("zebra", "ant", "ox")
    assert (report.num_samples, report.num_found) == ((1, 2) if form == "mapped" else (2, 3))
    assert report.splits == (
        {"train": 2} if form == "iterable" and "test" not in report.splits else {"test": report.num_samples}
    )


def test_splits_that_are_called_otherwise_go_to_train_with_a_note(tmp_path: Path) -> None:
    source = datasets.DatasetDict({"train": dataset([0]), "unsupervised": dataset([1, 1])})
    with pytest.warns(UserWarning, match="'unsupervised'"):
        report = kseq.pack(source, tmp_path / "packed", workers=0)
    assert report.splits == {"train": 3}


def test_images_of_pillow_are_upright_pixels(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    turned = Image.new("RGB", (8, 4), (9, 9, 9))
    turned.getexif()[0x0112] = 6
    multiplied = Image.merge("LA", [Image.new("L", (4, 4), 90), Image.new("L", (4, 4), 255)]).convert("La")

    class Photos:
        """As a dataset of torchvision: a list of classes, and pairs by number."""

        classes = ("cat", "dog")

        def __getitem__(self, number: int) -> tuple[Any, int]:
            return [(palette, 1), (turned, 0), (multiplied, 0)][number]

    kseq.pack(Photos(), tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as packed:
        assert packed.class_names == ("cat", "dog")
        assert [packed.class_names[packed[number]["label"]] for number in range(3)] == ["dog", "cat", "cat"]
        np.testing.assert_array_equal(packed[0]["image"][0, 0], [200, 10, 10])
        assert packed[1]["image"].shape == (8, 4, 3)
        assert (packed[2]["image"] == 90).all()


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_a_folder_of_images_with_metadata_has_its_columns(tmp_path: Path, end: str) -> None:
    for split in ("train", "validation"):
        folder = tmp_path / "hub" / split
        for number in range(2):
            write_image(folder / "more" / f"{number}.png")
        rows = [{"file_name": f"more/{number}.png", "label": ["dog", "cat"][number], "text": "a"} for number in range(2)]
        if end == "csv":
            lines = ["file_name,label,text", *(",".join(row.values()) for row in rows)]
            (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
        elif end == "jsonl":
            (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        else:
            datasets.Dataset.from_list(rows).to_parquet(folder / "metadata.parquet")
    write_image(tmp_path / "hub" / "train" / "stray.png")
    report = kseq.pack(tmp_path / "hub", tmp_path / "packed", workers=0)
    assert (report.splits, report.class_names) == ({"train": 2, "val": 2}, ("cat", "dog"))
    assert_says(" ".join(report.notes), tmp_path / "hub", 1)
    kseq.pack(tmp_path / "hub", tmp_path / "texts", columns=kseq.Columns(label="", text="text"), workers=0)
    with kseq.ShardDataset(tmp_path / "texts") as packed:
        assert packed[3]["text"] == "a"


def test_objects_of_metadata_are_boxes(tmp_path: Path) -> None:
    write_image(tmp_path / "hub" / "0.png")
    write_image(tmp_path / "hub" / "1.png")
    write_image(tmp_path / "hub" / "2.png")
    rows = [{"file_name": "0.png", "objects": {"bbox": [[10, 20, 40, 40]], "categories": [7]}}]
    rows += [{"file_name": "1.png", "objects": {"bbox": [], "categories": []}}]
    rows += [{"file_name": "2.png", "objects": {"bbox": [[1, 2, 3]], "categories": [7]}}]
    (tmp_path / "hub" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    report = kseq.pack(tmp_path / "hub", tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as packed:
        np.testing.assert_array_equal(packed[0]["boxes"], [[10, 20, 50, 60]])
        assert len(packed[1]["boxes"]) == 0
    assert [file.path for file in report.rejected] == [b"2.png"]
    (tmp_path / "hub" / "metadata.jsonl").write_text('{"file_name": "0.png", "caption": "x"}\n')
    with raises(SourceError, tmp_path / "hub", "caption"):
        kseq.pack(tmp_path / "hub", tmp_path / "other", workers=0)


@pytest.mark.parametrize("is_list", [False, True])
def test_a_column_of_objects_in_parquet_gives_boxes_and_the_names_of_their_classes(tmp_path: Path, is_list: bool) -> None:
    found = [{"bbox": [10.0, 20.0, 30.0, 40.0], "category": 1}, {"bbox": [1.0, 2.0, 3.0, 4.0], "category": 0}]
    cell: Any = found if is_list else {key: [each[key] for each in found] for key in ("bbox", "category")}
    none: Any = [] if is_list else {"bbox": [], "category": []}
    image = {"bytes": png(), "path": None}
    names = {"bbox": {"_type": "Sequence"}, "category": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    features = {"image": {"_type": "Image"}, "objects": {"feature": names, "_type": "Sequence"}}
    table = pyarrow.Table.from_pylist([{"image": image, "objects": each} for each in (cell, none)])
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "hub").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "hub" / "train-00000-of-00001.parquet")
    (tmp_path / "hub" / "val-00000-of-00001.parquet").write_bytes(b"no Parquet")
    report = kseq.pack(tmp_path / "hub", tmp_path / "packed", workers=0)
    assert_says(" ".join(report.notes), "objects")
    assert (report.num_samples, len(report.rejected)) == (2, 1)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset[0]["boxes"].tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
        assert (dataset[0]["labels"].tolist(), dataset.class_names) == ([1, 0], ("cat", "dog"))
        assert dataset[1]["boxes"].shape == (0, 4)
