"""Samples that are taken out of a packed dataset: by id, condition, source or file; the listing to find them in."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseq
from kseq.errors import ArgumentError, KseqError, OutOfRangeError
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq.storage.index_writer import write_index
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import write_numbered


@pytest.fixture
def with_fields(packed: Path) -> Path:
    """The same, with numbers, vectors, text and several labels for each sample."""
    index = Index.open(str(packed))
    texts = [b"a, b" if number == 3 else b"night" if number < 10 else b"day" for number in range(100)]
    fields = (
        Field("height", "numbers", False, "<f4", ()),
        Field("place", "numbers", False, "<i8", (2,)),
        Field("when", "text", False, "|u1", (None,)),
        Field("topics", "multi_label", False, "<i4", (None,), ("garden", "7", "a, b")),
    )
    columns = {
        "height": (np.arange(100) / 10).astype("<f4"),
        "place": np.stack([np.arange(100), np.full(100, -1)], 1).astype("<i8"),
        "when/values": np.frombuffer(b"".join(texts), np.uint8),
        "when/offsets": np.cumsum([0, *map(len, texts)]).astype("<u8"),
        "topics/values": np.array([0, 1, 1, 2], "<i4"),
        "topics/offsets": np.array([0, 2, 3, 4, *([4] * 97)], "<u8"),
    }
    write_index(str(packed), index.contents(fields=(*index.fields, *fields), columns=columns))
    return packed


def dropped(path: Path) -> list[int]:
    return Index.open(str(path)).dropped.tolist()


@pytest.mark.slow
@settings(max_examples=15)
@given(first=st.lists(st.integers(0, 99), max_size=60), then=st.lists(st.integers(0, 99), max_size=39))
def test_dropped_samples_are_in_no_split_and_undo_brings_them_back(
    numbered: Path, tmp_path_factory: pytest.TempPathFactory, first: list[int], then: list[int]
) -> None:
    path = Path(shutil.copytree(numbered, tmp_path_factory.mktemp("drop") / "packed"))
    kseq.drop(path, ids=first)
    before, old = files(path), Index.open(str(path))
    report = kseq.drop(path, ids=np.array(then, np.uint16))
    gone, new = set(first) | set(then), set(then) - set(first)
    assert (report.num_dropped, report.num_dropped_before) == (len(new), len(set(then) & set(first)))
    assert sum(report.num_dropped_by_class) == report.num_dropped
    index = Index.open(str(path))
    assert dropped(path) == sorted(gone)
    for name, ids in old.splits.items():
        left = [number for number in ids.tolist() if number not in gone]
        assert index.splits[name].tolist() == left if left else name not in index.splits
        assert report.after.splits.get(name, 0) == len(left)
    assert sorted(kseq.ShardDataset(path).read(range(100 - len(gone)))["image"][:, 0, 0, 0].tolist()) == sorted(
        set(range(100)) - gone
    )
    assert kseq.verify(path).damaged == []
    if new:
        kseq.undo(path)
        assert {**files(path), "index.h5.1": b""} == {**before, "index.h5.1": b""}
    else:
        assert report.change is None
        assert files(path) == before


def test_samples_are_dropped_by_what_their_fields_hold(packed: Path) -> None:
    report = kseq.drop(packed, where={"label": ["b", 2]})
    assert (report.num_dropped, report.num_dropped_by_class, dropped(packed)) == (50, [0, 30, 20], list(range(50, 100)))
    assert report.change == "drop 50 samples by label=b,2"
    assert report.after.class_counts["train"][1:] == [0, 0]
    assert kseq.drop(packed, where={"label": "b"}).change is None
    assert kseq.drop(packed, where={"label": lambda values: np.arange(50) < 2}).change == "drop 2 samples by label"
    assert dropped(packed)[:2] == [0, 1]


def test_samples_are_dropped_by_where_they_came_from(packed: Path, tmp_path: Path) -> None:
    report = kseq.drop(packed, sources=["a/00003.png", b"c/00099.png", "z.png"], missing_ok=True)
    assert (dropped(packed), report.num_unknown) == ([3, 99], 1)
    (tmp_path / "bad.csv").write_text("image,score\na/00003.png,0.1\na/00004.png,0.2\n")
    report = kseq.drop(packed, rejected_by=tmp_path / "bad.csv")
    assert (report.num_dropped, report.num_dropped_before, report.change) == (1, 1, "drop 1 sample named by bad.csv")


def test_a_split_of_which_nothing_is_left_goes(packed: Path) -> None:
    val = Index.open(str(packed)).splits["val"]
    assert list(kseq.drop(packed, ids=val).after.splits) == ["train"]
    assert list(kseq.ShardDataset(packed).splits) == ["train"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ("ids=", "where=", "sources=", "rejected_by=")),
        ({"ids": [3], "where": {"label": 1}}, ("ids=", "where=")),
        ({"ids": [3], "missing_ok": True}, ("missing_ok=True", "ids=", "sources=", "rejected_by=")),
        ({"where": {"label": 1}, "missing_ok": True}, ("missing_ok=True", "where=", "sources=", "rejected_by=")),
        ({"sources": ["a/00003.png"], "missing_ok": "yes"}, ("missing_ok='yes'",)),
        ({"ids": [3, 100]}, ("sample 100", "[0, 100)")),
        ({"ids": [-1]}, ("sample -1", "[0, 100)")),
        ({"ids": [10**30]}, ("ids=",)),
        ({"ids": [1.5]}, ("ids=", "float64")),
        ({"ids": ["3"]}, ("ids=", "<U1")),
        ({"ids": [True]}, ("ids=",)),
        ({"ids": range(100)}, (100,)),
        ({"ids": 3}, ("ids=3",)),
        ({"ids": [[3], [4, 5]]}, ("ids=",)),
        ({"where": {}}, ("where={}",)),
        ({"where": ["label"]}, ("FIELD=VALUE",)),
        ({"sources": "a/00003.png"}, ("sources='a/00003.png'",)),
        ({"where": {"kind": 3}}, ("'kind'",)),
        ({"where": {"label": "z"}}, ("'z'",)),
        ({"where": {"image": 3}}, ("'image'",)),
        ({"sources": ["z.png"]}, ("row 1", "'z.png'")),
        ({"rejected_by": "none"}, ()),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_nothing_is_written(packed: Path, options: dict[str, Any], words: Parts) -> None:
    before = files(packed)
    with raises(KseqError, *words) as caught:
        kseq.drop(packed, **options)
    assert isinstance(caught.value, (ArgumentError, OutOfRangeError, kseq.errors.SourceError))
    assert files(packed) == before


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["label=a"], list(range(50))),
        (["label=0,b"], list(range(80))),
        (["label = c", "height>=9.7"], [97, 98, 99]),
        (["height>0.15", "height<=0.3"], [2, 3]),
        (["height=0.1,0.2"], [1, 2]),
        (["height<1e-1"], [0]),
        (["place>97"], [98, 99]),
        (["place=5"], [5]),
        (["when=night"], [0, 1, 2, *range(4, 10)]),
        (["when=a, b"], [3]),
        (["topics=7"], [0, 1]),
        (["topics=garden"], [0]),
        (["topics=a, b"], [2]),
        (["topics=2"], [2]),
    ],
    ids=str,
)
def test_conditions_of_the_command(with_fields: Path, conditions: list[str], expected: list[int]) -> None:
    assert main(["drop", str(with_fields), *(word for condition in conditions for word in ("--where", condition))]) == 0
    assert dropped(with_fields) == expected


def test_the_history_tells_the_conditions_of_the_command(with_fields: Path) -> None:
    main(["drop", str(with_fields), "--where", "height>0.15", "--where", "height<=0.3", "--where", "label=a,b"])
    assert Index.open(str(with_fields)).changes == ("drop 2 samples by height>0.15, height<=0.3, label=a,b",)
    main(["drop", str(with_fields), "--where", "when=night"])
    assert Index.open(str(with_fields)).changes[1] == "drop 8 samples by when=night"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "label"], "where label: allowed are FIELD=VALUE"),
        (["--where", "label!=a"], "where label!=a: allowed are FIELD=VALUE"),
        (["--where", "__import__('os')"], "allowed are FIELD=VALUE"),
        (["--where", "kind=3"], "where kind=3: has no field 'kind', it has image, label, height"),
        (["--where", "label>1"], "where label>1: label is label, > goes with numbers"),
        (["--where", "label=z"], "there is no class 'z'"),
        (["--where", "label=7"], "where label=7: allowed is the name of a class, or a number in [0, 3)"),
        (["--where", "height=tall"], "where height=tall: 'tall' is not a number"),
        (["--where", "height<"], "where height<: '' is not a number"),
        (["--where", "image=3"], "field 'image' is image pixels, allowed are label, height"),
        (["--ids", "3-"], "--ids 3-: allowed are sample ids from 0 to 99, and ranges such as 40-50"),
        (["--ids", "5-3"], "--ids 5-3: allowed"),
        (["--ids", "0-99999999999"], "--ids 0-99999999999: allowed"),
        (["--ids", "9" * 5000], "allowed are sample ids"),
        (["--ids", "3", "--missing-ok"], "--missing-ok: goes with --rejected-by"),
    ],
    ids=str,
)
def test_words_of_the_command_that_make_no_sense(
    with_fields: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    before = files(with_fields)
    assert main(["drop", str(with_fields), *words]) == 1
    assert message in (shown := capsys.readouterr().err) and shown.count("\n") == 1
    assert files(with_fields) == before


def test_the_command_shows_what_each_split_had_and_has(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    val = Index.open(str(packed)).splits["val"].tolist()
    assert main(["drop", str(packed), "--ids", *map(str, val), "0-4"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{packed}: drop {len({*val, *range(5)})} samples"
    assert shown[-1] == "no longer there: val (20)"
    assert main(["drop", str(packed), "--ids", "3"]) == 0
    assert capsys.readouterr().out == f"{packed}: nothing is dropped\ndropped before: 1 sample\n"
    (packed.parent / "bad").write_text("a/z.png\na/00003.png")
    assert main(["drop", str(packed), "--rejected-by", str(packed.parent / "bad"), "--missing-ok"]) == 0
    assert capsys.readouterr().out.endswith("passed over, since no sample has them: 1 source\n")


def test_samples_are_listed_so_that_they_can_be_found_and_dropped(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write_numbered(tmp_path / "photos", {"a": 3, "b": 3})
    names = [b"caf\xe9.png", b'a, "b".png', b"two\nlines.png"]
    for number, name in enumerate(names):
        os.rename(tmp_path / f"photos/a/{number:05d}.png", os.path.join(os.fsencode(tmp_path), b"photos/a", name))
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    kseq.split(tmp_path / "packed", val=0.4, folds=2)
    kseq.drop(tmp_path / "packed", ids=[1])
    dataset = kseq.ShardDataset(tmp_path / "packed")
    remaining = [0, 2, 3, 4, 5]
    assert main(["info", str(tmp_path / "packed"), "--samples"]) == 0
    written = capfdbinary.readouterr().out
    rows = list(csv.reader(io.StringIO(written.decode(errors="surrogateescape"))))
    assert rows[0] == ["id", "split", "label", "source"]
    assert [int(row[0]) for row in rows[1:]] == remaining
    assert [row[3] for row in rows[1:]] == [dataset.source(number) for number in range(5)]
    assert main(["info", str(tmp_path / "packed"), "--samples", "--json"]) == 0
    objects = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [[str(row[name]) for name in rows[0]] for row in objects] == rows[1:]
    for row in objects:
        named = {name for name, ids in Index.open(str(tmp_path / "packed")).splits.items() if row["id"] in ids}
        assert set(row["split"].split("|")) == named
        assert row["label"] == "ab"[row["id"] > 2]
    for end, content in ((".csv", written), (".jsonl", "\n".join(map(json.dumps, objects)).encode())):
        (tmp_path / f"all{end}").write_bytes(content)
        assert main(["drop", str(tmp_path / "packed"), "--rejected-by", str(tmp_path / f"all{end}")]) == 1
        assert b"no sample would be left: 5 are to be dropped of 5" in capfdbinary.readouterr().err
