"""Fetches the shards of a dataset under a URL into the cache, in the order in which the batches of an epoch will need them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator

from kseq.errors import KseqError, warn
from kseq.ordering.epoch_order import Order
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.reading.shard_cache import FETCHED_AT_ONCE, ShardCache
from kseq.threads import start_thread

__all__ = ["FetchAhead", "warn_of_small_cache"]

# The samples of so many batches are computed at once.
_BATCHES_AT_ONCE = 64


class FetchAhead:
    """Fetches shards before their batches are asked for. Safe to use from many threads; a forked child needs one of its own.

    Its threads end when there is nothing to fetch. Nobody waits for them, neither `close` nor the end of the program: what they
    leave half-fetched is gone on with later.

    Args:
        dataset: The samples.
        order: Says which samples each batch holds.
    """

    def __init__(self, dataset: ShardDataset, order: Order) -> None:
        self._dataset = dataset
        self._order = order
        collection = sample_reader(dataset).collection
        cached = [index for index in collection.indexes if index.remote is not None and index.remote.cache is not None]
        self._num_shards = collection.num_shards
        self._most_ahead = collection.shards.most_ahead
        # Guards the rest. Nothing is fetched under it.
        self._lock = threading.Lock()
        self._is_needed = bool(cached)
        self._epoch: int | None = None
        self._batch_number = 0
        # What is to be fetched next in this epoch: the batch that needs it first, and the shard.
        self._uses: Iterator[tuple[int, int]] = iter(())
        self._next_use: tuple[int, int] | None = None
        # For which batches shards were fetched that are not asked for yet.
        self._ahead: list[int] = []
        # Without a limit, what was fetched once stays.
        self._fetched: set[int] = set()
        self._num_threads = 0

    def ask(self, epoch: int, batch_number: int) -> None:
        """Say that a batch is begun: the shards that come next are fetched by other threads."""
        if not self._is_needed:
            return
        with self._lock:
            if len(self._fetched) == self._num_shards:
                return
            if epoch != self._epoch or batch_number < self._batch_number:
                self._epoch, self._ahead = epoch, []
                self._uses = _first_uses(self._dataset, self._order, epoch, batch_number)
                self._next_use = next(self._uses, None)
            self._batch_number = batch_number
            wanted = 0 if self._next_use is None or self._is_far(self._next_use[0]) else FETCHED_AT_ONCE
            started = range(self._num_threads, wanted)
            self._num_threads += len(started)
        for _ in started:
            # A thread that waits for a store must not keep what is dropped, nor the program.
            start_thread(_fetch_all, weakref.ref(self), name="kseq-fetch")

    def _is_far(self, batch_number: int) -> bool:
        """Whether a batch's shard has to wait, since others that were fetched ahead still wait for their batches."""
        self._ahead = [number for number in self._ahead if number > self._batch_number]
        return self._most_ahead is not None and batch_number > self._batch_number and len(self._ahead) >= self._most_ahead

    def take(self) -> tuple[ShardCache, int] | None:
        """What a thread is to fetch next; None if it is to end."""
        with self._lock:
            while self._is_needed and self._next_use is not None and not self._is_far(self._next_use[0]):
                number, shard = self._next_use
                self._next_use = next(self._uses, None)
                if shard not in self._fetched:
                    self._ahead.append(number)
                    if self._most_ahead is None:
                        self._fetched.add(shard)
                    return sample_reader(self._dataset).collection.shards, shard
            self._num_threads -= 1
            return None

    def close(self) -> None:
        """Begin to fetch nothing more."""
        with self._lock:
            self._is_needed = False


def warn_of_small_cache(dataset: ShardDataset, order: Order) -> None:
    """Warn if every batch will need samples of nearly all shards, and the cache has room for some of them."""
    if order.shuffle is not True:
        return
    for index in sample_reader(dataset).collection.indexes:
        cache = None if index.remote is None else index.remote.cache
        if cache is not None and cache.most_bytes is not None and cache.most_bytes < int(index.num_bytes.sum()):
            warn(
                f"{index.path}: cache_bytes={cache.most_bytes} is less than its {int(index.num_bytes.sum())} bytes, and a full "
                "shuffle needs nearly all shards for every batch, which are then fetched again and again: take "
                "shuffle='block', or a larger cache",
                stacklevel=4,
            )


def _fetch_all(fetch_ahead: weakref.ref[FetchAhead]) -> None:
    while (owner := fetch_ahead()) is not None and (taken := owner.take()) is not None:
        del owner
        shards, shard = taken
        try:
            shards.fetch(shard)
        except KseqError:
            # Whoever needs the shard meets the same, and raises it.
            continue


def _first_uses(dataset: ShardDataset, order: Order, epoch: int, batch_number: int) -> Iterator[tuple[int, int]]:
    """The shards that the batches from one on need, in the order of their first use: the batch and the shard."""
    collection, seen = sample_reader(dataset).collection, set[int]()
    for first in range(batch_number, order.num_batches, _BATCHES_AT_ONCE):
        numbers = range(first, min(first + _BATCHES_AT_ONCE, order.num_batches))
        for number, drawn in zip(numbers, order.draw_batches(epoch, numbers), strict=True):
            shards, _ = collection.locate(dataset.sample_ids(drawn.positions))
            for shard in dict.fromkeys(shards.tolist()):
                if shard not in seen:
                    seen.add(shard)
                    yield number, shard
        if len(seen) == collection.num_shards:
            return
