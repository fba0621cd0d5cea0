"""What does not follow its image is refused by name, and images that a model learns move without changing colours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError
from tests.helpers.augmentations import Brighten, RandomRotation
from tests.helpers.messages import raises
from tests.helpers.photos import photo

NUMBERS = {"landmarks": [1.0, 2.0], "grid": [[1.0, 2.0], [3.0, 4.0]], "age": [3.0, 4.0]}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Pairs of a photo and its negative, and fields of numbers."""
    for number in range(4):
        Image.fromarray(photo(number, 40, 50)).save(tmp_path / f"{number}.png")
        Image.fromarray(255 - photo(number, 40, 50)).save(tmp_path / f"{number}-negative.png")
    rows = [{"image": f"{number}.png", "negative": f"{number}-negative.png", **NUMBERS} for number in range(4)]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = kseq.Columns(image=["image", "negative"], targets=list(NUMBERS), label="")
    kseq.pack(tmp_path / "table.jsonl", tmp_path / "packed", columns=columns, workers=0)
    return tmp_path / "packed"


def batch(path: Path, targets: Any = "negative", **arguments: Any) -> Any:
    options = {"shuffle": False, "inputs": "image", "workers": 0} | arguments
    with kseq.Batches(path, "all", targets=targets, **options) as batches:
        return batches.batch(2, 0)


@pytest.mark.parametrize(
    "augment", [kseq.RandomFlip(), kseq.RandomResizedCrop(32), [kseq.CenterCrop(30), kseq.RandomFlip("vertical")]]
)
def test_an_image_that_is_learnt_moves_with_the_one_that_is_seen(packed: Path, augment: Any) -> None:
    images, negatives = batch(packed, augment=augment)
    assert np.abs(images.astype(int) + negatives - 255).max() <= 1


def test_it_keeps_its_colours(packed: Path) -> None:
    images, negatives = batch(packed, augment=[Brighten(90), lambda batch: batch // 2])
    plain, plain_negatives = batch(packed)
    assert not np.array_equal(images, plain)
    np.testing.assert_array_equal(negatives, plain_negatives)


def test_images_that_are_all_seen_change_alike(packed: Path) -> None:
    inputs = {"image": "image", "negative": "negative"}
    plain, _ = batch(packed, "age", inputs=inputs)
    images, _ = batch(packed, "age", inputs=inputs, augment=lambda batch: batch // 2)
    for name in inputs:
        np.testing.assert_array_equal(images[name], plain[name] // 2)


def test_an_augmentation_may_say_what_becomes_of_it(packed: Path) -> None:
    class Both(Brighten):
        def apply_to_target_image(self, pixels: np.ndarray, brightness: int) -> np.ndarray:
            return self.apply_to_image(pixels, brightness)

    assert not np.array_equal(batch(packed, augment=Both(90))[1], batch(packed)[1])


@pytest.mark.parametrize("name", ["landmarks", "grid"])
@pytest.mark.parametrize("augment", [kseq.RandomFlip(), kseq.CenterCrop(20), RandomRotation(4)])
def test_numbers_that_look_like_positions_are_refused_unless_they_do_not_move(packed: Path, name: str, augment: Any) -> None:
    with raises(ArgumentError, name, type(augment).__name__, "keypoints", f"unmoved='{name}'"):
        batch(packed, name, augment=augment)
    _, values = batch(packed, name, augment=augment, unmoved=name)
    assert values[0].tolist() == NUMBERS[name]
    assert batch(packed, "age", augment=augment)[1][0].tolist() == [3, 4]
    assert batch(packed, name, augment=Brighten(9))[1][0].tolist() == NUMBERS[name]


@pytest.mark.parametrize("unmoved", ["negative", ["age", "nothing"], 3])
def test_what_cannot_be_unmoved_is_refused(packed: Path, unmoved: Any) -> None:
    with raises(ArgumentError, "unmoved"):
        batch(packed, "age", unmoved=unmoved)


def test_a_layer_of_keras_that_would_move_images_alone_is_refused(packed: Path) -> None:
    with raises(ArgumentError, "RandomRotation", "negative"):
        batch(packed, augment=keras.layers.RandomRotation(0.1))
    images, _ = batch(packed, "age", augment=keras.layers.RandomRotation(0.1), dtype="float32")
    assert images.shape == (4, 40, 50, 3)
