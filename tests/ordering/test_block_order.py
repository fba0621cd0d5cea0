"""A shuffle by blocks: every sample once, near itself on disk, and asked for before it is needed."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kseq.ordering.block_order import BlockOrder
from kseq.ordering.epoch_order import Order
from kseq.ordering.permutation import hash_key
from tests.ordering.test_epoch_order import epoch_of


@pytest.mark.slow
@settings(max_examples=60)
@given(
    num_samples=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    block_size=st.integers(1, 60),
    window=st.integers(1, 200),
    epoch=st.integers(0, 99),
    drop=st.booleans(),
)
def test_a_shuffle_by_blocks_serves_and_asks_for_every_sample_once(
    num_samples: int, batch_size: int, block_size: int, window: int, epoch: int, drop: bool
) -> None:
    remainder = "drop" if drop else "keep"
    order = Order(num_samples, min(batch_size, num_samples), "block", 3, remainder, block_size=block_size, window=window)
    served = epoch_of(order, epoch)
    assert len(set(served)) == len(served) == (num_samples - num_samples % order.batch_size if drop else num_samples)
    asked = asked_by(order, epoch, range(order.num_batches))
    assert sorted(np.concatenate(asked).tolist()) == list(range(num_samples))
    # What a batch holds was asked for before it, or with it.
    known: set[int] = set()
    for number, entry in enumerate(asked):
        known |= set(entry.tolist())
        assert known >= set(order.positions(epoch, number).tolist())


def asked_by(order: Order, epoch: int, numbers: Iterable[int]) -> list[np.ndarray]:
    """What is asked for ahead with each of these batches, begun one after the other."""
    found, asked = [], range(0)
    for number in numbers:
        positions, asked = order.read_ahead(epoch, number, asked)
        found.append(positions)
    return found


@pytest.mark.slow
@settings(max_examples=200)
@given(
    num_samples=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    window=st.integers(1, 200),
    world_size=st.integers(1, 2),
    jumps=st.lists(st.integers(0, 299), min_size=1, max_size=4),
)
def test_a_shuffle_by_blocks_asks_for_the_window_of_a_batch_wherever_an_epoch_is_begun(
    num_samples: int, batch_size: int, window: int, world_size: int, jumps: list[int]
) -> None:
    num_samples += num_samples % world_size
    order = Order(num_samples, min(batch_size, num_samples), "block", 3, "keep", 0, world_size, 7, window)
    asked, known = range(0), set()
    for start in jumps:
        for number in range(start % order.num_batches, min(start % order.num_batches + 6, order.num_batches)):
            positions, asked = order.read_ahead(1, number, asked)
            known |= set(positions.tolist())
            assert known >= set(order.positions(1, number).tolist())
            assert asked.stop >= min(number + 1 + window // (order.batch_size * world_size), order.num_batches)


def test_what_was_asked_for_in_an_epoch_is_not_asked_for_again() -> None:
    order = Order(1000, 10, "block", 1, block_size=5, window=100)
    from_there = np.concatenate(asked_by(order, 2, range(57, 100)))
    assert sorted(from_there.tolist()) == sorted(epoch_of(order, 2)[500:])
    assert len(asked_by(order, 2, [57])[0]) == 70 + 120
    # Threads may begin batches in a slightly other order.
    assert [len(entry) for entry in asked_by(order, 2, [57, 59, 58, 60, 57])] == [70 + 120, 20, 0, 10, 0]


def test_a_shuffle_by_blocks_mixes_whole_blocks_within_windows() -> None:
    order = Order(1000, 50, "block", 1, block_size=10, window=100)
    found = np.array(epoch_of(order, 0))
    for window in found.reshape(10, 100):
        blocks, counts = np.unique(window // 10, return_counts=True)
        assert (counts == 10).all() and len(blocks) == 10
    assert epoch_of(order, 0) != epoch_of(order, 1)
    first_blocks = {tuple(np.unique(np.array(epoch_of(order, epoch))[:100] // 10)) for epoch in range(5)}
    assert len(first_blocks) == 5


def test_a_shuffle_by_blocks_shuffles_each_window_in_an_order_of_its_own() -> None:
    """Chi-square of where samples go within their window, in tenths, and how far apart neighbours of a block end up."""
    order = Order(1000, 50, "block", 1, block_size=10, window=100)
    counts, orders, distances = np.zeros((10, 10)), set(), []
    for epoch in range(30):
        unmixed = np.argsort(order._blocks.unmixed_positions(np.arange(1000), hash_key(order.seed, epoch)))
        for window in unmixed[epoch_of(order, epoch)].reshape(10, 100) % 100:
            np.add.at(counts, (np.arange(100) // 10, window // 10), 1)
            orders.add(tuple(window))
            distances.append(np.abs(np.diff(np.argsort(window))).mean())
    assert len(orders) == 300
    assert stats.chisquare(counts.ravel(), ddof=18).pvalue > 1e-4
    # A third of the window, as in any full shuffle.
    assert abs(np.mean(distances) - 101 / 3) < 0.5


def test_blocks_come_to_every_place_alike_the_smaller_one_too() -> None:
    places = np.zeros((5, 5))
    for epoch in range(3000):
        found = np.array(epoch_of(Order(23, 23, "block", 9, block_size=5, window=1), epoch))
        _, first = np.unique(found // 5, return_index=True)
        places[np.arange(5), np.argsort(np.argsort(first))] += 1
    assert stats.chisquare(places.ravel(), ddof=8).pvalue > 1e-4


@pytest.mark.parametrize("large", [30, 31, 2**63, 2**70])
def test_a_block_or_a_window_larger_than_the_split_is_the_whole_of_it(large: int) -> None:
    assert epoch_of(Order(30, 7, "block", 5, block_size=large, window=1), 2) == list(range(30))
    mixed = epoch_of(Order(30, 7, "block", 5, block_size=10, window=large), 2)
    assert sorted(mixed) == list(range(30))
    assert mixed == epoch_of(Order(30, 7, "block", 5, block_size=10, window=30), 2)


def test_a_window_of_one_sample_costs_no_more_than_blocks_alone() -> None:
    order = Order(100_000, 4096, "block", 1, block_size=64, window=1)
    # Of the processor: how busy the machine is does not count.
    start = time.thread_time()
    found = order.positions(0, 3)
    assert time.thread_time() - start < 0.1
    assert (np.diff(found) == 1).mean() > 0.95


@pytest.mark.timeout(60)
def test_the_smaller_block_at_the_end_keeps_nobody_waiting() -> None:
    """The walk of `permute` need not end for a number that it is not meant for."""
    for full in range(1, 20):
        for key in range(40):
            found = BlockOrder(5 * full + 2, 5, 1).unmixed_positions(np.arange(5 * full + 2), hash_key(key))
            assert sorted(found.tolist()) == list(range(5 * full + 2))


def test_ranks_ask_for_their_own_samples_ahead() -> None:
    for rank in range(2):
        order = Order(400, 10, "block", 1, rank=rank, world_size=2, block_size=10, window=80)
        asked = np.concatenate(asked_by(order, 0, range(order.num_batches)))
        assert sorted(asked.tolist()) == sorted(epoch_of(order, 0))
