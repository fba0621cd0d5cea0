"""Collections of well-known benchmarks, laid out as their archives are: labels, splits, boxes and masks of their lists."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import assert_says, refusal


def write_image(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (20, 30) if mode == "L" else (20, 30, 3)
    pixels = np.random.default_rng(len(str(path)) + ord(path.stem[-1])).integers(0, 255, shape, dtype=np.uint8)
    Image.fromarray(pixels % 3 + 1 if mode == "L" else pixels).save(path)


def write_lists(folder: Path, **lists: str) -> None:
    for name, text in lists.items():
        path = folder / (name.replace("__", "/") + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def cub(folder: Path) -> None:
    images = ["001.Black_Bird/a.jpg", "001.Black_Bird/b.jpg", "010.Red_Bird/c.jpg", "002.Old_Bird/d.jpg"]
    for image in images:
        write_image(folder / "images" / image)
    write_lists(
        folder,
        images="".join(f"{number} {image}\n" for number, image in enumerate(images, 1)),
        image_class_labels="1 1\n2 1\n3 10\n4 2\n",
        classes="1 001.Black_Bird\n2 002.Old_Bird\n10 010.Red_Bird\n",
        train_test_split="1 1\n2 0\n3 0\n4 1\n",
        bounding_boxes="1 2.0 3.0 10.0 8.0\n2 0.0 0.0 30.0 20.0\n3 1.0 1.0 5.0 5.0\n4 1.0 1.0 5.0 5.0\n",
    )
    (folder / "parts").mkdir()


def pets(folder: Path) -> None:
    for stem in ("Abyssinian_1", "great_pyrenees_2", "Abyssinian_3"):
        write_image(folder / "images" / f"{stem}.jpg")
        write_image(folder / "annotations" / "trimaps" / f"{stem}.png", "L")
    lines = ["Abyssinian_1 1 1 1\n", "great_pyrenees_2 16 2 10\n", "Abyssinian_3 1 1 1\n"]
    header = "#Image CLASS-ID SPECIES BREED ID\n"
    write_lists(
        folder, annotations__list=header + "".join(lines), annotations__trainval=lines[0] + lines[1], annotations__test=lines[2]
    )


def dtd(folder: Path) -> None:
    for number, name in enumerate(("banded", "banded", "woven")):
        write_image(folder / "images" / name / f"{name}_{number}.jpg")
    write_lists(folder, labels__train1="banded/banded_0.jpg\n", labels__val1="banded/banded_1.jpg\n")
    write_lists(folder, labels__test1="woven/woven_2.jpg\n", labels__train2="woven/woven_2.jpg\n")


def aircraft(folder: Path) -> None:
    for stem in ("0001", "0002", "0003"):
        write_image(folder / "data" / "images" / f"{stem}.jpg")
    write_lists(folder, data__images_variant_train="0001 707-320\n", data__images_variant_val="0002 F-16A/B\n")
    write_lists(folder, data__images_variant_test="0003 707-320\n", data__variants="F-16A/B\n707-320\n")


def food(folder: Path) -> None:
    for path in ("apple_pie/1", "apple_pie/2", "sushi/3"):
        write_image(folder / "images" / f"{path}.jpg")
    write_lists(folder, meta__train="apple_pie/1\nsushi/3\n", meta__test="apple_pie/2\n", meta__classes="sushi\napple_pie\n")


def tiny(folder: Path) -> None:
    for path in (
        "train/n02/images/n02_0",
        "train/n01/images/n01_0",
        "val/images/val_0",
        "test/images/test_0",
    ):
        write_image(folder / f"{path}.JPEG")
    boxes = "n02_0.JPEG\t0\t0\t20\t20\n"
    write_lists(folder, wnids="n02\nn01\n", words="n01\tgoldfish\nn02\ttench\n", train__n02__n02_boxes=boxes)
    write_lists(folder, val__val_annotations="val_0.JPEG\tn01\t0\t32\t44\t62\n")


def sun(folder: Path) -> None:
    for path in ("a/abbey/sun_a", "a/apartment_building/outdoor/sun_b", "b/bakery/shop/sun_c"):
        write_image(folder / f"{path}.jpg")
    write_lists(folder, ClassName="/a/abbey\n/a/apartment_building/outdoor\n/b/bakery/shop\n")
    write_lists(folder, Training_01="/a/abbey/sun_a.jpg\n", Testing_01="/b/bakery/shop/sun_c.jpg\n")


HEADER = ["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"]


def gtsrb(folder: Path) -> None:
    for image in ("Final_Training/Images/00000/a", "Final_Training/Images/00011/b", "Final_Test/Images/c"):
        path = folder / "GTSRB" / f"{image}.ppm"
        write_image(path)
        number = path.parent.name if path.parent.name.isdecimal() else "11"
        table = f"GT-{path.parent.name}.csv" if path.parent.name.isdecimal() else "GT-final_test.csv"
        row = [path.name, "30", "20", "5", "5", "25", "15", str(int(number))]
        (path.parent / table).write_text(";".join(HEADER) + "\n" + ";".join(row) + "\n")


def gtsrb_of_kaggle(folder: Path) -> None:
    for name, images in (("Train", ["Train/0/a.png", "Train/11/b.png"]), ("Test", ["Test/c.png"]), ("Meta", ["Meta/0.png"])):
        rows = [",".join([*HEADER[1:], "Path"])]
        for image in images:
            write_image(folder / image)
            number = Path(image).parent.name
            rows.append(f"30,20,5,5,25,15,{number if number.isdecimal() else 11},{image}")
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")


def places(folder: Path) -> None:
    write_image(folder / "data_large_standard" / "a" / "airfield" / "1.jpg")
    write_image(folder / "val_large" / "Places365_val_1.jpg")
    write_lists(folder, categories_places365="/a/airfield 0\n/w/wheat_field 1\n", places365_val="Places365_val_1.jpg 1\n")
    write_lists(folder, places365_train_standard="/a/airfield/1.jpg 0\n")


COLLECTIONS: list[tuple[Callable[[Path], None], list[str], dict[str, list[str]]]] = [
    (cub, ["001.Black_Bird", "002.Old_Bird", "010.Red_Bird"], {"train": ["a 0", "d 1"], "test": ["b 0", "c 2"]}),
    (
        pets,
        ["Abyssinian", "great_pyrenees"],
        {"train": ["Abyssinian_1 0", "great_pyrenees_2 1"], "test": ["Abyssinian_3 0"]},
    ),
    (dtd, ["banded", "woven"], {"train": ["banded_0 0"], "val": ["banded_1 0"], "test": ["woven_2 1"]}),
    (aircraft, ["F-16A/B", "707-320"], {"train": ["0001 1"], "val": ["0002 0"], "test": ["0003 1"]}),
    (food, ["sushi", "apple_pie"], {"train": ["1 1", "3 0"], "test": ["2 1"]}),
    (
        sun,
        ["a/abbey", "a/apartment_building/outdoor", "b/bakery/shop"],
        {"train": ["sun_a 0", "sun_b 1"], "test": ["sun_c 2"]},
    ),
    (gtsrb, ["0", "11"], {"train": ["a 0", "b 1"], "test": ["c 1"]}),
    (gtsrb_of_kaggle, ["0", "11"], {"train": ["a 0", "b 1"], "test": ["c 1"]}),
    (tiny, ["n02", "n01"], {"train": ["n01_0 1", "n02_0 0"], "val": ["val_0 1"]}),
    (places, ["a/airfield", "w/wheat_field"], {"train": ["1 0"], "val": ["Places365_val_1 1"]}),
]


@pytest.mark.parametrize(("write", "classes", "splits"), COLLECTIONS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_collection_has_the_classes_and_splits_of_its_lists(
    tmp_path: Path, write: Callable[[Path], None], classes: list[str], splits: dict[str, list[str]], wrapped: bool
) -> None:
    write(tmp_path / "source" / "inner" if wrapped else tmp_path / "source")
    report = kseq.pack(tmp_path / "source", tmp_path / "packed", workers=0)
    assert not report.rejected
    assert list(report.class_names) == classes
    found = {}
    for split in report.splits:
        with kseq.ShardDataset(tmp_path / "packed", split) as dataset:
            rows = range(len(dataset))
            found[split] = sorted(f"{Path(dataset.source(row)).stem} {int(dataset[row]['label'])}" for row in rows)
    assert found == splits


def test_cub_has_its_boxes_and_says_what_is_not_used(tmp_path: Path) -> None:
    cub(tmp_path / "source")
    write_image(tmp_path / "source" / "images" / "001.Black_Bird" / "unlisted.jpg")
    report = kseq.pack(tmp_path / "source", tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed", "train") as dataset:
        assert dataset[0]["boxes"].tolist() == [[2, 3, 12, 11]]
    notes = "\n".join(report.notes)
    assert "CUB-200" in notes
    assert "1 image is in no list" in notes
    assert "parts" in notes


def test_a_line_of_a_list_that_makes_no_sense_rejects_its_image(tmp_path: Path) -> None:
    cub(tmp_path / "source")
    write_lists(
        tmp_path / "source", train_test_split="1 1\n2 7\n3 0\n", bounding_boxes="1 2.0 3.0 10.0\n3 1 1 5 5\n4 1 1 5 5\n"
    )
    write_lists(tmp_path / "source", image_class_labels="1 1\n2 1\n3 10\n4 99\n")
    report = kseq.pack(tmp_path / "source", tmp_path / "packed", workers=0)
    reasons = {Path(os.fsdecode(rejected.path)).stem: rejected.reason for rejected in report.rejected}
    assert set(reasons) == {"a", "b", "d"}
    assert_says(reasons["a"], "bounding_boxes.txt", "'2.0 3.0 10.0'")
    assert_says(reasons["b"], "train_test_split.txt", "'7'")
    assert report.num_found == 4


def test_pets_have_their_trimaps_as_masks(tmp_path: Path) -> None:
    pets(tmp_path / "source")
    (tmp_path / "source/annotations/trimaps/Abyssinian_3.png").unlink()
    report = kseq.pack(tmp_path / "source", tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert {1, 2, 3} == set(np.unique(dataset[0]["mask"]).tolist())
    assert [Path(os.fsdecode(rejected.path)).stem for rejected in report.rejected] == ["Abyssinian_3"]


@pytest.mark.parametrize(
    ("name", "file"), [("Flowers102", "imagelabels.mat"), ("Stanford Cars", "devkit/cars_train_annos.mat")]
)
def test_collections_with_lists_of_matlab_are_named(tmp_path: Path, name: str, file: str) -> None:
    write_image(tmp_path / "source" / "jpg" / "image_00001.jpg")
    (tmp_path / "source" / file).parent.mkdir(exist_ok=True)
    (tmp_path / "source" / file).write_bytes(b"MATLAB 5.0 MAT-file")
    assert_says(refusal(tmp_path / "source", tmp_path / "packed", SourceError), name, "image,label", "table.csv")


def test_a_folder_of_clutter_is_said_to_be_no_class(tmp_path: Path) -> None:
    for name in ("BACKGROUND_Google", "ant", "bee"):
        write_image(tmp_path / "source" / name / "image_0001.jpg")
    report = kseq.pack(tmp_path / "source", tmp_path / "packed", workers=0)
    assert_says(report.notes[0], "BACKGROUND_Google", "without_class=['BACKGROUND_Google']")
