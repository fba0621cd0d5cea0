"""Layouts of annotation tools are told from folders of classes: refused with the command that packs them, or noted."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import kseq
from kseq.errors import SourceError
from kseq.sources.registry import choose_format
from tests.helpers.messages import assert_says, raises
from tests.sources.test_yolo_layouts import write

VOC = "<annotation><object><name>cat</name></object></annotation>"
COCO = json.dumps({"images": [{"id": 1, "file_name": "0.png"}], "annotations": [], "categories": []})
LABELME = json.dumps({"version": "5", "shapes": [], "imagePath": "0.png", "imageData": None})

CITY = "bonn/bonn_000000_000019"

LAYOUTS: dict[str, tuple[dict[str, str | bytes | None], tuple[object, ...]]] = {
    "voc": (
        {"JPEGImages/0.png": None, "Annotations/0.xml": VOC, "ImageSets/Main/train.txt": "0\n"},
        ("Pascal VOC", "Annotations/0.xml"),
    ),
    "cvat": (
        {"images/0.png": None, "annotations.xml": "<annotations><image/></annotations>"},
        ("CVAT", "annotations.xml"),
    ),
    "coco": ({"images/0.png": None, "annotations/instances.json": COCO}, ("COCO", "annotations/instances.json")),
    "coco of splits": (
        {"train2017/9.png": None, "val2017/0.png": None, "annotations/instances_val2017.json": COCO},
        ("COCO", "annotations/instances_val2017.json"),
    ),
    "labelme": ({"data/0.png": None, "data/0.json": LABELME}, ("LabelMe", "data/0.json")),
    "masks": ({"images/0.png": None, "masks/0.png": None}, ("masks/", "images and masks")),
    "depth": ({"images/0.png": None, "depth_maps/0.png": None}, ("depth_maps/", "map")),
    "masks of other names": ({"train/images/0.png": None, "train/masks/0_mask.png": None}, ("train/masks/",)),
    "spreadsheet": ({"images/0.png": None, "labels.xlsx": "PK", "~$labels.xlsx": ""}, ("labels.xlsx", "labels.csv")),
    "table": ({"images/0.png": None, "labels.csv": "image,label\n0.png,cat\n"}, ("labels.csv",)),
}


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
    return folder.with_suffix(".zip")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("is_zip", [False, True])
def test_a_layout_of_a_tool_never_becomes_classes_in_silence(tmp_path: Path, layout: str, is_zip: bool) -> None:
    files, parts = LAYOUTS[layout]
    source = write(tmp_path / "in", files)
    source = zipped(source) if is_zip else source
    as_classes = "zip" if is_zip else "folder"
    known = layout.partition(" ")[0]
    if known == "masks":
        planned = kseq.pack(source, tmp_path / "out", workers=0, dry_run=True)
        assert (planned.num_found, planned.class_names) == (1, ())
        assert_says(planned.notes[0], *files, f"source_format={as_classes!r}")
    elif known not in ("voc", "cvat", "labelme", "coco"):
        with raises(SourceError, source, *parts, f"source_format={as_classes!r}"):
            kseq.pack(source, tmp_path / "out", workers=0)
    elif not is_zip:
        assert choose_format(str(source), None).name == known
    report = kseq.pack(source, tmp_path / "out", workers=0, source_format=as_classes)
    assert_says(" ".join(report.notes), *parts)


@pytest.mark.parametrize(
    "more",
    [{"cat/0.xml": VOC}, {"coco.json": COCO}, {"cat/0.json": LABELME}],
)
def test_annotations_beside_or_in_classes_are_noted(tmp_path: Path, more: dict[str, str]) -> None:
    report = kseq.pack(write(tmp_path / "in", {"cat/0.png": None, "dog/1.png": None, **more}), tmp_path / "out", workers=0)
    assert report.class_names == ("cat", "dog")
    assert_says(" ".join(report.notes), *more)


@pytest.mark.parametrize(
    "more",
    [
        {"README.txt": "photos"},
        {"photos.csv": "image,label\n"},
        {"cat/0.txt": "a photo of a cat"},
        {"x.json": "{}"},
        {"x.xml": "<a/>"},
    ],
)
def test_other_files_beside_classes_change_nothing(tmp_path: Path, more: dict[str, str]) -> None:
    report = kseq.pack(write(tmp_path / "in", {"cat/0.png": None, "dog/1.png": None, **more}), tmp_path / "out", workers=0)
    assert report.class_names == ("cat", "dog")
    assert report.notes == ()


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({"train.txt": "cat/0\n"}, ("train.txt", "kseq.Columns(split='split')")),
        ({"splits.csv": "path,split\n"}, ("splits.csv",)),
        ({"split_indices.json": "{}"}, ("split_indices.json",)),
        ({"classes.txt": "dog\ncat\n"}, ("classes.txt", "class_names=['dog', 'cat']")),
        ({"classes.txt": "cat\ndog\n"}, ()),
        ({"class_indices.json": '{"cat": 0}'}, ("class_indices.json", re.compile("rename_class"))),
        ({"LOC_synset_mapping.txt": "cat tiger\n"}, ("LOC_synset_mapping.txt",)),
        ({"labels.csv": "image,label\n0.png,cat\n"}, ("labels.csv", re.compile("table"))),
        ({"labels.ods": "PK"}, ("labels.ods", re.compile("CSV"))),
        ({"requirements.txt": "numpy\n"}, ()),
    ],
)
def test_files_beside_classes_that_name_splits_or_classes_are_noted(
    tmp_path: Path, more: dict[str, str], parts: tuple[object, ...]
) -> None:
    report = kseq.pack(write(tmp_path / "in", {"cat/0.png": None, "dog/1.png": None, **more}), tmp_path / "out", workers=0)
    assert (report.class_names, len(report.notes)) == (("cat", "dog"), bool(parts))
    if parts:
        assert_says(report.notes[0], *parts)
    named = kseq.pack(tmp_path / "in", tmp_path / "named", class_names=["dog", "cat"], workers=0)
    # Whoever names the classes is told of no other file that does.
    assert not any("names of classes" in note for note in named.notes)


@pytest.mark.parametrize(
    ("files", "table", "root"),
    [
        (
            {"train_images/a.png": None, "test_images/b.png": None, "train.csv": "id,label\na.png,x\n"},
            "train.csv",
            "train_images",
        ),
        ({"train_images/a.png": None, "test_images/b.png": None, "t.csv": 'id,label\n"a",x\n'}, "t.csv", "train_images"),
        ({"images/a.png": None, "t.csv": "label;path\nx;images/a.png\n"}, "t.csv", ""),
        ({"images/a/1.png": None, "images/labels.csv": "image,label\na/1.png,x\n"}, "images/labels.csv", "images"),
    ],
)
def test_the_command_for_a_table_names_the_folder_of_its_images(
    tmp_path: Path, files: dict[str, str | bytes | None], table: str, root: str
) -> None:
    source = write(tmp_path / "in", files)
    with raises(SourceError, repr(str(source / table)), f"root={str(source / root)!r}"):
        kseq.pack(source, tmp_path / "out", workers=0)


def test_a_dataset_of_one_class_says_so(tmp_path: Path) -> None:
    report = kseq.pack(write(tmp_path / "in", {"cat/0.png": None}), tmp_path / "out", workers=0)
    assert_says(" ".join(report.notes), "'cat'")


def test_the_command_and_append_print_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kseq_tools.main import main

    source = write(tmp_path / "in", {"cat/0.png": None})
    assert main(["pack", str(source), str(tmp_path / "out"), "--workers", "0"]) == 0
    assert "'cat'" in capsys.readouterr().out


UNKNOWN = {
    "annotations of no known form": ({"images/0.png": None, "labels/0.json": "{}"}, "images"),
    "boxes of a code of one's own": ({"images/0.png": None, "bboxes/0.txt": "left: 4, top: 7\n"}, "bboxes"),
    "names with a word": ({"ch4_images/img_1.png": None, "ch4_gt/img_1.txt": "3,4,5,6,7,8,9,9,Hall\n"}, "ch4_gt"),
    "texts of other names": ({"images/img_1.png": None, "gt/gt_img_1.txt": "3,4,5,6,7,8,9,9,Hall\n"}, "gt"),
}


@pytest.mark.parametrize("layout", UNKNOWN)
@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_folders_that_are_called_like_no_class_become_none_in_silence(tmp_path: Path, layout: str, form: str) -> None:
    files, name = UNKNOWN[layout]
    source = write(tmp_path / "in", files)
    if form != "folder":
        source = Path(shutil.make_archive(str(tmp_path / "in"), form, source))
    known = {"tar": "webdataset"}.get(form, form)
    with raises(SourceError, source, name, re.compile("table.csv|unpack"), f"source_format={known!r}"):
        kseq.pack(source, tmp_path / "out", workers=0)
    assert name in kseq.pack(source, tmp_path / "out", source_format=known, workers=0).class_names


@pytest.mark.parametrize("names", [("Images", "Annotation"), ("101_ObjectCategories", "Annotations"), ("photos", "labels")])
@pytest.mark.parametrize("is_zip", [False, True])
def test_a_folder_of_classes_beside_annotations_is_the_top(tmp_path: Path, names: tuple[str, str], is_zip: bool) -> None:
    inner, other = names
    files = {f"{inner}/cat/0.png": None, f"{inner}/dog/1.png": None, f"{other}/cat/0": "x", f"{other}/dog/1.mat": "x"}
    source = write(tmp_path / "in", files)
    report = kseq.pack(zipped(source) if is_zip else source, tmp_path / "out", workers=0)
    assert report.class_names == ("cat", "dog")
    assert_says(report.notes[0], inner, other)


def test_classes_that_are_copies_of_others_by_their_names_are_told(tmp_path: Path) -> None:
    names = ("cat/0.png", "cat copy/1.png", "dog/2.png", "dog (1)/3.png", "Hard copy/4.png")
    report = kseq.pack(write(tmp_path / "in", _names(*names)), tmp_path / "out", workers=0)
    assert_says(" ".join(report.notes), "'cat' and 'cat copy'", 1)


def test_classes_that_are_called_like_none_and_share_few_names_are_classes(tmp_path: Path) -> None:
    source = write(tmp_path / "in", dict.fromkeys(("data/0.png", "data/1.png", "file/1.png", "file/2.png")))
    assert kseq.pack(source, tmp_path / "out", workers=0).class_names == ("data", "file")


@pytest.mark.parametrize("end", [".txt", ".xyz", ".json"])
def test_a_folder_of_files_that_are_called_like_images_is_no_class(tmp_path: Path, end: str) -> None:
    files = {
        f"{folder}/{number}{suffix}": text
        for folder, suffix, text in (("cat", ".png", None), ("notes", end, "x"))
        for number in "01"
    }
    with raises(SourceError, tmp_path / "in", "notes"):
        kseq.pack(write(tmp_path / "in", files), tmp_path / "out", workers=0)
    files["notes/2.png"] = None
    assert kseq.pack(write(tmp_path / "in", files), tmp_path / "out", workers=0).class_names == ("cat", "notes")


def test_images_and_masks_in_a_tar_are_no_classes(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"images/0.png": None, "masks/0.png": None})
    with raises(SourceError, "in.tar", "images", "masks"):
        kseq.pack(shutil.make_archive(str(tmp_path / "in"), "tar", source), tmp_path / "out", workers=0)


@pytest.mark.parametrize(
    ("files", "part", "name"),
    [
        ({"images/0.png": None, "labels/0.txt": "0 .5 .5 .2 .2"}, "images", "YOLO"),
        ({"images/train/0.png": None, "labels/train/0.txt": "0 .5 .5 .2 .2"}, "images/train", "YOLO"),
        ({"JPEGImages/0.png": None, "Annotations/0.xml": VOC}, "JPEGImages", "Pascal VOC"),
        ({"JPEGImages/0.png": None, "Annotations/0.xml": VOC}, "Annotations", "Pascal VOC"),
    ],
)
def test_a_part_of_a_layout_is_refused_with_the_whole(
    tmp_path: Path, files: dict[str, str | bytes | None], part: str, name: str
) -> None:
    source = write(tmp_path / "in", files)
    with raises(SourceError, name, f"kseq.pack('{source}', 'DATASET')"):
        kseq.pack(source / part, tmp_path / "out", workers=0)


@pytest.mark.parametrize(
    ("name", "content", "source_format"),
    [
        ("via_region_data.json", {"a.png9": {"filename": "0.png", "size": 9, "regions": [], "file_attributes": {}}}, ""),
        ("via.json", {"0": {"filename": "0.png", "regions": [{"shape_attributes": {}, "region_attributes": {}}]}}, "via"),
        (
            "export.json",
            [{"data": {"image": "0.png"}, "annotations": [{"result": [{"from_name": "a", "to_name": "b"}]}]}],
            "labelstudio",
        ),
    ],
)
def test_a_file_of_a_tool_beside_its_images_is_named(tmp_path: Path, name: str, content: object, source_format: str) -> None:
    source = write(tmp_path / "in", {"0.png": None, "1.png": None, name: json.dumps(content)})
    call = f"kseq.pack('{source / name}', 'DATASET', source_format='{source_format}')" if source_format else name
    with raises(SourceError, call):
        kseq.pack(source, tmp_path / "out", workers=0)


@pytest.mark.parametrize("name", ["data.yaml", "t.xlsx", "t.csv.gz", "a.json.gz", "list.txt", "Annotations/a.xml"])
def test_a_file_that_is_no_source_is_named_with_the_way_out(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "in", {name: "names: [cat]\n"})
    with raises(SourceError, source / name, re.compile("give|unpack")):
        kseq.pack(source / name, tmp_path / "out", workers=0)


def test_a_coco_file_that_names_the_images_of_numbered_folders_is_coco(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "images\\0\\a.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 0, "name": "cat"}],
    }
    source = write(tmp_path / "in", {"images/0/a.png": None, "result.json": json.dumps(content)})
    report = kseq.pack(source, tmp_path / "out", workers=0)
    assert (report.class_names, report.notes) == (("cat",), ())


@pytest.mark.parametrize("name", ["annotation_train.odgt", "boxes.json", "digitStruct.mat"])
def test_images_in_one_folder_and_a_file_of_annotations_are_no_class(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "in", {"Images/0.png": None, name: '{"0.png": 1}'})
    with raises(SourceError, source, name, re.compile(r"table\.csv|scipy")):
        kseq.pack(source, tmp_path / "out", workers=0)


@pytest.mark.parametrize(
    ("folders", "is_told"),
    [
        ({"noisy": 3, "clean": 3}, True),
        ({"LR": 3, "HR": 3}, True),
        ({"bus": 3, "car": 3}, False),
        # Two classes, of which the images are numbered.
        ({"low": 3, "high": 7}, False),
    ],
)
def test_two_folders_of_images_that_go_together_are_told(tmp_path: Path, folders: dict[str, int], is_told: bool) -> None:
    source = write(
        tmp_path / "in", {f"{folder}/{number}.png": None for folder, count in folders.items() for number in range(count)}
    )
    report = kseq.pack(source, tmp_path / "out", workers=0)
    assert any("pairs" in note and "target" in note for note in report.notes) == is_told


def test_files_of_labelme_beside_the_folder_of_their_images_find_them(tmp_path: Path) -> None:
    text = json.dumps({"shapes": [], "imagePath": "a.png", "imageData": None})
    source = write(tmp_path / "in", {"JPEGImages/a.png": None, "Annotations/a.json": text})
    report = kseq.pack(source, tmp_path / "out", workers=0)
    assert (report.num_found, report.num_samples) == (1, 1)


def _names(*names: str) -> dict[str, str | bytes | None]:
    return dict.fromkeys(names)


@pytest.mark.parametrize(
    ("files", "table", "root"),
    [
        # ChestX-ray14, HAM10000: no folder is the one that all names are relative to.
        ({**_names("images_001/a.png", "images_002/b.png"), "E.csv": "Image,Finding\na.png,x\nb.png,y\n"}, "E.csv", ""),
        ({**_names("H_part_1/a.png", "H_part_2/b.png"), "m.csv": "id,dx\na,x\nb,y\n"}, "m.csv", ""),
        ({**_names("stage_2_train/a.png"), "l.csv": "patientId,Target\na,0\n"}, "l.csv", "stage_2_train"),
        ({**_names("train/0/a/0ab.png", "train/1/c/1cd.png"), "t.csv": "id,x\n0ab,7\n1cd,8\n"}, "t.csv", ""),
        # CheXpert: names begin with the folder itself.
        ({**_names("train/patient1/study1/a.png"), "t.csv": "Path,x\nin/train/patient1/study1/a.png,1\n"}, "t.csv", ".."),
    ],
)
def test_folders_whose_images_a_table_names_are_no_classes(
    tmp_path: Path, files: dict[str, str | bytes | None], table: str, root: str
) -> None:
    source = write(tmp_path / "in", files)
    place = os.path.normpath(source / root)
    with raises(SourceError, table, f"kseq.pack('{source / table}', 'DATASET', root='{place}')"):
        kseq.pack(source, tmp_path / "out", workers=0)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"info.csv": "file,age\n0,1\n1,2\n"}, "info.csv"),
        ({"info.csv": "file,class\n0,cat\n1,dog\n"}, None),
        ({"info.csv": "name,red,green\nwall,1,2\nroad,1,2\n"}, None),
    ],
)
def test_a_table_that_names_the_images_of_classes_is_a_note(tmp_path: Path, files: dict[str, str], told: str | None) -> None:
    source = write(tmp_path / "in", {"cat/0.png": None, "dog/1.png": None, **files})
    report = kseq.pack(source, tmp_path / "out", workers=0)
    assert (report.class_names, len(report.notes)) == (("cat", "dog"), told is not None)
    assert told is None or told in report.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        ("ISIC_Input/a.png", "ISIC_GroundTruth/a_segmentation.png"),
        ("train/a.png", "train_labels/a_L.png"),
        ("training/images/a.png", "training/v2.0/instances/a.png", "training/v2.0/labels/a.png"),
        ("VOC2012/JPEGImages/a.png", "VOC2012/SegmentationClass/a.png"),
        ("701_StillsRaw_full/a.png", "LabeledApproved_full/a_L.png"),
        ("img_dir/val/a.jpg", "ann_dir/val/a.png"),
        ("val/a.png", "valannot/a.png"),
        ("train/7_sat.jpg", "train/7_mask.png"),
        ("scans/TCGA_1/TCGA_1_7.tif", "scans/TCGA_1/TCGA_1_7_mask.png"),
        (
            f"leftImg8bit/val/{CITY}_leftImg8bit.png",
            f"gtFine/val/{CITY}_gtFine_instanceIds.png",
            f"gtFine/val/{CITY}_gtFine_labelIds.png",
        ),
    ],
)
def test_masks_under_the_names_that_collections_give_them_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = write(tmp_path / "in", _names(*names))
    planned = kseq.pack(source, tmp_path / "out", workers=0, dry_run=True)
    assert (planned.num_found, planned.class_names) == (1, ())
    assert_says(planned.notes[0], names[0], names[-1])


def test_png_files_beside_jpeg_files_may_be_masks_or_maps(tmp_path: Path) -> None:
    source = write(tmp_path / "in", _names("rooms/a.jpg", "rooms/a.png"))
    with raises(SourceError, source, "source_format='masks'", "kinds={'map': 'map'}"):
        kseq.pack(source, tmp_path / "out", workers=0)
    planned = kseq.pack(source, tmp_path / "out", workers=0, dry_run=True, source_format="masks")
    assert (planned.num_found, planned.class_names) == (1, ())


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({"HR/0001.png": None, "LR_x2/0001x2.png": None}, ("hr/", "target")),
        ({"train/cat/0.png": None, "test/unseen_test/1.png": None, "test/cat/1.png": None}, ("without_class=['unseen_test']",)),
        ({"cat/0.png": None, "d.json": '[{"image": "0.png", "label": "x"}]'}, ("d.json", "source_format='jsonl'", "'cat'")),
    ],
)
def test_folders_that_may_be_no_classes_are_told(tmp_path: Path, files: dict[str, str | None], parts: tuple[str, ...]) -> None:
    report = kseq.pack(write(tmp_path / "in", dict(files)), tmp_path / "out", workers=0)
    assert_says(" ".join(report.notes), *parts)


LOG = "epoch,loss\n" + "".join(f"{epoch},0.5\n" for epoch in range(3))
COUNTED = ("0.png", "1.png", "2.png")


def _lines(*names: str) -> str:
    return "".join(f"{name},12\n" for name in names)


@pytest.mark.parametrize(
    ("classes", "images", "more", "told"),
    [
        # Numbers of epochs are no names.
        (("cat", "dog"), COUNTED, {"log.csv": LOG}, None),
        (("cat images", "dog images"), COUNTED, {"log.csv": LOG}, None),
        (("0", "1"), COUNTED, {"log.csv": LOG.replace("0,0.5", "7,0.5").replace("1,0.5", "8,0.5")}, None),
        # A table that says something else of the images is a note.
        (("cat", "dog"), ("{}_0.png",), {"m.csv": "file,width\n" + _lines("cat_0.png", "dog_0.png")}, "m.csv"),
        (("a", "b"), ("{}0.png", "{}1.png"), {"m.csv": "file,width\n" + _lines("a0.png", "b0.png", "b1.png")}, "m.csv"),
        (("0", "1"), ("{}a.png", "{}b.png"), {"m.csv": "file,width\n" + _lines("0a.png", "1a.png", "1b.png")}, "m.csv"),
        (
            ("cat images", "dog images"),
            ("{}.png",),
            {"m.csv": "file,width\n" + _lines("cat images.png", "dog images.png")},
            "m.csv",
        ),
        (("n01440764", "n01443537"), ("{}_0.png",), {"m.csv": "ImageId,x\n" + _lines("n01440764_0", "n01443537_0")}, "m.csv"),
        (("cat", "dog"), ("{}_0.png",), {"train.csv": "file\ncat/cat_0.png\ndog/dog_0.png\n"}, "a list of a split"),
        (("cat",), ("a.png",), {"notes.json": "{}", "model.pkl": "x"}, None),
        # Classes of which images are counted.
        (("mask", "nomask"), COUNTED, {}, "mask/"),
        (("face", "Mask"), ("img_1.png", "img_2.png"), {}, "Mask/"),
        (("depth", "flat"), ("Photo (1).png", "Photo (2).png"), {}, "depth/"),
        (("mask", "no_mask"), COUNTED, {}, None),
        (("with_mask", "without_mask"), COUNTED, {}, None),
        (("left", "right"), COUNTED, {}, None),
        # A class may be empty.
        (("0", "1"), COUNTED, {"2/": None}, None),
        (("label_0", "label_1"), COUNTED, {"label_2/": None}, None),
        (("camera", "video"), COUNTED, {"series/": None}, None),
    ],
)
@pytest.mark.parametrize("is_zip", [False, True])
def test_ordinary_folders_of_classes_are_classes(
    tmp_path: Path,
    classes: tuple[str, ...],
    images: tuple[str, ...],
    more: dict[str, str | None],
    told: str | None,
    is_zip: bool,
) -> None:
    files: dict[str, str | bytes | None] = {f"{name}/{image.format(name)}": None for name in classes for image in images}
    source = write(tmp_path / "in", {**files, **{name: text for name, text in more.items() if name[-1] != "/"}})
    empty = [name.rstrip("/") for name in more if name[-1] == "/"]
    for name in empty if not is_zip else ():
        (source / name).mkdir()
    report = kseq.pack(zipped(source) if is_zip else source, tmp_path / "out", workers=0)
    assert report.class_names == tuple(sorted([*classes, *(empty if not is_zip else ())]))
    assert report.num_samples == len(files)
    notes = [note for note in report.notes if "packed as classes" in note]
    assert [told in note for note in notes if told] == [True] * (told is not None)
    assert len(notes) == (told is not None)


_Drawn = tuple[str, str, tuple[int, int]]


@pytest.mark.parametrize(
    ("image", "mask", "is_certain"),
    [
        (("1.jpg", "RGB", (8, 6)), ("1.png", "RGB", (8, 6)), True),
        (("1.png", "RGB", (8, 6)), ("1.png", "L", (8, 6)), True),
        (("1.png", "RGB", (8, 6)), ("1.png", "P", (16, 12)), True),
        (("1.png", "RGB", (8, 6)), ("1.png", "RGB", (8, 6)), False),
        (("1.jpg", "RGB", (8, 6)), ("1.png", "L", (6, 8)), False),
    ],
)
@pytest.mark.parametrize("is_zip", [False, True])
def test_counted_images_of_masks_are_told_by_their_files(
    tmp_path: Path,
    image: tuple[str, str, tuple[int, int]],
    mask: tuple[str, str, tuple[int, int]],
    is_certain: bool,
    is_zip: bool,
) -> None:
    for folder, (name, mode, size) in (("cells", image), ("cell masks", mask)):
        (tmp_path / "in" / folder).mkdir(parents=True)
        Image.new(mode, size).save(tmp_path / "in" / folder / name)
    source = zipped(tmp_path / "in") if is_zip else tmp_path / "in"
    if is_certain:
        planned = kseq.pack(source, tmp_path / "out", workers=0, dry_run=True)
        assert (planned.num_found, planned.class_names) == (1, ())
        return
    assert_says(
        " ".join(kseq.pack(source, tmp_path / "out", workers=0).notes), "cell masks/", re.compile("if they are classes")
    )


@pytest.mark.parametrize(
    ("folders", "mode", "size", "is_told"),
    [
        (("cat", "dog"), "RGB", (8, 6), True),
        (("cat",), "RGB", (8, 6), True),
        (("cat", "dog"), "RGB", (6, 8), False),
        (("cat",), "L", (8, 6), None),
    ],
)
def test_photos_in_both_formats_of_one_number_are_classes(
    tmp_path: Path, folders: tuple[str, ...], mode: str, size: tuple[int, int], is_told: bool | None
) -> None:
    for folder in folders:
        (tmp_path / "in" / folder).mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(tmp_path / "in" / folder / "1.jpg")
        Image.new(mode, size).save(tmp_path / "in" / folder / "1.png")
    if is_told is None:
        with raises(SourceError, "cat/1.png", "source_format='masks'"):
            kseq.pack(tmp_path / "in", tmp_path / "out", workers=0)
        return
    report = kseq.pack(tmp_path / "in", tmp_path / "out", workers=0)
    assert report.class_names == folders
    assert any("same names" in note for note in report.notes) == is_told


def test_a_text_with_names_of_columns_is_a_table_of_its_images(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"Images/a.png": None, "captions.txt": "image,caption\na.png,A cat .\n"})
    with raises(SourceError, f"kseq.pack('{source}/captions.txt', 'DATASET', root='{source}/Images', source_format='csv')"):
        kseq.pack(source, tmp_path / "out", workers=0)


@pytest.mark.parametrize(("sizes", "is_told"), [([(8, 6), (16, 12)], True), ([(8, 6), (6, 8)], False)])
def test_images_of_one_number_are_pairs_only_if_they_have_one_form(
    tmp_path: Path, sizes: list[tuple[int, int]], is_told: bool
) -> None:
    for folder, size in zip(("low", "high"), sizes, strict=True):
        (tmp_path / "in" / folder).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", size, (number, 0, 0)).save(tmp_path / "in" / folder / f"{number}.png")
    report = kseq.pack(tmp_path / "in", tmp_path / "out", workers=0)
    assert [("target" in note, "classes" in note) for note in report.notes] == [(True, True)] * is_told
