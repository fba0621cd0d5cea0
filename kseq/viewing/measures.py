"""What is measured of every image, in the background: how bright it is, its colours, and what it is like."""

from __future__ import annotations

import threading

import cv2
import numpy as np

from kseq.display.eye_pixels import as_rgb
from kseq.errors import KseqError
from kseq.platforms.processes import usable_cores
from kseq.reading.reduced_images import read_reduced
from kseq.storage.checksums import checksum
from kseq.threads import ThreadPool
from kseq.viewing.features import SIDE, describe, num_features
from kseq.viewing.opened import Opened

__all__ = ["BROKEN", "MEASURED", "Measures"]

# So many samples are measured in one task.
_PART = 128

# What is found out of the measures is found out anew so many times while they grow.
_STAGES = 20

# Of `states`.
MEASURED, BROKEN = 1, 2


class Measures:
    """What is measured of the image of each sample, once `start` was called; 94 bytes of memory a sample and, of
    fewer than a million, up to 454.

    Args:
        opened: The dataset.

    Attributes:
        states: `(num_ids,)` uint8: 0 not measured yet, 1 measured, 2 cannot be decoded.
        brightness: `(num_ids,)` uint8: the mean of the gray image.
        contrast: `(num_ids,)` uint8: its standard deviation.
        colors: `(num_ids, 3)` uint8: the mean red, green and blue.
        stored_hashes: `(num_ids,)` uint64: equal for images whose stored bytes are the same.
        looks: `(num_ids,)` uint64: for each of 8 x 8 places of the gray image, whether it is brighter than the one to its
            right. Images that look alike differ in few bits.
        features: `(num_ids, m)` uint8: see `kseq.viewing.features`.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        count = opened.num_ids
        # Zeros take no memory until they are written to.
        self.states = np.zeros(count, np.uint8)
        self.brightness = np.zeros(count, np.uint8)
        self.contrast = np.zeros(count, np.uint8)
        self.colors = np.zeros((count, 3), np.uint8)
        self.stored_hashes = np.zeros(count, np.uint64)
        self.looks = np.zeros(count, np.uint64)
        self.features = np.zeros((count, num_features(count)), np.uint8)
        self._lock = threading.Lock()
        self._threads: ThreadPool | None = None
        self._next = self._done = 0
        self._is_closed = False

    @property
    def num_measured(self) -> int:
        """How many samples were looked at so far."""
        return self._done

    @property
    def is_complete(self) -> bool:
        """Whether all were."""
        return self._done >= self._opened.num_ids

    @property
    def stage(self) -> int:
        """A number that changes some times while measuring goes on, and once more when it is complete.

        What was found out of the measures meanwhile need not be found out again after each image.
        """
        return -1 if self.is_complete else self._done * _STAGES // self._opened.num_ids

    def start(self) -> None:
        """Measure all samples, in the background; nothing if it goes on already."""
        with self._lock:
            if self._threads is not None or self._is_closed or self.is_complete:
                return
            workers = usable_cores()
            self._threads = ThreadPool(workers)
            for _ in range(workers):
                self._threads.submit(self._work)

    def close(self) -> None:
        """Stop measuring."""
        self._is_closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _work(self) -> None:
        while not self._is_closed:
            with self._lock:
                first, self._next = self._next, self._next + _PART
            ids = np.arange(first, min(first + _PART, self._opened.num_ids))
            if not len(ids):
                return
            for sample_id in ids.tolist():
                self._measure(sample_id)
            with self._lock:
                self._done += len(ids)

    def _measure(self, sample_id: int) -> None:
        opened = self._opened
        try:
            samples = opened.locate(np.array([sample_id]))
            reader, row = samples[0]
            stored = reader.stored(opened.image.name, row) if opened.image.encoded else samples.values(opened.image.name)
            pixels = as_rgb(read_reduced(samples, 0, opened.image, SIDE + SIDE // 2))
        except (KseqError, MemoryError):
            self.states[sample_id] = BROKEN
            return
        small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        self.stored_hashes[sample_id] = checksum(np.ascontiguousarray(stored))
        self.looks[sample_id] = _look(gray)
        self.brightness[sample_id] = round(float(gray.mean()))
        self.contrast[sample_id] = round(float(gray.std()))
        self.colors[sample_id] = small.reshape(-1, 3).mean(axis=0)
        self.features[sample_id] = describe(small, gray, self.features.shape[1])
        self.states[sample_id] = MEASURED


def _look(gray: np.ndarray) -> np.uint64:
    tiny = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.packbits(tiny[:, :-1] > tiny[:, 1:])
    look: np.uint64 = bits.view(np.uint64)[0]
    return look
