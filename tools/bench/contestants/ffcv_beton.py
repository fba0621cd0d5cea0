"""FFCV: a .beton file, read by its compiled loader; settings from the pages of its documentation named beside them.

FFCV has no way to store JPEG bytes as they are: its writer takes pixels, so tables J and N are decoded and encoded once more
while writing, with the quality in `options["jpeg_quality"]` (90 if not given, the default of RGBImageField too). Its decoder
shrinks with OpenCV's INTER_AREA, the one filter it has. Its code is compiled while the first batch is made, so the first epoch
of a process takes seconds longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import RandomHorizontalFlip, Squeeze, ToTensor
from ffcv.writer import DatasetWriter
from PIL import Image
from stage import Job, jpeg_files, load_raw, perform


class RawSamples:
    """What the writer indexes for tables R and RC: pixels and label."""

    def __init__(self, job: Job) -> None:
        self.images, self.labels = load_raw(job)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.array(self.images[index]), int(self.labels[index])


class JpegSamples:
    """What the writer indexes for tables J and N: decoded pixels and label."""

    def __init__(self, job: Job) -> None:
        self.files = jpeg_files(job)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.files[index]
        with Image.open(path) as image:
            return np.array(image.convert("RGB")), label


class ResizedSamples:
    """What the writer indexes for table W: pixels of one size, decoded from JPEG files, and label."""

    def __init__(self, job: Job) -> None:
        self.files = jpeg_files(job)
        self.size = (job.size, job.size)
        # The second is what the writer's own `max_resolution` does.
        self.interpolation = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}[(job.options or {})["interpolation"]]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.files[index]
        pixels = cv2.resize(cv2.imread(path), self.size, interpolation=self.interpolation)
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), label


def beton(job: Job) -> str:
    """The store's one file."""
    return os.path.join(job.store, "data.beton")


def write(job: Job) -> None:
    """Write the .beton file with FFCV's own writer ("Writing a dataset to FFCV format")."""
    if job.table in ("R", "RC", "W"):
        samples = ResizedSamples(job) if job.table == "W" else RawSamples(job)
        field = RGBImageField(write_mode="raw")
    else:
        quality = (job.options or {}).get("jpeg_quality", 90)
        samples, field = JpegSamples(job), RGBImageField(write_mode="jpg", jpeg_quality=quality)
    writer = DatasetWriter(beton(job), {"image": field, "label": IntField()}, num_workers=job.workers)
    writer.from_indexed_dataset(samples)


def image_pipeline(job: Job) -> list[Any]:
    """The operations on images ("Making an FFCV dataloader": decoder first, ToTensor last, all compiled)."""
    if job.table == "R":
        return [SimpleRGBImageDecoder(), ToTensor()]
    crop = RandomResizedCropRGBImageDecoder((job.size, job.size), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    return [crop, RandomHorizontalFlip(0.5), ToTensor()]


def open_store(job: Job) -> Callable[[int], Iterator[tuple[Any, Any]]]:
    """Open the .beton file for shuffled epochs."""
    # "Tuning Guide", scenario "Small dataset": os_cache=True and order RANDOM.
    loader = Loader(
        beton(job),
        batch_size=job.batch_size,
        num_workers=min(job.workers, os.cpu_count() or 1),  # Numba, which runs them, takes no more
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        seed=job.seed,
        pipelines={"image": image_pipeline(job), "label": [IntDecoder(), ToTensor(), Squeeze(1)]},
    )
    return lambda number: iter(loader)


if __name__ == "__main__":
    perform(write, open_store)
