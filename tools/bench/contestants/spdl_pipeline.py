"""SPDL: threads that a pipeline feeds; settings from the pages of its documentation named beside them.

SPDL stores nothing. Raw samples lie in one NPY file, the form that "Data Format and Performance" ends with, which its
`load_npy` gives as an array without a copy; JPEGs are read from the files. A batch is made by one call, as `load_image_batch`
of "Best Practices" does, so that no array exists of a single image.

Option `decoder`: "spdl" for its own, which is FFmpeg's, with a filter for the crop; "simplejpeg" for that and OpenCV.
"""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import spdl.io
from crops import crop_raw, decode_crop, draw_crop
from spdl.pipeline import PipelineBuilder
from stage import Job, jpeg_files, perform

# "Getting Started": how many batches wait for the user.
_AHEAD = 3

Batch = tuple[np.ndarray, np.ndarray]


def write(job: Job) -> None:
    """Table R: an NPY file, and its labels; JPEGs stay where they are."""
    if job.table in ("R", "RC"):
        for name in ("images.npy", "labels.npy"):
            shutil.copyfile(os.path.join(job.source, name), os.path.join(job.store, name))


class _Raw:
    """Makes batches of the NPY file, for table RC with a crop of each image."""

    def __init__(self, job: Job) -> None:
        with open(os.path.join(job.store, "images.npy"), "rb") as file:
            self._images = spdl.io.load_npy(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._labels = np.load(os.path.join(job.store, "labels.npy"))
        self._job = job
        # A buffer is used again when the batches that may wait, those at work and the user's have gone by.
        self._buffers = [np.empty((job.batch_size, job.size, job.size, 3), np.uint8) for _ in range(_AHEAD + job.workers + 3)]

    def __len__(self) -> int:
        return len(self._labels)

    def __call__(self, work: tuple[int, np.ndarray, np.random.Generator]) -> Batch:
        number, ids, rng = work
        batch = self._buffers[number % len(self._buffers)][: len(ids)]
        if self._job.table == "R":
            np.take(self._images, ids, axis=0, out=batch, mode="clip")
        else:
            for row, sample in zip(batch, ids.tolist(), strict=True):
                crop_raw(self._images[sample], self._job.size, rng, row)
        return batch, self._labels[ids]


class _Files:
    """Makes batches of JPEG files."""

    def __init__(self, job: Job) -> None:
        self._files = jpeg_files(job)
        self._size = job.size
        self._own = (job.options or {}).get("decoder") == "spdl"
        if self._own:
            _check_decoder(self._files[0][0])

    def __len__(self) -> int:
        return len(self._files)

    def __call__(self, work: tuple[int, np.ndarray, np.random.Generator]) -> Batch:
        _, ids, rng = work
        paths, labels = zip(*(self._files[sample] for sample in ids.tolist()), strict=True)
        return self._decode(paths, rng) if self._own else self._decode_by_simplejpeg(paths, rng), np.array(labels)

    def _decode(self, paths: Iterable[str], rng: np.random.Generator) -> np.ndarray:
        """ "Filter Graphs": crop, resize and mirror while decoding; then all frames at once into one array."""
        frames = []
        for path in paths:
            packets = spdl.io.demux_image(path)
            top, left, height, width = draw_crop(packets.height, packets.width, rng)
            flip = ",hflip" if rng.random() < 0.5 else ""
            crop = f"crop={width}:{height}:{left}:{top}:exact=1,scale={self._size}:{self._size}:flags=bilinear{flip}"
            frames.append(spdl.io.decode_packets(packets, filter_desc=f"{crop},format=pix_fmts=rgb24"))
        return spdl.io.to_numpy(spdl.io.convert_frames(frames))

    def _decode_by_simplejpeg(self, paths: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
        batch = np.empty((len(paths), self._size, self._size, 3), np.uint8)
        for row, path in zip(batch, paths, strict=True):
            with open(path, "rb") as file:
                decode_crop(file.read(), self._size, rng, row)
        return batch


def _check_decoder(path: str) -> None:
    """End with a line that names what is missing: a pipeline would pass over each file."""
    try:
        spdl.io.demux_image(path)
    except RuntimeError as error:
        raise SystemExit(
            f"its decoder needs FFmpeg's libraries, 4 to 9, which it does not bring (libavdevice59 of Debian 12): {error}"
        ) from error


def open_store(job: Job) -> Callable[[int], Iterator[Any]]:
    make: _Raw | _Files = _Raw(job) if job.table in ("R", "RC") else _Files(job)

    def epoch(number: int) -> Iterator[Any]:
        ids = np.random.default_rng((job.seed, number)).permutation(len(make))
        starts = range(0, len(ids), job.batch_size)
        work = (
            (place, ids[start : start + job.batch_size], np.random.default_rng((job.seed, number, start)))
            for place, start in enumerate(starts)
        )
        # "Building and Running Pipeline"; a pipeline is for one epoch.
        builder = PipelineBuilder().add_source(work).pipe(make, concurrency=job.workers).add_sink(_AHEAD)
        pipeline = builder.build(num_threads=job.workers)
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
