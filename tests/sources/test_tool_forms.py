"""What annotation tools and collections look like on the disk: read, or refused by name; never classes of folder names."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import assert_says, raises
from tests.sources.test_annotation_tools import pack, write_image
from tests.sources.test_layouts import zipped

BOX = [10.0, 20.0, 50.0, 60.0]
SIZE = {"height": 100, "width": 100}
POLYGON = [10, 20, 50, 20, 50, 60]


def createml(name: str) -> Any:
    return [{"image": name, "annotations": [{"label": "cat", "coordinates": {"x": 30, "y": 40, "width": 40, "height": 40}}]}]


def darwin(name: str) -> Any:
    item = {"name": name, "path": "/", "slots": [{"type": "image", **SIZE, "source_files": [{"file_name": name}]}]}
    box = {"name": "cat", "bounding_box": {"x": 10, "y": 20, "w": 40, "h": 40}, "polygon": {"paths": []}}
    return {"version": "2.0", "item": item, "annotations": [box, {"name": "cat", "tag": {}}]}


def supervisely(_: str) -> Any:
    points = {"exterior": [[50, 20], [10, 60]], "interior": []}
    objects = [{"classTitle": "cat", "geometryType": "rectangle", "points": points}]
    objects += [{"classTitle": "cat", "geometryType": "bitmap", "bitmap": {}}]  # type: ignore[list-item,dict-item]  # of another kind
    return {"description": "", "tags": [], "size": SIZE, "objects": objects}


def superannotate(name: str) -> Any:
    instances = [{"type": "polygon", "className": "cat", "points": POLYGON}]
    return {"metadata": {"name": name, **SIZE}, "instances": instances, "tags": []}


def datumaro(name: str) -> Any:
    annotations = [{"id": 0, "type": "bbox", "label_id": 0, "bbox": [10, 20, 40, 40]}]
    items = [{"id": Path(name).stem, "annotations": annotations, "image": {"path": name, "size": [100, 100]}}]
    return {"info": {}, "categories": {"label": {"labels": [{"name": "cat"}]}}, "items": items}


def bdd(name: str) -> Any:
    labels = [{"category": "cat", "box2d": {"x1": 10, "y1": 20, "x2": 50, "y2": 60}}, {"category": "lane", "poly2d": []}]
    return [{"name": name, "attributes": {"weather": "clear"}, "labels": labels}]


def vott(name: str) -> Any:
    regions = [{"tags": ["cat"], "boundingBox": {"left": 10, "top": 20, "width": 40, "height": 40}}]
    return {"name": "x", "assets": {"1": {"asset": {"name": name, "size": SIZE}, "regions": regions}}}


def fiftyone(name: str) -> Any:
    detections = [{"label": 0, "bounding_box": [0.125, 0.25, 0.5, 0.5]}]
    return {"classes": ["cat"], "labels": {Path(name).stem: detections}}


def sagemaker(name: str) -> Any:
    boxes = [{"class_id": 0, "left": 10, "top": 20, "width": 40, "height": 40}]
    found = {"image_size": [{**SIZE, "depth": 3}], "annotations": boxes}
    return {"source-ref": f"s3://bucket/{name}", "boxes": found, "boxes-metadata": {"class-map": {"0": "cat"}}}


TOOLS: dict[str, tuple[Any, str, str]] = {
    "CreateML": (createml, "train/a.jpg", "train/_annotations.createml.json"),
    "Darwin": (darwin, "images/a.jpg", "annotations/a.json"),
    "Supervisely": (supervisely, "ds0/img/a.jpg", "ds0/ann/a.jpg.json"),
    "SuperAnnotate": (superannotate, "a.jpg", "a.jpg___objects.json"),
    "Datumaro": (datumaro, "images/default/a.jpg", "annotations/default.json"),
    "BDD100K": (bdd, "images/100k/train/a.jpg", "labels/bdd100k_labels_images_train.json"),
    "VoTT": (vott, "a.jpg", "x-export.json"),
    "FiftyOne": (fiftyone, "data/a.jpg", "labels.json"),
    "SageMaker": (sagemaker, "a.jpg", "output.manifest"),
}


def write_tool(root: Path, tool: str) -> None:
    make, image, text = TOOLS[tool]
    write_image(root / image)
    (root / text).parent.mkdir(parents=True, exist_ok=True)
    (root / text).write_text(json.dumps(make("a.jpg")))


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("is_zip", [False, True])
def test_boxes_of_a_tool_are_read_from_its_json(tmp_path: Path, tool: str, is_zip: bool) -> None:
    write_tool(tmp_path / "in", tool)
    source = zipped(tmp_path / "in") if is_zip else tmp_path / "in"
    report, found = pack(source)
    expected = [12.5, 25, 62.5, 75] if tool == "FiftyOne" else BOX
    assert found == {TOOLS[tool][1]: [("cat", expected)]}
    assert_says(report.notes[0], source, tool)


def test_faults_in_json_of_tools_concern_their_image_and_strays_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "in"
    write_tool(root, "CreateML")
    for name in ("b", "c", "stray"):
        write_image(root / "train" / f"{name}.jpg")
    entries = [*createml("a.jpg"), {"image": "b.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 1}}]}]
    entries += [{"image": "c.jpg", "annotations": [{"coordinates": {}}]}, {"image": "gone.jpg", "annotations": []}]
    (root / "train" / "_annotations.createml.json").write_text(json.dumps(entries))
    (root / "notes.json").write_text("{}")
    report, found = pack(root)
    assert list(found) == ["train/a.jpg"]
    assert {file.path.decode() for file in report.rejected} == {"train/b.jpg", "train/c.jpg", "gone.jpg"}
    assert len(report.notes) == 3


def test_an_image_of_two_is_the_one_nearest_to_its_json(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number, folder in enumerate(("one", "two")):
        write_image(root / folder / "img" / "a.jpg", (100, 100 + number))
        (root / folder / "ann").mkdir()
        size = {"height": 100 + number, "width": 100}
        (root / folder / "ann" / "a.jpg.json").write_text(json.dumps({**supervisely(""), "size": size}))
    report, found = pack(root)
    assert (sorted(map(str, found)), report.rejected) == (["one/img/a.jpg", "two/img/a.jpg"], [])


REFUSED: dict[str, tuple[str, str, str]] = {
    "KITTI": (
        "training/image_2/0.png",
        "training/label_2/0.txt",
        "Car 0.00 0 -1.58 10.0 20.0 50.0 60.0 1.5 1.6 3.7 1.0 1.5 20.0 -1.56\n",
    ),
    "WIDER FACE": (
        "WIDER_train/images/0--Parade/a.jpg",
        "wider_face_split/wider_face_train_bbx_gt.txt",
        "0--Parade/a.jpg\n1\n1 2 3 4 0 0 0 0 0 0\n",
    ),
    "Keras YOLO": ("train/a.jpg", "train/_annotations.txt", "a.jpg 10,20,50,60,0\n"),
    "Scale": ("images/a.jpg", "tasks.json", '[{"task_id": "1", "params": {}, "response": {"annotations": []}}]'),
    "Labelbox": ("images/a.jpg", "export.ndjson", '{"data_row": {"id": "1"}}\n'),
    "Lightly": ("images/a.jpg", "predictions/a.json", '{"file_name": "a.jpg", "predictions": []}'),
    "Tiny ImageNet without wnids.txt": ("val/images/a.JPEG", "val/val_annotations.txt", "a.JPEG\tn01443537\t0\t32\t44\t62\n"),
    "Cityscapes": ("leftImg8bit/train/a/a_leftImg8bit.png", "gtFine/train/a/a_gtFine_polygons.json", "{}"),
    "DeepFashion": ("img/Blouse/img_1.jpg", "Anno/list_category_img.txt", "1\nimage_name  category_label\n"),
    "Market-1501": ("query/0001_c1s1_001051_00.jpg", "bounding_box_train/0002_c1s1_000451_03.jpg", "x"),
    "Visual Genome": ("VG_100K/1.jpg", "objects.json", '[{"image_id": 1, "objects": [{"synsets": ["tree.n.01"]}]}]'),
    "COCO-Text": ("train2014/1.jpg", "cocotext.v2.json", '{"imgs": {}, "anns": {}}'),
    "CelebAMask-HQ": ("CelebA-HQ-img/0.jpg", "CelebAMask-HQ-mask-anno/0/00000_skin.png", "x"),
    "VisDrone": ("x/images/1.jpg", "x/annotations/1.txt", "10,20,30,15,1,4,0,0\n5,6,7,8,0,1,0,0\n"),
}


@pytest.mark.parametrize("tool", REFUSED)
def test_a_collection_that_is_not_read_is_refused_by_name_with_the_way_out(tmp_path: Path, tool: str) -> None:
    image, text, content = REFUSED[tool]
    root = tmp_path / "in"
    write_image(root / image)
    (root / text).parent.mkdir(parents=True, exist_ok=True)
    (root / text).write_text(content)
    with raises(SourceError, root, tool, "image", "kseq.pack('table.csv'"):
        kseq.pack(root, tmp_path / "out", workers=0)


@pytest.mark.parametrize(
    "name", ["train_32x32.mat", "data.pkl", "model.pt", "train.beton", "shard.00000.mds", "train.rec", "a.nii.gz"]
)
def test_a_file_of_another_package_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / name
    file.write_bytes(pickle.dumps({"x": 1}))
    for source in (file, tmp_path / "in"):
        with raises(SourceError, source, name):
            kseq.pack(source, tmp_path / "out", workers=0)


def test_the_table_of_a_competition_is_named_and_not_its_sample_submission(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for name in ("train/1.jpg", "test/3.jpg"):
        write_image(root / name)
    for name in ("train.csv", "sample_submission.csv", "test.csv"):
        (root / name).write_text("id,label\n1,cat\n")
    with raises(SourceError, f"kseq.pack({str(root / 'train.csv')!r}", f"root={str(root / 'train')!r}"):
        kseq.pack(root, tmp_path / "out", workers=0)
    report = kseq.pack(root / "train.csv", tmp_path / "out", columns=kseq.Columns(image="id"), root=root / "train", workers=0)
    assert report.class_names == ("cat",)
