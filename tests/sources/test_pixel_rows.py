"""CSV files of pixels, as Kaggle's collections have them: digits, sign language, FER2013, flat rows of colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, SourceError
from tests.helpers.messages import assert_says, raises, refusal
from tests.sources.test_flat_images import read


def pack(source: Path | str, target: Path, **options: Any) -> kseq.PackReport:
    return kseq.pack(source, target, workers=0, **options)


def pixels(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size), dtype=np.uint8)


def write(path: Path, head: str | None, rows: list[Any]) -> Path:
    """A CSV; a row is a list of cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ([] if head is None else [head]) + [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def names(size: int, first: int = 0) -> list[str]:
    return [f"pixel{number}" for number in range(first, first + size)]


def grid(side: int) -> list[str]:
    return [f"{row}x{column}" for row in range(1, side + 1) for column in range(1, side + 1)]


@pytest.mark.parametrize(
    ("head", "label_first"),
    [
        (["label", *names(64)], True),
        (["label", *names(64, 1)], True),
        ([*names(64), "label"], False),
        (["label", *grid(8)], True),
        ([*map(str, range(64)), "label"], False),
        (["letter", *names(64)], True),
        (None, True),
    ],
)
def test_a_row_of_pixels_is_a_square_image_with_its_label(tmp_path: Path, head: list[str] | None, label_first: bool) -> None:
    values = pixels(4, 64)
    rows = [[label, *row] if label_first else [*row, label] for label, row in zip([2, 10, 0, 2], values, strict=True)]
    source = write(tmp_path / "train.csv", None if head is None else ",".join(head), rows)
    report = pack(source, tmp_path / "packed")
    classes, splits, images, labels = read(tmp_path / "packed")
    assert (classes, splits, labels) == (("0", "2", "10"), {"train": 4}, ["2", "10", "0", "2"])
    np.testing.assert_array_equal(images[..., 0], values.reshape(4, 8, 8))
    assert len(report.notes) == (head is None)


def test_columns_of_pixels_in_another_order_go_by_their_numbers(tmp_path: Path) -> None:
    values, order = pixels(2, 64), sorted(range(64), key=str)
    source = write(
        tmp_path / "t.csv", ",".join(["label", *(f"pixel{column}" for column in order)]), [[1, *row[order]] for row in values]
    )
    pack(source, tmp_path / "packed")
    np.testing.assert_array_equal(read(tmp_path / "packed")[2][..., 0], values.reshape(2, 8, 8))


@pytest.mark.parametrize("head", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_fer_has_its_splits_and_its_numbers_may_be_named(tmp_path: Path, head: str) -> None:
    values = pixels(4, 48 * 48)
    rows = []
    for number, (usage, row) in enumerate(zip(["Training", "Training", "PublicTest", "PrivateTest"], values, strict=True)):
        cells = {"emotion": number, "pixels": " ".join(map(str, row)), "Usage": usage}
        quoted = {**cells, "pixels": f'"{cells["pixels"]}"'} if number else cells
        rows.append([quoted[name.strip()] for name in head.split(",")])
    source = write(tmp_path / "fer2013.csv", head, rows)
    report = pack(source, tmp_path / "packed", class_names=["angry", "disgust", "fear", "happy"])
    classes, splits, images, labels = read(tmp_path / "packed")
    assert (splits, labels) == ({"train": 2, "val": 1, "test": 1}, list(classes))
    np.testing.assert_array_equal(images[..., 0], values.reshape(4, 48, 48))
    assert len(report.notes) == 1


def test_rows_of_three_channels_need_a_shape(tmp_path: Path) -> None:
    values = pixels(3, 48)
    source = write(tmp_path / "c.csv", ",".join([*names(48), "label"]), [[*row, "ship"] for row in values])
    assert_says(refusal(source, tmp_path / "packed"), source, 48, "shape=(4, 4, 3)", "shape=(3, 4, 4)")
    pack(source, tmp_path / "pixels", shape=(4, 4, 3))
    np.testing.assert_array_equal(read(tmp_path / "pixels")[2], values.reshape(3, 4, 4, 3))
    pack(source, tmp_path / "planes", shape=[3, 4, 4])
    np.testing.assert_array_equal(read(tmp_path / "planes")[2], values.reshape(3, 3, 4, 4).transpose(0, 2, 3, 1))
    pack(source, tmp_path / "wide", shape=(6, 8))
    np.testing.assert_array_equal(read(tmp_path / "wide")[2][..., 0], values.reshape(3, 6, 8))
    for shape in ((4, 4), (0, 48), (48,), (2, 24, 1, 1), "ab"):
        with raises(ArgumentError, f"shape={shape!r}"):
            pack(source, tmp_path / "other", shape=shape)
    bare = write(tmp_path / "bare.csv", None, [[7, *row] for row in pixels(2, 40)])
    pack(bare, tmp_path / "told", source_format="pixels", shape=(5, 8))
    assert read(tmp_path / "told")[0] == ("7",)


def test_rows_that_are_no_pixels_are_listed_and_others_packed(tmp_path: Path) -> None:
    good = list(pixels(1, 64)[0])
    rows = [[1, *good], [1, *good[:-1]], [1, 300, *good[1:]], [1, "x", *good[1:]], ["", *good], [1, 0.5, *good[1:]], [0, *good]]
    source = write(tmp_path / "t.csv", ",".join(["label", *names(64)]), rows)
    report = pack(source, tmp_path / "packed")
    assert (report.num_samples, report.num_found) == (2, 7)
    reasons = {file.path.decode(): file.reason for file in report.rejected}
    for name, values in {
        "t.csv/1": (64, 65),
        "t.csv/2": (300,),
        "t.csv/3": ("'x'",),
        "t.csv/4": ("row 5",),
        "t.csv/5": (0.5,),
    }.items():
        assert_says(reasons[name], *values)


def test_a_folder_of_tables_of_pixels_leaves_out_what_has_no_label(tmp_path: Path) -> None:
    head = ",".join(names(64))
    write(tmp_path / "k" / "train" / "sign_train.csv", f"label,{head}", [[3, *row] for row in pixels(3, 64)])
    write(tmp_path / "k" / "sign_test.csv", f"label,{head}", [[4, *row] for row in pixels(2, 64)])
    test = write(tmp_path / "k" / "unlabelled.csv", head, [list(row) for row in pixels(2, 64)])
    write(tmp_path / "k" / "sample_submission.csv", "ImageId,Label", [[1, 0]])
    report = pack(tmp_path / "k", tmp_path / "packed")
    assert (report.splits, len(report.notes)) == ({"train": 3, "test": 2}, 2)
    assert_says(refusal(test, tmp_path / "other"), test, "label=''")
    pack(test, tmp_path / "other", columns=kseq.Columns(label=""))
    assert read(tmp_path / "other")[1] == {"train": 2}


def test_other_columns_of_a_table_of_pixels_may_be_targets(tmp_path: Path) -> None:
    """Kaggle's facial keypoints: thirty numbers, and an image in one cell."""
    values = pixels(2, 96 * 96)
    rows = [[4.5, 7, " ".join(map(str, row))] for row in values]
    source = write(tmp_path / "training.csv", "left_eye_x,left_eye_y,Image", rows)
    pack(source, tmp_path / "packed", columns=kseq.Columns(label="", targets={"x": "left_eye_x", "y": "left_eye_y"}))
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        assert (dataset[0]["x"], dataset[1]["y"], dataset[0]["image"].shape) == (4.5, 7, (96, 96, 3))
    with raises(SourceError, source, re_label()):
        pack(source, tmp_path / "other")


def re_label() -> Any:
    import re

    return re.compile(r"label=")


def test_a_table_of_paths_with_many_numbers_is_none_of_pixels(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    source = write(tmp_path / "t.csv", ",".join(["image", "label", *names(64)]), [["a.png", "cat", *pixels(1, 64)[0]]])
    pack(source, tmp_path / "packed")
    assert read(tmp_path / "packed")[0] == ("cat",)
