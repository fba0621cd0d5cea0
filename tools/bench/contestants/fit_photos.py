"""Photos through `model.fit` with everything as it is by default; KERAS_BACKEND says on what. Table D.

Options: `feeder`, who makes the batches: "kseq", "keras", for `image_dataset_from_directory`, with its `format`, or "files",
for tf.data over the files; `crop`, to take a random part of each photo, mirrored or not, in place of the whole; and those of
`fitting.fitted`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fitting import fitted
from stage import Job, jpeg_files, perform


def _kseq(job: Job) -> Any:
    import kseq

    if (job.options or {}).get("crop"):
        augment = [kseq.RandomResizedCrop(job.size), kseq.RandomFlip()]
        return kseq.ShardSequence(job.store, batch_size=job.batch_size, augment=augment)
    return kseq.ShardSequence(job.store, batch_size=job.batch_size, input_shape=(job.size, job.size, 3))


def _keras(job: Job) -> Any:
    from keras_directory import directory_dataset

    return directory_dataset(job)


def _files(job: Job) -> Any:
    """As "Load and preprocess images" and "Better performance with the tf.data API" of TensorFlow's guide do it."""
    import tensorflow as tf
    from tfdata_tfrecord import random_jpeg_part

    paths, labels = map(list, zip(*jpeg_files(job), strict=True))

    def whole(path: Any, label: Any) -> Any:
        pixels = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.cast(tf.round(tf.image.resize(pixels, (job.size, job.size))), tf.uint8), label

    def part(path: Any, label: Any) -> Any:
        return random_jpeg_part(tf.io.read_file(path), job.size), label

    samples = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(len(paths), seed=job.seed)
    load = part if (job.options or {}).get("crop") else whole
    return samples.map(load, tf.data.AUTOTUNE).batch(job.batch_size).prefetch(tf.data.AUTOTUNE)


_FEEDERS: dict[str, Callable[[Job], Any]] = {"kseq": _kseq, "keras": _keras, "files": _files}


def write(job: Job) -> None:
    """The stores are written by kseq_shards.py; the others read the source."""


def open_store(job: Job) -> Callable[[int], Iterator]:
    feeder = (job.options or {})["feeder"]
    return fitted(job, _FEEDERS[feeder](job), "float32" if feeder == "keras" else "uint8")


if __name__ == "__main__":
    perform(write, open_store)
