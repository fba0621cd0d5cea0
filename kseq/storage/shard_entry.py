"""What the index says of a shard."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ShardEntry"]


@dataclass(frozen=True)
class ShardEntry:
    """What the index says of one shard: enough to tell whether a file is that shard.

    Attributes:
        number: The number in the name of its file, see `kseq.storage.layout.shard_name`. It need not be the position of the
            shard in the dataset.
        num_rows: How many samples it holds.
        num_bytes: The size of its file.
        digest: Of its arrays, in hexadecimal digits.
    """

    number: int
    num_rows: int
    num_bytes: int
    digest: str
