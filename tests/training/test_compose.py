"""Functions over whole samples: what they get, what they may return, and that Albumentations fits in."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import ArgumentError
from tests.helpers.augmentations import darken, mirror_sample
from tests.helpers.messages import Parts, raises
from tests.helpers.objects import COUNT, HEIGHT, WIDTH, assert_objects_agree

TARGETS = {name: name for name in ("mask", "boxes", "labels", "text")}


def read(path: Path, augment: Any, epoch: int = 0, **arguments: Any) -> Any:
    options: dict[str, Any] = {"shuffle": False, "workers": 0, "targets": TARGETS, "ragged": True} | arguments
    with kseq.Batches(path, "all", augment=augment, **options) as batches:
        return batches.batch(epoch, 0)


def assert_all_agree(images: np.ndarray, found: dict[str, Any], slack: float) -> None:
    for image, mask, boxes, labels in zip(images, found["mask"], found["boxes"], found["labels"], strict=True):
        assert_objects_agree(image, mask, boxes, labels, slack)


@pytest.mark.parametrize("name", ["kept", "raw"])
def test_a_function_changes_all_fields_of_a_sample(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    images, found = read(path, [kseq.RandomResizedCrop((60, 90), scale=(0.6, 1)), kseq.Compose(mirror_sample)])
    plain, before = read(path, kseq.RandomResizedCrop((60, 90), scale=(0.6, 1)))
    np.testing.assert_array_equal(images, plain[:, :, ::-1])
    np.testing.assert_array_equal(found["mask"], before["mask"][:, :, ::-1])
    assert_all_agree(images, found, 3)


def test_a_function_gets_what_is_documented(raw: Path) -> None:
    seen: list[dict[str, Any]] = []

    def note(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        seen.append({name: (np.shape(value), np.asarray(value).dtype.kind) for name, value in sample.items()})
        assert isinstance(rng, np.random.Generator)
        return {}

    images, found = read(raw, kseq.Compose(note), dtype="float32", scale=1 / 255, data_format="channels_first")
    assert len(seen) == COUNT
    assert seen[0] == {
        "image": ((HEIGHT, WIDTH, 3), "u"),
        "mask": ((HEIGHT, WIDTH, 1), "u"),
        "labels": ((2,), "i"),
        "boxes": ((2, 4), "f"),
        "text": ((), "U"),
    }
    plain, before = read(raw, (), dtype="float32", scale=1 / 255, data_format="channels_first")
    np.testing.assert_array_equal(images, plain)
    for name in TARGETS:
        for value, expected in zip(found[name], before[name], strict=True):
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("use_multiprocessing", [False, pytest.param(True, marks=pytest.mark.campaign)])
def test_a_sample_changes_alike_in_any_batch_thread_and_process(raw: Path, use_multiprocessing: bool) -> None:
    augment = [kseq.RandomFlip(), kseq.Compose([darken, mirror_sample])]
    whole = read(raw, augment, 3, seed=5)[0]
    options: dict[str, Any] = {"shuffle": False, "targets": "mask", "batch_size": 4, "seed": 5}
    with kseq.Batches(
        raw, "all", augment=augment, workers=2, use_multiprocessing=use_multiprocessing, timeout=60, **options
    ) as batches:
        parts = [batches.batch(3, number)[0] for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(read(raw, augment, 4, seed=5)[0], whole)


def test_a_box_whose_centre_is_outside_goes_and_others_are_clipped(raw: Path) -> None:
    def shift(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {"boxes": np.array([[-9, 5, 5, 9], [-5, 5, 9, 9]], np.float32)}

    _, found = read(raw, kseq.Compose(shift))
    assert [boxes.tolist() for boxes in found["boxes"]] == [[[0, 5, 9, 9]]] * COUNT
    assert [labels.tolist() for labels in found["labels"]] == [[1]] * COUNT


def test_a_function_may_give_another_size(kept: Path) -> None:
    def halve(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        height, width = sample["image"].shape[0] // 2, sample["image"].shape[1] // 2
        return {
            "image": sample["image"][::2, ::2],
            "mask": sample["mask"][::2, ::2, 0],
            "boxes": sample["boxes"] * np.array([width / WIDTH, height / HEIGHT] * 2),
        }

    images, found = read(kept, kseq.Compose(halve, size=(HEIGHT // 2, WIDTH // 2)))
    assert images.shape == (COUNT, HEIGHT // 2, WIDTH // 2, 3)
    assert_all_agree(images, found, 1)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda sample, rng: None, ("NoneType",)),
        (lambda sample, rng: {"imgae": 1}, ("'imgae'", "image, ")),
        (lambda sample, rng: {"image": sample["image"][:9]}, ("image of 9 x 90", "60 x 90", "size=")),
        (lambda sample, rng: {"image": sample["image"] / 255}, ("float64", "uint8", "image")),
        (lambda sample, rng: {"image": sample["image"][..., 0]}, ("(60, 90)", "image")),
        (lambda sample, rng: {"boxes": sample["boxes"][:1]}, ("1 of boxes", "2 of labels")),
        (lambda sample, rng: {"boxes": [[1], [1, 2]]}, ("boxes",)),
        (lambda sample, rng: {"boxes": sample["boxes"] * np.nan}, ("boxes",)),
        (lambda sample, rng: {"labels": sample["labels"] + 1}, ("labels", "[0, 2)")),
        (lambda sample, rng: {"text": "other"}, ("text", "kseq.BatchFunction")),
        (lambda sample, rng: {name: np.repeat(sample[name], 2, 0) for name in ("boxes", "labels")}, ("elements",)),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(raw: Path, function: Any, words: Parts) -> None:
    with raises(kseq.KseqError, *words, "sample 0"):
        read(raw, kseq.Compose(function))


def test_what_is_no_function_is_refused(raw: Path) -> None:
    for wrong in (5, [], [None], dict):
        with raises(ArgumentError, "Compose", "allowed"):
            kseq.Compose(wrong)
    with raises(ArgumentError, "size"):
        kseq.Compose(darken, size=0)
    with raises(ArgumentError, "kseq.Compose", "first"):
        read(raw, [kseq.Compose(darken), kseq.RandomFlip()])


def test_an_error_of_a_function_names_it_and_the_sample(raw: Path) -> None:
    def break_off(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError, match="in break_off.*sample 0"):
        read(raw, kseq.Compose(break_off))


# With the real package.


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects in each image: a bright disc at each of two points, left red, right green, in the object's box."""
    folder = tmp_path_factory.mktemp("faces")
    rows = []
    for number in range(4):
        pixels = np.zeros((48, 64, 3), np.uint8)
        points = []
        for left, top in ((6, 6 + number), (40, 26)):
            pair = [[left + 2.5, top + 2.5, 2], [left + 12.5, top + 4.5, 1 + number % 2]]
            for channel, (x, y, _) in enumerate(pair):
                pixels[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2, channel] = 250
            points.append(pair)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        boxes = [[6, 6 + number, 22, 16 + number], [40, 26, 56, 36]]
        rows.append(
            {"image": f"{number}.png", "boxes": boxes, "kinds": ["a", "b"], "eyes": points, "nose": [[30, 20], [-9, 3]]}
        )
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kinds = {"eyes": "keypoints", "nose": "keypoints"}
    columns = kseq.Columns(boxes="boxes", box_labels="kinds", targets=["eyes", "nose"], kinds=kinds)
    kseq.pack(folder / "table.jsonl", folder / "packed", columns=columns, workers=0)
    return folder / "packed"


FACES = {name: name for name in ("boxes", "labels", "eyes", "nose")}
PAIRS = {"eyes": [(0, 1)], "nose": []}


@pytest.fixture
def albumentations() -> Any:
    """The package, whose transforms `kseq.Compose` takes as they are."""
    return pytest.importorskip("albumentations", reason="the transforms are those of Albumentations")


def test_albumentations_moves_masks_and_boxes(kept: Path, albumentations: Any) -> None:
    transforms = [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Affine(scale=(0.8, 1.2), translate_percent=(-0.1, 0.1), p=1),
        albumentations.RandomBrightnessContrast((-0.1, 0.1), (0, 0), p=1),
    ]
    images, found = read(kept, kseq.Compose(transforms))
    # Objects that are cut off at the edge have boxes around what is left.
    assert_all_agree(images, found, 2.5)
    own = albumentations.Compose(transforms, bbox_params=albumentations.BboxParams("yolo", label_fields=["any"]))
    same, _ = read(kept, kseq.Compose(own))
    assert same.shape == images.shape
    seen = [read(kept, kseq.Compose(transforms), epoch)[0] for epoch in range(2)]
    assert not np.array_equal(*seen)


def test_albumentations_crops_to_a_size_by_the_one_box_rule(kept: Path, albumentations: Any) -> None:
    crop = albumentations.Compose([albumentations.CenterCrop(40, 50)])
    images, found = read(kept, kseq.Compose(crop, size=(40, 50)))
    plain, expected = read(kept, kseq.CenterCrop((40, 50)))
    np.testing.assert_array_equal(images, plain)
    for name in TARGETS:
        for value, right in zip(found[name], expected[name], strict=True):
            if name != "text":
                np.testing.assert_allclose(value, right, atol=1e-4)
    assert sum(map(len, found["boxes"])) < 2 * COUNT


def test_thresholds_of_its_box_parameters_apply_besides(kept: Path, albumentations: Any) -> None:
    params = albumentations.BboxParams("pascal_voc", label_fields=["x"], min_area=29 * 18)
    _, found = read(kept, kseq.Compose(albumentations.Compose([albumentations.HorizontalFlip(p=0)], bbox_params=params)))
    assert sum(map(len, found["boxes"])) == 0


@pytest.mark.parametrize("use_multiprocessing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_albumentations_is_seeded_for_each_sample(kept: Path, use_multiprocessing: bool, albumentations: Any) -> None:
    compose = kseq.Compose(
        [albumentations.HorizontalFlip(), albumentations.Rotate((-20, 20), p=0.7), albumentations.GaussNoise(p=0.5), darken]
    )
    whole = read(kept, compose, 2, seed=9)[0]
    options: dict[str, Any] = {"shuffle": False, "targets": "mask", "batch_size": 3, "seed": 9, "timeout": 100}
    # Each process loads albumentations, those of the copy as well.
    workers = 2 if use_multiprocessing else 3
    with kseq.Batches(
        kept, "all", augment=compose, workers=workers, use_multiprocessing=use_multiprocessing, **options
    ) as batches:
        with pickle.loads(pickle.dumps(batches)) as copy:
            np.testing.assert_array_equal(copy.batch(2, 1)[0], whole[3:6])
        np.testing.assert_array_equal(
            np.concatenate([batches.batch(2, number)[0] for number in (3, 0, 2, 1)]),
            whole[[9, 10, 11, 0, 1, 2, 6, 7, 8, 3, 4, 5]],
        )
    # Each transform draws for itself: some images are mirrored and not turned, and the other way round.
    assert len({image.tobytes() for image in whole}) == COUNT


def test_keypoints_move_and_change_places_in_a_mirrored_image(faces: Path, albumentations: Any) -> None:
    transforms = [
        albumentations.HorizontalFlip(p=1),
        albumentations.Affine(rotate=(-8, 8), translate_percent=(0.02, 0.02), p=1),
    ]
    images, found = read(faces, kseq.Compose(transforms), targets=FACES, mirror_pairs=PAIRS)
    for image, objects in zip(images, found["eyes"], strict=True):
        assert len(objects) == 2
        for points in objects:
            # What was the left one is the right one, in a mirrored image.
            for channel, (x, y, _) in zip((1, 0), points.tolist(), strict=True):
                assert image[int(y), int(x), channel] > 120
    flip = kseq.Compose(albumentations.HorizontalFlip(p=1))
    _, flipped = read(faces, flip, targets=FACES, mirror_pairs=PAIRS)
    _, expected = read(faces, AlwaysFlip(), targets=FACES, mirror_pairs=PAIRS)
    for name in FACES:
        for value, right in zip(flipped[name], expected[name], strict=True):
            np.testing.assert_allclose(value, right, atol=1e-4)
    with raises(ArgumentError, "HorizontalFlip", "mirror_pairs"):
        read(faces, flip, targets=FACES)


class AlwaysFlip(kseq.RandomFlip):
    """Mirrors every image."""

    def parameters(self, draws: np.ndarray) -> list[int | None]:
        return [1] * len(draws)


def test_objects_that_leave_take_their_keypoints_along(faces: Path, albumentations: Any) -> None:
    crop = kseq.Compose(albumentations.Crop(0, 0, 20, 48, p=1), size=(48, 20))
    _, found = read(faces, crop, targets=FACES, mirror_pairs=PAIRS)
    assert [boxes.tolist() for boxes in found["boxes"]] == [[[6, 6 + n, 20, 16 + n]] for n in range(4)]
    assert [labels.tolist() for labels in found["labels"]] == [[0]] * 4
    for number, (eyes, nose) in enumerate(zip(found["eyes"], found["nose"], strict=True)):
        np.testing.assert_allclose(eyes, [[[8.5, 8.5 + number, 2], [18.5, 10.5 + number, 1 + number % 2]]], atol=1e-5)
        np.testing.assert_allclose(nose, [[30, 20], [-9, 3]], atol=1e-5)
    _, narrow = read(faces, kseq.Compose(albumentations.Crop(0, 0, 16, 48, p=1), size=(48, 16)), targets=FACES)
    assert all((eyes[0, 1] == 0).all() for eyes in narrow["eyes"])


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (lambda a: kseq.Compose(a.Normalize()), {}, ("Normalize", "float32", "dtype")),
        (lambda a: kseq.Compose(a.RandomCrop(20, 20)), {}, ("20 x 20", "size=")),
        (lambda a: a.HorizontalFlip(), {}, ("HorizontalFlip", "kseq.Compose")),
    ],
)
def test_transforms_that_do_not_fit_are_refused(
    kept: Path, make: Any, arguments: dict[str, Any], words: Parts, albumentations: Any
) -> None:
    with raises(ArgumentError, *words):
        read(kept, make(albumentations), **arguments)


@pytest.mark.parametrize("name", ["label", "labels"])
def test_a_class_number_changed_in_place_is_checked_too(raw: Path, tmp_path: Path, name: str) -> None:
    def change(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        sample[name][...] = 99
        return {}

    path, targets = raw, TARGETS
    if name == "label":
        path, targets = tmp_path / "packed", {"label": "label"}
        samples = [{"image": np.full((8, 8, 3), number, np.uint8), "label": "ab"[number]} for number in range(2)]
        kseq.pack(samples, path, images=kseq.ImageSettings("raw", (8, 8)), workers=0)
    with raises(ArgumentError, "change gave class numbers from 99 to 99", name):
        read(path, kseq.Compose(change), targets=targets)


def test_albumentations_moves_maps_of_float16(tmp_path: Path, albumentations: Any) -> None:
    depth = np.random.default_rng(0).uniform(size=(8, 8, 2)).astype(np.float16)
    samples = [{"image": np.zeros((8, 8, 3), np.uint8), "depth": depth}]
    columns = kseq.Columns(label="", targets=["depth"], kinds={"depth": "map"})
    settings = kseq.ImageSettings("raw", (8, 8), map_dtype="float16", map_channels=2)
    kseq.pack(samples, tmp_path / "packed", columns=columns, images=settings, workers=0)
    turn = albumentations.Rotate((90, 90), p=1)
    _, found = read(tmp_path / "packed", kseq.Compose(turn), targets="depth", ragged=False)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found[0], np.rot90(depth))
