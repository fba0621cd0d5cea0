"""Building one shard of a plan: images in, an HDF5 file out; runs in any process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from kseq.encode import encode_sample
from kseq.errors import ImageError
from kseq.fields import Field
from kseq.plan import Plan, Settings
from kseq.shard import ShardWriter
from kseq.sources.files import Source, SourceImage

__all__ = ["ShardTask", "build_shard"]


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
    settings: Settings
    stop_at_error: bool

    @classmethod
    def of(cls, plan: Plan, number: int, path: str, *, stop_at_error: bool) -> ShardTask:
        """The task for one shard of a plan."""
        part = plan.source.part(plan.shard_images(number))
        return cls(path, plan.dataset_id, number, part, plan.fields(), plan.settings, stop_at_error)


def build_shard(task: ShardTask, report: Callable[[int], bool]) -> bool:
    """Build a shard and publish it.

    Args:
        task: What to build.
        report: Told how many images were done since the last call; False from it means to stop.

    Returns:
        Whether it was built; False if `report` said to stop.

    Raises:
        ImageError: At an image that cannot be packed, if the task says so.
        WriteError: Where the disk refuses.
    """
    with ShardWriter.publishing(task.path, task.fields, task.dataset_id, task.number) as writer:
        for image in task.source.images:
            _add(writer, task, image)
            if not report(1):
                return False
        writer.finish()
    return True


def _add(writer: ShardWriter, task: ShardTask, image: SourceImage) -> None:
    try:
        with warnings.catch_warnings():
            # Pillow's, of odd metadata. Here and not where images are decoded, since threads may do that.
            warnings.simplefilter("ignore")
            sample = encode_sample(task.source.read(image), task.fields, task.settings)
    except ImageError as error:
        if task.stop_at_error:
            name = os.path.join(task.source.root, os.fsdecode(image.path))
            raise type(error)(f"{name}: {error}") from error
        writer.reject(image.path, str(error))
    else:
        writer.add(image.path, sample)
