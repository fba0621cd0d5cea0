"""The laws of the order: permutations, batches, ranks, seeds, epochs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kseq.errors import ArgumentError, OutOfRangeError
from kseq.ordering.epoch_order import Blocks, Order
from kseq.ordering.permutation import hash_key, permute, uniform

SIZES = [*range(1, 40), *(2**power + step for power in range(6, 14) for step in (-1, 0, 1)), 99, 100, 101, 5000]


def epoch_of(order: Order, epoch: int) -> list[int]:
    return [int(place) for number in range(order.num_batches) for place in order.positions(epoch, number)]


@pytest.mark.parametrize("size", SIZES)
def test_permute_is_a_permutation(size: int) -> None:
    for key in (0, 1, hash_key(size)):
        assert sorted(permute(np.arange(size), size, key).tolist()) == list(range(size))


def test_permute_computes_the_same_for_any_part_of_it() -> None:
    whole = permute(np.arange(1000), 1000, 5)
    assert np.array_equal(permute(np.array([7, 999, 7, 0]), 1000, 5), whole[[7, 999, 7, 0]])


def test_permute_stays_in_range_at_a_billion() -> None:
    found = permute(np.arange(10**9 - 5000, 10**9), 10**9, 3)
    assert len(set(found.tolist())) == 5000
    assert found.min() >= 0
    assert found.max() < 10**9


@given(
    num_samples=st.integers(1, 400),
    batch_size=st.integers(1, 50),
    world_size=st.integers(1, 5),
    seed=st.integers(0, 2**70),
    epoch=st.integers(0, 10**6),
    drop=st.booleans(),
    shuffle=st.booleans(),
)
def test_the_batches_of_all_ranks_hold_every_sample_once(
    num_samples: int, batch_size: int, world_size: int, seed: int, epoch: int, drop: bool, shuffle: bool
) -> None:
    try:
        ranks = [Order(num_samples, batch_size, shuffle, seed, drop, rank, world_size) for rank in range(world_size)]
    except ArgumentError:
        remainder = num_samples % (batch_size * world_size)
        assert num_samples < batch_size * world_size or 0 < remainder < world_size
        return
    assert len({each.num_batches for each in ranks}) == 1
    held = sorted(place for each in ranks for place in epoch_of(each, epoch))
    assert len(set(held)) == len(held)
    if drop:
        assert len(held) == num_samples - num_samples % (batch_size * world_size)
    else:
        assert held == list(range(num_samples))
    for each in ranks:
        sizes = [len(each.positions(epoch, number)) for number in range(each.num_batches)]
        assert all(size == batch_size for size in sizes[:-1])
        assert 1 <= sizes[-1] <= batch_size


@given(batch_size=st.integers(1, 20), world_size=st.integers(1, 4), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_the_shares_of_the_ranks_are_the_batch_of_one(batch_size: int, world_size: int, seed: int, epoch: int) -> None:
    size = batch_size * world_size * 3
    one = Order(size, batch_size * world_size, True, seed)
    shares = [Order(size, batch_size, True, seed, rank=rank, world_size=world_size) for rank in range(world_size)]
    for number in range(one.num_batches):
        together = np.concatenate([share.positions(epoch, number) for share in shares])
        assert np.array_equal(together, one.positions(epoch, number))


@given(seed=st.integers(0, 2**64), epoch=st.integers(0, 10**6))
def test_another_epoch_or_seed_gives_another_order_and_the_same_the_same(seed: int, epoch: int) -> None:
    here = epoch_of(Order(200, 32, True, seed), epoch)
    assert here == epoch_of(Order(200, 32, True, seed), epoch)
    assert here != epoch_of(Order(200, 32, True, seed), epoch + 1)
    assert here != epoch_of(Order(200, 32, True, seed + 1), epoch)
    assert here != list(range(200))


def test_without_shuffle_the_order_is_that_of_the_split_in_every_epoch() -> None:
    order = Order(10, 4)
    assert [epoch_of(order, epoch) for epoch in (0, 5)] == [list(range(10))] * 2


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 8, 9, 16, 17, 100])
def test_every_sample_comes_to_every_place_alike(size: int) -> None:
    """Chi-square over many keys, of the places and of which sample follows which."""
    keys = 8000
    places = np.zeros((size, size))
    neighbours = np.zeros((size, size))
    numbers = np.arange(size)
    for key in range(keys):
        found = permute(numbers, size, hash_key(size, key))
        places[numbers, found] += 1
        neighbours[found[:-1], found[1:]] += 1
    off_diagonal = ~np.eye(size, dtype=bool)
    assert stats.chisquare(places.ravel(), ddof=2 * size - 2).pvalue > 1e-4
    assert stats.chisquare(neighbours[off_diagonal]).pvalue > 1e-4


LARGE = [1023, 1024, 1025, 65_535, 65_536, 65_537, 10**6, 2**20 + 1, 2**30 - 1, 2**30, 2**30 + 1, 10**9, 2**40 + 1]


@pytest.mark.parametrize("size", LARGE)
@pytest.mark.parametrize("key", [0, 1, 2])
def test_large_orders_are_uniform_over_places_and_over_neighbours(size: int, key: int) -> None:
    """Chi-square of where places go, in sixteenths of the order, and of where two neighbours go: neither tells of the other."""
    places = np.sort(np.random.default_rng(key).choice(size - 1, min(20_000, size - 1), replace=False, shuffle=False))
    here, next_to_it = (permute(each, size, hash_key(size, key)) for each in (places, places + 1))
    for first, second in ((places, here), (here, next_to_it)):
        counts = np.zeros((16, 16))
        np.add.at(counts, (first * 16 // size, second * 16 // size), 1)
        assert stats.chi2_contingency(counts).pvalue > 1e-4
    assert stats.chisquare(np.bincount(here * 16 // size, minlength=16)).pvalue > 1e-4


@pytest.mark.slow
@settings(max_examples=200)
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
    order = Order(num_samples, min(batch_size, num_samples), "block", 3, drop, block_size=block_size, window=window)
    served = epoch_of(order, epoch)
    assert len(set(served)) == len(served) == (num_samples - num_samples % order.batch_size if drop else num_samples)
    asked = asked_by(order, epoch, range(order.num_batches))
    assert sorted(np.concatenate(asked).tolist()) == list(range(num_samples))
    # What a batch holds was asked for before it, or with it.
    known: set[int] = set()
    for number, each in enumerate(asked):
        known |= set(each.tolist())
        assert known >= set(order.positions(epoch, number).tolist())


def asked_by(order: Order, epoch: int, numbers: Iterable[int]) -> list[np.ndarray]:
    """What is asked for ahead with each of these batches, begun one after the other."""
    found, asked = [], range(0)
    for number in numbers:
        positions, asked = order.upcoming(epoch, number, asked)
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
    order = Order(num_samples, min(batch_size, num_samples), "block", 3, False, 0, world_size, 7, window)
    asked, known = range(0), set()
    for start in jumps:
        for number in range(start % order.num_batches, min(start % order.num_batches + 6, order.num_batches)):
            positions, asked = order.upcoming(1, number, asked)
            known |= set(positions.tolist())
            assert known >= set(order.positions(1, number).tolist())
            assert asked.stop >= min(number + 1 + window // (order.batch_size * world_size), order.num_batches)


def test_what_was_asked_for_in_an_epoch_is_not_asked_for_again() -> None:
    order = Order(1000, 10, "block", 1, block_size=5, window=100)
    from_there = np.concatenate(asked_by(order, 2, range(57, 100)))
    assert sorted(from_there.tolist()) == sorted(epoch_of(order, 2)[500:])
    assert len(asked_by(order, 2, [57])[0]) == 70 + 120
    # Threads may begin batches in a slightly other order.
    assert [len(each) for each in asked_by(order, 2, [57, 59, 58, 60, 57])] == [70 + 120, 20, 0, 10, 0]


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
        unmixed = np.argsort(order._blocks.in_blocks(np.arange(1000), hash_key(order.seed, epoch)))
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
    start = time.perf_counter()
    found = order.positions(0, 3)
    assert time.perf_counter() - start < 0.1
    assert (np.diff(found) == 1).mean() > 0.95


@pytest.mark.timeout(60)
def test_the_smaller_block_at_the_end_keeps_nobody_waiting() -> None:
    """The walk of `permute` need not end for a number that it is not meant for."""
    for full in range(1, 20):
        for key in range(40):
            found = Blocks(5 * full + 2, 5, 1).in_blocks(np.arange(5 * full + 2), hash_key(key))
            assert sorted(found.tolist()) == list(range(5 * full + 2))


def test_ranks_ask_for_their_own_samples_ahead() -> None:
    for rank in range(2):
        order = Order(400, 10, "block", 1, rank=rank, world_size=2, block_size=10, window=80)
        asked = np.concatenate(asked_by(order, 0, range(order.num_batches)))
        assert sorted(asked.tolist()) == sorted(epoch_of(order, 0))


def test_uniform_numbers_are_uniform_and_independent() -> None:
    numbers = uniform(hash_key(1, 2), np.arange(20_000), 3)
    assert numbers.shape == (20_000, 3)
    for lane in range(3):
        assert stats.kstest(numbers[:, lane], "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(numbers[:-1, lane], numbers[1:, lane])[0, 1]) < 0.03
    assert abs(np.corrcoef(numbers[:, 0], numbers[:, 1])[0, 1]) < 0.03


def test_uniform_numbers_depend_on_the_id_and_not_on_its_company() -> None:
    alone = uniform(3, np.array([17]), 4)
    assert np.array_equal(uniform(3, np.array([5, 17, 900]), 4)[1:2], alone)
    assert not np.array_equal(uniform(4, np.array([17]), 4), alone)


def test_hash_key_tells_order_and_number_apart() -> None:
    keys = [hash_key(*numbers) for numbers in [(), (0,), (0, 0), (1, 2), (2, 1), (1,), (12,), (-1,), (2**64 - 2,)]]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size=0: allowed is 1"),
        ({"shuffle": "no"}, "shuffle='no': allowed are True, False and 'block'"),
        ({"shuffle": 1}, "shuffle=1: allowed are True, False and 'block'"),
        ({"shuffle": "block", "block_size": 0}, "block_size=0: allowed is 1"),
        ({"shuffle": "block", "window": 0}, "window=0: allowed is 1"),
        ({"world_size": 0}, "world_size=0: allowed is 1"),
        ({"rank": 2, "world_size": 2}, "rank=2: allowed is 0 to 1"),
        ({"rank": -1}, "rank=-1: allowed is 0 to 0"),
        ({"batch_size": 11, "drop_remainder": True}, "10 samples give no batch of 11"),
        ({"batch_size": 3, "world_size": 3, "rank": 0}, "1 samples for 3 ranks"),
    ],
)
def test_refuses_numbers_that_make_no_order(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Order(**{"num_samples": 10, "batch_size": 2, **arguments})


@pytest.mark.parametrize("number", [-1, 4])
def test_refuses_a_batch_number_that_does_not_exist(number: int) -> None:
    with pytest.raises(OutOfRangeError, match=rf"batch number {number} is not in \[0, 4\)"):
        Order(10, 3).positions(0, number)
