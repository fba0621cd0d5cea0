"""One collection of photos in every form in which other programs write it, and what is in a dataset packed from it."""

from __future__ import annotations

import csv
import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow
import pyarrow.parquet
import tensorflow as tf
import webdataset
from array_record.python.array_record_module import ArrayRecordWriter

import kseq

SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}


class Photo(NamedTuple):
    """A photo in `split/class/name`, the split called as kseq calls it."""

    split: str
    name: str
    label: int
    path: Path


def photos_of(folder: Path) -> list[Photo]:
    """All photos of a folder, in the order in which it is packed."""
    classes = classes_of(folder)
    return [
        Photo(SPLITS[split.name], name, number, path)
        for split in sorted(file for file in folder.iterdir() if file.is_dir())
        for number, name in enumerate(classes)
        for path in sorted((split / name).glob("*"))
    ]


def classes_of(folder: Path) -> list[str]:
    return sorted({path.name for split in folder.iterdir() if split.is_dir() for path in split.iterdir()})


def by_split(folder: Path) -> dict[str, list[Photo]]:
    photos = photos_of(folder)
    return {split: [photo for photo in photos if photo.split == split] for split in ("train", "val", "test")}


def pieces(folder: Path, size: int) -> Iterator[tuple[str, int, list[Photo]]]:
    """Split, number and photos of each file, if `size` of them go into one."""
    for split, photos in by_split(folder).items():
        for number, start in enumerate(range(0, len(photos), size)):
            yield split, number, photos[start : start + size]


def write_csv(folder: Path, target: Path, per_file: int) -> Path:
    with open(target / "photos.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "part"])
        writer.writerows([photo.path, photo.name, photo.split] for photo in photos_of(folder))
    return target / "photos.csv"


def write_parquet(folder: Path, target: Path, per_file: int) -> Path:
    rows = [{"path": str(photo.path), "label": photo.name, "part": photo.split} for photo in photos_of(folder)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), target / "photos.parquet")
    return target / "photos.parquet"


def write_tars(folder: Path, target: Path, per_file: int) -> Path:
    (target / "tars").mkdir()
    for split, photos in by_split(folder).items():
        pattern = str(target / "tars" / f"{split}-%06d.tar")
        with warnings.catch_warnings(), webdataset.ShardWriter(pattern, maxcount=per_file, verbose=0) as writer:
            for number, photo in enumerate(photos):
                writer.write({"__key__": f"{number:06d}", "jpg": photo.path.read_bytes(), "cls": photo.label})
    return target / "tars"


def example(image: bytes, label: int) -> bytes:
    """A `tf.train.Example` as TensorFlow's own scripts write it."""
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    written: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return written


def write_tfrecords(folder: Path, target: Path, per_file: int) -> Path:
    (target / "records").mkdir()
    for split, number, photos in pieces(folder, per_file):
        with tf.io.TFRecordWriter(str(target / "records" / f"photos-{split}.tfrecord-{number:05d}-of-99999")) as writer:
            for photo in photos:
                writer.write(example(photo.path.read_bytes(), photo.label))
    return target / "records"


def write_array_records(folder: Path, target: Path, per_file: int) -> Path:
    (target / "array-records").mkdir()
    for split, number, photos in pieces(folder, per_file):
        path = target / "array-records" / f"photos-{split}.array_record-{number:05d}-of-99999"
        writer = ArrayRecordWriter(str(path), f"group_size:{number % 2 + 1}")
        for photo in photos:
            writer.write(example(photo.path.read_bytes(), photo.label))
        writer.close()
    return target / "array-records"


def hugging_face(folder: Path, split: str) -> datasets.Dataset:
    photos = by_split(folder)[split]
    rows = {
        "image": [{"bytes": photo.path.read_bytes(), "path": photo.path.name} for photo in photos],
        "label": [photo.label for photo in photos],
    }
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=classes_of(folder))})
    return datasets.Dataset.from_dict(rows, features=features)


def write_hugging_face(folder: Path, target: Path, per_file: int) -> Path:
    (target / "hub").mkdir()
    for split in by_split(folder):
        path = target / "hub" / f"{split}-00000-of-00001.parquet"
        hugging_face(folder, split).to_parquet(str(path), batch_size=per_file)
    return target / "hub"


def write_to_disk(folder: Path, target: Path, per_file: int) -> Path:
    found = {split: hugging_face(folder, split) for split in by_split(folder)}
    datasets.DatasetDict(found).save_to_disk(str(target / "disk"))
    return target / "disk"


def write_zip(folder: Path, target: Path, per_file: int) -> Path:
    """Half of the members stored, half deflated, below the folder's own name as `zip -r` has it."""
    with zipfile.ZipFile(target / "photos.zip", "w") as file:
        for number, photo in enumerate(photos_of(folder)):
            method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            file.write(photo.path, photo.path.relative_to(folder.parent), compress_type=method)
    return target / "photos.zip"


# Each with what `kseq.pack` must be told besides where it lies.
WRITERS: Mapping[str, tuple[Callable[[Path, Path, int], Path], dict[str, Any]]] = {
    "csv": (write_csv, {"columns": kseq.Columns(split="part")}),
    "parquet": (write_parquet, {"columns": kseq.Columns(split="part")}),
    "webdataset": (write_tars, {}),
    "tfrecord": (write_tfrecords, {}),
    "array record": (write_array_records, {}),
    "hugging face": (write_hugging_face, {}),
    "save_to_disk": (write_to_disk, {}),
    "zip": (write_zip, {}),
}


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar of some files."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
