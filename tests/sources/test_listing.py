"""A folder is told by its names, however many images lie in it, and in whatever order the system names them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

import kseq
from kseq.errors import SourceError
from kseq.sources.layouts import find_layout
from kseq.sources.listing import list_folder
from kseq.sources.registry import SOURCE_FORMATS, choose_format
from kseq.sources.zip_archive import list_zip
from tests.helpers.messages import raises
from tests.sources.test_layouts import zipped

# More than a listing has of one folder.
NUM_IMAGES = 1500
NAMES = [f"{number:09x}" for number in random.Random(7).sample(range(1 << 36), NUM_IMAGES)]
BOX = "<annotation><object><name>cat</name></object></annotation>"


def fill(folder: Path, suffix: str, names: list[str] = NAMES) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}{suffix}").touch()
    return folder


def write_coco(path: Path, *parts: str) -> None:
    """A file of COCO with its parts in a certain order, longer than what is read of it to tell it."""
    content = {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(NAMES)],
        "annotations": [{"id": number, "image_id": number, "bbox": [0, 0, 1, 1]} for number in range(4 * NUM_IMAGES)],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({part: content[part] for part in parts}))


@pytest.mark.parametrize("file", ["photos/train/_annotations.json", "photos/a.json"])
@pytest.mark.parametrize(
    "parts",
    [
        ("images", "annotations", "categories"),
        ("categories", "images", "annotations"),
        ("images", "categories", "annotations"),
        ("annotations", "categories", "images"),
    ],
)
def test_a_file_of_coco_beside_many_images_is_found(tmp_path: Path, parts: tuple[str, ...], file: str) -> None:
    fill(tmp_path / "photos" / "train", ".jpg")
    write_coco(tmp_path / file, *parts)
    assert choose_format(str(tmp_path / "photos"), None).name == "coco"


@pytest.mark.parametrize(
    ("name", "text", "known"),
    [
        ("_annotations.csv", f"filename,class,xmin,ymin,xmax,ymax\n{NAMES[-1]}.jpg,cat,0,0,1,1\n", "csv"),
        ("_annotations.txt", f"{NAMES[-1]}.jpg 0,0,1,1,0\n", "Keras YOLO"),
        (f"{NAMES[-1]}.xml", BOX, "Pascal VOC"),
        (f"{NAMES[-1]}.txt", "0 0.5 0.5 0.1 0.1\n", "yolo"),
    ],
)
def test_one_file_beside_many_images_is_found(tmp_path: Path, name: str, text: str, known: str) -> None:
    folder = fill(tmp_path / "photos" / "train", ".jpg")
    (folder / name).write_text(text)
    if known in SOURCE_FORMATS:
        assert choose_format(str(tmp_path / "photos"), None).name == known
        return
    with raises(SourceError, tmp_path / "photos", known, f"train/{name}"):
        kseq.pack(tmp_path / "photos", tmp_path / "out", workers=0)


@pytest.mark.parametrize("folders", [("images", "masks"), ("low", "high"), ("input", "target")])
def test_folders_that_belong_together_are_found_though_the_system_names_them_in_any_order(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    fill(tmp_path / "in" / folders[0], ".jpg")
    # Written in another order, with another suffix: no file system names both alike.
    fill(tmp_path / "in" / folders[1], ".png", NAMES[::-1])
    layout = find_layout(list_folder(str(tmp_path / "in")))
    assert layout is not None
    assert layout.evidence == f"{folders[1]}/"


def test_what_lies_in_many_folders_is_found(tmp_path: Path) -> None:
    for name in NAMES[:200]:
        fill(tmp_path / "cells" / name / "images", ".png", [name])
        fill(tmp_path / "cells" / name / "masks", ".png", ["0"])
    assert choose_format(str(tmp_path / "cells"), None).name == "objectpngs"


def test_a_list_of_all_classes_says_nothing_new_though_there_are_many(tmp_path: Path) -> None:
    classes = [f"class{number:03}" for number in range(150)]
    for name in classes:
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "0.png").touch()
    (tmp_path / "in" / "classes.txt").write_text("\n".join(classes))
    assert find_layout(list_folder(str(tmp_path / "in"))) is None


def test_the_root_of_a_table_is_found_among_many_images(tmp_path: Path) -> None:
    fill(tmp_path / "in" / "images" / "train", ".jpg")
    table = tmp_path / "in" / "labels.csv"
    table.write_text("id,label\n" + "".join(f"train/{name},cat\n" for name in NAMES))
    with raises(SourceError, f"root={str(tmp_path / 'in' / 'images')!r}"):
        kseq.pack(tmp_path / "in", tmp_path / "out", workers=0)


def test_a_listing_is_bounded(tmp_path: Path) -> None:
    fill(tmp_path / "cat", ".jpg")
    fill(tmp_path / "dog", ".txt")
    (tmp_path / ".hidden").mkdir()
    listing = list_folder(str(tmp_path))
    assert listing.images == sorted(f"cat/{name}.jpg" for name in NAMES)[: len(listing.images)]
    assert (len(listing.images), len(listing.others), listing.folders) == (300, NUM_IMAGES, ["cat", "dog"])


def test_links_that_lead_to_themselves_and_pipes_are_no_images(tmp_path: Path) -> None:
    write_photo = Image.new("RGB", (8, 6)).save
    for name in ("cat", "dog"):
        (tmp_path / "in" / name).mkdir(parents=True)
        write_photo(tmp_path / "in" / name / f"{name}.png")
    (tmp_path / "in" / "loop").symlink_to("loop")
    (tmp_path / "in" / "cat" / "loop.png").symlink_to("loop.png")
    report = kseq.pack(tmp_path / "in", tmp_path / "out", workers=0)
    assert (report.class_names, report.num_samples, report.num_found) == (("cat", "dog"), 2, 3)


def test_of_many_tables_beside_images_a_few_are_opened(tmp_path: Path) -> None:
    fill(tmp_path / "cat", ".jpg", NAMES[:50])
    fill(tmp_path / "dog", ".jpg", NAMES[50:100])
    for name in NAMES[:500]:
        (tmp_path / f"{name}.csv").write_text("x,y\n1,2\n")
    listing = list_folder(str(tmp_path))
    assert find_layout(listing) is None
    assert len(listing._heads) <= 50


def test_a_long_file_of_coco_in_a_zip_names_its_images(tmp_path: Path) -> None:
    fill(tmp_path / "in" / "cat", ".jpg")
    write_coco(tmp_path / "in" / "a.json", "images", "annotations", "categories")
    layout = find_layout(list_zip(str(zipped(tmp_path / "in"))))
    assert layout is not None
    assert (layout.name, layout.is_certain) == ("COCO", True)
