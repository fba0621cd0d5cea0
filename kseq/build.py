"""Building one shard of a plan: images in, an HDF5 file out; runs in any process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kseq.errors import ImageError
from kseq.images import decode, encode_jpeg, encode_png, read_header
from kseq.plan import Plan, Settings
from kseq.resize import resize, resize_to
from kseq.shard import Encoded, ShardWriter
from kseq.sources.files import FileSource, SourceImage

__all__ = ["ShardTask", "build_shard", "encode_sample"]


@dataclass(frozen=True)
class ShardTask:
    """All that a process needs to build one shard; small and picklable.

    Attributes:
        path: The shard to be.
        dataset_id: The plan's.
        number: The shard's place in the plan.
        source: Where the images are; its list of images is this shard's part.
        settings: How each image is stored.
        stop_at_error: Raise at the first image that cannot be packed, instead of listing it.
    """

    path: str
    dataset_id: str
    number: int
    source: FileSource
    settings: Settings
    stop_at_error: bool

    @classmethod
    def of(cls, plan: Plan, number: int, path: str, *, stop_at_error: bool) -> ShardTask:
        """The task for one shard of a plan."""
        part = plan.source.part(plan.shard_images(number))
        return cls(path, plan.dataset_id, number, part, plan.settings, stop_at_error)


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
    with ShardWriter.publishing(task.path, task.settings.fields(), task.dataset_id, task.number) as writer:
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
            sample = encode_sample(task.source.read(image), task.settings)
    except ImageError as error:
        if task.stop_at_error:
            name = os.path.join(task.source.root, os.fsdecode(image.path))
            raise type(error)(f"{name}: {error}") from error
        writer.reject(image.path, str(error))
    else:
        writer.add(image.path, {"image": sample, "label": np.array(image.label, np.int32)})


def encode_sample(data: bytes, settings: Settings) -> Encoded | np.ndarray:
    """One image file as it is to be stored.

    Returns:
        An `Encoded`, or for `"raw"` the `(height, width, channels)` uint8 pixels.

    Raises:
        NotAnImageError: Where the file is no image.
        ImageError: Where it is broken.
    """
    header = read_header(data)
    if settings.encoding == "keep":
        if header.format not in ("JPEG", "PNG"):
            return Encoded(encode_png(data), header.height, header.width)
        if settings.check:
            decode(data, "rgb", strict=True)
        return Encoded(data, header.height, header.width, header.orientation)
    pixels = decode(data, settings.color_mode, header.orientation, strict=True)
    if settings.image_size is not None and pixels.shape[:2] != settings.image_size:
        target = np.empty((*settings.image_size, pixels.shape[2]), np.uint8)
        resize_to(pixels, target, settings.resize, settings.interpolation)
        pixels = target
    if settings.encoding == "raw":
        return pixels
    if settings.max_side is not None and max(pixels.shape[:2]) > settings.max_side:
        pixels = _shrink(pixels, settings.max_side, settings.interpolation)
    return Encoded(encode_jpeg(pixels, settings.quality), *pixels.shape[:2])


def _shrink(pixels: np.ndarray, max_side: int, interpolation: str) -> np.ndarray:
    """The longer side becomes `max_side`, the other keeps the ratio, rounded."""
    height, width = (max(1, round(side * max_side / max(pixels.shape[:2]))) for side in pixels.shape[:2])
    target = np.empty((height, width, pixels.shape[2]), np.uint8)
    resize(pixels, target, interpolation)
    return target
