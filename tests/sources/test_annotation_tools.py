"""Boxes as annotation tools write them, to the pixels that they lie on; what is left out is counted."""

from __future__ import annotations

import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, SourceError
from kseq.sources.registry import choose_format
from kseq.sources.run_lengths import mask_box
from tests.helpers.messages import assert_says, raises
from tests.sources.test_coco_and_yolo import objects

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def write_image(path: Path, size: tuple[int, int] = (100, 100), orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (220, 20, 20)).save(path, exif=exif)


def pack(source: Path, **options: Any) -> tuple[kseq.PackReport, dict[str, list[tuple[str, list[float]]]]]:
    """The report, and by file name class names and boxes."""
    target = source.parent / f"{source.stem}-packed"
    report = kseq.pack(source, target, workers=0, **options)
    with kseq.ShardDataset(target) as dataset:
        assert dataset.box_counts() == report.boxes
        return report, objects(dataset)


def write_coco(folder: Path, annotations: list[dict[str, Any]], **changed: Any) -> Path:
    for name in ("0.png", "1.png", "2.png"):
        write_image(folder / name)
    images = [{"id": 7 + number, "file_name": f"{number}.png", "width": 100, "height": 100} for number in range(3)]
    path = folder / "ann.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES} | changed), "utf-8-sig")
    return path


def annotation(image_id: Any, bbox: Any = (40, 40, 20, 20), **more: Any) -> dict[str, Any]:
    return {"id": 5, "image_id": image_id, "category_id": 1, "bbox": bbox, **more}


def test_coco_ids_may_be_text(tmp_path: Path) -> None:
    _, found = pack(write_coco(tmp_path, [annotation("7"), annotation(8.0)]))
    assert found == {"0.png": [("cat", [40, 40, 60, 60])], "1.png": [("cat", [40, 40, 60, 60])], "2.png": []}


@pytest.mark.parametrize(
    "shape",
    [
        {"segmentation": [[40, 40, 60, 40, 60, 60, 40, 60]]},
        {"bbox": [], "segmentation": [[40, 40, 60, 40, 60, 60, 40, 60]]},
        {"segmentation": {"size": [100, 100], "counts": [4040, *[20, 80] * 19, 20, 3940]}},
    ],
)
def test_a_coco_object_without_a_box_has_that_around_its_outline(tmp_path: Path, shape: dict[str, Any]) -> None:
    report, found = pack(write_coco(tmp_path, [{"image_id": 7, "category_id": 1, **shape}]))
    assert found["0.png"] == [("cat", [40, 40, 60, 60])]
    assert report.boxes is not None
    assert list(report.boxes.remarks.values()) == [1]


def test_a_compressed_mask_of_coco_has_the_box_of_the_plain_one() -> None:
    # Runs 7, 2, 5, 3 and 4, written by hand as the rule says: the fourth and fifth as differences to those two before.
    assert mask_box({"size": [3, 7], "counts": "7251O"}) == mask_box({"size": [3, 7], "counts": [7, 2, 5, 3, 4]})


def test_coco_counts_what_it_leaves_out_and_rejects_what_it_cannot_read(tmp_path: Path) -> None:
    path = write_coco(
        tmp_path,
        [
            annotation(7),
            annotation(7, iscrowd=1),
            annotation(7, None),
            annotation(7, (29, 38, 1, 0)),
            annotation(7, (200, 0, 9, 9)),
            annotation(7, (1, 1, 0.5, 9)),
            annotation(8, (1, 2, 3)),
            annotation(9, category_id=18),
            annotation(99),
        ],
    )
    report, found = pack(path)
    assert found == {"0.png": [("cat", [40, 40, 60, 60]), ("cat", [1, 1, 1.5, 10])]}
    assert [(file.path, file.reason.partition(" is")[0].partition(" has")[0]) for file in report.rejected] == [
        (b"1.png", "annotation 5: its bbox"),
        (b"2.png", "annotation 5"),
    ]
    assert report.boxes is not None
    assert sorted(report.boxes.left_out.values()) == [1, 1, 1, 1]
    assert list(report.boxes.remarks.values()) == [1]
    assert any("99" in note for note in report.notes)


def test_a_coco_file_of_which_no_annotation_belongs_to_an_image_is_refused(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [annotation("x7")])
    with raises(SourceError, path, "'x7'", 7):
        pack(path)


def test_coco_classes_can_be_chosen_and_a_root_category_is_told(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "fish", "supercategory": "none"}]
    categories += [{**category, "supercategory": "fish"} for category in CATEGORIES]
    path = write_coco(tmp_path, [annotation(7), annotation(8, category_id=2)], categories=categories)
    report, _ = pack(path)
    assert any("fish" in note and "cat dog" in note for note in report.notes)
    report = kseq.pack(path, tmp_path / "some", class_names=["dog"], workers=0)
    assert report.class_names == ("dog",)
    assert report.boxes is not None
    assert list(report.boxes.left_out.values()) == [1]
    with raises(SourceError, path, "'ox'"):
        kseq.pack(path, tmp_path / "other", class_names=["ox"])


def test_boxes_on_unturned_pixels_are_turned_and_those_of_another_size_refused(tmp_path: Path) -> None:
    path = write_coco(
        tmp_path,
        [annotation(number, (0, 0, 10, 20)) for number in (7, 8, 9)],
        images=[
            {"id": 7, "file_name": "0.png", "width": 60, "height": 40},
            {"id": 8, "file_name": "1.png", "width": 40, "height": 60},
            {"id": 9, "file_name": "2.png", "width": 640, "height": 480},
        ],
    )
    for name in ("0.png", "1.png", "2.png"):
        write_image(tmp_path / name, (60, 40), 6)
    report, found = pack(path)
    assert found == {"0.png": [("cat", [20, 0, 40, 10])], "1.png": [("cat", [0, 0, 10, 20])]}
    assert [file.path for file in report.rejected] == [b"2.png"]
    assert "640 x 480" in report.rejected[0].reason


def test_one_rule_holds_for_boxes_of_coco_yolo_and_tables(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", [annotation(7), annotation(7, (29, 38, 1, 0)), annotation(8)])
    for name in ("a", "b"):
        write_image(tmp_path / "yolo" / "images" / f"{name}.png")
        write_image(tmp_path / f"{name}.png")
    (tmp_path / "yolo" / "labels").mkdir()
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n0 0.3 0.38 0.01 0.0\n")
    (tmp_path / "t.csv").write_text('image,boxes\na.png,"[[40,40,60,60],[29,38,30,38]]"\nb.png,"[[40,40,60,60]]"\n')
    boxes = kseq.Columns(label="", boxes="boxes")
    reports = [
        kseq.pack(coco, tmp_path / "1", workers=0),
        kseq.pack(tmp_path / "yolo", tmp_path / "2", workers=0),
        kseq.pack(tmp_path / "t.csv", tmp_path / "3", columns=boxes, workers=0),
    ]
    assert [report.boxes and report.boxes.left_out for report in reports] == [{"without width or height": 1}] * 3
    with kseq.ShardDataset(tmp_path / "3") as dataset:
        np.testing.assert_array_equal(dataset[0]["boxes"], [[40, 40, 60, 60]])


def test_boxes_in_shares_and_images_without_boxes_are_told(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    for name, cell in (("shares", "[[0.1,0.2,0.3,0.4]]"), ("none", "[]")):
        (tmp_path / f"{name}.csv").write_text(f'image,boxes\na.png,"{cell}"\n')
        columns = kseq.Columns(label="", boxes="boxes")
        report = kseq.pack(tmp_path / f"{name}.csv", tmp_path / name, columns=columns, workers=0)
        assert report.boxes is not None
        assert [("shares" in line, "no image" in line) for line in report.boxes.lines] == [(name == "shares", name == "none")]


VOC_OBJECT = "<object><name>cat</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>50</xmax><ymax>60</ymax></bndbox></object>"


@pytest.mark.parametrize(("images", "texts"), [("JPEGImages", "Annotations"), ("images", "annotations"), ("", "")])
def test_a_voc_folder_gives_boxes_and_splits(tmp_path: Path, images: str, texts: str) -> None:
    root = tmp_path / "voc"
    for name in ("0.jpg", "1.jpg", "2.jpg", "plain.jpg"):
        write_image(root / images / name)
    (root / texts).mkdir(exist_ok=True)
    for number in range(3):
        text = f"<annotation><filename>x/{number}.jpg</filename>{VOC_OBJECT}</annotation>"
        (root / texts / f"{number}.xml").write_text(text)
    (root / texts / "2.xml").write_text("<annotation><object></annotation>")
    (root / texts / "lost.xml").write_text(f"<annotation>{VOC_OBJECT}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("0\n2\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("1 1\n")
    report, found = pack(root)
    assert {Path(name).name: boxes for name, boxes in found.items()} == {
        "0.jpg": [("cat", [10, 20, 50, 60])],
        "1.jpg": [("cat", [10, 20, 50, 60])],
        "plain.jpg": [],
    }
    assert report.splits == {"train": 2, "val": 1}
    assert [Path(file.path.decode()).name for file in report.rejected] == ["2.jpg", "lost.xml"]
    assert len(report.notes) == 2


def test_labelme_shapes_become_boxes(tmp_path: Path) -> None:
    write_image(tmp_path / "lm" / "a.png", (200, 100))
    shapes = [
        {"label": "cat", "points": [[60, 50], [20, 10]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[1, 1], [5, 1], [5, 9]], "shape_type": "polygon"},
        {"label": "dog", "points": [[50, 50], [53, 54]], "shape_type": "circle"},
        {"label": "cat", "points": [[1, 1]], "shape_type": "point"},
    ]
    content = {"version": "5.4.1", "shapes": shapes, "imagePath": "..\\pics\\a.png", "imageHeight": 100, "imageWidth": 200}
    (tmp_path / "lm" / "a.json").write_text(json.dumps(content))
    (tmp_path / "lm" / "b.json").write_text(json.dumps(content | {"shapes": [{"label": "cat", "points": 3}]}))
    report, found = pack(tmp_path / "lm")
    assert found == {"a.png": [("cat", [20, 10, 60, 50]), ("dog", [1, 1, 5, 9]), ("dog", [45, 45, 55, 55])]}
    assert len(report.rejected) == 1
    assert report.boxes is not None
    assert list(report.boxes.left_out.values()) == [1]


def test_cvat_images_keep_the_order_of_the_labels(tmp_path: Path) -> None:
    write_image(tmp_path / "cv" / "images" / "train" / "a.png", (200, 100))
    (tmp_path / "cv" / "annotations.xml").write_text(
        "<annotations><meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"
        '<image id="0" name="a.png" subset="train" width="200" height="100">'
        '<box label="cat" xtl="10.0" ytl="20.0" xbr="30.5" ybr="40.0"/>'
        '<box label="cat" xtl="10" ytl="20" xbr="30" ybr="40" rotation="90.0"/>'
        '<polygon label="dog" points="1,1;9,1;9,7"/><points label="dog" points="1,1"/></image>'
        '<image id="1" name="a.png" width="200" height="100"><box label="cat" xtl="x"/></image></annotations>'
    )
    report, found = pack(tmp_path / "cv")
    assert report.class_names == ("dog", "cat")
    boxes = [("cat", [10, 20, 30.5, 40]), ("cat", [10, 20, 30, 40]), ("dog", [1, 1, 9, 7])]
    assert found == {"images/train/a.png": boxes}
    assert len(report.rejected) == 1


@pytest.mark.parametrize("is_short", [False, True])
def test_label_studio_percents_become_pixels(tmp_path: Path, is_short: bool) -> None:
    write_image(tmp_path / "photo.png", (200, 100))
    value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
    sizes = {"original_width": 200, "original_height": 100}
    image = "/data/upload/1/1a2b3c4d-photo.png"
    if is_short:
        task: dict[str, Any] = {"id": 1, "image": image, "label": [value | sizes]}
    else:
        result = {**sizes, "type": "rectanglelabels", "value": value}
        task = {"id": 1, "data": {"image": image}, "annotations": [{"was_cancelled": True}, {"result": [result]}]}
    (tmp_path / "project.json").write_text(json.dumps([task]))
    _, found = pack(tmp_path / "project.json")
    assert found == {"photo.png": [("cat", [20, 20, 80, 60])]}


@pytest.mark.parametrize("name", ["a.json", "a.xml", "annotations.xml"])
@pytest.mark.parametrize(
    "text",
    ["", "[]", "[1]", "{}", '{"shapes": 3}', '[{"image": 4}]', "<annotations>", "<annotations><image/></annotations>", "\0"],
)
def test_rubbish_is_refused_in_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with raises(SourceError):
        pack(tmp_path / name)


@pytest.mark.parametrize("kind", ["folder", "webdataset", "tfrecord"])
def test_an_export_brings_back_the_numbers_of_box_classes(tmp_path: Path, kind: str) -> None:
    write_image(tmp_path / "yolo" / "images" / "a.png")
    (tmp_path / "yolo" / "labels").mkdir()
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.2 0.3 0.2 0.2\n1 0.7 0.7 0.4 0.4\n")
    (tmp_path / "yolo" / "data.yaml").write_text("names: [zebra, ant, never]\n")
    kseq.pack(tmp_path / "yolo", tmp_path / "packed", workers=0)
    report = kseq.export(tmp_path / "packed", tmp_path / "out", format=kind)
    assert report.pack_command.endswith("--class-names zebra ant never")


def write_voc(folder: Path, stem: str, box: str = "40 40 60 60", name: str = "") -> None:
    sides = "".join(
        f"<{side}>{number}</{side}>" for side, number in zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True)
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.xml").write_text(
        f"<annotation><filename>{name}</filename><object><name>cat</name><bndbox>{sides}</bndbox></object></annotation>"
    )


def test_a_large_voc_folder_is_told_though_only_some_of_its_files_are_looked_at(tmp_path: Path) -> None:
    for number in range(700):
        (tmp_path / "VOC2012/JPEGImages").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"VOC2012/JPEGImages/{number:03d}.jpg").touch()
        write_voc(tmp_path / "VOC2012/Annotations", f"{number:03d}")
    assert [choose_format(str(path), None).name for path in (tmp_path, tmp_path / "VOC2012")] == ["voc", "voc"]


def test_the_images_of_voc_have_the_boxes_of_their_own_files(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in ("train2017/b.jpg", "val2017/c.jpg", "val2017/d.jpg", "val2017/d.png", "SegmentationClass/c.png"):
        write_image(source / name)
    write_voc(source / "train2017", "b-aug", "1 1 2 2", "b.jpg")
    write_voc(source / "train2017", "b", name="b.jpg")
    write_voc(source / "val2017", "c")
    write_voc(source / "val2017", "d")
    report, found = pack(source, source_format="voc")
    assert found == {name: [("cat", [40, 40, 60, 60])] for name in ("train2017/b.jpg", "val2017/c.jpg")}
    assert report.splits == {"train": 1, "val": 1}
    rejected = {os.fsdecode(entry.path) for entry in report.rejected}
    assert rejected == {"train2017/b-aug.xml", "val2017/d.xml", "val2017/d.jpg", "val2017/d.png", "SegmentationClass/c.png"}


def test_images_of_coco_that_share_an_id_have_nobodys_boxes(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "0.png"}, {"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}]
    report, found = pack(write_coco(tmp_path, [annotation(1), annotation(2)], images=images))
    assert (found, len(report.rejected)) == ({"2.png": [("cat", [40, 40, 60, 60])]}, 2)


@pytest.mark.parametrize(
    "entry", [{"image": "0.png", "label": "cat"}, {"image": "0.png", "conversations": [{"from": "human"}]}]
)
def test_a_list_of_records_is_no_export_of_label_studio(tmp_path: Path, entry: dict[str, Any]) -> None:
    write_image(tmp_path / "0.png")
    (tmp_path / "t.json").write_text(json.dumps([entry]))
    with raises(SourceError, tmp_path / "t.json", "source_format='jsonl'"):
        kseq.pack(tmp_path / "t.json", tmp_path / "out", workers=0)


def test_results_of_coco_are_named_and_a_stray_task_of_label_studio_is_listed(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png")
    (tmp_path / "r.json").write_text(json.dumps([{"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.9}]))
    with raises(SourceError, tmp_path / "r.json", "COCO", "annotations"):
        kseq.pack(tmp_path / "r.json", tmp_path / "out", workers=0)
    result = {"type": "rectanglelabels", "original_width": 100, "original_height": 100}
    value = {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["cat"]}
    tasks = [{"data": {"image": "0.png"}, "annotations": [{"result": [{**result, "value": value}]}]}, "x"]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    report, found = pack(tmp_path / "t.json")
    assert (list(found), [os.fsdecode(file.path) for file in report.rejected]) == (["0.png"], ["task 2 of the list"])


def test_a_region_of_label_studio_without_the_size_of_its_image_is_listed(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png"), write_image(tmp_path / "1.png")
    value = {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["cat"]}
    tasks = [
        {"data": {"image": "0.png"}, "annotations": [{"result": [{"type": "rectanglelabels", "value": value}]}]},
        {"data": {"image": "1.png"}, "annotations": [{"result": []}]},
    ]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    report, found = pack(tmp_path / "t.json")
    assert (found, [entry.path for entry in report.rejected]) == ({"1.png": []}, [b"0.png"])


@pytest.mark.parametrize("name", ["\ud800.png", "a\0.png"])
def test_a_name_that_no_file_can_have_concerns_its_image(tmp_path: Path, name: str) -> None:
    images = [{"id": 1, "file_name": name}, {"id": 2, "file_name": "2.png"}]
    report, _ = pack(write_coco(tmp_path, [annotation(2)], images=images))
    assert (report.num_samples, len(report.rejected)) == (1, 1)


def test_class_names_that_no_object_has_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "in/0.jpg"), write_voc(tmp_path / "in", "0")
    for error, names in ((SourceError, ["Cat"]), (ArgumentError, ["cat", "cat"])):
        with raises(error, names[0], "cat"):
            kseq.pack(tmp_path / "in", tmp_path / "out", workers=0, class_names=names)


def voc_text(boxes: str, head: str = "", size: str = "") -> str:
    return f"{head}<annotation>{size}{boxes}</annotation>"


CAT = (
    "<object><name>caf\u00e9 \u732b</name>"
    "<bndbox><xmin>40</xmin><ymin>40</ymin><xmax>60</xmax><ymax>60</ymax></bndbox></object>"
)
TEXTS: dict[str, bytes] = {
    "namespace": voc_text(CAT).replace("<annotation>", '<annotation xmlns="http://a.b/c">').encode(),
    "upper case": voc_text(CAT).replace("object>", "Object>").replace("bndbox>", "BndBox>").encode(),
    "wrapped": voc_text(f"<objects>{CAT}</objects>").encode(),
    "blank line first": b"\n" + voc_text(CAT, '<?xml version="1.0"?>').encode(),
    "gbk": voc_text(CAT, '<?xml version="1.0" encoding="GB2312"?>').encode("gb18030"),
    "utf-16": voc_text(CAT, '<?xml version="1.0" encoding="utf-16"?>').encode("utf-16"),
    "part before the box": voc_text(
        CAT.replace("</name>", f"</name><part><name>head</name>{CAT.partition('</name>')[2].removesuffix('</object>')}</part>")
    ).encode(),
}


@pytest.mark.parametrize("form", TEXTS)
def test_an_object_of_voc_is_found_in_whatever_form_the_file_is(tmp_path: Path, form: str) -> None:
    write_image(tmp_path / "voc" / "a.png")
    (tmp_path / "voc" / "a.xml").write_bytes(TEXTS[form])
    _, found = pack(tmp_path / "voc")
    assert found == {"a.png": [("caf\u00e9 \u732b", [40, 40, 60, 60])]}


def test_a_box_of_voc_that_belongs_to_no_object_rejects_its_image(tmp_path: Path) -> None:
    for name, text in (("a", voc_text(CAT)), ("b", voc_text(CAT.replace("object>", "item>")))):
        write_image(tmp_path / "voc" / f"{name}.png")
        (tmp_path / "voc" / f"{name}.xml").write_text(text, "utf-8")
    report, found = pack(tmp_path / "voc")
    assert list(found) == ["a.png"]
    assert_says(report.rejected[0].reason, "b.xml", "bndbox")


def test_a_file_of_voc_of_another_encoding_is_read_when_that_is_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "voc" / f"{name}.png")
        (tmp_path / "voc" / f"{name}.xml").write_bytes(voc_text(CAT).encode("gb18030" if name == "a" else "utf-8"))
    report, found = pack(tmp_path / "voc")
    assert list(found) == ["b.png"]
    assert_says(report.rejected[0].explanation, "a.xml", "UTF-8", "text_encoding")
    for name in ("b.xml", "b.png"):
        (tmp_path / "voc" / name).unlink()
    _, found = pack(tmp_path / "voc", text_encoding="gb18030", overwrite=True)
    assert found["a.png"] == [("caf\u00e9 \u732b", [40, 40, 60, 60])]


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        ({"VOC2007/ImageSets/Main/train.txt": "a\n", "VOC2012/ImageSets/Main/val.txt": "a\n"}, {"train": 1, "val": 1}),
        ({"VOC2007/ImageSets/Main/trainval.txt": "a\r\n", "VOC2012/ImageSets/Main/test.txt": "a\r\n"}, {"train": 1, "test": 1}),
        ({"VOC2007/ImageSets/Layout/train.txt": "JPEGImages/a.png\n", "VOC2012/val.txt": "a.xml\n"}, {"train": 1, "val": 1}),
    ],
)
def test_the_lists_of_voc_tell_the_splits_of_their_own_folder(
    tmp_path: Path, lists: dict[str, str], splits: dict[str, int]
) -> None:
    for year in ("VOC2007", "VOC2012"):
        write_image(tmp_path / "voc" / year / "JPEGImages" / "a.png", (100, 100 + len(year)))
        (tmp_path / "voc" / year / "Annotations").mkdir()
        (tmp_path / "voc" / year / "Annotations" / "a.xml").write_text(voc_text(CAT), "utf-8")
    for name, text in lists.items():
        path = tmp_path / "voc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    report, _ = pack(tmp_path / "voc")
    assert report.splits == splits
    with kseq.ShardDataset(tmp_path / "voc-packed", "train") as dataset:
        assert dataset.source(0).startswith("VOC2007")
    assert any("lists" in note for note in report.notes) == ("VOC2012/val.txt" in lists)


@pytest.mark.parametrize("mark", ["0", "false", 0, False, None, ""])
def test_a_mark_that_says_no_makes_no_crowd(tmp_path: Path, mark: Any) -> None:
    _, found = pack(write_coco(tmp_path, [annotation(7, iscrowd=mark)]))
    assert found["0.png"] == [("cat", [40, 40, 60, 60])]


@pytest.mark.parametrize(
    ("annotations", "are_corners"),
    [
        ([annotation(7, [10, 20, 40, 60], area=1200), annotation(8, [1, 2, 3, 4], area=4)], True),
        ([annotation(7, [10, 20, 40, 60], bbox_mode=0)], True),
        ([annotation(7, [10, 20, 40, 60], bbox_mode=1)], False),
        ([annotation(7, [10, 20, 40, 60], area=2400)], False),
        ([annotation(7, [10, 20, 40, 60], area=1200), annotation(8, [1, 2, 3, 4], area=12)], False),
        ([annotation(7, [10, 20, 40, 60], area=1200), annotation(8, [1, 2, 3, 4])], False),
        ([annotation(7, [10, 20, 40, 60], area=math.nan)], False),
        ([annotation(7, [10, 20, 40, 60], area=10**400)], False),
    ],
)
def test_boxes_of_coco_that_are_corners_by_their_areas_are_read_so(
    tmp_path: Path, annotations: list[dict[str, Any]], are_corners: bool
) -> None:
    report, found = pack(write_coco(tmp_path, annotations))
    assert found["0.png"] == [("cat", [10, 20, 40, 60] if are_corners else [10, 20, 50, 80])]
    assert any("bbox" in note for note in report.notes) == are_corners


@pytest.mark.parametrize("written", ["images/0.png", "C:\\data\\0.png", "/content/data/0.png", "http://a.b/train2017/0.png"])
def test_a_path_of_another_machine_is_found_by_its_end_and_a_line_says_so(tmp_path: Path, written: str) -> None:
    key = "coco_url" if written.startswith("http") else "file_name"
    report, found = pack(
        write_coco(tmp_path, [annotation(7)], images=[{"id": 7, key: written}, {"id": 8, "file_name": "1.png"}])
    )
    assert found == {"0.png": [("cat", [40, 40, 60, 60])], "1.png": []}
    assert_says(" ".join(report.notes), 1, "0.png")
    # The file of another image is not taken.
    images = [{"id": 7, "file_name": "other/1.png"}, {"id": 8, "file_name": "1.png"}]
    (tmp_path / "ann.json").write_text(json.dumps({"images": images, "annotations": [], "categories": CATEGORIES}))
    report, found = pack(tmp_path / "ann.json", overwrite=True)
    assert (list(found), [os.fsdecode(each.path) for each in report.rejected]) == (["1.png"], ["other/1.png"])


@pytest.mark.parametrize(("size", "is_told"), [((60, 100), False), ((100, 60), False), (None, True)])
def test_boxes_of_a_turned_photo_whose_annotation_says_no_size_are_told(
    tmp_path: Path, size: tuple[int, int] | None, is_told: bool
) -> None:
    stated = {} if size is None else {"width": size[0], "height": size[1]}
    source = write_coco(tmp_path, [annotation(7, [10, 20, 30, 20])], images=[{"id": 7, "file_name": "t.jpg", **stated}])
    write_image(tmp_path / "t.jpg", (100, 60), 6)
    report, found = pack(source)
    assert found["t.jpg"][0][1] == ([20, 10, 40, 40] if size == (100, 60) else [10, 20, 40, 40])
    assert any("upright" in note for note in report.image_notes) == is_told


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"images": [], "annotations": [{"image_id": 1, "caption": "a cat"}]}, ("text='caption'",)),
        ({"0.png": "cat", "1.png": "dog"}, ("label", "table.csv")),
        ({"imgs": {}, "anns": {}, "cats": {}}, ("COCO-Text", "table.csv")),
    ],
)
def test_json_that_is_no_detection_file_names_the_way_out(tmp_path: Path, content: Any, parts: tuple[str, ...]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with raises(SourceError, tmp_path / "a.json", *parts):
        pack(tmp_path / "a.json")


@pytest.mark.parametrize("is_folder", [False, True])
@pytest.mark.parametrize("has_several", [False, True])
def test_categories_of_coco_that_say_no_place_are_labels(tmp_path: Path, is_folder: bool, has_several: bool) -> None:
    annotations = [{"id": number, "image_id": 7 + number, "category_id": 2 - number % 2} for number in range(3)]
    annotations += [{"id": 9, "image_id": 7, "category_id": 1, "bbox": []}] * has_several
    path = write_coco(tmp_path / "in", annotations)
    report = kseq.pack(path.parent if is_folder else path, tmp_path / "out", workers=0)
    with kseq.ShardDataset(tmp_path / "out") as dataset:
        found = {dataset.source(row): dataset[row]["labels" if has_several else "label"].tolist() for row in range(3)}
    assert (report.class_names, report.boxes) == (("cat", "dog"), None)
    assert found == ({"0.png": [1, 0], "1.png": [0], "2.png": [1]} if has_several else {"0.png": 1, "1.png": 0, "2.png": 1})
    assert_says(report.notes[0], path, "labels")


def cvat_video(*shapes: str, label: str = "cat") -> str:
    meta = "<meta><task><size>4</size><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task>"
    return (
        f'<annotations>{meta}<source>v.mp4</source></meta><track id="0" label="{label}">{"".join(shapes)}</track></annotations>'
    )


def cvat_box(frame: int, left: int, *, outside: int = 0, keyframe: int = 1) -> str:
    return f'<box frame="{frame}" outside="{outside}" keyframe="{keyframe}" xtl="{left}" ytl="20" xbr="{left + 40}" ybr="60"/>'


@pytest.mark.parametrize(
    ("first", "shapes", "lefts", "num_told"),
    [
        (0, [cvat_box(0, 0), cvat_box(1, 5, keyframe=0), cvat_box(2, 5, outside=1)], [[0], [5], [], []], 0),
        # Keyframes alone, as other tools write them.
        (0, [cvat_box(0, 0), cvat_box(2, 10), cvat_box(3, 10, outside=1)], [[0], [5], [10], []], 1),
        (1, [cvat_box(0, 0, keyframe=0), cvat_box(3, 9, keyframe=0)], [[0], [], [], [9]], 1),
    ],
)
def test_tracks_of_cvat_are_boxes_of_the_frames_beside_them(
    tmp_path: Path, first: int, shapes: list[str], lefts: list[list[int]], num_told: int
) -> None:
    for number in range(first, first + 4):
        write_image(tmp_path / "in" / "images" / f"frame_{number:06d}.PNG")
    (tmp_path / "in" / "annotations.xml").write_text(cvat_video(*shapes))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        report, found = pack(tmp_path / "in")
    assert [[box for _, box in found[name]] for name in sorted(found)] == [[[x, 20, x + 40, 60] for x in own] for own in lefts]
    assert (report.class_names, len(told)) == (("dog", "cat"), num_told)


def test_a_shape_without_its_frame_is_listed_and_a_video_without_frames_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(cvat_video(cvat_box(0, 0), cvat_box(7, 0)))
    with raises(SourceError, tmp_path, "ffmpeg -i v.mp4", f"{tmp_path}/images/frame_%06d.png"):
        pack(tmp_path / "annotations.xml")
    write_image(tmp_path / "frame_0.png")
    report, _ = pack(tmp_path / "annotations.xml")
    assert [file.path for file in report.rejected] == [b"frame 7"]


@pytest.mark.timeout(20)
def test_a_frame_of_any_number_holds_up_nothing(tmp_path: Path) -> None:
    last = 10**29
    (tmp_path / "annotations.xml").write_text(cvat_video(cvat_box(0, 0), cvat_box(last, 40)))
    for number in (0, 5):
        write_image(tmp_path / f"frame_{number}.png")
    with pytest.warns(UserWarning, match="1 box is interpolated"):
        report, found = pack(tmp_path / "annotations.xml")
    assert [[list(map(round, box)) for _, box in found[name]] for name in sorted(found)] == [[[0, 20, 40, 60]]] * 2
    assert [file.path for file in report.rejected] == [f"frame {last}".encode()]
