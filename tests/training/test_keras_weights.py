"""What Keras makes of rows that only fill batches up."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kseq
from kseq.errors import ArgumentError
from tests.helpers.messages import raises

pytestmark = pytest.mark.slow


def classifier(**compiling: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Rescaling(1 / 50), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((4, 4, 3)), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy", **compiling)
    return model


@pytest.mark.parametrize("weighted", [False, True])
def test_evaluate_has_the_figures_of_the_samples_alone(numbered: Path, weighted: bool) -> None:
    model = classifier(weighted_metrics=["accuracy", "sparse_top_k_categorical_accuracy"])
    options = {"sample_weight": np.linspace(0.1, 3, 20)} if weighted else {}
    figures = []
    for remainder, batch_size in (("keep", 20), ("keep", 7), ("pad", 7), ("pad", 32), ("pad", 64)):
        with kseq.ShardSequence(numbered, "val", batch_size=batch_size, remainder=remainder, **options) as val:
            figures.append(model.evaluate(val, verbose=0))
    np.testing.assert_allclose(figures, [figures[0]] * 5, rtol=0, atol=1e-6)


def test_evaluate_of_masks_has_the_figures_of_the_samples_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(10):
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 3, (6, 8), np.uint8)).save(tmp_path / f"{number}-mask.png")
    rows = [f"{number}.png,{number}-mask.png,{number % 2}" for number in range(10)]
    (tmp_path / "t.csv").write_text("\n".join(["image,mask,label", *rows]))
    images = kseq.ImageSettings("raw", (6, 8))
    kseq.pack(tmp_path / "t.csv", tmp_path / "packed", columns=kseq.Columns(mask="mask"), images=images, workers=0)
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 8, 3))
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    pixels = keras.layers.Conv2D(3, 3, padding="same", activation="softmax", name="pixels")(scaled)
    kind = keras.layers.Dense(2, activation="softmax", name="kind")(keras.layers.Flatten()(scaled))
    losses = {"pixels": "sparse_categorical_crossentropy", "kind": "sparse_categorical_crossentropy"}
    for outputs, targets, compiling in (
        (pixels, "mask", {"loss": losses["pixels"], "weighted_metrics": [keras.metrics.MeanIoU(3, sparse_y_pred=False)]}),
        ({"pixels": pixels, "kind": kind}, {"pixels": "mask", "kind": "label"}, {"loss": losses}),
    ):
        model = keras.Model(inputs, outputs)
        model.compile("sgd", **compiling)
        figures = []
        for remainder, batch_size in (("keep", 10), ("pad", 8)):
            options = {"targets": targets, "remainder": remainder, "batch_size": batch_size}
            with kseq.ShardSequence(tmp_path / "packed", "all", **options) as sequence:
                figures.append(model.evaluate(sequence, verbose=0))
        np.testing.assert_allclose(figures[1], figures[0], rtol=0, atol=1e-6)


def test_metrics_that_count_rows_without_weight_are_named_and_weighted_ones_are_not(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "val", batch_size=16, remainder="pad") as val:
        with pytest.warns(UserWarning, match="12 rows only fill batches up.*weighted_metrics"):
            classifier(metrics=["accuracy"]).evaluate(val, verbose=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            classifier(weighted_metrics=["accuracy"]).evaluate(val, verbose=0)
            classifier(metrics=["accuracy"]).predict(val, verbose=0)
    with warnings.catch_warnings(), kseq.ShardSequence(numbered, "val", batch_size=10, remainder="pad") as val:
        warnings.simplefilter("error")
        classifier(metrics=["accuracy"]).evaluate(val, verbose=0)


def test_predictions_of_rows_that_count_are_those_of_the_samples(numbered: Path) -> None:
    model = classifier()
    with (
        kseq.ShardSequence(numbered, "val", batch_size=20) as val,
        kseq.ShardSequence(numbered, "val", batch_size=16, remainder="pad") as padded,
    ):
        is_counted = np.concatenate([padded.is_counted(number) for number in range(len(padded))])
        np.testing.assert_allclose(model.predict(padded, verbose=0)[is_counted], model.predict(val, verbose=0), atol=1e-6)


def test_weights_of_classes_do_not_go_with_weights_of_rows(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "train", batch_size=16, remainder="pad") as train:
        with raises(ArgumentError, "class_weight", "sample_weight", "remainder='pad'"):
            classifier().fit(train, class_weight={0: 1.0, 1: 2.0, 2: 1.0}, verbose=0)
        classifier().fit(train, verbose=0)
