"""CelebA's lists, written as they are: a count, a line of names, columns with spaces between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import SourceError
from kseq.sources.registry import choose_format
from tests.helpers.messages import assert_says, raises

NAMES = ["5_o_Clock_Shadow", "Male", "Young", "Bald"]
LANDMARKS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


def write_list(path: Path, names: str | None, rows: dict[str, str], *, csv: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if csv:
        lines = [f"image_id,{','.join((names or 'partition').split())}"]
        lines += [",".join([name, *row.split()]) for name, row in rows.items()]
        path.with_suffix(".csv").write_text("\n".join(lines) + "\n")
        return
    head = [] if names is None else [f"{len(rows)}", f"{names} "]
    path.write_text("\r\n".join([*head, *(f"{name}  {row}" for name, row in rows.items())]) + "\r\n")


def write(root: Path, images: str, lists: str = "", parts: str = "", *, csv: bool = False) -> Path:
    for number in range(1, 5):
        path = root / images / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (178, 218), (60 * number, 0, 0)).save(path)
    files = [f"{number:06d}.jpg" for number in range(1, 4)]
    attributes = dict(zip(files, ["-1  1 -1 -1", " 1  1  1 -1", "-1 -1 -1 -1"], strict=True))
    write_list(root / lists / "list_attr_celeba.txt", " ".join(NAMES), attributes, csv=csv)
    write_list(root / parts / "list_eval_partition.txt", None, dict(zip(files, "012", strict=True)), csv=csv)
    points = dict.fromkeys(files, "69 109 106 113 77 142 73 152 108 154")
    write_list(root / lists / "list_landmarks_align_celeba.txt", LANDMARKS, points, csv=csv)
    write_list(root / lists / "list_bbox_celeba.txt", "x_1 y_1 width height", dict.fromkeys(files, "95 71 40 50"), csv=csv)
    return root


def pack(source: Path, target: Path, **options: Any) -> kseq.PackReport:
    return kseq.pack(source, target, workers=0, **options)


def test_a_list_of_splits_of_another_collection_is_none_of_celeba(tmp_path: Path) -> None:
    for text in ("3\nimage_name  evaluation_status\nimg/a.jpg train\n", "000001.jpg 0\n", "image_id,partition\n000001.jpg,2\n"):
        (tmp_path / "list_eval_partition.txt").write_text(text)
        assert (choose_format(str(tmp_path), None).name == "celeba") == ("train" not in text)


@pytest.mark.parametrize(
    ("images", "lists", "parts", "csv"),
    [
        ("img_align_celeba", "", "", False),
        ("Img/img_align_celeba", "Anno", "Eval", False),
        ("img_align_celeba/img_align_celeba", "", "", True),
    ],
)
def test_the_lists_of_celeba_are_joined_by_files(tmp_path: Path, images: str, lists: str, parts: str, csv: bool) -> None:
    root = write(tmp_path / "celeba", images, lists, parts, csv=csv)
    if not csv:
        write_list(root / lists / "identity_CelebA.txt", None, {f"{number:06d}.jpg": "2880" for number in range(1, 4)})
    report = pack(root, tmp_path / "packed")
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.splits == {"train": 1, "val": 1, "test": 1}
        names = dataset.fields["attributes"].class_names
        assert list(names) == NAMES
        found = [[names[label] for label in dataset[number]["attributes"]] for number in range(3)]
        assert found == [["Male"], ["5_o_Clock_Shadow", "Male", "Young"], []]
        np.testing.assert_array_equal(dataset[0]["landmarks"][:2], [[69, 109], [106, 113]])
        assert "boxes" not in dataset[0]
        assert csv or dataset[2]["identity"] == 2880
    # The boxes of other images, and an image that is in no list.
    assert len(report.notes) == 2


def test_boxes_of_celeba_go_with_the_images_as_they_were_found(tmp_path: Path) -> None:
    root = write(tmp_path / "celeba", "img_celeba")
    report = pack(root / "list_attr_celeba.txt", tmp_path / "packed")
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        np.testing.assert_array_equal(dataset[0]["boxes"], [[95, 71, 135, 121]])
        assert "landmarks" not in dataset[0]
    assert any("list_landmarks_align_celeba" in note for note in report.notes)


def test_lines_of_celeba_that_make_no_sense_concern_their_image(tmp_path: Path) -> None:
    root = write(tmp_path / "celeba", "img_align_celeba")
    path = root / "list_attr_celeba.txt"
    path.write_text("4\n" + " ".join(NAMES) + "\n000001.jpg 1 1 1 1\n000002.jpg 2 1 1 1\n000003.jpg 1 1\n000009.jpg 1 1 1 1\n")
    (root / "list_landmarks_align_celeba.txt").unlink()
    report = pack(root, tmp_path / "packed")
    assert (report.num_samples, report.num_found) == (1, 4)
    reasons = {file.path.decode(): file.reason for file in report.rejected}
    assert_says(reasons["000002.jpg"], "'2'", "list_attr_celeba.txt")
    assert_says(reasons["000003.jpg"], "list_attr_celeba.txt")
    assert reasons.keys() == {"000002.jpg", "000003.jpg", "000009.jpg"}
    assert any("000003.jpg 1 1" in note for note in report.notes)
    path.write_text("")
    with raises(SourceError, path):
        pack(root, tmp_path / "other")
