"""Drawing splits and folds: exact shares, of each class alike, by one permutation of all units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.ordering import stratified
from kseq.ordering.permutation import hash_key, permute
from kseq.ordering.stratified import count_classes, draw_folds, draw_splits

CLASSES = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(lambda each: np.array(each, np.uint8))


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """Parts so small that there are several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stratified, "_AT_ONCE", 16)
        patch.setattr(stratified, "_COUNTED_AT_ONCE", 16)
        yield


def plainly(classes: np.ndarray, counts: list[dict[int, int]], seed: int) -> list[int]:
    """What `draw_splits` gives, from lists of each class in the order of chance."""
    count = len(classes)
    order = permute(np.arange(count), count, hash_key(seed, 1)).tolist()
    queues = {class_number: [unit for unit in order if classes[unit] == class_number] for class_number in set(classes.tolist())}
    drawn = [0] * count
    for number, wanted in enumerate(counts, start=1):
        for entry, queue in queues.items():
            for _ in range(wanted.get(entry, 0)):
                drawn[queue.pop(0)] = number
    return drawn


@settings(max_examples=200)
@given(classes=CLASSES, test=st.floats(0.01, 0.6), val=st.floats(0.01, 0.39), seed=st.integers(-5, 99))
def test_shares_are_near_and_drawn_from_the_front_of_each_class(
    classes: np.ndarray, test: float, val: float, seed: int
) -> None:
    drawn = draw_splits(classes, {"val": val, "test": test}, seed)
    sizes = Counter(classes.tolist())
    found = [Counter(classes[drawn == number].tolist()) for number in (1, 2)]
    assert found[0].total() <= round(len(classes) * test)
    assert found[1].total() <= round(len(classes) * val)
    for entry, size in sizes.items():
        assert found[0][entry] <= size * test + 1
        assert found[0][entry] >= min(int(size * test), size - 1)
        # Of each class, one unit at least is in no split.
        assert found[0][entry] + found[1][entry] < size or set(sizes.values()) == {1}
    has_room = all(size >= 3 for size in sizes.values())
    assert not has_room or found[0].total() == round(len(classes) * test)
    assert set(sizes.values()) == {1} or drawn.tolist() == plainly(classes, found, seed)


@settings(max_examples=200)
@given(
    units=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=80),
    fractions=st.fixed_dictionaries({"val": st.floats(0.01, 0.4), "test": st.floats(0.01, 0.5)}),
    seed=st.integers(0, 99),
)
def test_units_of_different_sizes_are_drawn_by_their_sizes(
    units: list[tuple[int, int]], fractions: dict[str, float], seed: int
) -> None:
    classes, sizes = (np.array(column) for column in zip(*units, strict=True))
    drawn = draw_splits(classes, fractions, seed, sizes)
    assert drawn.tolist() == draw_splits(classes, fractions, seed, sizes).tolist()
    for number, name in enumerate(sorted(fractions), start=1):
        share, found = round(int(sizes.sum()) * fractions[name]), int(sizes[drawn == number].sum())
        # More only by a unit that brings it nearer.
        assert found <= share or found - share < share
    assert set(classes[drawn == 0]) == set(classes) or len(set(classes)) == len(classes)


def test_a_group_larger_than_the_share_does_not_take_it() -> None:
    sizes = np.array([60, *[1] * 40])
    for seed in range(20):
        drawn = draw_splits(np.zeros(41, np.int64), {"val": 0.2}, seed, sizes)
        assert int(sizes[drawn == 1].sum()) == 20
    # Groups of 7 of 35: one is as near to 7 as can be.
    assert draw_splits(np.zeros(5, np.int64), {"val": 0.2}, 0, np.full(5, 7)).tolist().count(1) == 1


@settings(max_examples=200)
@given(classes=CLASSES, folds=st.integers(2, 300), seed=st.integers(0, 99))
def test_folds_differ_by_one_at_most_as_a_whole_and_in_each_class(classes: np.ndarray, folds: int, seed: int) -> None:
    drawn = draw_folds(classes, folds, seed)
    for chosen in [drawn, *(drawn[classes == class_number] for class_number in set(classes.tolist()))]:
        sizes = np.bincount(chosen, minlength=folds)
        assert len(sizes) == folds
        assert sizes.max() - sizes.min() <= 1


def test_classes_of_all_kinds_are_counted_in_parts() -> None:
    for dtype in (np.uint8, np.int32, np.int64):
        classes = np.array([*range(40), 3, 100], dtype)
        assert count_classes(classes).tolist() == np.bincount(classes).tolist()
        assert len(count_classes(classes, 200)) == 200
    assert count_classes(np.empty(0, np.uint8), 3).tolist() == [0, 0, 0]


def test_what_is_drawn_does_not_depend_on_how_it_is_cut_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = np.arange(500) % 7
    one = draw_splits(classes, {"val": 0.3}, 5), draw_folds(classes, 5, 5)
    monkeypatch.setattr(stratified, "_AT_ONCE", 100)
    for first, second in zip(one, (draw_splits(classes, {"val": 0.3}, 5), draw_folds(classes, 5, 5)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_small_shares_cost_no_more_than_they_are_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def counted(positions: np.ndarray, size: int, key: int) -> np.ndarray:
        nonlocal looked_at
        looked_at += len(positions)
        return permute(positions, size, key)

    monkeypatch.setattr(stratified, "permute", counted)
    draw_splits(np.arange(100_000) % 10, {"val": 0.01}, 0)
    assert looked_at < 2000
