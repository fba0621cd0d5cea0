"""Exports of annotation tools as they are downloaded: several COCO files in a folder, and zips that nobody has unpacked."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import assert_says, raises
from tests.sources.test_annotation_tools import VOC_OBJECT, pack, write_image
from tests.sources.test_layouts import zipped

BOX = [10.0, 20.0, 50.0, 60.0]
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}]


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def coco(*names: str, categories: Any = CATEGORIES) -> dict[str, Any]:
    images = [{"id": number, "file_name": name, "width": 100, "height": 100} for number, name in enumerate(names)]
    boxes = [
        {"id": number, "image_id": number, "category_id": categories[0]["id"], "bbox": [10, 20, 40, 40]}
        for number in range(len(names))
    ]
    return {"info": {}, "images": images, "annotations": boxes, "categories": categories}


def write_coco2017(root: Path) -> None:
    for name in ("train2017/1.jpg", "train2017/2.jpg", "val2017/1.jpg", "val2017/9.jpg"):
        write_image(root / name)
    write_json(root / "annotations" / "instances_train2017.json", coco("1.jpg", "2.jpg"))
    write_json(
        root / "annotations" / "instances_val2017.json", coco("1.jpg", categories=[{"id": 4, "name": "ox"}, *CATEGORIES])
    )
    write_json(root / "annotations" / "captions_val2017.json", {"images": [], "annotations": [{"caption": "a"}]})


def write_roboflow(root: Path) -> None:
    for split in ("train", "valid", "test"):
        write_image(root / split / "a_jpg.rf.1.jpg")
        write_json(root / split / "_annotations.coco.json", coco("a_jpg.rf.1.jpg"))
    (root / "README.dataset.txt").write_text("# cats > 2024\nhttps://example.org\n")
    (root / "README.roboflow.txt").write_text("exported\n")


def write_cvat_coco(root: Path) -> None:
    write_image(root / "images" / "default" / "a.jpg")
    write_json(root / "annotations" / "instances_default.json", coco("a.jpg"))


@pytest.mark.parametrize("is_zip", [False, True])
def test_coco_files_of_a_folder_are_splits(tmp_path: Path, is_zip: bool) -> None:
    write_coco2017(tmp_path / "coco")
    source = zipped(tmp_path / "coco") if is_zip else tmp_path / "coco"
    report, found = pack(source)
    assert found == {"train2017/1.jpg": [("dog", BOX)], "train2017/2.jpg": [("dog", BOX)], "val2017/1.jpg": [("ox", BOX)]}
    assert (report.splits, report.class_names) == ({"train": 2, "val": 1}, ("cat", "dog", "ox"))
    assert len(report.notes) == 2
    assert_says(" ".join(report.notes), source, "captions_val2017.json", "1")


@pytest.mark.parametrize("is_zip", [False, True])
def test_exports_of_tools_in_the_form_of_coco(tmp_path: Path, is_zip: bool) -> None:
    write_roboflow(tmp_path / "roboflow")
    report, found = pack(zipped(tmp_path / "roboflow") if is_zip else tmp_path / "roboflow")
    assert report.splits == {"train": 1, "val": 1, "test": 1}
    assert set(map(str, found)) == {f"{split}/a_jpg.rf.1.jpg" for split in ("train", "valid", "test")}
    write_cvat_coco(tmp_path / "cvat")
    report, found = pack(zipped(tmp_path / "cvat") if is_zip else tmp_path / "cvat")
    assert found == {"images/default/a.jpg": [("dog", BOX)]}


def with_points(content: dict[str, Any], count: int, names: list[str] | None = None) -> dict[str, Any]:
    """COCO's content with keypoints (1, 2), (3, 4), ... of each object."""
    points = [number for point in range(count) for number in (2 * point + 1, 2 * point + 2, 2)]
    annotations = [{**annotation, "keypoints": points} for annotation in content["annotations"]]
    categories = [{**category, **({} if names is None else {"keypoints": names})} for category in content["categories"]]
    return {**content, "annotations": annotations, "categories": categories}


@pytest.mark.parametrize("is_zip", [False, True])
def test_keypoints_of_several_coco_files_are_stored_where_their_numbers_are_equal(tmp_path: Path, is_zip: bool) -> None:
    root, sides = tmp_path / "coco", ["left_eye", "right_eye"]

    def read(**files: dict[str, Any]) -> tuple[kseq.Field | None, list[Any], str]:
        for name, content in files.items():
            write_image(root / f"{name}2017" / "1.jpg")
            write_json(root / "annotations" / f"instances_{name}2017.json", content)
        source = zipped(root) if is_zip else root
        report = kseq.pack(source, tmp_path / "packed", workers=0, overwrite=True)
        with kseq.ShardDataset(tmp_path / "packed") as dataset:
            samples = [dataset[row] for row in range(len(dataset))]
            points = [sample["keypoints"].tolist() for sample in samples if "keypoints" in sample]
            return dataset.fields.get("keypoints"), points, " ".join(report.notes)

    plain, two, three = coco("1.jpg"), with_points(coco("1.jpg"), 2, sides), with_points(coco("1.jpg"), 3)
    stored = [[[1, 2, 2], [3, 4, 2]]]
    field, points, notes = read(train=two, val=two)
    assert field is not None
    assert (field.mirror_order, points, "keypoints" in notes) == ((1, 0), [stored, stored], False)
    _, points, notes = read(train=two, val=plain)
    assert (points, "keypoints" in notes) == ([stored, [[[0, 0, 0], [0, 0, 0]]]], False)
    field, points, notes = read(train=two, val=with_points(coco("1.jpg"), 2, ["nose", "tail"]))
    assert field is not None
    assert (field.mirror_order, points, "left" in notes) == ((), [stored, stored], True)
    field, points, notes = read(train=two, val=three)
    assert (field, points) == (None, [])
    assert_says(notes, "2 or 3", "keypoints")


def write_voc(root: Path) -> None:
    write_image(root / "JPEGImages" / "0.jpg")
    write_image(root / "JPEGImages" / "1.jpg")
    for number in range(2):
        path = root / "Annotations" / f"{number}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<annotation><filename>{number}.jpg</filename>{VOC_OBJECT}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "val.txt").write_text("1\n")


def write_cvat(root: Path) -> None:
    write_image(root / "images" / "0.jpg")
    box = '<box label="cat" xtl="10" ytl="20" xbr="50" ybr="60"/>'
    image = f'<image id="0" name="0.jpg" width="100" height="100">{box}</image>'
    (root / "annotations.xml").write_text(f"<annotations><meta/>{image}</annotations>")


def write_labelme(root: Path) -> None:
    write_image(root / "0.jpg")
    shape = {"label": "cat", "points": [[10, 20], [50, 60]], "shape_type": "rectangle"}
    write_json(root / "0.json", {"version": "5", "shapes": [shape], "imagePath": "0.jpg"})


def write_via(root: Path) -> None:
    write_image(root / "0.jpg")
    region = {"shape_attributes": {"name": "rect", "x": 10, "y": 20, "width": 40, "height": 40}}
    write_json(root / "0.json", {"0": {"filename": "0.jpg", "regions": [{**region, "region_attributes": {"label": "cat"}}]}})


@pytest.mark.parametrize("top", ["", "export"])
@pytest.mark.parametrize("write", [write_voc, write_cvat, write_labelme])
def test_a_zip_of_annotations_gives_what_its_folder_gives(tmp_path: Path, write: Any, top: str) -> None:
    write(tmp_path / "in" / top)
    report, found = pack(zipped(tmp_path / "in"))
    expected_report, expected = pack(tmp_path / "in" / top, overwrite=True)
    assert sorted((Path(name).name, boxes) for name, boxes in found.items()) == sorted(
        (Path(name).name, boxes) for name, boxes in expected.items()
    )
    assert report.splits == expected_report.splits
    assert [("cat", BOX)] in found.values()


def write_yolo(root: Path) -> None:
    write_image(root / "train" / "images" / "0.jpg")
    (root / "train" / "labels").mkdir()
    (root / "train" / "labels" / "0.txt").write_text("0 0.3 0.4 0.4 0.4\n")
    (root / "data.yaml").write_text("train: train/images\nnames: [cat]\n")


@pytest.mark.parametrize("form", ["tar", "gztar"])
@pytest.mark.parametrize("top", ["", "export"])
@pytest.mark.parametrize("write", [write_voc, write_cvat, write_coco2017, write_yolo])
def test_a_tar_of_annotations_gives_what_its_folder_gives(tmp_path: Path, write: Any, top: str, form: str) -> None:
    write(tmp_path / "in" / top)
    source = Path(shutil.make_archive(str(tmp_path / "in"), form, tmp_path / "in"))
    report, found = pack(source)
    expected_report, expected = pack(tmp_path / "in" / top, overwrite=True)
    assert sorted((Path(name).name, str(boxes)) for name, boxes in found.items()) == sorted(
        (Path(name).name, str(boxes)) for name, boxes in expected.items()
    )
    assert (report.splits, report.class_names) == (expected_report.splits, expected_report.class_names)
    assert len(report.notes) - len(expected_report.notes) == (form == "gztar")
    # What is resumed is that of the archive, wherever it was unpacked to.
    assert kseq.pack(source, tmp_path / "again", workers=0).num_samples == report.num_samples
    assert kseq.pack(source, tmp_path / "again", workers=0, resume=True).num_samples == report.num_samples


def test_a_tar_of_annotations_that_is_cut_off_is_refused_and_a_tar_of_samples_stays_one(tmp_path: Path) -> None:
    write_yolo(tmp_path / "in")
    source = Path(shutil.make_archive(str(tmp_path / "in"), "tar", tmp_path / "in"))
    with tarfile.open(source) as tar:
        last = max(member.offset_data for member in tar)
    source.write_bytes(source.read_bytes()[: last + 4])
    with raises(SourceError, source):
        pack(source)
    for folder in ("cat", "dog"):
        write_image(tmp_path / "samples" / folder / "0.jpg")
        (tmp_path / "samples" / folder / "0.json").write_text("{}")
    (tmp_path / "samples" / "README.txt").write_text("x")
    samples = shutil.make_archive(str(tmp_path / "samples"), "tar", tmp_path / "samples")
    assert kseq.pack(samples, tmp_path / "out", workers=0).class_names == ("cat", "dog")


@pytest.mark.parametrize("workers", [0, 2])
def test_images_in_a_zip_of_annotations_are_read_by_any_process(tmp_path: Path, workers: int) -> None:
    write_voc(tmp_path / "in")
    report = kseq.pack(zipped(tmp_path / "in"), tmp_path / "packed", workers=workers)
    assert (report.num_samples, report.rejected) == (2, [])


def test_an_image_of_a_zip_of_annotations_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    write_voc(tmp_path / "in")
    source = zipped(tmp_path / "in")
    data = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        member = archive.getinfo("JPEGImages/1.jpg")
    data[member.header_offset + 30 + len(member.filename) + 100] ^= 0xFF
    source.write_bytes(data)
    report, found = pack(source)
    assert [file.path for file in report.rejected] == [b"JPEGImages/1.jpg"]
    assert list(found) == ["JPEGImages/0.jpg"]


def test_a_format_that_is_named_is_looked_for_in_a_zip(tmp_path: Path) -> None:
    write_via(tmp_path / "in")
    _, found = pack(zipped(tmp_path / "in"), source_format="via")
    assert found == {"0.jpg": [("cat", BOX)]}
    with raises(SourceError, tmp_path / "in.zip"):
        pack(tmp_path / "in.zip", source_format="cvat", overwrite=True)


def test_tables_of_pixels_and_idx_files_in_a_zip_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as archive:
        head = ",".join(["label", *(f"pixel{number}" for number in range(16))])
        archive.writestr("train.csv", f"{head}\n7{',9' * 16}\n")
        archive.writestr("sample_submission.csv", "ImageId,Label\n1,0\n")
    report = kseq.pack(tmp_path / "digits.zip", tmp_path / "digits", workers=0)
    assert (report.class_names, report.num_samples) == (("7",), 1)
    with zipfile.ZipFile(tmp_path / "mnist.zip", "w") as archive:
        images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, *range(8)])
        archive.writestr("train-images-idx3-ubyte.gz", gzip.compress(images))
        archive.writestr("train-labels-idx1-ubyte.gz", gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6])))
    report = kseq.pack(tmp_path / "mnist.zip", tmp_path / "mnist", workers=0)
    assert report.class_names == ("5", "6")


def test_a_zip_of_class_folders_with_other_files_beside_stays_one(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "cat" / "0.jpg")
    write_image(tmp_path / "in" / "dog" / "1.jpg")
    (tmp_path / "in" / "labels.csv").write_text("image,label\n0.jpg,cat\n")
    report = kseq.pack(zipped(tmp_path / "in"), tmp_path / "packed", workers=0)
    assert report.class_names == ("cat", "dog")
