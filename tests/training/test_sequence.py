"""The arguments of ShardSequence and what its batches hold, without a training."""

from __future__ import annotations

import os
import pickle
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import kseq
from kseq.errors import ArgumentError, ClosedError, DatasetNotFoundError, OutOfRangeError
from kseq.images.pixel_form import recolor
from kseq.images.resize import resize_to
from kseq.ordering.epoch_order import Order
from kseq.reading.dataset import sample_reader
from kseq.training.block_shuffle import choose_blocks
from kseq.training.label_mode import label_encoder
from tests.helpers.messages import Parts, raises
from tests.helpers.photos import numbers_of, write_numbered  # keras asks for its backend when it is imported


@pytest.fixture
def train(numbered: Path) -> Iterator[kseq.ShardSequence]:
    with kseq.ShardSequence(numbered, batch_size=16, seed=1, workers=2) as sequence:
        yield sequence


def test_a_batch_is_images_and_labels(train: kseq.ShardSequence) -> None:
    images, labels = train[0]
    assert images.shape == (16, 4, 4, 3)
    assert images.dtype == np.uint8
    assert labels.shape == (16,)
    assert labels.dtype == np.int32


def test_a_batch_holds_the_samples_that_sample_ids_names(train: kseq.ShardSequence) -> None:
    for number in range(len(train)):
        assert numbers_of(train[number][0]).tolist() == train.sample_ids(number).tolist()


def test_tells_what_it_is(train: kseq.ShardSequence) -> None:
    assert (len(train), train.num_samples, train.batch_size, train.input_shape) == (5, 80, 16, (4, 4, 3))
    assert train.class_names == ("a", "b", "c")
    assert (train.split, train.option) == ("train", "train")
    assert len(train.digest) == 32


def test_looks_to_keras_like_a_sequence_that_reads_alone(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, workers=3, use_multiprocessing=True) as sequence:
        assert (sequence.workers, sequence.use_multiprocessing) == (1, False)
        with pytest.raises(AttributeError):
            sequence.workers = 4


def test_each_pass_of_a_loop_is_a_new_epoch(train: kseq.ShardSequence) -> None:
    passes = [[tuple(numbers_of(images)) for images, _ in train] for _ in range(3)]
    assert passes == [[tuple(train.sample_ids(number, epoch)) for number in range(5)] for epoch in range(3)]
    assert train.epoch == 3


def test_the_generator_goes_on_without_end(train: kseq.ShardSequence) -> None:
    found = [tuple(numbers_of(images)) for images, _ in islice(train.generator(), 12)]
    assert found == [tuple(train.sample_ids(step % 5, step // 5)) for step in range(12)]


def test_the_epoch_can_be_set(train: kseq.ShardSequence) -> None:
    train.epoch = 9
    assert numbers_of(train[2][0]).tolist() == train.sample_ids(2, 9).tolist()
    with raises(ArgumentError, "epoch=-1"):
        train.epoch = -1


@pytest.mark.parametrize("split", ["val", "all"])
def test_other_splits_keep_the_order_in_every_epoch(numbered: Path, split: str) -> None:
    with kseq.ShardSequence(numbered, split, batch_size=16) as sequence:
        first, second = ([numbers_of(images).tolist() for images, _ in sequence] for _ in range(2))
    ids = kseq.ShardDataset(numbered).split_ids("val").tolist() if split == "val" else list(range(100))
    assert first == second == [ids[start : start + 16] for start in range(0, len(ids), 16)]


def test_shuffle_and_remainder_can_be_chosen(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "val", batch_size=16, shuffle=True, remainder="drop") as sequence:
        assert len(sequence) == 1
        assert sequence.sample_ids(0, 0).tolist() != sequence.sample_ids(0, 1).tolist()


def test_ranks_share_each_global_batch(numbered: Path) -> None:
    shares = [kseq.ShardSequence(numbered, batch_size=8, rank=rank, world_size=2, seed=5) for rank in range(2)]
    with kseq.ShardSequence(numbered, batch_size=16, seed=5) as whole:
        for number in range(len(whole)):
            together = np.concatenate([numbers_of(share[number][0]) for share in shares])
            assert together.tolist() == whole.sample_ids(number, 0).tolist()


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    write_numbered(root / "photos", {"no": 6, "yes": 6})
    kseq.pack(root / "photos", root / "packed", images=kseq.ImageSettings("raw", (4, 4)), workers=0)
    return root / "packed"


def test_label_modes_have_the_shapes_and_dtypes_of_keras(two_classes: Path, tmp_path: Path) -> None:
    import keras

    write_numbered(tmp_path / "photos", {"no": 6, "yes": 6})
    for mode in ("int", "categorical", "binary"):
        theirs = keras.utils.image_dataset_from_directory(
            tmp_path / "photos", label_mode=mode, image_size=(4, 4), batch_size=12, shuffle=False, verbose=False
        )
        with kseq.ShardSequence(two_classes, "all", label_mode=mode, batch_size=12) as ours:
            labels = ours[0][1]
        expected = next(iter(theirs))[1].numpy()
        assert labels.dtype == expected.dtype
        assert np.array_equal(labels, expected)


def test_one_hot_labels_cost_memory_for_the_batch_and_not_for_all_pairs_of_classes() -> None:
    made: Any = SimpleNamespace(class_names=[str(number) for number in range(21_841)], path="x")
    tracemalloc.start()
    rows = label_encoder(made, "categorical")(np.array([3, 21_840], np.int32))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (rows.shape, rows.dtype) == ((2, 21_841), np.float32)
    assert np.argwhere(rows == 1).tolist() == [[0, 3], [1, 21_840]]
    assert rows.sum() == 2
    assert most < 2 << 20


def test_label_mode_none_gives_images_alone(two_classes: Path) -> None:
    with kseq.ShardSequence(two_classes, label_mode=None) as sequence:
        assert sequence[0].shape == (12, 4, 4, 3)


def test_names_make_dicts_but_of_one_target(two_classes: Path) -> None:
    with kseq.ShardSequence(two_classes, inputs={"input_1": "image"}, targets={"output": "label"}) as sequence:
        inputs, targets = sequence[0]
    assert inputs["input_1"].shape == (12, 4, 4, 3)
    assert targets.shape == (12,)
    with kseq.ShardSequence(two_classes, targets={"output": "label", "pixels": "image"}) as sequence:
        _, targets = sequence[0]
    assert (targets["output"].shape, targets["pixels"].shape) == ((12,), (12, 4, 4, 3))


def test_a_field_named_alone_is_its_array(two_classes: Path) -> None:
    with kseq.ShardSequence(two_classes, inputs="image", targets="label") as sequence:
        images, labels = sequence[0]
    assert (images.shape, labels.shape) == ((12, 4, 4, 3), (12,))
    with kseq.ShardSequence(two_classes, inputs="image", targets="image") as sequence:
        images, same = sequence[0]
    np.testing.assert_array_equal(images, same)


def test_sample_weights_are_those_of_the_samples(numbered: Path) -> None:
    ids = kseq.ShardDataset(numbered).split_ids("train")
    with kseq.ShardSequence(numbered, sample_weight=ids / 10, batch_size=16) as sequence:
        images, _, weights = sequence[1]
    assert weights.dtype == np.float32
    assert np.allclose(weights, numbers_of(images) / 10)


def plain(images: np.ndarray, size: tuple[int, int], fit: str, interpolation: str, color_mode: str) -> np.ndarray:
    found = []
    for image in images:
        pixels = recolor(image, color_mode)
        out = np.empty((*size, pixels.shape[2]), np.uint8)
        resize_to(pixels, out, fit, interpolation)
        found.append(out)
    return np.stack(found)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("color_mode", ["rgb", "grayscale", "rgba"])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_images_equal_the_plain_way(packed_photos: Path, fit: str, color_mode: str, workers: int) -> None:
    channels = {"rgb": 3, "grayscale": 1, "rgba": 4}[color_mode]
    dataset = kseq.ShardDataset(packed_photos, "val")
    expected = plain(dataset.read(range(12))["image"], (32, 24), fit, "bicubic", "rgb")
    with kseq.ShardSequence(
        packed_photos, "val", input_shape=(32, 24, channels), color_mode=color_mode, interpolation="bicubic",
        crop_to_aspect_ratio=fit == "crop", pad_to_aspect_ratio=fit == "pad", workers=workers, decode="exact",
    ) as sequence:  # fmt: skip
        found = sequence[0][0]
    # Gray is made before resizing from a JPEG's own brightness, and after it here: rounding apart, the same.
    expected = np.stack([recolor(image, color_mode) for image in expected])
    assert np.abs(found[..., :3].astype(int) - expected[..., :3]).max() <= (4 if color_mode == "grayscale" else 0)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("scale", [None, 1 / 255])
@pytest.mark.parametrize("augmented", [False, True])
def test_forms_are_those_of_the_plain_pixels(
    numbered: Path, dtype: str, data_format: str, scale: float | None, augmented: bool
) -> None:
    if dtype == "uint8" and scale is not None:
        return
    functions = [lambda images: images] if augmented else []
    expected = kseq.ShardDataset(numbered, "val").read(range(20))["image"].astype(np.float32) * np.float32(scale or 1)
    with kseq.ShardSequence(numbered, "val", dtype=dtype, data_format=data_format, scale=scale, augment=functions) as sequence:
        found = sequence[0][0]
        assert sequence.input_shape == found.shape[1:]
    assert found.dtype == dtype
    last = found if data_format == "channels_last" else np.moveaxis(found, 1, -1)
    assert np.allclose(last, expected, rtol=1e-3)


def test_a_function_is_given_the_batch_of_images(numbered: Path) -> None:
    seen = []

    def darken(images: np.ndarray) -> np.ndarray:
        seen.append((images.shape, images.dtype))
        return images // 2

    with kseq.ShardSequence(numbered, "val", augment=darken) as sequence:
        found = sequence[0][0]
    assert seen == [((20, 4, 4, 3), np.uint8)]
    assert np.array_equal(found, kseq.ShardDataset(numbered, "val").read(range(20))["image"] // 2)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda images: images / 255, ("float64", "dtype='uint8'", "dtype='float32'")),
        (lambda images: images[:3], (20,)),
        (lambda images: None, ()),
    ],
)
def test_refuses_what_a_function_gives_that_does_not_fit(numbered: Path, function: Any, words: Parts) -> None:
    with kseq.ShardSequence(numbered, "val", augment=function) as sequence, raises(ArgumentError, *words):
        sequence[0]


def test_floats_of_a_function_stay_floats(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, "val", augment=lambda images: images / 255, dtype="float32") as sequence:
        assert np.allclose(sequence[0][0], kseq.ShardDataset(numbered, "val").read(range(20))["image"] / 255)


def test_numbers_of_numpy_are_numbers(numbered: Path) -> None:
    with kseq.ShardSequence(
        numbered, seed=np.int64(3), batch_size=np.int32(16), augment=kseq.CenterCrop(np.int64(4))
    ) as sequence:
        sequence.epoch = np.int64(2)
        with kseq.ShardSequence(numbered, seed=3, batch_size=16) as same:
            assert numbers_of(sequence[0][0]).tolist() == same.sample_ids(0, 2).tolist()


def test_the_program_may_change_its_folder(numbered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(numbered.parent)
    with kseq.ShardSequence(numbered.name, batch_size=16) as sequence:
        monkeypatch.chdir(tmp_path)
        assert numbers_of(sequence[0][0]).tolist() == sequence.sample_ids(0).tolist()
        assert len(pickle.loads(pickle.dumps(sequence))) == 5


def test_says_what_it_is_at_a_prompt(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, batch_size=16) as sequence:
        images = "images 4 x 4 x 3, uint8, 3 classes: a, b, c"
        order = "shuffled anew in each epoch"
        assert repr(sequence) == f"<ShardSequence '{numbered}' train: 80 samples, 5 batches of 16, {order}; {images}>"
        assert repr(sequence.batches) == repr(sequence).replace("ShardSequence", "Batches")
    with kseq.Batches(numbered, "val", batch_size=16) as batches:
        assert repr(batches) == f"<Batches '{numbered}' val: 20 samples, 2 batches of 16, not shuffled; {images}>"
    assert repr(batches).endswith(", closed>")
    with kseq.Batches(numbered, "val", shuffle="block") as batches:
        order = "shuffled by blocks anew in each epoch"
        assert repr(batches) == f"<Batches '{numbered}' val: 20 samples, 1 batch of 32, {order}; {images}>"
    with kseq.ShardDataset(numbered, "val") as dataset:
        fields = "image (raw pixels, 4 x 4, 3 channels), label (int32), 3 classes: a, b, c"
        assert repr(dataset) == f"<ShardDataset '{numbered}' val: 20 samples; {fields}>"
    assert repr(dataset) == f"<ShardDataset '{numbered}' val: closed>"


def test_crops_are_the_same_whatever_the_batch_the_workers_and_the_rank(packed_photos: Path) -> None:
    def crops(**arguments: Any) -> dict[int, bytes]:
        with kseq.ShardSequence(
            packed_photos, seed=4, augment=[kseq.RandomResizedCrop(16), kseq.RandomFlip()], **arguments
        ) as each:
            return {
                int(sample): image.tobytes()
                for number in range(len(each))
                for sample, image in zip(each.sample_ids(number), each[number][0], strict=True)
            }

    expected = crops(batch_size=48, workers=0)
    assert len(set(expected.values())) == 48
    assert crops(batch_size=7, workers=3) == expected
    assert crops(batch_size=16, workers=2, use_multiprocessing=True) == expected
    for rank in range(2):
        share = crops(batch_size=8, workers=1, rank=rank, world_size=2)
        assert share.items() <= expected.items()
        assert len(share) == 24


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale"])
@pytest.mark.parametrize("mode", ["horizontal", "vertical", "horizontal_and_vertical"])
def test_flips_mirror_the_pixels(packed_photos: Path, mode: str, color_mode: str) -> None:
    shape = (20, 30, {"rgb": 3, "grayscale": 1}[color_mode])
    options: dict[str, Any] = {"input_shape": shape, "color_mode": color_mode, "batch_size": 60}
    with kseq.ShardSequence(packed_photos, "all", **options) as plain_one:
        images = plain_one[0][0]
    with kseq.ShardSequence(packed_photos, "all", augment=kseq.RandomFlip(mode), **options) as flipped_one:
        flipped = flipped_one[0][0]
    ways = {"": np.s_[:], "down": np.s_[::-1], "across": np.s_[:, ::-1], "both": np.s_[::-1, ::-1]}
    found = [
        next(name for name, way in ways.items() if np.array_equal(image[way], other))
        for image, other in zip(images, flipped, strict=True)
    ]
    allowed = {"horizontal": {"", "across"}, "vertical": {"", "down"}}.get(mode, set(ways))
    assert set(found) == allowed


def test_crops_are_new_in_each_epoch(packed_photos: Path) -> None:
    with kseq.ShardSequence(packed_photos, "val", augment=kseq.RandomResizedCrop(16)) as sequence:
        first, second = ([images.copy() for images, _ in sequence] for _ in range(2))
    assert not np.array_equal(first[0], second[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "tset"}, ("'tset'", "train", "val", "all")),
        ({"split": "test"}, ("'test'",)),
        ({"split": ["train"]}, ("split=['train']",)),
        ({"split": 3}, ("split=3",)),
        ({"option": "tset"}, ("'tset'", "train", "val", "all")),
        ({"option": 3}, ("option=3",)),
        ({"split": "train", "option": "val"}, ("split='train'", "option='val'")),
        ({"shuffle": "no"}, ("shuffle='no'", "'block'")),
        ({"shuffle": 1}, ("shuffle=1", "'block'")),
        ({"shuffle": kseq.BlockShuffle}, ("'block'", "kseq.BlockShuffle")),
        ({"inputs": "picture"}, ("inputs='picture'", "image", "label")),
        ({"inputs": ["image"]}, ("inputs=['image']",)),
        ({"inputs": {"a": ["image"]}}, ("inputs={'a': ['image']}",)),
        ({"inputs": {1: "image"}}, ("inputs={1: 'image'}",)),
        ({"targets": "lable"}, ("targets='lable'", "image", "label")),
        ({"targets": ["label"], "label_mode": None}, ("targets=['label']",)),
        ({"remainder": "no"}, ("remainder='no'", "'keep'", "'drop'", "'pad'")),
        ({"remainder": True}, ("remainder=True", "'keep'", "'drop'", "'pad'")),
        ({"use_multiprocessing": None}, ("use_multiprocessing=None",)),
        ({"crop_to_aspect_ratio": "no"}, ("crop_to_aspect_ratio='no'",)),
        ({"pad_to_aspect_ratio": 1}, ("pad_to_aspect_ratio=1",)),
        ({"scale": "a", "dtype": "float32"}, ("scale='a'",)),
        ({"scale": True, "dtype": "float32"}, ("scale=True",)),
        ({"scale": float("nan"), "dtype": "float32"}, ("scale=nan",)),
        ({"color_mode": ["rgb"]}, ("color_mode=['rgb']", "grayscale", "rgb", "rgba")),
        ({"label_mode": 1}, ("label_mode=1", "'int'", "'categorical'", "'binary'")),
        ({"dtype": float}, ("dtype=<class", "'float'", "uint8", "float16", "float32")),
        ({"verify": None}, ("verify=None", "first", "always", "never")),
        ({"input_shape": "x"}, ("input_shape",)),
        ({"input_shape": (2**40, 2**40, 3)}, ("input_shape", 178956970)),
        ({"augment": "flip"}, ("'flip'",)),
        ({"augment": None}, ("augment",)),
        ({"workers": True}, ("workers=True", 0)),
        ({"world_size": "2"}, ("world_size='2'", 1)),
        ({"rank": -1}, ("rank=-1", 0)),
        ({"batch_size": 2.5}, ("batch_size=2.5", 1)),
        ({"seed": "a"}, ("seed='a'",)),
        ({"sample_weight": ["1"] * 80}, ("sample_weight",)),
        ({"sample_weight": [[1.0] * 80]}, ("sample_weight", 80)),
        ({"input_shape": (4, 4)}, ("input_shape",)),
        ({"input_shape": (4, 4, 1)}, ("color_mode", "'rgb'", 3, 1)),
        ({"input_shape": (4, 4, 3), "color_mode": "grayscale"}, ("input_shape", 1, 3)),
        ({"color_mode": "bgr"}, ("color_mode", "grayscale", "rgb", "rgba")),
        ({"label_mode": "binary"}, ("label_mode", 2)),
        ({"label_mode": "onehot"}, ("label_mode", "'int'", "'categorical'", "'binary'")),
        ({"label_mode": None, "targets": {"a": "label"}}, ("label_mode",)),
        ({"inputs": {"x": "picture"}}, ("inputs", "image", "label")),
        ({"inputs": {"x": "label"}}, ("inputs",)),
        ({"dtype": "int32"}, ("dtype", "uint8", "float16", "float32")),
        ({"scale": 1 / 255}, ("dtype='float32'",)),
        ({"data_format": "NCHW"}, ("data_format", "channels_last", "channels_first")),
        ({"interpolation": "cubic"}, ("interpolation", "bilinear", "nearest")),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, ("crop_to_aspect_ratio",)),
        ({"augment": [abs, kseq.RandomFlip()]}, ("augment",)),
        ({"augment": ["flip"]}, ("'flip'",)),
        ({"augment": kseq.RandomFlip}, ("kseq.Augmentation", "kseq.RandomFlip()")),
        ({"augment": kseq.BatchFunction}, ("kseq.Augmentation",)),
        ({"augment": kseq.CenterCrop(2), "input_shape": (4, 4, 3)}, ("augment", 2)),
        ({"sample_weight": [1, 2]}, ("sample_weight", 80)),
        ({"batch_size": 0}, ("batch_size", 1)),
        ({"workers": -1}, ("workers", 0)),
        ({"max_queue_size": 0}, ("max_queue_size", 1)),
        ({"verify": "sometimes"}, ("verify", "first", "always", "never")),
        ({"rank": 3, "world_size": 2}, ("rank", 0, 1)),
        ({"batch_size": "4"}, ("batch_size='4'",)),
        ({"batch_size": 4.0}, ("batch_size=4.0",)),
        ({"seed": None}, ("seed=None",)),
        ({"workers": 2.5}, ("workers=2.5",)),
        ({"input_shape": 16}, ("input_shape",)),
        ({"input_shape": (16.0, 16, 3)}, ("input_shape",)),
        ({"label_mode": None, "sample_weight": [1.0] * 80}, ("label_mode",)),
        ({"sample_weight": [float("nan")] * 80}, ("sample_weight",)),
        ({"sample_weight": "a"}, ("sample_weight",)),
        ({"ragged": 1}, ("ragged=1",)),
        ({"pad_to": 0}, ("pad_to=0", 1)),
    ],
)
def test_refuses_in_one_line_that_says_what_is_allowed(numbered: Path, options: dict[str, Any], words: Parts) -> None:
    with raises(ArgumentError, *words):
        kseq.ShardSequence(numbered, **options)


@pytest.mark.parametrize("path", [None, 5, b"flowers", "", ["flowers"]])
def test_refuses_a_path_that_is_none(path: Any) -> None:
    with raises(ArgumentError, f"dataset={path!r}"):
        kseq.ShardSequence(path)


def test_images_of_several_sizes_need_a_shape_or_a_crop(packed_photos: Path) -> None:
    with raises(ArgumentError, "input_shape=(224, 224, 3)", "augment=", "RandomResizedCrop(224)"):
        kseq.ShardSequence(packed_photos)


@pytest.mark.parametrize("number", [5, -1])
def test_refuses_a_batch_number_that_does_not_exist(train: kseq.ShardSequence, number: int) -> None:
    with raises(OutOfRangeError, f"batch number {number}", "[0, 5)"):
        train[number]


def test_a_missing_dataset_is_named(tmp_path: Path) -> None:
    with raises(DatasetNotFoundError, "nothing"):
        kseq.ShardSequence(tmp_path / "nothing")


def test_after_close_batches_stay_and_no_more_come(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, batch_size=16) as sequence:
        images, _ = sequence[0]
        copy = images.copy()
    assert np.array_equal(images, copy)
    with raises(ClosedError, numbered):
        sequence[0]


def test_pickle_keeps_the_arguments_and_the_epoch(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, batch_size=16, seed=8, augment=kseq.RandomFlip()) as sequence:
        sequence.epoch = 3
        with pickle.loads(pickle.dumps(sequence)) as copy:
            assert copy.epoch == 3
            assert np.array_equal(copy[1][0], sequence[1][0])


def test_does_not_warn_of_random_access_by_the_user(train: kseq.ShardSequence) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in (3, 1, 4, 2, 0, 4, 1):
            train[number]


def test_shuffles_by_blocks(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, batch_size=16, shuffle=kseq.BlockShuffle(4, 20), workers=2) as sequence:
        for epoch in range(2):
            batches = list(sequence)
            numbers = np.concatenate([numbers_of(images) for images, _ in batches])
            expected = np.concatenate([sequence.sample_ids(number, epoch) for number in range(5)])
            assert numbers.tolist() == expected.tolist()
            assert sorted(numbers.tolist()) == sorted(kseq.ShardDataset(numbered, "train").sample_ids(range(80)).tolist())


def made(num_samples: int, sample_bytes: int, num_classes: int) -> Any:
    """What `choose_blocks` looks at of a dataset that would be too large to pack here."""
    collection = SimpleNamespace(num_samples=num_samples, num_bytes=num_samples * sample_bytes)
    return SimpleNamespace(_samples=SimpleNamespace(collection=collection), class_names=tuple(map(str, range(num_classes))))


def test_blocks_are_of_four_mebibytes_and_windows_of_64_blocks_unless_said_otherwise(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    sample_bytes = dataset.num_bytes / 100
    size, window = choose_blocks(dataset)
    assert size == int((4 << 20) / sample_bytes)
    assert window == 64 * size
    large = made(1_000_000, 100_000, 10)
    assert choose_blocks(large) == (41, 2665)
    assert choose_blocks(large, kseq.BlockShuffle(100)) == (100, 6400)
    assert choose_blocks(large, kseq.BlockShuffle(10)) == (10, 2680)
    assert choose_blocks(large, kseq.BlockShuffle(10, window=25)) == (10, 25)
    assert choose_blocks(made(1000, 50 << 20, 10)) == (1, 64)


@pytest.mark.parametrize(
    ("num_classes", "least_block"), [(10, 4 << 20), (100, 1 << 20), (1000, 256 << 10), (10_000, 256 << 10)]
)
def test_blocks_are_smaller_where_there_are_many_classes_but_never_too_small(num_classes: int, least_block: int) -> None:
    size, window = choose_blocks(made(2_000_000, 10_000, num_classes))
    assert 0.95 * least_block <= size * 10_000 <= 1.5 * least_block
    assert 0.95 * (256 << 20) <= window * 10_000 <= 256 << 20


@pytest.mark.parametrize("sample_bytes", [20_000, 110_000, 150_528])
def test_a_batch_of_a_thousand_classes_in_their_order_holds_nearly_as_many_as_after_a_full_shuffle(sample_bytes: int) -> None:
    """The photos lie class by class, 1,300 of each, as in ImageNet; a batch has 128."""
    num_samples = 1000 * 1300
    blocks = choose_blocks(made(num_samples, sample_bytes, 1000))

    def mean_classes(shuffle: bool | str) -> float:
        order = Order(num_samples, 128, shuffle, 3, "keep", 0, 1, *blocks)
        return float(np.mean([len(set((order.positions(0, number) // 1300).tolist())) for number in range(0, 10_000, 500)]))

    assert mean_classes("block") > 0.9 * mean_classes(True)


@pytest.mark.parametrize("name", ["block_size", "window"])
@pytest.mark.parametrize("number", [0, 2.5])
def test_refuses_block_sizes_and_windows_that_make_no_sense(name: str, number: Any) -> None:
    with raises(ArgumentError, f"{name}={number}", 1):
        kseq.BlockShuffle(**{name: number})


def test_block_stands_for_a_block_shuffle_of_default_sizes(numbered: Path) -> None:
    options: dict[str, Any] = {"batch_size": 16, "seed": 3}
    with (
        kseq.ShardSequence(numbered, shuffle="block", **options) as by_name,
        kseq.ShardSequence(numbered, shuffle=kseq.BlockShuffle(), **options) as by_object,
        pickle.loads(pickle.dumps(by_object)) as copy,
    ):
        for number in range(5):
            ids = by_name.sample_ids(number, 2).tolist()
            assert ids == by_object.sample_ids(number, 2).tolist() == copy.sample_ids(number, 2).tolist()


@pytest.mark.parametrize("name", ["block_size", "window"])
def test_takes_blocks_larger_than_any_dataset(numbered: Path, name: str) -> None:
    with kseq.ShardSequence(numbered, "val", shuffle=kseq.BlockShuffle(**{name: 2**63})) as sequence:
        assert sorted(numbers_of(sequence[0][0]).tolist()) == kseq.ShardDataset(numbered).split_ids("val").tolist()


def test_option_is_another_name_for_split(numbered: Path) -> None:
    with kseq.ShardSequence(numbered, option="val") as sequence, pickle.loads(pickle.dumps(sequence)) as copy:
        assert sequence.split == sequence.option == copy.split == "val"
    with kseq.ShardSequence(numbered, "val", option="val") as sequence:
        assert sequence.num_samples == 20


def address_of(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


@pytest.mark.parametrize("encoding", ["keep", "raw"])
def test_a_shuffle_by_blocks_asks_the_disk_for_every_stored_byte_ahead(
    numbered: Path, packed_photos: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = numbered if encoding == "raw" else packed_photos
    asked: list[tuple[int, int]] = []

    def note(mapped: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        asked.extend(zip((address_of(mapped) + starts).tolist(), (address_of(mapped) + ends).tolist(), strict=True))

    def was_asked(number: int) -> bool:
        ((reader, row),) = sample_reader(sequence.batches._dataset).locate(np.array([number]))
        image = reader.array("image")[row] if encoding == "raw" else reader.stored("image", row)
        places = [
            (address_of(entry), address_of(entry) + entry.nbytes) for entry in (image, reader.array("label")[row : row + 1])
        ]
        return all(any(first <= start and end <= last for first, last in asked) for start, end in places)

    monkeypatch.setattr("kseq.storage.shard_reader.will_need", note)
    shape = None if encoding == "raw" else (8, 8, 3)
    with kseq.ShardSequence(
        path, "all", batch_size=4, shuffle=kseq.BlockShuffle(3, 9), input_shape=shape, workers=1
    ) as sequence:
        list(sequence)
        # Another thread asks.
        deadline = time.monotonic() + 60
        while not all(was_asked(number) for number in range(sequence.num_samples)):
            assert time.monotonic() < deadline, asked
            time.sleep(0.01)
