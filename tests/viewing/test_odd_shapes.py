"""Boxes and sizes that are unlike the others come first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.reading.dataset import ShardDataset
from kseq.viewing.odd_shapes import box_oddness, size_oddness, unlikeness
from kseq.viewing.opened import Opened

SIZES = [(60, 80), (80, 60)]


def pack_boxes(folder: Path, odd: dict[int, list[list[float]]], *, labelled: bool = True, count: int = 60) -> Path:
    """Photos in both formats with a box around what fills most of them, cups wider than high and vases higher than wide."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(1)
    rows = []
    for number in range(count):
        height, width = SIZES[number // 2 % 2]
        Image.new("RGB", (width, height), (number, 90, 90)).save(folder / f"images/{number:02d}.png")
        across, down = (0.8, 0.5) if number % 2 else (0.4, 0.8)
        across, down = across * width * rng.uniform(0.9, 1.1), down * height * rng.uniform(0.9, 1.1)
        left, top = (width - across) / 2 + rng.uniform(-2, 2), (height - down) / 2 + rng.uniform(-2, 2)
        boxes = odd.get(number, [[max(left, 0), max(top, 0), min(left + across, width), min(top + down, height)]])
        row = {"path": f"images/{number:02d}.png", "boxes": boxes}
        rows.append(json.dumps(row | ({"names": [("vase", "cup")[number % 2]] * len(boxes)} if labelled else {})))
    (folder / "t.jsonl").write_text("\n".join(rows))
    columns = kseq.Columns(image="path", label="", boxes="boxes", box_labels="names" if labelled else None)
    kseq.pack(folder / "t.jsonl", folder / "packed", columns=columns, workers=0)
    return folder / "packed"


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([[15, 6, 45, 70]], id="turned"),
        pytest.param([[30, 28, 34, 31]], id="tiny"),
        pytest.param([[0, 0, 47, 30]], id="in a corner"),
        pytest.param([[6, 20, 54, 58], [1, 1, 3, 79]], id="one of two"),
    ],
)
def test_a_box_that_is_unlike_those_of_its_class_comes_first(boxes: list[list[float]], tmp_path: Path) -> None:
    # Cups are wide: sample 27 is one, in an upright photo. Sample 8 has no box.
    with ShardDataset(pack_boxes(tmp_path, {27: boxes, 8: []})) as dataset:
        scores = box_oddness(Opened(dataset))
    assert scores.argmax() == 27
    assert scores[27] > 2 * np.sort(scores)[-2]
    assert np.isneginf(scores[8]) and np.isfinite(np.delete(scores, 8)).all()


def test_boxes_without_classes_are_compared_with_each_other(tmp_path: Path) -> None:
    with ShardDataset(pack_boxes(tmp_path, {11: [[0, 0, 2, 2]]}, labelled=False)) as dataset:
        assert box_oddness(Opened(dataset)).argmax() == 11


def test_a_few_of_a_class_are_compared_with_all_and_none_with_nothing() -> None:
    facts = np.random.default_rng(0).normal(0, 1, (50, 2))
    facts[49] = 9, -9
    assert unlikeness(facts, np.r_[np.zeros(47, int), 5, 5, 5]).argmax() == 49
    assert unlikeness(np.empty((0, 2)), np.empty(0, int)).shape == (0,)
    # Where all are the same, none is odd.
    assert unlikeness(np.ones((30, 3)), np.zeros(30, int), np.ones(30)).max() == 0


def test_a_size_that_is_unlike_the_others_comes_first(tmp_path: Path) -> None:
    for number, (height, width) in enumerate([*SIZES * 6, (8, 9), *SIZES * 6]):
        path = tmp_path / "photos/a" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (number, 0, 0)).save(path)
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    with ShardDataset(tmp_path / "packed") as dataset:
        assert size_oddness(Opened(dataset)).argmax() == 12
