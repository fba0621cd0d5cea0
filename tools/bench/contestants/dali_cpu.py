"""NVIDIA DALI on the CPU alone: a pipeline that reads files; settings from the pages of its documentation named beside them.

DALI has no file format of its own, it reads others'. So for tables J and N the store is the source's JPEG files, copied, and
for tables R and RC one file of bare pixels per sample; both are read by its file reader, which maps files into memory. The
pipeline runs ahead of its user by `prefetch_queue_depth` batches, but not past the end of an epoch; only the reader has then
mapped the first files of the next one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types
from stage import Job, jpeg_files, load_raw, perform, raw_side

PREFETCH = 2


def write(job: Job) -> None:
    """Lay one folder per class, as the file reader wants it ("fn.readers.file")."""
    if job.table in ("R", "RC"):
        images, labels = load_raw(job)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            image.tofile(place(job, int(label), f"{index:08}.bin"))
    else:
        for path, label in jpeg_files(job):
            shutil.copyfile(path, place(job, label, os.path.basename(path)))


def place(job: Job, label: int, name: str) -> str:
    """Path of a sample's file; makes its folder."""
    folder = os.path.join(job.store, f"{label:06}")
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, name)


@pipeline_def
def pipeline(job: Job) -> tuple[Any, Any]:
    """The graph: read, decode a random part, resize, mirror."""
    # shuffle_after_epoch shuffles the whole list anew for each epoch; random_shuffle would only mix a buffer.
    data, labels = fn.readers.file(
        file_root=job.store,
        file_filters=["*.jpg" if job.table in ("J", "N") else "*.bin"],
        shuffle_after_epoch=True,
        pad_last_batch=True,
        seed=job.seed,
        name="reader",
    )
    if job.table in ("R", "RC"):
        images = fn.reshape(data, shape=[raw_side(job), raw_side(job), 3], layout="HWC")
        if job.table == "R":
            return images, labels
    part = {"random_area": [0.08, 1.0], "random_aspect_ratio": [3 / 4, 4 / 3], "seed": job.seed + 1}
    if job.table == "RC":
        # "fn.random_resized_crop" cuts and resizes in one pass; the mirroring is a pass of its own.
        size = [job.size, job.size]
        images = fn.random_resized_crop(images, size=size, interp_type=types.INTERP_LINEAR, antialias=False, **part)
        return fn.flip(images, horizontal=fn.random.coin_flip(seed=job.seed + 2)), labels
    # "Image Decoder" examples: a decoder that crops does not decode what the crop leaves out.
    images = fn.decoders.image_random_crop(data, device="cpu", output_type=types.RGB, **part)
    # "fn.resize_crop_mirror" does both in one pass; antialias=False is plain bilinear.
    images = fn.resize_crop_mirror(
        images,
        size=[job.size, job.size],
        crop=[job.size, job.size],
        mirror=fn.random.coin_flip(seed=job.seed + 2),
        interp_type=types.INTERP_LINEAR,
        antialias=False,
    )
    return images, labels


def batches(pipe: Any, job: Job, samples: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch's batches: views of the pipeline's own memory, each valid until the next is asked for."""
    total = -(-samples // job.batch_size)
    # "Pipeline", schedule_run, share_outputs, release_outputs. A pipeline's very first schedule_run fills its queue.
    for _ in range(min(PREFETCH, total) if epoch else 1):
        pipe.schedule_run()
    for number in range(total):
        images, labels = (np.asarray(each.as_tensor()) for each in pipe.share_outputs())
        # pad_last_batch repeats the last sample until the batch is full.
        count = min(job.batch_size, samples - number * job.batch_size)
        yield images[:count], labels[:count, 0]
        pipe.release_outputs()
        if number + PREFETCH < total:
            pipe.schedule_run()


def open_store(job: Job) -> Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Build the pipeline."""
    # "Pipeline": device_id=None for a pipeline without a GPU; exec_dynamic=False keeps the output buffers instead of allocating
    # new ones for each batch, which table R would notice most. "Performance Tuning" calls the other defaults good for typical
    # use, prefetch_queue_depth among them.
    pipe = pipeline(
        job,
        batch_size=job.batch_size,
        num_threads=job.workers,
        device_id=None,
        seed=job.seed,
        exec_dynamic=False,
        prefetch_queue_depth=PREFETCH,
    )
    pipe.build()
    samples = pipe.reader_meta("reader")["epoch_size"]
    return lambda number: batches(pipe, job, samples, number)


if __name__ == "__main__":
    perform(write, open_store)
