"""`model.fit` as the stage wants it: models that cost almost nothing, and an epoch that is one call of `fit`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from stage import Job

__all__ = ["fitted"]


def _small_model(inputs: Any) -> Any:
    """The smallest that looks at every value: the largest of each channel, and ten classes."""
    return keras.layers.Dense(10)(keras.layers.Rescaling(1 / 255)(keras.layers.GlobalMaxPooling2D()(inputs)))


def _glancing_model(inputs: Any) -> Any:
    """Next to nothing is computed, so that memory alone is the limit."""
    return keras.layers.Dense(10)(keras.layers.Flatten()(Glance()(inputs)))


_MODELS: dict[str, Callable[[Any], Any]] = {"small": _small_model, "glance": _glancing_model}


class Glance(keras.layers.Layer):
    """Looks at one value in each 63 bytes: every cache line of a batch is read from memory, and next to nothing computed."""

    def call(self, images: Any) -> Any:
        return keras.ops.cast(images[:, :, ::21, :1], "float32")


class Watch(keras.callbacks.Callback):
    """Waits as if an accelerator were at work, and counts the images that the model trained on."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.images = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._seconds:
            time.sleep(self._seconds)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        # Keras's mean of the loss weighs each batch by its length, and so has counted the epoch's images already.
        self.images += int(self.model.metrics[0].count)


def fitted(job: Job, feeder: Any, dtype: str = "uint8") -> Callable[[int], Iterator]:
    """One `fit` for each epoch of the stage, with Keras's defaults.

    Args:
        job: Its options: `model`, "small" or "glance"; `epochs`, of each `fit`; `step`, seconds that each step takes beside:
            the host waits, as for an accelerator; `shuffle`, of `fit`, where Keras's default is not meant.
        feeder: What `fit` gets.
        dtype: Of its images.
    """
    options = job.options or {}
    inputs = keras.Input((job.size, job.size, 3), dtype=dtype)
    model = keras.Model(inputs, _MODELS[options["model"]](inputs))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    given = {"shuffle": options["shuffle"]} if "shuffle" in options else {}

    def epoch(number: int) -> Iterator:
        watch = Watch(options.get("step", 0.0))
        model.fit(feeder, epochs=options["epochs"], verbose=0, callbacks=[watch], **given)
        # As many images as were counted, which take no room.
        yield np.broadcast_to(np.uint8(0), (watch.images, job.size, job.size, 3)), np.zeros(1, int)

    return epoch
