"""Names of classes that are not well encoded, images that nothing annotates, files of other programs beside annotations."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import assert_says, raises
from tests.helpers.records import png
from tests.helpers.writers import write_tar


def put(root: Path, folder: bytes, name: str = "a.png") -> None:
    path = os.path.join(os.fsencode(root), folder)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, name.encode()), "wb") as file:
        file.write(png())


def well_encoded(report: kseq.PackReport, dataset: kseq.ShardDataset) -> bool:
    names = [*report.class_names, *dataset.class_names, *report.notes]
    return all(name.encode() for name in names)


def test_a_class_folder_that_is_not_utf_8_has_a_name_that_can_be_printed(tmp_path: Path) -> None:
    put(tmp_path / "in", b"caf\xe9")
    put(tmp_path / "in", b"dog", "b.png")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
        for folder in ("cat", "dog"):
            file.writestr(f"{folder}/a.png", png())
    members = {"caf\udce9/a.png": png(), "dog/b.png": png()}
    write_tar(tmp_path / "in.tar", members)
    for source in (tmp_path / "in", tmp_path / "in.tar"):
        report = kseq.pack(source, tmp_path / "out", workers=0, overwrite=True)
        dataset = kseq.ShardDataset(tmp_path / "out")
        assert report.class_names == dataset.class_names == ("caf\\xe9", "dog")
        assert report.num_samples == 2
        assert well_encoded(report, dataset)
        assert os.fsencode(dataset.source(0)).endswith(b"caf\xe9/a.png" if source.suffix == "" else b"caf\xe9/a")
        assert_says(next(note for note in report.notes if "UTF-8" in note), "'caf\\xe9'", "text_encoding")
        report = kseq.pack(source, tmp_path / "out", text_encoding="cp1252", workers=0, overwrite=True)
        assert report.class_names == ("café", "dog")
    report = kseq.pack(tmp_path / "in", tmp_path / "out", class_names=["dog", "caf\udce9"], workers=0, overwrite=True)
    assert report.class_names == ("dog", "caf\\xe9")


def test_a_category_with_half_a_character_has_a_name_that_can_be_printed(tmp_path: Path) -> None:
    put(tmp_path, b"", "a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [annotation]}
    (tmp_path / "ann.json").write_text(json.dumps({**content, "categories": [{"id": 1, "name": "x\ud83d"}]}))
    report = kseq.pack(tmp_path / "ann.json", tmp_path / "out", workers=0)
    assert report.class_names == ("x\\ud83d",)
    assert well_encoded(report, kseq.ShardDataset(tmp_path / "out"))
    assert_says(next(note for note in report.notes if "UTF-8" in note), tmp_path)


def test_images_without_a_file_of_labelme_are_rejected_and_counted(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "in", b"", f"{number}.png")
    shape = {"label": "cat", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
    for number in range(2):
        (tmp_path / "in" / f"{number}.json").write_text(json.dumps({"shapes": [shape], "imagePath": f"{number}.png"}))
    report = kseq.pack(tmp_path / "in", tmp_path / "out", workers=0)
    assert (report.num_found, report.num_samples) == (3, 2)
    assert [rejected.path for rejected in report.rejected] == [b"2.png"]
    assert_says(report.rejected[0].reason, "JSON")


def yolo(root: Path, **files: str) -> Path:
    put(root, b"images", "a.png")
    (root / "labels").mkdir(parents=True, exist_ok=True)
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


@pytest.mark.parametrize(
    "files",
    [
        {"data__yaml": "names: [cat]\n", "deploy__yaml": "kind: a\n---\nkind: b\n"},
        {"data__yaml": "names: [cat]\n", "deploy__yml": "a: [1\n"},
        {"data__yaml": "# first\n---\nother: 1\n---\nnames: [cat]\n"},
        {"classes__txt": "cat\n", "deploy__yaml": "kind: a\n---\nkind: b\n"},
        {"classes__txt": "cat\n", "deploy__yaml": "}{ no yaml"},
    ],
)
def test_yaml_of_other_programs_does_not_refuse_a_folder_of_yolo(tmp_path: Path, files: dict[str, str]) -> None:
    report = kseq.pack(yolo(tmp_path / "in", **files), tmp_path / "out", workers=0)
    assert report.boxes is not None
    assert report.boxes.class_names == ("cat",)
    broken = [name.replace("__", ".") for name, text in files.items() if "[1\n" in text or "}{" in text]
    for name in broken:
        assert any(name in note for note in report.notes)


def test_the_data_yaml_of_yolo_itself_must_be_readable(tmp_path: Path) -> None:
    with raises(SourceError, tmp_path / "in" / "data.yaml"):
        kseq.pack(yolo(tmp_path / "in", data__yaml="names: [cat\n"), tmp_path / "out", workers=0)
