"""The passes of Keras's generators, and its sharing out of batches among processes, as its version 3.16 does it."""

from __future__ import annotations

import os
import random
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kseq
from tests.helpers.photos import numbers_of


def sharing_pass(self: Any) -> Iterator[Any]:
    """What Keras's generator does from 3.16 on: rank r of w takes numbers r, r + w, ... of an order that all ranks share."""
    numbers = list(range(self.py_dataset.num_batches))
    if self.shuffle:
        random.Random(self.epoch).shuffle(numbers)
    for place in range(self._data_shard_id, len(numbers), self._num_data_shards):
        yield self.py_dataset[numbers[place]]


def listed_pass(self: Any, numbers: list[int]) -> Iterator[Any]:
    """What Keras's generator does, in an order that the test says."""
    for number in numbers:
        yield self.py_dataset[number]


def sharing_end(self: Any) -> None:
    self.epoch += 1
    self.py_dataset.on_epoch_end()


def making(self: Any) -> None:
    """What Keras's adapter does when it is made."""
    self.py_dataset.workers  # noqa: B018  # Keras reads it, too


def fit(self: Any, adapter: Any) -> None:
    adapter.__init__()


@pytest.fixture
def adapter() -> Callable[..., Any]:
    """Makes an adapter of Keras for one rank of several, whose functions are of Keras's module."""
    module = __import__(keras.utils.PyDataset.__module__, fromlist=["PyDataset"])
    functions = {
        function.__name__: types.FunctionType(function.__code__, {**vars(module), "random": random})
        for function in (sharing_pass, listed_pass, sharing_end)
    }
    made_by = types.FunctionType(making.__code__.replace(co_name="__init__"), {**vars(module)})

    def make(sequence: kseq.ShardSequence, rank: int, count: int, shuffle: bool) -> Any:
        cls = type("Adapter", (), {**functions, "__init__": made_by})
        made = cls.__new__(cls)
        made.__dict__.update(py_dataset=sequence, shuffle=shuffle, epoch=0, _data_shard_id=rank, _num_data_shards=count)
        return made

    return make


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [16, 40, 80])
def test_ranks_share_each_pass_once_though_keras_would_share_it_out_again(
    numbered: Path, adapter: Callable[..., Any], shuffle: bool, size: int
) -> None:
    sequences = [kseq.ShardSequence(numbered, batch_size=size // 2, rank=rank, world_size=2, seed=2) for rank in range(2)]
    model = types.SimpleNamespace(predict_function=None)
    ranks = [adapter(sequence, rank, 2, shuffle) for rank, sequence in enumerate(sequences)]
    for rank in ranks:
        fit(model, rank)
    with kseq.Batches(numbered, batch_size=size, seed=2) as whole:
        for epoch in range(3):
            shares = [[numbers_of(images).tolist() for images, _ in rank.sharing_pass()] for rank in ranks]
            for rank in ranks:
                rank.sharing_end()
            expected = [whole.sample_ids(epoch, number).tolist() for number in range(len(whole))]
            assert [one + other for one, other in zip(*shares, strict=True)] == expected
    assert {sequence.epoch for sequence in sequences} == {3}
    for sequence in sequences:
        sequence.close()


def test_a_generator_in_the_place_of_one_that_was_thrown_away_begins_a_pass_of_its_own(
    numbered: Path, adapter: Callable[..., Any]
) -> None:
    """Of what Keras reads through another Sequence to build a model, kseq is not told that it was no pass."""
    with kseq.ShardSequence(numbered, batch_size=16) as sequence:

        class Around(keras.utils.PyDataset):
            def __len__(self) -> int:
                return 5

            def __getitem__(self, index: int) -> Any:
                epoch = sequence.epoch
                sequence[index]
                return epoch

        reader = adapter(Around(), 0, 1, False)
        for epoch in range(3):
            looking = reader.listed_pass([3, 0, 1, 2, 4])
            place = id(looking.gi_frame)
            assert [next(looking), next(looking)] == [epoch, epoch]
            del looking
            # Most often the next one gets the place, in some versions of Python another one.
            serving, others = reader.listed_pass([1, 2, 4, 0, 3]), []
            while id(serving.gi_frame) != place and len(others) < 20:
                others.append(serving)
                serving = reader.listed_pass([1, 2, 4, 0, 3])
            # As long as the pass is not complete, the epoch is its own.
            assert list(serving) == [epoch] * 5
            assert sequence.epoch == epoch + 1
