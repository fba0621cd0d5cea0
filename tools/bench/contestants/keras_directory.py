"""`keras.utils.image_dataset_from_directory`: the folder of files itself, each epoch anew.

It resizes whole images and knows no crop at decoding, so it does less than the others in tables J and N: no random part, only
the flip. It stores nothing, and reads no raw pixels. Option `format`: "tf", the default, or "grain", for which Keras decodes
with Pillow and resizes each image with its backend: TensorFlow here, since JAX took twice as much processor time, torch 1.7
times. Grain then reads in 16 threads, which Keras does not let choose.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from stage import Job, perform


def write(job: Job) -> None:
    """The source is the store."""


def directory_dataset(job: Job) -> Any:
    """The dataset as Keras makes it: float32 images in [0, 255], and labels."""
    return keras.utils.image_dataset_from_directory(
        job.source,
        batch_size=job.batch_size,
        image_size=(job.size, job.size),
        shuffle=True,
        seed=job.seed,
        verbose=False,
        **({"format": "grain"} if (job.options or {}).get("format") == "grain" else {}),
    )


def open_store(job: Job) -> Callable[[int], Iterator]:
    dataset = directory_dataset(job)
    if (job.options or {}).get("format") == "grain":
        return lambda number: map(_finish_grain, dataset)

    def finish(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.round(tf.image.random_flip_left_right(images)), tf.uint8), labels

    options = tf.data.Options()
    options.threading.private_threadpool_size = job.workers
    # "Load and preprocess images" of TensorFlow's tutorials: prefetch with AUTOTUNE.
    finished = dataset.map(finish, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE).with_options(options)
    return lambda number: finished.as_numpy_iterator()


def _finish_grain(batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = batch
    return tf.cast(tf.round(tf.image.random_flip_left_right(images)), tf.uint8).numpy(), np.asarray(labels)


if __name__ == "__main__":
    perform(write, open_store)
