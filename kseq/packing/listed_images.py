"""The images of each shard, listed in a file beside the shards: worker processes read those of their shard from it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import NamedTuple

from kseq.arguments import spelled
from kseq.errors import ReadError, WriteError
from kseq.packing.plan import Plan
from kseq.sources.base import ImageTable
from kseq.storage.atomic import spare_name

__all__ = ["ListedImages", "listing_images"]


class ListedImages(NamedTuple):
    """Where the images of a shard are listed: small and picklable, however many they are.

    Attributes:
        path: The file.
        offset: Where the list begins in it, in bytes.
        size: How many bytes the list has.
        num_images: How many images it lists.
    """

    path: str
    offset: int
    size: int
    num_images: int

    def read(self) -> ImageTable:
        """The images.

        Raises:
            ReadError: If the file cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                images: ImageTable = pickle.loads(file.read(self.size))
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ReadError(
                f"{self.path}: the images to pack are listed there, and it cannot be read: {reason}: "
                f"{spelled('resume', True)} goes on from the shards that are whole"
            ) from error
        return images


@contextmanager
def listing_images(plan: Plan, shards: Collection[int], folder: str) -> Iterator[dict[int, ListedImages]]:
    """List the images of some shards; gives for each shard where they are listed, until the end of the block.

    Args:
        plan: The plan.
        shards: The numbers of the shards.
        folder: Where the file is made: all workers must see it.

    Raises:
        WriteError: If the disk refuses.
    """
    path = spare_name(os.path.join(folder, "images"))
    try:
        yield _write(plan, shards, path)
    finally:
        with suppress(OSError):
            os.unlink(path)


def _write(plan: Plan, shards: Collection[int], path: str) -> dict[int, ListedImages]:
    listed: dict[int, ListedImages] = {}
    try:
        with open(path, "xb", opener=_open_private) as file:
            lengths = [end - start for start, end in pairwise(plan.shard_starts)]
            for number, images in enumerate(plan.source.images.cut(lengths)):
                if number in shards:
                    offset = file.tell()
                    size = file.write(pickle.dumps(images, protocol=5))
                    listed[number] = ListedImages(path, offset, size, len(images))
    except OSError as error:
        raise WriteError(f"{path}: the images to pack cannot be listed there: {error.strerror or error}") from error
    return listed


def _open_private(path: str, flags: int) -> int:
    """Nobody else may write into a file that is unpickled."""
    return os.open(path, flags, 0o600)
