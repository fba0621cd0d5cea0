"""`keras.utils.image_dataset_from_directory`: the folder of files itself, each epoch anew.

It resizes whole images and knows no crop at decoding, so it does less than the others in tables J and N: no random part, only
the flip. It stores nothing, and reads no raw pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import tensorflow as tf
from stage import Job, perform


def write(job: Job) -> None:
    """The source is the store."""


def open_store(job: Job) -> Callable[[int], Iterator]:
    dataset = keras.utils.image_dataset_from_directory(
        job.source, batch_size=job.batch_size, image_size=(job.size, job.size), shuffle=True, seed=job.seed, verbose=False
    )

    def finish(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.round(tf.image.random_flip_left_right(images)), tf.uint8), labels

    options = tf.data.Options()
    options.threading.private_threadpool_size = job.workers
    # "Load and preprocess images" of TensorFlow's tutorials: prefetch with AUTOTUNE.
    finished = dataset.map(finish, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE).with_options(options)
    return lambda number: finished.as_numpy_iterator()


if __name__ == "__main__":
    perform(write, open_store)
