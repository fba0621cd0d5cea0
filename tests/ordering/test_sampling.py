"""Samplers, against counts that are made one sample after the other."""

from __future__ import annotations

import time
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kseq.errors import ArgumentError
from kseq.ordering.epoch_order import Order
from kseq.ordering.sampling import GroupSampler, Proportions, RoundRobin, SampledOrder, Sampler, WeightedSampler, apportion
from tests.helpers.messages import raises

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def groups_of(sizes: list[int]) -> np.ndarray:
    """The group of each position; positions of a group do not lie together."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return groups[np.random.default_rng(len(groups)).permutation(len(groups))]


def alike(sizes: list[int], length: int, seed: int = 0) -> Sampler:
    return GroupSampler(groups_of(sizes), len(sizes), RoundRobin(len(sizes), length, seed), seed)


def mixed(sizes: list[int], quotas: np.ndarray, seed: int = 0) -> Sampler:
    return GroupSampler(groups_of(sizes), len(sizes), Proportions(quotas), seed)


def drawn(sampler: Sampler, length: int, epoch: int) -> list[int]:
    """The positions of an epoch in their order; the turns of each are 0, 1, 2, ..."""
    positions, turns = sampler.draw(np.arange(length), epoch)
    seen: dict[int, list[int]] = {}
    for position, turn in zip(positions.tolist(), turns.tolist(), strict=True):
        seen.setdefault(position, []).append(turn)
    for value in seen.values():
        # Passes follow each other in time, points of weights do not.
        assert (value if isinstance(sampler, GroupSampler) else sorted(value)) == list(range(len(value)))
    return positions.tolist()


def spread(counts: Counter[int], things: Any) -> int:
    """By how much the counts of some things differ."""
    found = [counts[thing] for thing in things]
    return max(found) - min(found)


def check_passes(sampler: Sampler, groups: np.ndarray, length: int, epochs: int) -> list[list[int]]:
    """What the docstring of `GroupSampler` says; returns the epochs."""
    found = [drawn(sampler, length, epoch) for epoch in range(epochs)]
    members = [np.flatnonzero(groups == group).tolist() for group in range(groups.max() + 1)]
    total: Counter[int] = Counter()
    for epoch in found:
        counts = Counter(epoch)
        total += counts
        for member in members:
            assert spread(counts, member) <= 1
            assert spread(total, member) <= 1
    for group, entry in enumerate(members):
        row = [position for epoch in found for position in epoch if groups[position] == group]
        whole = len(row) - len(row) % len(entry)
        for start in range(0, whole, len(entry)):
            assert sorted(row[start : start + len(entry)]) == entry
        assert len(set(row[whole:])) == len(row) - whole
    return found


@pytest.mark.slow
@given(sizes=SIZES, length=st.integers(1, 60), seed=st.integers(0, 2**70))
def test_classes_come_alike_and_so_do_the_samples_of_each(sizes: list[int], length: int, seed: int) -> None:
    groups, total = groups_of(sizes), Counter[int]()
    for epoch in check_passes(alike(sizes, length, seed), groups, length, 12):
        counts = Counter(groups[epoch].tolist())
        total += counts
        assert spread(counts, range(len(sizes))) <= 1
        assert spread(total, range(len(sizes))) <= 1
        assert sum(counts.values()) == length


@given(sizes=SIZES, length=st.integers(1, 60), data=st.data())
def test_datasets_come_in_their_proportions_and_the_samples_of_each_alike(
    sizes: list[int], length: int, data: st.DataObject
) -> None:
    shares = data.draw(st.lists(st.floats(0.05, 1), min_size=len(sizes), max_size=len(sizes)))
    try:
        quotas = apportion(length, shares)
    except ArgumentError:
        assert any(length * share / sum(shares) < 1 for share in shares)
        return
    groups = groups_of(sizes)
    for epoch in check_passes(mixed(sizes, quotas, 3), groups, length, 8):
        assert np.bincount(groups[epoch], minlength=len(sizes)).tolist() == quotas.tolist()


@given(quotas=st.lists(st.integers(1, 60), min_size=1, max_size=7), data=st.data())
def test_every_stretch_of_an_epoch_is_in_proportion(quotas: list[int], data: st.DataObject) -> None:
    length = sum(quotas)
    groups, numbers = Proportions(np.array(quotas)).draw_groups(np.arange(length), 5)
    for group, quota in enumerate(quotas):
        # Draws of a group are numbered in their order, through all epochs.
        assert numbers[groups == group].tolist() == list(range(5 * quota, 6 * quota))
    first, last = sorted(data.draw(st.tuples(st.integers(0, length), st.integers(0, length))))
    counts = np.bincount(groups[first:last], minlength=len(quotas))
    ranks = np.argsort(np.argsort(-np.array(quotas), kind="stable"), kind="stable")
    for count, quota, rank in zip(counts.tolist(), quotas, ranks.tolist(), strict=True):
        bound = 1 + sum(Fraction(1, step) for step in range(1, rank + 1)) if len(quotas) > 2 else 1
        assert abs(count - Fraction((last - first) * quota, length)) < bound
        if len(quotas) == 3:
            assert abs(count - Fraction((last - first) * quota, length)) < 2


@given(length=st.integers(1, 10**9), shares=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9))
def test_quotas_are_within_one_of_exact(length: int, shares: list[float]) -> None:
    exact = [Fraction(length) * Fraction(share) / sum(map(Fraction, shares)) for share in shares]
    try:
        quotas = apportion(length, shares).tolist()
    except ArgumentError as error:
        assert min(exact) < 1 and "\n" not in str(error)
        return
    assert sum(quotas) == length
    assert all(abs(quota - entry) < Fraction(1001, 1000) for quota, entry in zip(quotas, exact, strict=True))


def test_quotas_of_huge_and_of_tiny_shares() -> None:
    assert apportion(10, [1e308, 1e308, 5e307]).tolist() == [4, 4, 2]
    assert apportion(10, [5e-324, 5e-324]).tolist() == [5, 5]
    with raises(ArgumentError, 10, "dataset 1", 2, "0.01"):
        apportion(10, [1, 0.01])


WEIGHTS = st.lists(st.one_of(st.just(0.0), st.integers(1, 9).map(float), st.floats(0.001, 100)), min_size=1, max_size=30)


@given(weights=WEIGHTS.filter(any), length=st.integers(1, 100), seed=st.integers(0, 2**70), epoch=st.integers(0, 10**6))
def test_each_sample_is_drawn_its_exact_share_rounded_down_or_up(
    weights: list[float], length: int, seed: int, epoch: int
) -> None:
    counts = Counter(drawn(WeightedSampler(np.array(weights), length, seed), length, epoch))
    assert sum(counts.values()) == length
    total = sum(map(Fraction, weights))
    for position, weight in enumerate(weights):
        exact, nearly = length * Fraction(weight) / total, Fraction(1, 2**40)
        assert exact - 1 - nearly < counts[position] < exact + 1 + nearly
        # Whole numbers, and equal ones, are not rounded.
        if all(entry == int(entry) for entry in weights) or len(set(weights)) == 1:
            assert exact // 1 <= counts[position] <= -(-exact // 1)
        if not weight:
            assert counts[position] == 0


def test_weights_are_what_is_expected_over_seeds() -> None:
    """Chi-square of the counts of one epoch, over many seeds: of the rounded parts, and of which of two is rounded up."""
    weights = np.array([0.5, 1.25, 2.25, 3, 0.7, 0.3, 2])
    exact, seeds = 10 * weights / weights.sum(), 1000
    counts = np.array([np.bincount(drawn(WeightedSampler(weights, 10, seed), 10, 4), minlength=7) for seed in range(seeds)])
    for sample, share in enumerate(exact % 1):
        if share > 1e-9:
            ups = int((counts[:, sample] > exact[sample]).sum())
            assert stats.chisquare([ups, seeds - ups], [share * seeds, (1 - share) * seeds]).pvalue > 1e-4


def test_over_the_epochs_what_was_rounded_down_is_rounded_up() -> None:
    weights = np.random.default_rng(1).random(40)
    exact, total = 30 * weights / weights.sum(), np.zeros(40)
    for epoch in range(400):
        total += np.bincount(drawn(WeightedSampler(weights, 30, 7), 30, epoch), minlength=40)
        # By chance alone it would be off by 10 after so many.
        assert np.abs(total - (epoch + 1) * exact).max() < 4
    assert stats.chisquare(total, 400 * exact).pvalue > 0.99


@pytest.mark.parametrize("weights", [[1e308, 1e308, 5e307], [5e-324, 5e-324, 0, 5e-324], [1, 1e-30, 1]])
def test_weights_of_any_size_are_proportions(weights: list[float]) -> None:
    largest = max(weights)
    exact = 10 * np.array([weight / largest for weight in weights]) / sum(weight / largest for weight in weights)
    counts = np.bincount(drawn(WeightedSampler(np.array(weights), 10, 1), 10, 3), minlength=len(weights))
    assert (np.abs(counts - exact) < 1).all()


SAMPLERS = {
    "alike": lambda seed: alike([3, 9, 1, 30], 51, seed),
    "mixed": lambda seed: mixed([3, 9, 1, 30], np.array([25, 10, 10, 6]), seed),
    "weights": lambda seed: WeightedSampler(np.arange(43.0), 51, seed),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_a_pure_function_of_seed_epoch_and_slot(name: str) -> None:
    sampler = SAMPLERS[name](5)
    whole = sampler.draw(np.arange(51), 3)
    slots = np.array([50, 0, 7, 7])
    for here, there in zip(SAMPLERS[name](5).draw(slots, 3), whole, strict=True):
        assert here.tolist() == there[slots].tolist()
    for other in (sampler.draw(np.arange(51), 4), SAMPLERS[name](6).draw(np.arange(51), 3)):
        assert other[0].tolist() != whole[0].tolist()


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_shares_of_the_ranks_are_the_batch_of_one(name: str) -> None:
    one = SampledOrder(51, 12, True, 5, sampler=SAMPLERS[name](5))
    ranks = [SampledOrder(51, 4, True, 5, "keep", rank, 3, sampler=SAMPLERS[name](5)) for rank in range(3)]
    for number in range(one.num_batches):
        together = np.concatenate([order.positions(2, number) for order in ranks])
        assert together.tolist() == one.positions(2, number).tolist()


@pytest.mark.parametrize("name", SAMPLERS)
def test_without_shuffle_every_epoch_is_as_the_first(name: str) -> None:
    shuffled, fixed = (SampledOrder(51, 7, shuffle, sampler=SAMPLERS[name](5)) for shuffle in (True, False))
    for number in range(8):
        assert fixed.positions(9, number).tolist() == shuffled.positions(0, number).tolist()


def test_classes_meet_in_batches_by_chance() -> None:
    """200 classes in batches of 20: how often two of them meet varies as it does for batches that are drawn at random."""
    meetings = np.zeros((200, 200))
    for epoch in range(3):
        for batch in np.array(drawn(alike([1] * 200, 8000), 8000, epoch)).reshape(-1, 20):
            meetings[np.ix_(batch, batch)] += 1
    found, odds = meetings[np.triu_indices(200, 1)], 19 / 199
    assert abs(found.mean() - 120 * odds) < 1e-9
    assert 0.9 < found.var() / (120 * odds * (1 - odds)) < 1.1


def test_repeats_of_a_selection_are_turns_of_their_own() -> None:
    order = Order(6, 6, True, 1, repeats=np.array([0, 0, 1, 2, 0, 1]))
    ((positions, turns, _),) = order.draw_batches(3, range(1))
    assert turns.tolist() == [[0, 0, 1, 2, 0, 1][position] for position in positions.tolist()]
    sampler = WeightedSampler(np.ones(2), 6, 1)
    ((positions, turns, _),) = SampledOrder(6, 6, True, 1, repeats=np.array([0, 1]), sampler=sampler).draw_batches(0, range(1))
    assert sorted(turns.tolist()) == list(range(6))
    assert (turns % 2 == positions).all()


def test_a_sampler_of_a_million_samples_is_made_in_a_second_or_two() -> None:
    start = time.process_time()
    samplers = [
        GroupSampler(np.arange(1_000_000) % 1000, 1000, RoundRobin(1000, 1_000_000, 1), 1),
        WeightedSampler(np.arange(1_000_000.0), 1_000_000, 1),
    ]
    assert time.process_time() - start < 4
    start = time.process_time()
    for sampler in samplers:
        sampler.draw(np.arange(500_000, 500_128), 10**6)
    assert time.process_time() - start < 0.5
