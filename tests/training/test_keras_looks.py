"""What a `fit` costs besides its batches: Keras's looks at shapes, and TensorFlow's tuning."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import kseq
from kseq.training.loader import Loader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only tensorflow's trainer looks at whole batches"),
]


@pytest.fixture
def model() -> Any:
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Epoch and number of each batch that was really read."""
    loads: list[tuple[int, int]] = []
    load = Loader.load

    def note(self: Loader, epoch: int, number: int) -> Any:
        loads.append((epoch, number))
        return load(self, epoch, number)

    monkeypatch.setattr(Loader, "load", note)
    return loads


@pytest.fixture(params=[16, 80], ids=["5 batches", "1 batch"])
def sequence(request: pytest.FixtureRequest, numbered: Path) -> Iterator[kseq.ShardSequence]:
    with kseq.ShardSequence(numbered, batch_size=request.param) as made:
        yield made


def test_a_batch_that_keras_looked_at_is_not_filled_again(
    sequence: kseq.ShardSequence, model: Any, loaded: list[tuple[int, int]]
) -> None:
    model.fit(sequence, epochs=2, verbose=0)
    model.evaluate(sequence, verbose=0)
    assert loaded == [(epoch, number) for epoch in range(3) for number in range(len(sequence))]


def test_what_a_subclass_may_have_changed_is_filled_again(numbered: Path, model: Any) -> None:
    seen = []

    class Darkened(kseq.ShardSequence):
        def __getitem__(self, index: int) -> Any:
            images, labels = super().__getitem__(index)
            images //= 2
            seen.append(int(images.max()))
            return images, labels

    with Darkened(numbered, batch_size=80) as sequence, kseq.Batches(numbered, batch_size=80) as batches:
        model.fit(sequence, epochs=1, verbose=0)
        assert seen == [int(batches.batch(0, 0)[0].max()) // 2] * 2


def test_a_look_whose_epoch_does_not_come_is_forgotten(
    sequence: kseq.ShardSequence, model: Any, loaded: list[tuple[int, int]]
) -> None:
    class SetsEpoch(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            sequence.epoch = 5

    model.fit(sequence, epochs=1, verbose=0, callbacks=[SetsEpoch()])
    looks = [(0, number) for number in range(min(2, len(sequence)))]
    assert loaded == [*looks, *((5, number) for number in range(len(sequence)))]
    assert sequence.epoch == 6


def test_tensorflow_tunes_nothing_where_kseq_reads_ahead(
    sequence: kseq.ShardSequence, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    options = []
    iterate = tf.data.Dataset.__iter__

    def note(self: Any) -> Any:
        options.append(self.options().autotune.enabled)
        return iterate(self)

    monkeypatch.setattr(type(tf.data.Dataset.range(1).with_options(tf.data.Options())), "__iter__", note)
    model.fit(sequence, validation_data=sequence, epochs=1, verbose=0)
    model.predict(sequence, verbose=0)
    assert len(options) >= 3
    assert not any(options)


def test_an_adapter_that_nobody_holds_or_that_was_copied_makes_its_own_dataset(numbered: Path) -> None:
    module = __import__(keras.utils.PyDataset.__module__, fromlist=["PyDatasetAdapter"])
    with kseq.ShardSequence(numbered, batch_size=80) as sequence, kseq.ShardSequence(numbered, "val", batch_size=5) as other:
        adapter = module.PyDatasetAdapter(sequence)
        copied = copy.copy(adapter)
        copied.py_dataset = other
        datasets = [module.PyDatasetAdapter(sequence).get_tf_dataset(), copied.get_tf_dataset()]
        assert isinstance(adapter, module.PyDatasetAdapter)
        assert [len(next(iter(made))[1]) for made in datasets] == [80, 5]
        assert not any(made.options().autotune.enabled for made in datasets)


def test_another_dataset_of_keras_stays_as_it_is(numbered: Path, model: Any) -> None:
    class Own(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            return np.zeros((2, 4, 4, 3)), np.zeros(2)

    module = __import__(keras.utils.PyDataset.__module__, fromlist=["PyDatasetAdapter"])
    with kseq.ShardSequence(numbered, batch_size=80) as sequence:
        model.fit(sequence, epochs=1, verbose=0)
    assert module.PyDatasetAdapter(Own()).get_tf_dataset().options().autotune.enabled is not False
