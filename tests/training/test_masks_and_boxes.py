"""Masks and boxes go where their image goes: at packing, and in every crop, flip and resize of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq.errors import ArgumentError, ImageError
from kseq.images.bounding_boxes import check_boxes, flip_boxes, transform_boxes
from kseq.images.rectangle import Rectangle
from kseq.storage.shard_reader import ShardReader
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from tests.helpers.messages import Parts, raises
from tests.helpers.objects import COUNT, assert_objects_agree, pack_objects


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_packing_moves_masks_and_boxes_with_their_image(table: Path, tmp_path: Path, resize: str, encoding: str) -> None:
    pack_objects(table, tmp_path / "packed", images=kseq.ImageSettings(encoding, (120, 120), resize=resize))
    for sample in kseq.ShardDataset(tmp_path / "packed"):
        assert_objects_agree(sample["image"], sample["mask"], sample["boxes"], sample["labels"], 2)
        assert len(sample["boxes"]) == 2 or resize == "crop"


def test_packing_with_a_longest_side_moves_boxes_too(table: Path, tmp_path: Path) -> None:
    pack_objects(table, tmp_path / "packed", images=kseq.ImageSettings("jpeg", max_side=45))
    for sample in kseq.ShardDataset(tmp_path / "packed"):
        assert sample["image"].shape[:2] == sample["mask"].shape[:2] == (30, 45)
        assert_objects_agree(sample["image"], sample["mask"], sample["boxes"], sample["labels"], 1.5)


def test_a_batch_is_padded_without_a_look_at_its_shards(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = kseq.ShardDataset(kept)
    counts = [len(boxes) for boxes in dataset.values("boxes")]
    texts = [len(text.encode()) for text in dataset.values("text")]

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a shard was opened")

    monkeypatch.setattr(ShardReader, "__init__", refuse)
    maker = BatchMaker(kseq.ShardDataset(kept), ["boxes", "labels", "text"], ImageSpec(8, 8))
    for ids in ([0], [11, 3, 3], list(range(COUNT))):
        specs = maker.specs(np.array(ids))
        assert specs["boxes"].shape == (len(ids), max(counts[number] for number in ids), 4)
        assert specs["text"].shape == (len(ids), max(texts[number] for number in ids))


AUGMENTS: dict[str, dict[str, Any]] = {
    "resized": {"input_shape": (97, 71, 3)},
    "cropped to the ratio": {"input_shape": (80, 80, 3), "crop_to_aspect_ratio": True},
    "padded": {"input_shape": (100, 100, 3), "pad_to_aspect_ratio": True},
    "center crop": {"augment": kseq.CenterCrop((50, 60))},
    "random crop": {"augment": kseq.RandomResizedCrop((64, 80), scale=(0.3, 1))},
    "flipped": {"input_shape": (60, 90, 3), "augment": kseq.RandomFlip("horizontal_and_vertical")},
    "all of it": {"augment": [kseq.RandomResizedCrop(96, scale=(0.4, 1)), kseq.RandomFlip("horizontal_and_vertical")]},
}
TARGETS = {name: name for name in ("mask", "boxes", "labels", "boxes_mask", "labels_mask")}


@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("stored", ["kept", "raw"])
def test_batches_move_masks_and_boxes_with_their_image(name: str, stored: str, request: pytest.FixtureRequest) -> None:
    options = AUGMENTS[name]
    with kseq.ShardSequence(request.getfixturevalue(stored), batch_size=5, targets=TARGETS, workers=2, **options) as sequence:
        seen = 0
        for _ in range(3):
            for images, targets in sequence:
                assert targets["mask"].shape == (*images.shape[:3], 1)
                for place, image in enumerate(images):
                    there = targets["boxes_mask"][place]
                    np.testing.assert_array_equal(there, targets["labels_mask"][place])
                    boxes, labels = targets["boxes"][place][there], targets["labels"][place][there]
                    assert_objects_agree(image, targets["mask"][place], boxes, labels, 3)
                    seen += len(boxes)
        assert seen > 40


def test_boxes_whose_centre_is_cropped_away_go_with_their_labels(kept: Path) -> None:
    with kseq.ShardSequence(
        kept, augment=kseq.RandomResizedCrop(48, scale=(0.1, 0.3)), targets=TARGETS, batch_size=12, workers=0
    ) as sequence:
        _, targets = sequence[0]
    counts = targets["boxes_mask"].sum(axis=1)
    assert counts.min() < 2
    gone = ~targets["boxes_mask"]
    assert (targets["labels"][gone] == -1).all()
    assert (targets["boxes"][gone] == 0).all()
    assert (targets["labels"][~gone] >= 0).all()


@pytest.mark.parametrize(
    "options", [{"workers": 3}, {"workers": 2, "use_multiprocessing": True}, {"workers": 0, "verify": "always"}]
)
def test_workers_give_what_the_calling_thread_gives(kept: Path, options: dict[str, Any]) -> None:
    augment = [kseq.RandomResizedCrop(40), kseq.RandomFlip()]
    targets = {**TARGETS, "text": "text"}
    with (
        kseq.ShardSequence(kept, augment=augment, targets=targets, batch_size=12, workers=0) as plain,
        kseq.ShardSequence(kept, augment=augment, targets=targets, batch_size=12, **options) as other,
    ):
        for (image, target), (same_image, same_target) in zip(plain, other, strict=True):
            np.testing.assert_array_equal(image, same_image, strict=True)
            for name in targets:
                np.testing.assert_array_equal(target[name], same_target[name], strict=True)


def test_functions_over_a_batch_leave_masks_alone(raw: Path) -> None:
    with kseq.ShardSequence(
        raw,
        augment=lambda images: images // 2,
        targets={"mask": "mask"},
        data_format="channels_first",
        shuffle=False,
        workers=0,
    ) as sequence:
        images, targets = sequence[0]
    dataset = kseq.ShardDataset(raw)
    np.testing.assert_array_equal(images[3], dataset[3]["image"].transpose(2, 0, 1) // 2)
    np.testing.assert_array_equal(targets[3], dataset[3]["mask"].transpose(2, 0, 1))


def test_ragged_fields_come_as_lists_on_request(kept: Path) -> None:
    with kseq.ShardSequence(
        kept, input_shape=(60, 90, 3), targets={"boxes": "boxes", "text": "text"}, ragged=True, shuffle=False, workers=0
    ) as sequence:
        _, targets = sequence[0]
    dataset = kseq.ShardDataset(kept)
    for number, boxes in enumerate(targets["boxes"]):
        np.testing.assert_array_equal(boxes, dataset[number]["boxes"], strict=True)
    assert targets["text"].tolist() == [f"no {number}" for number in range(COUNT)]


def test_some_fields_come_as_lists_and_others_padded(kept: Path) -> None:
    targets = {name: name for name in ("boxes", "labels", "text")}
    for ragged in ("boxes", ["boxes"], ("boxes",), {"boxes"}):
        with kseq.ShardSequence(kept, input_shape=(60, 90, 3), targets=targets, ragged=ragged, workers=0) as sequence:
            _, found = sequence[0]
        assert [boxes.shape for boxes in found["boxes"]] == [(2, 4)] * COUNT
        assert (found["labels"].shape, found["text"].dtype) == ((COUNT, 2), np.uint8)


def test_text_leaves_as_its_bytes_padded_with_zeros(kept: Path) -> None:
    options: dict[str, Any] = {"input_shape": (60, 90, 3), "targets": "text", "workers": 0}
    with kseq.ShardSequence(kept, shuffle=False, **options) as sequence:
        _, texts = sequence[0]
    assert (texts.shape, texts.dtype) == ((COUNT, 5), np.uint8)
    assert [row.tobytes().rstrip(b"\0").decode() for row in texts] == [f"no {number}" for number in range(COUNT)]
    with kseq.ShardSequence(kept, pad_to={"text": 9}, **options) as sequence:
        assert sequence[0][1].shape == (COUNT, 9)
    with kseq.ShardSequence(kept, pad_to={"text": 4}, **options) as sequence, raises(ArgumentError, "text", "pad_to", 5, 4):
        sequence[0]


def test_one_field_of_several_is_padded_to_a_number(kept: Path) -> None:
    targets = {name: name for name in ("boxes", "labels", "text")}
    with kseq.ShardSequence(kept, input_shape=(60, 90, 3), targets=targets, pad_to={"boxes": 7}, workers=0) as sequence:
        _, found = sequence[0]
    assert (found["boxes"].shape, found["labels"].shape) == ((COUNT, 7, 4), (COUNT, 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ragged": "bxoes"}, ("ragged='bxoes'", "boxes", "labels")),
        ({"ragged": ["boxes", "mask"]}, ("'mask'", "boxes", "labels")),
        ({"ragged": [3]}, ("ragged=[3]",)),
        ({"ragged": {"boxes": True}}, ("ragged={'boxes': True}",)),
        ({"ragged": None}, ("ragged=None",)),
        ({"pad_to": {"mask": 3}}, ("pad_to={'mask': 3}", "'mask'", "boxes")),
        ({"pad_to": {"boxes": 0}}, ("pad_to['boxes']=0", 1)),
        ({"pad_to": {"boxes": 3}, "ragged": "boxes"}, ("pad_to={'boxes': 3}", "labels")),
        ({"pad_to": 3, "ragged": True}, ("pad_to=3", "boxes")),
        ({"pad_to": 3, "targets": "mask"}, ("pad_to=3", "mask")),
        ({"pad_to": 3, "targets": "text"}, ("pad_to={'text': 3}",)),
        ({"pad_to": "3"}, ("pad_to='3'",)),
        ({"targets": "bxoes"}, ("targets='bxoes'", "boxes", "labels", "boxes_mask")),
        ({"inputs": "photo"}, ("inputs='photo'", "image", "boxes")),
        ({"inputs": "mask"}, ("inputs='mask'", "image")),
        ({"inputs": ["image", "text"]}, ("inputs=['image', 'text']", "image", "boxes")),
        ({"sample_weight": "boxes"}, ("sample_weight='boxes'", "none")),
        ({"label_mode": "categorical"}, ("label_mode='categorical'", "image", "mask", "boxes")),
        ({"label_mode": "binary"}, ("label_mode='binary'", "image", "mask", "boxes")),
        ({"label_mode": None, "targets": "mask"}, ("label_mode=None", "targets='mask'")),
    ],
)
def test_names_that_do_not_fit_are_refused_with_those_that_do(kept: Path, options: dict[str, Any], words: Parts) -> None:
    targets = {name: name for name in ("boxes", "labels")}
    with raises(ArgumentError, *words):
        kseq.ShardSequence(kept, **{"input_shape": (60, 90, 3), "targets": targets, **options})


def test_pad_to_gives_every_batch_one_shape(kept: Path) -> None:
    options: dict[str, Any] = {"input_shape": (60, 90, 3), "targets": {"boxes": "boxes", "labels": "labels"}, "workers": 0}
    with kseq.ShardSequence(kept, pad_to=7, **options) as sequence:
        assert sequence[0][1]["boxes"].shape == (COUNT, 7, 4)
        assert sequence[0][1]["labels"].shape == (COUNT, 7)
    with kseq.ShardSequence(kept, pad_to=1, **options) as sequence, raises(ArgumentError, 2):
        sequence[0]


def test_without_a_label_all_else_is_the_target(kept: Path) -> None:
    with kseq.ShardSequence(kept, input_shape=(60, 90, 3), workers=0) as sequence:
        _, targets = sequence[0]
        assert list(targets) == ["mask", "labels", "boxes", "text", "labels_mask", "boxes_mask"]
        assert sequence.class_names == ("cup", "plate")


def test_a_weight_field_is_the_third_element(tmp_path: Path) -> None:
    for number in range(6):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "t.csv").write_text("image,label,worth\n" + "".join(f"{n}.png,{n % 2},{n / 2}\n" for n in range(6)))
    kseq.pack(
        tmp_path / "t.csv",
        tmp_path / "packed",
        columns=kseq.Columns(sample_weight="worth"),
        images=kseq.ImageSettings("raw", (4, 4)),
        workers=0,
    )
    with kseq.ShardSequence(tmp_path / "packed", sample_weight="sample_weight", seed=4, workers=0) as sequence:
        images, _, weights = sequence[0]
        np.testing.assert_array_equal(weights, images[:, 0, 0, 0] / 2)
        assert weights.dtype == np.float32
    with raises(ArgumentError, "sample_weight='label'"):
        kseq.ShardSequence(tmp_path / "packed", sample_weight="label")


box_numbers = st.tuples(st.integers(0, 80), st.integers(0, 50), st.integers(1, 40), st.integers(1, 40))


@given(st.lists(box_numbers, max_size=5), st.booleans(), st.booleans())
def test_flipping_twice_gives_the_boxes_back(corners: list[tuple[int, int, int, int]], down: bool, across: bool) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners], np.float32).reshape(-1, 4)
    once = flip_boxes(boxes, down, across, 90, 120)
    np.testing.assert_array_equal(flip_boxes(once, down, across, 90, 120), boxes)
    assert ((once[:, 2:] - once[:, :2]) == (boxes[:, 2:] - boxes[:, :2])).all()


@settings(max_examples=200)
@given(st.lists(box_numbers, max_size=5), box_numbers, st.integers(1, 99), st.integers(1, 99))
def test_moved_boxes_have_area_and_lie_in_the_target(
    corners: list[tuple[int, int, int, int]], part: tuple[int, int, int, int], height: int, width: int
) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners], np.float32).reshape(-1, 4)
    left, top, part_width, part_height = part
    moved, stay = transform_boxes(boxes, Rectangle(top, left, part_height, part_width), Rectangle(3, 5, height, width))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centres >= [left, top]) & (centres <= [left + part_width, top + part_height])
    np.testing.assert_array_equal(stay, inside.all(axis=1))
    assert (moved[:, :2] < moved[:, 2:]).all()
    assert (moved >= np.array([5, 3, 5, 3]) - 1e-3).all()
    assert (moved <= np.array([5 + width, 3 + height] * 2) + 1e-3).all()


def test_boxes_that_stick_out_are_clipped() -> None:
    np.testing.assert_array_equal(check_boxes(np.array([[-2, -3, 5, 70.5]]), 60, 90), [[0, 0, 5, 60]])
    with raises(ImageError, "box 1", 0, 5, "nan"):
        check_boxes(np.array([[0, 0, 1, 1], [np.nan, 0, 5, 5]]), 60, 90)


def small_net(channels: int) -> keras.Sequential:
    return keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(channels, 3, padding="same")])


def losses(model: keras.Model, sequence: kseq.ShardSequence, **options: Any) -> list[float]:
    history = model.fit(sequence, epochs=2, shuffle=False, verbose=0, **options)
    found: list[float] = history.history["loss"]
    assert np.isfinite(found).all()
    return found


def test_a_segmentation_model_trains(table: Path, tmp_path: Path) -> None:
    kseq.pack(table, tmp_path / "packed", columns=kseq.Columns(mask="mask"), workers=0)
    model = small_net(256)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with kseq.ShardSequence(tmp_path / "packed", augment=kseq.RandomResizedCrop(32), batch_size=4) as sequence:
        _, masks = sequence[0]
        assert masks.shape == (4, 32, 32, 1)
        assert masks.dtype == np.uint8
        found = losses(model, sequence)
    assert found[1] < found[0]


class Detector(keras.Model):
    """Two boxes for each image, compared with those that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.net = keras.Sequential([small_net(4), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2 * 4)])

    def call(self, images: Any) -> Any:
        return keras.ops.reshape(self.net(images), (-1, 2, 4))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        there = keras.ops.cast(y["boxes_mask"], "float32")[..., None]
        return keras.ops.mean(there * keras.ops.abs(y["boxes"] / 64 - y_pred))


def test_a_detection_model_trains(kept: Path) -> None:
    model = Detector()
    model.compile("adam")
    targets = {name: name for name in ("boxes", "labels", "boxes_mask")}
    augment = [kseq.RandomResizedCrop(64, scale=(0.5, 1)), kseq.RandomFlip()]
    with kseq.ShardSequence(kept, augment=augment, targets=targets, pad_to=2, batch_size=4) as sequence:
        losses(model, sequence)


def write_numbers(folder: Path) -> Path:
    for number in range(12):
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(folder / f"{number}.png")
    tags = ["|".join(["low"] * (n < 6) + ["even"] * (n % 2 == 0)) for n in range(12)]
    rows = [f"{n}.png,{11 - n}.png,{tags[n]},{n / 11},{n % 2}\n" for n in range(12)]
    (folder / "t.csv").write_text("left,right,tags,shade,label\n" + "".join(rows))
    return folder / "t.csv"


def test_a_model_of_two_inputs_trains(tmp_path: Path) -> None:
    kseq.pack(
        write_numbers(tmp_path),
        tmp_path / "p",
        columns=kseq.Columns(image=["left", "right"]),
        images=kseq.ImageSettings("raw", (8, 8)),
        workers=0,
    )
    inputs = {name: keras.Input((8, 8, 3), name=name) for name in ("left", "right")}
    flat = [keras.layers.GlobalAveragePooling2D()(value / 255) for value in inputs.values()]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(flat)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with kseq.ShardSequence(tmp_path / "p", batch_size=4) as sequence:
        losses(model, sequence)


def test_a_model_of_several_labels_and_a_regression_trains(tmp_path: Path) -> None:
    options: dict[str, Any] = {"images": kseq.ImageSettings("raw", (8, 8)), "workers": 0}
    kseq.pack(
        write_numbers(tmp_path),
        tmp_path / "p",
        columns=kseq.Columns(image="left", targets={"tags": "tags", "shade": "shade"}),
        **options,
    )
    with kseq.ShardSequence(tmp_path / "p", targets={"tags": "tags", "shade": "shade"}, batch_size=4, seed=1) as sequence:
        images, targets = sequence[0]
        numbers = images[:, 0, 0, 0] // 20
        np.testing.assert_array_equal(
            targets["tags"], np.stack([numbers % 2 == 0, numbers < 6], 1).astype(np.float32), strict=True
        )
        np.testing.assert_allclose(targets["shade"], numbers / 11, rtol=1e-6)
        assert targets["shade"].dtype == np.float32
        mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs := keras.Input((8, 8, 3))))
        heads = {"tags": keras.layers.Dense(2, "sigmoid")(mean), "shade": keras.layers.Dense(1)(mean)}
        model = keras.Model(inputs, heads)
        model.compile("adam", {"tags": "binary_crossentropy", "shade": "mse"})
        losses(model, sequence)
