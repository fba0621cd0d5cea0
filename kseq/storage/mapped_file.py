"""A mapped file, and its arrays as views of the map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kseq.errors import DamagedError
from kseq.storage.array_location import ArrayLocation
from kseq.storage.opener import DatasetFile

__all__ = ["MappedFile"]


class MappedFile:
    """A file whose arrays are views of a read-only map, good in any thread.

    Args:
        file: The file. It may be closed afterwards.
        num_bytes: The size that the file must have. All arrays lie inside it.
        locations: Name of each array to where it lies.

    Attributes:
        path: Of the file.
        arrays: Name to array.

    Raises:
        DamagedError: If the file has another size: reading past the end of a file that shrank would end the process.
        ReadError: If the operating system refuses to map it.
    """

    def __init__(self, file: DatasetFile, num_bytes: int, locations: Mapping[str, ArrayLocation]) -> None:
        if file.num_bytes != num_bytes:
            raise DamagedError(f"{file.path}: has {file.num_bytes} bytes, expected are {num_bytes}")
        self.path = file.path
        data = file.map()
        self.arrays: dict[str, Any] = {
            name: np.ndarray(shape, dtype, data, offset) for name, (offset, dtype, shape) in locations.items()
        }
