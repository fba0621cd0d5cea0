"""simplejpeg decodes every whole image, from memory, in the same threads; nothing is cropped or resized.

Option `of`: the files of the source, or the JPEGs that kseq stores, which have restart markers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import simplejpeg
from stage import Job, in_threads, jpeg_files, perform

import kseq


def write(job: Job) -> None:
    if _of_kseq(job):
        kseq.pack(job.source, job.store, images=kseq.ImageSettings("jpeg"), workers=job.workers, overwrite=True)


def _of_kseq(job: Job) -> bool:
    return (job.options or {}).get("of") == "kseq"


def open_store(job: Job):
    if _of_kseq(job):
        dataset = kseq.ShardDataset(job.store)
        sources = [dataset.source(number) for number in range(len(dataset))]
        files = [np.frombuffer(dataset.stored_bytes(number), np.uint8) for number in range(len(dataset))]
        labels = np.array([dataset.class_names.index(source.partition("/")[0]) for source in sources])
    else:
        named = jpeg_files(job)
        files, labels = [np.fromfile(path, np.uint8) for path, _ in named], np.array([label for _, label in named])
    stand_in = np.empty((len(files), job.size, job.size, 3), np.uint8)

    def work(place: int) -> None:
        for data in files[place :: job.workers]:
            simplejpeg.decode_jpeg(data, "RGB")

    def epoch(number: int) -> Iterator:
        in_threads(work, job.workers)
        yield stand_in, labels

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
