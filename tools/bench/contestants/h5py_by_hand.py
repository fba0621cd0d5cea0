"""The HDF5 Sequence that people write by hand: one file made with h5py's defaults, `file["x"][sorted ids]` for each batch.

h5py does its work under one lock, so that its threads wait for each other. JPEG files are stored as variable-length bytes and
decoded with Pillow.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import keras
import numpy as np
from PIL import Image
from stage import Job, jpeg_files, load_raw, perform

_AHEAD = 4


def write(job: Job) -> None:
    """One file, as `create_dataset` makes it by default: contiguous. Chunks of h5py's own choice would be 30 times slower."""
    with h5py.File(os.path.join(job.store, "data.h5"), "w") as file:
        if job.table == "R":
            images, labels = load_raw(job)
            stored = file.create_dataset("x", images.shape, np.uint8)
            for start in range(0, len(images), 256):
                stored[start : start + 256] = images[start : start + 256]
        else:
            files = jpeg_files(job)
            labels = np.array([label for _, label in files])
            stored = file.create_dataset("x", (len(files),), h5py.vlen_dtype(np.uint8))
            for number, (path, _) in enumerate(files):
                stored[number] = np.fromfile(path, np.uint8)
        file["y"] = labels


class HandWritten(keras.utils.Sequence):
    """Batches of the file, in an order that is shuffled after each epoch."""

    def __init__(self, job: Job) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._job = job
        self._file = h5py.File(os.path.join(job.store, "data.h5"), "r")
        self._labels = self._file["y"][()]
        self._rng = np.random.default_rng(job.seed)
        self._ids = np.arange(len(self._labels))
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self._ids) // self._job.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        size = self._job.batch_size
        # h5py wants rising numbers.
        ids = np.sort(self._ids[index * size : (index + 1) * size])
        stored = self._file["x"][ids]
        if self._job.table != "R":
            stored = np.stack([self._cropped(data) for data in stored])
        return stored, self._labels[ids]

    def _cropped(self, data: np.ndarray) -> np.ndarray:
        size = self._job.size
        with Image.open(io.BytesIO(data.tobytes())) as image:
            width, height = image.size
            box = _crop(height, width)
            pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box))
        return pixels[:, ::-1] if np.random.random() < 0.5 else pixels

    def on_epoch_end(self) -> None:
        self._rng.shuffle(self._ids)


def _crop(height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a box of 0.08 to 1 of the area, 3/4 to 4/3 as wide as high."""
    for _ in range(10):
        area = height * width * np.random.uniform(0.08, 1.0)
        ratio = np.exp(np.random.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if w <= width and h <= height:
            left, top = np.random.randint(width - w + 1), np.random.randint(height - h + 1)
            return left, top, left + w, top + h
    return 0, 0, width, height


def open_store(job: Job) -> Callable[[int], Iterator[Any]]:
    sequence = HandWritten(job)
    pool = ThreadPoolExecutor(job.workers)

    def epoch(number: int) -> Iterator[Any]:
        waiting: deque = deque()
        for index in range(len(sequence)):
            waiting.append(pool.submit(sequence.__getitem__, index))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        sequence.on_epoch_end()

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
