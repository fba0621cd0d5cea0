"""The keyed permutation: each number once, every result equally frequent, and the random numbers made of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kseq.ordering.permutation import hash_key, permute, permute_each, uniform

SIZES = [*range(1, 40), *(2**power + step for power in range(6, 14) for step in (-1, 0, 1)), 99, 100, 101, 5000]


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", [2, 3, 17, *(pytest.param(size, marks=pytest.mark.campaign) for size in (4, 5, 7, 8, 9, 16, 100))]
)
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
    here, next_to_it = (permute(entry, size, hash_key(size, key)) for entry in (places, places + 1))
    for first, second in ((places, here), (here, next_to_it)):
        counts = np.zeros((16, 16))
        np.add.at(counts, (first * 16 // size, second * 16 // size), 1)
        assert stats.chi2_contingency(counts).pvalue > 1e-4
    assert stats.chisquare(np.bincount(here * 16 // size, minlength=16)).pvalue > 1e-4


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


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    keys=st.lists(st.integers(0, 2**64 - 1), min_size=5, max_size=5),
)
def test_permutations_of_many_sizes_at_once_are_permutations(sizes: list[int], keys: list[int]) -> None:
    numbers = np.concatenate([np.arange(size) for size in sizes])
    which = np.repeat(np.arange(len(sizes)), sizes)
    found = permute_each(numbers, np.array(sizes)[which], np.array(keys, np.uint64)[which])
    for number, size in enumerate(sizes):
        assert sorted(found[which == number].tolist()) == list(range(size))
    assert found[:1].tolist() == permute_each(numbers[:1], np.array(sizes)[:1], np.array(keys, np.uint64)[:1]).tolist()


@pytest.mark.parametrize("size", [2, 3, 5, 8, 17])
def test_permutations_with_keys_of_their_own_are_uniform(size: int) -> None:
    keys = np.arange(8000, dtype=np.uint64)
    places = np.zeros((size, size))
    for position in range(size):
        found = permute_each(np.full(8000, position), np.full(8000, size), keys)
        places[position] = np.bincount(found, minlength=size)
    assert stats.chisquare(places.ravel(), ddof=2 * size - 2).pvalue > 1e-4
