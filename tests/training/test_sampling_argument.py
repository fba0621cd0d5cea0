"""Sequences of selections, balanced and weighted ones, and several datasets in proportion: what their batches hold."""

from __future__ import annotations

import json
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image

import kseq
from kseq.errors import ArgumentError, ClosedError
from kseq.reading.dataset import selected_ids
from kseq.training.sampling_argument import repeats
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import numbered_pixels, numbers_of  # keras asks for its backend when it is imported


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 samples without a label, whose field `worth` is their number; `height` a tenth of it."""
    folder = tmp_path_factory.mktemp("weighted")
    for number in range(20):
        Image.fromarray(numbered_pixels(number)).save(folder / f"{number}.png")
    rows = [{"image": f"{number}.png", "worth": number, "height": number / 10, "at": [1, 2]} for number in range(20)]
    (folder / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    kseq.pack(
        folder / "table.jsonl", folder / "packed", images=kseq.ImageSettings("raw", (4, 4)), workers=0,
        columns=kseq.Columns(targets={"height": "height", "at": "at"}, sample_weight="worth"),
    )  # fmt: skip
    return folder / "packed"


def ids_of(sequence: kseq.ShardSequence, epoch: int = 0) -> list[int]:
    return [number for batch in range(len(sequence)) for number in sequence.sample_ids(batch, epoch).tolist()]


def contents(sequence: kseq.ShardSequence) -> list[bytes]:
    """The samples of a pass, as they come out."""
    return [
        image.tobytes() + bytes([label]) for images, labels in sequence for image, label in zip(images, labels, strict=True)
    ]


# Selections.


def test_a_sequence_of_a_selection_serves_its_samples(numbered: Path) -> None:
    selected = kseq.ShardDataset(numbered).where(label="b")
    with kseq.ShardSequence(selected, batch_size=8) as sequence:
        assert (sequence.num_samples, len(sequence), sequence.split, sequence.class_names) == (30, 4, "all", ("a", "b", "c"))
        assert sequence.digest == selected.digest
        found = [(numbers_of(images).tolist(), labels.tolist()) for images, labels in sequence]
        assert [number for numbers, _ in found for number in numbers] == ids_of(sequence) == list(range(50, 80))
        assert {label for _, labels in found for label in labels} == {1}


@given(ids=st.lists(st.integers(0, 30), max_size=40), is_sorted=st.booleans(), is_distinct=st.booleans())
def test_repeats_count_how_often_a_sample_came_before(ids: list[int], is_sorted: bool, is_distinct: bool) -> None:
    ids = list(dict.fromkeys(ids)) if is_distinct else ids
    ids = sorted(ids) if is_sorted else ids
    plain = [ids[:position].count(sample_id) for position, sample_id in enumerate(ids)]
    found = repeats(np.array(ids, np.int64))
    assert (found is None) == (len(set(ids)) == len(ids))
    assert found is None or found.tolist() == plain


def test_selections_of_train_are_shuffled_like_train_and_others_are_not(numbered: Path) -> None:
    for split, is_shuffled in (("train", True), ("val", False), (None, False)):
        with kseq.ShardSequence(kseq.ShardDataset(numbered, split).where(label=["a", "b"])) as sequence:
            assert (ids_of(sequence, 0) != ids_of(sequence, 1)) == is_shuffled
    with kseq.ShardSequence(kseq.ShardDataset(numbered, "train")) as given, kseq.ShardSequence(numbered) as by_path:
        assert ids_of(given, 3) == ids_of(by_path, 3)


def test_either_may_be_closed(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    sequence = kseq.ShardSequence(dataset)
    other = kseq.ShardSequence({dataset: 1})
    dataset.close()
    for batch in (sequence, other):
        assert numbers_of(batch[0][0]).tolist() == batch.sample_ids(0).tolist()
    dataset = kseq.ShardDataset(numbered)
    kseq.ShardSequence(dataset).close()
    assert len(dataset.read([5])["image"]) == 1
    dataset.close()
    with pytest.raises(ClosedError):
        kseq.ShardSequence(dataset)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True])
def test_a_sequence_of_joined_selections_crosses_to_processes(numbered: Path, second: Path, processes: bool) -> None:
    joined = kseq.ShardDataset(numbered).where(label="c").concat(kseq.ShardDataset(second).take([3, 3, 5]))
    options: dict[str, Any] = {"batch_size": 16, "workers": 2, "use_multiprocessing": processes, "shuffle": True}
    with kseq.ShardSequence(joined, balance="class", **options) as sequence:
        sequence.epoch = 2
        with pickle.loads(pickle.dumps(sequence)) as copy:
            assert (copy.epoch, copy.digest, len(copy)) == (2, joined.digest, 2)
            assert contents(copy) == contents(sequence)
    with kseq.ShardSequence(joined, **options) as sequence:
        found = numbers_of(np.concatenate([images for images, _ in sequence]))
        assert sorted(found.tolist()) == sorted([*range(80, 100), 3, 3, 5])


@pytest.mark.parametrize("given", [[1, 2, 3, 4], np.array([1, 2, 3, 4], ">f8"), np.array([1, 2, 3, 4], ">i2")], ids=str)
def test_sample_weights_are_those_of_the_selection(numbered: Path, given: Any) -> None:
    selected = kseq.ShardDataset(numbered).take(np.array([7, 7, 3, 90], ">i8"))
    with kseq.ShardSequence(selected, sample_weight=given, balance="class", epoch_size=40, batch_size=40) as sequence:
        images, _, weights = sequence[0]
    found = set(zip(numbers_of(images).tolist(), weights.tolist(), strict=True))
    assert found == {(7, 1), (7, 2), (3, 3), (90, 4)}


def test_a_shuffle_by_blocks_takes_a_joined_dataset(numbered: Path, second: Path) -> None:
    joined = kseq.ShardDataset(numbered).concat(kseq.ShardDataset(second))
    with kseq.ShardSequence(joined, shuffle=kseq.BlockShuffle(4, 20), workers=1) as sequence:
        found = numbers_of(np.concatenate([images for images, _ in sequence]))
    assert sorted(found.tolist()) == sorted([*range(100), *range(24)])


# How often samples come, in real batches.


@pytest.mark.parametrize("epoch_size", [None, 50, 7, 500])
def test_balance_gives_every_class_alike_in_every_pass(numbered: Path, epoch_size: int | None) -> None:
    dataset, total = kseq.ShardDataset(numbered, "train"), Counter[int]()
    of_class = {number: selected_ids(dataset.where(label=number)).tolist() for number in range(3)}
    with kseq.ShardSequence(numbered, balance="class", epoch_size=epoch_size, batch_size=16, seed=4) as sequence:
        assert sequence.num_samples == (epoch_size or 80)
        for _ in range(4):
            batches = list(sequence)
            labels = Counter(np.concatenate([labels for _, labels in batches]).tolist())
            assert sum(labels.values()) == sequence.num_samples
            assert max(labels[number] for number in range(3)) - min(labels[number] for number in range(3)) <= 1
            counts = Counter(numbers_of(np.concatenate([images for images, _ in batches])).tolist())
            total += counts
            for ids in of_class.values():
                for entry in (counts, total):
                    assert max(entry[number] for number in ids) - min(entry[number] for number in ids) <= 1


def test_classes_without_samples_are_left_out(numbered: Path) -> None:
    selected = kseq.ShardDataset(numbered).where(label=["a", "c"])
    with kseq.ShardSequence(selected, balance="class", epoch_size=90, batch_size=90) as sequence:
        assert np.bincount(sequence[0][1]).tolist() == [45, 0, 45]
    with raises(ArgumentError, 0):
        kseq.ShardSequence(selected.where(label="b"), balance="class")


@pytest.mark.parametrize(
    "weights",
    [
        "worth",
        "sample_weight",
        "height",
        np.arange(20),
        list(range(20)),
        np.arange(20.0).astype(">f4"),
        np.arange(20, dtype=">i8"),
    ],
    ids=str,
)
def test_weights_draw_each_sample_its_share_rounded(weighted: Path, weights: Any) -> None:
    if isinstance(weights, str) and weights == "worth":
        # The column is called so, the field `sample_weight`.
        with raises(ArgumentError, "sampling_weights='worth'"):
            kseq.ShardSequence(weighted, "all", sampling_weights=weights)
        return
    with kseq.ShardSequence(
        weighted, "all", sampling_weights=weights, epoch_size=100, batch_size=100, targets={"y": "height"}
    ) as sequence:
        exact = 100 * np.arange(20) / np.arange(20).sum()
        for epoch in range(3):
            counts = np.bincount(ids_of(sequence, epoch), minlength=20)
            assert (np.abs(counts - exact) < 1).all()
        assert numbers_of(sequence[0][0]).tolist() == sequence.sample_ids(0).tolist()


def test_several_datasets_come_in_proportion_in_every_batch(numbered: Path, second: Path) -> None:
    first, other = kseq.ShardDataset(numbered, "train"), kseq.ShardDataset(second)
    with kseq.ShardSequence({first: 0.7, other: 0.3}, batch_size=16, seed=2) as sequence:
        assert sequence.num_samples == 104
        row: list[int] = []
        for epoch in range(5):
            batches = [sequence.sample_ids(number, epoch) for number in range(7)]
            for ids in batches:
                assert abs((ids < 100).sum() - 0.7 * len(ids)) < 1 + 0.2 / 104 * len(ids)
            ids = np.concatenate(batches)
            assert (ids < 100).sum() == 73
            row += ids[ids >= 100].tolist()
        for start in range(0, len(row) - 23, 24):
            assert sorted(row[start : start + 24]) == list(range(100, 124))
        images = np.concatenate([images for images, _ in sequence])
        assert numbers_of(images).tolist() == [number if number < 100 else number - 100 for number in ids_of(sequence, 0)]


def test_several_folders_are_mixed_by_their_paths(numbered: Path, second: Path) -> None:
    with kseq.ShardSequence({str(numbered): 1, second: 3}, "all", epoch_size=40, batch_size=8) as sequence:
        for number in range(5):
            assert (sequence.sample_ids(number, 1) < 100).sum() == 2
        with pickle.loads(pickle.dumps(sequence)) as copy:
            assert contents(copy) == contents(sequence)


OPTIONS: dict[str, dict[str, Any]] = {
    "balance": {"balance": "class"},
    "weights": {"sampling_weights": np.arange(124) % 7},
    "proportions": {},
}


def source_for(name: str, numbered: Path, second: Path) -> Any:
    first, other = kseq.ShardDataset(numbered), kseq.ShardDataset(second)
    return {first: 2, other: 1} if name == "proportions" else first.concat(other)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_samples_are_the_same_for_threads_processes_and_ranks(numbered: Path, second: Path, name: str) -> None:
    def read(**arguments: Any) -> list[list[bytes]]:
        source = source_for(name, numbered, second)
        options = {"epoch_size": 120, "seed": 3, **OPTIONS[name], **arguments}
        with kseq.ShardSequence(source, **options) as sequence:
            sequence.epoch = 5
            return [
                [image.tobytes() for image in images] for images, _ in (sequence[number] for number in range(len(sequence)))
            ]

    expected = read(batch_size=24, workers=0)
    assert read(batch_size=24, workers=2) == expected
    assert read(batch_size=24, workers=2, use_multiprocessing=True) == expected
    ranks = [read(batch_size=8, workers=1, rank=rank, world_size=3, remainder="keep") for rank in range(3)]
    assert [[image for share in shares for image in share] for shares in zip(*ranks, strict=True)] == expected


@pytest.mark.parametrize("name", OPTIONS)
def test_any_batch_is_the_same_wherever_a_run_goes_on(numbered: Path, second: Path, name: str) -> None:
    with kseq.ShardSequence(source_for(name, numbered, second), seed=3, **OPTIONS[name]) as sequence:
        passes = [contents(sequence) for _ in range(3)]
        assert passes[0] != passes[1] != passes[2]
    with kseq.ShardSequence(source_for(name, numbered, second), seed=3, **OPTIONS[name]) as sequence:
        sequence.epoch = 2
        assert contents(sequence) == passes[2]
    with kseq.ShardSequence(source_for(name, numbered, second), seed=3, shuffle=False, **OPTIONS[name]) as sequence:
        assert [contents(sequence) for _ in range(2)] == [passes[0]] * 2


# Crops and flips of what comes several times.


def crops_of(dataset: Any, **options: Any) -> list[tuple[int, bytes]]:
    options = {"augment": kseq.RandomResizedCrop(16), "seed": 4, "shuffle": True, **options}
    with kseq.ShardSequence(dataset, **options) as sequence:
        return [
            (int(sample), image.tobytes())
            for number in range(len(sequence))
            for sample, image in zip(sequence.sample_ids(number), sequence[number][0], strict=True)
        ]


def test_a_sample_that_comes_several_times_is_cropped_anew(packed_photos: Path) -> None:
    plain = dict(crops_of(packed_photos, split="train"))
    dataset = kseq.ShardDataset(packed_photos, "train")
    first = int(dataset.sample_ids([0])[0])
    again = crops_of(dataset.take([0, 1, 0, 2, 0]))
    assert len(set(again)) == 5
    # What comes once, and the first of several, is cropped as ever.
    assert {sample: plain[sample] for sample, _ in again}.items() <= {(sample, crop) for sample, crop in again}
    assert Counter(sample for sample, _ in again)[first] == 3
    balanced = crops_of(dataset.take(range(40)), balance="class", epoch_size=200)
    assert len(set(balanced)) == 200
    assert set(balanced) >= {(sample, plain[sample]) for sample, _ in balanced}
    for options in ({"batch_size": 7, "workers": 0}, {"workers": 2, "use_multiprocessing": True}):
        assert sorted(balanced) == sorted(crops_of(dataset.take(range(40)), balance="class", epoch_size=200, **options))
    twice = crops_of(dataset.take([0, 0]), sampling_weights=[1, 2], epoch_size=30)
    # Two boxes that are nearly one may become the same pixels, decoded smaller.
    assert len(set(twice)) >= 29


# What is refused.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balance": "label"}, ("balance='label'", "'class'")),
        ({"balance": ["class"]}, ("balance=['class']", "'class'")),
        ({"balance": "class", "sampling_weights": [1] * 100}, ("sampling_weights",)),
        ({"epoch_size": 5}, ("epoch_size=5", "sampling_weights")),
        ({"balance": "class", "epoch_size": 0}, ("epoch_size=0", 1, 2147483647)),
        ({"balance": "class", "epoch_size": 2.5}, ("epoch_size=2.5", 1, 2147483647)),
        ({"balance": "class", "seed": "x"}, ("seed='x'",)),
        ({"balance": "class", "shuffle": "block"}, ("shuffle='block'", "sampling_weights")),
        ({"sampling_weights": [1] * 99}, ("sampling_weights", "(99,)", "(100,)")),
        ({"sampling_weights": [-1.5, *[1] * 99]}, ("sampling_weights", "-1.5", "sample 0")),
        ({"sampling_weights": [1, float("nan"), *[1] * 98]}, ("sampling_weights", "nan", "sample 1")),
        ({"sampling_weights": [float("inf")] * 100}, ("sampling_weights", "inf", "sample 0")),
        ({"sampling_weights": [0] * 100}, ("sampling_weights", 0)),
        ({"sampling_weights": ["a"] * 100}, ("sampling_weights", "<U1")),
        ({"sampling_weights": "label"}, ("sampling_weights='label'",)),
        ({"sampling_weights": 5}, ("sampling_weights", "()", "(100,)")),
    ],
)
def test_refuses_in_one_line_that_says_what_is_allowed(numbered: Path, options: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        kseq.ShardSequence(numbered, "all", **options)


def test_refuses_another_split_of_a_dataset_than_its_own(numbered: Path) -> None:
    train = kseq.ShardDataset(numbered, "train")
    with raises(ArgumentError, "split='val'", "'train'"):
        kseq.ShardSequence(train, "val")
    with kseq.ShardSequence(train, "train") as sequence:
        assert sequence.split == "train"


def test_refuses_what_is_no_dataset(numbered: Path) -> None:
    train = kseq.ShardDataset(numbered, "train")
    with raises(ArgumentError, "verify='perhaps'", "first", "always", "never"):
        kseq.ShardSequence(train, verify="perhaps")
    for wrong in ({}, [train]):
        with raises(ArgumentError, f"dataset={wrong!r}"):
            kseq.ShardSequence(wrong)


def test_refuses_several_datasets_that_cannot_be_mixed(numbered: Path, second: Path, weighted: Path) -> None:
    train = kseq.ShardDataset(numbered, "train")
    for proportion in (0, -1, float("nan"), float("inf"), "1", True, None):
        with raises(ArgumentError, repr(proportion), 0):
            kseq.ShardSequence({train: proportion})
    with raises(ArgumentError, numbered):
        kseq.ShardSequence({numbered: 1, str(numbered): 2})
    with raises(ArgumentError, "balance"):
        kseq.ShardSequence({train: 1}, balance="class")
    with raises(ArgumentError, 104, "dataset 1", 2):
        kseq.ShardSequence({train: 1, kseq.ShardDataset(second): 1e-9})
    with raises(ArgumentError, weighted, numbered):
        kseq.ShardSequence({train: 1, weighted: 1})


def test_refuses_to_balance_without_class_and_to_weigh_without_numbers(weighted: Path) -> None:
    with raises(ArgumentError, "balance='class'", weighted):
        kseq.ShardSequence(weighted, "all", balance="class")
    with raises(ArgumentError, "sampling_weights='at'", "height", "sample_weight") as caught:
        kseq.ShardSequence(weighted, "all", sampling_weights="at")
    assert "at" not in str(caught.value).split(" has ")[1]


# Training.


@pytest.mark.parametrize("name", ["balance", "proportions"])
def test_a_model_is_fitted_on_the_samples_that_are_drawn(numbered: Path, second: Path, name: str) -> None:
    import keras

    class Recorder(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            seen.append(numbers_of(data[0]).tolist())
            return super().train_step(data)

    seen: list[list[int]] = []
    model = Recorder([keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    with kseq.ShardSequence(source_for(name, numbered, second), batch_size=31, **OPTIONS[name]) as train:
        losses = model.fit(train, epochs=2, shuffle=False, verbose=0).history["loss"]
        assert np.isfinite(losses).all()
        assert train.epoch == 2
        ids = [train.sample_ids(number, epoch) for epoch in range(2) for number in range(4)]
    assert seen == [np.where(batch < 100, batch, batch - 100).tolist() for batch in ids]
