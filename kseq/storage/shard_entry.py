"""What the index says of a shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kseq.storage.array_location import ArrayLocation

__all__ = ["ShardEntry"]


@dataclass(frozen=True)
class ShardEntry:
    """What the index says of one shard: enough to tell whether a file is that shard, and to read it without parsing it.

    Attributes:
        number: The number in the name of its file, see `kseq.storage.layout.shard_name`. It need not be the position of the
            shard in the dataset.
        num_rows: How many samples it holds.
        num_bytes: The size of its file.
        digest: Of its arrays, in hexadecimal digits.
        digest_offset: Where these digits lie in the file, in bytes: the value of its attribute `digest`.
        arrays: Name of each array to where it lies.
        lengths: Name of each field whose samples differ in how many elements they have, to `(num_rows,)` uint32: how many.
    """

    number: int
    num_rows: int
    num_bytes: int
    digest: str
    digest_offset: int
    arrays: Mapping[str, ArrayLocation]
    lengths: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
