"""Fields besides image and label: what the columns of a table say of them, how they are stored, and how batches give them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq.errors import ArgumentError, KseqError, SourceError
from kseq.sources import cell_types
from kseq.sources.cell_types import ParsedColumn, Rejection
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.photos import numbered_pixels, numbers_of, photo

SETTINGS: dict[str, Any] = {"workers": 0, "images": kseq.ImageSettings("raw", (8, 8))}


def write_table(folder: Path, columns: dict[str, list[Any]], height: int = 8, width: int = 8) -> Path:
    """A table of numbered images, as JSON Lines, with these columns beside `image`."""
    count = len(next(iter(columns.values())))
    for number in range(count):
        Image.fromarray(numbered_pixels(number, height, width)).save(folder / f"{number}.png")
    rows = [{"image": f"{number}.png", **{name: cells[number] for name, cells in columns.items()}} for number in range(count)]
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "table.jsonl"


def pack_cells(folder: Path, cells: dict[str, list[Any]], **options: Any) -> kseq.ShardDataset:
    kseq.pack(write_table(folder, cells), folder / "packed", **(SETTINGS | options))
    return kseq.ShardDataset(folder / "packed")


def rejected(dataset: kseq.ShardDataset) -> dict[str, str]:
    return {rejection.path.decode(): rejection.reason for rejection in dataset.rejected()}


def test_every_content_comes_back_as_it_was(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "kind": ["cat", "dog", "cat"],
        "age": [3, 5, 8],
        "price": [0.5, 2, 7.25],
        "vector": [[1, 2.5], [3, 4], [5, 6]],
        "trace": [[0.5], [], [1.5, 2.5]],
        "topics": ["red|blue", "", "blue"],
        "objects": [[[1, 2, 3, 4], [0, 0, 8, 8]], [], [[2, 2, 3, 3]]],
        "kinds": [["wheel", "car"], [], ["car"]],
        "caption": ["a cat", "ein Hündchen", ""],
        "worth": [1, 0.5, 0],
    }  # fmt: skip
    targets = {"age": "age", "price": "price", "vector": "vector", "trace": "trace", "topics": "topics"}
    with pack_cells(
        tmp_path,
        columns,
        columns=kseq.Columns(
            label="kind", targets=targets, boxes="objects", box_labels="kinds", text="caption", sample_weight="worth"
        ),
    ) as dataset:
        read = dataset.read([2, 0, 1])
        assert dataset.class_names == ("cat", "dog")
        assert list(dataset.fields) == [
            "image", "label", "age", "price", "vector", "trace", "topics", "labels", "boxes", "text",
            "sample_weight",
        ]  # fmt: skip
        assert dataset.fields["topics"].class_names == ("blue", "red")
        assert dataset.fields["labels"].class_names == ("car", "wheel")
    np.testing.assert_array_equal(numbers_of(read["image"]), [2, 0, 1])
    np.testing.assert_array_equal(read["label"], [0, 0, 1])
    np.testing.assert_array_equal(read["age"], np.array([8, 3, 5], "<i8"), strict=True)
    np.testing.assert_array_equal(read["price"], np.array([7.25, 0.5, 2], "<f4"), strict=True)
    np.testing.assert_array_equal(read["vector"], np.array([[5, 6], [1, 2.5], [3, 4]], "<f4"), strict=True)
    assert [value.tolist() for value in read["trace"]] == [[1.5, 2.5], [0.5], []]
    assert [value.tolist() for value in read["topics"]] == [[0], [1, 0], []]
    assert [box.tolist() for box in read["boxes"]] == [[[2, 2, 3, 3]], [[1, 2, 3, 4], [0, 0, 8, 8]], []]
    assert [label.tolist() for label in read["labels"]] == [[0], [1, 0], []]
    assert read["text"] == ["", "a cat", "ein Hündchen"]
    np.testing.assert_array_equal(read["sample_weight"], np.array([0, 1, 0.5], "<f4"), strict=True)


def test_a_csv_says_the_same_as_json(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "age": [3, 5],
        "vector": [[1, 2.5], [3, 4]],
        "topics": ["red|blue", ""],
        "objects": [[[1, 2, 3, 4]], []],
    }
    json_table = write_table(tmp_path, columns)
    cells = [[f"{number}.png", *(columns[name][number] for name in columns)] for number in range(2)]
    lines = ["image;" + ";".join(columns), *(";".join(str(cell) for cell in row) for row in cells)]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    targets = {"age": "age", "vector": "vector", "topics": "topics"}
    read = []
    for table in (json_table, tmp_path / "table.csv"):
        kseq.pack(table, tmp_path / table.suffix[1:], columns=kseq.Columns(targets=targets, boxes="objects"), **SETTINGS)
        read.append(kseq.ShardDataset(tmp_path / table.suffix[1:]).read([0, 1]))
    for name, one in read[0].items():
        for pair in zip(one, read[1][name], strict=True):
            np.testing.assert_array_equal(*pair, strict=True)


def test_plain_h5py_reads_a_field_whose_samples_differ_in_length(tmp_path: Path) -> None:
    pack_cells(tmp_path, {"boxes": [[[1, 2, 3, 4], [0, 0, 8, 8]], [[2, 2, 3, 3]]]}, columns=kseq.Columns(boxes="boxes")).close()
    with h5py.File(tmp_path / "packed" / "shard-00000.h5") as shard:
        start, end = shard["boxes/offsets"][1:3]
        np.testing.assert_array_equal(shard["boxes/values"][start:end], [[2, 2, 3, 3]])


@pytest.mark.parametrize(
    ("cells", "columns", "reason"),
    [
        ({"age": [1, None]}, kseq.Columns(targets="age"), ("row 2", "age")),
        ({"age": [1, float("nan")]}, kseq.Columns(targets="age"), ("row 2", "age")),
        ({"age": [1, "[" * 100_000]}, kseq.Columns(sample_weight="age", label=""), ("row 2", "[[[[[[[[[[")),
        (
            {"age": [[1], [float("inf")]]},
            kseq.Columns(targets="age"),
            ("row 2", "[inf]", "age"),
        ),
        (
            {"weight": [1, -2]},
            kseq.Columns(sample_weight="weight", label=""),
            ("row 2", -2, 0),
        ),
        ({"weight": [1, None]}, kseq.Columns(sample_weight="weight", label=""), ("row 2", "sample_weight")),
        (
            {"at": [[], [[1, 2, 3]]]},
            kseq.Columns(boxes="at"),
            ("row 2", "[[1, 2, 3]]", "[x1, y1, x2, y2]"),
        ),
        ({"at": [[], [[3, 1, 2, 2]]]}, kseq.Columns(boxes="at"), ("box 0", "3, 1, 2, 2", "x1 < x2", "y1 < y2")),
        (
            {"at": [[], [[1, 1, 2, 2]]], "what": [[], []]},
            kseq.Columns(boxes="at", box_labels="what"),
            ("row 2", 1, 0, "labels"),
        ),
        (
            {"tags": [["a"], [None]]},
            kseq.Columns(targets="tags"),
            ("row 2", "tags"),
        ),
        ({"text": ["a", ["b"]]}, kseq.Columns(text="text"), ("row 2", "['b']", "text")),
    ],
)
def test_a_sample_with_an_odd_value_is_left_out_with_the_reason(
    tmp_path: Path, cells: dict[str, list[Any]], columns: kseq.Columns, reason: Parts
) -> None:
    class_names = ["car"] if columns.box_labels else None
    with pack_cells(tmp_path, cells, columns=columns, class_names=class_names) as dataset:
        assert len(dataset) == 1
        assert list(rejected(dataset)) == ["1.png"]
        assert_says(rejected(dataset)["1.png"], *reason)


@pytest.mark.parametrize(
    ("cells", "names", "kind", "words"),
    [
        ({"age": [None, None]}, {"targets": {"age": "age"}}, SourceError, ("age",)),
        ({"v": [[[1, 2]], [1]]}, {"targets": {"v": "v"}}, SourceError, ("v", "(1,)", "(1, 2)")),
        ({"age": [1, 2]}, {"targets": {"Age": "age"}}, ArgumentError, ("'Age'",)),
        ({"age": [1, 2]}, {"targets": {"label": "age"}, "label": "age"}, ArgumentError, ("'label'",)),
        ({"age": [1, 2]}, {"targets": {"age": "years"}}, SourceError, ("'years'",)),
        ({"age": [1, 2]}, {"box_labels": "age"}, ArgumentError, ("box_labels='age'",)),
        ({"age": [1, 2]}, {"label": ""}, None, ()),
    ],
)
def test_columns_that_make_no_sense_are_refused_in_one_line(
    tmp_path: Path, cells: dict[str, list[Any]], names: dict[str, Any], kind: type[KseqError] | None, words: Parts
) -> None:
    if kind is None:
        assert list(pack_cells(tmp_path, cells, columns=kseq.Columns(**names)).fields) == ["image"]
        return
    with raises(kind, *words):
        pack_cells(tmp_path, cells, columns=kseq.Columns(**names))
    assert not (tmp_path / "packed").exists()


@given(st.lists(st.one_of(st.integers(-9, 9), st.floats(-1e6, 1e6)), min_size=1))
def test_single_numbers_come_back_as_numbers(cells: list[float]) -> None:
    field, found = cell_types.parse_target("age", cells)
    assert (field.kind, field.shape) == ("numbers", ())
    assert field.dtype == ("<i8" if all(isinstance(cell, int) for cell in cells) else "<f4")
    np.testing.assert_allclose(np.array(found, np.float64), cells, rtol=1e-6, atol=1e-30)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=1).filter(any))
def test_lists_of_words_are_labels_in_text_as_in_json(cells: list[list[str]]) -> None:
    as_text = ["|".join(cell) for cell in cells]
    field, found = cell_types.parse_target("tags", cells)
    assert [[field.class_names[number] for number in entry] for entry in found] == cells
    other, same = cell_types.parse_target("tags", as_text)
    assert other == field
    assert [entry.tolist() for entry in same] == [entry.tolist() for entry in found]


def test_lists_of_whole_numbers_that_differ_in_length_are_labels() -> None:
    field, found = cell_types.parse_target("tags", [[10, 2], [], [2]])
    assert (field.kind, field.class_names) == ("multi_label", ("2", "10"))
    assert [entry.tolist() for entry in found] == [[1, 0], [], [0]]
    assert cell_types.parse_target("v", [[10, 2], [3, 4]])[0].kind == "numbers"


def test_a_refused_value_says_why() -> None:
    _, found = cell_types.parse_column("weight", "sample_weight", ["1", "x"])
    assert isinstance(found[1], Rejection)


def write_mask(path: Path, mask: np.ndarray, mode: str = "L") -> Path:
    image = Image.fromarray(mask)
    if mode == "P":
        image = Image.fromarray(mask, "P")
        image.putpalette([255 - number // 3 for number in range(768)])
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("encoding", ["keep", "raw", "jpeg"])
def test_a_mask_keeps_its_values(tmp_path: Path, mode: str, encoding: str) -> None:
    mask = np.arange(64, dtype=np.uint8).reshape(8, 8)
    write_mask(tmp_path / "mask.png", mask, mode)
    images = kseq.ImageSettings(encoding, None if encoding == "keep" else (8, 8))
    table = write_table(tmp_path, {"mask": ["mask.png"] * 2})
    kseq.pack(table, tmp_path / "packed", columns=kseq.Columns(mask="mask"), images=images, workers=0)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    np.testing.assert_array_equal(dataset[1]["mask"][..., 0], mask)
    assert dataset.fields["mask"].shape == (8, 8, 1)


def test_a_mask_is_resized_without_new_values(tmp_path: Path) -> None:
    mask = np.where(np.mgrid[0:30, 0:40][0] > 13, 200, 7).astype(np.uint8)
    write_mask(tmp_path / "mask.png", mask)
    table = write_table(tmp_path, {"mask": ["mask.png"]}, 30, 40)
    kseq.pack(
        table, tmp_path / "packed", columns=kseq.Columns(mask="mask"), images=kseq.ImageSettings("raw", (11, 9)), workers=0
    )
    assert set(np.unique(kseq.ShardDataset(tmp_path / "packed")[0]["mask"])) == {7, 200}


def test_a_mask_is_turned_upright_like_its_photo(tmp_path: Path) -> None:
    pixels, mask = photo(1, 20, 30), np.arange(600, dtype=np.uint16).reshape(20, 30) // 3
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "0.jpg", exif=exif)
    write_mask(tmp_path / "mask.png", np.rot90(mask.astype(np.uint8), -1))
    (tmp_path / "table.csv").write_text("image,mask\n0.jpg,mask.png\n")
    kseq.pack(tmp_path / "table.csv", tmp_path / "packed", columns=kseq.Columns(mask="mask"), workers=0)
    sample = kseq.ShardDataset(tmp_path / "packed")[0]
    assert sample["image"].shape[:2] == sample["mask"].shape[:2] == (30, 20)
    np.testing.assert_array_equal(np.rot90(sample["mask"][..., 0]), mask)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((4, 8), np.uint8), ("4 x 8", "8 x 8")),
        (np.arange(192, dtype=np.uint8).reshape(8, 8, 3), ("'RGB'", 1)),
        (np.full((8, 8), 256, np.uint16), (256, 255)),
        (None, ("No such file or directory",)),
    ],
)
def test_a_mask_that_does_not_go_with_its_image_is_left_out(tmp_path: Path, mask: np.ndarray | None, words: Parts) -> None:
    write_mask(tmp_path / "good.png", np.zeros((8, 8), np.uint8))
    if mask is not None:
        write_mask(tmp_path / "bad.png", mask)
    with pack_cells(tmp_path, {"mask": ["good.png", "bad.png"]}, columns=kseq.Columns(mask="mask")) as dataset:
        assert_says(rejected(dataset)["1.png"], *words)


def test_damage_in_any_field_is_noticed(tmp_path: Path) -> None:
    columns = {"boxes": [[[1, 2, 3, 4]], []], "text": ["one", "two"], "age": [1.5, 2.5]}
    pack_cells(tmp_path, columns, columns=kseq.Columns(boxes="boxes", text="text", targets={"age": "age"})).close()
    shard = tmp_path / "packed" / "shard-00000.h5"
    whole = shard.read_bytes()
    with h5py.File(shard) as file:
        places = {name: file[name].id.get_offset() for name in ("boxes/values", "boxes/offsets", "text/values", "age")}
    for name, place in places.items():
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert kseq.verify(tmp_path / "packed").damaged, name
    shard.write_bytes(whole)
    assert not kseq.verify(tmp_path / "packed").damaged


def test_two_images_a_sample_are_two_fields(tmp_path: Path) -> None:
    write_table(tmp_path, {"x": [0] * 6})
    (tmp_path / "pairs.csv").write_text("Left Eye,right,same\n" + "".join(f"{n}.png,{5 - n}.png,{n % 2}\n" for n in range(6)))
    kseq.pack(
        tmp_path / "pairs.csv", tmp_path / "packed", columns=kseq.Columns(image=["Left Eye", "right"], label="same"), **SETTINGS
    )
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert list(dataset.fields) == ["left_eye", "label", "right"]
    np.testing.assert_array_equal(numbers_of(dataset.read(range(6))["right"]), [5, 4, 3, 2, 1, 0])
    images, labels = kseq.ShardSequence(tmp_path / "packed", shuffle=False, workers=0)[0]
    assert list(images) == ["left_eye", "right"]
    np.testing.assert_array_equal(numbers_of(images["left_eye"]), range(6))
    np.testing.assert_array_equal(labels, [0, 1] * 3)


def test_a_second_image_that_is_broken_is_named(tmp_path: Path) -> None:
    write_table(tmp_path, {"x": [0] * 2})
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "pairs.csv").write_text("a,b,label\n0.png,1.png,x\n1.png,bad.png,x\n")
    kseq.pack(tmp_path / "pairs.csv", tmp_path / "packed", columns=kseq.Columns(image=["a", "b"]), **SETTINGS)
    assert_says(rejected(kseq.ShardDataset(tmp_path / "packed"))["1.png"], "b")


def test_samples_that_share_their_first_image_are_told_apart(tmp_path: Path) -> None:
    write_table(tmp_path, {"x": [0] * 4})
    (tmp_path / "bad.png").write_bytes(b"no image")
    rows = ["0.png,1.png,x,train", "0.png,bad.png,y,train", "0.png,2.png,y,val", "3.png,2.png,x,val"]
    (tmp_path / "pairs.csv").write_text("a,b,label,part\n" + "\n".join(rows))
    kseq.pack(tmp_path / "pairs.csv", tmp_path / "packed", columns=kseq.Columns(image=["a", "b"], split="part"), **SETTINGS)
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert dataset.splits == {"train": 1, "val": 2}
    assert list(rejected(dataset)) == ["0.png (row 2)"]
    assert [dataset.source(number) for number in range(3)] == ["0.png", "0.png (row 3)", "3.png"]
    np.testing.assert_array_equal(numbers_of(dataset.read(range(3))["b"]), [1, 2, 2])
    with kseq.ShardDataset(tmp_path / "packed", "train") as train:
        assert train[0]["label"] == 0


def plainly(monkeypatch: pytest.MonkeyPatch, column: Callable[[], ParsedColumn]) -> tuple[ParsedColumn, ParsedColumn]:
    """A column as it is parsed at once, and cell by cell."""
    quick = column()
    with monkeypatch.context() as slow:
        slow.setattr(cell_types, "_plain_numbers", lambda _: None)
        return quick, column()


WORDS = st.one_of(
    st.integers(-(10**19), 10**19).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.sampled_from([" 7 ", "1_0", "+3", "-0", "1e400", "0.1", "9007199254740993", "٣"]),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.one_of(st.lists(WORDS, min_size=1), st.lists(st.one_of(st.integers(), st.floats()), min_size=1)))
@pytest.mark.parametrize(
    "make", [cell_types.parse_target, lambda name, cells: cell_types.parse_column(name, "sample_weight", cells)]
)
def test_numbers_that_are_parsed_at_once_are_those_that_are_parsed_one_by_one(
    cells: list[Any], make: Callable[[str, list[Any]], ParsedColumn], monkeypatch: pytest.MonkeyPatch
) -> None:
    def column() -> ParsedColumn:
        try:
            return make("it", cells)
        except SourceError as error:
            return str(error), []  # type: ignore[return-value]  # to be compared

    (field, found), (expected_field, expected) = plainly(monkeypatch, column)
    assert field == expected_field
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Rejection) == isinstance(other, Rejection)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), strict=not isinstance(one, str))


def test_lists_that_are_all_empty_are_lists_of_any_length(tmp_path: Path) -> None:
    with pack_cells(tmp_path, {"ages": [[], []]}, columns=kseq.Columns(targets={"ages": "ages"}, label="")) as dataset:
        assert [dataset[number]["ages"].shape for number in range(2)] == [(0,), (0,)]


def test_lists_of_empty_lists_are_refused(tmp_path: Path) -> None:
    with raises(SourceError, "ages", "(1, 0)"):
        pack_cells(tmp_path, {"ages": [[[]], [[]]]}, columns=kseq.Columns(targets={"ages": "ages"}, label=""))
