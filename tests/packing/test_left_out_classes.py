"""Classes that are left out, of every source in the same way: samples are listed, boxes are counted, numbers are said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import ArgumentError
from tests.helpers.messages import assert_says, raises
from tests.helpers.records import detection, example, png, write_records

BOX, OTHER = [1, 2, 30, 40], [5, 5, 50, 60]


def of_folder(root: Path) -> Any:
    for name in ("ant", "bee", "cat"):
        (root / name).mkdir(parents=True)
        (root / name / f"{name}.png").write_bytes(png())
    return root


def of_table(root: Path) -> Any:
    of_folder(root)
    (root / "t.csv").write_text("image,label\n" + "".join(f"{name}/{name}.png,{name}\n" for name in ("ant", "bee", "cat")))
    return root / "t.csv"


def of_records(root: Path) -> Any:
    return write_records(root / "a.tfrecord", *(example({"image": [png()], "label": [name]}) for name in ("ant", "bee", "cat")))


def of_an_iterable(root: Path) -> Any:
    return [{"image": png(), "label": name} for name in ("ant", "bee", "cat")]


@pytest.mark.parametrize("make", [of_folder, of_table, of_records, of_an_iterable])
def test_samples_of_a_class_are_listed_and_the_others_numbered(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    report = kseq.pack(make(tmp_path / "in"), tmp_path / "out", without_class=["bee"], workers=0)
    assert report.num_samples + len(report.rejected) == report.num_found
    assert report.class_names == ("ant", "cat")
    assert report.class_counts == {"train": [1, 1]}
    assert_says(next(file.reason for file in report.rejected if "left out" in file.reason), "bee")
    assert_says(report.notes[-1], "bee", 1, "0 ant", "1 cat")
    some = kseq.pack(make(tmp_path / "in2"), tmp_path / "some", class_names=["cat", "ant"], workers=0)
    assert some.class_counts == {"train": [1, 1]}
    assert_says(next(file.reason for file in some.rejected if "class names" in file.reason), "bee")


def boxed_table(root: Path) -> Any:
    root.mkdir()
    (root / "a.png").write_bytes(png())
    (root / "b.png").write_bytes(png())
    rows = [
        {"image": "a.png", "boxes": [BOX, OTHER], "kinds": ["bee", "cat"]},
        {"image": "b.png", "boxes": [BOX], "kinds": ["ant"]},
    ]
    (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "t.jsonl"


def boxed_records(root: Path) -> Any:
    def shares(*boxes: list[int]) -> list[list[float]]:
        return [[side / 100 for side in box] for box in boxes]

    first = detection(shares(BOX, OTHER), text=["bee", "cat"])
    return write_records(root / "a.tfrecord", first, detection(shares(BOX), text=["ant"]))


def coco(root: Path) -> Any:
    root.mkdir()
    for name in "ab":
        (root / f"{name}.png").write_bytes(png())
    boxes = [(1, 1, BOX), (1, 2, OTHER), (2, 0, BOX)]
    annotations = [
        {"id": number, "image_id": image, "category_id": kind, "bbox": [*box[:2], box[2] - box[0], box[3] - box[1]]}
        for number, (image, kind, box) in enumerate(boxes)
    ]
    images = [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate("ab", 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(("ant", "bee", "cat"))]
    (root / "ann.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return root / "ann.json"


def yolo(root: Path) -> Any:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)

    def line(kind: int, box: list[int]) -> str:
        x1, y1, x2, y2 = box
        return f"{kind} {(x1 + x2) / 200} {(y1 + y2) / 200} {(x2 - x1) / 100} {(y2 - y1) / 100}\n"

    for name, text in {"a": line(1, BOX) + line(2, OTHER), "b": line(0, BOX)}.items():
        (root / "images" / f"{name}.png").write_bytes(png())
        (root / "labels" / f"{name}.txt").write_text(text)
    (root / "classes.txt").write_text("ant\nbee\ncat\n")
    return root


BOXED = [boxed_table, boxed_records, coco, yolo]


@pytest.mark.parametrize("make", BOXED)
@pytest.mark.parametrize("options", [{"without_class": ["bee"]}, {"class_names": ["ant", "cat"]}])
def test_boxes_of_a_class_are_taken_out_and_counted(
    tmp_path: Path, make: Callable[[Path], Any], options: dict[str, Any]
) -> None:
    source = make(tmp_path / "in")
    if make is boxed_table:
        options = {**options, "columns": kseq.Columns(label="", boxes="boxes", box_labels="kinds")}
    report = kseq.pack(source, tmp_path / "out", workers=0, **options)
    assert (report.num_samples, report.rejected) == (2, [])
    assert report.boxes is not None
    assert list(report.boxes.left_out.values()) == [1]
    assert report.boxes.class_names == ("ant", "cat")
    dataset = kseq.ShardDataset(tmp_path / "out")
    assert [dataset[number]["labels"].tolist() for number in range(2)] == [[1], [0]]
    assert [dataset[number]["boxes"].round(3).tolist() for number in range(2)] == [[OTHER], [BOX]]


def test_labels_among_several_are_taken_out(tmp_path: Path) -> None:
    samples = [{"image": png(), "tags": tags} for tags in (["bee", "ant"], ["bee"], ["cat"])]
    columns = kseq.Columns(label="", targets=["tags"])
    report = kseq.pack(samples, tmp_path / "out", columns=columns, without_class=["bee"], workers=0)
    assert_says(report.notes[-1], "2 labels", "bee")
    dataset = kseq.ShardDataset(tmp_path / "out")
    assert dataset.fields["tags"].class_names == ("ant", "cat")
    assert [dataset[number]["tags"].tolist() for number in range(3)] == [[0], [], [1]]


def test_classes_that_are_not_there_and_all_of_them_are_refused(tmp_path: Path) -> None:
    source = of_folder(tmp_path / "in")
    with raises(ArgumentError, source, "'cow'", "ant", "bee", "cat"):
        kseq.pack(source, tmp_path / "out", without_class=["cow"])
    with raises(ArgumentError, source, "without_class"):
        kseq.pack(source, tmp_path / "out", without_class=["ant", "bee", "cat"])
    with raises(ArgumentError, "without_class='ant'"):
        kseq.pack(source, tmp_path / "out", without_class="ant")
    assert not (tmp_path / "out").exists()


def test_an_appended_source_leaves_classes_out_too(tmp_path: Path) -> None:
    source = of_folder(tmp_path / "in")
    kseq.pack(source, tmp_path / "out", workers=0)
    report = kseq.append(tmp_path / "out", source, without_class=["bee", "ant"], again=True, workers=0)
    assert (report.num_samples, len(report.rejected), report.new_class_names) == (1, 2, ())
    assert [kseq.ShardDataset(tmp_path / "out")[number]["label"] for number in range(4)] == [0, 1, 2, 2]


def test_outlines_of_classes_that_are_left_out_are_not_said_of_the_boxes_that_stay(tmp_path: Path) -> None:
    outlines = [
        {"id": number, "image_id": 1, "category_id": category, "segmentation": [[1, 1, 30, 1, 30, 30]]}
        for number, category in enumerate((1, 1, 2))
    ]
    categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]
    (tmp_path / "a.png").write_bytes(png())
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": outlines, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    report = kseq.pack(tmp_path / "a.json", tmp_path / "out", without_class=["ant"], workers=0)
    assert report.boxes is not None
    line = next(line for line in report.boxes.lines if "outline" in line)
    assert_says(line, "of the source", 3)
    assert "of 1 boxes" not in line
