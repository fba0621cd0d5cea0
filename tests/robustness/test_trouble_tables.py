"""Classes and rows that make trouble: left out by the stated rule, counted in the report and in what `kseq pack` prints."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq_tools.main import main
from tests.helpers.photos import write_numbered
from tests.helpers.tables import TABLE_WRITERS, write_csv, write_jsonl

FILES = [f"photos/a/{number:05d}.png" for number in range(30)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_numbered(tmp_path / "photos", {"a": 30})
    return tmp_path


NAN = math.nan
# What is odd about a row, which columns are used, and the reason; that of a CSV, where it is another: there, NaN is a word.
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str | None]] = {
    "without a label": ({"label": None}, {}, "has no label", None),
    "with an unknown label": ({"label": 7.0}, {}, "has a label that is not among the class names", None),
    "with a path twice": ({"image": FILES[0]}, {}, "names an image again", None),
    "with a path twice, of another class": ({"image": FILES[0], "label": 1.0}, {}, "names an image again", None),
    "without a path": ({"image": None}, {}, "names no image", None),
    "with NaN as its label": ({"label": NAN}, {}, "has no label", None),
    "with NaN as a number": (
        {"age": NAN},
        {"columns": kseq.Columns(targets={"age": "age"})},
        "has no number (age)",
        "has nan, allowed are finite numbers (age)",
    ),
    "with NaN as its weight": (
        {"age": NAN},
        {"columns": kseq.Columns(sample_weight="age")},
        "has no weight (sample_weight)",
        "has weight nan, allowed are finite numbers of 0 or more (sample_weight)",
    ),
    "of a file that is not there": ({"image": "gone.png"}, {}, "cannot be read: No such file or directory", None),
}


@pytest.mark.parametrize("write", TABLE_WRITERS)
@pytest.mark.parametrize("trouble", ROWS)
def test_a_row_that_makes_trouble_is_left_out_and_counted(folder: Path, trouble: str, write: Any) -> None:
    odd, options, reason, in_csv = ROWS[trouble]
    good = [{"image": FILES[number], "label": float(number % 2), "age": number / 2} for number in range(6)]
    names = ["0.0", "1.0", "never"] if write is write_csv else ["0", "1", "never"]
    rows = [*good, {"image": FILES[6], "label": 0.0, "age": 1.0} | odd]
    report = kseq.pack(write(folder / "t", rows), folder / "packed", class_names=names, workers=0, **options)
    expected = in_csv if write is write_csv and in_csv else reason
    assert (report.num_found, report.num_samples, report.reasons) == (7, 6, {expected: 1})
    assert report.empty_class_names == ("never",)
    dataset = kseq.ShardDataset(folder / "packed")
    assert [dataset.source(number) for number in range(6)] == FILES[:6]
    assert [rejection.kind for rejection in dataset.rejected()] == [expected]


def test_a_class_folder_without_an_image_is_a_class_and_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "photos/b").mkdir()
    (folder / "photos/c").mkdir()
    (folder / "photos/c/broken.png").write_bytes(b"")
    assert main(["pack", str(folder / "photos"), str(folder / "packed"), "--val", "0.2", "--workers", "0"]) == 0
    assert "\nclasses without a sample: b, c\n" in capsys.readouterr().out
    dataset = kseq.ShardDataset(folder / "packed")
    assert dataset.class_names == ("a", "b", "c")
    assert set(dataset.read(range(len(dataset)))["label"]) == {0}


def test_many_rows_are_counted_by_their_reasons_before_the_first_ten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [{"image": name, "label": "x"} for name in FILES]
    rows += [{"image": f"{number}.png", "label": "x"} for number in range(20)] + rows[:7] + [{"image": "u", "label": None}]
    assert main(["pack", str(write_csv(folder / "t", rows)), str(folder / "packed"), "--workers", "0"]) == 0
    printed = capsys.readouterr().out.splitlines()
    start = printed.index("28 of 58 files were left out:")
    assert printed[start + 1 : start + 6] == [
        "  20: cannot be read: No such file or directory",
        "  7: names an image again",
        "  1: has no label",
        "such as",
        "  0.png: cannot be read: No such file or directory",
    ]
    assert printed[-1] == f"  ... and 18 more (kseq info --rejected {folder / 'packed'})"


def test_a_reason_quotes_what_no_terminal_takes_on_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"image": name, "label": "x", "weight": value}
        for name, value in zip(FILES, [1, "two\nlines \udcff \ud800"], strict=False)
    ]
    assert (
        main(
            [
                "pack",
                str(write_jsonl(folder / "t", rows)),
                str(folder / "packed"),
                "--sample-weight",
                "weight",
                "--workers",
                "0",
            ]
        )
        == 0
    )
    assert r"00001.png: row 2 has weight two\nlines \udcff \ud800, allowed are" in capsys.readouterr().out
    ((path, reason),) = [(rejection.path, rejection.reason) for rejection in kseq.ShardDataset(folder / "packed").rejected()]
    assert os.fsdecode(path) == FILES[1]
    assert r"two\nlines" in reason


def test_the_same_file_in_two_splits_is_a_leak_and_left_out_of_the_second(folder: Path) -> None:
    rows = [{"image": FILES[0], "label": "x", "part": "train"}, {"image": FILES[0], "label": "x", "part": "test"}]
    report = kseq.pack(write_csv(folder / "t", rows), folder / "packed", columns=kseq.Columns(split="part"), workers=0)
    assert report.splits == {"train": 1}
    assert report.reasons == {"names an image again": 1}


def test_the_values_of_what_is_packed_are_those_of_their_rows(folder: Path) -> None:
    rows = [{"image": name, "label": "x", "age": number + 0.25, "count": number} for number, name in enumerate(FILES)]
    rows[3]["label"] = None
    kseq.pack(
        write_csv(folder / "t", rows),
        folder / "packed",
        columns=kseq.Columns(targets={"age": "age", "count": "count"}),
        workers=0,
    )
    found = kseq.ShardDataset(folder / "packed").read(range(29))
    kept = [number for number in range(30) if number != 3]
    np.testing.assert_array_equal(found["age"], np.array(kept, np.float32) + np.float32(0.25), strict=True)
    np.testing.assert_array_equal(found["count"], np.array(kept, np.int64), strict=True)
