"""Building one shard of a plan: images in, an HDF5 file out; runs in any process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kseq.errors import ImageError, WorkerDiedError
from kseq.packing.encode import encode_sample
from kseq.packing.plan import Plan
from kseq.packing.settings import ImageSettings
from kseq.sources.base import Source, SourceImage
from kseq.storage.fields import Field
from kseq.storage.shard_writer import EncodedImage, ShardWriter

__all__ = ["Sample", "ShardTask", "build_shard", "read_sample"]

Sample = dict[str, EncodedImage | np.ndarray]


@dataclass(frozen=True)
class ShardTask:
    """All that a process needs to build one shard; small and picklable.

    Attributes:
        path: The shard to be.
        dataset_id: The plan's.
        number: The shard's place in the plan.
        source: Where the images are; its list of images is this shard's part.
        fields: What each sample holds.
        settings: How each image is stored.
        stop_at_error: Raise at the first image that cannot be packed, instead of listing it.
    """

    path: str
    dataset_id: str
    number: int
    source: Source
    fields: tuple[Field, ...]
    settings: ImageSettings
    stop_at_error: bool

    @classmethod
    def of(cls, plan: Plan, number: int, path: str, *, stop_at_error: bool) -> ShardTask:
        """The task for one shard of a plan."""
        part = plan.source.select(plan.shard_images(number))
        return cls(path, plan.dataset_id, number, part, plan.fields(), plan.settings, stop_at_error)


def build_shard(
    task: ShardTask, report: Callable[[int], bool], read: Callable[[ShardTask, SourceImage], Sample] | None = None
) -> bool:
    """Build a shard and publish it.

    Args:
        task: What to build.
        report: Told how many images were done since the last call; False from it means to stop.
        read: Gives the sample of an image, as `read_sample`; None for that itself.

    Returns:
        Whether it was built; False if `report` said to stop.

    Raises:
        ImageError: At an image that cannot be packed, if the task says so.
        WriteError: Where the disk refuses.
        WorkerDiedError: Where memory ran out.
    """
    writing = ShardWriter.publishing(task.path, task.fields, task.dataset_id, task.number)
    with writing as writer, warnings.catch_warnings():
        # Of odd metadata. Here and not where images are decoded, since threads may do that; once, since it takes a while.
        warnings.filterwarnings("ignore", module="PIL")
        for image in task.source.images:
            _add(writer, task, image, read or read_sample)
            if not report(1):
                return False
        writer.finish()
    return True


def read_sample(task: ShardTask, image: SourceImage) -> Sample:
    """An image and its targets as they are to be stored.

    Raises:
        ImageError: Where it cannot be packed.
        WorkerDiedError: Where memory ran out.
    """
    try:
        return encode_sample(task.source.read(image), task.fields, task.settings)
    except MemoryError as error:
        raise WorkerDiedError(f"{_name(task, image)}: memory ran out while it was packed") from error


def _name(task: ShardTask, image: SourceImage) -> str:
    return os.path.join(task.source.root, os.fsdecode(image.path))


def _add(writer: ShardWriter, task: ShardTask, image: SourceImage, read: Callable[[ShardTask, SourceImage], Sample]) -> None:
    try:
        sample = read(task, image)
    except ImageError as error:
        if task.stop_at_error:
            raise type(error)(f"{_name(task, image)}: {error}") from error
        writer.reject(image.path, str(error))
    else:
        writer.add(image.path, sample)
