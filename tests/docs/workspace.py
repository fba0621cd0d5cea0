"""The files that the pages of the documentation name: photos, tables, annotations, archives and lists."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from tests.helpers.photos import write_learnable, write_photos
from tests.helpers.writers import example, write_tar

CLOTHES = ("dress", "hat", "pants", "shoes")


def write_workspace(folder: Path) -> None:
    """Write every file that a page of the documentation names and does not make itself."""
    write_photos(folder / "photos", {"daisy": 40, "rose": 40})
    write_photos(folder / "more-photos", {"daisy": 10, "tulip": 10})
    for split, count in {"train": 64, "validation": 16, "test": 8}.items():
        write_learnable(folder / "clothing-dataset-small" / split, dict.fromkeys(CLOTHES, count))
    _write_table(folder)
    _write_objects(folder)
    _write_coco_and_yolo(folder)
    _write_archives(folder)
    _write_corrections(folder)
    _write_lists(folder)
    _write_numbers(folder)


def _photos(folder: Path) -> list[Path]:
    return sorted((folder / "photos").rglob("*.jpg"))


def _write_table(folder: Path) -> None:
    """A table of all photos. Each camera took ten of them."""
    rows = [
        f"{path.relative_to(folder)},{path.parent.name},camera{number // 10}\n" for number, path in enumerate(_photos(folder))
    ]
    (folder / "photos.csv").write_text("path,species,camera\n" + "".join(rows))


def _write_objects(folder: Path) -> None:
    """A table of masks, boxes and other targets."""
    (folder / "masks").mkdir()
    lines = ["image,outline,objects,kinds,topics,height"]
    for number, path in enumerate(_photos(folder)):
        with Image.open(path) as photo:
            Image.new("L", photo.size, number).save(folder / "masks" / f"{number:05d}.png")
        boxes, kinds = ("[[4, 5, 30, 31]]", '"[""bee""]"') if number % 2 else ("[]", "[]")
        lines.append(f'{path.relative_to(folder)},masks/{number:05d}.png,"{boxes}",{kinds},garden|summer,0.{number}')
    (folder / "objects.csv").write_text("\n".join(lines))


def _write_coco_and_yolo(folder: Path) -> None:
    """The same boxes in both formats."""
    paths = _photos(folder)
    images = [{"id": number, "file_name": str(path.relative_to(folder / "photos"))} for number, path in enumerate(paths)]
    boxes = [{"id": number, "image_id": number, "category_id": 7, "bbox": [1, 2, 3, 4]} for number in range(len(paths))]
    annotations = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "bee"}]}
    (folder / "instances_train.json").write_text(json.dumps(annotations))
    for split in ("train", "val"):
        for name in ("images", "labels"):
            (folder / "yolo-photos" / name / split).mkdir(parents=True)
        shutil.copy(paths[0], folder / "yolo-photos" / "images" / split / "a.jpg")
        (folder / "yolo-photos" / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (folder / "yolo-photos" / "data.yaml").write_text("names: [bee]\n")


def _write_archives(folder: Path) -> None:
    """Tars, a zip, records, arrays and a Parquet file of a few photos."""
    paths = _photos(folder)[::8]
    for name in ("tars", "records", "array-records"):
        (folder / name).mkdir()
    for number in range(2):
        members = {str(path.relative_to(folder / "photos")): path.read_bytes() for path in paths[number::2]}
        write_tar(folder / "tars" / f"train-{number:06d}.tar", members)
    shutil.make_archive(str(folder / "photos"), "zip", folder / "photos")
    array_records = ArrayRecordWriter(str(folder / "array-records" / "train.array_record"), "")
    with tf.io.TFRecordWriter(str(folder / "records" / "train.tfrecord")) as records:
        for path in paths:
            for writer in (records, array_records):
                writer.write(example(path.read_bytes(), 1))
    array_records.close()
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    (folder / "hub").mkdir()
    table = pyarrow.table({"image": images, "label": [number % 2 for number in range(len(images))]})
    pyarrow.parquet.write_table(table, folder / "hub" / "train-00000-of-00001.parquet")
    with h5py.File(folder / "images.h5", "w") as file:
        file["images"], file["labels"] = np.zeros((40, 16, 16, 3), np.uint8), np.arange(40) % 2
    np.savez(folder / "arrays.npz", x_train=np.zeros((6, 8, 8), np.uint8), y_train=np.arange(6))
    (folder / "digits.csv").write_text(
        "label," + ",".join(f"pixel{number}" for number in range(16)) + "\n" + ",".join("0" * 17) + "\n"
    )
    (folder / "mnist").mkdir()
    (folder / "mnist" / "train-images-idx3-ubyte").write_bytes(
        bytes([0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 8, 0, 0, 0, 8, *range(192), *range(192)])
    )
    (folder / "mnist" / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 6, *range(6)]))


def _write_corrections(folder: Path) -> None:
    """Tables of other labels and of new targets."""
    (folder / "mistakes.csv").write_text("source,label\ndaisy/00003.jpg,rose\ndaisy/00007.jpg,rose\n")
    (folder / "heights.csv").write_text("source,height\ndaisy/00003.jpg,0.5\n")
    (folder / "prices.csv").write_text("id,price\n" + "".join(f"{number},{number}.5\n" for number in range(80)))
    (folder / "topics.csv").write_text("id,topics\n0,garden|summer\n79,summer\n")


def _write_lists(folder: Path) -> None:
    """Files that name samples, by id and by source."""
    (folder / "hard.txt").write_text("5\n7\n")
    (folder / "blurred.txt").write_text("daisy/00001.jpg\nrose/blurred.jpg\n")


def _write_numbers(folder: Path) -> None:
    """Images of 5 channels and 16 bits, and photos with depth in millimetres."""
    rng = np.random.default_rng(0)
    for number in range(8):
        cells = folder / "scans" / ("healthy", "ill")[number % 2]
        cells.mkdir(parents=True, exist_ok=True)
        np.save(cells / f"{number}.npy", rng.integers(0, 1 << 16, (32, 32, 5), np.uint16))
    lines = ["image,depth"]
    (folder / "depths").mkdir()
    for number, path in enumerate(_photos(folder)[:8]):
        with Image.open(path) as photo:
            width, height = photo.size
        depth = rng.integers(500, 9000, (height, width), np.uint16)
        Image.fromarray(depth).save(folder / "depths" / f"{number}.png")
        lines.append(f"{path.relative_to(folder)},depths/{number}.png")
    (folder / "depth.csv").write_text("\n".join(lines))
