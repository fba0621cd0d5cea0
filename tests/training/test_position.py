"""Places in the order of samples: kept as plain values, and gone on from in other runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, OutOfRangeError
from tests.helpers.messages import Parts, assert_says, raises

ARGUMENTS: dict[str, Any] = {"seed": 3, "workers": 0}


def served(batches: list[kseq.Batches], epoch: int) -> list[int]:
    """The samples of an epoch on all ranks, in the order of its slots, from where each rank begins."""
    steps = [[images[:, 0, 0, 0] for images, _ in rank.epoch(epoch)] for rank in batches]
    return [int(number) for ranks in zip(*steps, strict=True) for ids in ranks for number in ids]


def whole_epoch(path: Path, epoch: int, **arguments: Any) -> list[int]:
    with kseq.Batches(path, "train", batch_size=1, **ARGUMENTS, **arguments) as batches:
        return [int(batches.sample_ids(epoch, number)[0]) for number in range(len(batches))]


@pytest.mark.parametrize("arguments", [{}, {"shuffle": "block"}, {"balance": "class"}, {"sampling_weights": [1, 2] * 40}])
@pytest.mark.parametrize(("ranks", "size"), [(1, 16), (1, 10), (1, 7), (2, 8), (3, 6), (2, 12), (8, 2), (1, 100)])
def test_a_run_of_other_ranks_and_batches_goes_on_with_the_rest_of_the_same_order(
    numbered: Path, arguments: dict[str, Any], ranks: int, size: int
) -> None:
    before = [
        kseq.Batches(numbered, "train", batch_size=4, rank=rank, world_size=4, **ARGUMENTS, **arguments) for rank in range(4)
    ]
    # 3 global batches of 16.
    states = [json.loads(json.dumps(rank.state_dict(5, 3))) for rank in before]
    assert all(state == states[0] for state in states)
    assert (states[0]["epoch"], states[0]["batch"], states[0]["samples"]) == (5, 3, 48)
    after = [
        kseq.Batches(
            numbered, "train", batch_size=size, rank=rank, world_size=ranks, remainder="keep", **ARGUMENTS, **arguments
        )
        for rank in range(ranks)
    ]
    for rank in after:
        epoch, start = rank.load_state_dict(states[0])
        assert epoch == 5
        assert len(list(rank.epoch(5))) == len(rank) - start
    order = whole_epoch(numbered, 5, **arguments)
    assert served(after, 5) == order[48:]
    assert served(after, 6) == whole_epoch(numbered, 6, **arguments)
    for batches in (*before, *after):
        batches.close()


def test_the_place_is_that_after_the_batch_that_was_handed_out_last(numbered: Path) -> None:
    with kseq.Batches(numbered, "train", batch_size=16, **ARGUMENTS) as batches:
        assert (batches.state_dict()["epoch"], batches.state_dict()["batch"]) == (0, 0)
        for number, _ in enumerate(batches.epoch(2)):
            state = batches.state_dict()
            assert (state["epoch"], state["batch"]) == ((2, number + 1) if number < 4 else (3, 0))
        with kseq.Batches(numbered, "train", batch_size=16, **ARGUMENTS) as other:
            assert other.load_state_dict(batches.state_dict(2, 3)) == (2, 3)
            assert other.state_dict() == batches.state_dict(2, 3)
            assert len(list(other.epoch(2))) == 2
            assert len(list(other.epoch(2, start=0))) == 5
            assert len(list(other.epoch(1))) == 5


@pytest.mark.parametrize("arguments", [{}, {"shuffle": "block"}, {"balance": "class"}])
def test_to_ask_for_the_place_with_each_batch_draws_nothing(
    numbered: Path, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with kseq.Batches(numbered, "train", batch_size=16, **ARGUMENTS, **arguments) as batches:
        state = batches.state_dict(0, 1)
        monkeypatch.setattr(type(batches._order), "_draw", None)
        assert batches.state_dict(0, 1) == state
        assert batches.state_dict(3, 2)["order"] == state["order"]


def test_a_rest_that_is_left_again_goes_on_and_a_copy_has_it_too(numbered: Path) -> None:
    order = whole_epoch(numbered, 0)
    with (
        kseq.Batches(numbered, "train", batch_size=16, **ARGUMENTS) as first,
        kseq.Batches(numbered, "train", batch_size=10, **ARGUMENTS) as second,
        kseq.Batches(numbered, "train", batch_size=7, **ARGUMENTS) as third,
    ):
        _, start = second.load_state_dict(first.state_dict(0, 2))
        copy = pickle.loads(pickle.dumps(second))
        for batches in (second, copy):
            assert batches.sample_ids(0, start).tolist() == order[32:42]
            assert served([batches], 0) == order[32:]
        copy.close()
        third.load_state_dict(second.state_dict(0, start + 1))
        assert served([third], 0) == order[42:]
        with raises(OutOfRangeError, "epoch 0", start):
            second.batch(0, 0)
        second.forget_state()
        assert served([second], 0) == order


def test_a_rest_that_leaves_a_rank_without_samples_is_refused(numbered: Path) -> None:
    with (
        kseq.Batches(numbered, "train", batch_size=16, **ARGUMENTS) as first,
        kseq.Batches(numbered, "train", batch_size=5, rank=0, world_size=3, remainder="keep", **ARGUMENTS) as second,
        raises(ArgumentError, "epoch 5", "2 samples for 3 ranks", "batch_size"),
    ):
        # 32 are left, and batches of 15.
        second.load_state_dict(first.state_dict(5, 3))


def test_what_is_dropped_at_the_end_is_no_batch_to_go_on_with(numbered: Path) -> None:
    with (
        kseq.Batches(numbered, "train", batch_size=16, **ARGUMENTS) as first,
        kseq.Batches(numbered, "train", batch_size=30, remainder="drop", **ARGUMENTS) as second,
    ):
        assert second.load_state_dict(first.state_dict(0, 4)) == (1, 0)
        assert second.load_state_dict(first.state_dict(0, 5)) == (1, 0)


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"seed": 4}, ("seed", "3", "4")),
        ({"shuffle": False}, ("shuffle", "True", "False")),
        ({"balance": "class"}, ("order", "balance")),
        ({"epoch_size": 60, "balance": "class"}, ("num_samples", "80", "60")),
        ({"split": "all", "shuffle": True}, ("split", "'train'", "'all'")),
    ],
)
def test_another_order_is_refused_naming_what_differs(numbered: Path, changed: dict[str, Any], parts: tuple[Any, ...]) -> None:
    with kseq.Batches(numbered, "train", batch_size=16, **ARGUMENTS) as first:
        state = first.state_dict(1, 2)
    with kseq.Batches(numbered, **{"split": "train", "batch_size": 16, **ARGUMENTS, **changed}) as other:
        with raises(ArgumentError, numbered, *parts, "on_change='warn'"):
            other.load_state_dict(state)
        with pytest.warns(UserWarning) as caught:
            assert other.load_state_dict(state, on_change="warn") == (1, 2)
        assert_says(str(caught[0].message), numbered, *parts, "32")


def test_another_dataset_is_refused(numbered: Path, second: Path) -> None:
    with (
        kseq.Batches(numbered, "train", **ARGUMENTS) as first,
        kseq.Batches(second, "train", **ARGUMENTS) as other,
        raises(ArgumentError, second, "digest", first.digest, other.digest, "packed again"),
    ):
        other.load_state_dict(first.state_dict())


@pytest.mark.parametrize("state", [None, [], {}, {"epoch": 1}, {"kseq_state": 1, "epoch": 1}, {"kseq_state": 2}])
def test_what_is_no_state_is_refused(numbered: Path, state: Any) -> None:
    with kseq.Batches(numbered, "train", **ARGUMENTS) as batches, raises(ArgumentError, numbered):
        batches.load_state_dict(state)


def test_an_epoch_without_a_number_is_refused(numbered: Path) -> None:
    with kseq.Batches(numbered, "train", **ARGUMENTS) as batches:
        with raises(ArgumentError, "epoch=1", "number=None"):
            batches.state_dict(1)
        with raises(ArgumentError, "number", len(batches) + 1):
            batches.state_dict(1, len(batches) + 1)


def test_loops_over_a_sequence_go_on_too(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "train", batch_size=16, **ARGUMENTS) as first:
        for _, _ in zip(range(2), first, strict=False):
            state = first.state_dict()
        assert (state["epoch"], state["batch"]) == (0, 2)
        for number in range(5):
            assert first[number][0].shape[0] == 16
        assert first.state_dict()["epoch"] == 1
        for kind in ("iterator", "numbers", "generator"):
            with kseq.ShardSequence(numbered, "train", batch_size=16, **ARGUMENTS) as other:
                assert other.load_state_dict(state) == (0, 2)
                copy = pickle.loads(pickle.dumps(other))
                assert [len(images) for images, _ in copy] == [16] * 3
                copy.close()
                if kind == "iterator":
                    found = [images for images, _ in other]
                elif kind == "numbers":
                    found = [other[number][0] for number in range(2, 5)]
                else:
                    found = [images for (images, _), _ in zip(other.generator(), range(3), strict=False)]
                expected = [first.batches.sample_ids(0, number).tolist() for number in range(2, 5)]
                assert [images[:, 0, 0, 0].tolist() for images in found] == expected
                if kind != "generator":
                    assert other.epoch == 1
                    assert np.array_equal(next(iter(other))[0][:, 0, 0, 0], first.batches.sample_ids(1, 0))
                other.epoch = 0
                assert len(list(other)) == 5


# Elastic: the global batch is given, and the number of ranks changes.


@pytest.mark.parametrize("remainder", ["drop", "pad"])
@pytest.mark.parametrize("sampling", [{}, {"balance": "class"}, {"mixed": True}], ids=["plain", "balanced", "mixed"])
def test_a_run_of_4_ranks_goes_on_on_any_number_with_the_same_global_batches_and_weights(
    numbered: Path, tmp_path: Path, sampling: dict[str, Any], remainder: str
) -> None:
    arguments = {**ARGUMENTS, **sampling, "global_batch_size": 12, "remainder": remainder}
    dataset: Any = numbered
    if arguments.pop("mixed", False):
        dataset = {kseq.ShardDataset(numbered, "train"): 0.7, kseq.ShardDataset(numbered, "val"): 0.3}

    def ranks_of(world: int) -> list[kseq.Batches]:
        return [kseq.Batches(dataset, rank=rank, world_size=world, **arguments) for rank in range(world)]

    (alone,) = ranks_of(1)
    before = ranks_of(4)
    assert {rank.batch_size for rank in before} == {3}
    state = json.loads(json.dumps(before[2].state_dict(5, 3)))
    assert (state["samples"], state["global_batch_size"]) == (36, 12)
    for world, rows in {1: 12, 3: 4, 8: 2, 13: 1}.items():
        after = ranks_of(world)
        assert {(rank.batch_size, rank.global_batch_size, len(rank)) for rank in after} == {(rows, 12, len(alone))}
        assert {rank.load_state_dict(state) for rank in after} == {(5, 3)}
        for epoch, start in ((5, 3), (6, 0)):
            steps = list(zip(*(rank.epoch(epoch) for rank in after), strict=True))
            assert len(steps) == len(alone) - start
            for number, step in enumerate(steps, start):
                images, labels, weights = alone.batch(epoch, number)
                counted = [np.flatnonzero(share[2]) for share in step]
                assert {len(share[0]) for share in step} == {rows}
                pairs = zip(step, counted, strict=True)
                assert np.array_equal(np.concatenate([share[0][rows_] for share, rows_ in pairs]), images[weights > 0])
                # Keras's loss is a mean over the rows of all ranks: each sample has the share in it that it has on one.
                assert np.isclose(
                    sum(float(share[1] @ share[2]) for share in step) / (rows * world), float(labels @ weights) / 12
                )
        for rank in after:
            rank.close()
    for rank in (alone, *before):
        rank.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 8}, ("batch_size=8", "global_batch_size=12")),
        ({"global_batch_size": 0}, ("global_batch_size=0", 1)),
        ({"global_batch_size": 2.5}, ("global_batch_size=2.5",)),
        ({"remainder": "keep", "rank": 0, "world_size": 5}, ("remainder='keep'", "5 ranks", "'pad'", "'drop'")),
    ],
)
def test_a_global_batch_that_makes_no_batches_is_refused(numbered: Path, arguments: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        kseq.Batches(numbered, "train", **{"global_batch_size": 12, **arguments})


@pytest.mark.filterwarnings("ignore:.*samples are left out")
def test_with_a_global_batch_one_process_does_as_many_do(numbered: Path) -> None:
    with (
        kseq.ShardSequence(numbered, "train", global_batch_size=12) as train,
        kseq.Batches(numbered, "val", global_batch_size=12) as val,
    ):
        assert (train.batch_size, train.global_batch_size, len(train)) == (12, 12, 6)
        assert (train.batches.remainder, val.remainder) == ("drop", "pad")
        assert train[0][2].tolist() == [1.0] * 12
        copy = pickle.loads(pickle.dumps(train))
        assert copy.global_batch_size == 12
        copy.close()
