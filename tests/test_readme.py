"""The README's commands and Python examples, run from top to bottom in a folder with photos."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from tests.helpers.photos import write_photos
from tests.helpers.writers import example, write_tar

README = Path(__file__).parent.parent / "README.md"


def write_table(folder: Path) -> None:
    """The table that the README shows, of all photos; cameras took ten each."""
    files = sorted((folder / "photos").rglob("*.jpg"))
    rows = [f"{each.relative_to(folder)},{each.parent.name},camera{number // 10}\n" for number, each in enumerate(files)]
    (folder / "photos.csv").write_text("path,species,camera\n" + "".join(rows))


def write_objects(folder: Path) -> None:
    """The table of masks, boxes and other targets that the README shows."""
    (folder / "masks").mkdir()
    lines = ["image,outline,objects,kinds,topics,height"]
    for number, each in enumerate(sorted((folder / "photos").rglob("*.jpg"))):
        with Image.open(each) as photo:
            Image.new("L", photo.size, number).save(folder / "masks" / f"{number:05d}.png")
        boxes, kinds = ("[[4, 5, 30, 31]]", '"[""bee""]"') if number % 2 else ("[]", "[]")
        lines.append(f'{each.relative_to(folder)},masks/{number:05d}.png,"{boxes}",{kinds},garden|summer,0.{number}')
    (folder / "objects.csv").write_text("\n".join(lines))


def write_coco_and_yolo(folder: Path) -> None:
    """The same boxes, as both formats have them."""
    files = sorted((folder / "photos").rglob("*.jpg"))
    images = [{"id": number, "file_name": str(each.relative_to(folder / "photos"))} for number, each in enumerate(files)]
    boxes = [{"id": number, "image_id": number, "category_id": 7, "bbox": [1, 2, 3, 4]} for number in range(len(files))]
    found = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "bee"}]}
    (folder / "instances_train.json").write_text(json.dumps(found))
    for split in ("train", "val"):
        for name in ("images", "labels"):
            (folder / "yolo-photos" / name / split).mkdir(parents=True)
        shutil.copy(files[0], folder / "yolo-photos" / "images" / split / "a.jpg")
        (folder / "yolo-photos" / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (folder / "yolo-photos" / "data.yaml").write_text("names: [bee]\n")


def write_archives(folder: Path) -> None:
    """Tars, a zip, records and arrays of a few photos."""
    files = sorted((folder / "photos").rglob("*.jpg"))[::8]
    for name in ("tars", "records", "array-records"):
        (folder / name).mkdir()
    for number in range(2):
        write_tar(
            folder / "tars" / f"train-{number:06d}.tar",
            {str(each.relative_to(folder / "photos")): each.read_bytes() for each in files[number::2]},
        )
    shutil.make_archive(str(folder / "photos"), "zip", folder / "photos")
    arrays = ArrayRecordWriter(str(folder / "array-records" / "train.array_record"), "")
    with tf.io.TFRecordWriter(str(folder / "records" / "train.tfrecord")) as writer:
        for each in files:
            for record in (writer, arrays):
                record.write(example(each.read_bytes(), 1))
    arrays.close()
    np.savez(folder / "arrays.npz", x_train=np.zeros((6, 8, 8), np.uint8), y_train=np.arange(6))


def write_corrections(folder: Path) -> None:
    """The tables of other labels and new targets that the README names."""
    (folder / "mistakes.csv").write_text("source,label\ndaisy/00003.jpg,rose\ndaisy/00007.jpg,rose\n")
    (folder / "heights.csv").write_text("source,height\ndaisy/00003.jpg,0.5\n")
    (folder / "topics.csv").write_text("id,topics\n0,garden|summer\n79,summer\n")


def write_lists(folder: Path) -> None:
    """Files that name samples, by id and by source."""
    (folder / "hard.txt").write_text("5\n7\n")
    (folder / "blurred.txt").write_text("daisy/00001.jpg\nrose/blurred.jpg\n")


@pytest.mark.slow
def test_commands_and_examples_run_as_printed(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    write_photos(tmp_path / "photos", {"daisy": 40, "rose": 40})
    write_photos(tmp_path / "more-photos", {"daisy": 10, "tulip": 10})
    write_table(tmp_path)
    write_objects(tmp_path)
    write_coco_and_yolo(tmp_path)
    write_archives(tmp_path)
    write_corrections(tmp_path)
    write_lists(tmp_path)
    # In the order in which a reader meets them. One process for all: each would import everything anew.
    steps = [f"import os; os.chdir({str(tmp_path)!r})\nfrom kseq_tools.main import main"]
    for language, block in re.findall(r"^```(console|python)\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE):
        commands = [shlex.split(line[2:])[1:] for line in block.splitlines() if line.startswith("$ kseq")]
        steps += [block] if language == "python" else [f"assert main({words!r}) == 0, {words!r}" for words in commands]
    assert len(steps) > 30
    run_python("\n".join(steps), backend="tensorflow")


def test_every_subcommand_is_in_the_readme() -> None:
    from kseq_tools.main import make_parser

    shown = make_parser().format_help().split("COMMAND", 2)[2]
    commands = re.findall(r"^ {4}(\w+)", shown, re.MULTILINE)
    assert "bench" in commands
    for command in commands:
        assert f"kseq {command}" in README.read_text()


def test_every_dependency_has_its_reason_in_the_readme() -> None:
    setup = (README.parent / "setup.cfg").read_text()
    required = re.search(r"install_requires =\n(.*?)\n\n", setup, re.DOTALL)
    assert required is not None
    for line in required[1].splitlines():
        assert f"| {line.strip().split('>')[0]} |" in README.read_text()
