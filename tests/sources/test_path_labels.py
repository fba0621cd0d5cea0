"""Labels that the paths of images say, found by a regular expression."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import ArgumentError, SourceError
from tests.helpers.messages import assert_says, raises
from tests.sources.test_split_tables import labels_of
from tests.sources.test_yolo_layouts import write

CATS_AND_DOGS = {f"train/{name}.{number}.png": None for name in ("cat", "dog") for number in range(3)}
INNER = {f"{outer}/{number}.png": None for number, outer in enumerate(("animal/cat", "animal/dog", "tool/saw"))}


@pytest.mark.parametrize(
    ("files", "pattern", "found"),
    [
        (CATS_AND_DOGS, r"([a-z]+)\.\d+\.png$", {"train": [*3 * ["cat"], *3 * ["dog"]]}),
        (CATS_AND_DOGS, re.compile("(C)AT|dog", re.IGNORECASE), {"train": 3 * ["c"]}),
        (INNER, "([^/]+)/[^/]+$", {"train": ["cat", "dog", "saw"]}),
        ({"a/train_10.png": None, "b/val_9.png": None}, r"_(\d+)", {"train": ["10", "9"]}),
        ({"train/e\u0301.1.png": None, "val/\u00e9.2.png": None}, r"([^/.]+)\.", {"train": ["\u00e9"], "val": ["\u00e9"]}),
    ],
)
def test_the_first_group_is_the_label(
    tmp_path: Path, files: dict[str, None], pattern: Any, found: dict[str, list[str]]
) -> None:
    labels = labels_of(write(tmp_path / "in", files), label_pattern=pattern)
    assert {split: list(of_split.values()) for split, of_split in labels.items() if of_split} == found


def test_whole_numbers_are_classes_in_the_order_of_numbers(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {"a_10.png": None, "a_9.png": None})
    assert kseq.pack(root, tmp_path / "out", label_pattern=r"_(\d+)", workers=0).class_names == ("9", "10")


def test_samples_of_tars_and_zips_have_paths_too(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {f"{name}_{number}.png": None for name in ("cat", "dog") for number in range(3)})
    shutil.make_archive(str(tmp_path / "in"), "zip", root)
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        tar.add(root, ".")
    for name in ("in.tar", "in.zip"):
        report = kseq.pack(tmp_path / name, tmp_path / "out", label_pattern="(cat|dog)_", overwrite=True, workers=0)
        assert (report.class_names, list(report.class_counts["train"])) == (("cat", "dog"), [3, 3])


def test_what_says_no_label_and_what_is_of_no_wanted_class_is_listed(tmp_path: Path) -> None:
    files = {**CATS_AND_DOGS, "train/7.png": None, "train/.png.png": None}
    report = kseq.pack(
        write(tmp_path / "in", files), tmp_path / "out", label_pattern=r"([a-z]+)\.\d", class_names=["dog", "bird"], workers=0
    )
    assert report.class_names == ("dog", "bird")
    assert list(report.class_counts["train"]) == [3, 0]
    reasons = {rejected.path: rejected.reason for rejected in report.rejected}
    assert len(reasons) == 4
    assert_says(reasons[b"train/7.png"], "label_pattern", "no label")
    assert_says(reasons[b"train/cat.0.png"], "cat", "class names")


def test_appended_images_are_labelled_by_their_paths(tmp_path: Path) -> None:
    root = write(tmp_path / "in", CATS_AND_DOGS)
    kseq.pack(root, tmp_path / "out", label_pattern=r"(cat|dog)\.", workers=0)
    more = write(tmp_path / "more", {"x/dog.png": None, "y/cat.png": None})
    kseq.append(tmp_path / "out", more, label_pattern=r"(cat|dog)\.", again=True, workers=0)
    with kseq.ShardDataset(tmp_path / "out") as dataset:
        assert [int(dataset[row]["label"]) for row in range(6, 8)] == [1, 0]


def test_an_expression_beside_annotations_is_refused_with_the_way_out(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {**CATS_AND_DOGS, "train.txt": "".join(f"{name} 3\n" for name in CATS_AND_DOGS)})
    with raises(ArgumentError, root, "label_pattern", "found lists", "source_format='folder'"):
        kseq.pack(root, tmp_path / "out", label_pattern=r"(cat|dog)\.", workers=0)
    report = kseq.pack(root, tmp_path / "out", label_pattern=r"(cat|dog)\.", source_format="folder", workers=0)
    assert report.class_names == ("cat", "dog")


@pytest.mark.parametrize("pattern", ["no group", "(", 3, b"(a)"])
def test_what_is_no_expression_with_a_group_is_refused(tmp_path: Path, pattern: Any) -> None:
    with raises(ArgumentError, "label_pattern"):
        kseq.pack(write(tmp_path / "in", CATS_AND_DOGS), tmp_path / "out", label_pattern=pattern, workers=0)


def test_a_column_of_labels_excludes_an_expression(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\na.png,cat\n")
    with raises(ArgumentError, "label_pattern", "label"):
        kseq.pack(tmp_path / "t.csv", tmp_path / "out", columns=kseq.Columns(label="label"), label_pattern="(a)", workers=0)
    with raises(ArgumentError):
        kseq.pack([{"image": b"", "label": 0}], tmp_path / "out", label_pattern="(a)", workers=0)


def test_an_expression_that_fits_no_image_is_refused_with_a_path(tmp_path: Path) -> None:
    with raises(SourceError, tmp_path / "in", "label_pattern", "train/cat.0.png"):
        kseq.pack(write(tmp_path / "in", CATS_AND_DOGS), tmp_path / "out", label_pattern="(bird)", workers=0)


@pytest.mark.parametrize(
    "names",
    [
        [f"train/{name}.{number}.png" for name in ("cat", "dog") for number in range(3)],
        [*(f"train/{name}.{number}.png" for name in ("cat", "dog") for number in range(3)), "test1/1.png", "test1/2.png"],
        [f"{name}_{number}.png" for name in ("great_dane", "pug") for number in range(12)],
        [f"{name} ({number}).png" for name in ("a", "b") for number in range(4)],
        [f"{name}-{word}.png" for name in ("a", "b") for word in ("on", "under", "beside")],
    ],
)
def test_an_expression_is_proposed_where_names_say_classes_and_it_works(tmp_path: Path, names: list[str]) -> None:
    root = write(tmp_path / "in", dict.fromkeys(names))
    with pytest.raises(SourceError) as refused:
        kseq.pack(root, tmp_path / "out", workers=0)
    proposed = re.search(r"label_pattern='(.*?)' takes the classes that their names seem to say \((.*?)\)", str(refused.value))
    assert proposed is not None, refused.value
    report = kseq.pack(root, tmp_path / "out", label_pattern=proposed[1].replace("\\\\", "\\"), workers=0)
    assert ", ".join(report.class_names) == proposed[2]


@pytest.mark.parametrize("names", [[f"IMG_{number}.png" for number in range(20)], [f"{number}.png" for number in range(20)]])
def test_names_that_say_no_classes_propose_no_expression(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(SourceError) as refused:
        kseq.pack(write(tmp_path / "in", dict.fromkeys(names)), tmp_path / "out", workers=0)
    assert "label_pattern" not in str(refused.value)
