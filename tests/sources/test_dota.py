"""DOTA's folders: corners, upright boxes, classes, splits, and what is rejected."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import Parts, assert_says, raises

HEAD = "imagesource:GoogleEarth\ngsd:0.146\n"
LINES = "10 10 40 12 38 30 9 28 ship 0\n50.0 10 60 20 50 30 40 20 large-vehicle 1\n"


def write(folder: Path, files: dict[str, str | None]) -> Path:
    for number, (name, text) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("RGB", (100, 50), (number, 8, 30)).save(path)
        else:
            path.write_text(text)
    return folder


def pack(source: Path, **options: Any) -> tuple[Any, dict[str, Any], kseq.ShardDataset]:
    report = kseq.pack(source, source.parent / "packed", workers=0, **options)
    dataset = kseq.ShardDataset(source.parent / "packed")
    return report, {dataset.source(row): sample for row, sample in enumerate(dataset)}, dataset


@pytest.mark.parametrize(
    "files",
    [
        {"images/P1.png": None, "labelTxt/P1.txt": HEAD + LINES, "images/P2.png": None},
        {"train/images/P1.png": None, "train/labelTxt/P1.txt": LINES, "val/images/P2.png": None, "val/labelTxt/P2.txt": HEAD},
        {"images/P1.png": None, "labelTxt-v1.5/P1.txt": LINES, "images/P2.png": None},
        {"P1.png": None, "labelTxt/P1.txt": LINES, "P2.png": None},
    ],
)
def test_corners_go_with_the_boxes_around_them(tmp_path: Path, files: dict[str, str | None]) -> None:
    report, samples, dataset = pack(write(tmp_path / "dota", files))
    with dataset:
        first, second = (samples[name] for name in sorted(samples, key=lambda name: name.rpartition("/")[2]))
        assert dataset.fields["labels"].class_names == ("large-vehicle", "ship")
        if "val/images/P2.png" in files:
            assert {"train", "val"} <= set(dataset.splits)
    assert first["labels"].tolist() == [1, 0]
    assert first["boxes"].tolist() == [[9, 10, 40, 30], [40, 10, 60, 30]]
    assert first["corners"][0].tolist() == [[10, 10], [40, 12], [38, 30], [9, 28]]
    assert second["corners"].shape == (0, 4, 2)
    assert bool(report.notes) == (HEAD not in files.values())


def test_a_bad_line_rejects_its_image_and_a_text_needs_one(tmp_path: Path) -> None:
    files = {
        "images/a.png": None,
        "labelTxt/a.txt": LINES,
        "images/b.png": None,
        "labelTxt/b.txt": LINES + "1 2 3 ship 0\n",
        "images/c.png": None,
        "labelTxt/c.txt": "1 1 9 1 9 9 nan 9 ship\n",
        "labelTxt/d.txt": LINES,
    }
    report, samples, dataset = pack(write(tmp_path / "dota", files))
    dataset.close()
    assert list(samples) == ["images/a.png"]
    reasons = {rejected.path.decode(): rejected.reason for rejected in report.rejected}
    assert set(reasons) == {"images/b.png", "images/c.png", "labelTxt/d.txt"}
    assert_says(reasons["images/b.png"], "labelTxt/b.txt", "line 3")
    assert_says(reasons["images/c.png"], "labelTxt/c.txt", "line 1")


def test_images_that_share_a_text_have_its_objects_and_are_counted(tmp_path: Path) -> None:
    report, samples, dataset = pack(
        write(tmp_path / "dota", {"images/a.png": None, "images/a.jpg": None, "labelTxt/a.txt": LINES})
    )
    dataset.close()
    assert [len(sample["boxes"]) for sample in samples.values()] == [2, 2]
    assert_says(" ".join(report.notes), 1)


def test_class_names_choose_the_objects_and_their_corners(tmp_path: Path) -> None:
    _, samples, dataset = pack(write(tmp_path / "dota", {"images/a.png": None, "labelTxt/a.txt": LINES}), class_names=["ship"])
    dataset.close()
    np.testing.assert_array_equal(samples["images/a.png"]["corners"], [[[10, 10], [40, 12], [38, 30], [9, 28]]])


def test_a_zip_of_it_gives_the_corners_too(tmp_path: Path) -> None:
    source = write(tmp_path / "dota", {"images/a.png": None, "labelTxt/a.txt": LINES})
    shutil.make_archive(str(tmp_path / "archive"), "zip", source)
    _, samples, dataset = pack(tmp_path / "archive.zip")
    dataset.close()
    assert samples["images/a.png"]["corners"][0].tolist() == [[10, 10], [40, 12], [38, 30], [9, 28]]


@pytest.mark.parametrize(
    ("files", "words"),
    [({"images/a.png": None}, ("labelTxt",)), ({"labelTxt/a.txt": LINES}, ("no image that can be packed",))],
)
def test_a_folder_without_texts_or_images_is_refused(tmp_path: Path, files: dict[str, str | None], words: Parts) -> None:
    source = write(tmp_path / "dota", files)
    with raises(SourceError, source, *words):
        kseq.pack(source, tmp_path / "packed", source_format="dota", workers=0)
