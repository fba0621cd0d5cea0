"""Tables of classes by splits: long ones folded, wide ones turned, folds together, with bars."""

from __future__ import annotations

import io
import sys

import pytest

import kseq
from kseq_tools.console.count_table import format_boxes, format_change, format_counts
from kseq_tools.console.text import display_width, format_table


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of 80 characters, as on a terminal."""
    monkeypatch.setattr("kseq_tools.console.count_table.line_length", lambda: 80)


def table_of(class_sizes: list[int], **options: bool | str) -> list[str]:
    names = [f"class {number:03d}" for number in range(len(class_sizes))]
    splits = {"train": 2 * sum(class_sizes), "val": sum(class_sizes)}
    counts = {"train": [2 * size for size in class_sizes], "val": class_sizes}
    return format_counts(splits, names, counts, **options).split("\n")  # type: ignore[arg-type]  # each test gives its own options


def test_three_hundred_classes_are_those_that_have_most_and_least_and_a_line() -> None:
    lines = table_of(list(range(1, 301)), hint="kseq info --classes flowers lists all")
    assert len(lines) == 1 + 8 + 1 + 4 + 1
    assert lines[0].split() == ["class", "train", "val"]
    assert lines[1].split() == ["class", "299", "600", "300"]
    assert lines[9] == "  ... 288 more classes of 15 to 876 (kseq info --classes flowers lists all)"
    assert lines[-2].split() == ["class", "000", "2", "1"]
    assert lines[-1].split() == ["all", "90,300", "45,150"]


def test_every_class_is_shown_where_all_are_asked_for_and_where_they_are_few() -> None:
    assert len(table_of([5] * 300, with_all=True)) == 302
    assert [line.split()[1] for line in table_of([5] * 20)[1:-1]] == [f"{number:03d}" for number in range(20)]


def test_a_bar_is_as_long_as_a_class_is_large(narrow: None) -> None:
    lines = table_of([8, 4, 1, 0], with_bars=True)
    assert [line.count("█") for line in lines] == [0, 24, 12, 3, 0, 0]
    assert lines[-1].split() == ["all", "26", "13"]


def test_bars_are_plain_characters_where_the_output_has_no_others(narrow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    lines = table_of([8, 4, 1, 0], with_bars=True)
    assert [line.count("#") for line in lines] == [0, 24, 12, 3, 0, 0]
    "\n".join(lines).encode("ascii")


def test_the_columns_of_folds_are_pairs(narrow: None) -> None:
    splits = {f"fold{number}-{part}": count for number in range(5) for part, count in (("train", 8), ("val", 2))}
    lines = format_counts(splits, ["a", "b"], {name: [count // 2] * 2 for name, count in splits.items()}).split("\n")
    assert lines == [
        "class  fold0  fold1  fold2  fold3  fold4",
        *(f"{name}        4/1    4/1    4/1    4/1    4/1" for name in "ab"),
        "all      8/2    8/2    8/2    8/2    8/2",
        "in a fold: train/val",
    ]


def test_a_split_that_is_called_like_half_a_fold_is_a_split() -> None:
    assert format_counts({"fold0-train": 3}, [], {}).split("\n") == ["     fold0-train", "all            3"]


def test_what_is_too_wide_for_the_terminal_is_turned_and_says_where_the_rest_is(narrow: None) -> None:
    splits = {f"part-number-{number}": 300 for number in range(12)}
    few = format_counts(splits, ["a", "b"], {name: [100, 200] for name in splits}).split("\n")
    assert few[0].split() == ["split", "a", "b", "all"] and len(few) == 13
    many = [f"a class of a long name, number {number}" for number in range(300)]
    lines = format_counts(splits, many, {name: [1] * 300 for name in splits}, hint="ask").split("\n")
    assert lines[0].split() == ["split", "all"]
    assert lines[-1] == "300 classes, too wide to show (ask)"
    assert max(map(len, lines)) <= 80


def test_a_change_names_what_was_only_where_it_was_and_folds_by_what_changed() -> None:
    names = tuple(f"c{number}" for number in range(40))
    before = kseq.SplitCounts({"train": 400, "old": 3}, names, {"train": [10] * 40, "old": [3] + [0] * 39})
    after = kseq.SplitCounts({"train": 395, "val": 5}, names, {"train": [10] * 39 + [5], "val": [0] * 39 + [5]})
    lines = format_change(before, after).split("\n")
    assert lines[1].split() == ["c39", "10", "->", "5", "5"]
    assert lines[-2].split() == ["all", "400", "->", "395", "5"]
    assert lines[-1] == "no longer there: old (3)"


def test_boxes_are_folded_too() -> None:
    names = tuple(f"thing {number}" for number in range(200))
    boxes = kseq.BoxCounts(names, {"train": 200}, {"train": 7}, {"train": [1] * 200}, {}, {})
    lines = format_boxes(boxes, hint="ask").split("\n")
    assert len(lines) == 1 + 8 + 1 + 4 + 2
    assert lines[9] == "  ... 188 more classes of 1 (ask)"
    assert lines[-1].split() == ["images", "without", "7"]


def test_names_in_other_scripts_keep_the_columns_aligned() -> None:
    lines = format_table([["バラ", "1"], ["rose", "22"], ["e\u0301te\u0301", "3"]]).split("\n")
    assert {display_width(line) for line in lines} == {8}


def test_hostile_class_names_are_escaped_and_cut() -> None:
    lines = format_counts({"train": 1}, ["\x1b[2Jx", "y" * 5000], {"train": [1, 0]}).split("\n")
    assert lines[1].startswith(r"\x1b[2Jx ") and all(len(line) < 60 for line in lines)
