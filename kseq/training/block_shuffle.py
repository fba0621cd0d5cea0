"""How far `shuffle="block"` mixes: samples per block and per window."""

from __future__ import annotations

from dataclasses import dataclass

from kseq.arguments import whole
from kseq.reading.dataset import ShardDataset, sample_reader

__all__ = ["BlockShuffle", "choose_blocks"]

# What a shuffle by blocks mixes fits into any memory; in so many blocks, a disk reads them as fast as any longer stretch.
_WINDOW_BYTES = 256 << 20
_WINDOW_BLOCKS = 64
# A block is mostly of one class: with so many blocks per class, a window holds most classes. Below the least size, an SSD
# would read notably slower too.
_BLOCKS_PER_CLASS = 2
_LEAST_BLOCK_BYTES = 256 << 10


@dataclass(frozen=True)
class BlockShuffle:
    """A shuffle for collections that do not fit in memory, for the argument `shuffle`.

    It goes through the collection block by block, in an order that is new in each epoch, and mixes the samples of a window of
    several blocks with each other. `shuffle="block"` is `BlockShuffle()`.

    Args:
        block_size: Samples per block; None for about 4 MiB, and less (down to 256 KiB) if there are many classes: a block is
            mostly of one class, and a window should hold two blocks of each.
        window: Samples that are mixed with each other; None for about 256 MiB, at least 64 blocks. A larger window comes nearer
            to a full shuffle, and holds more samples in memory.

    Raises:
        ArgumentError: If one of them is not a whole number of 1 or more.
    """

    block_size: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("block_size", "window"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole(f"BlockShuffle {name}", getattr(self, name), 1))


def choose_blocks(dataset: ShardDataset, shuffle: BlockShuffle | None = None) -> tuple[int, int]:
    """Samples per block and per window.

    What is left open: a window of 256 MiB, and of at least 64 blocks; blocks of 4 MiB, so that a window has 64 of them, or of
    two blocks per class if there are many classes, as long as a block stays at 256 KiB or more.
    """
    shuffle = BlockShuffle() if shuffle is None else shuffle
    collection = sample_reader(dataset).collection
    num_bytes = max(collection.num_bytes, 1)
    in_window = _WINDOW_BYTES * collection.num_samples // num_bytes
    block_size, window = shuffle.block_size, shuffle.window
    if block_size is None:
        least = -(-_LEAST_BLOCK_BYTES * collection.num_samples // num_bytes)
        blocks = max(_WINDOW_BLOCKS, _BLOCKS_PER_CLASS * len(dataset.class_names))
        block_size = max(1, min(least, in_window // _WINDOW_BLOCKS), in_window // blocks)
    if window is None:
        window = max(_WINDOW_BLOCKS, in_window // block_size) * block_size
    return block_size, window
