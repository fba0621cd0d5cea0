"""Real photos, where they are at hand: ten classes of clothes in train, validation and test folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import kseq
from tests.helpers.paths import CLOTHING
from tests.helpers.processes import RunPython

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CLOTHING.is_dir(), reason=f"the photos are not at {CLOTHING}")]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("clothing") / "keep"
    kseq.pack(CLOTHING, target)
    return target


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("clothing") / "raw"
    kseq.pack(CLOTHING, target, images=kseq.ImageSettings("raw", (224, 224)))
    return target


@pytest.mark.parametrize("encoding", ["kept", "raw"])
def test_counts_are_those_of_the_folders(encoding: str, request: pytest.FixtureRequest) -> None:
    dataset = kseq.ShardDataset(request.getfixturevalue(encoding))
    assert dataset.splits == {"train": 3068, "val": 341, "test": 372}
    assert len(dataset.class_names) == 10
    assert not dataset.rejected()


def test_stored_bytes_are_the_files(kept: Path) -> None:
    dataset = kseq.ShardDataset(kept)
    for number in range(0, len(dataset), 37):
        assert dataset.stored_bytes(number) == (CLOTHING / dataset.source(number)).read_bytes()


def test_plain_h5py_reads_the_same_raw_pixels(raw: Path) -> None:
    dataset = kseq.ShardDataset(raw)
    number = 0
    for path in sorted(raw.glob("shard-*.h5")):
        with h5py.File(path) as shard:
            rows = len(shard["image"])
            some = sorted({0, rows // 2, rows - 1})
            assert np.array_equal(dataset.read([number + row for row in some])["image"], shard["image"][some])
            number += rows
    assert number == len(dataset)


TRAIN = """
import json, sys
import keras, kseq
def train_on(path, checkpoint):
    keras.utils.set_random_seed(1)
    shape = dict(input_shape=(64, 64, 3), batch_size=64)
    train = kseq.ShardSequence(path, "train", **shape, augment=kseq.RandomFlip())
    val = kseq.ShardSequence(path, "val", **shape)
    model = keras.Sequential([
        keras.Input((64, 64, 3)),
        keras.layers.Rescaling(1 / 127.5, offset=-1),
        *(keras.layers.Conv2D(filters, 3, strides=2, activation="relu") for filters in (16, 32, 64)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10, activation="softmax"),
    ])
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    losses = []
    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(float(logs["loss"]))
    history = model.fit(train, validation_data=val, epochs=1, shuffle=False, verbose=0,
                        callbacks=[keras.callbacks.ModelCheckpoint(checkpoint), Losses()])
    return {"losses": losses, "val_loss": history.history["val_loss"][0], "epoch": train.epoch}
print(json.dumps([train_on(path, checkpoint) for path, checkpoint in zip(sys.argv[1::2], sys.argv[2::2])]))
"""


def test_a_network_learns_from_an_epoch(kept: Path, raw: Path, tmp_path: Path, run_python: RunPython) -> None:
    checkpoints = [tmp_path / f"{name}.keras" for name in ("kept", "raw")]
    done = run_python(TRAIN, kept, checkpoints[0], raw, checkpoints[1], backend="tensorflow")
    for result in json.loads(done.stdout.splitlines()[-1]):
        # Keras's loss is the mean over the epoch so far: it falls if later batches are better than earlier ones.
        assert len(result["losses"]) == 48
        assert result["losses"][-1] < 0.95 * result["losses"][0]
        assert result["epoch"] == 1
    assert all(path.stat().st_size > 100_000 for path in checkpoints)


COMPARE = """
import json, sys
import keras, kseq, numpy as np
photos, path = sys.argv[1:]
results = {}
for crop, size in ((crop, size) for crop in (False, True) for size in (224, 160)):
    theirs = keras.utils.image_dataset_from_directory(
        photos + "/test", image_size=(size, size), batch_size=32, shuffle=False, interpolation="bilinear",
        crop_to_aspect_ratio=crop)
    expected = list(theirs.as_numpy_iterator())
    for decode in ("fast",) if size == 224 else ("fast", "exact"):
        ours = kseq.ShardSequence(path, "test", input_shape=(size, size, 3), crop_to_aspect_ratio=crop, dtype="float32",
                                  decode=decode)
        differences, labels_equal, count = [], True, 0
        for (images, labels), (their_images, their_labels) in zip(ours, expected, strict=True):
            differences.append(np.abs(images - their_images).mean(axis=(1, 2, 3)))
            labels_equal &= bool((labels == their_labels).all()) and labels.dtype == their_labels.dtype
            count += len(images)
        differences = np.concatenate(differences)
        results[f"{crop} {size} {decode}"] = {"mean": float(differences.mean()), "worst": float(differences.max()),
                                              "labels": labels_equal, "count": count,
                                              "classes": list(ours.class_names) == list(theirs.class_names)}
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def comparison(kept: Path, run_python: RunPython) -> dict[str, Any]:
    done = run_python(COMPARE, CLOTHING, kept, backend="tensorflow")
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("crop", ["False", "True"])
def test_pixels_and_labels_are_those_of_keras(crop: str, comparison: dict[str, Any]) -> None:
    found = comparison[f"{crop} 224 fast"]
    assert found["count"] == 372
    assert found["labels"]
    assert found["classes"]
    assert found["mean"] < 1
    assert found["worst"] < 2


@pytest.mark.parametrize("crop", ["False", "True"])
def test_pixels_that_are_decoded_no_better_than_the_resize_shows_are_near(crop: str, comparison: dict[str, Any]) -> None:
    near, exact = comparison[f"{crop} 160 fast"], comparison[f"{crop} 160 exact"]
    assert near["mean"] < 0.5
    assert near["worst"] < 3
    # Keras does not round to whole numbers: half of 255 values differ by a quarter.
    assert exact["worst"] < 0.3
