"""`layout="keras"`: batches that layers of Keras take as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError
from kseq.training.keras_layout import BOX_FORMATS, convert_boxes
from tests.helpers.messages import raises
from tests.helpers.objects import COUNT, HEIGHT, WIDTH, assert_objects_agree, pack_objects, write_objects


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    columns = kseq.Columns(mask="mask", boxes="boxes", box_labels="kinds", label="caption")
    return pack_objects(write_objects(folder), folder / "packed", columns=columns)


def batch(path: Path, **arguments: Any) -> dict[str, Any]:
    options = {"shuffle": False, "workers": 0, "layout": "keras", "label_mode": "categorical"} | arguments
    with kseq.ShardSequence(path, "all", **options) as sequence:
        value: dict[str, Any] = sequence[0]
    return value


def test_a_batch_is_one_dict(packed: Path) -> None:
    found = batch(packed)
    assert sorted(found) == ["bounding_boxes", "images", "labels", "segmentation_masks"]
    assert found["images"].shape == (COUNT, HEIGHT, WIDTH, 3)
    assert found["labels"].shape == (COUNT, COUNT)
    assert found["segmentation_masks"].shape == (COUNT, HEIGHT, WIDTH, 1)
    boxes = found["bounding_boxes"]
    assert {name: array.shape for name, array in boxes.items()} == {
        "boxes": (COUNT, 2, 4),
        "labels": (COUNT, 2),
    }


@pytest.mark.parametrize("format", BOX_FORMATS)
def test_boxes_are_written_as_keras_writes_them(packed: Path, format: str) -> None:
    plain = batch(packed)["bounding_boxes"]["boxes"]
    expected = keras.utils.bounding_boxes.convert_format(plain, source="xyxy", target=format, height=HEIGHT, width=WIDTH)
    found = batch(packed, bounding_box_format=format)["bounding_boxes"]["boxes"]
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), rtol=1e-6)
    assert found.dtype == np.float32
    assert not convert_boxes(np.zeros((1, 4), np.float32), format, 5, 6).any()


LAYERS: dict[str, Any] = {
    "RandomFlip": lambda: keras.layers.RandomFlip("horizontal", seed=1, bounding_box_format="rel_xyxy"),
    "RandomTranslation": lambda: keras.layers.RandomTranslation(0.1, 0.1, "constant", seed=1, bounding_box_format="rel_xyxy"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_move_pixels_move_boxes_and_masks_of_it(packed: Path, name: str) -> None:
    found = LAYERS[name]()(batch(packed, bounding_box_format="rel_xyxy"), training=True)
    images, masks = (keras.ops.convert_to_numpy(found[key]) for key in ("images", "segmentation_masks"))
    boxes = keras.ops.convert_to_numpy(found["bounding_boxes"]["boxes"]) * np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    labels = keras.ops.convert_to_numpy(found["bounding_boxes"]["labels"]).astype(int)
    for number in range(COUNT):
        whole = labels[number] == 0
        assert_objects_agree(images[number], masks[number], boxes[number][whole], labels[number][whole], 2.5)


@pytest.mark.parametrize("layer", [keras.layers.MixUp, keras.layers.CutMix, keras.layers.RandAugment])
def test_layers_for_classes_take_it(packed: Path, layer: Any) -> None:
    found = layer(seed=1)(batch(packed, targets="label", dtype="float32"), training=True)
    assert found["images"].shape == (COUNT, HEIGHT, WIDTH, 3)
    assert found["labels"].shape == (COUNT, COUNT)


def test_weights_come_with_it(packed: Path) -> None:
    found = batch(packed, batch_size=8, remainder="pad", targets="label")
    assert sorted(found) == ["images", "labels", "sample_weight"]
    assert found["sample_weight"].shape == (8,)


def test_boxes_without_class_have_class_0(tmp_path: Path) -> None:
    columns = kseq.Columns(boxes="boxes", label="")
    path = pack_objects(write_objects(tmp_path), tmp_path / "packed", columns=columns)
    found = batch(path, pad_to=3, label_mode="int")
    assert found["bounding_boxes"]["labels"].tolist() == [[0, 0, -1]] * COUNT


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"layout": "torch"}, ["layout='torch'"]),
        ({"bounding_box_format": "coco"}, ["bounding_box_format='coco'", "rel_xyxy"]),
        ({"layout": None, "bounding_box_format": "xywh"}, ["bounding_box_format", "layout='keras'"]),
        ({"targets": {"a": "label"}}, ["targets", "layout='keras'"]),
        ({"ragged": True}, ["ragged", "layout='keras'"]),
    ],
)
def test_arguments_that_do_not_go_with_it_are_refused(packed: Path, arguments: dict[str, Any], parts: list[str]) -> None:
    with raises(ArgumentError, *parts):
        batch(packed, **arguments)
