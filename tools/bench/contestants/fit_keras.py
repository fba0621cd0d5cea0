"""Batches through `model.fit`, of a model that costs almost nothing; KERAS_BACKEND says on what.

Options: `feeder`, who makes the batches: "kseq", "ready-made", "tf.data" or "h5py"; `processes`, for kseq; `model`: "small" or
"glance"; `step`, seconds that each step takes beside: the host waits, as for an accelerator; `epochs`, of each `fit`. What
counts as an epoch of the stage is one `fit`, and its images are those that the model trained on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from memory_copy import aligned
from stage import Job, load_raw, perform

import kseq

# Batches that the ready-made Sequence hands out in turn: more than fit in any cache.
_READY = 12


class ReadyMade(keras.utils.PyDataset):
    """Hands out batches that lie in memory, aligned as the backends like them."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        images, labels = load_raw(job)
        self._count, self._size = len(images), job.batch_size
        self._batches = []
        for number in range(_READY):
            rows = np.arange(number * self._size, (number + 1) * self._size) % len(images)
            batch = aligned((self._size, *images.shape[1:]))
            batch[:] = images[rows]
            self._batches.append((batch, labels[rows].astype(np.int32)))

    def __len__(self) -> int:
        return -(-self._count // self._size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self._batches[index % _READY]
        rows = min(self._size, self._count - index * self._size)
        return images[:rows], labels[:rows]


def _kseq(job: Job) -> Any:
    options = job.options or {}
    jpeg = job.table == "J"
    return kseq.ShardSequence(
        job.store,
        batch_size=job.batch_size,
        workers=job.workers,
        use_multiprocessing=options.get("processes", False),
        augment=[kseq.RandomResizedCrop(job.size), kseq.RandomFlip()] if jpeg else (),
    )


def _tfdata(job: Job) -> Any:
    from tfdata_tfrecord import make_dataset

    return make_dataset(job)


def _h5py(job: Job) -> Any:
    from h5py_by_hand import HandWritten

    return HandWritten(job)


_FEEDERS: dict[str, Callable[[Job], Any]] = {"kseq": _kseq, "ready-made": ReadyMade, "tf.data": _tfdata, "h5py": _h5py}


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


def write(job: Job) -> None:
    """The stores are those of tables R and J."""


def open_store(job: Job) -> Callable[[int], Iterator]:
    options = job.options or {}
    feeder = _FEEDERS[options["feeder"]](job)
    inputs = keras.Input((job.size, job.size, 3), dtype="uint8")
    model = keras.Model(inputs, _MODELS[options["model"]](inputs))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def epoch(number: int) -> Iterator:
        watch = Watch(options.get("step", 0.0))
        model.fit(feeder, epochs=options["epochs"], shuffle=False, verbose=0, callbacks=[watch])
        # As many images as were counted, which take no room.
        yield np.broadcast_to(np.uint8(0), (watch.images, job.size, job.size, 3)), np.zeros(1, int)

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
