"""Plans: splits, shards and the dataset id, before any image is opened."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kseq.errors import ArgumentError
from kseq.packing.plan import Plan, make_plan
from kseq.packing.settings import ImageSettings
from kseq.sources.base import ImageTable, SourceImage
from kseq.sources.folder import FolderSource
from tests.helpers.messages import Parts, raises

MEBIBYTE = 1 << 20


def source(counts: list[int], num_bytes: int = 1000, split: str | None = None) -> FolderSource:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    images = [SourceImage(b"%d/%05d.jpg" % (label, number), label, split, num_bytes) for number, label in enumerate(labels)]
    return FolderSource("photos", tuple(map(str, range(len(counts)))), ImageTable.of(images))


def plan(counts: list[int], fractions: dict[str, float] | None = None, **options: Any) -> Plan:
    return make_plan(source(counts), ImageSettings(), fractions or {}, **options)


def by_class(made: Plan, split: str) -> Counter[int]:
    return Counter(image.label for image, name in zip(made.source.images, made.splits, strict=True) if name == split)


def test_without_shares_all_is_train() -> None:
    assert set(plan([3, 4]).splits) == {"train"}


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    val=st.floats(0.01, 0.45),
    test=st.floats(0.01, 0.45),
    seed=st.integers(0, 99),
    stratify=st.booleans(),
)
def test_shares_are_exact_and_of_each_class_alike(
    counts: list[int], val: float, test: float, seed: int, stratify: bool
) -> None:
    wanted = {name: round(share * sum(counts)) for name, share in (("val", val), ("test", test))}
    assume(all(wanted.values()) and sum(wanted.values()) < sum(counts))
    # Smaller classes keep one in train, whatever their share.
    assume(not stratify or all(count * (1 - val - test) >= 3 for count in counts))
    made = plan(counts, {"val": val, "test": test}, stratify=stratify, seed=seed)
    sizes = Counter(made.splits)
    assert sum(sizes.values()) == sum(counts)
    for name, share in (("val", val), ("test", test)):
        assert sizes[name] == round(share * sum(counts))
        if stratify:
            found = by_class(made, name)
            assert all(abs(found[label] - count * share) <= 1 for label, count in enumerate(counts))


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=6).filter(lambda counts: max(counts) > 1),
    val=st.floats(0.1, 0.45),
    test=st.floats(0.1, 0.45),
    seed=st.integers(0, 99),
)
def test_every_class_keeps_one_in_train(counts: list[int], val: float, test: float, seed: int) -> None:
    try:
        made = plan(counts, {"val": val, "test": test}, seed=seed)
    except ArgumentError:
        # Nothing would be left for a split.
        return
    assert set(by_class(made, "train")) == set(range(len(counts)))


def test_the_largest_remainders_are_rounded_up() -> None:
    made = plan([12, 4, 3], {"val": 0.3})
    assert by_class(made, "val") == {0: 4, 1: 1, 2: 1}
    assert by_class(plan([13, 4, 8], {"val": 0.3}), "val") == {0: 4, 1: 1, 2: 3}


def test_where_all_classes_have_one_image_they_do_not_count() -> None:
    fractions = {"val": 0.3, "test": 0.3}
    assert Counter(plan([1] * 10, fractions).splits) == {"train": 4, "val": 3, "test": 3}
    with raises(ArgumentError, "val", "stratify=False"):
        plan([1, 1, 2], {"val": 0.1})


def test_without_stratify_a_class_may_lie_in_one_split_alone() -> None:
    shares = {by_class(plan([10, 10], {"val": 0.5}, stratify=False, seed=seed), "val")[0] for seed in range(10)}
    assert len(shares) > 2


def test_the_seed_draws_the_splits() -> None:
    first, same, other = (plan([50, 50], {"val": 0.2}, seed=seed).splits for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_splits_of_the_folders_stay_and_shares_are_taken_from_train() -> None:
    images = [*source([10], split="train").images, *source([10], split="test").images]
    made = make_plan(FolderSource("photos", ("0",), ImageTable.of(images)), ImageSettings(), {"val": 0.5})
    assert Counter(made.splits) == {"train": 5, "val": 5, "test": 10}


@pytest.mark.parametrize(
    ("fractions", "split", "words"),
    [
        ({"val": 1.0}, None, ("val=1.0", 0, 1)),
        ({"val": -0.1}, None, ("val=-0.1",)),
        ({"val": 0.6, "test": 0.5}, None, ("val=0.6", "test=0.5", "train")),
        ({"val": 0.1}, "val", ("val",)),
    ],
)
def test_refuses_shares_that_cannot_be(fractions: dict[str, float], split: str | None, words: Parts) -> None:
    with raises(ArgumentError, *words):
        make_plan(source([10], split=split), ImageSettings(), fractions)


def test_shards_are_about_as_large_as_asked_and_hold_every_image_once() -> None:
    made = plan([105], shard_bytes=10_000)
    assert made.num_shards == 11
    images = [image for number in range(made.num_shards) for image in made.shard_images(number)]
    assert images == made.source.images
    assert all(len(made.shard_images(number)) == 10 for number in range(10))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=30), st.integers(1, 20))
def test_a_shard_ends_before_the_image_with_which_it_would_be_too_large(sizes: list[int], shard_bytes: int) -> None:
    images = ImageTable.of(SourceImage(b"%d.jpg" % number, 0, None, size) for number, size in enumerate(sizes))
    made = make_plan(FolderSource("photos", ("0",), images), ImageSettings(), {}, shard_bytes=shard_bytes)
    starts, filled = [0], 0
    for number, size in enumerate(sizes):
        if filled and filled + size > shard_bytes:
            starts.append(number)
            filled = 0
        filled += size
    assert made.shard_starts == [*starts, len(sizes)]


@given(
    groups=st.lists(st.none() | st.sampled_from("abcdefgh"), min_size=12, max_size=60),
    rejected=st.sets(st.integers(0, 59)),
    seed=st.integers(0, 99),
)
def test_groups_stay_together_whatever_is_rejected(groups: list[str | None], rejected: set[int], seed: int) -> None:
    images = [
        SourceImage(b"%d.jpg" % number, 0, None, 1, "is broken" if number in rejected else None, group)
        for number, group in enumerate(groups)
    ]
    good = [number for number in range(len(groups)) if number not in rejected]
    units = {groups[number] or str(number) for number in good}
    assume(len(good) > 2 and len(units) > 1)
    source = FolderSource("photos", ("0",), ImageTable.of(images))
    made = make_plan(source, ImageSettings(), {"val": 0.3}, seed=seed)
    drawn = {groups[number] or str(number) for number in good if made.splits[number] == "val"}
    num_drawn = sum(made.splits[number] == "val" for number in good)
    assert 0 < num_drawn < 2 * round(0.3 * len(good))
    assert all((made.splits[number] == "val") == ((groups[number] or str(number)) in drawn) for number in good)
    assert {made.splits[number] for number in rejected if number < len(groups)} <= {"train"}


def test_a_single_image_may_be_larger_than_a_shard() -> None:
    assert plan([3], shard_bytes=10).num_shards == 3


@pytest.mark.parametrize(
    ("total", "shards"), [(7 * MEBIBYTE, 1), (80 * MEBIBYTE, 10), (400 * MEBIBYTE, 16), (5120 * MEBIBYTE, 20)]
)
def test_small_collections_are_cut_for_all_cores_but_not_into_crumbs(total: int, shards: int) -> None:
    made = make_plan(source([total // (MEBIBYTE // 8)], MEBIBYTE // 8), ImageSettings(), {})
    assert shards <= made.num_shards <= shards + 1


def test_raw_shards_are_measured_in_pixels() -> None:
    made = make_plan(source([100]), ImageSettings("raw", (10, 10)), {}, shard_bytes=3000)
    assert made.num_shards == 10


def test_the_dataset_id_changes_with_all_that_decides_the_bytes() -> None:
    plans = [
        plan([5, 5]),
        plan([5, 6]),
        plan([5, 5], {"val": 0.2}),
        plan([5, 5], {"val": 0.2}, seed=1),
        plan([5, 5], shard_bytes=3000),
        make_plan(source([5, 5], 1001), ImageSettings(), {}),
        *(
            make_plan(source([5, 5]), ImageSettings(**options), {})
            for options in (
                {"encoding": "raw", "image_size": (4, 4)},
                {"encoding": "raw", "image_size": (4, 5)},
                {"encoding": "raw", "image_size": (4, 4), "resize": "crop"},
                {"encoding": "raw", "image_size": (4, 4), "interpolation": "area"},
                {"color_mode": "grayscale"},
                {"encoding": "jpeg"},
                {"encoding": "jpeg", "quality": 80},
                {"encoding": "jpeg", "max_side": 80},
                {"check": False},
            )
        ),
    ]
    assert len({plan.dataset_id for plan in plans}) == len(plans)
    assert plan([5, 5]).dataset_id == plans[0].dataset_id


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoding": "webp"}, ("encoding='webp'", "keep", "raw", "jpeg")),
        ({"resize": "fit"}, ("resize='fit'", "stretch", "crop", "pad")),
        ({"color_mode": "bgr"}, ("color_mode='bgr'", "grayscale", "rgb", "rgba")),
        ({"interpolation": "cubic"}, ("interpolation='cubic'", "bilinear", "nearest")),
        ({"encoding": "jpeg", "quality": 0}, ("quality=0", 1, 100)),
        ({"encoding": "raw", "image_size": (0, 5)}, ("image_size=(0, 5)",)),
        ({"encoding": "raw", "image_size": (5,)}, ("image_size=(5,)",)),
        ({"image_size": (4, 4)}, ("image_size=(4, 4)", "encoding='keep'")),
        ({"max_side": 5}, ("max_side=5", "encoding='keep'")),
        (
            {"encoding": "raw", "image_size": (4, 4), "max_side": 5},
            ("max_side=5", "encoding='jpeg'", "encoding='raw'"),
        ),
        ({"encoding": "jpeg", "image_size": (4, 4), "max_side": 5}, ("image_size=", "max_side=")),
        ({"encoding": "jpeg", "max_side": 0}, ("max_side=0", 1)),
        ({"encoding": "jpeg", "color_mode": "rgba"}, ("JPEG",)),
        ({"encoding": "jpeg", "check": False}, ("encoding='keep'",)),
    ],
)
def test_refuses_settings_that_do_not_go_together(options: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        ImageSettings(**options)


def test_refuses_shards_of_no_size() -> None:
    with raises(ArgumentError, "shard_bytes=0", 1):
        plan([5], shard_bytes=0)
