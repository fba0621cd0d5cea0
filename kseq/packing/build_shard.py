"""Building one shard of a plan, in any process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kseq.arguments import is_url, shown_url, spelled
from kseq.errors import ImageError, WorkerDiedError
from kseq.packing.encode import EncodedSample, encode_sample
from kseq.packing.listed_images import ListedImages
from kseq.packing.settings import ImageSettings
from kseq.sources.base import Source, SourceImage
from kseq.storage.fields import Field
from kseq.storage.shard_writer import ShardWriter

__all__ = ["ShardTask", "build_shard", "read_sample"]


@dataclass(frozen=True)
class ShardTask:
    """Everything that a process needs to build one shard; small and picklable.

    Attributes:
        path: The file to write.
        dataset_id: The dataset id of the plan.
        number: The number of the shard in the plan.
        source: The source, without images.
        images: Where the images of this shard are listed.
        fields: What each sample holds.
        settings: How images are stored.
        stop_at_error: Raise at the first image that cannot be packed, instead of listing it.
    """

    path: str
    dataset_id: str
    number: int
    source: Source
    images: ListedImages
    fields: tuple[Field, ...]
    settings: ImageSettings
    stop_at_error: bool


def build_shard(
    task: ShardTask, report: Callable[[int], bool], read: Callable[[ShardTask, SourceImage], EncodedSample] | None = None
) -> np.ndarray | None:
    """Build a shard and publish it.

    Args:
        task: The shard to build.
        report: Called with the number of images that were done since the last call; returns False to stop.
        read: Reads the sample of an image; None for `read_sample`.

    Returns:
        `(rows,)` uint64: the checksum of the images of each sample of the shard; None if `report` returned False.

    Raises:
        ImageError: At an image that cannot be packed, if the task says so.
        ReadError: If the list of images cannot be read.
        WriteError: If the disk refuses.
        WorkerDiedError: If memory runs out.
    """
    images = task.images.read()
    writing = ShardWriter.publishing(task.path, task.fields, task.dataset_id, task.number)
    with writing as writer, warnings.catch_warnings():
        # Pillow warns of odd metadata. Set here, since this is not safe in threads, which may decode images, and takes a while.
        warnings.filterwarnings("ignore", module="PIL")
        # What another process reads is not read ahead here.
        for image in task.source.reading_ahead(images) if read is None else images:
            _add(writer, task, image, read or read_sample)
            if not report(1):
                return None
        writer.finish()
        return writer.image_checksums


def read_sample(task: ShardTask, image: SourceImage) -> EncodedSample:
    """Read an image and its targets, in the form in which they are stored.

    Raises:
        ImageError: If the image cannot be packed.
        WorkerDiedError: If memory runs out.
    """
    try:
        return encode_sample(task.source.read(image), task.fields, task.settings)
    except MemoryError as error:
        remedy = f"{spelled('images.max_pixels')} leaves large images out"
        raise WorkerDiedError(f"{_path(task, image)}: memory ran out while it was packed ({remedy})") from error


def _path(task: ShardTask, image: SourceImage) -> str:
    path = os.fsdecode(image.path)
    return shown_url(path) if is_url(path) else os.path.join(task.source.place, path)


def _add(
    writer: ShardWriter, task: ShardTask, image: SourceImage, read: Callable[[ShardTask, SourceImage], EncodedSample]
) -> None:
    try:
        sample = read(task, image)
    except ImageError as error:
        if task.stop_at_error:
            raise type(error)(f"{_path(task, image)}: {error}") from error
        writer.reject(image.path, str(error))
    else:
        writer.add(image.path, sample.values, sample.box_facts)
        for note in sample.notes:
            writer.note(image.path, note)
