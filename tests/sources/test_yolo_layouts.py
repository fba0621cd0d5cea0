"""YOLO in the layouts that tools really write: which text goes with which image, splits, classes, faults of single lines."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq.errors import ImageError, SourceError
from kseq.sources.registry import choose_format
from kseq.sources.yolo import YoloSource
from tests.helpers.messages import assert_says, raises

LINE = "0 0.5 0.5 0.2 0.2\n"
BOX = [40.0, 40.0, 60.0, 60.0]
YAML = "names: [cat, dog]\n"


def write(folder: Path, files: dict[str, str | bytes | None]) -> Path:
    """Write files by their paths: texts, or for None an image of 100 x 100 pixels."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            # Every image differs: equal files might be told apart by their names alone.
            colour = tuple(np.frombuffer(name.encode()[-3:].rjust(3), np.uint8))
            Image.new("RGB", (100, 100), tuple(map(int, colour))).save(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


class Packed:
    """What was packed of a source."""

    def __init__(self, source: Path, **options: Any) -> None:
        target = source.parent / f"{source.name}-packed"
        shutil.rmtree(target, ignore_errors=True)
        self.report = kseq.pack(source, target, workers=0, **options)
        self.rejected = {rejected.path.decode(): rejected.reason for rejected in self.report.rejected}
        with kseq.ShardDataset(target) as dataset:
            names = dataset.fields["labels"].class_names
            rows = zip(range(len(dataset)), dataset, strict=True)
            self.objects = {
                dataset.source(row): [
                    (names[label], np.round(box, 3).tolist())
                    for label, box in zip(sample["labels"], sample["boxes"], strict=True)
                ]
                for row, sample in rows
            }
            self.splits = {name: {dataset.source(row) for row in dataset.split_ids(name)} for name in dataset.splits}
            self.class_names = names


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("images/a.png", "labels/a.txt"),
        ("Images/a.png", "Labels/a.txt"),
        ("images/x/a.png", "labels/x/a.txt"),
        ("x/images/a.png", "x/labels/a.txt"),
        ("x/images/y/a.png", "x/labels/y/a.txt"),
        ("images/site/images/a.png", "labels/site/labels/a.txt"),
        ("JPEGImages/a.png", "labels/a.txt"),
        ("x_images/a.png", "x_labels/a.txt"),
        ("x/a.png", "labels/x/a.txt"),
        ("x/a.png", "x/labels/a.txt"),
        ("obj_train_data/a.png", "obj_train_data/a.txt"),
        ("a.png", "a.txt"),
        ("images/a.png", "images/a.txt"),
        ("wrapped/images/a.png", "wrapped/labels/a.txt"),
        ("images/a.png", "labels/a.png.txt"),
        ("images/A.png", "labels/a.txt"),
        ("images/cafe\u0301.png", "labels/caf\u00e9.txt"),
        ("train/images/train.png", "train/labels/train.txt"),
        ("images/a.png", "labels_yolo/a.txt"),
        ("images/a.png", "yolo_labels/a.txt"),
        ("images/a.png", "labels-yolo/a.txt"),
        ("images/a.png", "labels_txt/a.txt"),
        ("images/x/a.png", "ann/x/a.txt"),
        ("images/a.png", "bboxes/a.txt"),
    ],
)
@pytest.mark.parametrize("is_zip", [False, True])
def test_an_image_gets_its_text_in_every_layout(tmp_path: Path, image: str, text: str, is_zip: bool) -> None:
    source = write(tmp_path / "y", {image: None, text: LINE, "data.yaml": YAML})
    if is_zip:
        with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
            for path in sorted(path for path in source.rglob("*") if path.is_file()):
                archive.write(path, path.relative_to(source))
        source = tmp_path / "y.zip"
    packed = Packed(source)
    assert list(packed.objects.values()) == [[("cat", BOX)]]
    assert packed.rejected == {}


def test_images_of_one_name_share_their_text(tmp_path: Path) -> None:
    names = ("images/a.png", "images/a.bmp", "images/a.PNG")
    packed = Packed(write(tmp_path / "y", {**dict.fromkeys(names), "labels/a.txt": LINE, "data.yaml": YAML}))
    assert packed.objects == {name: [("cat", BOX)] for name in names}
    assert_says(" ".join(packed.report.notes), 2)


def test_every_image_and_every_text_of_boxes_is_packed_or_listed(tmp_path: Path) -> None:
    files = {
        "images/a.png": None,
        "labels/a.txt": LINE,
        "images/a.txt": LINE,
        "images/lone.png": None,
        "labels/lost.txt": "",
        "preview.png": None,
        "masks/a.png": None,
        "README.txt": "Ten photos of cats.\n",
        "classes.txt": "cat\n",
    }
    packed = Packed(write(tmp_path / "y", files))
    assert packed.objects == {"images/a.png": [("cat", BOX)], "images/lone.png": []}
    assert set(packed.rejected) == {"preview.png", "masks/a.png", "labels/lost.txt", "images/a.txt"}
    assert packed.report.num_found == 6
    assert_says(" ".join(packed.report.notes), 1, 2)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("0 0.5 0.5 0.2", ("'0 0.5 0.5 0.2'", 3)),
        ("cat 0.5 0.5 0.2 0.2", ("'cat 0.5 0.5 0.2 0.2'", "number")),
        ("0 0.5 0.5 0.4 0.2 45", ("angle", "corners")),
        ("0,0.5,0.5,0.2,0.2", ("'0,0.5,0.5,0.2,0.2'",)),
        ("-1 0.5 0.5 0.2 0.2", (-1,)),
        ("1e9 0.5 0.5 0.2 0.2", ("1e+09",)),
        ("0.5 0.5 0.5 0.2 0.2", ("0.5",)),
        ("0 0.5 0.5 -0.2 0.2", ("-0.2",)),
        ("0 0.5 nan 0.2 0.2", ("nan",)),
        ("0 50 50 20 20", ("pixels",)),
        ("0 0.5 0.5 0.2 0.2 0.93", ("confidence",)),
        ("7 0.5 0.5 0.2 0.2", (7, 2)),
    ],
)
def test_a_bad_line_concerns_its_image_alone(tmp_path: Path, line: str, parts: tuple[object, ...]) -> None:
    files = {"images/a.png": None, "labels/a.txt": LINE, "images/bad.png": None, "labels/bad.txt": f"\n{LINE}{line}\n"}
    source = write(tmp_path / "y", {**files, "data.yaml": YAML})
    packed = Packed(source)
    assert packed.objects == {"images/a.png": [("cat", BOX)]}
    place = ("labels/bad.txt",) if line.startswith("7") else ("labels/bad.txt", "line 3")
    assert_says(packed.rejected["images/bad.png"], *place, *parts)
    with raises(ImageError, "images/bad.png"):
        Packed(source, on_error="fail")


def test_whole_class_numbers_may_be_written_with_a_point(tmp_path: Path) -> None:
    packed = Packed(write(tmp_path / "y", {"images/a.png": None, "labels/a.txt": "1.0 0.5 0.5 0.4 0.4\n", "data.yaml": YAML}))
    assert packed.objects == {"images/a.png": [("dog", [30, 30, 70, 70])]}


NUMBERS = {f"images/{part}/{n}.png": None for part in ("one", "two", "more") for n in range(2)}


@pytest.mark.parametrize(
    ("files", "splits", "mentioned"),
    [
        ({"data.yaml": f"path: .\ntrain: images/one\nval: images/two\ntest: [images/more]\n{YAML}"}, "one two more", ()),
        ({"data.yaml": f"train: ../images/one\nval: ../images/two\ntest: ../images/more\n{YAML}"}, "one two more", ()),
        ({"data.yaml": f"train: /x/images/one\nvalid: C:\\y\\images\\two\ntest: images/more/\n{YAML}"}, "one two more", ()),
        ({"data.yaml": f"train: images\nval: images/two\ntest: images/more\n{YAML}"}, "one two more", ()),
        ({"data.yaml": f"train: [images/one, images/more]\nval: images/two\n{YAML}"}, "one+more two", ()),
        ({"data.yaml": f"train: images/one\nval: images/one\ntest: images/two\n{YAML}"}, "one+more - two", ("images/one", 2)),
        ({"data.yaml": f"train: nowhere\nval: images/two\n{YAML}"}, "one+more two", ("'nowhere'", 4)),
        (
            {"data.yaml": f"train: lists/t.txt\nval: images/two\ntest: images/more\n{YAML}",
             "lists/t.txt": "./images/one/0.png\n/elsewhere/images/one/1.png\n./images/one/gone.png\n"},
            "one two more", ("t.txt", 1, 3),
        ),
        (
            {"data.yaml": YAML, "train.txt": "images/one/0.png\nimages/one/1.png\n", "autosplit_val.txt":
             "./images/two/0.png\n./images/two/1.png\n", "test.txt": "not a list\n"},
            "one+more two", ("train.txt", "autosplit_val.txt"),
        ),
        (
            {"obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n",
             "obj.names": "cat\ndog\n", "train.txt": "data/images/one/0.png\ndata/images/one/1.png\n",
             "valid.txt": "data/images/two/0.png\ndata/images/two/1.png\n"},
            "one+more two", (2,),
        ),
    ],
)  # fmt: skip
def test_the_splits_that_a_data_set_names_are_used(
    tmp_path: Path, files: dict[str, str], splits: str, mentioned: tuple[object, ...]
) -> None:
    packed = Packed(write(tmp_path / "y", {**NUMBERS, "labels/one/0.txt": LINE, **files}))
    expected = {
        split: {name for name in NUMBERS if name.split("/")[1] in parts.split("+")}
        for split, parts in zip(("train", "val", "test"), splits.split(), strict=False)
    }
    assert packed.splits == {split: names for split, names in expected.items() if names}
    assert packed.class_names == ("cat", "dog")
    assert_says(" ".join(packed.report.notes), *mentioned)


@pytest.mark.parametrize(
    "folders", [("images/train2017", "images/val2017"), ("train_images", "val_images"), ("obj_train_data", "obj_valid_data")]
)
def test_folders_that_are_called_like_splits_are_splits(tmp_path: Path, folders: tuple[str, str]) -> None:
    files = {f"{folder}/{n}.png": None for folder in folders for n in range(2)}
    texts = {name.replace("images", "labels").replace(".png", ".txt"): LINE for name in files}
    packed = Packed(write(tmp_path / "y", {**files, **texts}))
    assert {split: len(names) for split, names in packed.splits.items()} == {"train": 2, "val": 2}
    assert all(objects == [("0", BOX)] for objects in packed.objects.values())


def test_links_of_texts_are_held_to_the_rule_for_images(tmp_path: Path) -> None:
    images = {f"set/images/{name}.png": None for name in ("good", "gone", "out")}
    write(tmp_path, {**images, "set/labels/good.txt": LINE, "out.txt": LINE})
    (tmp_path / "set/labels/gone.txt").symlink_to("nowhere.txt")
    (tmp_path / "set/labels/out.txt").symlink_to("../../out.txt")
    packed = Packed(tmp_path / "set")
    assert list(packed.objects) == ["images/good.png"]
    assert_says(packed.rejected["images/gone.png"], "labels/gone.txt")
    assert "link out" in packed.rejected["images/out.png"]
    followed = Packed(tmp_path / "set", follow_links=True)
    assert followed.objects["images/out.png"] == [("0", BOX)]


def test_names_of_a_yaml_file_stay_text(tmp_path: Path) -> None:
    source = write(
        tmp_path / "y", {"images/a.png": None, "labels/a.txt": LINE, "data.yaml": "names: {'0': no, 1: 1.0, 2: ~}\n"}
    )
    assert Packed(source).class_names == ("no", "1.0", "~")


def test_classes_that_are_not_in_one_encoding_are_refused_by_name(tmp_path: Path) -> None:
    files = {"images/a.png": None, "labels/a.txt": LINE, "classes.txt": "caf\u00e9\n".encode("cp1252")}
    source = write(tmp_path / "y", files)
    with raises(SourceError, source / "classes.txt", "UTF-8"):
        Packed(source)


def test_given_class_names_order_the_classes_and_leave_others_out(tmp_path: Path) -> None:
    lines = LINE + LINE.replace("0", "1", 1)
    source = write(tmp_path / "y", {"images/a.png": None, "labels/a.txt": lines, "data.yaml": YAML})
    assert Packed(source, class_names=["dog", "cat"]).objects == {"images/a.png": [("cat", BOX), ("dog", BOX)]}
    packed = Packed(source, class_names=["dog"])
    assert packed.objects == {"images/a.png": [("dog", BOX)]}
    assert packed.report.boxes is not None
    assert list(packed.report.boxes.left_out.values()) == [1]
    with raises(SourceError, source, "bird", "cat, dog"):
        Packed(source, class_names=["dog", "bird"])


OUTLINE = "0 0.1 0.2 0.5 0.2 0.5 0.6\n"
CORNERS = "0 0.1 0.1 0.5 0.1 0.5 0.4 0.1 0.4\n"
POSE = "0 0.5 0.5 0.2 0.2 0.45 0.45 2 0.55 0.55 1 0 0 0\n"
FLAT_POSE = "0 0.5 0.5 0.2 0.2 0.45 0.45 0.55 0.55 0.5 0.5\n"


@pytest.mark.parametrize(
    ("text", "more", "boxes"),
    [
        (OUTLINE, "", [[10, 20, 50, 60]]),
        (CORNERS, "", [[10, 10, 50, 40]]),
        (POSE, "", [BOX]),
        (POSE, "kpt_shape: [3, 3]\n", [BOX]),
        (FLAT_POSE, "kpt_shape: [3, 2]\n", [BOX]),
    ],
)
def test_outlines_corners_and_poses_become_boxes_with_a_note(tmp_path: Path, text: str, more: str, boxes: list[Any]) -> None:
    packed = Packed(write(tmp_path / "y", {"images/a.png": None, "labels/a.txt": text, "data.yaml": YAML + more}))
    assert packed.objects == {"images/a.png": [("cat", box) for box in boxes]}
    assert packed.report.boxes is not None
    if text in (POSE, FLAT_POSE):
        # With their shape, keypoints are packed: nothing is left out.
        assert bool(packed.report.notes) == (not more)
    elif text == CORNERS:
        # Packed besides.
        assert not packed.report.boxes.remarks
        assert_says(" ".join(packed.report.notes), 1, "corners")
    else:
        assert list(packed.report.boxes.remarks.values()) == [1]


def test_poses_without_their_shape_are_not_taken_for_outlines(tmp_path: Path) -> None:
    source = write(tmp_path / "y", {"images/a.png": None, "labels/a.txt": FLAT_POSE, "data.yaml": YAML})
    with raises(SourceError, source, "kpt_shape", "pose"):
        Packed(source)


@pytest.mark.parametrize("text", ["", None])
def test_no_image_with_an_object_is_told(tmp_path: Path, text: str | None) -> None:
    files = {"images/a.png": None, "labels/b.txt" if text is None else "labels/a.txt": LINE if text is None else text}
    assert Packed(write(tmp_path / "y", files)).report.notes


PLACES = ["", "images", "labels", "train/images", "train/labels", "val", "x/Images", "masks"]
NAMES = [
    "a.png",
    "a.bmp",
    "A.PNG",
    "a.txt",
    "b.png",
    "b.txt",
    "b.png.txt",
    "classes.txt",
    "e\u0301.png",
    "\u00e9.txt",
    ".a.png",
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.tuples(st.sampled_from(PLACES), st.sampled_from(NAMES)), min_size=1, max_size=16))
def test_every_image_of_any_tree_is_found_once(tmp_path: Path, places: set[tuple[str, str]]) -> None:
    folder = tmp_path / "tree"
    shutil.rmtree(folder, ignore_errors=True)
    files = sorted("/".join(filter(None, place)) for place in places)
    write(folder, {name: None if name.lower().endswith((".png", ".bmp")) else LINE for name in files})
    expected = {
        name for name in files if name.lower().endswith((".png", ".bmp")) and not name.rpartition("/")[2].startswith(".")
    }
    try:
        source = YoloSource.scan(str(folder), ["cat"])
    except SourceError as error:
        assert_says(str(error), folder)
        return
    paths = [path.decode() for path in source.images.paths]
    assert len(set(paths)) == len(paths)
    assert expected <= set(paths)
    assert all(name in expected or rejection for name, rejection in zip(paths, source.images.rejections, strict=True))


def test_a_closed_rectangle_at_the_corner_is_no_pose(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"images/0.png": None, "labels/0.txt": "0 0 0 .5 0 .5 .5 0 .5 0 0\n"})
    kseq.pack(source, tmp_path / "out", workers=0)
    side = kseq.ShardDataset(tmp_path / "out")[0]["image"].shape[0] / 2
    assert kseq.ShardDataset(tmp_path / "out")[0]["boxes"].tolist() == [[0, 0, side, side]]


def test_texts_below_annotations_that_hold_no_boxes_are_no_yolo(tmp_path: Path) -> None:
    files = {"images/0.png": None, "annotations/list.txt": "#Image CLASS-ID\nAbyssinian_1 1 1\n"}
    assert choose_format(str(write(tmp_path / "in", files)), None).name == "folder"


@pytest.mark.parametrize(
    "text",
    ["0,0.5,0.5,0.2,0.2\n", "0, .5, .5, .2, .2\n", "cat 0.5 0.5 0.2 0.2\n", "0 0,5 0,5 0,2 0,2\n", f"class x y w h\n{LINE}"],
)
def test_a_data_set_whose_lines_are_all_of_another_form_is_refused_by_its_first_line(tmp_path: Path, text: str) -> None:
    source = write(tmp_path / "y", {"images/a.png": None, "labels/a.txt": text})
    with raises(SourceError, "images/a.png", "labels/a.txt", "line 1"):
        Packed(source)


def test_a_blank_line_between_names_and_a_second_list_of_names_are_told(tmp_path: Path) -> None:
    files = {"a.png": None, "a.txt": LINE, "obj.names": "cat\n\ndog\n", "classes.txt": "dog\ncat\n"}
    packed = Packed(write(tmp_path / "y", files))
    assert packed.class_names == ("cat", "dog")
    assert_says(" ".join(packed.report.notes), "blank", "obj.names", "classes.txt")
