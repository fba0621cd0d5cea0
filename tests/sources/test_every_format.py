"""One collection from every source: the same samples, whoever wrote the files; and what damaged files do."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf

import kseq
from kseq.errors import ArgumentError, KseqError, SourceError, WriteError
from kseq.sources import spooled_column
from kseq.sources.registry import open_source
from tests.helpers.datasets import contents
from tests.helpers.messages import Parts, raises
from tests.helpers.paths import CLOTHING
from tests.helpers.writers import WRITERS, by_split, example, photos_of, write_tar, write_tars


@pytest.fixture(scope="module")
def real(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the real photos of clothes, where they are at hand, else the made ones."""
    if not CLOTHING.is_dir():
        return folder
    root = tmp_path_factory.mktemp("real") / "photos"
    for split in sorted(path for path in CLOTHING.iterdir() if path.is_dir()):
        for name in sorted(split.iterdir())[:3]:
            shutil.copytree(name, root / split.name / name.name, ignore=lambda _, names: sorted(names)[3:])
    return root


@pytest.fixture(scope="module")
def expected(real: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[bytes, int]]]:
    """What the folder of these photos gives."""
    target = tmp_path_factory.mktemp("expected") / "from-folder"
    kseq.pack(real, target, workers=0)
    return contents(target)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_source_gives_what_the_folder_gives(
    real: Path, expected: dict[str, list[tuple[bytes, int]]], tmp_path: Path, kind: str
) -> None:
    write, options = WRITERS[kind]
    shard_bytes = sum(photo.path.stat().st_size for photo in photos_of(real)) // 4
    kseq.pack(write(real, tmp_path, 3), tmp_path / "packed", workers=1, shard_bytes=shard_bytes, **options)
    found = contents(tmp_path / "packed")
    assert found == expected
    assert {split: len(samples) for split, samples in found.items()} == {
        split: len(photos) for split, photos in by_split(real).items()
    }
    assert not kseq.ShardDataset(tmp_path / "packed").rejected()
    assert not kseq.verify(tmp_path / "packed").damaged


@pytest.mark.parametrize("kind", [*WRITERS, "arrays", "iterable"])
def test_a_temporary_folder_that_takes_nothing_is_no_fault_of_the_files(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = ({"image": photo.path, "label": photo.label} for photo in photos_of(folder))
    options: dict[str, Any] = {}
    if kind == "arrays":
        source = tmp_path / "a.npz"
        np.savez(source, images=np.zeros((9, 4, 4, 3), np.uint8), labels=np.arange(9))
    elif kind in WRITERS:
        write, options = WRITERS[kind]
        source = write(folder, tmp_path, 3)
    monkeypatch.setattr(spooled_column, "BLOCK_ROWS", 2)
    monkeypatch.setattr(spooled_column, "_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with raises(WriteError, "gone", "TMPDIR"):
        kseq.pack(source, tmp_path / "packed", workers=0, **options)
    assert not (tmp_path / "packed").exists()


def _limit_that_leaves(count: int) -> int:
    """Below which number so many descriptors are free, whatever other tests have left open."""
    number = 0
    while count:
        try:
            os.fstat(number)
        except OSError:
            count -= 1
        number += 1
    return number


@pytest.mark.skipif(os.name != "posix", reason="limits what a process has open as POSIX does")
@pytest.mark.parametrize("kind", ["webdataset", "tfrecord", "hugging face"])
def test_more_files_can_be_read_than_may_be_open(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    written = WRITERS[kind][0](folder, tmp_path, 99)
    for file in list(written.iterdir()):
        for number in range(20):
            shutil.copy(file, written / f"{number}-{file.name}")
        file.unlink()
    monkeypatch.setattr(spooled_column, "BLOCK_ROWS", 2)
    monkeypatch.setattr(spooled_column, "_BYTES_IN_MEMORY", 0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_limit_that_leaves(40), limits[1]))
    try:
        source = open_source(str(written), None, kseq.Columns(), None, None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(source.images) == 20 * len(photos_of(folder))
    assert not source.images.is_rejected.any()


@pytest.mark.parametrize("kind", ["hugging face", "save_to_disk"])
def test_hugging_face_files_name_their_classes(folder: Path, tmp_path: Path, kind: str) -> None:
    kseq.pack(WRITERS[kind][0](folder, tmp_path, 3), tmp_path / "packed", workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").class_names == ("cat", "dog")


def test_a_pattern_picks_some_of_the_files(folder: Path, tmp_path: Path) -> None:
    tars = write_tars(folder, tmp_path, 3)
    kseq.pack(str(tars / "val-*.tar"), tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.splits == {"val": 7}
        assert dataset.source(0) == "val-000000.tar/000000"
    with raises(SourceError, tars / "none-*.tar"):
        kseq.pack(str(tars / "none-*.tar"), tmp_path / "other")


def jpegs(folder: Path) -> list[bytes]:
    return [photo.path.read_bytes() for photo in photos_of(folder)]


def test_a_tar_without_cls_has_its_folders_as_classes(folder: Path, tmp_path: Path) -> None:
    one, two, *_ = jpegs(folder)
    source = write_tar(tmp_path / "x.tar", {"dog/a.jpg": one, "cat/a.jpeg": two, ".hidden": b"", "cat/b.txt": b"no image"})
    kseq.pack(source, tmp_path / "packed", workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.class_names == ("cat", "dog")
        assert [dataset.source(number) for number in range(2)] == ["x.tar/dog/a", "x.tar/cat/a"]
        assert [(rejection.path, rejection.reason) for rejection in dataset.rejected()] == [
            (b"x.tar/cat/b", "row 3 has no image")
        ]


def test_a_tar_gives_targets_from_its_json_and_its_files(folder: Path, tmp_path: Path) -> None:
    one, two, *_ = jpegs(folder)
    members = {}
    for key, data, age in (("a", one, 3.5), ("b", two, 4.5)):
        members |= {
            f"{key}.jpg": data,
            f"{key}.json": json.dumps({"age": age, "at": [[1, 2, 3, 4]]}).encode(),
            f"{key}.txt": b"hello",
        }
    source = write_tar(tmp_path / "x.tar", members)
    kseq.pack(
        source, tmp_path / "packed", columns=kseq.Columns(targets={"age": "json.age"}, boxes="json.at", text="txt"), workers=0
    )
    sample = kseq.ShardDataset(tmp_path / "packed")[1]
    assert (float(sample["age"]), sample["boxes"].tolist(), sample["text"]) == (4.5, [[1, 2, 3, 4]], "hello")


def test_of_a_tar_that_is_cut_off_the_whole_samples_are_packed(folder: Path, tmp_path: Path) -> None:
    members = {f"{number}.jpg": data for number, data in enumerate(jpegs(folder)[:4])}
    members = {name: data for entry, data in members.items() for name, data in ((entry, data), (entry[:-3] + "cls", b"1"))}
    source = write_tar(tmp_path / "x.tar", members)
    with tarfile.open(source) as tar:
        third = tar.getmember("2.jpg")
    source.write_bytes(source.read_bytes()[: third.offset_data + 100])
    report = kseq.pack(source, tmp_path / "packed", workers=0)
    assert report.num_samples == 2
    assert [(rejection.path, rejection.reason) for rejection in report.rejected] == [
        (b"x.tar/2", "row 3 the tar is cut off here, or damaged")
    ]


def records(folder: Path, tmp_path: Path) -> tuple[Path, list[int]]:
    """A TFRecord file of four, and where each begins."""
    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, data in enumerate(jpegs(folder)[:4]):
            writer.write(example(data, number % 2))
    starts = np.cumsum([0, *(len(example(data, number % 2)) + 16 for number, data in enumerate(jpegs(folder)[:4]))])
    assert starts[-1] == path.stat().st_size
    return path, starts.tolist()


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "packed", "reason"),
    [
        (lambda path, starts: flip(path, starts[1] + 40), 3, "row 2 has data with a wrong checksum"),
        (
            lambda path, starts: flip(path, starts[2]),
            2,
            "row 3 has a length with a wrong checksum: this record and those after it",
        ),
        (lambda path, starts: path.write_bytes(path.read_bytes()[: starts[3] + 20]), 3, "row 4 breaks off after 8 of"),
        (lambda path, starts: path.write_bytes(path.read_bytes()[: starts[3] + 5]), 3, "row 4 breaks off after 5 bytes of its"),
    ],
)
def test_damaged_records_are_listed_and_the_others_packed(
    folder: Path, tmp_path: Path, spoil: Callable[[Path, list[int]], None], packed: int, reason: str
) -> None:
    path, starts = records(folder, tmp_path)
    spoil(path, starts)
    report = kseq.pack(path, tmp_path / "packed", workers=0)
    assert report.num_samples == packed
    assert [rejection.reason[: len(reason)] for rejection in report.rejected] == [reason]


def test_records_of_pixels_have_their_shape_beside_them(tmp_path: Path) -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    features = {
        "image_raw": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[7])),
        **{name: tf.train.Feature(int64_list=tf.train.Int64List(value=[side])) for name, side in (("height", 4), ("width", 5))},
    }
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    kseq.pack(tmp_path / "x.tfrecord", tmp_path / "packed", workers=0)
    np.testing.assert_array_equal(kseq.ShardDataset(tmp_path / "packed")[0]["image"], pixels)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.tar", b"no tar at all" * 100, ()),
        (
            "x.tfrecord",
            b"no records at all" * 100,
            ("TFRecord",),
        ),
        ("x.tfrecord", b"\x1f\x8b compressed", ("compressed",)),
        ("x.tfrecord", b"", ()),
        ("x.parquet", b"PAR1 or not", ()),
        ("x.npz", b"no arrays", ()),
        ("x.npy", b"no arrays", ()),
        ("x.h5", b"no arrays", ()),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused_in_one_line(
    tmp_path: Path, name: str, data: bytes, words: Parts
) -> None:
    (tmp_path / name).write_bytes(data)
    with raises(SourceError, tmp_path / name, *words):
        kseq.pack(tmp_path / name, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


X = np.arange(20 * 4 * 5 * 3, dtype=np.uint16).astype(np.uint8).reshape(20, 4, 5, 3)
Y = np.arange(20) % 3


def write_npz(target: Path) -> Path:
    np.savez(target / "x.npz", x_train=X[:12], y_train=Y[:12], x_test=X[12:], y_test=Y[12:, None])
    return target / "x.npz"


def write_npy(target: Path) -> Path:
    np.save(target / "images.npy", X)
    np.save(target / "labels.npy", Y)
    return target / "images.npy"


def write_hdf5(target: Path) -> Path:
    with h5py.File(target / "x.h5", "w") as file:
        file.create_dataset("images", data=X, chunks=(3, 4, 5, 3), compression="gzip")
        file["labels"] = np.eye(3, dtype=np.float32)[Y]
        file["label_names"] = ["ant", "bee", "cow"]
    return target / "x.h5"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("write", [write_npz, write_npy, write_hdf5])
def test_arrays_come_back_as_they_were(tmp_path: Path, write: Callable[[Path], Path], workers: int) -> None:
    kseq.pack(write(tmp_path), tmp_path / "packed", workers=workers, shard_bytes=500)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    order = np.argsort(
        [int(dataset.source(number).split("/")[1]) + 12 * ("test" in dataset.source(number)) for number in range(20)]
    )
    read = dataset.read(order)
    np.testing.assert_array_equal(read["image"], X)
    np.testing.assert_array_equal(read["label"], Y)
    if write is write_npz:
        assert dataset.splits == {"test": 8, "train": 12}
    if write is write_hdf5:
        assert dataset.class_names == ("ant", "bee", "cow")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": X / 255, "labels": Y}, ("float64", "(20, 4, 5, 3)", "uint8")),
        ({"images": X.transpose(0, 3, 1, 2), "labels": Y}, ("transpose(0, 2, 3, 1)",)),
        ({"images": X, "labels": Y[:9]}, ("'labels'", "(9,)", 20, "'images'")),
        ({"pictures": X, "labels": Y}, ()),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: Parts) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with raises(SourceError, tmp_path / "x.npz", *words):
        kseq.pack(tmp_path / "x.npz", tmp_path / "packed")


def dicts() -> Iterator[dict[str, Any]]:
    return ({"image": image, "label": f"class {label}"} for image, label in zip(X, Y, strict=True))


ITERABLES: dict[str, Callable[[], Any]] = {
    "dicts": dicts,
    "pairs": lambda: list(zip(X, Y, strict=True)),
    "arrays": lambda: (X, Y),
    "keras.datasets": lambda: ((X[:12], Y[:12, None]), (X[12:], Y[12:, None])),
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((X, Y)),
    "tf.data in batches": lambda: tf.data.Dataset.from_tensor_slices({"image": X, "label": Y}).batch(6),
    "batches": lambda: [(X[start : start + 7], Y[start : start + 7]) for start in (0, 7, 14)],
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ITERABLES)
def test_whatever_can_be_gone_through_is_packed(tmp_path: Path, kind: str, workers: int) -> None:
    kseq.pack(ITERABLES[kind](), tmp_path / "packed", workers=workers, shard_bytes=500)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    read = dataset.read(range(20))
    np.testing.assert_array_equal(read["image"], X)
    np.testing.assert_array_equal(read["label"], Y)
    assert dataset.splits == ({"train": 12, "test": 8} if kind == "keras.datasets" else {"train": 20})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed"]


def test_an_iterable_may_give_bytes_and_paths(folder: Path, tmp_path: Path) -> None:
    one, two, *_ = (photo.path for photo in photos_of(folder))
    kseq.pack([{"image": one.read_bytes(), "label": 1}, {"image": two, "label": 0}], tmp_path / "packed", workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert [dataset.stored_bytes(number) for number in range(2)] == [one.read_bytes(), two.read_bytes()]
    assert dataset.source(1) == str(two)


@pytest.mark.parametrize(
    ("samples", "kind", "words"),
    [
        (5, ArgumentError, ("source=5",)),
        ([], SourceError, ()),
        ([5], SourceError, (0,)),
        ([{"image": X[0], "label": 1}, {"image": X[0]}], SourceError, ("sample 1", "'label'")),
        ([(X[0] / 255, 1)], SourceError, ("'image of sample 0'", "float64")),
        ([{"image": X[:3], "label": [1, 2]}], SourceError, (0, 3, "'label'")),
    ],
)
def test_an_iterable_of_something_else_is_refused(tmp_path: Path, samples: Any, kind: type[KseqError], words: Parts) -> None:
    with raises(kind, *words):
        kseq.pack(samples, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []


def test_an_iterable_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def samples() -> Iterator[Any]:
        yield X[0], 1
        raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        kseq.pack(samples(), tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []
