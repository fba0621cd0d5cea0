"""Detectors of KerasHub, without weights from the network: they take the dicts of `layout="keras"` as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import kseq
from tests.helpers.objects import COUNT, pack_objects, write_objects

SIDE = 128


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    columns = kseq.Columns(boxes="boxes", box_labels="kinds", label="")
    return pack_objects(write_objects(folder), folder / "packed", columns=columns)


def small_detector(hub: Any) -> Any:
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(SIDE, SIDE, 3),
    )
    backbone = hub.models.RetinaNetBackbone(encoder, min_level=3, max_level=5, use_p5=False, image_shape=(SIDE, SIDE, 3))
    anchors = hub.layers.AnchorGenerator(
        "yxyx", min_level=3, max_level=5, num_scales=1, aspect_ratios=[1.0, 2.0], anchor_size=4.0
    )
    return hub.models.RetinaNetObjectDetector(backbone, 2, bounding_box_format="yxyx", anchor_generator=anchors)


@pytest.mark.slow
def test_a_detector_and_its_preprocessor_take_the_batches(packed: Path) -> None:
    hub = pytest.importorskip("keras_hub", reason="KerasHub is not among the packages of the tests")
    import keras

    keras.utils.set_random_seed(0)
    options: dict[str, Any] = {"layout": "keras", "bounding_box_format": "yxyx", "input_shape": (SIDE, SIDE, 3), "workers": 0}
    with kseq.ShardSequence(packed, "all", augment=kseq.RandomFlip(), batch_size=6, dtype="float32", **options) as train:
        converter = hub.layers.RetinaNetImageConverter(image_size=(SIDE, SIDE), bounding_box_format="yxyx", scale=1 / 255)
        preprocessor = hub.models.RetinaNetObjectDetectorPreprocessor(converter)
        batch = train[0]
        images, boxes = preprocessor(batch["images"], batch["bounding_boxes"])
        np.testing.assert_allclose(images, batch["images"] / 255, atol=1e-5)
        np.testing.assert_allclose(boxes["boxes"], batch["bounding_boxes"]["boxes"], atol=1e-3)
        model = small_detector(hub)
        model.compile(jit_compile=False)
        pairs = (preprocessor(found["images"], found["bounding_boxes"]) for _ in range(3) for found in train)
        # KerasHub's own `fit` wraps arrays and tf.data alone; that of Keras takes what is preprocessed already.
        losses = keras.Model.fit(model, pairs, steps_per_epoch=COUNT // 6, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
