"""Lists of paths and labels in text files: labels, splits and texts as the tools that write them mean it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import SourceError
from kseq.sources.registry import choose_format
from tests.helpers.messages import assert_says, raises
from tests.sources.test_split_tables import labels_of
from tests.sources.test_yolo_layouts import write

PADDLE = {
    **{f"jpg/image_{number}.png": None for number in range(5)},
    "train_list.txt": "jpg/image_0.png\t0\njpg/image_1.png\t1\njpg/image_2.png\t0\n",
    "val_list.txt": "jpg/image_3.png\t1\njpg/image_4.png\t0\n",
    "label_list.txt": "0 pink rose\n1 iris\n",
}


def numbers(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


@pytest.mark.parametrize(
    ("files", "found", "class_names"),
    [
        pytest.param(
            PADDLE,
            {
                "train": {"jpg/image_0.png": "pink rose", "jpg/image_1.png": "iris", "jpg/image_2.png": "pink rose"},
                "val": {"jpg/image_3.png": "iris", "jpg/image_4.png": "pink rose"},
            },
            ("pink rose", "iris"),
            id="PaddleClas",
        ),
        pytest.param(
            {
                **numbers("train/n02/a.png", "train/n01/b.png", "val/n02/c.png"),
                "meta/train.txt": "n02/a.png 0\nn01/b.png 1\n",
                "meta/val.txt": "n02/c.png 0\n",
            },
            {"train": {"train/n02/a.png": "n02", "train/n01/b.png": "n01"}, "val": {"val/n02/c.png": "n02"}},
            ("n02", "n01"),
            id="MMPretrain",
        ),
        pytest.param(
            {
                **numbers("dog/a.png", "cat/b.png", "cat/c.png"),
                "pets_train.lst": "0\t0.000000\tdog/a.png\n9\t1.000000\tcat/b.png\n",
                "pets_val.lst": "4\t1.000000\tcat/c.png\n",
            },
            {"train": {"dog/a.png": "dog", "cat/b.png": "cat"}, "val": {"cat/c.png": "cat"}},
            ("dog", "cat"),
            id="MXNet",
        ),
        pytest.param(
            {
                **numbers("imgs/a b.png", "imgs/c.png"),
                "all.txt": "# by hand\n\nimgs/a b.png 10\n/imgs/c.png 2\n",
            },
            {"train": {"imgs/a b.png": "10", "imgs/c.png": "2"}},
            ("2", "10"),
            id="Caffe, with a space in a path, and a slash before one",
        ),
        pytest.param(
            {
                **numbers("i/a.png", "i/b.png", "i/c.png", "i/d.png"),
                "labels.txt": "a.png, good one\nb.png, bad\nc.png, bad\nd.png, good one\n",
            },
            {"train": {"i/a.png": "good one", "i/b.png": "bad", "i/c.png": "bad", "i/d.png": "good one"}},
            ("bad", "good one"),
            id="words, and paths in the folder of the images",
        ),
        pytest.param(
            {**numbers("x/a.png", "x/b.png"), "train.txt": "x/a.png 0\nx/b.png 1\n", "classes.txt": "cat\ncat\n"},
            {"train": {"x/a.png": "0", "x/b.png": "1"}},
            ("0", "1"),
            id="names of classes that are not one for each",
        ),
        pytest.param(
            {
                **numbers("x/a.png", "x/b.png"),
                "all.txt": "x/a.png 0\nx/b.png 1\n",
                "train.txt": "x/a.png 0\n",
                "test.txt": "x/b.png 1\n",
                "classes.txt": "dog\ncat\n",
            },
            {"train": {"x/a.png": "dog"}, "test": {"x/b.png": "cat"}},
            ("dog", "cat"),
            id="a list of all images beside those of the splits",
        ),
        *(
            pytest.param(
                {
                    **numbers("x/a.png", "x/b.png", "x/c.png"),
                    "train.txt": "x/a.png 1\nx/b.png 3\n",
                    "val.txt": "x/c.png 02\n",
                    "classes.txt": names,
                },
                {"train": {"x/a.png": "cat", "x/b.png": "ant"}, "val": {"x/c.png": "dog"}},
                ("cat", "dog", "ant"),
                id=f"labels from 1 on, {how}",
            )
            for names, how in (("cat\ndog\nant\n", "names in their order"), ("1 cat\n3 ant\n2 dog\n", "and names too"))
        ),
        pytest.param(
            {
                **numbers("x/a.png", "x/b.png"),
                "train.txt": "x/a.png 0\nx/b.png 2\n",
                "classes.txt": "1 cat\n2 dog\n",
            },
            {"train": {"x/a.png": "0", "x/b.png": "2"}},
            ("0", "2"),
            id="names of other numbers",
        ),
        pytest.param(
            {
                **numbers("pics/x/a b.png", "pics/x/c.png"),
                "train.txt": 'image label\r\n"x\\a b.png" 1\r\nx\\c.png 0\r\n',
            },
            {"train": {"pics/x/a b.png": "1", "pics/x/c.png": "0"}},
            ("0", "1"),
            id="of Windows, with a quoted path, and names of columns",
        ),
        pytest.param(
            {**numbers("x/0.png"), "all.txt": "".join(f"x/{row}.png w{row * 7 % 250}\n" for row in range(1250))},
            {"train": {"x/0.png": "w0"}},
            tuple(f"w{word}" for word in sorted(range(250), key=str)),
            id="more words than first lines, each of them used five times",
        ),
    ],
)
def test_lists_give_the_labels_and_splits(
    tmp_path: Path, files: dict[str, str | None], found: dict[str, dict[str, str]], class_names: tuple[str, ...]
) -> None:
    root = write(tmp_path / "in", files)
    assert choose_format(str(root), None).name == "lists"
    assert {split: labels for split, labels in labels_of(root).items() if labels} == found
    with kseq.ShardDataset(tmp_path / "out") as dataset:
        assert tuple(dataset.class_names) == class_names


def test_a_zip_of_lists_is_packed_as_its_folder_is(tmp_path: Path) -> None:
    root = write(tmp_path / "in", PADDLE)
    shutil.make_archive(str(tmp_path / "in"), "zip", tmp_path, "in")
    expected = labels_of(root)
    found = labels_of(tmp_path / "in.zip")
    assert {split: list(labels.values()) for split, labels in found.items()} == {
        split: list(labels.values()) for split, labels in expected.items()
    }


@pytest.mark.parametrize(("name", "count"), [("train_list.txt", 3), ("val_list.txt", 2)])
def test_one_list_is_packed_by_its_name(tmp_path: Path, name: str, count: int) -> None:
    root = write(tmp_path / "in", PADDLE)
    report = kseq.pack(root / name, tmp_path / "out", workers=0)
    assert (report.num_samples, report.class_names) == (count, ("pink rose", "iris"))


def test_the_caller_says_where_the_images_are_and_what_the_numbers_mean(tmp_path: Path) -> None:
    root = write(tmp_path / "in", PADDLE)
    (root / "train_list.txt").rename(tmp_path / "list.txt")
    report = kseq.pack(tmp_path / "list.txt", tmp_path / "out", root=root, class_names=["rose", "lily", "rest"], workers=0)
    assert (report.class_names, list(report.class_counts["train"])) == (("rose", "lily", "rest"), [2, 1, 0])
    (tmp_path / "list.txt").write_text("jpg/image_0.png 1\njpg/image_1.png 2\n")
    report = kseq.pack(tmp_path / "list.txt", tmp_path / "out2", root=root, class_names=["rose", "lily"], workers=0)
    assert list(report.class_counts["train"]) == [1, 1]
    assert_says(" ".join(report.notes), "from 1 on")


@pytest.mark.parametrize(
    "text",
    [
        'word_1.png, "Hello, world"\nword_2.png, "5 o\'clock"\nword_3.png, "say \\"no\\""\n',
        'word_1.png\tHello, world\nword_2.png\t5 o\'clock\nword_3.png\tsay "no"\n',
        'word_1.png Hello, world\nword_2.png 5 o\'clock\nword_3.png say "no"\n',
    ],
)
def test_what_is_no_label_is_a_text(tmp_path: Path, text: str) -> None:
    files = {**numbers("words/word_1.png", "words/word_2.png", "words/word_3.png"), "gt.txt": text}
    report = kseq.pack(write(tmp_path / "in", files), tmp_path / "out", workers=0)
    assert_says(" ".join(report.notes), "texts", "gt.txt")
    with kseq.ShardDataset(tmp_path / "out") as dataset:
        assert [dataset[row]["text"] for row in range(3)] == ["Hello, world", "5 o'clock", 'say "no"']


def test_numbers_with_decimals_are_a_target(tmp_path: Path) -> None:
    files = {**numbers("x/a.png", "x/b.png"), "train.txt": "x/a.png 2.75\nx/b.png 3\n"}
    report = kseq.pack(write(tmp_path / "in", files), tmp_path / "out", workers=0)
    assert_says(" ".join(report.notes), "numbers", "train.txt")
    with kseq.ShardDataset(tmp_path / "out") as dataset:
        assert [float(dataset[row]["value"]) for row in range(2)] == [2.75, 3.0]


def test_two_paths_on_a_line_are_an_image_and_its_mask(tmp_path: Path) -> None:
    lists = {"train.txt": "photos/a.png masks/a.png\nphotos/b.png masks/gone.png\n", "val.txt": "photos/c.png masks/c.png\n"}
    root = write(tmp_path / "in", {**numbers(*(f"photos/{name}.png" for name in "abc")), **lists})
    (root / "masks").mkdir()
    for number, name in enumerate("ac"):
        Image.fromarray(np.full((100, 100), number + 1, np.uint8)).save(root / "masks" / f"{name}.png")
    report = kseq.pack(root, tmp_path / "out", workers=0)
    (told,) = report.notes
    assert_says(told, "masks and splits", "train.txt", "val.txt")
    assert [rejected.path for rejected in report.rejected] == [b"photos/b.png"]
    with kseq.ShardDataset(tmp_path / "out") as dataset:
        assert dataset.splits == {"train": 1, "val": 1}
        assert {dataset.source(row): np.unique(dataset[row]["mask"]).tolist() for row in range(2)} == {
            "photos/a.png": [1],
            "photos/c.png": [2],
        }


def test_a_line_that_makes_no_sense_is_listed_and_what_no_list_names_is_counted(tmp_path: Path) -> None:
    lines = [f"x/{name}.png 1" for name in "abcde"]
    files = {
        **numbers(*(f"x/{name}.png" for name in "abcdefg")),
        "train.txt": "\n".join([*lines, "x/f.png", "x/gone.png 2", "x/a.png 1"]),
    }
    report = kseq.pack(write(tmp_path / "in", files), tmp_path / "out", workers=0)
    assert report.num_samples == 5
    assert_says(" ".join(report.notes), tmp_path / "in", 2, "none of its tables or lists")
    rejected = {rejected.path: rejected.reason for rejected in report.rejected}
    assert list(rejected) == [b"(row 6)", b"x/gone.png", b"x/a.png"]
    assert_says(rejected[b"(row 6)"], "line 6 of train.txt", "x/f.png")


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("a list of paths and labels", "elsewhere/a.png 0\n"),
        ("a list of paths and texts", "elsewhere/a.png the text\n"),
        ("a list of paths and numbers", "x/a.png 0 1 1\n"),
        ("a list of several images a line", "x/a.png x/a.png 1\n"),
    ],
)
def test_a_list_that_one_cannot_pack_is_named_with_the_way_out(tmp_path: Path, tool: str, text: str) -> None:
    root = write(tmp_path / "in", {"images/x/a.png": None, "train.txt": text})
    with raises(SourceError, root, tool, "train.txt", "kseq.pack("):
        kseq.pack(root, tmp_path / "out", workers=0)


def test_a_list_of_some_images_of_classes_makes_no_collection_of_them(tmp_path: Path) -> None:
    files = {**numbers(*(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)))}
    root = write(tmp_path / "in", {**files, "hard.txt": "cat/0.png 0\ndog/0.png 1\n"})
    with raises(SourceError, root, "a list of paths and labels", "hard.txt", "source_format='folder'"):
        kseq.pack(root, tmp_path / "out", workers=0)
    (root / "hard.txt").write_text("".join(f"{name} 7\n" for name in files if name != "dog/2.png"))
    report = kseq.pack(root, tmp_path / "out", workers=0)
    assert (report.num_samples, report.class_names) == (5, ("7",))
    assert_says(" ".join(report.notes), "hard.txt", "source_format='folder'")


def test_lists_of_which_two_may_be_meant_are_not_taken_for_either(tmp_path: Path) -> None:
    files = {**numbers("x/a.png", "x/b.png"), "train.txt": "x/a.png 0\n", "train_2.txt": "x/b.png 0\n"}
    with raises(SourceError, tmp_path / "in", "a list of paths and labels", "kseq.pack("):
        kseq.pack(write(tmp_path / "in", files), tmp_path / "out", workers=0)
    with raises(SourceError, tmp_path / "in", "train.txt"):
        kseq.pack(tmp_path / "in", tmp_path / "out", source_format="lists", workers=0)


@pytest.mark.parametrize("before", ["", "top", "x\\", "./x/"])
def test_an_image_is_named_in_whatever_way_its_path_is_written(tmp_path: Path, before: str) -> None:
    root = write(tmp_path / "in", numbers("x/a b.png", "x/c.png"))
    before = f"{root}/x/" if before == "top" else before
    (root / "train.txt").write_text(f"{before}a b.png 0\n{before}c.png 1\n")
    report = kseq.pack(root, tmp_path / "out", workers=0)
    assert (report.num_samples, report.class_names, len(report.notes)) == (2, ("0", "1"), 1)


def test_a_text_file_that_is_no_list_is_no_source(tmp_path: Path) -> None:
    for text in ("", "a.png\n", "a.png 1 2 3 4 0\n", 'a.png\t[{"points": []}]\n', "\x00\x00"):
        (tmp_path / "list.txt").write_text(text)
        with raises(SourceError, tmp_path / "list.txt"):
            kseq.pack(tmp_path / "list.txt", tmp_path / "out", workers=0)
