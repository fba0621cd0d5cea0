"""The order of a shuffle by blocks: chance that a disk can bear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kseq.ordering.permutation import hash_key, permute

__all__ = ["BlockOrder"]


@dataclass(frozen=True)
class BlockOrder:
    """An order that goes through a split block by block.

    Blocks of `block_size` consecutive positions come in a shuffled order; the last, smaller block comes anywhere among them
    too. The order of samples that results is cut into stretches of `window` slots, and the samples of each stretch are
    shuffled.

    A slot is a number in the order, a position is a number in the split.

    Args:
        num_samples: How many positions there are.
        block_size: Positions per block.
        window: Slots that are shuffled among each other.
    """

    num_samples: int
    block_size: int
    window: int

    def positions(self, slots: np.ndarray, key: int) -> np.ndarray:
        """`(n,)` int64: the position at each of `slots`, whole numbers in [0, num_samples); another key gives another order."""
        if self.window == 1:
            return self.unmixed_positions(slots, key)
        windows = slots // self.window
        mixed = np.empty_like(slots)
        for window in sorted(set(windows.tolist())):
            chosen = windows == window
            start = window * self.window
            length = min(self.window, self.num_samples - start)
            mixed[chosen] = start + permute(slots[chosen] - start, length, hash_key(key, 1, window))
        return self.unmixed_positions(mixed, key)

    def unmixed_positions(self, slots: np.ndarray, key: int) -> np.ndarray:
        """The same before the samples of each window are shuffled: runs of consecutive positions."""
        num_full, rest = divmod(self.num_samples, self.block_size)
        if num_full == 0:
            return slots
        # The smaller block stands between full ones, at a number that is drawn; the full blocks are permuted around it.
        small_start = hash_key(key, 2) % (num_full + 1) * self.block_size
        is_after = slots >= small_start + rest
        blocks, offsets = np.divmod(slots - rest * is_after, self.block_size)
        # Slots inside the smaller block are overwritten below; the number of their block may be too large for `permute`.
        positions = permute(np.minimum(blocks, num_full - 1), num_full, hash_key(key, 3)) * self.block_size + offsets
        is_inside = (slots >= small_start) & ~is_after
        positions[is_inside] = num_full * self.block_size + slots[is_inside] - small_start
        return positions
