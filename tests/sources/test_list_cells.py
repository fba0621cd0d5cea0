"""Cells of several values: which texts are lists, and which columns of words are several labels a cell."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import kseq
from kseq.sources.list_cells import parse_cell, part_words
from tests.helpers.photos import write_numbered


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[0.5, 1]", [0.5, 1]),
        ("garden| summer|", ["garden", "summer"]),
        ("70 80 82", [70, 80, 82]),
        ("0.5; -1e3;2", [0.5, -1000.0, 2]),
        ("1, 2,\t3", [1, 2, 3]),
        ("1,5", "1,5"),
        ("1,500,000", "1,500,000"),
        ("16", 16),
        ("16 mm", "16 mm"),
        ("2020-01-02", "2020-01-02"),
        ("golden retriever", "golden retriever"),
        ("", None),
        # Without an end, if digits could be parted in several ways.
        ("1234567 " * 20 + "x", "1234567 " * 20 + "x"),
        ("[" + "1234567 " * 20 + "x]", "[" + "1234567 " * 20 + "x]"),
    ],
)
def test_a_text_is_a_list_where_it_can_be_nothing_else(cell: str, expected: object) -> None:
    assert parse_cell(cell) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["clear primary", "clear water", "primary water", "clear primary water"], ["clear", "primary"]),
        (["cat", "dog", "cat, dog"], "cat"),
        (["a;b", "b", "a"], ["a", "b"]),
        (["golden retriever", "tabby cat"], "golden retriever"),
        (["New York, NY", "Boston, MA"], "New York, NY"),
        ([["golden", "retriever"], "golden retriever", "golden", "retriever"], ["golden", "retriever"]),
        ([None, 3, "cat"], None),
    ],
)
def test_words_of_a_column_are_parted_where_they_combine(cells: list[object], expected: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert part_words("tags", cells)[0] == expected


def test_a_list_keeps_a_label_whole_beside_words_that_combine() -> None:
    cells = [["clear sky"], "clear", "sky", "clear sky"]
    assert list(part_words("tags", cells)) == cells


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["16 0", "25", "0"], [("0", "16"), ("25",), ("0",)]),
        (["haze primary", "primary", "haze"], [("haze", "primary"), ("primary",), ("haze",)]),
    ],
)
def test_labels_with_spaces_between_them_are_several_and_a_line_says_so(
    cells: list[str], expected: list[tuple[str, ...]], tmp_path: Path
) -> None:
    write_numbered(tmp_path / "photos", {"": 3})
    lines = [f"photos/{number:05d}.png,{cell}" for number, cell in enumerate(cells)]
    (tmp_path / "table.csv").write_text("\n".join(["image,tags", *lines]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        kseq.pack(tmp_path / "table.csv", tmp_path / "packed", columns=kseq.Columns(targets="tags"), workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    names = dataset.fields["tags"].class_names
    rows = dataset.values("tags")
    assert [tuple(sorted(names[number] for number in row)) for row in rows] == [tuple(sorted(row)) for row in expected]
    assert any("spaces" in str(warning.message) for warning in told) == (not cells[1].isdigit())


def test_numbers_with_spaces_between_them_are_a_vector(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"": 2})
    (tmp_path / "table.csv").write_text("image,place\nphotos/00000.png,0.5 1.5\nphotos/00001.png,2 3\n")
    kseq.pack(tmp_path / "table.csv", tmp_path / "packed", columns=kseq.Columns(targets="place"), workers=0)
    assert np.array_equal(kseq.ShardDataset(tmp_path / "packed").values("place"), [[0.5, 1.5], [2, 3]])
