"""kseq: what `kseq pack` makes, read by the loader under `ShardSequence`, which is not imported: no Keras in this table.

Options: `encoding`, of `kseq.pack`, and `side`, height and width to pack; `shuffle`, of `ShardSequence`; `processes`, to read
in worker processes; `verify`, of `kseq.ShardDataset`; `delay`, microseconds of plain Python for each image, which stand for an
augmentation that holds the interpreter's lock.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from PIL import Image
from slow_maker import SlowMaker
from stage import Job, load_raw, perform

import kseq
from kseq.ordering.epoch_order import Order
from kseq.training.block_shuffle import choose_blocks
from kseq.training.image_spec import ImageSpec
from kseq.training.loader import Loader
from kseq.training.transforms import AugmentationList


def write(job: Job) -> None:
    shutil.rmtree(job.store, ignore_errors=True)
    options = job.options or {}
    if job.table in ("R", "RC"):
        _write_raw(job)
    else:
        side = options.get("side")
        images = kseq.ImageSettings(options.get("encoding", "keep"), (side, side) if side else None)
        kseq.pack(job.source, job.store, images=images, workers=job.workers)


def _write_raw(job: Job) -> None:
    """kseq packs folders: the raw pixels become PNG files, which lose nothing, and then the shards."""
    images, labels = load_raw(job)
    folder = f"{job.store}-png"
    # Of a writing that was interrupted.
    shutil.rmtree(folder, ignore_errors=True)
    for label in sorted(set(labels.tolist())):
        os.makedirs(os.path.join(folder, f"class{label}"), exist_ok=True)
    for number, (pixels, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        Image.fromarray(pixels).save(os.path.join(folder, f"class{label}", f"{number:06d}.png"), compress_level=0)
    kseq.pack(folder, job.store, images=kseq.ImageSettings("raw", images.shape[1:3]), workers=job.workers)
    shutil.rmtree(folder)


def open_store(job: Job):
    options = job.options or {}
    dataset = kseq.ShardDataset(job.store, verify=options.get("verify", "first"))
    plain = job.table == "R"
    augmentations = [] if plain else [kseq.RandomResizedCrop(job.size), kseq.RandomFlip()]
    maker = SlowMaker(dataset, ["image", "label"], ImageSpec(job.size, job.size), AugmentationList(augmentations, job.seed))
    maker.delay = options.get("delay", 0) / 1e6
    shuffle = options.get("shuffle", True)
    order = Order(len(dataset), job.batch_size, shuffle, job.seed, "keep", 0, 1, *choose_blocks(dataset))
    loader = Loader(maker, order, workers=job.workers, use_multiprocessing=options.get("processes", False))

    def epoch(number: int) -> Iterator:
        for batch_number in range(order.num_batches):
            batch = loader.batch(number, batch_number)
            yield batch["image"], batch["label"]

    return epoch


if __name__ == "__main__":
    perform(write, open_store)
