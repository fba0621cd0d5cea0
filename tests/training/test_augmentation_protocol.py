"""Augmentations of one's own: in their order, for images, masks and boxes alike, in threads and processes."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kseq
from kseq.errors import ArgumentError
from kseq.images.resize import resize
from kseq.ordering.epoch_order import Order
from kseq.reading.concatenated import ConcatenatedDatasets
from kseq.training import pixel_readers
from kseq.training.batch_maker import BatchMaker
from kseq.training.image_spec import ImageSpec
from kseq.training.loader import Loader
from kseq.training.transforms import AugmentationList, draw
from tests.helpers.augmentations import Brighten, CornerCrop, DropSmall, RandomRotation
from tests.helpers.messages import Parts, raises
from tests.helpers.objects import COUNT, HEIGHT, WIDTH, bounds

FIELDS = ("image", "mask", "boxes", "labels")
IDS = np.arange(COUNT)


def maker_of(
    path: Path, augmentations: Sequence[kseq.Augmentation], fields: Sequence[str] = FIELDS, seed: int = 7, **options: Any
) -> BatchMaker:
    listed = AugmentationList(augmentations, seed)
    height, width = listed.size or (HEIGHT, WIDTH)
    return BatchMaker(kseq.ShardDataset(path), fields, ImageSpec(height, width, **options), listed)


def batch_of(path: Path, augmentations: Sequence[kseq.Augmentation], epoch: int = 0, **options: Any) -> dict[str, np.ndarray]:
    maker = maker_of(path, augmentations, **options)
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(IDS).items()}
    maker.fill(arrays, 0, IDS, epoch)
    return arrays


def objects_of(batch: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Image, mask, box and label of each object that stayed."""
    return [
        (batch["image"][row], batch["mask"][row][..., 0], batch["boxes"][row, number], int(batch["labels"][row, number]))
        for row, number in np.argwhere(batch["boxes_mask"]).tolist()
    ]


LISTS: dict[str, list[kseq.Augmentation]] = {
    "rotated": [RandomRotation(40)],
    "rotated after a crop": [kseq.RandomResizedCrop((70, 90), scale=(0.5, 1)), RandomRotation(25)],
    "rotated before a crop": [RandomRotation(25), kseq.RandomResizedCrop((70, 90), scale=(0.5, 1))],
    "flipped and rotated": [kseq.RandomFlip("horizontal_and_vertical"), RandomRotation(25), kseq.RandomFlip()],
    "brighter before a crop": [Brighten(20), kseq.RandomResizedCrop((70, 90), scale=(0.5, 1))],
}
TWICE: dict[str, list[kseq.Augmentation]] = {
    "several crops": [kseq.CenterCrop((50, 80)), RandomRotation(10), kseq.RandomFlip(), kseq.RandomResizedCrop(96, (0.6, 1))],
    "rotated twice": [RandomRotation(20), kseq.CenterCrop((56, 80)), kseq.RandomFlip("vertical"), RandomRotation(10)],
}


@pytest.mark.parametrize("stored", ["kept", "raw"])
@pytest.mark.parametrize("name", LISTS)
def test_boxes_lie_on_the_pixels(name: str, stored: str, request: pytest.FixtureRequest) -> None:
    seen = 0
    for epoch in range(6):
        batch = batch_of(request.getfixturevalue(stored), LISTS[name], epoch)
        height, width = batch["image"].shape[1:3]
        for image, mask, box, label in objects_of(batch):
            # Of an object that is cut off by the edge, the box is larger than what is left of it.
            if (box[:2] > 0).all() and (box[2:] < [width, height]).all():
                np.testing.assert_allclose(box, bounds(mask == 100 * (label + 1)), atol=2)
                np.testing.assert_allclose(box, bounds(image[..., label + 1] > 150), atol=2)
                seen += 1
    assert seen > 40


@pytest.mark.parametrize("stored", ["kept", "raw"])
@pytest.mark.parametrize("name", TWICE)
def test_boxes_lie_around_the_pixels_after_several_rotations_and_crops(
    name: str, stored: str, request: pytest.FixtureRequest
) -> None:
    batch = batch_of(request.getfixturevalue(stored), TWICE[name])
    objects = objects_of(batch)
    assert len(objects) > COUNT
    for image, mask, box, label in objects:
        for marked in (mask == 100 * (label + 1), image[..., label + 1] > 150):
            x1, y1, x2, y2 = bounds(marked)
            assert (box[:2] <= np.array([x1, y1]) + 2).all()
            assert (box[2:] >= np.array([x2, y2]) - 2).all()


def test_images_are_rotated_smoothly_and_masks_by_their_nearest_values(raw: Path) -> None:
    batch = batch_of(raw, [RandomRotation(40)])
    assert set(np.unique(batch["mask"]).tolist()) == {0, 100, 200}
    assert len(np.unique(batch["image"])) > 20


def test_a_list_is_applied_in_its_order(raw: Path) -> None:
    """Against the same steps, one after the other, in plain code."""
    rotate, crop, flip, brighten = RandomRotation(30), kseq.CenterCrop((40, 51)), kseq.RandomFlip(), Brighten(90)
    batch = batch_of(raw, [rotate, crop, flip, brighten], epoch=3)
    # A crop has position 0, the others count from 1.
    degrees = rotate.parameters(draw(7, 3, 1, IDS, 1))
    boxes = crop.cut(np.tile([HEIGHT, WIDTH], (COUNT, 1)), np.empty((COUNT, 0)))
    codes = flip.parameters(draw(7, 3, 2, IDS, 2))
    brightness = brighten.parameters(draw(7, 3, 3, IDS, 1))
    dataset = kseq.ShardDataset(raw)
    for number, (top, left, height, width) in enumerate(boxes.tolist()):
        sample = dataset[number]
        image = rotate.apply_to_image(sample["image"], degrees[number])[top : top + height, left : left + width]
        mask = rotate.apply_to_mask(sample["mask"], degrees[number])[top : top + height, left : left + width]
        code = codes[number]
        if code is not None:
            image, mask = cv2.flip(image, code), cv2.flip(mask, code)
        np.testing.assert_array_equal(batch["image"][number], cv2.add(image, np.full_like(image, brightness[number])))
        np.testing.assert_array_equal(batch["mask"][number][..., 0], mask)


def test_a_crop_of_ones_own_cuts_and_then_applies(kept: Path) -> None:
    batch, dataset = batch_of(kept, [CornerCrop((40, 50))]), kseq.ShardDataset(kept)
    for number in range(COUNT):
        expected = np.empty((40, 50, 3), np.uint8)
        resize(dataset[number]["image"][: HEIGHT // 2, : WIDTH // 2], expected, "bilinear")
        np.testing.assert_array_equal(batch["image"][number], expected[::-1])
    objects = objects_of(batch)
    assert objects
    for _, mask, box, label in objects:
        np.testing.assert_allclose(box, bounds(mask == 100 * (label + 1)), atol=2)


def test_boxes_that_an_augmentation_lets_go_take_their_labels_along(raw: Path) -> None:
    batch = batch_of(raw, [kseq.CenterCrop((40, 60)), DropSmall(28 * 18)])
    assert 0 < batch["boxes_mask"].sum() < 2 * COUNT
    for _, mask, box, label in objects_of(batch):
        np.testing.assert_array_equal(box, bounds(mask == 100 * (label + 1)))
    np.testing.assert_array_equal(batch["boxes_mask"], batch["labels_mask"])


@pytest.mark.parametrize(("workers", "processes"), [(0, False), (3, False), (2, True)])
@pytest.mark.parametrize("stored", ["kept", "raw"])
def test_workers_give_the_same_batches(stored: str, workers: int, processes: bool, request: pytest.FixtureRequest) -> None:
    augmentations = [RandomRotation(20), kseq.RandomResizedCrop((50, 70)), Brighten(30), kseq.RandomFlip()]
    path = request.getfixturevalue(stored)
    expected = batch_of(path, augmentations, epoch=2)
    # Batches of 8 rows and more go to several workers.
    order = Order(COUNT, COUNT)
    loader = Loader(maker_of(path, augmentations), order, workers=workers, use_multiprocessing=processes)
    found = loader.batch(2, 0)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    loader.close()


@pytest.mark.parametrize("options", [{"dtype": "float32", "scale": 1 / 255}, {"data_format": "channels_first"}, {}])
@pytest.mark.parametrize("stored", ["kept", "raw"])
def test_augmented_images_have_the_form_that_is_asked_for(
    stored: str, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    path, augmentations = request.getfixturevalue(stored), [RandomRotation(20), kseq.RandomFlip()]
    plain, found = batch_of(path, augmentations)["image"], batch_of(path, augmentations, **options)["image"]
    last = np.moveaxis(found, 1, -1) if "data_format" in options else found
    np.testing.assert_allclose(last, plain * options.get("scale", 1), rtol=1e-6)


def test_gray_images_are_augmented_too(raw: Path) -> None:
    gray = batch_of(raw, [RandomRotation(20), kseq.RandomFlip()], color_mode="grayscale")["image"]
    assert gray.shape == (COUNT, HEIGHT, WIDTH, 1)
    assert gray.max() > 100


def test_no_more_than_the_box_is_decoded_where_the_crop_can_come_first(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a whole image was read")

    crop = kseq.RandomResizedCrop((30, 40))
    expected = batch_of(kept, [crop, kseq.RandomFlip(), Brighten(50)], fields=["image"])
    monkeypatch.setattr("kseq.training.batch_maker.whole_reader", refuse)
    found = batch_of(kept, [kseq.RandomFlip(), Brighten(50), crop], fields=["image"])
    np.testing.assert_array_equal(found["image"], expected["image"])
    with pytest.raises(AssertionError, match="a whole image was read"):
        batch_of(kept, [RandomRotation(5), crop], fields=["image"])
    assert pixel_readers.whole_reader is not refuse


def test_raw_images_are_flipped_where_they_were_copied_to(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = batch_of(raw, [kseq.RandomFlip()], fields=["image"])["image"]
    monkeypatch.setattr("kseq.training.batch_maker.fitted_reader", None)
    np.testing.assert_array_equal(batch_of(raw, [kseq.RandomFlip()], fields=["image"])["image"], expected)


@pytest.mark.parametrize("stored", ["kept", "raw"])
def test_a_fill_locates_its_samples_once(stored: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = maker_of(request.getfixturevalue(stored), [kseq.RandomResizedCrop((30, 40)), RandomRotation(5)], [*FIELDS, "text"])
    arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in maker.specs(IDS).items()}
    located: list[list[int]] = []
    locate = ConcatenatedDatasets.locate

    def note(collection: ConcatenatedDatasets, sample_ids: np.ndarray) -> Any:
        located.append(sample_ids.tolist())
        return locate(collection, sample_ids)

    monkeypatch.setattr(ConcatenatedDatasets, "locate", note)
    maker.fill(arrays, 0, IDS, 0)
    assert located == [IDS.tolist()]


def test_the_class_of_the_docstring_rotates(raw: Path) -> None:
    lines = [line.strip() for line in (kseq.Augmentation.__doc__ or "").splitlines()]
    code = "\n".join(line[4:] for line in lines if line.startswith((">>> class", "...")))
    names: dict[str, Any] = {"kseq": kseq, "cv2": cv2}
    exec(code, names)
    expected, found = batch_of(raw, [RandomRotation(30)]), batch_of(raw, [names["Rotation"](30)])
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


BOXES = st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2), min_size=1, max_size=5)


@given(BOXES, st.sampled_from([-1, 0, 1]))
def test_flips_move_boxes_as_their_corners_go(corners: list[tuple[int, int, int, int]], code: int) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners], np.float32) / 2
    quick, quick_stay = kseq.RandomFlip().apply_to_boxes(boxes, code, 40, 44)
    plain, plain_stay = kseq.Augmentation.apply_to_boxes(kseq.RandomFlip(), boxes, code, 40, 44)
    np.testing.assert_array_equal(quick, plain, strict=True)
    np.testing.assert_array_equal(quick_stay, plain_stay, strict=True)


# What is refused.


class NarrowCrop(kseq.Augmentation):
    """Boxes outside of the image, in integers whose sums wrap to positions inside it."""

    size = (10, 10)

    def cut(self, sizes: np.ndarray, draws: np.ndarray) -> np.ndarray:
        return np.tile(np.array([250, 0, 40, 6], np.uint8), (len(sizes), 1))


def test_a_box_outside_its_image_is_refused_also_in_narrow_integers(raw: Path) -> None:
    with raises(ArgumentError, "NarrowCrop", "[250, 0, 40, 6]"):
        batch_of(raw, [NarrowCrop()])


class NoCut(kseq.Augmentation):
    size = (10, 10)


def test_a_size_without_a_cut_is_refused_before_anything_is_read(raw: Path) -> None:
    with raises(ArgumentError, "NoCut", "cut"):
        kseq.ShardSequence(raw, "all", augment=NoCut())


class OneNumber(kseq.Augmentation):
    def parameters(self, draws: np.ndarray) -> np.ndarray:
        return np.array(3.0)

    def apply_to_image(self, image: np.ndarray, parameters: Any) -> np.ndarray:
        return image


def test_parameters_that_are_one_number_for_all_are_refused(raw: Path) -> None:
    with raises(ArgumentError, "OneNumber.parameters"):
        batch_of(raw, [OneNumber()])


class Changed(kseq.Augmentation):
    """An augmentation with other methods."""

    def __init__(self, **methods: Any) -> None:
        self.__dict__.update({name: value for name, value in methods.items() if not callable(value)})
        functions = {name: value for name, value in methods.items() if callable(value)}
        self.__class__ = type("Changed", (Changed,), functions)


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        (Changed(size=(8, 8)), ("Changed", "size", "cut")),
        (
            Changed(size=(8, 8), cut=lambda self, sizes, draws: [[0, 0, 8, 8]] * 12),
            ("Changed.cut", "list"),
        ),
        (Changed(size=(8, 8), cut=lambda self, sizes, draws: sizes), ("int64", "(12, 2)", "(12, 4)")),
        (
            Changed(size=(8, 8), cut=lambda self, sizes, draws: np.tile([0, 0, 61, 8], (12, 1))),
            ("[0, 0, 61, 8]", "60 x 90"),
        ),
        (
            Changed(parameters=lambda self, draws: [1], apply_to_image=lambda self, pixels, _: pixels),
            ("Changed.parameters", "list", 12),
        ),
        (Changed(apply_to_image=lambda self, pixels, _: pixels / 2), ("float64", "(60, 90, 3)", "uint8")),
        (Changed(apply_to_image=lambda self, pixels, _: pixels[:5]), ("uint8", "(5, 90, 3)")),
        (Changed(apply_to_image=lambda self, pixels, _: None), ("NoneType", "uint8")),
        (Changed(apply_to_mask=lambda self, pixels, _: pixels[:5]), ("uint8", "(5, 90, 1)")),
        (
            Changed(apply_to_boxes=lambda self, boxes, *_: boxes),
            ("apply_to_boxes", "float32", "(2, 4)", "NoneType"),
        ),
        (
            Changed(apply_to_boxes=lambda self, boxes, *_: (boxes, np.zeros(2, bool))),
            ("(m, 4)",),
        ),
    ],
)
def test_refuses_in_one_line_what_an_augmentation_returns_wrongly(raw: Path, augmentation: Any, words: Parts) -> None:
    with raises((ArgumentError, NotImplementedError), *words):
        batch_of(raw, [augmentation])


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        (Changed(num_draws=-1), ("num_draws=-1", 0)),
        (Changed(size=5), ("size=5",)),
    ],
)
def test_refuses_sizes_and_numbers_of_draws_that_make_no_sense(augmentation: Any, words: Parts) -> None:
    with raises(ArgumentError, *words):
        AugmentationList([augmentation])


def test_threads_need_no_class_that_can_be_imported_and_processes_say_that_they_do(raw: Path) -> None:
    class Local(RandomRotation):
        """Defined in a function."""

    loader = Loader(maker_of(raw, [Local(20)]), Order(COUNT, COUNT), workers=2)
    np.testing.assert_array_equal(loader.batch(0, 0)["image"], batch_of(raw, [RandomRotation(20)])["image"])
    loader.close()
    with raises(ArgumentError, "augment"):
        Loader(maker_of(raw, [Local(20)]), Order(COUNT, COUNT), workers=2, use_multiprocessing=True)


def test_a_class_that_a_worker_process_cannot_import_is_an_error_that_says_so(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("of_this_process_alone")
    module.Here = type("Here", (RandomRotation,), {"__module__": module.__name__})  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, module.__name__, module)
    loader = Loader(maker_of(raw, [module.Here(20)]), Order(COUNT, COUNT), workers=2, use_multiprocessing=True)
    with raises(ArgumentError, "augment"):
        loader.batch(0, 0)
    loader.close()
