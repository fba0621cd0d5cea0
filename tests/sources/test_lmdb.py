"""LMDB databases, written by the package: Datum of Caffe, text recognition, encoded images under paths, pickles."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseq
from tests.helpers.messages import assert_says, refusal
from tests.sources.test_flat_images import read

lmdb = pytest.importorskip("lmdb", reason="LMDB needs the extra `lmdb`")


def write(path: Path, values: dict[str, bytes], *, is_folder: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(os.fspath(path), map_size=1 << 24, subdir=is_folder) as database, database.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    return path


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


def varint(number: int) -> bytes:
    data = b""
    while number >= 0x80:
        data, number = data + bytes([number & 0x7F | 0x80]), number >> 7
    return data + bytes([number])


def datum(data: bytes, label: int, shape: tuple[int, int, int] | None = None) -> bytes:
    """A Datum as protobuf writes it."""
    message = b"" if shape is None else b"".join(bytes([8 * field]) + varint(side) for field, side in enumerate(shape, 1))
    message += b"\x22" + varint(len(data)) + data + b"\x28" + varint(label)
    return message + (b"\x38\x01" if shape is None else b"")


@pytest.mark.parametrize("workers", [0, 2])
def test_caffe_has_labels_and_pixels_with_blue_first(tmp_path: Path, workers: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3, 5, 4), dtype=np.uint8)
    for split, rows in (("train", pixels[:150]), ("test", pixels[150:])):
        values = {f"{number:08d}": datum(row.tobytes(), number % 3 * 5, (3, 5, 4)) for number, row in enumerate(rows)}
        write(tmp_path / "mnist" / f"mnist_{split}_lmdb", values)
    kseq.pack(tmp_path / "mnist", tmp_path / "packed", workers=workers)
    classes, splits, images, labels = read(tmp_path / "packed")
    assert (classes, splits) == (("0", "5", "10"), {"train": 150, "test": 50})
    ordered = np.concatenate([pixels[150:], pixels[:150]])[:, ::-1].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(images, ordered)
    assert labels[:4] == ["0", "5", "10", "0"]


def test_caffe_may_hold_encoded_images_and_values_that_are_none_are_listed(tmp_path: Path) -> None:
    values = {"a": datum(png(9), 1), "b": datum(png(8), 0), "c": b"\x08\x03nonsense"}
    report = kseq.pack(write(tmp_path / "val.lmdb", values, is_folder=False), tmp_path / "packed", workers=0)
    assert (report.splits, report.class_names) == ({"val": 2}, ("0", "1"))
    assert [file.path for file in report.rejected] == [b"c"]


def test_databases_of_text_recognition_have_text(tmp_path: Path) -> None:
    values = {"num-samples": b"3"}
    for number, text in ((1, "café"), (2, "2"), (3, "")):
        values |= {f"image-{number:09d}": png(number), f"label-{number:09d}": text.encode()}
    values.pop("label-000000002")
    report = kseq.pack(write(tmp_path / "MJ_train", values | {"label-000000003": b" "}), tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset[0]["text"] == "café"
    assert [file.path for file in report.rejected] == [b"image-000000002"]


def test_encoded_images_under_paths_have_the_folder_as_class(tmp_path: Path) -> None:
    values = {"dog/1.png": png(1), "cat/2.png": png(2), "__len__": pickle.dumps(2), "cat/x": b"no image"}
    source = write(tmp_path / "photos", values)
    report = kseq.pack(source, tmp_path / "packed", workers=0)
    assert (report.class_names, report.num_samples) == (("cat", "dog"), 2)
    assert [file.path for file in report.rejected] == [b"cat/x"]
    bare = write(tmp_path / "bare", {"1": png(1), "2": png(2)})
    assert_says(refusal(bare, tmp_path / "other"), bare, "label=''")
    report = kseq.pack(bare, tmp_path / "other", columns=kseq.Columns(label=""), workers=0)
    assert report.num_samples == 2


def test_pickles_and_files_that_are_no_database_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "pickles", {"0": pickle.dumps((png(1), 3)), "__len__": pickle.dumps(1)})
    assert_says(refusal(source, tmp_path / "packed"), source, "kseq.pack")
    other = write(tmp_path / "other", {"0": b"\xffnonsense"})
    assert_says(refusal(other, tmp_path / "packed"), other, "kseq.pack")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "data.mdb").write_bytes(b"no database" * 1000)
    assert_says(refusal(tmp_path / "broken", tmp_path / "packed"), tmp_path / "broken")
