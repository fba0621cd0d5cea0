"""The order of samples: arithmetic from (seed, epoch, batch number, rank) to positions in a split.

Nothing here holds state, or an array as long as the split.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kseq.arguments import whole
from kseq.errors import ArgumentError, OutOfRangeError
from kseq.ordering.block_order import BlockOrder
from kseq.ordering.permutation import hash_key, permute

__all__ = ["REMAINDERS", "DrawnBatch", "Order"]

# What becomes of the samples that do not fill a global batch.
REMAINDERS = ("keep", "drop", "pad")


class DrawnBatch(NamedTuple):
    """Which samples make up a batch.

    Attributes:
        positions: `(n,)` int64: positions in the split.
        turns: `(n,)` int64: how often each sample came before in the epoch, from 0 on; a row that does not count has the turn
            of the one that it repeats.
        is_counted: `(n,)` bool: whether each row counts. One that does not only fills the batch up.
    """

    positions: np.ndarray
    turns: np.ndarray
    is_counted: np.ndarray


# So many slots, evenly spread, stand for an epoch.
_MOST_SKETCHED = 1024


@dataclass(frozen=True)
class Order:
    """Which positions of a split make up each batch of each epoch, for one rank.

    The order of an epoch is a list of slots, with a position in each. A global batch is `global_batch` consecutive slots, which
    the ranks share: the numbers of samples that they take of it differ by at most one. A rank whose share is smaller than
    `batch_size` fills it up with rows that do not count: samples of the same global batch or, of a last, partial one with
    `remainder="pad"`, of the global batch before it where there is one.

    Args:
        num_samples: How many samples the split has, at least 1.
        batch_size: Rows per batch on this rank.
        shuffle: True for a new order each epoch; False for 0, 1, 2, ... in every epoch; `"block"` for a new order each epoch
            that stays near itself on disk, see `kseq.ordering.block_order.BlockOrder`.
        seed: Any whole number; another seed gives another order.
        remainder: What becomes of a last, partial global batch: `"keep"`: it is smaller; `"drop"`: it is left out; `"pad"`: it
            is filled up, so that every batch of every rank has `batch_size` rows.
        rank: The number of this process, from 0 to `world_size - 1`.
        world_size: How many processes share each global batch.
        block_size: For `"block"`: positions per block.
        window: For `"block"`: slots that are shuffled among each other.
        repeats: `(num_samples,)`: how many positions before each position hold the same sample; None if every position holds
            another sample.
        rest: `(epoch, slot)`: the slots that are left of one epoch, after others of another size took global batches of it:
            there a global batch begins with this slot, and the last batch has the same number as in every epoch.
        global_batch: Samples per batch on all ranks together, at most `batch_size * world_size`, which is what 0 stands for.

    Raises:
        ArgumentError: If a number is out of its range, if no batch is left, or if the last global batch has fewer samples than
            there are ranks.
    """

    num_samples: int
    batch_size: int
    shuffle: bool | str = False
    seed: int = 0
    remainder: str = "keep"
    rank: int = 0
    world_size: int = 1
    block_size: int = 64
    window: int = 4096
    repeats: np.ndarray | None = field(default=None, compare=False)
    rest: tuple[int, int] | None = field(default=None, kw_only=True)
    global_batch: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not (isinstance(self.shuffle, (bool, np.bool_)) or (isinstance(self.shuffle, str) and self.shuffle == "block")):
            raise ArgumentError(f"shuffle={self.shuffle!r}: allowed are True, False and 'block'")
        leasts = {"batch_size": 1, "world_size": 1, "block_size": 1, "window": 1, "seed": None}
        for name, least in leasts.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        for name in ("block_size", "window"):
            # Larger numbers give the same order, and might not fit into an array.
            object.__setattr__(self, name, min(getattr(self, name), max(self.num_samples, 1)))
        object.__setattr__(self, "rank", whole("rank", self.rank, 0, self.world_size - 1))
        if not isinstance(self.remainder, str) or self.remainder not in REMAINDERS:
            raise ArgumentError(f"remainder={self.remainder!r}: allowed are {', '.join(map(repr, REMAINDERS))}")
        rows = self.batch_size * self.world_size
        object.__setattr__(self, "global_batch", whole("global_batch", self.global_batch, 0, rows) or rows)
        self._check_batches()

    def _check_batches(self) -> None:
        if self.num_batches == 0:
            raise ArgumentError(
                f"{self.num_samples} samples give no batch of {self.global_batch}: take a smaller batch_size"
                + (" or remainder='pad'" if self.num_samples else "")
            )
        if self.remainder == "keep" and self.global_batch < self.batch_size * self.world_size:
            raise ArgumentError(
                f"remainder='keep' fills no batch up, and {self.global_batch} samples are no equal shares of {self.batch_size} "
                f"rows for {self.world_size} ranks: take remainder='pad' or 'drop'"
            )
        rest = self.num_samples % self.global_batch
        if self.remainder == "keep" and 0 < rest < self.world_size:
            raise ArgumentError(
                f"the last batch would hold {rest} samples for {self.world_size} ranks, at least one each is "
                f"needed: take remainder='pad', remainder='drop' or another batch_size (found {self.batch_size})"
            )
        remainder = (self.num_samples - self.rest[1]) % self.global_batch if self.rest is not None else 0
        if self.remainder == "keep" and 0 < remainder < self.world_size:
            raise ArgumentError(
                f"what is left of epoch {self.rest[0] if self.rest else 0} would end in a batch of {remainder} samples for "
                f"{self.world_size} ranks, at least one each is needed: go on with another batch_size (found {self.batch_size})"
            )

    @property
    def num_batches(self) -> int:
        """Batches per epoch, the same on every rank."""
        return self.num_batches_from(0)

    @property
    def num_filled(self) -> int:
        """Rows of an epoch, on all ranks together, that only fill a batch up."""
        if self.remainder == "keep":
            return 0
        return self.num_batches * self.batch_size * self.world_size - (self.num_samples - self.num_left_out)

    @property
    def num_left_out(self) -> int:
        """Samples that an epoch does not have, on any rank."""
        return self.num_samples % self.global_batch if self.remainder == "drop" else 0

    @property
    def row_weight(self) -> float:
        """The weight of a row that counts, where others have weight 0: rows of an epoch on all ranks, per row that counts.

        So the weights of an epoch have the mean 1, and a mean over rows, as of Keras's losses, is one over samples.
        """
        return 1 + self.num_filled / (self.num_samples - self.num_left_out)

    def positions(self, epoch: int, batch_number: int) -> np.ndarray:
        """`(n,)` int64: the positions in the split that make up one batch, in the order of the batch.

        Raises:
            OutOfRangeError: If `batch_number` is not in [0, num_batches).
        """
        (drawn,) = self.draw_batches(epoch, range(batch_number, batch_number + 1))
        return drawn.positions

    def draw_batches(self, epoch: int, batch_numbers: range) -> list[DrawnBatch]:
        """The samples of several batches; together they cost hardly more than one.

        Args:
            epoch: The epoch.
            batch_numbers: The batches, at least one.

        Raises:
            OutOfRangeError: If a number is not in [0, num_batches).
        """
        for number in (batch_numbers[0], batch_numbers[-1]):
            if not 0 <= number < self.num_batches:
                raise OutOfRangeError(f"batch number {number} is not in [0, {self.num_batches})")
        starts = [self.first_slot(epoch, number) for number in batch_numbers]
        batches = [self._slots(start) for start in starts]
        is_counted = np.concatenate(list(map(self._are_counted, starts, batches)))
        positions, turns = self._draw(np.concatenate(batches), epoch)
        if self.repeats is not None:
            turns = turns * self._most_repeats + self.repeats[positions]
        edges = np.cumsum([len(batch) for batch in batches])[:-1]
        return list(map(DrawnBatch, *(np.split(rows, edges) for rows in (positions, turns, is_counted))))

    @functools.cached_property
    def _most_repeats(self) -> int:
        """How many positions hold the sample that most positions hold."""
        assert self.repeats is not None
        return int(self.repeats.max()) + 1

    def first_slot(self, epoch: int, batch_number: int) -> int:
        """The slot with which a global batch begins, so many samples come before it; `num_samples` behind the last batch.

        Raises:
            OutOfRangeError: If the batch is not in what is left of the epoch.
        """
        start = batch_number * self.global_batch
        if self.rest is not None and epoch == self.rest[0]:
            first = self.num_batches - self.num_batches_from(self.rest[1])
            start = self.rest[1] + (batch_number - first) * self.global_batch
            if batch_number < first:
                left = f"[{first}, {self.num_batches})"
                raise OutOfRangeError(f"batch number {batch_number} is not in what is left of epoch {epoch}: {left}")
        return min(start, self.num_samples)

    def num_batches_from(self, slot: int) -> int:
        """How many global batches there are from a slot of an epoch on."""
        full, rest = divmod(max(self.num_samples - slot, 0), self.global_batch)
        return full + (rest > 0 and self.remainder != "drop")

    # A shuffle by blocks computes a whole window for nearly each of the slots.
    @functools.cached_property
    def sketch(self) -> np.ndarray:
        """`(n,)` int64: what the order is known by; orders of other samples, or of the same in other turns, have another.

        How many ranks share the samples, and in batches of which size, changes nothing.
        """
        slots = np.unique(np.linspace(0, self.num_samples - 1, _MOST_SKETCHED).astype(np.int64))
        return np.concatenate([array for epoch in (0, 1) for array in self._draw(slots, epoch)])

    def _share(self, start: int) -> tuple[int, int]:
        """The first of the slots that this rank takes of a global batch, and how many it takes."""
        size = min(self.global_batch, self.num_samples - start)
        first = start + size * self.rank // self.world_size
        return first, start + size * (self.rank + 1) // self.world_size - first

    def _slots(self, start: int) -> np.ndarray:
        """`(n,)` int64: the slots of this rank's rows of a global batch: first those that it takes, then what fills it up."""
        first, num_taken = self._share(start)
        slots = np.arange(first, first + num_taken, dtype=np.int64)
        if self.remainder == "keep" or num_taken == self.batch_size:
            return slots
        # As many slots as a global batch has, up to the end of this one: what is before it is in memory still, where a shuffle
        # by blocks would have to read others anew. The ranks before this one fill up what their own shares leave.
        end = min(start + self.global_batch, self.num_samples)
        begin = max(end - self.global_batch, 0)
        num_filled = self.rank * self.batch_size - (first - start)
        filled = np.arange(num_filled, num_filled + self.batch_size - num_taken, dtype=np.int64)
        return np.concatenate([slots, begin + filled % (end - begin)])

    def _are_counted(self, start: int, slots: np.ndarray) -> np.ndarray:
        """`(n,)` bool: which of this rank's rows of a global batch count."""
        _, num_taken = self._share(start)
        return np.arange(len(slots)) < num_taken

    def _draw(self, slots: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` int64 positions at slots of an epoch, and `(n,)` int64 turns, as in `draw_batches`."""
        turns = np.zeros_like(slots)
        if not self.shuffle:
            return slots, turns
        key = hash_key(self.seed, epoch)
        if self.shuffle == "block":
            return self._blocks.positions(slots, key), turns
        return permute(slots, self.num_samples, key), turns

    @property
    def _blocks(self) -> BlockOrder:
        return BlockOrder(self.num_samples, self.block_size, self.window)

    def read_ahead(self, epoch: int, batch_number: int, asked: range) -> tuple[np.ndarray, range]:
        """Which positions the operating system should begin to read when a batch is begun: those of one window ahead.

        Args:
            epoch: The epoch.
            batch_number: The batch that is begun.
            asked: The batches of this epoch whose positions were returned already, from the last call; `range(0)` at first.

        Returns:
            `(n,)` int64 positions, none unless `shuffle="block"`; and the batches whose positions were returned now or before.
            A batch that does not follow on `asked` is a new beginning: then the positions begin with the batch's own window.
            For one rank of several, they are only those of its own batches.
        """
        follows = len(asked) > 0 and asked.start <= batch_number <= asked.stop
        first = asked.stop if follows else batch_number
        last = min(batch_number + self.window // self.global_batch + 2, self.num_batches)
        if self.shuffle != "block" or first >= last:
            return np.empty(0, np.int64), asked
        returned = range(asked.start if follows else first, last)
        if self.world_size > 1:
            batches = self.draw_batches(epoch, range(first, last))
            return np.concatenate([drawn.positions for drawn in batches]), returned
        start = first * self.global_batch
        if not follows:
            # The samples of a batch may come from anywhere in its window.
            start -= start % self.window
        # So may those of the last batch, even if some of its window is dropped.
        end = self.num_samples if last == self.num_batches else last * self.global_batch
        return self._blocks.unmixed_positions(np.arange(start, end, dtype=np.int64), hash_key(self.seed, epoch)), returned
