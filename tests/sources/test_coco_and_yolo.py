"""Boxes from COCO's JSON and from folders as YOLO has them, to the pixels that they lie on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError, KseqError, SourceError
from tests.helpers.messages import Parts, raises

COCO: dict[str, Any] = {
    "images": [{"id": 5, "file_name": "b.png"}, {"id": 3, "file_name": "a.png"}, {"id": 9, "file_name": "none.png"}],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 18, "bbox": [2, 4, 10, 6]},
        {"id": 2, "image_id": 5, "category_id": 2, "bbox": [0.5, 0, 3, 40]},
        {"id": 3, "image_id": 3, "category_id": 2, "bbox": [1, 1, 2, 2], "iscrowd": 0},
        {"id": 4, "image_id": 3, "category_id": 2, "bbox": [1, 1, 2, 2], "iscrowd": 1},
        {"id": 5, "image_id": 3, "category_id": 2, "bbox": [7, 7, 0, 3]},
    ],
    "categories": [{"id": 18, "name": "ant"}, {"id": 2, "name": "wasp"}],
}


def write_images(folder: Path, *names: str, size: tuple[int, int] = (20, 30)) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), 50 * number, np.uint8)).save(folder / name)


def write_coco(folder: Path, **changed: Any) -> Path:
    write_images(folder, "a.png", "b.png")
    (folder / "instances.json").write_text(json.dumps(COCO | changed))
    return folder / "instances.json"


def pack_beside(source: Path, **options: Any) -> kseq.ShardDataset:
    target = source.parent / f"{source.stem}-packed"
    kseq.pack(source, target, workers=0, **options)
    return kseq.ShardDataset(target)


def objects(dataset: kseq.ShardDataset) -> dict[str, list[tuple[str, list[float]]]]:
    """File name to class names and boxes."""
    names = dataset.fields["labels"].class_names
    return {
        dataset.source(number): [
            (names[label], box) for label, box in zip(sample["labels"], sample["boxes"].tolist(), strict=True)
        ]
        for number, sample in enumerate(dataset)
    }


def test_a_coco_file_without_its_images_says_how_to_name_their_folder(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with raises(SourceError, "instances.json", 3, "b.png", "root="):
        pack_beside(path, root=tmp_path / "elsewhere")
    with raises(SourceError, "nowhere"):
        pack_beside(path, root=tmp_path / "nowhere")


def test_coco_boxes_become_corners_with_their_classes(tmp_path: Path) -> None:
    with pack_beside(write_coco(tmp_path)) as dataset:
        assert dataset.class_names == ("wasp", "ant")
        assert objects(dataset) == {
            "b.png": [("wasp", [0.5, 0, 3.5, 20])],
            "a.png": [("ant", [2, 4, 12, 10]), ("wasp", [1, 1, 3, 3])],
        }
        assert [rejection.path for rejection in dataset.rejected()] == [b"none.png"]


def test_coco_classes_may_have_another_order_and_images_another_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", "a.png", "b.png")
    (tmp_path / "x.json").write_text(json.dumps(COCO))
    with pack_beside(tmp_path / "x.json", root=tmp_path / "photos", class_names=["ant", "wasp"]) as dataset:
        assert dataset.class_names == ("ant", "wasp")
        assert objects(dataset)["a.png"][0][0] == "ant"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"annotations": None}, ("'annotations'",)),
        ({"images": [{"id": 5}, {"id": 3}]}, ("COCO", "'file_name'")),
        ({"images": [], "annotations": []}, ()),
        ({"categories": [{"id": 18, "name": "ant"}, {"id": 2, "name": "ant"}]}, ()),
    ],
)
def test_a_coco_file_that_contradicts_itself_is_refused(tmp_path: Path, changed: dict[str, Any], words: Parts) -> None:
    source = write_coco(tmp_path, **changed)
    with raises(SourceError, source, *words):
        pack_beside(source)


def test_a_coco_image_of_the_same_name_is_refused_the_second_time(tmp_path: Path) -> None:
    again = [*COCO["images"][:2], {"id": 9, "file_name": "a.png"}]
    with pack_beside(write_coco(tmp_path, images=again)) as dataset:
        assert [rejection.reason for rejection in dataset.rejected()] == ["is named again"]


LAYOUTS: dict[str, Callable[[str, str, str], str]] = {
    "by kind": lambda kind, split, name: f"{kind}/{split}/{name}",
    "by split": lambda kind, split, name: f"{split}/{kind}/{name}",
}


def write_yolo(folder: Path, layout: str = "by kind", text: str = "1 0.5 0.5 0.2 0.4\n0 0 0 0.5 0 0.5 0.25\n") -> Path:
    place = LAYOUTS[layout]
    write_images(folder, place("images", "train", "a.png"), place("images", "val", "b.png"), place("images", "train", "c.png"))
    for split in ("train", "val"):
        (folder / place("labels", split, "x")).parent.mkdir(parents=True, exist_ok=True)
    (folder / place("labels", "train", "a.txt")).write_text(text)
    (folder / place("labels", "val", "b.txt")).write_text("")
    (folder / place("labels", "train", "lost.txt")).write_text("0 1 1 1 1\n")
    (folder / "data.yaml").write_text("names:\n  0: ant\n  1: wasp\n")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_yolo_shares_become_pixels_with_their_classes_and_splits(tmp_path: Path, layout: str) -> None:
    place = LAYOUTS[layout]
    with pack_beside(write_yolo(tmp_path / "y", layout)) as dataset:
        assert dataset.splits == {"train": 2, "val": 1}
        assert dataset.class_names == ("ant", "wasp")
        found = objects(dataset)
        assert [name for name, _ in found[place("images", "train", "a.png")]] == ["wasp", "ant"]
        boxes = [box for _, box in found[place("images", "train", "a.png")]]
        np.testing.assert_allclose(boxes, [[12, 6, 18, 14], [0, 0, 15, 5]], rtol=1e-5)
        assert found[place("images", "val", "b.png")] == found[place("images", "train", "c.png")] == []
        assert [(rejection.path.decode(), rejection.reason) for rejection in dataset.rejected()] == [
            (place("labels", "train", "lost.txt"), "no image goes with it")
        ]


def test_yolo_boxes_lie_on_the_upright_photo(tmp_path: Path) -> None:
    write_yolo(tmp_path / "y", text="0 0.25 0.25 0.5 0.5\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "y" / "images" / "train" / "a.png", exif=exif)
    with pack_beside(tmp_path / "y") as dataset:
        assert objects(dataset)["images/train/a.png"] == [("ant", [0, 0, 20, 30])]


@pytest.mark.parametrize(("files", "names"), [({}, ("0", "1")), ({"classes.txt": "ant\nwasp\n"}, ("ant", "wasp"))])
def test_yolo_class_names_without_yaml(tmp_path: Path, files: dict[str, str], names: tuple[str, ...]) -> None:
    folder = write_yolo(tmp_path / "y")
    (folder / "data.yaml").unlink()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pack_beside(folder) as dataset:
        assert dataset.class_names == names


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("data.yaml", "names: {0: a, 2: b}", (0, 2)),
        ("data.yaml", "names: {0: a, x: b}", (0, "x")),
        ("data.yaml", "names: {0: a, one: b}", ("data.yaml", 0, "one")),
        ("data.yaml", "names: [", ("data.yaml",)),
        ("data.yaml", "names: ant", ("data.yaml", "'ant'")),
        ("data.yaml", "names: [ant, ant]", ("data.yaml", "'ant'")),
        ("data.yaml", "names: [ant, wasp]\nkpt_shape: 3", ("data.yaml", "kpt_shape")),
    ],
)
def test_yolo_files_that_make_no_sense_are_refused(tmp_path: Path, file: str, text: str, words: Parts) -> None:
    folder = write_yolo(tmp_path / "y")
    (folder / file).write_text(text)
    with raises(SourceError, folder, *words):
        pack_beside(folder)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"columns": kseq.Columns(label="kind")}, ArgumentError, ()),
        ({"root": "photos"}, ArgumentError, ()),
        ({"source_format": "coco"}, SourceError, ()),
    ],
)
def test_arguments_that_do_not_go_with_yolo_are_refused(
    tmp_path: Path, options: dict[str, Any], kind: type[KseqError], words: Parts
) -> None:
    folder = write_yolo(tmp_path / "y")
    with raises(kind, *words):
        pack_beside(folder, **options)


def test_a_folder_of_classes_called_images_and_labels_stays_one(tmp_path: Path) -> None:
    write_images(tmp_path / "classes", "images/a.png", "labels/b.png")
    with pack_beside(tmp_path / "classes") as dataset:
        assert dataset.class_names == ("images", "labels")
