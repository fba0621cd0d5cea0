"""MixUp and CutMix: what becomes of pixels, labels, masks, numbers and weights, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import kseq
from kseq.errors import ArgumentError
from kseq.training.mixing import _DRAWS_OF_BETA, _beta
from tests.helpers.messages import Parts, raises

COUNT, SIDE = 12, 16


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one grey each, 20 * number, masks and numbers alike: what a pixel is of can be read off."""
    folder = tmp_path_factory.mktemp("flat")
    rows = []
    for number in range(COUNT):
        for name in ("image", "mask"):
            Image.fromarray(np.full((SIDE, SIDE), 20 * number, np.uint8)).save(folder / f"{name}-{number}.png")
        row = {"image": f"image-{number}.png", "mask": f"mask-{number}.png", "label": f"class {number:02}"}
        row |= {"height": number, "weight": number % 4, "boxes": [[1, 1, 9, 9]], "tags": ["a"] if number % 2 else ["a", "b"]}
        rows.append(row | {"place": [[number, 1]]})
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = kseq.Columns(
        label="label", mask="mask", boxes="boxes", sample_weight="weight", targets=["height", "tags", "place"]
    )  # fmt: skip
    kseq.pack(
        folder / "table.jsonl", folder / "packed", columns=columns, workers=0, images=kseq.ImageSettings("raw", (SIDE, SIDE))
    )
    return folder / "packed"


def read(path: Path, augment: Any, epoch: int = 0, number: int = 0, **arguments: Any) -> Any:
    options: dict[str, Any] = {"label_mode": "categorical", "shuffle": False, "workers": 0, "dtype": "float32"} | arguments
    with kseq.Batches(path, "all", augment=augment, **options) as batches:
        return batches.batch(epoch, number)


def shares_of(labels: np.ndarray) -> np.ndarray:
    """`(n,)`: how much is left of each row, of labels that were those of their rows."""
    return np.diagonal(labels)


def test_images_labels_and_numbers_are_mixed_in_one_share(flat: Path) -> None:
    targets = {"label": "label", "height": "height", "tags": "tags"}
    images, found = read(flat, kseq.MixUp(1.0), targets=targets)
    labels, numbers = found["label"], np.arange(COUNT)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    assert ((labels > 0).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(found["height"], labels @ numbers, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["tags"], labels @ read(flat, (), targets=targets)[1]["tags"], atol=1e-6)
    np.testing.assert_allclose(images, np.broadcast_to((labels @ (20 * numbers))[:, None, None, None], images.shape), atol=1e-3)
    # Nobody is mixed with the same one twice: each partner comes once.
    np.testing.assert_allclose((labels - np.diag(shares_of(labels)) > 0).sum(axis=0), 1 - (shares_of(labels) == 1))


def test_uint8_images_are_rounded(flat: Path) -> None:
    floats, labels = read(flat, kseq.MixUp(1.0))
    images, same = read(flat, kseq.MixUp(1.0), dtype="uint8")
    np.testing.assert_array_equal(labels, same)
    assert images.dtype == np.uint8
    assert np.abs(images - floats).max() <= 0.5001
    scaled, _ = read(flat, kseq.MixUp(1.0), scale=1 / 255, data_format="channels_first")
    np.testing.assert_allclose(np.moveaxis(scaled, 1, -1) * 255, floats, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_rectangle_of_another_is_put_in_and_counted_to_the_pixel(flat: Path, dtype: str) -> None:
    images, found = read(flat, kseq.CutMix(), targets={"label": "label", "mask": "mask"}, dtype=dtype)
    labels, masks = found["label"], found["mask"]
    assert images.dtype == dtype
    np.testing.assert_array_equal(images, np.broadcast_to(masks, images.shape))
    for number, (mask, label) in enumerate(zip(masks, labels, strict=True)):
        values, counts = np.unique(mask, return_counts=True)
        np.testing.assert_allclose(label[values // 20], counts / SIDE**2, rtol=1e-6)
        assert label.sum() == pytest.approx(1)
        rows, columns = np.nonzero(mask[..., 0] != 20 * number)
        if len(rows):
            # What was put in is a whole rectangle.
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert (shares_of(labels) < 1).sum() >= COUNT // 3


def test_weights_are_mixed_and_rows_without_weight_take_no_part(flat: Path) -> None:
    weights = np.arange(COUNT) % 4
    for argument in ("sample_weight", weights.astype(np.float32)):
        _, labels, found = read(flat, kseq.MixUp(1.0), targets="label", sample_weight=argument)
        np.testing.assert_allclose(found, labels @ weights, rtol=1e-5)
        without = weights == 0
        np.testing.assert_array_equal(labels[without], np.eye(COUNT, dtype=np.float32)[without])
        assert not labels[~without][:, without].any()


def test_rows_that_fill_a_batch_up_stay_as_they_are(flat: Path) -> None:
    plain_images, plain_labels, plain_weights = read(flat, (), number=1, batch_size=8, remainder="pad", targets="label")
    for mixture in (kseq.MixUp(1.0), kseq.CutMix()):
        images, labels, weights = read(flat, mixture, number=1, batch_size=8, remainder="pad", targets="label")
        np.testing.assert_allclose(weights, plain_weights, rtol=1e-6)
        assert (weights > 0).sum() == 4
        np.testing.assert_array_equal(images[4:], plain_images[4:])
        np.testing.assert_array_equal(labels[4:], plain_labels[4:])
        # The partners of those that count are of the batch, and count.
        assert not labels[:4, :8].any()


def test_it_depends_on_the_seed_the_epoch_and_the_samples_of_the_batch_alone(flat: Path) -> None:
    augment = [kseq.RandomFlip(), kseq.MixUp(0.5), kseq.CutMix((0.2, 0.9))]
    options: dict[str, Any] = {"shuffle": True, "batch_size": 6, "targets": "label"}
    images, labels = read(flat, augment, 3, 1, **options)
    with kseq.Batches(flat, "all", augment=augment, label_mode="categorical", dtype="float32", workers=2, **options) as batches:
        for reader in (batches, pickle.loads(pickle.dumps(batches))):
            reader.batch(0, 0)
            again = reader.batch(3, 1)
            np.testing.assert_array_equal(again[0], images)
            np.testing.assert_array_equal(again[1], labels)
            reader.close()
    assert not np.array_equal(read(flat, augment, 4, 1, **options)[1], labels)
    assert not np.array_equal(read(flat, augment, 3, 1, seed=1, **options)[1], labels)
    # Two mixtures in a list are drawn apart.
    _, twice = read(flat, [kseq.MixUp(1.0), kseq.MixUp(1.0)], targets="label")
    assert ((twice > 0).sum(axis=1) > 2).any()


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 4.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    draws = np.random.default_rng(0).random((20_000, _DRAWS_OF_BETA))
    shares = _beta(np.full(len(draws), alpha), draws)
    assert np.isfinite(shares).all()
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    expected = np.random.default_rng(1).beta(alpha, alpha, 20_000)
    np.testing.assert_allclose(np.quantile(shares, [0.1, 0.3, 0.7]), np.quantile(expected, [0.1, 0.3, 0.7]), atol=0.02)


def test_binary_labels_become_shares(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(3):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.full((4, 4, 3), 200 if name == "dog" else 0, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0, images=kseq.ImageSettings("raw", (4, 4)))
    images, labels = read(tmp_path / "packed", kseq.MixUp(1.0), label_mode="binary")
    assert labels.shape == (6, 1)
    np.testing.assert_allclose(images[:, 0, 0, :1], labels * 200, atol=1e-3)
    assert ((labels > 0) & (labels < 1)).any()


@pytest.mark.parametrize(
    ("augment", "arguments", "words"),
    [
        (kseq.MixUp(), {"label_mode": "int", "targets": "label"}, ("MixUp", "label", "label_mode='categorical'")),
        (kseq.CutMix(), {"label_mode": "int", "targets": "label"}, ("CutMix", "label", "label_mode='categorical'")),
        (kseq.MixUp(), {"label_mode": None}, ("MixUp", "no targets")),
        (kseq.MixUp(), {"targets": "mask"}, ("MixUp", "field mask", "kseq.CutMix")),
        (kseq.MixUp(), {"targets": "boxes"}, ("MixUp", "field boxes", "kseq.BatchFunction")),
        (kseq.CutMix(), {"targets": {"a": "label", "b": "boxes"}}, ("CutMix", "field boxes")),
        (kseq.MixUp(), {"targets": "place"}, ("MixUp", "field place", "unmoved='place'")),
        ([kseq.MixUp(), kseq.RandomFlip()], {}, ("after a function",)),
        (kseq.MixUp, {}, ("kseq.MixUp",)),
    ],
)
def test_what_has_no_mean_is_refused_by_name(flat: Path, augment: Any, arguments: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        read(flat, augment, **arguments)


def test_arguments_that_are_not_allowed_are_refused() -> None:
    for make in (
        lambda: kseq.MixUp(0),
        lambda: kseq.MixUp(-1),
        lambda: kseq.MixUp("a"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: kseq.MixUp(float("nan")),
        lambda: kseq.CutMix(2),
        lambda: kseq.CutMix((0.5, 0.1)),
        lambda: kseq.CutMix((0.1, 0.2, 0.3)),  # type: ignore[arg-type]  # wrong on purpose
        lambda: kseq.CutMix("ab"),  # type: ignore[arg-type]  # wrong on purpose
    ):
        with raises(ArgumentError, "allowed"):
            make()


def test_numbers_that_do_not_lie_in_the_image_may_be_mixed(flat: Path) -> None:
    _, places = read(flat, kseq.MixUp(1.0), targets="place", unmoved="place")
    assert places.shape == (COUNT, 1, 2)
    np.testing.assert_allclose(places[..., 1], 1)


@pytest.mark.filterwarnings("ignore:.*damaged sample")
def test_damaged_samples_are_mixed_with_none(flat: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(flat, tmp_path / "packed"))
    with kseq.ShardDataset(path) as dataset:
        stored = dataset.stored_bytes(5)
    shard = next(path.glob("shard-*.h5"))
    data = bytearray(shard.read_bytes())
    data[data.index(stored)] ^= 0xFF
    shard.write_bytes(data)
    _, labels = read(path, kseq.MixUp(1.0), on_error="skip", targets="label")
    assert len(labels) == COUNT - 1
    assert not labels[:, 5].any()
    images, labels, weights = read(path, kseq.MixUp(1.0), on_error="substitute", targets="label")
    assert (weights[5], weights[4]) == (0, 1)
    np.testing.assert_allclose(images[:, 0, 0, 0], labels @ (20 * np.arange(COUNT)), atol=1e-3)
    assert not labels[:, 5].any()


@pytest.mark.slow
def test_a_fit_learns_from_mixtures(flat: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(COUNT, "softmax")])
    model.compile("adam", "categorical_crossentropy", weighted_metrics=["mse"])
    options: dict[str, Any] = {"label_mode": "categorical", "dtype": "float32", "batch_size": 5, "remainder": "pad"}
    with kseq.ShardSequence(flat, "all", augment=[kseq.MixUp(), kseq.CutMix()], targets="label", **options) as train:
        losses = model.fit(train, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    layout = kseq.ShardSequence(flat, "all", augment=kseq.CutMix(), targets="label", layout="keras", **options)
    assert sorted(layout[0]) == ["images", "labels", "sample_weight"]
    layout.close()


def test_mixup_of_sixteen_bits_is_refused_when_batches_are_made(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8, 3), np.uint16)
    kseq.pack(
        (images, np.arange(4) % 2), tmp_path / "packed", workers=0, images=kseq.ImageSettings("raw", (8, 8), dtype="uint16")
    )
    options: dict[str, Any] = {"label_mode": "categorical", "augment": kseq.MixUp()}
    with raises(ArgumentError, "MixUp", "dtype='float32'"):
        kseq.Batches(tmp_path / "packed", **options)
    assert kseq.Batches(tmp_path / "packed", dtype="float32", **options).batch(0, 0)[0].dtype == np.float32
