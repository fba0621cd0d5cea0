"""Batches in tf.data, PyTorch's DataLoader, JAX and as whole arrays: the same batches, epoch by epoch."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import pickle
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseq
from kseq.errors import ArgumentError, OutOfRangeError
from tests.helpers.messages import raises
from tests.helpers.photos import numbers_of, photo


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 images with a mask, boxes, numbers and text."""
    root = tmp_path_factory.mktemp("objects")
    lines = []
    for number in range(13):
        Image.fromarray(photo(number, 20, 30)).save(root / f"{number}.jpg")
        Image.fromarray(np.full((20, 30), number, np.uint8)).save(root / f"{number}.png")
        row = {
            "image": f"{number}.jpg",
            "label": f"c{number % 3}",
            "outline": f"{number}.png",
            "boxes": [[1.5, 2, 20.1, 15]] * (number % 4),
            "kinds": ["bee"] * (number % 4),
            "height": number,
            "words": "a" * number,
        }
        lines.append(json.dumps(row))
    (root / "all.jsonl").write_text("\n".join(lines))
    columns = kseq.Columns(mask="outline", boxes="boxes", box_labels="kinds", text="words", targets="height")
    kseq.pack(root / "all.jsonl", root / "packed", columns=columns, workers=0)
    return root / "packed"


def same(one: Any, other: Any) -> None:
    """Two batches have the same form and the same numbers."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    elif isinstance(other, tuple):
        # A DataLoader makes lists of tuples.
        assert len(one) == len(other)
        for part, other_part in zip(one, other, strict=True):
            same(part, other_part)
    else:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


# tf.data


def test_each_iteration_of_a_tf_dataset_is_the_next_epoch(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "train", batch_size=16, workers=0) as sequence:
        dataset = sequence.to_tf_dataset()
        for epoch in range(2):
            for number, batch in enumerate(dataset):
                same(batch, sequence.batches.batch(epoch, number))
            assert number == 4
        # Epochs 2 and 3; then a loop over the sequence itself goes on.
        repeated = [batch[0].numpy() for batch in dataset.repeat(2)]
        same(repeated[-1], sequence.batches.batch(3, 4)[0])
        assert sequence.epoch == 4
        same(next(iter(sequence)), sequence.batches.batch(4, 0))


def test_a_pass_that_begins_within_an_epoch_is_shorter(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "train", batch_size=16, workers=0) as sequence:
        assert len(sequence.to_tf_dataset()) == 5
        sequence.load_state_dict(sequence.batches.state_dict(2, 3))
        dataset = sequence.to_tf_dataset()
        assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
        for expected in ([(2, 3), (2, 4)], [(3, number) for number in range(5)]):
            for key, batch in zip(expected, dataset, strict=True):
                same(batch, sequence.batches.batch(*key))


def test_an_iteration_that_breaks_off_is_begun_again(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "train", batch_size=16, workers=0) as sequence:
        dataset = sequence.to_tf_dataset()
        assert sum(1 for _ in dataset.take(3)) == 3
        gc.collect()
        assert sequence.epoch == 0
        same(next(iter(dataset)), sequence.batches.batch(0, 0))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (None, None)),
        ({"remainder": "drop"}, (4, None)),
        ({"pad_to": {"boxes": 5, "labels": 5}}, (None, 5)),
        ({"layout": "keras", "remainder": "pad"}, (4, None)),
        ({"layout": "keras", "pad_to": 6}, (None, 6)),
        ({"targets": {"a": "boxes", "b": "boxes_mask", "c": "labels", "d": "height", "e": "text"}}, (None, None)),
        ({"targets": "outline", "remainder": "pad"}, (4, 1)),
        ({"on_error": "skip"}, (None, None)),
    ],
)
def test_the_element_spec_is_that_of_every_batch(
    objects: Path, arguments: dict[str, Any], expected: tuple[int | None, int | None]
) -> None:
    targets = {"boxes": "boxes", "labels": "labels", "outline": "outline"}
    chosen = {"targets": targets} if "layout" not in arguments else {}
    with kseq.ShardSequence(objects, "train", batch_size=4, workers=0, **{**chosen, **arguments}) as sequence:
        dataset = sequence.to_tf_dataset()
        specs = tf.nest.flatten(dataset.element_spec)
        found = list(dataset)
        assert len(found) == len(sequence)
        for number, batch in enumerate(found):
            same(batch, sequence.batches.batch(0, number))
            for spec, tensor in zip(specs, tf.nest.flatten(batch), strict=True):
                assert spec.is_compatible_with(tensor)
    spec = dataset.element_spec
    boxes = spec["bounding_boxes"]["boxes"] if isinstance(spec, dict) else spec[1]
    boxes = boxes.get("boxes", boxes.get("a")) if isinstance(boxes, dict) else boxes
    assert (boxes.shape[0], boxes.shape[-1] if expected[1] == 1 else boxes.shape[1]) == expected
    images = spec["images"] if isinstance(spec, dict) else spec[0]
    assert images == tf.TensorSpec([expected[0], 20, 30, 3], tf.uint8)


@pytest.mark.parametrize(
    "arguments",
    [
        {"label_mode": None},
        {"inputs": {"x": "image"}, "label_mode": "categorical"},
        {"global_batch_size": 16, "batch_size": None},
        {"sample_weight": np.arange(80.0)},
        {"data_format": "channels_first", "dtype": "float32", "scale": 1 / 255},
        {"augment": [kseq.MixUp()], "label_mode": "categorical"},
    ],
)
def test_a_batch_of_any_form_is_the_same_everywhere(numbered: Path, arguments: dict[str, Any]) -> None:
    with kseq.ShardSequence(numbered, "train", **{"batch_size": 16, "workers": 0, **arguments}) as sequence:
        expected = [sequence.batches.batch(0, number) for number in range(5)]
        for batch, other in zip(sequence.to_tf_dataset(), expected, strict=True):
            same(batch, other)
        if importlib.util.find_spec("jax") is not None:
            same(next(kseq.prefetch_to_device(sequence.batches.epoch(0))), expected[0])
        if importlib.util.find_spec("torch") is not None:
            same(kseq.TorchBatches(sequence.batches)[0, 4], expected[4])
        whole = sequence.batches.arrays()
        same(tf.nest.map_structure(lambda rows: rows[:16], whole), expected[0])
        same(tf.nest.map_structure(lambda rows: rows[64:], whole), expected[4])


def test_ranks_have_their_shares_in_a_tf_dataset(numbered: Path) -> None:
    served: list[int] = []
    for rank in range(2):
        with kseq.ShardSequence(
            numbered, "train", batch_size=8, rank=rank, world_size=2, remainder="pad", workers=0
        ) as sequence:
            for images, _, weights in sequence.to_tf_dataset():
                served += numbers_of(images.numpy()[weights.numpy() > 0]).tolist()
    assert len(served) == len(set(served)) == kseq.ShardDataset(numbered).splits["train"]


def test_nothing_of_a_tf_dataset_stays(numbered: Path) -> None:
    """TensorFlow keeps the function of a generator for as long as the program runs."""
    sequence = kseq.ShardSequence(numbered, "train", batch_size=16, workers=0)
    dataset = sequence.to_tf_dataset().map(lambda images, labels: (images, labels))
    iterator = iter(dataset)
    next(iterator)
    known = weakref.ref(sequence)
    del sequence, dataset
    gc.collect()
    # Whoever goes through it holds it.
    assert known() is not None
    assert sum(1 for _ in iterator) == 4
    del iterator
    gc.collect()
    assert known() is None


def test_an_error_in_reading_keeps_its_text_in_tensorflow(numbered: Path) -> None:
    def fail(images: np.ndarray) -> np.ndarray:
        if fail.__dict__.get("now"):
            raise ValueError("that was it")
        return images

    with kseq.ShardSequence(numbered, "train", batch_size=16, workers=0, augment=fail) as sequence:
        dataset = sequence.to_tf_dataset()
        fail.__dict__["now"] = True
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)that was it.*in batch 0 of epoch 0"):
            list(dataset)


def test_nothing_of_a_tf_dataset_stays_after_an_error(numbered: Path) -> None:
    is_failing: list[bool] = []

    def fail(images: np.ndarray) -> np.ndarray:
        if is_failing:
            raise ValueError("that was it")
        return images

    def drop_after_an_error() -> weakref.ref[Any]:
        sequence = kseq.ShardSequence(numbered, "train", batch_size=16, workers=0, augment=fail)
        dataset = sequence.to_tf_dataset()
        is_failing.append(True)
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            list(dataset)
        return weakref.ref(sequence)

    gc.disable()
    try:
        assert drop_after_an_error()() is None
    finally:
        gc.enable()


def test_lists_are_no_tensors(objects: Path) -> None:
    with (
        kseq.ShardSequence(objects, targets="boxes", ragged=True, workers=0) as sequence,
        raises(ArgumentError, "ragged", "boxes", "pad_to"),
    ):
        sequence.to_tf_dataset()


# PyTorch


def loader_of(dataset: kseq.TorchBatches, **arguments: Any) -> Any:
    torch = pytest.importorskip("torch", reason="the batches go to PyTorch")
    return torch.utils.data.DataLoader(dataset, batch_size=None, sampler=dataset.sampler, **arguments)


@pytest.mark.parametrize(
    ("workers", "start"),
    [(0, None), pytest.param(2, "fork", marks=pytest.mark.slow), pytest.param(2, "spawn", marks=pytest.mark.slow)],
)
def test_a_dataloader_goes_through_the_epochs_in_kseqs_order(numbered: Path, workers: int, start: str | None) -> None:
    torch = pytest.importorskip("torch", reason="the batches go to PyTorch")
    batches = kseq.Batches(numbered, "train", batch_size=16, shuffle=True)
    dataset = kseq.TorchBatches(batches)
    # A batch in the parent first, so that a fork has threads to lose.
    same(dataset[0], batches.batch(0, 0))
    loader = loader_of(dataset, num_workers=workers, multiprocessing_context=start, persistent_workers=workers > 0)
    with warnings.catch_warnings():
        # PyTorch forks a process that has threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        for epoch in range(3):
            found = list(loader)
            assert len(found) == len(loader) == len(batches)
            for number, batch in enumerate(found):
                same(batch, batches.batch(epoch, number))
        dataset.set_epoch(7)
        same(next(iter(loader)), batches.batch(7, 0))
    assert found[0][1].dtype == torch.int64
    batches.close()


def test_a_torch_dataset_is_indexed_by_number_in_the_epoch_that_was_set(numbered: Path) -> None:
    pytest.importorskip("torch", reason="the batches go to PyTorch")
    with kseq.ShardSequence(numbered, "train", batch_size=16, workers=0) as sequence:
        dataset = kseq.TorchBatches(sequence)
        dataset.set_epoch(2)
        copy = pickle.loads(pickle.dumps(dataset))
        for view in (dataset, copy):
            same(view[1], sequence.batches.batch(2, 1))
            same(view[5, 1], sequence.batches.batch(5, 1))
            assert repr(view) == repr(sequence).replace("ShardSequence", "TorchBatches")
            with raises(OutOfRangeError, "5", numbered):
                view[5]
        assert sequence.epoch == 0
        with raises(ArgumentError, "epoch=-1"):
            dataset.set_epoch(-1)
    with raises(ArgumentError, "batches=3"):
        kseq.TorchBatches(3)


def test_a_dataloader_goes_on_where_another_run_stopped(numbered: Path) -> None:
    pytest.importorskip("torch", reason="the batches go to PyTorch")
    with kseq.Batches(numbered, "train", batch_size=16, workers=0) as batches:
        batches.load_state_dict(batches.state_dict(3, 2))
        loader = loader_of(kseq.TorchBatches(batches))
        for expected in ([(3, 2), (3, 3), (3, 4)], [(4, number) for number in range(5)]):
            for key, batch in zip(expected, loader, strict=True):
                same(batch, batches.batch(*key))


# JAX


@pytest.mark.parametrize("size", [0, 1, 2, 9])
def test_batches_reach_the_devices_of_jax_in_their_order(numbered: Path, size: int) -> None:
    jax = pytest.importorskip("jax", reason="the batches go to devices of JAX")
    with kseq.Batches(numbered, "train", batch_size=16, workers=0) as batches:
        taken: list[int] = []

        def counted() -> Any:
            for number, batch in enumerate(batches.epoch(3)):
                taken.append(number)
                yield batch

        for number, batch in enumerate(kseq.prefetch_to_device(counted(), size=size)):
            assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(batch))
            same(batch, batches.batch(3, number))
            assert len(taken) == min(number + size + 1, 5)
        assert number == 4
        with raises(ArgumentError, "size=-1"):
            kseq.prefetch_to_device(iter(()), size=-1)


def test_a_sharding_says_where_the_arrays_of_a_batch_lie(numbered: Path) -> None:
    jax = pytest.importorskip("jax", reason="the batches go to devices of JAX")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    with kseq.Batches(numbered, "train", batch_size=16, workers=0) as batches:
        images, labels = next(kseq.prefetch_to_device(batches.epoch(0), sharding))
    assert images.sharding == labels.sharding == sharding


# Whole arrays


@pytest.mark.parametrize("arguments", [{}, {"remainder": "pad"}, {"remainder": "drop"}, {"batch_size": 1000}])
def test_a_whole_split_is_in_the_arrays_once(numbered: Path, arguments: dict[str, Any]) -> None:
    with kseq.Batches(numbered, "train", **{"batch_size": 24, "workers": 0, **arguments}) as batches:
        images, labels = batches.arrays(2)[:2]
        ids = np.concatenate([batches.sample_ids(2, number)[batches.is_counted(2, number)] for number in range(len(batches))])
    expected = kseq.ShardDataset(numbered).read(ids)
    np.testing.assert_array_equal(images, expected["image"])
    np.testing.assert_array_equal(labels, expected["label"])
    assert len(images) == (72 if arguments.get("remainder") == "drop" else 80)


def test_batches_that_are_padded_to_several_lengths_do_not_become_one_array(objects: Path) -> None:
    settings: dict[str, Any] = {"targets": "boxes", "batch_size": 2, "shuffle": False, "workers": 0}
    with kseq.Batches(objects, "train", **settings) as batches, raises(ArgumentError, "pad_to"):
        batches.arrays()
    with kseq.Batches(objects, "train", ragged=True, **settings) as batches, raises(ArgumentError, "ragged", "pad_to"):
        batches.arrays()
    with kseq.Batches(objects, "train", pad_to=4, **settings) as batches:
        assert batches.arrays()[1].shape == (13, 4, 4)


def test_texts_of_several_lengths_are_whole_and_a_loop_keeps_its_place(objects: Path) -> None:
    settings: dict[str, Any] = {"targets": "text", "batch_size": 2, "shuffle": False, "workers": 0, "ragged": ["text"]}
    with kseq.Batches(objects, "train", **settings) as batches:
        next(batches.epoch(1))
        state = batches.state_dict()
        texts = batches.arrays()[1]
        assert batches.state_dict() == state
    assert texts.dtype.kind == "U"
    assert texts.tolist() == ["a" * number for number in range(13)]


def test_what_is_no_array_of_jax_is_named(objects: Path) -> None:
    pytest.importorskip("jax", reason="the batches go to devices of JAX")
    with kseq.Batches(objects, "train", targets="text", ragged=["text"], workers=0) as batches:
        placed = kseq.prefetch_to_device(batches.epoch(0))
        with raises(ArgumentError, "prefetch_to_device", "ragged"):
            next(placed)


@pytest.mark.parametrize("package", ["jax", "torch"])
def test_a_package_that_is_missing_is_named(numbered: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "kseq.training.torch_batches", raising=False)
    # kseq keeps what was asked for.
    monkeypatch.delitem(vars(kseq), "TorchBatches", raising=False)
    with kseq.Batches(numbered, "train", workers=0) as batches, raises(ArgumentError, f"kseq[{package}]"):
        kseq.prefetch_to_device(iter(())) if package == "jax" else kseq.TorchBatches(batches)
    sys.modules.pop("kseq.training.torch_batches", None)
