"""MosaicML Streaming: MDS shards on the local disk, read by StreamingDataset and StreamingDataLoader.

Settings from the pages of its documentation named beside them. JPEG files are stored byte for byte and decoded with
torchvision, which Streaming needs anyway. Streaming shuffles shards, then samples in blocks of them, of at least 262,144 each,
so that its order is one over all samples of a smaller dataset. The last batch of each worker may be smaller than the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from stage import Job, jpeg_files, load_raw, perform
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2


def samples(job: Job) -> Iterator[dict[str, Any]]:
    """What the writer stores."""
    if job.table == "R":
        for image, label in zip(*load_raw(job), strict=True):
            yield {"image": image, "label": int(label)}
        return
    for path, label in jpeg_files(job):
        with open(path, "rb") as file:
            yield {"image": file.read(), "label": label}


def write(job: Job) -> None:
    """Write the shards, uncompressed ("Dataset Format": ndarray with a fixed type and shape has no header to parse)."""
    image = f"ndarray:uint8:{job.size},{job.size},3" if job.table == "R" else "bytes"
    with MDSWriter(out=job.store, columns={"image": image, "label": "int"}) as shards:
        for sample in samples(job):
            shards.write(sample)


class Crops(StreamingDataset):
    """JPEG samples, decoded, cropped and mirrored at random."""

    def __init__(self, size: int, **settings: Any) -> None:
        super().__init__(**settings)
        # The images are plain tensors, for which v2 has its fast path; antialias=False is plain bilinear.
        self.crop = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), antialias=False),
                v2.RandomHorizontalFlip(0.5),
            ]
        )

    def __getitem__(self, index: Any) -> tuple[torch.Tensor, int]:
        sample = super().__getitem__(index)
        data = torch.frombuffer(bytearray(sample["image"]), dtype=torch.uint8)
        return self.crop(decode_jpeg(data, mode=ImageReadMode.RGB)).permute(1, 2, 0), sample["label"]


class Raw(StreamingDataset):
    """Raw samples, as they are."""

    def __getitem__(self, index: Any) -> tuple[Any, int]:
        sample = super().__getitem__(index)
        return sample["image"], sample["label"]


def open_store(job: Job) -> Callable[[int], Iterator[Any]]:
    """Open the shards for shuffled epochs."""
    clean_stale_shared_memory()  # "FAQs": what a killed run left would stop this one
    # "Shuffling" and "Performance Tuning": the defaults, with shuffle=True; batch_size is told to dataset and loader alike.
    settings = {"local": job.store, "shuffle": True, "shuffle_seed": job.seed, "batch_size": job.batch_size}
    dataset = Raw(**settings) if job.table == "R" else Crops(job.size, **settings)
    loader = StreamingDataLoader(
        dataset, batch_size=job.batch_size, num_workers=job.workers, persistent_workers=job.workers > 0, drop_last=False
    )
    return lambda number: iter(loader)


if __name__ == "__main__":
    perform(write, open_store)
