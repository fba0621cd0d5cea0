"""tf.data over TFRecord files; settings from the pages of TensorFlow's guide named beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from stage import Job, count_samples, perform, raw_side, samples

_SHARDS = 16


def write(job: Job) -> None:
    """Sixteen files of tf.train.Example, as in the tutorial "TFRecord and tf.train.Example"."""
    writers = [tf.io.TFRecordWriter(os.path.join(job.store, f"{shard:02d}.tfrecord")) for shard in range(_SHARDS)]
    for number, (data, label) in enumerate(samples(job)):
        feature = {
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        writers[number % _SHARDS].write(example.SerializeToString())
    for each in writers:
        each.close()


def make_dataset(job: Job) -> tf.data.Dataset:
    """The dataset of one epoch, a new order each time it is gone through."""
    files = tf.data.Dataset.list_files(os.path.join(job.store, "*.tfrecord"), shuffle=True, seed=job.seed)
    # "Better performance with the tf.data API": parallel interleave, vectorized parsing, parallel map, prefetch.
    records = files.interleave(
        lambda file: tf.data.TFRecordDataset(file, buffer_size=8 << 20),
        cycle_length=_SHARDS,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=False,
    )
    # A buffer of every record is a full shuffle, and more than people can afford.
    shuffled = records.shuffle(count_samples(job), seed=job.seed, reshuffle_each_iteration=True)
    if job.table == "R":
        dataset = shuffled.batch(job.batch_size).map(_parse_raw(job.size), tf.data.AUTOTUNE, deterministic=False)
    else:
        parse = _parse_raw_crop(raw_side(job), job.size) if job.table == "RC" else _parse_jpeg(job.size)
        dataset = shuffled.map(parse, tf.data.AUTOTUNE, deterministic=False).batch(job.batch_size)
    options = tf.data.Options()
    options.threading.private_threadpool_size = job.workers
    options.deterministic = False
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


_FEATURES = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}


def _parse_raw(size: int) -> Callable[[Any], Any]:
    def parse(records: Any) -> Any:
        parsed = tf.io.parse_example(records, _FEATURES)
        pixels = tf.io.decode_raw(parsed["image"], tf.uint8, fixed_length=size * size * 3)
        return tf.reshape(pixels, (-1, size, size, 3)), parsed["label"]

    return parse


def _parse_raw_crop(side: int, size: int) -> Callable[[Any], Any]:
    def parse(record: Any) -> Any:
        parsed = tf.io.parse_single_example(record, _FEATURES)
        pixels = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), (side, side, 3))
        begin, extent = _random_window(tf.constant((side, side, 3)))
        return _finish(tf.slice(pixels, begin, extent), size), parsed["label"]

    return parse


def _parse_jpeg(size: int) -> Callable[[Any], Any]:
    """The crop of TensorFlow's own ResNet examples: `sample_distorted_bounding_box`, then `decode_and_crop_jpeg`."""

    def parse(record: Any) -> Any:
        parsed = tf.io.parse_single_example(record, _FEATURES)
        return random_jpeg_part(parsed["image"], size), parsed["label"]

    return parse


def random_jpeg_part(data: Any, size: int) -> Any:
    """A random part of a JPEG, mirrored or not, `(size, size, 3)` uint8."""
    begin, extent = _random_window(tf.io.extract_jpeg_shape(data))
    return _finish(tf.io.decode_and_crop_jpeg(data, tf.concat([begin[:2], extent[:2]], 0), channels=3), size)


def _random_window(shape: Any) -> tuple[Any, Any]:
    begin, extent, _ = tf.image.sample_distorted_bounding_box(
        shape,
        tf.zeros((1, 0, 4)),
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    return begin, extent


def _finish(part: Any, size: int) -> Any:
    image = tf.image.random_flip_left_right(tf.image.resize(part, (size, size)))
    return tf.cast(tf.round(image), tf.uint8)


def open_store(job: Job) -> Callable[[int], Iterator]:
    dataset = make_dataset(job)
    return lambda number: dataset.as_numpy_iterator()


if __name__ == "__main__":
    perform(write, open_store)
