"""The order of samples: arithmetic from (seed, epoch, batch number, rank) to positions in a split.

Nothing here holds state, or an array as long as the split."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kseq.arguments import whole
from kseq.errors import ArgumentError, OutOfRangeError
from kseq.ordering.permutation import hash_key, permute

__all__ = ["Blocks", "Order"]


@dataclass(frozen=True)
class Blocks:
    """An order that goes through a collection block by block: chance that a disk can bear.

    Blocks of `size` consecutive positions come in a shuffled order (the last, smaller one too, at a place of its own); in each
    stretch of `window` places of what results, the samples are shuffled.

    Args:
        num_samples: How many positions there are.
        size: Positions per block.
        window: Places that are shuffled among each other.
    """

    num_samples: int
    size: int
    window: int

    def shuffled(self, places: np.ndarray, key: int) -> np.ndarray:
        """`(n,)` int64: the position at each of `places`, whole numbers in [0, num_samples)."""
        if self.window == 1:
            return self.in_blocks(places, key)
        windows = places // self.window
        mixed = np.empty_like(places)
        for window in sorted(set(windows.tolist())):
            chosen = windows == window
            start = window * self.window
            length = min(self.window, self.num_samples - start)
            mixed[chosen] = start + permute(places[chosen] - start, length, hash_key(key, 1, window))
        return self.in_blocks(mixed, key)

    def in_blocks(self, places: np.ndarray, key: int) -> np.ndarray:
        """The same before the samples of a window are shuffled: runs of consecutive positions."""
        full, rest = divmod(self.num_samples, self.size)
        if full == 0:
            return places
        # The smaller block stands at a place that is drawn, the others are permuted around it.
        slot = hash_key(key, 2) % (full + 1)
        after = places >= slot * self.size + rest
        slots, offsets = np.divmod(places - rest * after, self.size)
        # Places inside the smaller block are filled in below; their slot may be one too many, and `permute` never end.
        positions = permute(np.minimum(slots, full - 1), full, hash_key(key, 3)) * self.size + offsets
        inside = (places >= slot * self.size) & ~after
        positions[inside] = full * self.size + places[inside] - slot * self.size
        return positions


@dataclass(frozen=True)
class Order:
    """Which positions of a split make up each batch of each epoch, for one rank.

    A global batch is `batch_size * world_size` consecutive places of the epoch's order; every rank takes
    its own `batch_size` of them. In a last, partial global batch the shares differ by at most one.

    Args:
        num_samples: How many samples the split has, at least 1.
        batch_size: Samples per batch on this rank.
        shuffle: A new order each epoch; False: 0, 1, 2, ... in every one; `"block"`: a new one each epoch that stays
            near itself on disk, see `Blocks`.
        seed: Any whole number; other seeds give other orders.
        drop_remainder: Leave the last, partial global batch out.
        rank: This process's number, from 0 to `world_size - 1`.
        world_size: How many processes share each global batch.
        block_size: For `"block"`: positions per block.
        window: For `"block"`: places that are shuffled among each other.
        repeats: `(positions,)`: how often the sample at each position of the split stands at a position before it; None where
            each is another sample.

    Raises:
        ArgumentError: Where a number is out of its range, where no batch is left, or where the last
            global batch has fewer samples than there are ranks.
    """

    num_samples: int
    batch_size: int
    shuffle: bool | str = False
    seed: int = 0
    drop_remainder: bool = False
    rank: int = 0
    world_size: int = 1
    block_size: int = 64
    window: int = 4096
    repeats: np.ndarray | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.shuffle, (bool, np.bool_)) or (isinstance(self.shuffle, str) and self.shuffle == "block")):
            raise ArgumentError(f"shuffle={self.shuffle!r}: allowed are True, False and 'block'")
        leasts = {"batch_size": 1, "world_size": 1, "block_size": 1, "window": 1, "seed": None}
        for name, least in leasts.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        for name in ("block_size", "window"):
            # The order is that of all samples from there on, and a number without end would not fit into an array.
            object.__setattr__(self, name, min(getattr(self, name), max(self.num_samples, 1)))
        object.__setattr__(self, "rank", whole("rank", self.rank, 0, self.world_size - 1))
        if self.num_batches == 0:
            raise ArgumentError(
                f"{self.num_samples} samples give no batch of {self._global_batch}: take a smaller batch_size"
                + (" or drop_remainder=False" if self.drop_remainder and self.num_samples else "")
            )
        remainder = self.num_samples % self._global_batch
        if not self.drop_remainder and 0 < remainder < self.world_size:
            raise ArgumentError(
                f"the last batch would hold {remainder} samples for {self.world_size} ranks, at least one each is "
                f"needed: take drop_remainder=True or another batch_size (found {self.batch_size})"
            )

    @property
    def _global_batch(self) -> int:
        return self.batch_size * self.world_size

    @property
    def num_batches(self) -> int:
        """Batches per epoch, the same on every rank."""
        full, rest = divmod(self.num_samples, self._global_batch)
        return full + (rest > 0 and not self.drop_remainder)

    def positions(self, epoch: int, batch_number: int) -> np.ndarray:
        """`(n,)` int64: the positions in the split that make up one batch, in the batch's order.

        Raises:
            OutOfRangeError: Where `batch_number` is not in [0, num_batches).
        """
        (positions,) = self.positions_of(epoch, range(batch_number, batch_number + 1))
        return positions

    def positions_of(self, epoch: int, batch_numbers: range) -> list[np.ndarray]:
        """`positions` of several batches; together they cost hardly more than one.

        Raises:
            OutOfRangeError: Where a number is not in [0, num_batches).
        """
        return [positions for positions, _ in self.drawn_of(epoch, batch_numbers)]

    def drawn_of(self, epoch: int, batch_numbers: range) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same, each with `(n,)` int64 turns, from 0: a sample that comes several times in an epoch has another each time.

        Raises:
            OutOfRangeError: Where a number is not in [0, num_batches).
        """
        for number in (batch_numbers[0], batch_numbers[-1]):
            if not 0 <= number < self.num_batches:
                raise OutOfRangeError(f"batch number {number} is not in [0, {self.num_batches})")
        places = [self._places(number) for number in batch_numbers]
        positions, turns = self._drawn(np.concatenate(places), epoch)
        if self.repeats is not None:
            turns = turns * (int(self.repeats.max()) + 1) + self.repeats[positions]
        edges = np.cumsum([len(each) for each in places])[:-1]
        return list(zip(np.split(positions, edges), np.split(turns, edges), strict=True))

    def _drawn(self, places: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` int64 positions at places of an epoch's order, and the turn of each, as `drawn_of` says."""
        turns = np.zeros_like(places)
        if not self.shuffle:
            return places, turns
        key = hash_key(self.seed, epoch)
        if self.shuffle == "block":
            return self._blocks.shuffled(places, key), turns
        return permute(places, self.num_samples, key), turns

    @property
    def _blocks(self) -> Blocks:
        return Blocks(self.num_samples, self.block_size, self.window)

    def upcoming(self, epoch: int, batch_number: int, asked: range) -> tuple[np.ndarray, range]:
        """What should be on its way from the disk when a batch is begun, and was not asked for: one window ahead of it.

        Args:
            epoch: The epoch.
            batch_number: The batch that is begun.
            asked: The batches of this epoch that were seen to, as the last call told; at first `range(0)`.

        Returns:
            `(n,)` int64 positions, none for other shuffles than `"block"`, and the batches that are seen to with them. A batch
            that does not follow on `asked` is a new beginning: then the positions begin with its own window. For one rank of
            several, they are its own samples alone.
        """
        follows = len(asked) > 0 and asked.start <= batch_number <= asked.stop
        first = asked.stop if follows else batch_number
        last = min(batch_number + self.window // self._global_batch + 2, self.num_batches)
        if self.shuffle != "block" or first >= last:
            return np.empty(0, np.int64), asked
        seen = range(asked.start if follows else first, last)
        if self.world_size > 1:
            return np.concatenate(self.positions_of(epoch, range(first, last))), seen
        start = first * self.batch_size
        if not follows:
            # What a batch holds may lie anywhere in its window.
            start -= start % self.window
        # So it may in the last one, of which `drop_remainder` leaves out what nobody knows.
        end = self.num_samples if last == self.num_batches else last * self.batch_size
        return self._blocks.in_blocks(np.arange(start, end, dtype=np.int64), hash_key(self.seed, epoch)), seen

    def _places(self, batch_number: int) -> np.ndarray:
        """This rank's part of a global batch, as places in the order of the epoch."""
        start = batch_number * self._global_batch
        size = min(self._global_batch, self.num_samples - start)
        first = start + size * self.rank // self.world_size
        last = start + size * (self.rank + 1) // self.world_size
        return np.arange(first, last, dtype=np.int64)
