"""The order of samples: batches, ranks, seeds, epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.errors import ArgumentError, OutOfRangeError
from kseq.ordering.epoch_order import Order
from tests.helpers.messages import Parts, raises


def epoch_of(order: Order, epoch: int) -> list[int]:
    return [int(position) for number in range(order.num_batches) for position in order.positions(epoch, number)]


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
    assert len({entry.num_batches for entry in ranks}) == 1
    held = sorted(position for order in ranks for position in epoch_of(order, epoch))
    assert len(set(held)) == len(held)
    if drop:
        assert len(held) == num_samples - num_samples % (batch_size * world_size)
    else:
        assert held == list(range(num_samples))
    for entry in ranks:
        sizes = [len(entry.positions(epoch, number)) for number in range(entry.num_batches)]
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, ("batch_size=0", 1)),
        ({"shuffle": "no"}, ("shuffle='no'", "'block'")),
        ({"shuffle": 1}, ("shuffle=1", "'block'")),
        ({"shuffle": "block", "block_size": 0}, ("block_size=0", 1)),
        ({"shuffle": "block", "window": 0}, ("window=0", 1)),
        ({"world_size": 0}, ("world_size=0", 1)),
        ({"rank": 2, "world_size": 2}, ("rank=2", 0, 1)),
        ({"rank": -1}, ("rank=-1", 0)),
        ({"batch_size": 11, "drop_remainder": True}, (10, 11)),
        ({"batch_size": 3, "world_size": 3, "rank": 0}, (1, 3)),
    ],
)
def test_refuses_numbers_that_make_no_order(arguments: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        Order(**{"num_samples": 10, "batch_size": 2, **arguments})


@pytest.mark.parametrize("number", [-1, 4])
def test_refuses_a_batch_number_that_does_not_exist(number: int) -> None:
    with raises(OutOfRangeError, f"batch number {number}", "[0, 4)"):
        Order(10, 3).positions(0, number)
