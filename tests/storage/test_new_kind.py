"""A new kind of field: a class and its registration, and every part of kseq works with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError
from kseq.exporting.export import EXPORT_FORMATS
from kseq.images.movement import Movement
from kseq.images.rectangle import Rectangle
from kseq.images.resize import Placement
from kseq.storage.field_kinds import KINDS, FieldKind
from kseq.storage.fields import Field
from kseq.training.augment import RandomFlip, RandomResizedCrop
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.transforms import AugmentationList
from kseq_tools.main import main
from tests.helpers.messages import raises
from tests.helpers.photos import photo


class Marks(FieldKind):
    """Any number of points: x and y in pixels of the upright image."""

    name = "marks"
    dtypes = ("<f4",)
    shape = (None, 2)
    meaning = "x, y in pixels"
    has_positions = True
    can_be_added = False

    def as_boxes(self, values: np.ndarray) -> np.ndarray:
        return np.tile(values, 2)

    def from_boxes(self, boxes: np.ndarray) -> np.ndarray:
        return boxes[:, :2]


POINTS = [[[1, 2], [39, 28.5]], [], [[20.25, 10]], [[3, 3], [4, 4], [5, 5]]]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "marks", Marks)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Photos of 30 x 40 pixels with points."""
    for number in range(len(POINTS)):
        Image.fromarray(photo(number, 30, 40)).save(tmp_path / f"{number}.png")
    rows = [{"image": f"{number}.png", "label": "ab"[number % 2], "at": points} for number, points in enumerate(POINTS)]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "table.jsonl"


def columns() -> kseq.Columns:
    return kseq.Columns(image="image", targets={"points": "at"}, kinds={"points": "marks"})


@pytest.fixture
def packed(table: Path, tmp_path: Path) -> Iterator[kseq.ShardDataset]:
    kseq.pack(table, tmp_path / "packed", columns=columns(), workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        yield dataset


def as_lists(values: Any) -> list[Any]:
    return [value.tolist() for value in values]


def test_it_is_packed_and_read(packed: kseq.ShardDataset) -> None:
    assert packed.fields["points"] == Field("points", "marks", False, "<f4", (None, 2))
    assert as_lists(packed.read(range(4))["points"]) == POINTS
    assert as_lists(packed.values("points")) == POINTS
    assert packed.read([0])["points"][0].dtype == np.float32
    assert kseq.verify(packed.path).damaged == []


def test_it_follows_the_image_when_packing_resizes(table: Path, tmp_path: Path) -> None:
    images = kseq.ImageSettings("raw", (15, 15), resize="crop")
    kseq.pack(table, tmp_path / "packed", columns=columns(), images=images, workers=0)
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        # The middle 30 of 40 columns are kept, at half their size.
        assert as_lists(dataset.values("points")) == [[], [], [[7.625, 5]], [[0, 2.5]]]


def test_it_is_padded_in_a_batch_and_follows_augmentations(packed: kseq.ShardDataset) -> None:
    ids = np.arange(4)
    maker = BatchMaker(packed, ["image", "points"], ImageSpec(60, 40))
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(ids).items()}
    maker.fill(arrays, 0, ids, 0)
    assert arrays["points"].shape == (4, 3, 2)
    assert arrays["points_mask"].tolist() == [[True, True, False], [False] * 3, [True, False, False], [True] * 3]
    assert arrays["points"][0].tolist() == [[1, 4], [39, 57], [0, 0]]
    for augmentations in ([RandomFlip("horizontal_and_vertical")], [RandomResizedCrop((24, 32), (0.3, 0.7))]):
        drawn = AugmentationList(augmentations, seed=3)
        size = drawn.size or (60, 40)
        maker = BatchMaker(packed, ["image", "points"], ImageSpec(*size), drawn)
        maker.fill(arrays := {**arrays, "image": np.empty((4, *size, 3), np.uint8)}, 0, ids, 5)
        movements = drawn.drawn(5, ids).movements(np.tile([30, 40], (4, 1)), ImageSpec(*size))
        for position, points in enumerate(POINTS):
            boxes = np.tile(np.array(points, np.float32).reshape(-1, 2), 2)
            moved = boxes
            for movement in movements(position):
                moved, _ = movement.move_boxes(moved)
            found = arrays["points"][position][arrays["points_mask"][position]]
            np.testing.assert_array_equal(found, moved[:, :2], strict=True)


def test_it_is_a_target_where_there_is_no_label(packed: kseq.ShardDataset, tmp_path: Path) -> None:
    with kseq.ShardSequence(packed, "all", targets={"points": "points"}, input_shape=(30, 40, 3), shuffle=False) as sequence:
        images, points = sequence[0]
        assert images.shape == (4, 30, 40, 3)
        assert points.shape == (4, 3, 2)


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_it_is_exported_and_packed_again(packed: kseq.ShardDataset, tmp_path: Path, format: str) -> None:
    report = kseq.export(packed.path, tmp_path / "out", format=format)
    words = shlex.split(report.pack_command)
    words[words.index("DATASET")] = str(tmp_path / "again")
    assert main([*words[1:], "--workers", "0"]) == 0
    with kseq.ShardDataset(tmp_path / "again") as again:
        assert again.fields == packed.fields
        # As a command numbers them.
        assert sorted(as_lists(again.values("points"))) == sorted(POINTS)


def test_it_is_merged_and_appended(packed: kseq.ShardDataset, table: Path, tmp_path: Path) -> None:
    kseq.append(packed.path, table, columns=columns(), again=True, workers=0)
    with kseq.ShardDataset(packed.path) as longer:
        assert as_lists(longer.values("points")) == POINTS * 2
    kseq.pack(table, tmp_path / "other", columns=columns(), images=kseq.ImageSettings("keep"), val=0.25, workers=0)
    kseq.merge([packed.path, tmp_path / "other"], tmp_path / "merged")
    with kseq.ShardDataset(tmp_path / "merged") as merged:
        assert as_lists(merged.values("points"))[:8] == POINTS * 2


def test_it_is_described(packed: kseq.ShardDataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", packed.path]) == 0
    assert "points: float32, any number x 2, x, y in pixels" in capsys.readouterr().out
    assert packed.fields["points"].describe() == "marks, float32 (any number x 2)"


def test_samples_are_chosen_by_its_numbers(packed: kseq.ShardDataset) -> None:
    assert len(packed.where(points=20.25)) == 1
    assert len(packed.where(points=lambda values: np.array([len(value) > 1 for value in values]))) == 2


@pytest.mark.parametrize("cell", [[[1, 2, 3]], "x", [[1, None]], [[1, float("inf")]], 5])
def test_a_cell_that_is_not_a_value_is_left_out_with_the_reason(table: Path, tmp_path: Path, cell: Any) -> None:
    lines = table.read_text().splitlines()
    row = json.loads(lines[1]) | {"at": cell}
    table.write_text("\n".join([lines[0], json.dumps(row), *lines[2:]]))
    kseq.pack(table, tmp_path / "packed", columns=columns(), workers=0)
    (left_out,) = kseq.ShardDataset(tmp_path / "packed").rejected()
    assert left_out.path == b"1.png"
    assert "has marks" in left_out.reason
    assert "allowed: finite numbers of shape (any number x 2) (points)" in left_out.reason


def test_a_dataset_of_an_unknown_kind_is_refused(packed: kseq.ShardDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(KINDS, "marks")
    with raises(kseq.KseqError, "'marks'"):
        kseq.ShardDataset(packed.path)


@pytest.mark.parametrize(
    ("dtype", "shape", "cell", "expected"),
    [
        ("<f4", (), 0.5, 0.5),
        ("<f4", (), None, None),
        ("<f4", (), [1], None),
        ("<f4", (), 1e300, None),
        ("<i4", (2,), [1, 2], [1, 2]),
        ("<i4", (2,), [1, 2.5], None),
        ("<i4", (2,), [1], None),
        ("<f4", (None,), [1, 2.5], [1, 2.5]),
        ("<f4", (None,), None, []),
        ("<f4", (None,), 1, None),
        ("<f4", (None, 2), [[1, 2], [3]], None),
        ("<f4", (None, 2), [[True, False]], None),
    ],
)
def test_a_cell_has_the_shape_and_the_dtype_of_the_kind(
    dtype: str, shape: tuple[int | None, ...], cell: Any, expected: Any
) -> None:
    kind = type("Kind", (FieldKind,), {"name": "kind", "dtypes": (dtype,), "shape": shape})
    if expected is None:
        with raises(ValueError):
            kind.from_cell(cell, lambda value: value)
    else:
        value = kind.from_cell(cell, lambda value: value)
        assert (value.dtype, value.tolist()) == (dtype, expected)


def test_it_moves_like_boxes() -> None:
    handler = Field("points", "marks", False, "<f4", (None, 2)).handler
    movement = Movement.of_placement(Placement(Rectangle(0, 0, 4, 8), Rectangle(0, 0, 8, 8)), 8, 8)
    moved, stay = handler.move(np.array([[1, 2], [9, 9]], np.float32), [movement])
    assert moved.tolist() == [[1, 4]]
    assert stay.tolist() == [True, False]


def test_a_field_of_another_shape_is_refused() -> None:
    with raises(ArgumentError, "<f4"):
        Field("points", "marks", False, "<f4", (None, 3))
