"""New splits of a packed dataset: what is drawn, what stays, and what is refused before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import kseq
from kseq.errors import ArgumentError, DatasetNotFoundError, KseqError, SourceError
from kseq.storage.fields import Field
from kseq.storage.index import Index
from kseq_tools.main import main
from tests.helpers.datasets import files, rewrite_index
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import write_numbered

CAMERA = Field("camera", "text", False, "|u1", (None,))
HEIGHT = Field("height", "numbers", False, "<f4", ())
RAGGED = Field("ragged", "numbers", False, "<i8", (None,))
TOPICS = Field("topics", "multi_label", False, "<i4", (None,), ("garden",))


@pytest.fixture
def with_test(packed: Path) -> Path:
    """The same, with an official test split: every tenth sample."""
    rewrite_index(packed, splits={"train": np.setdiff1d(np.arange(100), np.arange(0, 100, 10)), "test": np.arange(0, 100, 10)})
    return packed


def with_fields(path: Path, cameras: list[str], heights: list[float]) -> None:
    texts = [camera.encode() for camera in cameras]
    columns = {
        "camera/values": np.frombuffer(b"".join(texts), np.uint8),
        "camera/offsets": np.cumsum([0, *map(len, texts)]).astype("<u8"),
        "height": np.array(heights, "<f4"),
        "ragged/values": np.empty(0, "<i8"),
        "ragged/offsets": np.zeros(len(texts) + 1, "<u8"),
        "topics/values": np.empty(0, "<i4"),
        "topics/offsets": np.zeros(len(texts) + 1, "<u8"),
    }
    rewrite_index(path, fields=(*Index.open(str(path)).fields, CAMERA, HEIGHT, RAGGED, TOPICS), columns=columns)


def splits(path: Path) -> dict[str, list[int]]:
    return {name: ids.tolist() for name, ids in Index.open(str(path)).splits.items()}


def classes_of(ids: list[int]) -> list[int]:
    return np.bincount(np.digitize(ids, [50, 80]), minlength=3).tolist()


SHARES = st.none() | st.just(0) | st.floats(0.02, 0.5)


@pytest.mark.slow
@settings(max_examples=15)
@given(
    val=SHARES, test=SHARES, stratify=st.booleans(), seed=st.integers(0, 9), dropped=st.sets(st.integers(0, 99), max_size=40)
)
def test_train_val_and_test_share_out_what_was_not_dropped(
    numbered: Path,
    tmp_path_factory: pytest.TempPathFactory,
    val: float | None,
    test: float | None,
    stratify: bool,
    seed: int,
    dropped: set[int],
) -> None:
    path = Path(shutil.copytree(numbered, tmp_path_factory.mktemp("split") / "packed"))
    remaining = sorted(set(range(100)) - dropped)
    old = {"train": remaining[::2], "val": remaining[1::4], "test": remaining[3::4]}
    rewrite_index(path, splits={name: np.array(ids) for name, ids in old.items()}, dropped=np.array(sorted(dropped)))
    assume(val is not None or test is not None)
    kept = [name for name, share in (("val", val), ("test", test)) if share is None]
    pool = sorted(set(remaining) - {entry for name in kept for entry in old[name]})
    wanted = {name: round(len(pool) * share) for name, share in (("val", val), ("test", test)) if share}
    assume(all(wanted.values()) and sum(wanted.values()) < len(pool))
    before = files(path)
    report = kseq.split(path, val=val, test=test, stratify=stratify, seed=seed)
    found = splits(path)
    assert sorted(sample_id for ids in found.values() for sample_id in ids) == remaining
    assert all(ids == sorted(ids) for ids in found.values())
    assert {name: found[name] for name in kept} == {name: old[name] for name in kept}
    assert {name: len(found.get(name, [])) for name in wanted} == wanted
    if stratify:
        sizes = classes_of(pool)
        of_each = {name: classes_of(found[name]) for name in wanted}
        shares: dict[str, Any] = {"val": val, "test": test}
        assert all(abs(of_each[n][c] - sizes[c] * shares[n]) <= 1 for n in wanted for c in range(3) if n == min(wanted))
    assert report.before.splits == {name: len(ids) for name, ids in old.items()}
    assert report.after.splits == {name: len(ids) for name, ids in found.items()}
    assert report.after.class_counts == {name: classes_of(ids) for name, ids in found.items()}
    assert (report.num_unused, report.num_dropped) == (0, 0)
    assert kseq.verify(path).damaged == []
    kseq.undo(path)
    assert {name: content for name, content in files(path).items() if name != "index.h5.1"} == before


@pytest.mark.parametrize("options", [{}, {"stratify": False}, {"seed": 3}, {"group": "camera"}, {"test": 0.0}], ids=str)
def test_the_splits_are_those_that_packing_would_have_drawn(tmp_path: Path, options: dict[str, Any]) -> None:
    write_numbered(tmp_path / "photos", {"a": 50, "b": 30, "c": 20})
    rows = [
        f"{path.relative_to(tmp_path)},{path.parent.name},{number % 23}"
        for number, path in enumerate(sorted((tmp_path / "photos").rglob("*.png")))
    ]
    (tmp_path / "photos.csv").write_text("\n".join(["path,label,camera", *rows]))
    shares: dict[str, Any] = {"val": 0.2, "test": 0.1, **options}
    kseq.pack(tmp_path / "photos.csv", tmp_path / "plain", columns=kseq.Columns(text="camera"), workers=0)
    group = shares.pop("group", None)
    columns = kseq.Columns(text="camera", group=group)
    kseq.pack(tmp_path / "photos.csv", tmp_path / "split", columns=columns, workers=0, **shares)
    # Packing knows the column, a packed dataset the field that holds it.
    kseq.split(tmp_path / "plain", group=None if group is None else "text", **shares)
    assert splits(tmp_path / "plain") == splits(tmp_path / "split")
    assert Index.open(str(tmp_path / "plain")).digest == Index.open(str(tmp_path / "split")).digest


def test_an_official_test_split_stays_unless_it_is_asked_for(with_test: Path) -> None:
    official = list(range(0, 100, 10))
    kseq.split(with_test, val=0.5)
    assert splits(with_test)["test"] == official
    assert len(splits(with_test)["val"]) == 45
    kseq.split(with_test, val=0)
    assert {name: len(ids) for name, ids in splits(with_test).items()} == {"train": 90, "test": 10}
    kseq.split(with_test, test=0)
    assert splits(with_test) == {"train": list(range(100))}
    assert Index.open(str(with_test)).changes == (
        "split val=0.5, stratified, seed 0",
        "split val=0",
        "split test=0",
    )


@pytest.mark.slow
@settings(max_examples=12)
@given(folds=st.integers(2, 30), test=st.none() | st.floats(0.1, 0.5), grouped=st.booleans(), stratify=st.booleans())
def test_each_sample_is_in_one_fold_and_those_of_test_in_none(
    numbered: Path, tmp_path_factory: pytest.TempPathFactory, folds: int, test: float | None, grouped: bool, stratify: bool
) -> None:
    path = Path(shutil.copytree(numbered, tmp_path_factory.mktemp("folds") / "packed"))
    with_fields(path, [str(number % 97) for number in range(100)], [0] * 100)
    kseq.drop(path, ids=[7, 50])
    before = splits(path)
    val = None if test is None else 0
    kseq.split(path, folds=folds, val=val, test=test, group="camera" if grouped else None, stratify=stratify, seed=folds)
    found = splits(path)
    if test is None:
        assert {name: found.pop(name) for name in before} == before
    left = sorted(set(range(100)) - {7, 50} - set(found.pop("test", [])))
    assert sorted(entry for number in range(folds) for entry in found[f"fold{number}-val"]) == left
    for number in range(folds):
        train, val = (found.pop(f"fold{number}-{name}") for name in ("train", "val"))
        assert sorted(train + val) == left
        assert val == sorted(val) and train == sorted(train)
        assert len(left) // folds - 2 * grouped <= len(val) <= -(-len(left) // folds) + 2 * grouped
        if grouped:
            assert not {entry % 97 for entry in train} & {entry % 97 for entry in val}
        elif stratify:
            for size, part in zip(classes_of(left), classes_of(val), strict=True):
                assert size // folds <= part <= -(-size // folds)
    assert found.keys() <= {"train"}


def test_new_folds_take_the_place_of_the_old_ones(with_test: Path) -> None:
    for folds, names in ((5, 10), (3, 6), (0, 0)):
        kseq.split(with_test, folds=folds)
        assert sum(name.startswith("fold") for name in splits(with_test)) == names
        assert len(splits(with_test)) == 2 + names
    kseq.split(with_test, folds=2)
    with raises(ArgumentError, "fold0-train", "test", "folds=", 0):
        kseq.split(with_test, test=0.3)
    kseq.split(with_test, val=0.3)
    kseq.split(with_test, test=0.3, folds=0)


def write(path: Path, ids: Any) -> Path:
    path.write_text("\n".join(map(str, ids)))
    return path


def test_lists_of_train_val_and_test_say_all_and_the_rest_is_in_no_split(packed: Path, tmp_path: Path) -> None:
    lists = {name: write(tmp_path / name, ids) for name, ids in (("train", range(40)), ("test", [99, 98, 99]))}
    report = kseq.split(packed, lists=lists, val=0)
    assert splits(packed) == {"train": list(range(40)), "test": [98, 99]}
    assert (report.num_unused, report.change) == (58, "split val=0, train from train, test from test")
    kseq.split(packed, lists=lists, val=0.25)
    found = splits(packed)
    assert sorted(found["train"] + found["val"]) == list(range(40)) and len(found["val"]) == 10
    kseq.split(packed, lists=lists, val=0, folds=2)
    assert sorted(splits(packed)["fold0-train"] + splits(packed)["fold0-val"]) == list(range(40))


def test_what_a_list_of_test_leaves_is_train(packed: Path, tmp_path: Path) -> None:
    kseq.split(packed, lists={"test": write(tmp_path / "test", range(30))}, val=0.1)
    found = splits(packed)
    assert found["test"] == list(range(30))
    assert len(found["val"]) == 7
    assert sorted(found["train"] + found["val"]) == list(range(30, 100))


def test_splits_of_other_names_lie_beside_the_others(packed: Path, tmp_path: Path) -> None:
    before = splits(packed)
    lists = {
        "hard": write(tmp_path / "hard.txt", [5, 3, 5]),
        "fold0-val": write(tmp_path / "f", ["a/00001.png", "c/00099.png"]),
    }
    kseq.split(packed, lists=lists)
    assert splits(packed) == {**before, "hard": [3, 5], "fold0-val": [1, 99]}
    kseq.split(packed, val=0.5)
    assert splits(packed)["hard"] == [3, 5]


def test_dropped_samples_are_left_out_of_lists_and_counted(packed: Path, tmp_path: Path) -> None:
    kseq.drop(packed, ids=[3, 4])
    report = kseq.split(packed, lists={"hard": write(tmp_path / "hard", [3, 5])})
    assert (report.num_dropped, splits(packed)["hard"]) == (1, [5])
    with raises(ArgumentError, "hard"):
        kseq.split(packed, lists={"hard": write(tmp_path / "hard", [3, 4])})


@pytest.mark.parametrize("by", ["camera", "height", "label", "vector"])
def test_groups_stay_together(packed: Path, by: str) -> None:
    numbers = [number % 13 for number in range(100)]
    with_fields(packed, [f"camera {number}" for number in numbers], [number / 3 for number in numbers])
    if by == "vector":
        vectors = np.array([[number % 13, 0] for number in range(100)], "<i8")
        columns = {**Index.open(str(packed)).columns, "vector": vectors}
        fields = (*Index.open(str(packed)).fields, Field("vector", "numbers", False, "<i8", (2,)))
        rewrite_index(packed, fields=fields, columns=columns)
    kseq.split(packed, val=0.3, test=0.3, group=by, seed=1)
    groups = {
        name: {number % 13 if by != "label" else int(np.digitize(number, [50, 80])) for number in ids}
        for name, ids in splits(packed).items()
    }
    count = 3 if by == "label" else 13
    assert {name: len(found) for name, found in groups.items()} == {
        "train": count - 2 * round(count * 0.3),
        "val": round(count * 0.3),
        "test": round(count * 0.3),
    }
    assert sum(len(found) for found in groups.values()) == count


def test_samples_with_an_empty_text_or_nan_are_groups_of_their_own(packed: Path) -> None:
    with_fields(packed, [""] * 60 + ["one"] * 40, [float("nan")] * 60 + [1.0] * 40)
    for by in ("camera", "height"):
        kseq.split(packed, val=0.33, group=by, stratify=False)
        found = splits(packed)["val"]
        assert (len(found), found[-1] < 60) == (33, True)


def test_groups_must_not_lie_on_both_sides_of_what_stays(with_test: Path) -> None:
    with_fields(with_test, [str(number % 7) for number in range(100)], [0] * 100)
    with raises(ArgumentError, "samples 0", "test", 7, "train"):
        kseq.split(with_test, val=0.2, group="camera")
    kseq.split(with_test, val=0.2, test=0.2, group="camera")
    with raises(ArgumentError, "samples", "test"):
        kseq.split(with_test, val=0, folds=3, lists={"test": write(with_test.parent / "l", [0])}, group="camera")


def test_a_dataset_without_labels_is_split_but_not_stratified(tmp_path: Path) -> None:
    samples = ({"image": np.full((4, 4, 3), number, np.uint8), "height": number} for number in range(20))
    kseq.pack(samples, tmp_path / "packed", columns=kseq.Columns(targets={"height": "height"}), workers=0)
    report = kseq.split(tmp_path / "packed", val=0.25)
    assert (report.after.splits, report.after.class_counts) == ({"train": 15, "val": 5}, {})
    assert "not stratified" in report.change
    with raises(ArgumentError, "stratify=True", "image", "height"):
        kseq.split(tmp_path / "packed", val=0.25, stratify=True)


def test_a_sequence_reads_the_new_split(packed: Path) -> None:
    kseq.split(packed, folds=4)
    with kseq.ShardSequence(packed, "fold2-val", batch_size=7, workers=0) as sequence:
        seen = [int(red) for number in range(len(sequence)) for red in sequence[number][0][:, 0, 0, 0]]
    assert sorted(seen) == splits(packed)["fold2-val"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ("val=", "test=", "folds=", "lists=")),
        ({"stratify": True}, ("val=", "folds=")),
        ({"val": 1}, ("val=1", 0, 1)),
        ({"val": float("nan")}, ("val=nan",)),
        ({"val": "0.2"}, ("val='0.2'",)),
        ({"val": True}, ("val=True",)),
        ({"val": 0.6, "test": 0.5}, ("val=0.6", "test=0.5", "train")),
        ({"val": 0.001}, ("val=0.001", "val")),
        ({"val": 0.2, "seed": 1.5}, ("seed=1.5",)),
        ({"folds": 1}, ("folds=1", 2)),
        ({"folds": -1}, ("folds=-1", 2)),
        ({"folds": 101}, ("folds=101", 100)),
        ({"folds": 4, "group": "label"}, ("folds=4", 3)),
        ({"val": 0.2, "group": "kind"}, ("group='kind'", "image", "label")),
        ({"val": 0.2, "group": "image"}, ("group='image'", "image", "label", "text")),
        ({"val": 0.2, "group": "topics"}, ("group='topics'", "multi_label")),
        (
            {"val": 0.2, "group": "ragged"},
            ("group='ragged'", "numbers", "text"),
        ),
        ({"lists": {"hard": 3}}, ("lists={'hard': 3}",)),
        ({"lists": ["hard"]}, ("lists=['hard']",)),
        ({"val": 0.2, "lists": {"val": "few"}}, ("val=0.2", "val")),
        ({"lists": {"all": "few"}}, ("'all'",)),
        ({"lists": {"a/b": "few"}}, ("'a/b'",)),
        ({"lists": {"": "few"}}, ("''",)),
        ({"lists": {"Validation": "few"}}, ("'Validation'", "'val'")),
        ({"lists": {"fold0-val": "few"}, "folds": 3}, ("folds=3", "fold0-val")),
        ({"lists": {"hard": "empty"}}, ("empty", "hard")),
        ({"lists": {"hard": "none"}}, ("none", "No such file or directory")),
        ({"lists": {"hard": "unknown"}}, ("unknown", "row 2", "'z.png'")),
        (
            {"lists": {"train": "few", "test": "few"}},
            ("sample 3", "train", "test"),
        ),
        ({"lists": {"test": "every"}}, ("val", "test")),
        ({"lists": {"test": "every"}, "val": 0}, ("lists", "train")),
        ({"lists": {"test": "every"}, "val": 0.2}, ("val=0.2",)),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    packed: Path, tmp_path: Path, options: dict[str, Any], words: Parts
) -> None:
    with_fields(packed, [""] * 100, [0] * 100)
    lists = {"few": [3, 4], "empty": [], "every": range(100), "unknown": ["a/00003.png", "z.png"]}
    for name, ids in lists.items():
        write(tmp_path / name, ids)
    before = files(packed)
    if "lists" in options and isinstance(options["lists"], dict):
        paths = {name: tmp_path / file if isinstance(file, str) else file for name, file in options["lists"].items()}
        options = {**options, "lists": paths}
    with raises(KseqError, *words) as caught:
        kseq.split(packed, **options)
    assert isinstance(caught.value, (ArgumentError, SourceError))
    assert files(packed) == before


def test_there_must_be_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError):
        kseq.split(tmp_path, val=0.2)


def test_the_command_shows_what_each_split_had_and_has(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = [f"--from-list=hard={write(packed.parent / 'hard', [0, 99])}"]
    assert main(["split", str(packed), "--val", "0.1", "--seed", "3", "--no-stratify", *lists]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        f"{packed}: split val=0.1, not stratified, seed 3, hard from hard\nclass     train       val  hard\n"
    )
    assert shown.endswith("all    80 -> 90  20 -> 10     2\n")
    assert main(["split", str(packed), "--val", "0", *lists[:0], f"--from-list=train={packed.parent / 'hard'}"]) == 0
    assert capsys.readouterr().out.endswith("in no split: 98 samples\n")
    for wrong in ("hard", "=x", "x="):
        assert main(["split", str(packed), "--from-list", wrong]) == 1
    assert main(["split", str(packed), *lists, *lists]) == 1
    assert "--from-list x=: allowed is NAME=FILE, and each name once" in capsys.readouterr().err


def test_folds_are_a_column_each(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["split", str(packed), "--folds", "5"])
    main(["info", str(packed)])
    split, info = capsys.readouterr().out.split("\n", 1)[1].split(f"{packed}:")
    rows = [line.split() for line in split.splitlines()]
    assert rows[0] == ["class", "train", "val", "fold0", "fold1", "fold2", "fold3", "fold4"]
    assert rows[1] == ["a", "40", "10", *["40/10"] * 5]
    assert rows[4:] == [["all", "80", "20", *["80/20"] * 5], ["in", "a", "fold:", "train/val"]]
    assert "class  train  val  fold0  fold1  fold2  fold3  fold4\na         40   10  40/10 " in info
    assert max(map(len, split.splitlines())) < 100
