"""The order of samples: batches, ranks, seeds, epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.errors import ArgumentError, OutOfRangeError
from kseq.ordering.epoch_order import REMAINDERS, DrawnBatch, Order
from kseq.ordering.sampling import GroupSampler, Proportions, SampledOrder
from tests.helpers.messages import Parts, raises


def epoch_of(order: Order, epoch: int) -> list[int]:
    return [int(position) for number in range(order.num_batches) for position in order.positions(epoch, number)]


@pytest.mark.slow
@given(
    num_samples=st.integers(1, 400),
    batch_size=st.integers(1, 50),
    world_size=st.integers(1, 5),
    seed=st.integers(0, 2**70),
    epoch=st.integers(0, 10**6),
    remainder=st.sampled_from(REMAINDERS),
    shuffle=st.sampled_from([False, True, "block"]),
)
def test_the_batches_of_all_ranks_hold_every_sample_once(
    num_samples: int, batch_size: int, world_size: int, seed: int, epoch: int, remainder: str, shuffle: bool | str
) -> None:
    rest = num_samples % (batch_size * world_size)
    try:
        ranks = [Order(num_samples, batch_size, shuffle, seed, remainder, rank, world_size) for rank in range(world_size)]
    except ArgumentError:
        assert num_samples < batch_size * world_size or 0 < rest < world_size
        assert remainder != "pad"
        return
    assert len({entry.num_batches for entry in ranks}) == 1
    held = sorted(position for order in ranks for position in counted(order, epoch))
    assert len(set(held)) == len(held)
    if remainder == "drop":
        assert len(held) == num_samples - rest
    else:
        assert held == list(range(num_samples))
    for entry in ranks:
        sizes = [len(entry.positions(epoch, number)) for number in range(entry.num_batches)]
        assert all(size == batch_size for size in sizes[:-1])
        assert 1 <= sizes[-1] <= batch_size
        assert remainder == "keep" or sizes[-1] == batch_size


def rows_of(batch: DrawnBatch) -> list[tuple[int, bool]]:
    return list(zip(batch.positions.tolist(), batch.is_counted.tolist(), strict=True))


def counted(order: Order, epoch: int) -> list[int]:
    """The positions of the rows that count."""
    drawn = order.draw_batches(epoch, range(order.num_batches))
    return [int(position) for batch in drawn for position in batch.positions[batch.is_counted]]


@given(
    num_samples=st.integers(1, 100),
    batch_size=st.integers(1, 20),
    world_size=st.integers(1, 5),
    shuffle=st.sampled_from([False, True, "block"]),
)
def test_what_fills_batches_up_is_the_same_on_one_rank_or_many_and_weighs_nothing(
    num_samples: int, batch_size: int, world_size: int, shuffle: bool | str
) -> None:
    one = Order(num_samples, batch_size * world_size, shuffle, 3, "pad", block_size=4, window=16)
    ranks = [
        Order(num_samples, batch_size, shuffle, 3, "pad", rank, world_size, block_size=4, window=16)
        for rank in range(world_size)
    ]
    assert {rank.num_batches for rank in ranks} == {one.num_batches}
    for number in range(one.num_batches):
        (whole,) = one.draw_batches(2, range(number, number + 1))
        shares = [rank.draw_batches(2, range(number, number + 1))[0] for rank in ranks]
        assert sorted(row for share in shares for row in rows_of(share)) == sorted(rows_of(whole))
        # None has all of what counts, and another all of what does not.
        sizes = [int(share.is_counted.sum()) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        is_last = number == one.num_batches - 1
        assert whole.is_counted.all() or is_last
        if one.num_batches > 1:
            # They are samples of the batch before.
            assert len(set(whole.positions.tolist())) == len(whole.positions)
    weights = [rank.row_weight * share.is_counted for rank in ranks for share in rank.draw_batches(2, range(rank.num_batches))]
    assert np.isclose(np.mean(weights), 1)


@pytest.mark.slow
@given(
    num_samples=st.integers(1, 50),
    global_batch=st.integers(1, 30),
    world_size=st.integers(1, 9),
    devices=st.integers(1, 3),
    remainder=st.sampled_from(["drop", "pad"]),
    shuffle=st.sampled_from([False, True, "block", "mixed"]),
)
def test_ranks_that_do_not_divide_a_global_batch_share_the_very_samples_of_one_rank(
    num_samples: int, global_batch: int, world_size: int, devices: int, remainder: str, shuffle: bool | str
) -> None:
    def order(rows: int, rank: int, world: int) -> Order:
        sizes = {"rank": rank, "world_size": world, "global_batch": global_batch, "block_size": 4, "window": 16}
        if shuffle != "mixed" or num_samples < 2:
            return Order(num_samples, rows, shuffle if shuffle != "mixed" else True, 3, remainder, **sizes)
        groups = np.repeat([0, 1], [num_samples - num_samples // 2, num_samples // 2])
        quotas = np.array([num_samples - num_samples // 3 - 1, num_samples // 3 + 1])
        sampler = GroupSampler(groups, 2, Proportions(quotas[quotas > 0]), 3)
        return SampledOrder(num_samples, rows, True, 3, remainder, sampler=sampler, **sizes)

    if num_samples < global_batch and remainder == "drop":
        return
    one = order(global_batch, 0, 1)
    rows = -(-global_batch // (world_size * devices)) * devices
    ranks = [order(rows, rank, world_size) for rank in range(world_size)]
    assert {rank.num_batches for rank in ranks} == {one.num_batches}
    gradients = []
    for number in range(one.num_batches):
        (whole,) = one.draw_batches(2, range(number, number + 1))
        shares = [rank.draw_batches(2, range(number, number + 1))[0] for rank in ranks]
        assert {len(share.positions) for share in shares} == {rows}
        held = [share.positions[share.is_counted] for share in shares]
        assert np.array_equal(np.concatenate(held), whole.positions[whole.is_counted])
        assert max(map(len, held)) - min(map(len, held)) <= 1
        # What fills up repeats samples that are at hand: of this global batch or of the one before.
        near = np.concatenate([drawn.positions for drawn in one.draw_batches(2, range(max(number - 1, 0), number + 1))])
        assert all(np.isin(share.positions, near).all() for share in shares)
        # The weight of a sample in the mean over the rows of all ranks.
        gradients.append(len(whole.positions) * ranks[0].row_weight / (rows * world_size))
    assert np.allclose(gradients, one.row_weight)
    assert np.isclose(
        np.mean(
            [rank.row_weight * share.is_counted for rank in ranks for share in rank.draw_batches(2, range(one.num_batches))]
        ),
        1,
    )


@given(batch_size=st.integers(1, 20), world_size=st.integers(1, 4), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_the_shares_of_the_ranks_are_the_batch_of_one(batch_size: int, world_size: int, seed: int, epoch: int) -> None:
    size = batch_size * world_size * 3
    one = Order(size, batch_size * world_size, True, seed)
    shares = [Order(size, batch_size, True, seed, rank=rank, world_size=world_size) for rank in range(world_size)]
    for number in range(one.num_batches):
        together = np.concatenate([share.positions(epoch, number) for share in shares])
        assert np.array_equal(together, one.positions(epoch, number))


@pytest.mark.slow
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
        ({"batch_size": 11, "remainder": "drop"}, (10, 11, "remainder='pad'")),
        ({"batch_size": 3, "world_size": 3, "rank": 0}, (1, 3, "remainder='pad'", "remainder='drop'")),
        ({"remainder": "repeat"}, ("remainder='repeat'", "'keep'", "'drop'", "'pad'")),
        ({"remainder": None}, ("remainder=None", "'keep'", "'drop'", "'pad'")),
        ({"world_size": 3, "global_batch": 7}, ("global_batch=7", 6)),
        ({"world_size": 3, "global_batch": 5}, ("remainder='keep'", "5 samples", "3 ranks", "remainder='pad'", "'drop'")),
    ],
)
def test_refuses_numbers_that_make_no_order(arguments: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        Order(**{"num_samples": 10, "batch_size": 2, **arguments})


@pytest.mark.parametrize("number", [-1, 4])
def test_refuses_a_batch_number_that_does_not_exist(number: int) -> None:
    with raises(OutOfRangeError, f"batch number {number}", "[0, 4)"):
        Order(10, 3).positions(0, number)
