"""MNIST's idx files and the binary versions of CIFAR and STL-10, written byte by byte as their pages say."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import assert_says, raises, refusal


def idx(array: np.ndarray, code: int = 8) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + shape + array.tobytes()


def pixels(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_idx(folder: Path, name: str, count: int, *, end: str = "", shape: tuple[int, ...] = (7, 5)) -> np.ndarray:
    """A file of images and one of labels 0, 2, 10, 0, ...; returns the images."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = pixels(count, *shape), np.array([0, 2, 10], np.uint8)[np.arange(count) % 3]
    pack = gzip.compress if end == ".gz" else bytes
    (folder / f"{name}images-idx3-ubyte{end}").write_bytes(pack(idx(images)))
    (folder / f"{name}labels-idx1-ubyte{end}").write_bytes(pack(idx(labels)))
    return images


def read(path: Path) -> tuple[tuple[str, ...], dict[str, int], np.ndarray, list[str]]:
    """The classes, the splits, the images, and the class of each."""
    with kseq.ShardDataset(path) as dataset:
        samples = dataset.read(range(len(dataset)))
        names = [dataset.class_names[label] for label in samples.get("label", [])]
        return dataset.class_names, dict(dataset.splits), np.stack(samples["image"]), names


def pack(source: Path | str, target: Path, **options: Any) -> kseq.PackReport:
    return kseq.pack(source, target, workers=0, **options)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(("train", "test"), [("train-", "t10k-"), ("emnist-letters-train-", "emnist-letters-test-")])
def test_idx_files_are_splits_with_classes_in_the_order_of_numbers(tmp_path: Path, end: str, train: str, test: str) -> None:
    first = write_idx(tmp_path / "a" / "MNIST" / "raw", train, 6, end=end)
    second = write_idx(tmp_path / "a" / "MNIST" / "raw", test, 3, end=end)
    report = pack(tmp_path / "a", tmp_path / "packed")
    classes, splits, images, names = read(tmp_path / "packed")
    assert (classes, splits) == (("0", "2", "10"), {"train": 6, "test": 3})
    by_split = [second, first] if test < train else [first, second]
    np.testing.assert_array_equal(images[..., 0], np.concatenate(by_split))
    assert names == ["0", "2", "10"] * 3
    assert bool(report.notes) == train.startswith("emnist")


@pytest.mark.parametrize(("code", "dtype", "kept"), [(8, ">u1", "uint16"), (11, ">i2", "uint16"), (13, ">f4", "float32")])
def test_idx_files_of_other_numbers_are_packed_as_these_numbers(tmp_path: Path, code: int, dtype: str, kept: str) -> None:
    write_idx(tmp_path / "in", "train-", 6)
    images = (np.arange(6 * 7 * 5).reshape(6, 7, 5) * (1 if code == 8 else 100.5)).astype(dtype)
    (tmp_path / "in" / "train-images-idx3-ubyte").write_bytes(idx(images, code))
    settings = kseq.ImageSettings(encoding="raw", image_size=(7, 5), color_mode="grayscale", dtype=kept)
    pack(tmp_path / "in", tmp_path / "packed", images=settings)
    found = read(tmp_path / "packed")[2]
    assert found.dtype == kept
    np.testing.assert_array_equal(found[..., 0], images)


def test_a_single_idx_file_has_its_labels_beside_it_and_may_be_told_to_have_none(tmp_path: Path) -> None:
    source, target = tmp_path / "idx", tmp_path / "packed"
    write_idx(source, "train-", 6)
    write_idx(source, "t10k-", 3)
    pack(source / "t10k-images-idx3-ubyte", tmp_path / "one")
    assert read(tmp_path / "one")[1] == {"test": 3}
    (source / "train-labels-idx1-ubyte").unlink()
    says = refusal(source, target)
    assert_says(says, source / "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "label=''")
    pack(source, tmp_path / "unlabelled", columns=kseq.Columns(label=""))
    assert read(tmp_path / "unlabelled")[3] == []
    with raises(SourceError, source / "t10k-labels-idx1-ubyte"):
        pack(source / "t10k-labels-idx1-ubyte", target)


def test_names_of_idx_files_as_other_archives_have_them(tmp_path: Path) -> None:
    """Kaggle's zip has each file twice, one of them in a folder of its name; QMNIST's labels are rows of eight."""
    folder = tmp_path / "kaggle"
    for name in ("train-", "t10k-"):
        write_idx(folder, name, 6)
        for role in ("images-idx3", "labels-idx1"):
            plain = folder / f"{name}{role}-ubyte"
            content = plain.read_bytes()
            plain.rename(folder / f"{name}{role.replace('-', '.')}-ubyte")
            plain.mkdir()
            (plain / plain.name).write_bytes(content)
    report = pack(folder, tmp_path / "packed")
    assert (report.splits, len(report.notes)) == ({"train": 6, "test": 6}, 4)
    write_idx(tmp_path / "q", "qmnist-test-", 3)
    (tmp_path / "q" / "qmnist-test-labels-idx1-ubyte").unlink()
    rows = np.arange(24, dtype=">i4").reshape(3, 8)
    (tmp_path / "q" / "qmnist-test-labels-idx2-int.gz").write_bytes(gzip.compress(idx(rows, 12)))
    pack(tmp_path / "q", tmp_path / "rows")
    assert read(tmp_path / "rows")[0] == ("0", "8", "16")


def test_emnist_has_its_letters_as_classes_and_one_collection_at_a_time(tmp_path: Path) -> None:
    write_idx(tmp_path / "e", "emnist-letters-train-", 3)
    (tmp_path / "e" / "emnist-letters-mapping.txt").write_text("10 74 106\n2 66 98\n0 65 97\n")
    pack(tmp_path / "e", tmp_path / "packed")
    assert read(tmp_path / "packed")[0] == ("Jj", "Bb", "Aa")
    assert read(tmp_path / "packed")[3] == ["Aa", "Bb", "Jj"]
    write_idx(tmp_path / "e", "emnist-digits-train-", 3)
    says = refusal(tmp_path / "e", tmp_path / "other")
    assert_says(says, tmp_path / "e", "2 collections", "'", re_any("emnist-digits-train"))
    pack(str(tmp_path / "e" / "emnist-digits*ubyte"), tmp_path / "digits")
    assert read(tmp_path / "digits")[0] == ("0", "2", "10")


def re_any(text: str) -> Any:
    import re

    return re.compile(re.escape(text))


def test_class_names_name_the_numbers_of_idx_files_from_0_on(tmp_path: Path) -> None:
    source, target = tmp_path / "idx", tmp_path / "packed"
    write_idx(source, "train-", 3)
    names = [f"class {number}" for number in range(11)]
    pack(source, target, class_names=names)
    assert read(target)[3] == ["class 0", "class 2", "class 10"]
    with raises(SourceError, 10, 3, "class_names="):
        pack(source, tmp_path / "other", class_names=["a", "b", "c"])


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files_that_do_not_fit_are_refused_by_name(tmp_path: Path, end: str) -> None:
    source, target = tmp_path / "idx", tmp_path / "packed"
    images = write_idx(source, "train-", 6, end=end)
    pack_bytes = gzip.compress if end else bytes
    labels, file = source / f"train-labels-idx1-ubyte{end}", source / f"train-images-idx3-ubyte{end}"
    whole = file.read_bytes()
    labels.write_bytes(pack_bytes(idx(np.zeros(5, np.uint8))))
    assert_says(refusal(source, target), labels, 5, 6, file)
    for content, values in [
        (idx(images)[:-1], (16 + 6 * 35 - 1, 16 + 6 * 35)),
        (idx(images) + b"x", (16 + 6 * 35 + 1,)),
        (b"\0\0\x08\x03\0", ()),
        (b"\x08\x03\0\0" + b"\0" * 99, ()),
        (idx(images.astype(np.float32), 13), ("float32", "uint8")),
        (b"", ()),
    ]:
        file.write_bytes(pack_bytes(content))
        assert_says(refusal(source, target), file, *values)
    if end:
        file.write_bytes(whole[:-9])
        assert_says(refusal(source, target), file)


def write_cifar(folder: Path, names: dict[str, int], names_file: str, label_bytes: int) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    found = {}
    for name, count in names.items():
        found[name] = pixels(count, 3, 32, 32)
        labels = np.tile(np.arange(count, dtype=np.uint8)[:, None] % 3, (1, label_bytes))
        labels[:, :-1] = 9
        (folder / name).write_bytes(np.concatenate([labels, found[name].reshape(count, -1)], axis=1).tobytes())
    (folder / names_file).write_text("zebra\nant\ncat\n\n")
    return found


@pytest.mark.parametrize(
    ("names", "names_file", "label_bytes"),
    [
        ({"data_batch_1.bin": 4, "data_batch_5.bin": 3, "test_batch.bin": 2}, "batches.meta.txt", 1),
        ({"train.bin": 7, "test.bin": 2}, "fine_label_names.txt", 2),
    ],
)
def test_binary_cifar_has_its_named_classes_in_their_order(
    tmp_path: Path, names: dict[str, int], names_file: str, label_bytes: int
) -> None:
    found = write_cifar(tmp_path / "a" / "cifar", names, names_file, label_bytes)
    pack(tmp_path / "a", tmp_path / "packed")
    classes, splits, images, labels = read(tmp_path / "packed")
    assert (classes, splits) == (("zebra", "ant", "cat"), {"train": 7, "test": 2})
    np.testing.assert_array_equal(images, np.concatenate(list(found.values())).transpose(0, 2, 3, 1))
    assert labels[:3] == ["zebra", "ant", "cat"]


def test_binary_stl_is_read_column_by_column(tmp_path: Path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = pixels(2, 3, 96, 96)
    for split in ("train", "test", "unlabeled"):
        (folder / f"{split}_X.bin").write_bytes(images.tobytes())
        (folder / f"{split}_y.bin").write_bytes(b"\x02\x01")
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    report = pack(folder, tmp_path / "packed")
    classes, splits, found, labels = read(tmp_path / "packed")
    assert (classes, splits, labels) == (("airplane", "bird"), {"train": 2, "test": 2}, ["bird", "airplane"] * 2)
    np.testing.assert_array_equal(found[:2], images.transpose(0, 3, 2, 1))
    assert len(report.notes) == 1
    (folder / "test_y.bin").write_bytes(b"\x01")
    assert_says(refusal(folder, tmp_path / "other"), folder / "test_y.bin", 1, 2)


def test_cifar_that_is_cut_off_and_its_pickles_are_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path / "c", {"data_batch_1.bin": 2}, "batches.meta.txt", 1)
    file = tmp_path / "c" / "data_batch_1.bin"
    file.write_bytes(file.read_bytes()[:-1])
    assert_says(refusal(tmp_path / "c", tmp_path / "packed"), file, 3073, 6145)
    for names in (["data_batch_1", "test_batch", "batches.meta"], ["train", "test", "meta"]):
        folder = tmp_path / names[0] / "cifar-py"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_bytes(pickle.dumps({b"data": [1], b"labels": [2]}))
        assert_says(refusal(tmp_path / names[0], tmp_path / "packed"), folder, "keras.datasets.cifar10.load_data")
