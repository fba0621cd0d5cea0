"""Archives and records that are odd, damaged, or many: what is packed, what is listed, what is refused."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import struct
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

import kseq
from kseq.errors import ArgumentError
from kseq.sources.column_roles import Columns
from kseq.sources.registry import open_source
from kseq.sources.webdataset import WebDatasetSource
from tests.helpers.datasets import contents
from tests.helpers.messages import Parts, assert_says, refusal
from tests.helpers.writers import WRITERS, example, photos_of, write_tar, write_zip


@pytest.fixture(scope="module")
def jpegs(folder: Path) -> list[bytes]:
    return [photo.path.read_bytes() for photo in photos_of(folder)]


def pack(source: Path | str, target: Path, **options: Any) -> tuple[int, list[tuple[str, str]]]:
    """How many samples were packed, and what was left out, with the reason."""
    report = kseq.pack(source, target, workers=0, **options)
    return report.num_samples, [(os.fsdecode(rejection.path), rejection.reason) for rejection in report.rejected]


def labelled(jpegs: list[bytes]) -> dict[str, bytes]:
    """Members of a tar: a photo and its class for each."""
    return {
        name: data for number, jpeg in enumerate(jpegs) for name, data in ((f"{number}.jpg", jpeg), (f"{number}.cls", b"1"))
    }


def header_of(path: Path, member: str) -> int:
    with tarfile.open(path) as tar:
        return tar.getmember(member).offset


# Tars


def test_after_a_broken_header_the_rest_of_a_tar_is_listed_as_lost(jpegs: list[bytes], tmp_path: Path) -> None:
    source = write_tar(tmp_path / "x.tar", labelled(jpegs[:5]))
    data = bytearray(source.read_bytes())
    data[header_of(source, "2.jpg") + 150] ^= 1
    source.write_bytes(data)
    lost = "row 3 the tar has a broken header here: what comes after is lost"
    assert pack(source, tmp_path / "packed") == (2, [("x.tar/(after 1)", lost)])


def test_a_tar_without_an_end_mark_is_packed_and_listed(jpegs: list[bytes], tmp_path: Path) -> None:
    source = write_tar(tmp_path / "x.tar", labelled(jpegs[:2]) | {"end": b""})
    os.truncate(source, header_of(source, "end"))
    lost = "row 3 the tar has no end mark: it may be cut off here: what comes after is lost"
    assert pack(source, tmp_path / "packed") == (2, [("x.tar/(after 1)", lost)])


def test_of_joined_tars_the_second_is_listed_as_lost(jpegs: list[bytes], tmp_path: Path) -> None:
    first, second = (write_tar(tmp_path / f"{name}.tar", labelled(jpegs[:2])) for name in "ab")
    (tmp_path / "x.tar").write_bytes(first.read_bytes() + second.read_bytes())
    packed, rejected = pack(tmp_path / "x.tar", tmp_path / "packed")
    assert packed == 2
    assert [name for name, _ in rejected] == ["x.tar/(after 1)"]
    assert "goes on after an end mark" in rejected[0][1]


def test_a_sample_of_a_tar_that_makes_no_sense_is_listed(jpegs: list[bytes], tmp_path: Path) -> None:
    one, two, three, *_ = jpegs
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, data in {"a.jpg": one, "a.json": b'{"age": 1}', "b.jpg": two, "b.json": b"{", "c.jpg": three}.items():
            (tmp_path / "member").write_bytes(data)
            tar.add(tmp_path / "member", name)
        tar.add(tmp_path / "member", "c.jpg")
        (tmp_path / "link").symlink_to("member")
        tar.add(tmp_path / "link", "d.jpg")
    assert pack(tmp_path / "x.tar", tmp_path / "packed", columns=kseq.Columns(label="json.age")) == (
        1,
        [
            ("x.tar/b", "row 2 has a json file that is not JSON, or no object in braces"),
            ("x.tar/c", "row 3 has 'jpg' twice"),
            ("x.tar/d", "row 4 is a link to member, links in a tar are not followed"),
        ],
    )


def test_a_dot_before_the_names_in_a_tar_is_no_class(jpegs: list[bytes], tmp_path: Path) -> None:
    names = ("./dog/ünï☃.jpg", "./cat/./a.jpg")
    source = write_tar(tmp_path / "x.tar", dict(zip(names, jpegs, strict=False)))
    assert pack(source, tmp_path / "packed", columns=kseq.Columns(image="jpg")) == (2, [])
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert dataset.class_names == ("cat", "dog")
        assert dataset.source(0) == "x.tar/dog/ünï☃"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat/cat.0.jpg", "cat/cat.1.jpg", "dog/a.v2.jpg"], {"cat/cat.0": "cat", "cat/cat.1": "cat", "dog/a.v2": "dog"}),
        (["cat/0.jpg", "cat/0.png", "dog/1.jpg"], {"cat/0": "cat", "cat/0 (row 2)": "cat", "dog/1": "dog"}),
        (["p/README", "p/cat/0.jpg", "p/dog/1.jpg"], {"p/cat/0": "cat", "p/dog/1": "dog"}),
        (["cat/train/0.jpg", "dog/test/1.jpg"], {"cat/train/0": "cat", "dog/test/1": "dog"}),
    ],
)
def test_each_image_of_a_tar_of_class_folders_is_a_sample(
    jpegs: list[bytes], tmp_path: Path, names: list[str], expected: dict[str, str]
) -> None:
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    data = {name: png.getvalue() if name.endswith("png") else jpegs[0] for name in names}
    packed, rejected = pack(write_tar(tmp_path / "x.tar", data), tmp_path / "packed")
    assert (packed, len(rejected)) == (len(expected), len(names) - len(expected))
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        labels = [dataset.class_names[dataset[row]["label"]] for row in range(packed)]
        found = dict(zip((source.removeprefix("x.tar/") for source in dataset.sources()), labels, strict=True))
    assert found == expected


def test_images_of_a_tar_that_nothing_reads_are_said(jpegs: list[bytes], tmp_path: Path) -> None:
    source = write_tar(tmp_path / "x.tar", {"cat/0.jpg": jpegs[0], "cat/0.seg.png": b"", "dog/1.jpg": jpegs[1]})
    assert_says(" ".join(kseq.pack(source, tmp_path / "packed", workers=0).notes), source, "seg.png", 1)


def test_folders_in_a_tar_that_are_called_like_no_class_are_none(jpegs: list[bytes], tmp_path: Path) -> None:
    source = write_tar(tmp_path / "x.tar", {"JPEGImages/0.jpg": jpegs[0], "Annotations/0.xml": b"<annotation/>"})
    assert_says(refusal(source, tmp_path / "packed"), source, "JPEGImages", "unpack it")


def test_of_two_images_of_a_sample_the_first_of_the_rules_is_taken(jpegs: list[bytes], tmp_path: Path) -> None:
    source = write_tar(tmp_path / "x.tar", {"a.png": b"no image", "a.jpg": jpegs[0], "a.cls": b"0"})
    assert pack(source, tmp_path / "packed") == (1, [])


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_tar_of_10_000_members_is_planned_in_bounded_memory(jpegs: list[bytes], tmp_path: Path) -> None:
    source = write_tar(tmp_path / "x.tar", {f"{n // 2:06d}.{'cls' if n % 2 else 'jpg'}": b"1" for n in range(10_000)})
    tracemalloc.start()
    try:
        found = WebDatasetSource.load(str(source), Columns())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.images) == 5_000
    assert peak < 10e6


# Damaged files among many


def first_of(kind: str, source: Path) -> Path:
    """One of the files of train."""
    files = sorted(path for path in source.rglob("*") if "train" in str(path.relative_to(source)) and path.is_file())
    return next(file for file in files if file.suffix not in (".json",))


MANY = ("webdataset", "tfrecord", "array record", "hugging face", "save_to_disk")


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"no such file" * 50], ids=["empty", "other"])
@pytest.mark.parametrize("kind", MANY)
def test_a_damaged_file_among_many_is_listed_and_the_others_are_packed(
    folder: Path, tmp_path: Path, kind: str, damage: Callable[[bytes], bytes]
) -> None:
    source = WRITERS[kind][0](folder, tmp_path, 3)
    broken = first_of(kind, source)
    broken.write_bytes(damage(broken.read_bytes()))
    packed, rejected = pack(source, tmp_path / "packed")
    whole = len(photos_of(folder))
    assert packed == (whole - 8 if kind in ("hugging face", "save_to_disk") else whole - 3)
    assert [name for name, _ in rejected] == [str(broken.relative_to(source))]
    assert not rejected[0][1].startswith(("row", str(source)))


@pytest.mark.parametrize("kind", MANY)
def test_where_all_files_are_damaged_one_line_says_so(folder: Path, tmp_path: Path, kind: str) -> None:
    source = WRITERS[kind][0](folder, tmp_path, 100)
    files = [path for path in source.rglob("*") if path.is_file() and path.suffix != ".json"]
    for file in files:
        file.write_bytes(b"no such file" * 50)
    assert f"{source}" in (message := refusal(source, tmp_path / "packed"))
    assert sum(str(file) in message for file in files) == 1


def test_a_record_whose_length_looks_like_gzip_is_none(jpegs: list[bytes], tmp_path: Path) -> None:
    bare = len(example(b"", 0))
    record = example(jpegs[0].ljust(0x8B1F - bare - 6, b"\0"), 0)
    record = record if len(record) == 0x8B1F else example(jpegs[0].ljust(0x8B1F - bare - 6 + 0x8B1F - len(record), b"\0"), 0)
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        writer.write(record)
    assert (tmp_path / "x.tfrecord").read_bytes().startswith(b"\x1f\x8b")
    assert pack(tmp_path / "x.tfrecord", tmp_path / "packed", images=kseq.ImageSettings(check=False)) == (1, [])


# Records


def test_a_record_that_is_no_example_is_listed(jpegs: list[bytes], tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for record in (b"\xff no example", example(jpegs[0], 1), b"", example(jpegs[1], 1)):
            writer.write(record)
    reason = "is no tf.train.Example and no image, or is empty"
    assert pack(tmp_path / "x.tfrecord", tmp_path / "packed") == (
        2,
        [("x.tfrecord/0", f"row 1 {reason}"), ("x.tfrecord/2", f"row 3 {reason}")],
    )


def test_a_feature_that_the_first_records_lack_is_found(jpegs: list[bytes], tmp_path: Path) -> None:
    bare = tf.train.Example(
        features=tf.train.Features(feature={"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[jpegs[0]]))})
    )
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        writer.write(bare.SerializeToString())
        writer.write(example(jpegs[1], 1))
    options = {"columns": kseq.Columns(image="image/encoded", label="image/class/label")}
    assert pack(tmp_path / "x.tfrecord", tmp_path / "packed", **options) == (
        1,
        [("x.tfrecord/0", "row 1 has no feature 'image/encoded'")],
    )


def write_array_record(path: Path, records: list[bytes], group_size: int) -> Path:
    writer = ArrayRecordWriter(str(path), f"group_size:{group_size}")
    for record in records:
        writer.write(record)
    writer.close()
    return path


@pytest.mark.parametrize(("group_size", "lost"), [(1, {2}), (2, {2, 3}), (8, set(range(6)))])
def test_a_damaged_group_of_array_records_is_listed(
    jpegs: list[bytes], tmp_path: Path, group_size: int, lost: set[int]
) -> None:
    records = [example(jpeg, 1) for jpeg in jpegs[:6]]
    source = write_array_record(tmp_path / "x.array_record", records, group_size)
    data = bytearray(source.read_bytes())
    place = sum(map(len, records[:2])) + len(records[2]) // 2
    data[place] ^= 1
    source.write_bytes(data)
    if len(lost) == 6:
        assert_says(refusal(source, tmp_path / "packed"), source)
        return
    packed, rejected = pack(source, tmp_path / "packed")
    assert packed == 6 - len(lost)
    assert [name for name, _ in rejected] == [f"x.array_record/{number}" for number in sorted(lost)]
    assert "hash mismatch" in rejected[0][1]


def test_array_records_may_be_images_themselves(jpegs: list[bytes], tmp_path: Path) -> None:
    source = write_array_record(tmp_path / "x.arrayrecord", jpegs[:3], 1)
    assert_says(refusal(source, tmp_path / "packed"), source)
    assert pack(source, tmp_path / "packed", columns=kseq.Columns(label="")) == (3, [])
    assert kseq.ShardDataset(tmp_path / "packed").stored_bytes(2) == jpegs[2]


def test_without_the_package_a_line_says_what_to_install(
    jpegs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_array_record(tmp_path / "x.array_record", [example(jpegs[0], 1)], 1)
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    assert_says(refusal(source, tmp_path / "packed", ArgumentError), "'kseq[arrayrecord]'")


# Patterns


@pytest.mark.parametrize(
    ("kind", "pattern", "packed"),
    [
        ("webdataset", "val-{000000..000001}.tar", 6),
        ("tfrecord", "photos-{train,test}.tfrecord-00000-of-*", 6),
        ("array record", "photos-{val,test}.array_record-0000{0..1}-of-99999", 12),
        ("hugging face", "{test,val}-00000-of-00001.parquet", 13),
        ("save_to_disk", "{train,val}/data-*.arrow", 15),
    ],
)
def test_braces_name_several_files(folder: Path, tmp_path: Path, kind: str, pattern: str, packed: int) -> None:
    source = WRITERS[kind][0](folder, tmp_path, 3)
    assert pack(f"{source}/{pattern}", tmp_path / "packed") == (packed, [])
    splits = set(kseq.ShardDataset(tmp_path / "packed").splits)
    assert splits == {entry for entry in ("train", "val", "test") if entry in pattern}


def test_a_file_that_braces_name_and_that_is_missing_is_refused(folder: Path, tmp_path: Path) -> None:
    source = WRITERS["webdataset"][0](folder, tmp_path, 3)
    (source / "val-000001.tar").unlink()
    pattern = f"{source}/val-{{000000..000002}}.tar"
    assert_says(refusal(pattern, tmp_path / "packed"), f"{source}/val-000001.tar")


def test_a_file_may_have_braces_in_its_name(jpegs: list[bytes], tmp_path: Path) -> None:
    for name in ("{a,b}.tar", "{a.tar"):
        source = write_tar(tmp_path / name, labelled(jpegs[:2]))
        assert pack(source, tmp_path / f"packed {name}") == (2, [])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("photos-val-000000.tar", "val"),
        ("mnist-test.tar", "test"),
        ("test-train.tar", "test"),
        ("my-test-train.tar", "train"),
        ("training.tar", "train"),
        ("validation/x.tar", "val"),
    ],
)
def test_a_word_of_a_files_name_is_its_split(jpegs: list[bytes], tmp_path: Path, name: str, split: str) -> None:
    (tmp_path / "tars" / name).parent.mkdir(parents=True)
    write_tar(tmp_path / "tars" / name, labelled(jpegs[:1]))
    pack(tmp_path / "tars", tmp_path / "packed")
    assert kseq.ShardDataset(tmp_path / "packed").splits == {split: 1}


def test_an_archive_beside_class_folders_does_not_make_them_records(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "photos")
    write_tar(tmp_path / "photos" / "backup.tar", {"a.jpg": b""})
    (tmp_path / "photos" / "train" / "list.parquet").write_bytes(b"")
    pack(tmp_path / "photos", tmp_path / "packed")
    pack(folder, tmp_path / "plain")
    assert contents(tmp_path / "packed") == contents(tmp_path / "plain")


def test_hidden_files_beside_archives_are_left_alone(jpegs: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "tars" / ".cache").mkdir(parents=True)
    for name in ("a.tar", ".partial.tar", ".cache/b.tar"):
        write_tar(tmp_path / "tars" / name, labelled(jpegs[:2]))
    assert pack(tmp_path / "tars", tmp_path / "packed") == (2, [])


# Hugging Face's files


def write_labels(path: Path, jpegs: list[bytes], labels: list[int], names: list[str] | None) -> None:
    kind = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
    rows = {"image": [{"bytes": jpeg, "path": None} for jpeg in jpegs], "label": labels}
    features = datasets.Features({"image": datasets.Image(), "label": kind})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))


def test_each_file_names_its_own_class_numbers(jpegs: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    write_labels(tmp_path / "hub" / "a.parquet", jpegs[:2], [0, 1], ["cat", "dog"])
    write_labels(tmp_path / "hub" / "b.parquet", jpegs[2:5], [0, 1, 2], ["dog", "emu", "cat"])
    assert pack(tmp_path / "hub", tmp_path / "packed") == (5, [])
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert dataset.class_names == ("cat", "dog", "emu")
    assert dataset.read(range(5))["label"].tolist() == [0, 1, 1, 2, 0]


def test_numbers_without_names_beside_named_ones_are_refused(jpegs: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    write_labels(tmp_path / "hub" / "a.parquet", jpegs[:2], [0, 1], ["cat", "dog"])
    write_labels(tmp_path / "hub" / "b.parquet", jpegs[2:4], [0, 1], None)
    message = refusal(tmp_path / "hub", tmp_path / "packed")
    assert_says(message, "a.parquet", "b.parquet")


def test_a_file_with_other_columns_is_listed(folder: Path, tmp_path: Path) -> None:
    source = WRITERS["hugging face"][0](folder, tmp_path, 3)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"text": "a"}]), source / "z.parquet")
    assert pack(source, tmp_path / "packed")[1] == [("z.parquet", "has no column 'image', its columns are text")]


def test_what_map_leaves_beside_the_data_is_left_alone(folder: Path, tmp_path: Path) -> None:
    source = WRITERS["save_to_disk"][0](folder, tmp_path, 3)
    part = source / "train"
    shutil.copy(part / "data-00000-of-00001.arrow", part / "cache-0123456789abcdef.arrow")
    assert pack(source, tmp_path / "packed") == (21, [])
    (part / "data-00000-of-00001.arrow").unlink()
    message = refusal(source, tmp_path / "again")
    assert_says(message, "train/state.json", "'data-00000-of-00001.arrow'")


def test_an_image_may_lie_beside_the_file_that_names_it(folder: Path, tmp_path: Path) -> None:
    photo = photos_of(folder)[0].path
    shutil.copy(photo, tmp_path / "here.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    rows = [{"image": {"bytes": None, "path": name}, "label": 1} for name in ("here.jpg", "gone.jpg", "pipe.jpg", "a\0b", None)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    packed, rejected = pack(tmp_path / "x.parquet", tmp_path / "packed")
    assert packed == 1
    reasons = ["cannot be read: No such file or directory", "is not a regular file", *2 * ["has neither bytes nor a path"]]
    assert [reason for _, reason in rejected] == reasons
    assert kseq.ShardDataset(tmp_path / "packed").stored_bytes(0) == photo.read_bytes()


@pytest.mark.parametrize("kind", ["webdataset", "tfrecord", "array record", "hugging face", "zip"])
def test_a_source_that_was_written_anew_is_read_anew(folder: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "first").mkdir()
    source = WRITERS[kind][0](folder, tmp_path / "first", 100)
    pack(source, tmp_path / "before")
    shutil.copytree(folder, tmp_path / "photos")
    one, two = (photo.path for photo in photos_of(tmp_path / "photos")[:2])
    one_bytes, two_bytes = one.read_bytes(), two.read_bytes()
    one.write_bytes(two_bytes)
    two.write_bytes(one_bytes)
    (tmp_path / "second").mkdir()
    fresh = WRITERS[kind][0](tmp_path / "photos", tmp_path / "second", 100)
    for path in [fresh] if fresh.is_file() else fresh.rglob("*"):
        old = source if fresh.is_file() else source / path.relative_to(fresh)
        # A new file, which whoever has the old one open does not see.
        old.unlink()
        old.write_bytes(path.read_bytes())
    pack(source, tmp_path / "after")
    assert contents(tmp_path / "before")["test"][:2] == contents(tmp_path / "after")["test"][1::-1]


# Zips


def zip_with(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_gives_the_bytes_of_its_members(jpegs: list[bytes], tmp_path: Path, method: int) -> None:
    members = {"cat/ünï☃.jpg": jpegs[0], "dog/x/y/b.jpg": jpegs[1], "dog/.hidden.jpg": b"", "__MACOSX/cat/._a.jpg": b""}
    assert pack(zip_with(tmp_path / "x.zip", members, method), tmp_path / "packed") == (2, [])
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert [dataset.source(number) for number in range(2)] == ["cat/ünï☃.jpg", "dog/x/y/b.jpg"]
    assert [dataset.stored_bytes(number) for number in range(2)] == jpegs[:2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "x.zip"]


@pytest.mark.parametrize(
    ("names", "classes", "splits"),
    [
        (("photos/cat/a.jpg", "photos/dog/a.jpg", "photos/README"), ("cat", "dog"), {"train"}),
        (("a/b/train/cat/a.jpg", "a/b/test/dog/a.jpg"), ("cat", "dog"), {"train", "test"}),
        (("train/cat/a.jpg", "train/dog/a.jpg"), ("cat", "dog"), {"train"}),
        (("cat/a.jpg", "cat/b.jpg"), ("cat",), {"train"}),
        (("cat/a.jpg", "cat/old/b.jpg"), ("cat",), {"train"}),
    ],
)
def test_a_folder_around_everything_in_a_zip_is_the_top(
    jpegs: list[bytes], tmp_path: Path, names: tuple[str, ...], classes: tuple[str, ...], splits: set[str]
) -> None:
    source = zip_with(tmp_path / "x.zip", dict(zip(names, jpegs, strict=False)))
    assert pack(source, tmp_path / "packed") == (2, [])
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert dataset.class_names == classes
    assert set(dataset.splits) == splits
    assert {dataset.source(number) for number in range(2)} == set(names[:2])


def test_members_that_cannot_be_packed_are_listed(jpegs: list[bytes], tmp_path: Path) -> None:
    members = {f"cat/{name}.jpg": jpegs[0] for name in ("encrypted", "good", "huge", "method", "wrong")}
    members |= {"../cat/up.jpg": jpegs[0], "cat//empty.jpg": jpegs[0], "/cat/root.jpg": jpegs[0], "cat/wrong.jpg/in.jpg": b""}
    source = zip_with(tmp_path / "x.zip", members, zipfile.ZIP_STORED)
    with zipfile.ZipFile(source, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        link = zipfile.ZipInfo("cat/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "good.jpg")
        file.writestr("cat/good.jpg", jpegs[1])
        spoil = {member.filename: member for member in file.infolist()}
        spoil["cat/encrypted.jpg"].flag_bits |= 1
        spoil["cat/huge.jpg"].file_size = 1 << 40
        spoil["cat/method.jpg"].compress_type = 9
        spoil["cat/wrong.jpg"].CRC ^= 1
        file._didModify = True  # type: ignore[attr-defined]  # so that the list is written as spoilt
    packed, rejected = pack(source, tmp_path / "packed")
    assert packed == 2
    assert kseq.ShardDataset(tmp_path / "packed").stored_bytes(0) == jpegs[1]
    assert kseq.ShardDataset(tmp_path / "packed").source(1) == "cat/root.jpg"
    plain = "has a name with '..', '.' or nothing between slashes, allowed are plain paths"
    assert dict(sorted(rejected)) == {
        "../cat/up.jpg": plain,
        "cat//empty.jpg": plain,
        "cat/encrypted.jpg": "is encrypted",
        "cat/good.jpg (member 2)": "is in the zip again, and the later one counts",
        "cat/huge.jpg": f"is {1 << 40} bytes unpacked, by its header, allowed are {8 * 178956970}",
        "cat/link.jpg": "is a link, links in a zip are not followed",
        "cat/method.jpg": "is compressed by method 9, allowed are 0, 8, 12, 14",
        "cat/wrong.jpg/in.jpg": "lies in 'wrong.jpg', which is a file",
        "cat/wrong.jpg": "cannot be read: Bad CRC-32 for file 'cat/wrong.jpg'",
    }


@pytest.mark.parametrize(
    ("names", "top"),
    [
        (["/cat/0.jpg", "/dog/1.jpg"], ""),
        (["./cat/0.jpg", "./dog/1.jpg"], ""),
        (["ds/", "ds\\cat\\0.jpg", "ds\\dog\\1.jpg"], "ds/"),
    ],
)
def test_names_of_members_begin_at_the_top(jpegs: list[bytes], tmp_path: Path, names: list[str], top: str) -> None:
    assert pack(zip_with(tmp_path / "x.zip", dict(zip(names, [jpegs[0]] * 3, strict=False))), tmp_path / "packed") == (2, [])
    assert list(kseq.ShardDataset(tmp_path / "packed").sources()) == [f"{top}cat/0.jpg", f"{top}dog/1.jpg"]


@pytest.mark.parametrize(("encoding", "word"), [("cp866", "кот"), ("shift_jis", "猫です"), ("cp437", "é")])
def test_names_of_a_code_page_are_read_in_it_if_it_is_said(
    jpegs: list[bytes], tmp_path: Path, encoding: str, word: str
) -> None:
    raw = word.encode(encoding)
    source = zip_with(tmp_path / "x.zip", {f"{'Q' * len(raw)}/0.jpg": jpegs[0], "dog/1.jpg": jpegs[1]})
    source.write_bytes(source.read_bytes().replace(b"Q" * len(raw) + b"/0.jpg", raw + b"/0.jpg"))
    report = kseq.pack(source, tmp_path / "packed", text_encoding=encoding)
    assert (report.class_names, report.notes) == (tuple(sorted(["dog", word])), ())
    report = kseq.pack(source, tmp_path / "plain", workers=0)
    assert raw.decode("cp437") in report.class_names
    assert_says(" ".join(report.notes), source, "437", "text_encoding=")


@pytest.mark.parametrize(
    ("raw", "is_right"), [("犬".encode("shift_jis"), True), ("犬".encode("shift_jis"), False), (b"__", True)]
)
@pytest.mark.parametrize("is_read_by_python", [True, False])
def test_the_name_in_utf_8_beside_one_of_a_code_page_counts(
    jpegs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes, is_right: bool, is_read_by_python: bool
) -> None:
    name = "犬/0.jpg".encode()
    plain = zipfile.ZipFile.infolist

    def infolist(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        """As Python 3.12 and later have it."""
        first, *others = plain(archive)
        first.filename = name.decode()
        archive.NameToInfo[first.filename] = first
        return [first, *others]

    if is_read_by_python and is_right:
        monkeypatch.setattr(zipfile.ZipFile, "infolist", infolist)
    member = zipfile.ZipInfo("QQ/0.jpg")
    body = struct.pack("<BI", 1, zlib.crc32(raw + b"/0.jpg") + (not is_right)) + name
    member.extra = struct.pack("<HH", 0x7075, len(body)) + body
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(member, jpegs[0])
        archive.writestr("dog/1.jpg", jpegs[1])
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes().replace(b"QQ/0.jpg", raw + b"/0.jpg"))
    report = kseq.pack(tmp_path / "x.zip", tmp_path / "packed", workers=0)
    assert (report.num_samples, "犬" in report.class_names, len(report.notes)) == (2, is_right, not is_right)


@pytest.mark.parametrize(
    ("name", "data", "parts"),
    [
        ("x.zip", b"", ("empty",)),
        ("x.zip", b"PK\x03\x04" + bytes(99), ("breaks off",)),
        ("x.zip", b"Rar!\x1a\x07" + bytes(99), ("RAR",)),
        ("x.zip", b"<!DOCTYPE html><html>", ("web page",)),
        ("x.zip", bytes(257) + b"ustar" + bytes(600), (".tar",)),
        ("x.tar", b"PK\x03\x04" + bytes(999), (".zip",)),
        ("x.tar", b"7z\xbc\xaf'\x1c" + bytes(999), ("7-Zip",)),
        ("x", b"PK\x03\x04" + bytes(99), (".zip",)),
        ("x.7z", bytes(9), ("unpack",)),
        ("x.zip.001", bytes(9), ("parts", "unpack")),
        ("x.csv.gz", b"\x1f\x8b", ("unpack",)),
        ("x.xlsx", b"PK\x03\x04", ("CSV",)),
        ("x.feather", b"ARROW1", ("Parquet",)),
        ("x.sqlite", bytes(9), ("database",)),
        ("x.txt", b"image,label", ("source_format='csv'",)),
        ("x.png", b"\x89PNG", ("one image",)),
        ("x.mp4", bytes(9), ("frames",)),
        ("data_batch_1", b"\x80\x02", ("pickle",)),
    ],
)
def test_a_file_that_is_no_source_is_named_for_what_it_is(tmp_path: Path, name: str, data: bytes, parts: Parts) -> None:
    (tmp_path / name).write_bytes(data)
    assert_says(refusal(tmp_path / name, tmp_path / "packed"), tmp_path / name, *parts)


@pytest.mark.parametrize("pattern", ["*.zip", "{train,test}.zip", "t*.csv"])
def test_a_pattern_of_files_that_are_sources_by_themselves_says_so(tmp_path: Path, pattern: str) -> None:
    for name in ("train.zip", "test.zip", "t.csv"):
        (tmp_path / name).write_bytes(b"")
    assert_says(refusal(tmp_path / pattern, tmp_path / "packed"), re.compile("pattern"), re.compile(r"kseq\.append"))


def test_a_folder_or_zip_of_archives_names_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    zip_with(tmp_path / "in/cat.zip", {"0.jpg": b""})
    assert_says(refusal(tmp_path / "in", tmp_path / "packed"), 1, "cat.zip", "unpack")
    assert_says(refusal(zip_with(tmp_path / "x.zip", {"cat.zip": b""}), tmp_path / "packed"), 1, "cat.zip", "unpack")


def test_a_member_that_unpacks_to_more_than_it_says_is_listed(jpegs: list[bytes], tmp_path: Path) -> None:
    source = zip_with(tmp_path / "x.zip", {"cat/a.jpg": jpegs[0], "cat/bomb.png": b"\0" * 50_000_000})
    with zipfile.ZipFile(source, "a") as file:
        file.getinfo("cat/bomb.png").file_size = 1000
        file._didModify = True  # type: ignore[attr-defined]  # so that the list is written as spoilt
    tracemalloc.start()
    try:
        packed, rejected = pack(source, tmp_path / "packed")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert packed == 1
    assert [name for name, _ in rejected] == ["cat/bomb.png"]
    assert peak < 20e6


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[: len(data) // 2], ()),
        (lambda data: b"", ()),
        (lambda data: data.replace(b"PK\1\2", b"PK\1\3"), ()),
    ],
)
def test_a_broken_zip_is_refused_in_one_line(
    folder: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], words: Parts
) -> None:
    source = write_zip(folder, tmp_path, 0)
    source.write_bytes(spoil(source.read_bytes()))
    assert_says(refusal(source, tmp_path / "packed"), *words)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, ()),
        ({"a.jpg": b"", "b.jpg": b""}, (2,)),
        ({"cat/": b""}, ()),
        ({"train/cat/a.jpg": b"", "other/b.jpg": b""}, ("train",)),
    ],
)
def test_a_zip_without_class_folders_is_refused(tmp_path: Path, members: dict[str, bytes], words: Parts) -> None:
    assert_says(refusal(zip_with(tmp_path / "x.zip", members), tmp_path / "packed"), *words)


def test_a_zip_of_encrypted_images_is_refused_at_once(jpegs: list[bytes], tmp_path: Path) -> None:
    source = zip_with(tmp_path / "x.zip", {"cat/a.jpg": jpegs[0], "cat/b.jpg": jpegs[0]})
    with zipfile.ZipFile(source, "a") as file:
        for entry in file.infolist():
            entry.flag_bits |= 1
        file._didModify = True  # type: ignore[attr-defined]  # so that the list is written as spoilt
    assert_says(refusal(source, tmp_path / "packed"), "cat/a.jpg")


def test_columns_do_not_go_with_a_zip(folder: Path, tmp_path: Path) -> None:
    source = write_zip(folder, tmp_path, 0)
    assert_says(refusal(source, tmp_path / "packed", ArgumentError, columns=kseq.Columns(label="cls")), "zip")
    assert open_source(str(source), "zip", Columns(), None, ["dog", "cat"]).class_names == ("dog", "cat")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("cat", "dog"), ("cat", "dog")),
        (("n01440764", "n01443537"), ("n01440764", "n01443537")),
        (("part-00000", "part-00001"), None),
        (("00000", "00001"), None),
        (("train", "val"), None),
    ],
)
def test_tars_that_are_called_like_classes_are_classes(
    jpegs: list[bytes], tmp_path: Path, names: tuple[str, ...], classes: tuple[str, ...] | None
) -> None:
    (tmp_path / "in").mkdir()
    for name in names:
        write_tar(tmp_path / "in" / f"{name}.tar", {"0.jpg": jpegs[0], "1.0.jpg": jpegs[1], "1.1.jpg": jpegs[0]})
    if classes is None:
        assert_says(refusal(tmp_path / "in", tmp_path / "out"), "label=''")
        return
    report = kseq.pack(tmp_path / "in", tmp_path / "out", workers=0)
    assert (report.class_names, report.num_samples) == (classes, 6)
    assert_says(report.notes[0], tmp_path / "in", "label=''")


@pytest.mark.parametrize("names", [("cat.tar",), ("images/0.jpg", "labels/0.txt", "data.yaml")])
def test_a_tar_that_is_packed_from_a_folder_names_the_commands(
    jpegs: list[bytes], tmp_path: Path, names: tuple[str, ...]
) -> None:
    source = write_tar(tmp_path / "x y.tar", dict.fromkeys(names, jpegs[0]))
    message = refusal(source, tmp_path / "out")
    assert_says(message, f"mkdir -p '{tmp_path}/x y' && tar -xf '{source}' -C '{tmp_path}/x y'", f"'{tmp_path}/x y', 'DATASET'")
