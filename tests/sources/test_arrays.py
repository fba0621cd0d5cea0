"""Arrays that are odd, large, or damaged: which go together, what labels mean, what is in memory."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import kseq
from kseq.errors import SourceError
from tests.helpers.messages import Parts, assert_says, raises, refusal

X = np.arange(20 * 4 * 5 * 3, dtype=np.uint16).astype(np.uint8).reshape(20, 4, 5, 3)
Y = np.arange(20) % 3
ONE_HOT = np.eye(4, dtype=np.float32)[Y]


def write_npz(target: Path, /, **arrays: np.ndarray) -> Path:
    np.savez(target / "x.npz", **arrays)
    return target / "x.npz"


def write_deflated(target: Path, /, **arrays: np.ndarray) -> Path:
    np.savez_compressed(target / "x.npz", **arrays)
    return target / "x.npz"


def write_npy(target: Path, /, **arrays: np.ndarray) -> Path:
    for name, array in arrays.items():
        np.save(target / f"{name}.npy", array)
    return target / f"{next(iter(arrays))}.npy"


def write_hdf5(target: Path, /, **arrays: np.ndarray) -> Path:
    with h5py.File(target / "x.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return target / "x.h5"


WRITERS = (write_npz, write_deflated, write_npy, write_hdf5)


def pack(source: Path, target: Path, **options: Any) -> kseq.ShardDataset:
    report = kseq.pack(source, target, workers=0, **options)
    assert not report.rejected
    return kseq.ShardDataset(target)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("write", WRITERS)
def test_rows_are_those_of_numpy(tmp_path: Path, write: Callable[..., Path], order: Any) -> None:
    source = write(tmp_path, images=np.asarray(X, order=order), labels=Y)
    dataset = pack(source, tmp_path / "packed")
    read = dataset.read(range(20))
    np.testing.assert_array_equal(read["image"], X)
    np.testing.assert_array_equal(read["label"], Y)


@pytest.mark.parametrize("write", WRITERS)
def test_one_hot_labels_are_class_numbers(tmp_path: Path, write: Callable[..., Path]) -> None:
    dataset = pack(write(tmp_path, images=X, labels=ONE_HOT), tmp_path / "packed")
    assert dataset.class_names == ("0", "1", "2", "3")
    assert dataset.read(range(20))["label"].tolist() == Y.tolist()


def test_one_hot_labels_take_the_names_that_there_are(tmp_path: Path) -> None:
    names = np.array(["ant", "bee", "cow", "dog"])
    source = write_npz(tmp_path, x_train=X[:9], y_train=ONE_HOT[:9], x_test=X[9:], y_test=ONE_HOT[9:], class_names=names)
    dataset = pack(source, tmp_path / "packed")
    assert dataset.class_names == tuple(names)
    assert dataset.splits == {"test": 11, "train": 9}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (ONE_HOT * 0.5, ("'labels'", "(20, 4)")),
        (ONE_HOT + ONE_HOT[::-1], ("'labels'",)),
        (np.zeros((20, 4)), ("'labels'", "(20, 4)")),
        (np.zeros((20, 2, 2)), ("'labels'", "(20, 2, 2)")),
        (np.array([{}] * 20), ("'labels'",)),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, labels: np.ndarray, words: Parts) -> None:
    assert_says(refusal(write_npz(tmp_path, images=X, labels=labels), tmp_path / "packed"), *words)


def test_as_many_names_as_one_hot_classes_are_needed(tmp_path: Path) -> None:
    source = write_npz(tmp_path, images=X, labels=ONE_HOT)
    message = refusal(source, tmp_path / "packed", class_names=["ant", "bee"])
    assert_says(message, 4, 2)


def test_several_labels_a_sample_are_a_target(tmp_path: Path) -> None:
    source = write_npz(tmp_path, images=X, labels=ONE_HOT + ONE_HOT[::-1])
    dataset = pack(source, tmp_path / "packed", columns=kseq.Columns(label="", targets={"kinds": "labels"}))
    np.testing.assert_array_equal(dataset.read(range(20))["kinds"], ONE_HOT + ONE_HOT[::-1])


def test_an_array_of_labels_is_none_of_names_of_classes(tmp_path: Path) -> None:
    source = write_npz(tmp_path, images=X, labels=Y, classes=np.array(list("aab"))[Y % 3])
    assert_says(refusal(source, tmp_path / "packed"), "'classes'", 20, 2, "class_names=", "label='classes'")
    report = kseq.pack(source, tmp_path / "packed", columns=kseq.Columns(label="classes"), workers=0)
    assert report.class_names == ("a", "b")


def test_a_label_that_is_no_whole_number_has_no_class(tmp_path: Path) -> None:
    source = write_npz(tmp_path, images=X, labels=Y + np.where(np.arange(20) == 4, 0.5, 0), class_names=np.array(list("abc")))
    report = kseq.pack(source, tmp_path / "packed", workers=0)
    assert [rejection.reason for rejection in report.rejected] == ["row 5 has a label that is not among the class names: '1.5'"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": X, "y_train": Y, "x_test": X}, ("x_test", "y_test")),
        ({"x_train": X, "y_train": Y, "y_val": Y}, ("y_val", "x_val")),
        ({"train_images": X, "train_labels": Y, "test_images": X}, ("test_images", "test_labels")),
    ],
)
def test_half_of_a_split_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: Parts) -> None:
    assert_says(refusal(write_npz(tmp_path, **arrays), tmp_path / "packed"), *words)


def test_images_of_splits_may_be_packed_alone(tmp_path: Path) -> None:
    source = write_npz(tmp_path, x_train=X[:9], y_train=Y[:9], x_test=X[9:])
    assert pack(source, tmp_path / "packed", columns=kseq.Columns(label="")).splits == {"test": 11, "train": 9}


def test_labels_in_capitals_do_not_double_a_split(tmp_path: Path) -> None:
    source = write_npz(tmp_path, X_train=X, Y_train=Y, y_train=Y)
    message = refusal(source, tmp_path / "packed")
    assert_says(message, "y_train", "x_train")


@pytest.mark.parametrize("write", [write_npz, write_npy])
def test_large_arrays_are_read_in_place(tmp_path: Path, write: Callable[..., Path]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (400, 100, 100, 3), np.uint8)
    source = write(tmp_path, images=images, labels=np.arange(400) % 3)
    tracemalloc.start()
    try:
        dataset = pack(source, tmp_path / "packed", images=kseq.ImageSettings("raw", (100, 100)), shard_bytes=3_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < images.nbytes // 2
    np.testing.assert_array_equal(dataset[399]["image"], images[399])


def test_of_compressed_members_one_is_in_memory(tmp_path: Path) -> None:
    images = np.zeros((1000, 100, 100), np.uint8)
    source = write_deflated(tmp_path, x_train=images, y_train=np.arange(1000) % 3, x_test=images, y_test=np.arange(1000) % 3)
    tracemalloc.start()
    try:
        pack(source, tmp_path / "packed", images=kseq.ImageSettings("raw", (10, 10)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert images.nbytes < peak < 1.7 * images.nbytes


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path, write: Callable[..., Path]) -> None:
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        images = np.full((3, 4, 5), number + 1, np.uint8)
        made = write(tmp_path / str(number), images=images, labels=np.arange(3))
        if number:
            shutil.copyfile(made, tmp_path / "0" / made.name)
        dataset = pack(tmp_path / "0" / made.name, tmp_path / f"packed{number}")
        assert dataset[2]["image"].max() == number + 1


def flipped(data: bytes) -> bytes:
    place = data.index(X[7].tobytes())
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("write", "spoil", "words"),
    [
        (write_npz, flipped, ("'images.npy'",)),
        (write_npz, lambda data: data[:-100], ()),
        (write_npy, lambda data: data[:-100], ("'images'", 1100, 1200)),
        (write_npy, lambda data: b"", ()),
        (write_npy, lambda data: data.replace(b"(20, 4, 5, 3)", b"(2e, 4, 5, 3)"), ()),
        (write_npy, lambda data: data.replace(b"(20, 4, 5, 3)", b"(99, 4, 5, 3)"), (1200, 5940)),
        (write_hdf5, lambda data: data[:-100], ()),
    ],
)
def test_a_damaged_file_of_arrays_is_refused(
    tmp_path: Path, write: Callable[..., Path], spoil: Callable[[bytes], bytes], words: Parts
) -> None:
    source = write(tmp_path, images=X, labels=Y)
    source.write_bytes(spoil(source.read_bytes()))
    assert_says(refusal(source, tmp_path / "packed"), *words)


@pytest.mark.parametrize(
    ("samples", "class_names", "labels"),
    [
        ([(X[0], [0, 1, 0]), (X[1], [0, 0, 1])], None, [1, 2]),
        ((X, ONE_HOT), None, Y.tolist()),
        ([(X[:12], ONE_HOT[:12]), (X[12:], ONE_HOT[12:])], list("abcd"), Y.tolist()),
        (((X[:12], ONE_HOT[:12]), (X[12:], ONE_HOT[12:])), None, Y.tolist()),
        ((X, Y), list("abc"), Y.tolist()),
    ],
)
def test_an_iterable_may_have_one_hot_labels(tmp_path: Path, samples: Any, class_names: Any, labels: list[int]) -> None:
    kseq.pack(samples, tmp_path / "packed", workers=0, class_names=class_names)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert dataset.read(range(len(labels)))["label"].tolist() == labels
    assert len(dataset.class_names) == (3 if samples[0][0] is X[0] or class_names == list("abc") or len(labels) == 2 else 4)


def test_an_iterable_of_other_labels_is_refused(tmp_path: Path) -> None:
    for labels in ([0.5, 0.5], [1, 1], [[1], [0]]):
        with raises(SourceError, "label"):
            kseq.pack([(X[0], labels), (X[1], [0, 1])], tmp_path / "packed")


@pytest.mark.parametrize(
    ("images", "labels", "split"),
    [
        ("train_x", "train_y", "train"),
        ("testX", "testY", "test"),
        ("xval", "yval", "val"),
        ("train_set_x", "train_set_y", "train"),
        ("test_data", "test_labels", "test"),
        ("X_TRAIN", "y_TRAIN", "train"),
        ("data", "target", "train"),
        ("Images", "Labels", "train"),
    ],
)
def test_usual_names_of_arrays_are_found(tmp_path: Path, images: str, labels: str, split: str) -> None:
    arrays = {images: X, labels: Y, "list_classes": np.array(["c", "b", "a"])}
    dataset = pack(write_npz(tmp_path, **arrays), tmp_path / "packed")
    assert (dataset.splits, dataset.class_names) == ({split: 20}, ("c", "b", "a"))


def test_groups_in_capitals_are_splits_and_numbers_called_classes_are_no_names(tmp_path: Path) -> None:
    arrays = {"Train/images": X, "Train/labels": Y, "Test/images": X, "Test/labels": Y, "classes": np.arange(3)}
    dataset = pack(write_hdf5(tmp_path, **arrays), tmp_path / "packed")
    assert (dataset.splits, dataset.class_names) == ({"test": 20, "train": 20}, ("0", "1", "2"))


def test_encoded_images_in_an_array_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("images", (3,), h5py.vlen_dtype(np.uint8))
        file["labels"] = Y[:3]
        file["images"][0] = X[0].ravel()
    assert_says(refusal(tmp_path / "x.h5", tmp_path / "packed"), "'images'", "kseq.pack(zip(images, labels), ...)")


def test_a_folder_of_arrays_names_the_call_that_packs_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = write_npy(tmp_path / "in", images=X, labels=Y)
    assert_says(refusal(tmp_path / "in", tmp_path / "packed"), repr(str(path)))


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"x": X}, ("kseq.pack((images, labels)",)),
        ({"images": X, "kind": Y, "ra": Y / 2}, ("label='kind'",)),
        ({"images": X, "ans": Y}, None),
        ({"arr_0": X, "arr_1": Y}, None),
        ({"arr_0": X, "arr_1": Y, "arr_2": X}, ("arr_0, arr_1, arr_2",)),
    ],
)
def test_arrays_of_unusual_names_are_taken_or_named(
    tmp_path: Path, arrays: dict[str, np.ndarray], parts: tuple[str, ...] | None
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]  # numpy takes arrays by any name
    if parts is None:
        report = kseq.pack(tmp_path / "a.npz", tmp_path / "out", workers=0)
        assert report.num_samples == len(X)
    else:
        assert_says(refusal(tmp_path / "a.npz", tmp_path / "out"), *parts)


@pytest.mark.parametrize("name", ["a.npz", "b.h5"])
def test_a_folder_of_files_of_arrays_names_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"x")
    assert_says(refusal(tmp_path / "in", tmp_path / "out"), f"kseq.pack('{tmp_path / 'in' / name}', 'DATASET')")
