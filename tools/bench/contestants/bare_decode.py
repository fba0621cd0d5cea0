"""simplejpeg decodes every whole image of the source, from memory, in the same threads; nothing is cropped or resized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import simplejpeg
from stage import Job, in_threads, jpeg_files, perform


def write(job: Job) -> None:
    """The source is the store."""


def open_store(job: Job):
    files = [(np.fromfile(path, np.uint8), label) for path, label in jpeg_files(job)]
    labels = np.array([label for _, label in files])
    stand_in = np.empty((len(files), job.size, job.size, 3), np.uint8)

    def work(place: int) -> None:
        for data, _ in files[place :: job.workers]:
            simplejpeg.decode_jpeg(data, "RGB")

    def epoch(number: int) -> Iterator:
        in_threads(work, job.workers)
        yield stand_in, labels

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
