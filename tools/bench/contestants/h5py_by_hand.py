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
from crops import draw_crop
from PIL import Image
from stage import Job, jpeg_files, load_raw, perform

_AHEAD = 4


def write(job: Job) -> None:
    """One file, as `create_dataset` makes it by default: contiguous.

    Chunks of h5py's own choice (`chunks=True`) were slower: 47 against 1,700 images/s, measured on 1,000 photos of table R.
    """
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
        self._epoch = -1
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self._ids) // self._job.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        size = self._job.batch_size
        # h5py wants rising numbers.
        ids = np.sort(self._ids[index * size : (index + 1) * size])
        stored = self._file["x"][ids]
        if self._job.table != "R":
            rng = np.random.default_rng((self._job.seed, self._epoch, index))
            stored = np.stack([self._cropped(data, rng) for data in stored])
        return stored, self._labels[ids]

    def _cropped(self, data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = self._job.size
        with Image.open(io.BytesIO(data.tobytes())) as image:
            top, left, height, width = draw_crop(image.height, image.width, rng)
            box = (left, top, left + width, top + height)
            pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box))
        return pixels[:, ::-1] if rng.random() < 0.5 else pixels

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._rng.shuffle(self._ids)


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
