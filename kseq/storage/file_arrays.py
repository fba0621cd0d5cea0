"""The arrays of an open file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kseq.errors import DamagedError
from kseq.storage.array_location import ArrayLocation
from kseq.storage.opener import DatasetFile

__all__ = ["FileArrays"]


class FileArrays:
    """The arrays of a file, good in any thread.

    Args:
        file: The file. It may be closed afterwards.
        num_bytes: The size that the file must have. All arrays lie inside it.
        locations: Name of each array to where it lies.

    Attributes:
        path: Of the file.
        arrays: Name to array: views of a read-only map, or `kseq.storage.pread_array.PreadArray`, as the file was opened.

    Raises:
        DamagedError: If the file has another size: reading past the end of a mapped file that shrank would end the process.
        ReadError: If the operating system refuses to map it.
    """

    def __init__(self, file: DatasetFile, num_bytes: int, locations: Mapping[str, ArrayLocation]) -> None:
        if file.num_bytes != num_bytes:
            raise DamagedError(f"{file.path}: has {file.num_bytes} bytes, expected are {num_bytes}")
        self.path = file.path
        self.arrays: dict[str, Any] = file.arrays(locations)

    def load(self) -> None:
        """Read into memory what is not mapped, so that all arrays are numpy's.

        Raises:
            DamagedError: If the file has become shorter.
            ReadError: If the operating system refuses to read it.
        """
        self.arrays = {name: np.asarray(array) for name, array in self.arrays.items()}
