"""Folders of images: which files are found, and what their places say."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import kseq
from kseq.errors import SourceError
from kseq.sources.folder import FolderSource
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import write_numbered


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))
    return root


def scanned(root: Path) -> list[tuple[str, int, str | None]]:
    return [(os.fsdecode(image.path), image.label, image.split) for image in FolderSource.scan(str(root)).images]


def test_classes_are_folders_sorted_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "rose/b.jpg", "rose/a.jpg", "daisy/z.png")
    assert FolderSource.scan(str(tmp_path)).class_names == ("daisy", "rose")
    assert scanned(tmp_path) == [("daisy/z.png", 0, None), ("rose/a.jpg", 1, None), ("rose/b.jpg", 1, None)]


def test_images_may_lie_at_any_depth_of_their_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1/2/3/deep.jpg", "a/top.jpg")
    assert scanned(tmp_path) == [("a/1/2/3/deep.jpg", 0, None), ("a/top.jpg", 0, None)]


@pytest.mark.parametrize(
    ("folder", "split"), [("Train", "train"), ("VAL", "val"), ("validation", "val"), ("valid", "val"), ("tEst", "test")]
)
def test_folders_of_these_names_are_splits(tmp_path: Path, folder: str, split: str) -> None:
    touch(tmp_path, f"{folder}/cat/1.jpg", f"{folder}/dog/2.jpg")
    assert scanned(tmp_path) == [(f"{folder}/cat/1.jpg", 0, split), (f"{folder}/dog/2.jpg", 1, split)]


def test_a_class_that_one_split_lacks_keeps_its_number(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "test/c/2.jpg")
    assert scanned(tmp_path)[0] == ("test/c/2.jpg", 2, "test")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "bus/2.jpg")
    assert FolderSource.scan(str(tmp_path)).class_names == ("bus", "train")


def test_hidden_files_and_folders_are_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/.DS_Store", "a/.hidden/2.jpg", ".git/3.jpg")
    assert scanned(tmp_path) == [("a/1.jpg", 0, None)]


def test_images_beside_the_class_folders_are_found_but_have_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "lost.JPG", "README.txt", "LICENSE")
    assert scanned(tmp_path) == [("a/1.jpg", 0, None), ("lost.JPG", -1, None)]


def test_photos_of_other_kinds_are_left_out_by_name_wherever_they_lie(tmp_path: Path) -> None:
    touch(tmp_path, "IMG_1.HEIC", "IMG_2.JPG", "IMG_3.CR2", "a.eps", "list.txt", "more/IMG_4.heic")
    found = FolderSource.scan(str(tmp_path), has_classes=False).images
    assert sorted(os.fsdecode(image.path) for image in found) == [
        "IMG_1.HEIC",
        "IMG_2.JPG",
        "IMG_3.CR2",
        "a.eps",
        "more/IMG_4.heic",
    ]


def test_a_dangling_link_beside_the_class_folders_is_found_as_well(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert scanned(tmp_path) == [("a/1.jpg", 0, None), ("gone.jpg", -1, None)]


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "train/b/2.jpg", "train/b/10.jpg", "train/a/x/1.jpg", "train/a/1.jpg", "test/b/1.jpg")
    found, scandir = [], os.scandir
    for order in (sorted, lambda names, key: sorted(names, key=key, reverse=True)):

        @contextlib.contextmanager
        def ordered(folder: str, order: object = order) -> Iterator[list[os.DirEntry[str]]]:
            with scandir(folder) as entries:
                yield order(entries, key=lambda each: each.name)  # type: ignore[operator]  # one of two built-in functions

        monkeypatch.setattr(os, "scandir", ordered)
        found.append(FolderSource.scan(str(tmp_path)))
    assert found[0] == found[1]


def test_class_names_fix_another_order(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    source = FolderSource.scan(str(tmp_path), ["b", "a"])
    assert [image.label for image in source.images] == [1, 0]


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a", "a"]])
def test_class_names_must_be_those_of_the_folders(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    with raises(SourceError, "a, b"):
        FolderSource.scan(str(tmp_path), names)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], ()),
        (["1.jpg", "2.jpg"], ()),
        (["index.h5", "shard-00000.h5"], ()),
        (["a/.hidden"], ()),
        (["train/a/1.jpg", "extra/2.jpg"], ("train",)),
        (["train/1.jpg", "test/2.jpg"], ()),
        (["val/a/1.jpg", "validation/a/1.jpg"], ()),
    ],
)
def test_refuses_a_folder_in_one_line_that_says_what_was_expected(tmp_path: Path, files: list[str], words: Parts) -> None:
    touch(tmp_path, *files)
    with raises(SourceError, tmp_path, *words):
        FolderSource.scan(str(tmp_path))


def test_refuses_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with raises(SourceError, "file"):
        FolderSource.scan(str(tmp_path / "file"))
    with raises(SourceError, "none"):
        FolderSource.scan(str(tmp_path / "none"))


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"two\nlines.png", b"x" * 251 + b".png", "ünï☃.png".encode()])
def test_names_survive_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    write_numbered(tmp_path / "photos", {"a": 2})
    os.rename(tmp_path / "photos/a/00001.png", os.path.join(os.fsencode(tmp_path / "photos/a"), name))
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert b"a/" + name in [os.fsencode(dataset.source(number)) for number in range(2)]


@pytest.mark.parametrize("name", [b"two\nlines", "ünï☃".encode()])
def test_class_names_survive_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    write_numbered(tmp_path / "photos", {"a": 1, "b": 1})
    os.rename(tmp_path / "photos/b", os.path.join(os.fsencode(tmp_path / "photos"), name))
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    assert os.fsencode(kseq.ShardDataset(tmp_path / "packed").class_names[1]) == name
