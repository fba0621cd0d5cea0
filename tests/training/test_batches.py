"""Batches without Keras: a pure function of epoch and number, whoever asks, in whatever order, process or thread."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, ClosedError, DamagedError, OutOfRangeError
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import numbers_of
from tests.helpers.processes import RunPython


@pytest.fixture
def batches(numbered: Path) -> Iterator[kseq.Batches]:
    with kseq.Batches(numbered, "train", batch_size=16, seed=1, workers=2) as opened:
        yield opened


def test_a_batch_holds_the_samples_that_sample_ids_names(batches: kseq.Batches) -> None:
    for epoch in range(3):
        for number in range(batches.num_batches):
            images, labels = batches.batch(epoch, number)
            ids = batches.sample_ids(epoch, number)
            assert numbers_of(images).tolist() == ids.tolist()
            assert (images.shape, images.dtype) == ((16, 4, 4, 3), np.uint8)
            assert (labels.shape, labels.dtype) == ((16,), np.int32)


def test_an_epoch_serves_every_sample_once_and_each_epoch_in_another_order(batches: kseq.Batches, numbered: Path) -> None:
    orders = [[number for images, _ in batches.epoch(epoch) for number in numbers_of(images).tolist()] for epoch in range(3)]
    train = sorted(kseq.ShardDataset(numbered).split_ids("train").tolist())
    assert [sorted(order) for order in orders] == [train] * 3
    assert len({tuple(order) for order in orders}) == 3


def test_no_call_changes_what_another_returns(batches: kseq.Batches) -> None:
    asked = [divmod(step, 5) for step in np.random.default_rng(0).permutation(40).tolist()]
    first = {key: batches.batch(*key)[0].copy() for key in asked}
    with ThreadPoolExecutor(8) as pool:
        again = dict(zip(asked, pool.map(lambda key: batches.batch(*key)[0], reversed(asked)), strict=True))
    assert all(np.array_equal(first[key], images) for key, images in zip(reversed(asked), again.values(), strict=True))


def test_an_epoch_can_be_gone_on_with_anywhere(batches: kseq.Batches) -> None:
    whole = [numbers_of(images).tolist() for images, _ in batches.epoch(4)]
    for start in range(6):
        assert [numbers_of(images).tolist() for images, _ in batches.epoch(4, start=start)] == whole[start:]


def test_several_epochs_at_once(batches: kseq.Batches) -> None:
    for number, (one, other) in enumerate(zip(batches.epoch(0), batches.epoch(2), strict=True)):
        assert numbers_of(one[0]).tolist() == batches.sample_ids(0, number).tolist()
        assert numbers_of(other[0]).tolist() == batches.sample_ids(2, number).tolist()


def test_are_those_of_a_sequence_with_the_same_arguments(batches: kseq.Batches, numbered: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with kseq.ShardSequence(numbered, "train", batch_size=16, seed=1) as sequence:
        for epoch in range(2):
            for number, (images, labels) in enumerate(sequence):
                expected_images, expected_labels = batches.batch(epoch, number)
                assert np.array_equal(images, expected_images)
                assert np.array_equal(labels, expected_labels)
        assert isinstance(sequence.batches, kseq.Batches)


def test_takes_the_arguments_of_a_sequence() -> None:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    assert inspect.signature(kseq.Batches) == inspect.signature(kseq.ShardSequence)


def test_tells_what_they_are(batches: kseq.Batches) -> None:
    assert (len(batches), batches.num_batches, batches.num_samples, batches.batch_size) == (5, 5, 80, 16)
    assert (batches.split, batches.shuffle, batches.input_shape, batches.class_names) == (
        "train",
        True,
        (4, 4, 3),
        ("a", "b", "c"),
    )
    assert (batches.rank, batches.world_size, len(batches.digest)) == (0, 1, 32)


def test_ranks_share_each_global_batch(numbered: Path) -> None:
    with (
        kseq.Batches(numbered, batch_size=8, rank=0, world_size=2) as one,
        kseq.Batches(numbered, batch_size=8, rank=1, world_size=2) as other,
        kseq.Batches(numbered, batch_size=16) as whole,
    ):
        for number in range(5):
            shares = [share.batch(3, number)[0] for share in (one, other)]
            assert np.array_equal(np.concatenate(shares), whole.batch(3, number)[0])


@pytest.mark.parametrize("workers", [0, 3])
def test_weights_are_those_of_the_samples(numbered: Path, workers: int) -> None:
    ids = kseq.ShardDataset(numbered).split_ids("train")
    with kseq.Batches(numbered, sample_weight=ids / 10, batch_size=16, workers=workers) as batches:
        for images, _, weights in batches.epoch(2):
            assert np.allclose(weights, numbers_of(images) / 10)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ((0, 5), OutOfRangeError, ("batch number 5", "[0, 5)")),
        ((0, -1), OutOfRangeError, ("batch number -1", "[0, 5)")),
        ((-1, 0), ArgumentError, ("epoch=-1", 0)),
        ((0.5, 0), ArgumentError, ("epoch=0.5",)),
    ],
)
def test_refuses_what_there_is_not(batches: kseq.Batches, asked: Any, error: type[Exception], words: Parts) -> None:
    with raises(error, *words):
        batches.batch(*asked)
    with raises(error, *words):
        batches.sample_ids(*asked)


def test_refuses_an_epoch_or_a_start_that_makes_no_sense_at_once(batches: kseq.Batches) -> None:
    with raises(ArgumentError, "epoch=-1"):
        batches.epoch(-1)
    with raises(ArgumentError, "start=6", 5):
        batches.epoch(0, start=6)


def test_after_close_batches_stay_and_no_more_come(numbered: Path) -> None:
    with kseq.Batches(numbered, batch_size=16) as batches:
        images, _ = batches.batch(0, 0)
        copy = images.copy()
    assert np.array_equal(images, copy)
    with raises(ClosedError, numbered):
        batches.batch(0, 0)


class Noted(kseq.Batches):
    """A subclass with arguments of its own."""

    def __init__(self, path: Path, note: str) -> None:
        super().__init__(path, batch_size=16)
        self.note = note


def test_pickle_to_their_arguments_and_what_a_subclass_has_set(numbered: Path) -> None:
    with Noted(numbered, "a note") as batches, pickle.loads(pickle.dumps(batches)) as copy:
        assert (type(copy), copy.note, len(copy)) == (Noted, "a note", 5)
        assert np.array_equal(copy.batch(3, 1)[0], batches.batch(3, 1)[0])
        with pickle.loads(pickle.dumps(copy)) as again:
            assert again.note == "a note"


def test_a_pickle_of_a_dataset_that_was_packed_again_is_refused(packed: Path) -> None:
    with kseq.Batches(packed, batch_size=16) as batches:
        pickled = pickle.dumps(batches)
    kseq.drop(packed, ids=[0])
    with raises(DamagedError, packed):
        pickle.loads(pickled)


def _read(batches: kseq.Batches, key: tuple[int, int]) -> list[int]:
    return numbers_of(batches.batch(*key)[0]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("processes", [False, True])
def test_are_the_same_in_every_process(batches: kseq.Batches, numbered: Path, method: str, processes: bool) -> None:
    keys = [(epoch, number) for epoch in range(3) for number in range(5)]
    expected = [batches.sample_ids(*key).tolist() for key in keys]
    with kseq.Batches(numbered, batch_size=16, seed=1, workers=2, use_multiprocessing=processes) as shared:
        shared.batch(0, 0)
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.starmap(_read, [(shared, key) for key in keys], chunksize=1) == expected


LOADED = """
import json, pickle, sys, kseq
batches = pickle.loads(pickle.dumps(kseq.Batches(sys.argv[1], batch_size=16)))
sum(len(images) for images, _ in batches.epoch(0))
print(json.dumps([name for name in ("keras", "tensorflow", "jax", "torch", "h5py") if name in sys.modules]))
"""


def test_load_neither_keras_nor_a_backend(numbered: Path, run_python: RunPython) -> None:
    loaded = json.loads(run_python(LOADED, numbered).stdout)
    assert [name for name in loaded if name != "h5py"] == []
