"""Splits, classes and their order: the same from folders, zips and tars of the same files."""

from __future__ import annotations

import io
import os
import re
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq.errors import SourceError
from kseq.sources.base import Source
from kseq.sources.class_names import like_names, sort_class_names
from kseq.sources.registry import open_source
from kseq.sources.split_names import folder_split, loose_folder_split
from tests.helpers.messages import assert_says, raises

FORMS = ("folder", "zip", "tar")
Found = tuple[tuple[str, ...], list[tuple[str, int, str | None]]]


def picture(level: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(file, "PNG")
    return file.getvalue()


def write(form: str, path: Path, names: Sequence[str]) -> str:
    """Files of these names as a folder, a zip or a tar; returns its path."""
    if form == "folder":
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(picture())
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = f"{path}.{form}"
    if form == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, picture())
    else:
        add_to_tar(file, [(name, picture()) for name in names])
    return file


def add_to_tar(file: str, members: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(file, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def opened(path: str, columns: kseq.Columns | None = None, class_names: Sequence[str] | None = None) -> Source:
    return open_source(path, None, columns or kseq.Columns(), None, class_names)


def found(source: Source) -> Found:
    """The classes, and the class and split of each sample that is not rejected, by its name without the tar and the suffix."""
    rows = [
        (os.fsdecode(image.path).split(".tar/")[-1].removesuffix(".png"), image.label, image.split)
        for image in source.images
        if image.rejection is None
    ]
    return source.class_names, sorted(rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Training/a/1.png", "Testing/b/2.png"], {"Training/a/1": "train", "Testing/b/2": "test"}),
        (["train2017/a/1.png", "val2017/b/2.png"], {"train2017/a/1": "train", "val2017/b/2": "val"}),
        (["train_set/a/1.png", "dev set/b/2.png"], {"train_set/a/1": "train", "dev set/b/2": "val"}),
        (
            ["seg_train/seg_train/a/1.png", "seg_test/seg_test/b/2.png"],
            {"seg_train/seg_train/a/1": "train", "seg_test/seg_test/b/2": "test"},
        ),
        (
            ["train/images/a/1.png", "val/b/2.png", "val/a/3.png"],
            {"train/images/a/1": "train", "val/a/3": "val", "val/b/2": "val"},
        ),
        (["p/train/a/1.png", "p/val/b/2.png"], {"p/train/a/1": "train", "p/val/b/2": "val"}),
        (["__MACOSX/a/._1.png", "train/a/1.png", "train/b/2.png"], {"train/a/1": "train", "train/b/2": "train"}),
        (["p/a/1.png", "p/b/2.png", "__MACOSX/p/c/3.png"], {"p/a/1": None, "p/b/2": None}),
        (["a/1.png", "b/2.png", "@eaDir/3.png", "a/@eaDir/1.png/M.png", "$RECYCLE.BIN/4.png"], {"a/1": None, "b/2": None}),
        (["a/train/1.png", "a/test/2.png", "b/Train/3.png"], {"a/train/1": "train", "a/test/2": "test", "b/Train/3": "train"}),
        (["a/x/1.png", "a/y/1.png", "b/x/2.png"], {"a/x/1": None, "a/y/1": None, "b/x/2": None}),
        (["bullet train/a/1.png", "b/2.png"], None),
    ],
)
def test_splits_and_classes_are_the_same_from_every_form(
    tmp_path: Path, form: str, names: list[str], expected: dict[str, str | None] | None
) -> None:
    classes, rows = found(opened(write(form, tmp_path / "set", names)))
    if expected is None:
        assert classes == ("b", "bullet train")
        return
    assert classes == ("a", "b")
    assert {name: split for name, _, split in rows} == expected
    assert all(f"/{classes[label]}/" in f"/{name}" for name, label, _ in rows)


@pytest.mark.parametrize("form", FORMS)
def test_a_lone_folder_counts_as_the_top_whatever_lies_beside_it_and_a_note_says_so(tmp_path: Path, form: str) -> None:
    names = ["photos/cat/0.png", "photos/dog/1.png"]
    path = write(form, tmp_path / "set", names)
    if form == "folder":
        (tmp_path / "set/README.txt").write_text("hello")
    elif form == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("LICENSE.txt", "free")
    source = opened(path)
    assert source.class_names == ("cat", "dog")
    assert [note for note in source.notes if note.startswith("photos")]
    assert kseq.pack(path, tmp_path / "packed", workers=0).notes == source.notes


def test_a_lone_folder_that_is_a_given_class_is_a_class(tmp_path: Path) -> None:
    path = write("folder", tmp_path / "set", ["cat/monday/0.png", "cat/friday/0.png"])
    assert opened(path, class_names=["cat"]).class_names == ("cat",)


def test_images_beside_splits_are_listed(tmp_path: Path) -> None:
    path = write("folder", tmp_path / "set", ["train/a/0.png", "lost.png"])
    assert [os.fsdecode(image.path) for image in opened(path).images if image.rejection] == ["lost.png"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["fold_1/cat/0.png", "fold_2/cat/1.png", "fold_1/dog/2.png"], ("fold_1/cat", "fold_1, fold_2")),
        (["train/animals/cat/0.png", "train/tools/saw/1.png"], ("animals/cat",)),
        (["trainA/0.png", "testA/1.png"], ("testA, trainA",)),
        (["cats_train/0.png", "cats_test/1.png"], ("cats_test, cats_train",)),
        (["a/images/0.png", "b/images/1.png"], ()),
        (["a/train/0.png", "a/test/1.png", "b/2.png"], ("test, train",)),
        (["a/train/0.png", "a/extra/1.png", "b/test/2.png"], ("test, train",)),
        (["a/9.png", "a/train/0.png", "a/test/1.png", "b/train/2.png"], ("test, train",)),
        (["test tubes/0.png", "training wheels/1.png", "valve/2.png"], ()),
        (["a/0.png", "a/b/1.png", "c/2.png"], ()),
        (["train/0.png", "bus/1.png"], ()),
    ],
)
def test_class_folders_that_may_be_meant_otherwise_are_said(
    tmp_path: Path, form: str, names: list[str], parts: tuple[str, ...]
) -> None:
    notes = opened(write(form, tmp_path / "set", names)).notes
    assert len(notes) == bool(parts)
    if parts:
        assert_says(notes[0], *parts)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Cat", "cat", "dog"], [("Cat", "cat")]),
        (["cat ", "cat", "dog"], [("cat ", "cat")]),
        (["fire truck", "fire_truck", "Fire-Truck", "a"], [("fire truck", "fire_truck", "Fire-Truck")]),
        (["\uff43at", "cat"], [("\uff43at", "cat")]),
        (["01", "1", "10"], [("01", "1")]),
        (["\u200bcat", "cat"], [("\u200bcat", "cat")]),
        (["1.5", "1.50", "2", "2.0", "+1", "1", "a"], [("1.5", "1.50"), ("2", "2.0"), ("+1", "1")]),
        (["'cat'", "cat", '"dog"', "dog"], [("'cat'", "cat"), ('"dog"', "dog")]),
        (["cat", "cats", "-1", "1", "0.1", "1e1"], []),
        (["A", "B", "a", "b", "cat", "Cat"], [("cat", "Cat")]),
        (["a", " a"], [("a", " a")]),
    ],
)
def test_names_that_differ_in_how_they_are_written_alone_are_told(names: list[str], expected: list[tuple[str, ...]]) -> None:
    assert list(like_names(names)) == expected


def test_classes_that_differ_in_how_they_are_written_alone_are_said(tmp_path: Path) -> None:
    path = write("folder", tmp_path / "set", ["train/Cat/0.png", "val/cat/1.png", "train/dog/2.png"])
    assert_says(" ".join(kseq.pack(path, tmp_path / "packed", workers=0).notes), "'Cat' and 'cat'", re.compile("relabel"))


@pytest.mark.parametrize("form", FORMS)
def test_whole_numbers_are_in_the_order_of_numbers(tmp_path: Path, form: str) -> None:
    source = opened(write(form, tmp_path / "set", [f"{number}/a.png" for number in range(12)]))
    assert source.class_names == tuple(map(str, range(12)))


def test_the_order_of_classes_does_not_depend_on_chance() -> None:
    assert sort_class_names({"01", "1", "10", "2"}) == ["01", "1", "2", "10"]
    assert sort_class_names({"10", "2", "x"}) == ["10", "2", "x"]
    assert sort_class_names({"1.000e+00", "1.000e+01", "2.000e+00"}) == ["1.000e+00", "2.000e+00", "1.000e+01"]
    assert sort_class_names({"1.0", "10.0", "2.0"}) == ["1.0", "2.0", "10.0"]


@pytest.mark.parametrize("form", FORMS)
def test_names_that_differ_in_their_form_of_unicode_are_one_class(tmp_path: Path, form: str) -> None:
    composed, split = "caf\u00e9", "cafe\u0301"
    source = opened(write(form, tmp_path / "set", [f"{composed}/a.png", f"{split}/b.png", "x/c.png"]))
    assert source.class_names == (composed, "x")
    assert sorted(os.fsencode(image.path).count(b"\xcc\x81") for image in source.images) == [0, 0, 1]


def test_labels_of_a_table_that_differ_in_their_form_are_one_class(tmp_path: Path) -> None:
    write("folder", tmp_path, ["a.png", "b.png"])
    (tmp_path / "t.csv").write_text("image,label\na.png,caf\u00e9\nb.png,cafe\u0301\n")
    assert opened(str(tmp_path / "t.csv")).class_names == ("caf\u00e9",)
    assert opened(str(tmp_path / "t.csv"), class_names=["cafe\u0301"]).images.labels.tolist() == [0, 0]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_of_classes_that_are_not_asked_for_are_listed(tmp_path: Path, form: str) -> None:
    source = opened(write(form, tmp_path / "set", ["a/1.png", "b/2.png", "c/3.png"]), class_names=["c", "a"])
    assert found(source) == (("c", "a"), [("a/1", 1, None), ("c/3", 0, None)])
    assert source.images.is_rejected.sum() == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("names", [["train/a.png", "test/b.png"], ["a.png", "b.png"], ["x/a.png", "y/b.png"]])
def test_photos_without_class_are_packed_with_an_empty_label(tmp_path: Path, form: str, names: list[str]) -> None:
    path = write(form, tmp_path / "set", names)
    kseq.pack(path, tmp_path / "packed", columns=kseq.Columns(label=""), workers=0)
    splits = {name: len(kseq.ShardDataset(tmp_path / "packed", name)) for name in kseq.ShardDataset(tmp_path / "packed").splits}
    expected = {"train": 1, "test": 1} if "train/a.png" in names else {"train": 2}
    assert splits == expected
    assert "label" not in kseq.ShardDataset(tmp_path / "packed")[0]


def test_a_refusal_of_photos_without_class_says_how_to_pack_them(tmp_path: Path) -> None:
    with raises(SourceError, "label", "2 images"):
        opened(write("folder", tmp_path / "set", ["a.png", "b.png"]))


def test_backslashes_and_utf8_names_of_a_zip_are_understood_and_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("caf\u00e9\\1.png", "x\\2.png"):
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            archive.writestr(entry, picture())
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = data.find(mark)
        while position >= 0:
            # As macOS writes it, which does not say that a name is UTF-8.
            data[position + flags + 1] &= 0xF7
            position = data.find(mark, position + 4)
    (tmp_path / "b.zip").write_bytes(data)
    for name in ("a.zip", "b.zip"):
        report = kseq.pack(tmp_path / name, tmp_path / f"{name}-packed", workers=0)
        assert (report.num_samples, report.class_names) == (2, ("caf\u00e9", "x"))


def test_files_of_a_sample_may_lie_anywhere_in_a_tar(tmp_path: Path) -> None:
    members = [("0.png", picture(9)), ("1.png", picture(8)), ("1.cls", b"7"), ("0.cls", b"5")]
    add_to_tar(str(tmp_path / "a.tar"), members)
    assert found(opened(str(tmp_path / "a.tar"))) == (("5", "7"), [("0", 0, None), ("1", 1, None)])


def test_a_key_that_comes_again_with_the_same_files_is_another_sample(tmp_path: Path) -> None:
    members = [("a/0.png", picture(9)), ("b/1.png", picture(8)), ("a/0.png", picture(7))]
    add_to_tar(str(tmp_path / "a.tar"), members)
    assert len(found(opened(str(tmp_path / "a.tar")))[1]) == 3


def test_a_file_with_holes_is_rejected_alone(tmp_path: Path) -> None:
    data = picture()
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, headers in (("a/0.png", {}), ("a/1.png", {"GNU.sparse.size": str(1 << 20)}), ("b/2.png", {})):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.pax_headers = headers | ({"GNU.sparse.map": f"0,{len(data)}"} if headers else {})
            tar.addfile(member, io.BytesIO(data))
    source = opened(str(tmp_path / "a.tar"))
    assert source.class_names == ("a", "b")
    assert source.images.is_rejected.tolist() == [False, True, False]


def test_a_class_of_one_image_stays_in_train(tmp_path: Path) -> None:
    names = [f"s{number:02d}/a.png" for number in range(10)] + [f"big/{number}.png" for number in range(10)]
    kseq.pack(write("folder", tmp_path / "set", names), tmp_path / "packed", val=0.3, workers=0)
    labels = [sample["label"] for sample in map(kseq.ShardDataset(tmp_path / "packed", "val").__getitem__, range(3))]
    assert np.unique(labels).tolist() == [0]


def test_names_of_splits() -> None:
    assert [folder_split(name) for name in ("Training Data", "val2017", "Test-Images", "trainer", "train station")] == [
        "train", "val", "test", None, None,
    ]  # fmt: skip
    assert [loose_folder_split(name) for name in ("seg_train", "my val set", "train test", "other")] == [
        "train", "val", None, None,
    ]  # fmt: skip


PARTS = st.sampled_from(["train", "test", "a", "b", "A", "x.png", ".h", "1", "01"])
FILES = st.sampled_from(["a.png", "a.PNG", "b.jpg", "a.b.png", "a.txt", ".hidden.png", "noend"])
TREES = st.lists(st.tuples(st.lists(PARTS, max_size=3), FILES).map(lambda parts: "/".join([*parts[0], parts[1]])), max_size=8)


@settings(max_examples=60, deadline=None)
@given(names=TREES, form=st.sampled_from(FORMS), columns=st.sampled_from([kseq.Columns(), kseq.Columns(label="")]))
def test_every_image_that_lies_there_is_packed_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], form: str, columns: kseq.Columns
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    # A file cannot lie in a file.
    plain = sorted({name for name in names if not any(other.startswith(f"{name}/") for other in names)})
    path = write(form, folder / "set", plain)
    if not os.path.exists(path):
        return
    shown = [name for name in plain if not any(part.startswith(".") for part in name.split("/"))]
    images = [name for name in shown if name.lower().endswith((".png", ".jpg"))]
    try:
        report = kseq.pack(
            path, folder / "packed", columns=columns, source_format=None if form != "tar" else "webdataset", workers=0
        )
    except SourceError:
        return
    assert report.num_found == report.num_samples + len(report.rejected)
    if form != "tar":
        assert report.num_found >= len(images)
        return
    # In a tar, files that differ in their suffix alone are one sample, or one that is rejected.
    assert report.num_found >= len({name.split("/")[-1].split(".")[0] + os.path.dirname(name) for name in images})
