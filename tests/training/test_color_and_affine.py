"""RandomAffine, ColorJitter and RandomErasing: what they do to pixels, masks, boxes and keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError
from kseq.training.augment import Augmentation
from tests.helpers.messages import raises
from tests.helpers.objects import assert_objects_agree, pack_objects, write_objects
from tests.helpers.photos import photo

PHOTO = photo(3, 40, 60)


def changed(augmentation: Augmentation, draws: Any, pixels: np.ndarray = PHOTO) -> np.ndarray:
    (parameters,) = augmentation.parameters(np.array([draws], float))
    return pixels if parameters is None else augmentation.apply_to_image(pixels.copy(), parameters)


@pytest.mark.parametrize(
    "affine",
    [
        kseq.RandomAffine(20),
        kseq.RandomAffine(translate=(0.2, 0.1)),
        kseq.RandomAffine(scale=(0.7, 1.2)),
        kseq.RandomAffine(shear=10),
        kseq.RandomAffine(5, translate=(0.05, 0.05), scale=(0.9, 1), shear=4),
        kseq.RandomRotation(0.05, "constant"),
        kseq.RandomZoom(0.3, 0.2, "constant"),
        kseq.RandomTranslation(0.2, 0.1, "constant"),
    ],
)
def test_masks_and_boxes_move_with_the_image(tmp_path: Path, affine: Augmentation) -> None:
    path = pack_objects(write_objects(tmp_path), tmp_path / "packed")
    targets = {"mask": "mask", "boxes": "boxes", "labels": "labels"}
    with kseq.Batches(path, "all", augment=affine, targets=targets, workers=0, ragged=True) as batches:
        images, found = batches.batch(1, 0)
    is_upright = getattr(affine, "degrees", 0) == getattr(affine, "shear", 0) == 0 and not isinstance(
        affine, kseq.RandomRotation
    )
    for image, mask, boxes, labels in zip(images, found["mask"], found["boxes"], found["labels"], strict=True):
        # An object in the image and in the mask lies in the box of its turned corners.
        seen, marked = [[(image[..., n + 1] > 130) for n in range(2)], [(mask[..., 0] == 100 * (n + 1)) for n in range(2)]]
        for label, (x1, y1, x2, y2) in zip(labels.tolist(), boxes.tolist(), strict=True):
            for pixels in (seen[label], marked[label]):
                rows, columns = np.nonzero(pixels)
                assert x1 - 1.5 <= columns.min() <= columns.max() <= x2 + 1
                assert y1 - 1.5 <= rows.min() <= rows.max() <= y2 + 1
        if is_upright:
            whole = labels == 0
            assert_objects_agree(image, mask, boxes[whole], labels[whole], 2)


def test_a_quarter_turn_is_numpys(tmp_path: Path) -> None:
    square = photo(1, 30, 30)
    np.testing.assert_array_equal(changed(kseq.RandomAffine(90), [1, 0.5, 0, 0.5, 0.5], square), np.rot90(square, -1))
    affine = kseq.RandomAffine(90)
    (parameters,) = affine.parameters(np.array([[1, 0.5, 0, 0.5, 0.5]]))
    np.testing.assert_allclose(affine.apply_to_points(np.array([[0.5, 0.5]], np.float32), parameters, 30, 30), [[29.5, 0.5]])


def test_what_comes_from_outside_is_filled() -> None:
    affine = kseq.RandomAffine(translate=(0.5, 0), fill=7, mask_fill=255)
    (parameters,) = affine.parameters(np.array([[0.5, 0.5, 0, 1, 0.5]]))
    assert (affine.apply_to_image(PHOTO, parameters)[:19] == 7).all()
    assert (affine.apply_to_mask(PHOTO[..., :1].copy(), parameters)[:19] == 255).all()


def test_middle_draws_leave_an_image_as_it_is() -> None:
    np.testing.assert_array_equal(changed(kseq.RandomAffine(90, shear=9), [0.5, 0.5, 0, 0.5, 0.5]), PHOTO)
    np.testing.assert_array_equal(changed(kseq.ColorJitter(0.5, 0.5, 0.5), [0.5] * 4), PHOTO)


def test_brightness_contrast_and_saturation_go_by_their_factors() -> None:
    assert np.abs(changed(kseq.ColorJitter(brightness=0.5), [0, 0, 0, 0.5]) - PHOTO * 0.5).max() <= 0.51
    flat = changed(kseq.ColorJitter(contrast=1), [0, 0, 0, 0.5])
    assert np.ptp(flat.reshape(-1, 3)) == 0
    grey = changed(kseq.ColorJitter(saturation=1), [0, 0, 0, 0.5]).astype(int)
    assert np.ptp(grey, axis=2).max() == 0
    assert grey.std() > 5


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("augmentation", [kseq.ColorJitter(0.8, 0.3, 0.3, 0.5), kseq.RandomErasing(1, value=9)])
def test_grayscale_and_alpha_are_allowed(augmentation: Augmentation, channels: int) -> None:
    pixels = np.concatenate([PHOTO, PHOTO[..., :1]], axis=2)[..., -channels:].copy()
    result = changed(augmentation, [0.1] * augmentation.num_draws, pixels)
    assert not np.array_equal(result, pixels)
    if channels == 4:
        np.testing.assert_array_equal(result[..., 3], pixels[..., 3])


def test_a_rectangle_of_the_drawn_area_is_painted_over_or_nothing() -> None:
    rng = np.random.default_rng(0)
    erasing = kseq.RandomErasing(0.5, (0.1, 0.2), (0.5, 2), value=0)
    shares = [(changed(erasing, rng.random(erasing.num_draws), PHOTO | 1) == 0).all(axis=2).mean() for _ in range(60)]
    painted = [share for share in shares if share]
    assert 15 <= len(painted) <= 45
    assert 0.08 <= min(painted) < max(painted) <= 0.22


def test_a_sample_changes_alike_in_any_batch(tmp_path: Path) -> None:
    path = pack_objects(write_objects(tmp_path), tmp_path / "packed")
    augment = [kseq.RandomAffine(20), kseq.ColorJitter(0.3, 0.3, 0.3), kseq.RandomErasing()]
    arguments: dict[str, Any] = {"shuffle": False, "targets": "mask", "augment": augment, "seed": 4}
    with (
        kseq.Batches(path, "all", batch_size=12, workers=0, **arguments) as whole,
        kseq.Batches(path, "all", batch_size=4, workers=2, **arguments) as parts,
    ):
        expected = whole.batch(2, 0)
        for position in range(2):
            joined = np.concatenate([parts.batch(2, number)[position] for number in range(3)])
            np.testing.assert_array_equal(joined, expected[position])


@pytest.mark.parametrize(
    "make",
    [
        lambda: kseq.RandomAffine(-1),
        lambda: kseq.RandomAffine("a"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: kseq.RandomAffine(scale=(0, 1)),
        lambda: kseq.RandomAffine(scale=(2, 1)),
        lambda: kseq.RandomAffine(translate=-0.1),
        lambda: kseq.RandomAffine(fill=256).check_dtype("uint8"),
        lambda: kseq.RandomAffine(fill=0.5).check_dtype("uint16"),
        lambda: kseq.RandomAffine(map_fill="far"),
        lambda: kseq.ColorJitter(1.5),
        lambda: kseq.ColorJitter(hue=-0.1),
        lambda: kseq.RandomRotation(1.5),
        lambda: kseq.RandomRotation(0.1, "mirror"),
        lambda: kseq.RandomRotation(0.1, interpolation="cubic"),
        lambda: kseq.RandomZoom(-1),
        lambda: kseq.RandomZoom((0, 0.1, 0.2)),  # type: ignore[arg-type]  # wrong on purpose
        lambda: kseq.RandomTranslation(0.1, "a"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: kseq.RandomTranslation(0.1, 0.1, fill_value=300),
        lambda: kseq.ColorJitter(contrast=float("nan")),
        lambda: kseq.RandomErasing(2),
        lambda: kseq.RandomErasing(scale=(0.5, 0.1)),
        lambda: kseq.RandomErasing(ratio=3),  # type: ignore[arg-type]  # wrong on purpose
        lambda: kseq.RandomErasing(value=-1).check_dtype("uint8"),
        lambda: kseq.RandomErasing(value="black"),
    ],
)
def test_arguments_that_are_not_allowed_are_refused(make: Any) -> None:
    with raises(ArgumentError, "allowed"):
        make()


def near(found: np.ndarray, expected: Any) -> bool:
    """Whether images are alike but for rounding, and for the edge of what comes from outside."""
    gaps = np.abs(found.astype(int) - np.rint(np.asarray(expected)).astype(int)).max(axis=-1)
    return bool(np.mean(gaps > 3) < 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("fill_mode", ["constant", "reflect", "nearest"])
def test_the_layers_of_keras_move_images_alike(fill_mode: str) -> None:
    import keras

    # Of little detail: bilinear weights are rounded in OpenCV.
    smooth = np.linspace(0, 250, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)
    pairs: list[tuple[Augmentation, Any]] = [
        (kseq.RandomRotation((0.08, 0.08), fill_mode), keras.layers.RandomRotation((0.08, 0.08), fill_mode)),
        (kseq.RandomZoom((0.3, 0.3), (-0.2, -0.2), fill_mode), keras.layers.RandomZoom((0.3, 0.3), (-0.2, -0.2), fill_mode)),
        (kseq.RandomZoom((-0.3, -0.3), None, fill_mode), keras.layers.RandomZoom((-0.3, -0.3), None, fill_mode)),
        (
            kseq.RandomTranslation((0.2, 0.2), (-0.1, -0.1), fill_mode),
            keras.layers.RandomTranslation((0.2, 0.2), (-0.1, -0.1), fill_mode),
        ),
    ]
    for augmentation, layer in pairs:
        expected = keras.ops.convert_to_numpy(layer(smooth[None].astype("float32"), training=True))[0]
        assert near(changed(augmentation, [0.3] * augmentation.num_draws, smooth), expected), type(augmentation).__name__


@pytest.mark.slow
def test_hues_are_turned_as_keras_turns_them() -> None:
    import keras

    layer = keras.layers.RandomHue((0.5, 0.5), seed=3)
    expected = keras.ops.convert_to_numpy(layer(PHOTO[None].astype("float32"), training=True))[0]
    # Either way at even odds.
    assert any(near(changed(kseq.ColorJitter(hue=0.5), [0.5, 0.5, 0.5, draw]), expected) for draw in (0, 1))


def test_a_third_of_a_turn_makes_red_green() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    # 120 of 180 degrees.
    green = changed(kseq.ColorJitter(hue=1), [0.5, 0.5, 0.5, (1 + 2 / 3) / 2], red)
    np.testing.assert_array_equal(green, red[..., [1, 0, 2]])


def test_a_pixel_without_a_number_stays_alone_in_jittered_images() -> None:
    for channels in (1, 3, 6):
        pixels = np.random.default_rng(0).uniform(size=(8, 9, channels)).astype(np.float32)
        holed = pixels.copy()
        holed[2, 3], holed[4, 5] = np.nan, np.inf
        jitter = kseq.ColorJitter(0.2, 0.2, 0.2)
        found = changed(jitter, [0.9, 0.1, 0.7, 0.5], holed)
        expected = np.ones((8, 9), bool)
        expected[2, 3] = expected[4, 5] = False
        np.testing.assert_array_equal(np.isfinite(found).all(axis=2), expected)
        np.testing.assert_allclose(found[expected], changed(jitter, [0.9, 0.1, 0.7, 0.5], pixels)[expected], atol=0.02)
        assert not np.isfinite(changed(jitter, [0.9, 0.1, 0.7, 0.5], np.full_like(pixels, np.nan))).any()


def test_one_number_shifts_both_ways() -> None:
    assert kseq.RandomAffine(translate=0.25).translate == kseq.RandomAffine(translate=(0.25, 0.25)).translate == (0.25, 0.25)
