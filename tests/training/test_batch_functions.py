"""Functions of the user over a whole batch: they change images, masks, boxes and labels together, or are refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import kseq
from kseq.errors import ArgumentError
from tests.helpers.messages import Parts, raises
from tests.helpers.objects import COUNT, HEIGHT, WIDTH, assert_objects_agree

TARGETS = {name: name for name in ("mask", "boxes", "labels", "boxes_mask", "labels_mask", "text")}


def mirror(batch: dict[str, Any]) -> dict[str, Any]:
    """The whole batch, left to right."""
    boxes = batch["boxes"].copy()
    boxes[..., [0, 2]] = batch["image"].shape[2] - batch["boxes"][..., [2, 0]]
    return {"image": batch["image"][:, :, ::-1], "mask": batch["mask"][:, :, ::-1], "boxes": boxes}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("ragged", [False, True])
def test_masks_and_boxes_follow(kept: Path, data_format: str, ragged: bool) -> None:
    with kseq.ShardSequence(
        kept,
        augment=[kseq.RandomResizedCrop((70, 90), scale=(0.5, 1)), kseq.BatchFunction(mirror)],
        targets=TARGETS,
        data_format=data_format,
        ragged=ragged,
        workers=0,
    ) as sequence:
        images, targets = sequence[0]
    masks = targets["mask"]
    if data_format == "channels_first":
        images, masks = np.moveaxis(images, 1, -1), np.moveaxis(masks, 1, -1)
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        is_box = np.ones(len(targets["boxes"][row]), bool) if ragged else targets["boxes_mask"][row]
        assert_objects_agree(image, mask, targets["boxes"][row][is_box], targets["labels"][row][is_box], 3)


def test_a_function_gets_all_fields_of_the_batch_as_they_are_documented(raw: Path) -> None:
    seen: dict[str, tuple[tuple[int, ...], str]] = {}

    def note(batch: dict[str, Any]) -> dict[str, Any]:
        seen.update({name: (array.shape, array.dtype.kind) for name, array in batch.items()})
        return {}

    with kseq.ShardSequence(
        raw, targets=TARGETS, dtype="float32", data_format="channels_first", augment=kseq.BatchFunction(note), workers=0
    ) as sequence:
        images, targets = sequence[0]
    assert seen == {
        "image": ((COUNT, HEIGHT, WIDTH, 3), "u"),
        "mask": ((COUNT, HEIGHT, WIDTH, 1), "u"),
        "labels": ((COUNT, 2), "i"),
        "boxes": ((COUNT, 2, 4), "f"),
        "text": ((COUNT,), "U"),
        "labels_mask": ((COUNT, 2), "b"),
        "boxes_mask": ((COUNT, 2), "b"),
    }
    assert (images.shape, images.dtype, targets["mask"].shape) == (
        (COUNT, 3, HEIGHT, WIDTH),
        np.float32,
        (COUNT, 1, HEIGHT, WIDTH),
    )


def mix(batch: dict[str, Any]) -> dict[str, Any]:
    """The mean of each sample and the one after it in the batch."""
    images = batch["image"].astype(np.float32)
    return {"image": (images + np.roll(images, 1, 0)) / 2, "label": (batch["label"] + np.roll(batch["label"], 1, 0)) / 2}


def test_images_and_labels_can_be_mixed(numbered: Path) -> None:
    options: dict[str, Any] = {"label_mode": "categorical", "dtype": "float32", "batch_size": 20, "workers": 0}
    with kseq.ShardSequence(numbered, "val", **options) as sequence:
        images, labels = sequence[0]
    with kseq.ShardSequence(numbered, "val", augment=kseq.BatchFunction(mix), scale=1 / 255, **options) as sequence:
        mixed_images, mixed_labels = sequence[0]
        with pickle.loads(pickle.dumps(sequence)) as copy:
            np.testing.assert_array_equal(copy[0][0], mixed_images)
    np.testing.assert_allclose(mixed_images, (images + np.roll(images, 1, 0)) / 2 / 255, rtol=1e-6)
    np.testing.assert_array_equal(mixed_labels, (labels + np.roll(labels, 1, 0)) / 2)


def test_functions_of_both_kinds_run_in_their_order(numbered: Path) -> None:
    functions = [
        lambda images: images // 2,
        kseq.BatchFunction(lambda batch: {"image": batch["image"] + 10}),
        lambda images: images * 2,
    ]
    with kseq.ShardSequence(numbered, "val", augment=[kseq.RandomFlip(), *functions], workers=0) as sequence:
        found = sequence[0][0]
    np.testing.assert_array_equal(found, (kseq.ShardDataset(numbered, "val").read(range(20))["image"] // 2 + 10) * 2)


def test_a_function_may_change_arrays_in_place_and_the_number_of_boxes(raw: Path) -> None:
    def crowd(batch: dict[str, Any]) -> dict[str, Any]:
        batch["image"][:] = 3
        return {name: np.repeat(batch[name], 2, axis=1) for name in ("boxes", "boxes_mask")}

    targets = {"boxes": "boxes", "boxes_mask": "boxes_mask"}
    with kseq.ShardSequence(raw, targets=targets, augment=kseq.BatchFunction(crowd), workers=0) as sequence:
        images, found = sequence[0]
    assert (images == 3).all()
    assert (found["boxes"].shape, found["boxes_mask"].shape) == ((COUNT, 4, 4), (COUNT, 4))


def test_a_function_may_change_texts_and_make_tokens_of_them(kept: Path) -> None:
    def read(*functions: Any) -> np.ndarray:
        options: dict[str, Any] = {"input_shape": (60, 90, 3), "targets": "text", "shuffle": False, "workers": 0}
        with kseq.ShardSequence(kept, augment=[kseq.BatchFunction(function) for function in functions], **options) as sequence:
            texts: np.ndarray = sequence[0][1]
            return texts

    changed = read(lambda batch: {"text": np.char.add(batch["text"], "ü")})
    assert [row.tobytes().rstrip(b"\0").decode() for row in changed] == [f"no {number}ü" for number in range(COUNT)]
    tokens = read(
        lambda batch: {"text": [[len(text), int(text[3:])] for text in batch["text"]]},
        lambda batch: {"text": batch["text"] + 1},
    )
    assert tokens.tolist() == [[5 + (number > 9), number + 1] for number in range(COUNT)]


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
def test_a_mask_of_elements_may_come_back_as_ones_and_zeros(kept: Path, dtype: str) -> None:
    def count(*functions: Any) -> list[int]:
        options: dict[str, Any] = {"targets": TARGETS, "ragged": True, "shuffle": False, "workers": 0}
        with kseq.ShardSequence(kept, "all", augment=functions, **options) as sequence:
            return [len(boxes) for boxes in sequence[0][1]["boxes"]]

    assert count(kseq.BatchFunction(lambda batch: {"boxes_mask": batch["boxes_mask"].astype(dtype)})) == count()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda batch: {"boxes_mask": batch["boxes_mask"] * 2}, ("boxes_mask", "True")),
        (lambda batch: batch["image"], ("ndarray",)),
        (lambda batch: None, ("NoneType",)),
        (lambda batch: {"imgae": batch["image"]}, ("'imgae'", "image", "mask")),
        (lambda batch: {"image": batch["image"][:3]}, ("uint8", "(3, 60, 90, 3)", "image", 12)),
        (
            lambda batch: {"mask": batch["mask"][..., 0]},
            ("mask", "(12, 60, 90)"),
        ),
        (lambda batch: {"image": None}, ("image", 12)),
        (lambda batch: {"boxes": [[1], [1, 2]]}, ("boxes",)),
        (lambda batch: {"text": np.zeros(12)}, ("float64", "(12,)", "text", 12)),
        (
            lambda batch: {"boxes": batch["boxes"][:, :1]},
            ("boxes", "(12, 1, 4)", "boxes_mask", "(12, 2)"),
        ),
        (lambda batch: {"image": batch["image"] / 255}, ("float64", "dtype='uint8'")),
    ],
)
def test_refuses_in_one_line_what_does_not_fit(raw: Path, function: Any, words: Parts) -> None:
    with (
        kseq.ShardSequence(raw, targets=TARGETS, augment=kseq.BatchFunction(function), workers=0) as sequence,
        raises(ArgumentError, *words),
    ):
        sequence[0]


def test_refuses_what_is_no_function() -> None:
    with raises(ArgumentError, "function=5"):
        kseq.BatchFunction(5)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4"])
def test_what_functions_return_in_another_byte_order_leaves_in_that_of_the_machine(raw: Path, dtype: str) -> None:
    """PyTorch refuses other arrays."""

    def change(batch: dict[str, Any]) -> dict[str, Any]:
        return {name: batch[name].astype(dtype) for name in ("image", "boxes", "labels")}

    options: dict[str, Any] = {"targets": TARGETS, "dtype": "float32", "workers": 0, "shuffle": False}
    functions = [lambda images: images.astype(dtype), kseq.BatchFunction(change)]
    with (
        kseq.ShardSequence(raw, **options) as plain,
        kseq.ShardSequence(raw, augment=functions, **options) as changed,
    ):
        (images, targets), (before, targets_before) = changed[0], plain[0]
    np.testing.assert_array_equal(images, before)
    for name in ("boxes", "labels"):
        assert targets[name].dtype.isnative
        np.testing.assert_array_equal(targets[name], targets_before[name].astype(dtype))
