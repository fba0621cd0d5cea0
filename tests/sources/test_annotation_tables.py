"""CSV and JSON files of boxes as ImageNet, Open Images, Kaggle, RetinaNet, AutoML, VIA and Label Studio have them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import assert_says, raises
from tests.sources.test_annotation_tools import pack, write_image

BOX = [10.0, 20.0, 50.0, 60.0]
# Of 200 x 100 pixels: 0.125, 0.25, 0.25, 0.5.
SHARES = [25.0, 25.0, 50.0, 50.0]


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def quoted(value: Any) -> str:
    """A cell of JSON in a CSV."""
    return '"' + json.dumps(value).replace('"', '""') + '"'


def by_name(found: dict[str, Any]) -> dict[str, Any]:
    return {Path(name).name: boxes for name, boxes in found.items()}


def write_imagenet(root: Path) -> None:
    images = root / "ILSVRC" / "Data" / "CLS-LOC"
    for name in ("n01440764_1", "n01440764_2", "n02012849_3"):
        write_image(images / "train" / name.split("_")[0] / f"{name}.JPEG")
    write_image(images / "val" / "ILSVRC2012_val_00000001.JPEG")
    train = [
        "n01440764_1,n01440764 10 20 50 60 n01440764 1 2 3 4 ",
        "n01440764_2,n01440764 10 20 x 60",
        "n02012849_3,n02012849 10 20 50 60",
    ]
    write(root / "LOC_train_solution.csv", "ImageId,PredictionString", *train)
    write(root / "LOC_val_solution.csv", "ImageId,PredictionString", "ILSVRC2012_val_00000001,n02012849 10 20 50 60")


@pytest.mark.parametrize("is_named", [True, False])
def test_the_lists_of_imagenet_give_classes_boxes_and_splits(tmp_path: Path, is_named: bool) -> None:
    root = tmp_path / "imagenet"
    write_imagenet(root)
    if is_named:
        mapping = ["n01440764 tench, Tinca tinca", "n02012849 crane", "n03126707 crane"]
        write(root / "LOC_synset_mapping.txt", *mapping)
    report, found = pack(root)
    tench, crane = ("tench, Tinca tinca", "crane (n02012849)") if is_named else ("n01440764", "n02012849")
    assert by_name(found) == {
        "n01440764_1.JPEG": [(tench, BOX), (tench, [1, 2, 3, 4])],
        "n02012849_3.JPEG": [(crane, BOX)],
        "ILSVRC2012_val_00000001.JPEG": [(crane, BOX)],
    }
    assert report.splits == {"train": 2, "val": 1}
    assert [Path(file.path.decode()).name for file in report.rejected] == ["n01440764_2.JPEG"]
    assert_says(report.rejected[0].reason, "row 2", re.compile("n01440764 10 20 x 60"))
    with kseq.ShardDataset(tmp_path / "imagenet-packed") as dataset:
        assert dataset.class_names[dataset[2]["label"]] == crane
        assert len(dataset.class_names) == (3 if is_named else 2)
    report = kseq.pack(root / "LOC_val_solution.csv", tmp_path / "val", workers=0)
    assert report.splits == {"val": 1}


def test_open_images_has_boxes_in_shares_and_ids_without_suffix(tmp_path: Path) -> None:
    for name in ("0001", "0002", "0003"):
        write_image(tmp_path / "validation" / f"{name}.jpg", (200, 100))
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    rows = [
        "0001,xclick,/m/01g317,1,0.125,0.25,0.25,0.5,0,0,0,0,0",
        "0001,xclick,/m/0199g,1,0,1,0,1,0,0,1,0,0",
        "0002,xclick,/m/0199g,1,0.125,0.25,0.25,0.5,0,0,0,0,0",
        "0003,xclick,/m/0199g,1,x,0.25,0.2,0.6,0,0,0,0,0",
        "0004,xclick,/m/0199g,1,0,0.25,0.2,0.6,0,0,0,0,0",
    ]
    path = write(tmp_path / "validation-annotations-bbox.csv", head, *rows)
    report, found = pack(path)
    assert by_name(found)["0001.jpg"] == [("/m/01g317", SHARES), ("/m/0199g", [0, 0, 200, 100])]
    assert report.splits == {"val": 2}
    assert {Path(file.path.decode()).stem for file in report.rejected} == {"0003", "0004"}
    write(tmp_path / "class-descriptions-boxable.csv", "/m/01g317,Person", "/m/0199g,Bicycle")
    report = kseq.pack(path, tmp_path / "named", root=tmp_path / "validation", workers=0)
    assert report.class_names == ("Bicycle", "Person")
    report = kseq.pack(path, tmp_path / "one", class_names=["Person"], workers=0)
    assert report.class_names == ("Person",)


def test_a_column_of_boxes_as_wheat_detection_has_it(tmp_path: Path) -> None:
    for name in ("b6ab77fd7", "b53afdf5c", "plain"):
        write_image(tmp_path / "train" / f"{name}.jpg", (100, 100))
    rows = ['b6ab77fd7,100,100,"[10.0, 20.0, 40.0, 40.0]",usask_1', 'b6ab77fd7,100,100,"[1.0, 2.0, 3.0, 4.0]",usask_1']
    rows += ['b53afdf5c,100,100,"[10, 20, 40]",x', "plain,100,100,,x"]
    path = write(tmp_path / "train.csv", "image_id,width,height,bbox,source", *rows)
    report, found = pack(path, root=tmp_path / "train")
    assert by_name(found) == {"b6ab77fd7.jpg": [("object", BOX), ("object", [1, 2, 4, 6])], "plain.jpg": []}
    assert len(report.notes) == 1
    assert_says(report.rejected[0].reason, "row 3", re.compile(r"\[10, 20, 40\]"))


def test_retinanet_has_no_names_of_columns_and_images_without_a_box(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write_image(tmp_path / "img" / name)
    rows = ["img/a.jpg,10,20,50,60,cow", "img/a.jpg,1,2,3,4,cat", "img/b.jpg,,,,,", "img/c.jpg,1,x,3,4,cat"]
    report, found = pack(write(tmp_path / "annotations.csv", *rows))
    assert found == {"img/a.jpg": [("cow", BOX), ("cat", [1, 2, 3, 4])], "img/b.jpg": []}
    assert_says(report.rejected[0].reason, "row 4")


def test_automl_has_sets_and_corners_in_shares(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        write_image(tmp_path / "photos" / name, (200, 100))
    rows = [
        "TRAIN,gs://bucket/photos/a.jpg,cat,0.125,0.25,,,0.25,0.5,,",
        "TRAIN,gs://bucket/photos/a.jpg,dog,0,0,1,0,1,1,0,1",
        "VALIDATION,gs://bucket/photos/b.jpg,cat,0.125,0.25,,,0.25,0.5,,",
        "TEST,gs://bucket/photos/c.jpg,,,,,,,,,",
        "UNASSIGNED,gs://bucket/photos/d.jpg,cat,0.05,0.2,,,0.25,,,",
    ]
    report, found = pack(write(tmp_path / "boxes.csv", *rows))
    assert found == {
        "photos/a.jpg": [("cat", SHARES), ("dog", [0, 0, 200, 100])],
        "photos/b.jpg": [("cat", SHARES)],
        "photos/c.jpg": [],
    }
    assert report.splits == {"train": 1, "val": 1, "test": 1}
    rows = [
        "TRAIN,photos/a.jpg,cat",
        "TEST,photos/b.jpg,dog",
        "UNASSIGNED,photos/c.jpg,dog",
        "TRAIN,photos/d.jpg,cat",
        "TRAIN,photos/d.jpg,dog",
    ]
    report = kseq.pack(write(tmp_path / "labels.csv", *rows), tmp_path / "labels", workers=0)
    assert (report.class_names, report.splits) == (("cat", "dog"), {"train": 2, "test": 1})
    assert [file.path for file in report.rejected] == [b"photos/d.jpg"]


def test_columns_that_are_named_make_a_table_of_such_a_file(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg")
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax"
    path = write(tmp_path / "t.csv", head, "a.jpg,x,cat,1,0,1,0,1")
    report = kseq.pack(path, tmp_path / "packed", columns=kseq.Columns(image="ImageID", label="LabelName"), workers=0)
    assert report.class_names == ("cat",)
    assert report.boxes is None


VIA_REGIONS = [
    ({"name": "rect", "x": 10, "y": 20, "width": 40, "height": 40}, {"label": "cat"}),
    ({"name": "polygon", "all_points_x": [10, 50, 50], "all_points_y": [20, 20, 60]}, {"label": {"dog": True, "cat": False}}),
    ({"name": "circle", "cx": 30, "cy": 40, "r": 20}, {"label": "cat"}),
    ({"name": "point", "cx": 1, "cy": 2}, {"label": "cat"}),
]


@pytest.mark.parametrize("form", ["project", "export", "old", "csv"])
def test_via_gives_boxes_around_regions(tmp_path: Path, form: str) -> None:
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / name)
    if form == "csv":
        head = "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
        rows = [
            f'a.jpg,9,"{{}}",4,{number},{quoted(shape)},{quoted(names)}' for number, (shape, names) in enumerate(VIA_REGIONS)
        ]
        path = write(tmp_path / "via_export_csv.csv", head, *rows, 'b.jpg,9,"{}",0,0,"{}","{}"')
    else:
        regions: Any = [{"shape_attributes": shape, "region_attributes": names} for shape, names in VIA_REGIONS]
        if form == "old":
            regions = {str(number): region for number, region in enumerate(regions)}
        images: Any = {"a.jpg9": {"filename": "a.jpg", "size": 9, "regions": regions, "file_attributes": {}}}
        images["b.jpg9"] = {"filename": "b.jpg", "size": 9, "regions": [], "file_attributes": {}}
        if form == "project":
            images = {"_via_settings": {"ui": "x" * 5000}, "_via_img_metadata": images, "_via_attributes": {}}
        path = write(tmp_path / "via.json", json.dumps(images))
    report, found = pack(path)
    assert found == {"a.jpg": [("cat", BOX), ("dog", BOX), ("cat", BOX)], "b.jpg": []}
    assert report.boxes is not None
    assert list(report.boxes.left_out.values()) == [1]


def test_regions_of_via_without_a_class_are_objects_or_reject_their_image(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg")
    region = {"shape_attributes": VIA_REGIONS[0][0], "region_attributes": {}}
    images: Any = {"a": {"filename": "a.jpg", "regions": [region]}, "b": {"filename": "b.jpg", "regions": []}}
    report, found = pack(write(tmp_path / "one.json", json.dumps(images)))
    assert found["a.jpg"] == [("object", BOX)]
    assert len(report.notes) == 1
    images["b"]["regions"] = [{**region, "region_attributes": {"name": "cat"}}]
    report, found = pack(write(tmp_path / "two.json", json.dumps(images)))
    assert found == {"b.jpg": [("cat", BOX)]}
    assert_says(report.rejected[0].reason, "region 1")


def test_a_csv_of_label_studio_has_its_regions_as_json(tmp_path: Path) -> None:
    for name in ("1a2b3c4d-a.jpg", "b.jpg"):
        write_image(tmp_path / name)
    region = {"x": 10, "y": 20, "width": 40, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
    region |= {"original_width": 100, "original_height": 100}
    head = "annotation_id,annotator,created_at,id,image,label,lead_time,updated_at"
    rows = [
        f"1,1,2024-01-01,1,/data/upload/1/1a2b3c4d-a.jpg,{quoted([region])},3.5,2024-01-01",
        "2,1,2024-01-01,2,/data/upload/1/1a2b3c4e-b.jpg,,3.5,2024-01-01",
    ]
    _, found = pack(write(tmp_path / "export.csv", head, *rows))
    assert found == {"1a2b3c4d-a.jpg": [("cat", BOX)], "b.jpg": []}


@pytest.mark.parametrize("form", ["csv", "min", "json"])
def test_choices_of_label_studio_are_the_classes_of_images(tmp_path: Path, form: str) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write_image(tmp_path / name)
    if form == "csv":
        rows = ["1,1,a.jpg,dog,2", "2,1,b.jpg,cat,2", "3,1,c.jpg,,2"]
        path = write(tmp_path / "x.csv", "annotation_id,annotator,image,choice,lead_time", *rows)
    elif form == "min":
        tasks: Any = [
            {"image": name, "choice": choice, "id": 1, "annotator": 1} for name, choice in (("a.jpg", "dog"), ("b.jpg", "cat"))
        ]
        path = write(tmp_path / "x.json", json.dumps([*tasks, {"image": "c.jpg", "id": 3}]))
    else:
        tasks = []
        for name, choices in (("a.jpg", ["dog"]), ("b.jpg", ["cat"]), ("c.jpg", [])):
            result = [{"value": {"choices": choices}, "type": "choices", "from_name": "choice"}] if choices else []
            tasks.append({"data": {"image": f"/data/upload/{name}"}, "annotations": [{"result": result}]})
        path = write(tmp_path / "x.json", json.dumps(tasks))
    report = kseq.pack(path, tmp_path / "packed", workers=0)
    assert (report.class_names, report.num_samples, len(report.notes)) == (("cat", "dog"), 2, 1)
    assert [file.path for file in report.rejected] == [b"c.jpg"]


def test_several_choices_are_several_labels(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg")
    rows = [f"1,1,a.jpg,{quoted({'choices': ['dog', 'cat']})},2", "2,1,b.jpg,cat,2"]
    path = write(tmp_path / "x.csv", "annotation_id,annotator,image,choice,lead_time", *rows)
    kseq.pack(path, tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert [dataset[number]["choices"].tolist() for number in range(2)] == [[1, 0], [0]]


def test_a_list_of_imagenet_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "LOC_val_solution.csv", "image,label", "a,b")
    with raises(SourceError, path, "'ImageId'"):
        pack(path)
