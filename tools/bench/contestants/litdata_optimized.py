"""LitData: chunks made by `optimize`, read by its StreamingDataset and StreamingDataLoader; settings from its README.

JPEG files are stored byte for byte, and LitData itself decodes them, with torchvision. Its order is new in each epoch, but not
one over all samples: it shuffles chunks, each of which one worker writes and one worker reads, and the samples in each chunk;
the samples of a chunk stay together. The last batch of each worker may be smaller than the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from litdata import StreamingDataLoader, StreamingDataset, optimize
from PIL import Image
from stage import Job, jpeg_files, load_raw, perform
from torchvision.transforms import v2


def raw_sample(job: Job, index: int) -> tuple[torch.Tensor, int]:
    """A sample of table R: LitData reads tensors without a copy."""
    images, labels = load_raw(job)
    return torch.tensor(images[index]), int(labels[index])


def jpeg_sample(item: tuple[str, int]) -> tuple[Image.Image, int]:
    """A sample of tables J and N: of an image opened from a JPEG file, LitData stores the file's bytes."""
    path, label = item
    return Image.open(path), label


def write(job: Job) -> None:
    """Write the chunks, of the size that the README has in its examples, uncompressed."""
    settings = {"output_dir": job.store, "chunk_bytes": "64MB", "num_workers": job.workers, "mode": "overwrite"}
    if job.table == "R":
        optimize(fn=partial(raw_sample, job), inputs=list(range(len(load_raw(job)[1]))), **settings)
    else:
        optimize(fn=jpeg_sample, inputs=jpeg_files(job), **settings)


class Crops:
    """What the dataset does with a decoded JPEG: crop and mirror at random."""

    def __init__(self, size: int) -> None:
        # The images are plain tensors, for which v2 has its fast path; antialias=False is plain bilinear.
        self.crop = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), antialias=False),
                v2.RandomHorizontalFlip(0.5),
            ]
        )

    def __call__(self, sample: tuple[torch.Tensor, int]) -> tuple[torch.Tensor, int]:
        image, label = sample
        return self.crop(image).permute(1, 2, 0), label


def open_store(job: Job) -> Callable[[int], Iterator[Any]]:
    """Open the chunks for shuffled epochs."""
    transform = None if job.table == "R" else Crops(job.size)
    # Docstring of StreamingDataset: "full" shuffles a whole chunk rather than blocks of 256 of its samples, as the other
    # contestants do or better; it is no slower here. README: everything else as it is by default.
    dataset = StreamingDataset(
        job.store, shuffle=True, drop_last=False, seed=job.seed, transform=transform, item_shuffle_window="full"
    )
    loader = StreamingDataLoader(
        dataset, batch_size=job.batch_size, num_workers=job.workers, persistent_workers=job.workers > 0
    )
    return lambda number: iter(loader)


if __name__ == "__main__":
    perform(write, open_store)
