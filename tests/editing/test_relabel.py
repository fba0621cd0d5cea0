"""Other labels for the samples of a packed dataset."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kseq
from kseq.editing.columns import read_column, replace_values, select_values
from kseq.errors import KseqError, LockedError, SourceError
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.lock import locked
from kseq_tools.main import main
from tests.helpers.edited import check_undo, class_names_of, labels_of, published_files, write_lines
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.photos import write_numbered

CLASSES = ("a", "b", "c")


def test_samples_that_are_named_get_their_labels_and_others_keep_theirs(packed: Path, tmp_path: Path) -> None:
    before, old = published_files(packed), labels_of(packed)
    file = write_lines(tmp_path / "new.csv", "id,label", "0,b", "99,a", "60,2", "1,a", "40,c")
    report = kseq.relabel(packed, file)
    assert (report.num_named, report.num_changed, report.new_class_names) == (5, 4, ())
    assert report.label_changes == [("a", "b", 1), ("a", "c", 1), ("b", "c", 1), ("c", "a", 1)]
    changed = {0: 1, 99: 0, 60: 2, 1: 0, 40: 2}
    assert labels_of(packed) == [changed.get(number, label) for number, label in enumerate(old)]
    dataset = kseq.ShardDataset(packed)
    assert dataset.read([0, 99, 5])["image"][:, 0, 0, 0].tolist() == [0, 99, 5]
    assert dataset.changes == ("relabel 4 samples by 'new.csv'",)
    with kseq.ShardSequence(packed, "all", batch_size=100) as sequence:
        assert sequence[0][1].tolist() == labels_of(packed)
    check_undo(packed, before)


def test_a_source_names_a_sample_as_well_as_its_id(packed: Path, tmp_path: Path) -> None:
    kseq.relabel(packed, write_lines(tmp_path / "new.jsonl", '{"source": "b/00050.png", "class": "c"}'))
    assert labels_of(packed)[50] == 2
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"path": "b/00051.png", "verdict": 0}, {"path": "b/00052.png", "verdict": 1}]),
        tmp_path / "new.parquet",
    )
    assert kseq.relabel(packed, tmp_path / "new.parquet").label_changes == [("b", "a", 1)]
    assert labels_of(packed)[50:53] == [2, 0, 1]


def test_a_typing_error_is_refused_unless_new_classes_are_asked_for(packed: Path, tmp_path: Path) -> None:
    before = published_files(packed)
    file = write_lines(tmp_path / "new.csv", "id,label", "3,zebra", "4,ab", "5,zebra", "6,a")
    with raises(SourceError, "new.csv", "row 1", "'zebra'", "'a'", "'b'", "'c'", "add_classes=True"):
        kseq.relabel(packed, file)
    assert published_files(packed) == before
    report = kseq.relabel(packed, file, add_classes=True)
    assert report.new_class_names == ("zebra", "ab")
    assert report.label_changes == [("a", "zebra", 2), ("a", "ab", 1)]
    assert kseq.ShardDataset(packed).class_names == (*CLASSES, "zebra", "ab")
    assert labels_of(packed)[3:7] == [3, 4, 3, 0]
    assert [len(kseq.ShardDataset(packed).where(label=name)) for name in ("zebra", "ab", "a")] == [2, 1, 47]
    check_undo(packed, before)


def test_a_class_that_is_called_like_a_number_is_never_taken_for_one(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"10": 2, "1": 2, "x": 2})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    assert kseq.ShardDataset(tmp_path / "packed").class_names == ("1", "10", "x")
    kseq.relabel(tmp_path / "packed", write_lines(tmp_path / "new.csv", "id,label", "5,1"))
    assert labels_of(tmp_path / "packed") == [0, 0, 1, 1, 2, 0]
    with raises(SourceError, "row 1", "'0'"):
        kseq.relabel(tmp_path / "packed", write_lines(tmp_path / "new.csv", "id,label", "5,0"))


def test_nothing_is_published_where_nothing_changes(packed: Path, tmp_path: Path) -> None:
    before = published_files(packed)
    report = kseq.relabel(packed, write_lines(tmp_path / "new.csv", "id,label", "0,a", "99,c"), add_classes=True)
    assert (report.num_named, report.num_changed, report.label_changes) == (2, 0, [])
    assert published_files(packed) == before
    assert not (packed / "index.h5.1").exists()


def test_several_labels_are_changed_as_one_is(objects: Path, tmp_path: Path) -> None:
    before, old = published_files(objects), class_names_of(objects, "topics")
    rows = ["id,topics", "29,weg|garden", "0,", '7,"[""summer"", ""nëw""]"', "1,summer|weg"]
    report = kseq.relabel(objects, write_lines(tmp_path / "new.csv", *rows), field="topics", add_classes=True)
    assert report.label_changes == [("", "summer|nëw", 1), ("garden|summer|weg", "", 1), ("summer|weg", "weg|garden", 1)]
    changed = {29: ["weg", "garden"], 0: [], 7: ["summer", "nëw"]}
    assert class_names_of(objects, "topics") == [changed.get(number, value) for number, value in enumerate(old)]
    dataset = kseq.ShardDataset(objects)
    # Samples have no label: the dataset's classes are those of the first field that has some.
    assert dataset.class_names == dataset.fields["topics"].class_names == ("garden", "summer", "weg", "nëw")
    assert dataset.changes == ("relabel topics, 3 samples by 'new.csv', new classes 'nëw'",)
    with kseq.ShardSequence(objects, "all", batch_size=30, targets="topics") as sequence:
        assert sequence[0][1].sum(axis=1).tolist() == [len(name) for name in class_names_of(objects, "topics")]
    check_undo(objects, before)


def test_labels_of_boxes_stay_as_many(objects: Path, tmp_path: Path) -> None:
    assert (
        kseq.relabel(objects, write_lines(tmp_path / "new.csv", "id,labels", "2,fly|fly", "1,fly"), field="labels").num_changed
        == 2
    )
    assert class_names_of(objects, "labels")[:3] == [[], ["fly"], ["fly", "fly"]]
    with raises(SourceError, "row 1", 1, 2):
        kseq.relabel(objects, write_lines(tmp_path / "new.csv", "id,labels", "2,fly"), field="labels")


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["id,label", "100,a"], {}, ("row 1", "'100'", 0, 99)),
        (["id,label", "1,a", "1,b"], {}, ("row 2", "sample 1", "row 1")),
        (["id,label", "1,a", "2,"], {}, ("row 2",)),
        (["id,label", "1,3"], {}, ("row 1", 3, 0, 2)),
        (["id,label", "1,-1"], {}, ("row 1", -1, 0, 2)),
        (["source,label", "nobody.png,a"], {}, ("row 1", "'nobody.png'")),
        (
            ["id,one,two", "1,a,b"],
            {},
            ("column=", "one", "two"),
        ),
        (["id,label", "1,a"], {"column": "lable"}, (0, "'lable'")),
        (["id,label", "1,a"], {"field": "image"}, ("'image'", "image", "label")),
        (["id,label", "1,a"], {"field": "lable"}, ("'lable'", "label")),
    ],
)
def test_what_cannot_be_relabelled_is_refused_in_one_line(
    packed: Path, tmp_path: Path, lines: list[str], options: dict[str, Any], message: Parts
) -> None:
    before = published_files(packed)
    with raises(KseqError, *message):
        kseq.relabel(packed, write_lines(tmp_path / "new.csv", *lines), **options)
    assert published_files(packed) == before


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.dictionaries(st.integers(0, 99), st.sampled_from(["a", "b", "c", "d"]), min_size=1), max_size=3))
def test_labels_are_those_of_the_last_time_that_a_file_named_the_sample(
    numbered: Path, tmp_path: Path, rounds: list[dict[int, str]]
) -> None:
    shutil.rmtree(tmp_path / "packed", ignore_errors=True)
    packed = Path(shutil.copytree(numbered, tmp_path / "packed"))
    names = [CLASSES[label] for label in labels_of(packed)]
    for new in rounds:
        now = [new.get(number, name) for number, name in enumerate(names)]
        report = kseq.relabel(
            packed,
            write_lines(tmp_path / "new.csv", "id,label", *(f"{number},{name}" for number, name in new.items())),
            add_classes=True,
        )
        wanted = Counter((old, its) for old, its in zip(names, now, strict=True) if old != its)
        assert {(change.before, change.after): change.num_samples for change in report.label_changes} == wanted
        assert [change.num_samples for change in report.label_changes] == sorted(wanted.values(), reverse=True)
        names = now
    dataset = kseq.ShardDataset(packed)
    assert [dataset.class_names[label] for label in labels_of(packed)] == names


@pytest.mark.slow
@settings(max_examples=200)
@given(data=st.data())
def test_other_values_for_some_samples_are_what_a_list_would_hold(data: st.DataObject) -> None:
    lists = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=12))
    news = data.draw(st.dictionaries(st.integers(0, len(lists) - 1), st.lists(st.integers(10, 19), max_size=4)))
    field = Field("topics", "multi_label", False, "<i4", (None,))
    flat = np.array([entry for value in lists for entry in value], "<i4")
    column = {"topics/values": flat, "topics/offsets": np.cumsum([0, *map(len, lists)]).astype("<u8")}
    made = replace_values(column, field, np.array(list(news), np.int64), [np.array(labels, "<i4") for labels in news.values()])
    found = [values.tolist() for values in select_values(made, field, np.arange(len(lists)))]
    assert found == [news.get(number, value) for number, value in enumerate(lists)]


def test_a_column_is_what_the_shards_hold_one_after_the_other(objects: Path) -> None:
    index, dataset = Index.open(str(objects)), kseq.ShardDataset(objects)
    assert index.num_shards > 2
    for name in ("topics", "boxes", "text", "height"):
        rows = select_values(read_column(index, dataset.fields[name]), dataset.fields[name], np.arange(30))
        stored = [dataset.stored_bytes(number, name) for number in range(30)]
        assert [row.tobytes() for row in rows] == stored


def test_two_changes_at_once_are_kept_apart(packed: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "new.csv", "id,label", "1,b")
    changes: list[Callable[[], Any]] = [
        lambda: kseq.relabel(packed, file),
        lambda: kseq.add_field(packed, "x", file),
        lambda: kseq.rename_class(packed, "a", "x"),
    ]
    for make in changes:
        with locked(str(packed)), raises(LockedError, packed, os.getpid()):
            make()


def test_the_commands_say_what_they_did(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "new.csv", "id,label", "0,zebra", "1,zebra", "99,a", "2,a")
    assert main(["relabel", str(packed), str(file)]) == 1
    assert_says(capsys.readouterr().err, file, "row 1", "'zebra'", "--add-classes")
    assert main(["relabel", str(packed), str(file), "--add-classes"]) == 0
    assert capsys.readouterr().out == (
        "from     to  samples\na     zebra        2\nc         a        1\n\nnew class: zebra\n"
        f"{packed}: 3 of 4 samples that the file names had another label\n"
    )
    assert main(["rename-class", str(packed), "zebra", "quagga"]) == 0
    assert capsys.readouterr().out == f"{packed}: class 3, zebra, is quagga now; all 4: a, b, c, quagga\n"
    assert main(["add-field", str(packed), "topics", str(file), "--column", "label", "--default", ""]) == 0
    assert capsys.readouterr().out == (
        f"{packed}: topics (multi_label), new: 4 values, 96 samples with the default\n2 classes: a, zebra\n"
    )
    assert main(["undo", str(packed)]) == 0
    assert main(["info", str(packed)]) == 0
    shown = capsys.readouterr().out
    assert "quagga" in shown
    assert "topics:" not in shown
