"""ShardDataset equals numpy indexing: any samples, any order, from many threads and processes at once."""

from __future__ import annotations

import inspect
import os
import pickle
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import kseq
from kseq import errors
from kseq.errors import ArgumentError, ClosedError, DamagedError, DatasetNotFoundError, OutOfRangeError
from kseq.reading.dataset import sample_reader
from kseq.storage.fields import Field
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import FAST_DCT, numbered_pixels, numbers_of, photo, write_numbered
from tests.helpers.processes import RunPython

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
BACKENDS = ("keras", "tensorflow", "jax", "torch")


@pytest.fixture(scope="module")
def raw(numbered: Path) -> kseq.ShardDataset:
    return kseq.ShardDataset(numbered)


@pytest.fixture(scope="module")
def raw_images() -> np.ndarray:
    """What the samples of `numbered` are."""
    return np.stack([numbered_pixels(number) for number in range(100)])


@pytest.fixture(scope="module")
def png_images() -> list[np.ndarray]:
    """Photos of several sizes; 10 to 14 are of one size."""
    return [photo(number, 5 + number % 4, 6 + number % 3) if number < 10 else photo(number, 8, 9) for number in range(15)]


@pytest.fixture(scope="module")
def png(tmp_path_factory: pytest.TempPathFactory, png_images: list[np.ndarray]) -> kseq.ShardDataset:
    """`png_images` as they are, in several shards, one class."""
    root = tmp_path_factory.mktemp("png")
    (root / "photos" / "a").mkdir(parents=True)
    for number, pixels in enumerate(png_images):
        Image.fromarray(pixels).save(root / "photos" / "a" / f"{number:02d}.png")
    kseq.pack(root / "photos", root / "packed", shard_bytes=500, workers=0)
    return kseq.ShardDataset(root / "packed")


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """640 numbered samples in 64 shards."""
    root = tmp_path_factory.mktemp("many")
    write_numbered(root / "photos", {"a": 320, "b": 320})
    kseq.pack(root / "photos", root / "packed", images=kseq.ImageSettings("raw", (4, 4)), shard_bytes=10 * 52, workers=0)
    assert len(list((root / "packed").glob("shard-*"))) == 64
    return root / "packed"


numbers = st.lists(st.integers(0, 99), max_size=60)


def stored_pixels(dataset: kseq.ShardDataset, sample_id: int) -> np.ndarray:
    ((reader, row),) = sample_reader(dataset).locate(np.array([sample_id]))
    return reader.array("image")[row]


@given(ids=numbers)
def test_a_read_is_numpy_indexing(raw: kseq.ShardDataset, raw_images: np.ndarray, ids: list[int]) -> None:
    values = raw.read(ids)
    np.testing.assert_array_equal(values["image"], raw_images[ids], strict=True)
    expected = np.searchsorted([50, 80], np.array(ids, int), side="right").astype("<i4")
    np.testing.assert_array_equal(values["label"], expected, strict=True)


@given(ids=numbers)
def test_the_fast_path_is_the_plain_path(raw: kseq.ShardDataset, ids: list[int]) -> None:
    sample_ids = np.array(ids, np.int64)
    gathered = np.empty((len(ids), 4, 4, 3), np.uint8)
    sample_reader(raw).locate(sample_ids).gather("image", gathered)
    plain = [stored_pixels(raw, sample_id) for sample_id in ids]
    np.testing.assert_array_equal(gathered, np.array(plain, np.uint8).reshape(gathered.shape))


@given(ids=st.lists(st.integers(0, 79), max_size=40))
def test_a_read_of_a_split_counts_within_it(numbered: Path, ids: list[int]) -> None:
    train = kseq.ShardDataset(numbered, "train")
    with h5py.File(numbered / "index.h5") as file:
        expected = file["splits/train"][()][ids]
    assert numbers_of(train.read(ids)["image"]).tolist() == expected.tolist()
    assert train.sample_ids(ids).tolist() == expected.tolist()


@settings(max_examples=50)
@given(ids=st.lists(st.integers(0, 14), max_size=12))
def test_a_read_of_encoded_images_is_indexing(png: kseq.ShardDataset, png_images: list[np.ndarray], ids: list[int]) -> None:
    images = png.read(ids)["image"]
    expected = [png_images[number] for number in ids]
    one_size = len({image.shape for image in expected}) <= 1
    assert isinstance(images, np.ndarray if one_size else list)
    assert len(images) == len(expected)
    for found, wanted in zip(images, expected, strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


def test_images_of_one_size_are_one_array(png: kseq.ShardDataset, png_images: list[np.ndarray]) -> None:
    images = png.read([14, 10, 11])["image"]
    np.testing.assert_array_equal(images, np.stack([png_images[number] for number in (14, 10, 11)]), strict=True)


def test_images_whose_sizes_differ_are_a_list(png: kseq.ShardDataset) -> None:
    images = png.read([0, 1])["image"]
    assert isinstance(images, list)
    assert [image.shape for image in images] == [(5, 6, 3), (6, 7, 3)]


def test_photos_are_read_as_their_decoder_reads_them(photos: Path, packed_photos: Path) -> None:
    dataset = kseq.ShardDataset(packed_photos)
    for number in (0, 17, 59):
        expected = np.asarray(Image.open(photos / dataset.source(number)))
        assert dataset[number]["image"].shape == expected.shape
        difference = dataset[number]["image"].astype(int) - expected
        assert np.abs(difference).max() <= FAST_DCT


def test_stored_bytes_are_the_bytes_of_the_file(photos: Path, packed_photos: Path) -> None:
    for split in (None, "train", "val"):
        dataset = kseq.ShardDataset(packed_photos, split)
        for number in range(len(dataset)):
            assert dataset.stored_bytes(number) == (photos / dataset.source(number)).read_bytes()


def test_stored_bytes_of_a_raw_image_are_its_pixels(raw: kseq.ShardDataset) -> None:
    assert raw.stored_bytes(42) == numbered_pixels(42).tobytes()


def test_stored_bytes_of_an_unknown_field_names_those_there_are(raw: kseq.ShardDataset) -> None:
    with raises(ArgumentError, "'mask'", "image", "label"):
        raw.stored_bytes(0, "mask")


@pytest.mark.parametrize("place", [5, None, "photos\0"])
def test_what_is_no_path_is_refused_by_the_name_of_its_argument(numbered: Path, place: Any) -> None:
    calls: list[tuple[str, Callable[[], object]]] = [
        ("path", lambda: kseq.ShardDataset(place)),
        ("dataset", lambda: kseq.verify(place)),
        ("dataset", lambda: kseq.undo(place)),
        ("dataset", lambda: kseq.export(place, "out")),
        ("out", lambda: kseq.export(numbered, place)),
        ("datasets", lambda: kseq.merge([numbered, place], "out")),
        ("out", lambda: kseq.merge([numbered, numbered], place)),
    ]
    for name, call in calls:
        with raises(ArgumentError, name, repr(place)):
            call()


def test_a_path_may_be_bytes(numbered: Path) -> None:
    with kseq.ShardDataset(os.fsencode(numbered)) as dataset:
        assert len(dataset) == 100


def test_the_sources_are_the_files_in_their_order(raw: kseq.ShardDataset) -> None:
    assert [raw.source(number) for number in (0, 49, 50, 99)] == ["a/00000.png", "a/00049.png", "b/00050.png", "c/00099.png"]


def test_a_source_that_is_not_utf_8_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "a"
    folder.mkdir(parents=True)
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.png"), "wb") as file:
        Image.fromarray(numbered_pixels(5)).save(file, "PNG")
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    assert os.fsencode(kseq.ShardDataset(tmp_path / "packed").source(0)) == b"a/caf\xe9.png"


def test_one_sample_is_a_row_of_a_read(raw: kseq.ShardDataset, raw_images: np.ndarray) -> None:
    sample = raw[77]
    np.testing.assert_array_equal(sample["image"], raw_images[77], strict=True)
    assert sample["label"] == 1
    assert sample.keys() == {"image", "label"}


@pytest.mark.parametrize("number", [-1, -100, -50, np.int64(-3), np.uint8(200 - 101)])
def test_one_sample_counts_as_a_list_does(raw: kseq.ShardDataset, number: int) -> None:
    assert numbers_of(raw[number]["image"][None])[0] == list(range(100))[number]


def test_iterating_gives_every_sample_once_in_order(numbered: Path) -> None:
    val = kseq.ShardDataset(numbered, "val")
    assert [int(numbers_of(sample["image"][None])[0]) for sample in val] == val.sample_ids(range(20)).tolist()
    assert len(list(val)) == len(val) == 20


def test_a_dataset_describes_itself(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered, "val")
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.splits == {"train": 80, "val": 20}
    assert dataset.fields == {
        "image": Field("image", "image", False, "|u1", (4, 4, 3)),
        "label": Field("label", "label", False, "<i4", ()),
    }
    assert (len(dataset), len(kseq.ShardDataset(numbered)), len(kseq.ShardDataset(numbered, "all"))) == (20, 100, 100)
    assert dataset.digest == kseq.ShardDataset(numbered).digest
    assert dataset.rejected() == []


def test_the_splits_share_out_all_samples(numbered: Path) -> None:
    train, val = kseq.ShardDataset(numbered, "train"), kseq.ShardDataset(numbered, "val")
    ids = np.concatenate([train.sample_ids(range(80)), val.sample_ids(range(20))])
    assert sorted(ids.tolist()) == list(range(100))


def test_a_read_array_is_the_callers_to_write(raw: kseq.ShardDataset) -> None:
    raw.read([1, 2])["image"][:] = 0
    assert numbers_of(raw.read([1, 2])["image"]).tolist() == [1, 2]


def test_pixels_are_a_view_that_cannot_be_written(raw: kseq.ShardDataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        stored_pixels(raw, 3)[:] = 0


@pytest.mark.parametrize("number", [100, -101, 10**12])
def test_one_sample_out_of_range_names_the_number_and_the_range(raw: kseq.ShardDataset, number: int) -> None:
    with pytest.raises(OutOfRangeError) as caught:
        raw[number]
    assert isinstance(caught.value, IndexError)
    assert_says(str(caught.value), raw.path, f"sample {number}", "[-100, 100)")


@pytest.mark.parametrize(
    ("ids", "wrong"),
    [([0, 100], 100), ([5, -1, 3], -1), (np.array([2**63 + 5], np.uint64), 2**63 + 5), (np.array([-128], np.int8), -128)],
)
def test_a_read_out_of_range_names_the_number_and_the_range(
    raw: kseq.ShardDataset, ids: list[int] | np.ndarray, wrong: int
) -> None:
    with pytest.raises(OutOfRangeError) as caught:
        raw.read(ids)
    assert_says(str(caught.value), raw.path, f"sample {wrong}", "[0, 100)")


@pytest.mark.parametrize("call", ["stored_bytes", "source"])
def test_out_of_range_within_a_split_names_its_length(numbered: Path, call: str) -> None:
    with raises(OutOfRangeError, "sample 20", "[0, 20)"):
        getattr(kseq.ShardDataset(numbered, "val"), call)(20)


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ([0.0, 1.0], "float64 (2,)"),
        ([True, False], "bool (2,)"),
        ([[0, 1], [2, 3]], "int64 (2, 2)"),
        (3, "int64 ()"),
        (["a"], "<U1 (1,)"),
        ([2**70], "object (1,)"),
        (None, "object ()"),
    ],
)
def test_refuses_ids_that_are_no_whole_numbers_in_one_dimension(raw: kseq.ShardDataset, ids: Any, found: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        raw.read(ids)
    assert_says(str(caught.value), found)


@pytest.mark.parametrize("number", [1.0, "a", None, slice(3)])
def test_one_sample_is_asked_for_by_a_whole_number(raw: kseq.ShardDataset, number: Any) -> None:
    with pytest.raises(TypeError):
        raw[number]


def test_a_read_of_nothing_is_empty(raw: kseq.ShardDataset, png: kseq.ShardDataset) -> None:
    for dataset in (raw, png):
        values = dataset.read([])
        assert values["image"].shape[0] == 0 and values["image"].dtype == np.uint8
        assert values["label"].shape == (0,)


def test_an_unknown_split_names_those_there_are(numbered: Path) -> None:
    with pytest.raises(ArgumentError) as caught:
        kseq.ShardDataset(numbered, "trian")
    assert_says(str(caught.value), numbered, "'trian'", "train", "val", "all")


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_missing_split_for_validation_says_how_to_make_one(png: kseq.ShardDataset, split: str) -> None:
    with raises(ArgumentError, repr(split), "train", "kseq.split", "all") as caught:
        kseq.ShardDataset(png.path, split)
    assert_says(str(caught.value), f"{split}=0.1")


def test_an_unknown_verify_names_those_allowed(numbered: Path) -> None:
    with raises(ArgumentError, "verify='last'", "first", "always", "never"):
        kseq.ShardDataset(numbered, verify="last")


@pytest.mark.parametrize(
    "use",
    [
        len, list, lambda each: each[0], lambda each: each.read([0]), lambda each: each.read([]), lambda each: each.class_names,
        lambda each: each.fields, lambda each: each.splits, lambda each: each.digest, lambda each: each.source(0),
        lambda each: each.stored_bytes(0), lambda each: each.rejected(), lambda each: stored_pixels(each, 0), pickle.dumps,
    ],
)  # fmt: skip
@pytest.mark.parametrize("split", [None, "train"])
def test_a_closed_dataset_says_so(numbered: Path, split: str | None, use: Callable[[kseq.ShardDataset], object]) -> None:
    with kseq.ShardDataset(numbered, split) as dataset:
        use(dataset)
    with raises(ClosedError, numbered):
        use(dataset)


def test_closing_twice_is_allowed_and_arrays_stay_valid(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered)
    pixels = stored_pixels(dataset, 7)
    dataset.close()
    dataset.close()
    assert numbers_of(pixels[None]).tolist() == [7]


def test_there_is_no_dataset_where_there_is_no_folder(tmp_path: Path) -> None:
    with raises(DatasetNotFoundError, tmp_path / "none"):
        kseq.ShardDataset(tmp_path / "none")


def test_there_is_no_dataset_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with raises(DatasetNotFoundError, "/file"):
        kseq.ShardDataset(tmp_path / "file")


def test_there_is_no_dataset_in_another_folder(tmp_path: Path) -> None:
    with raises(DatasetNotFoundError, tmp_path, "index.h5"):
        kseq.ShardDataset(tmp_path)


def test_there_is_no_dataset_before_its_packing_is_finished(numbered: Path, tmp_path: Path) -> None:
    shutil.copy(numbered / "shard-00000.h5", tmp_path)
    with raises(DatasetNotFoundError, tmp_path, "index.h5"):
        kseq.ShardDataset(tmp_path)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "KseqError"])
def test_an_error_is_caught_as_a_kseq_error_and_as_its_builtin(name: str) -> None:
    family = getattr(errors, name)
    assert issubclass(family, kseq.KseqError) and inspect.getdoc(family)
    builtin = next(entry for entry in family.__mro__ if entry.__module__ != "kseq.errors")
    assert builtin is not Exception and issubclass(builtin, (ValueError, IndexError, OSError, RuntimeError))
    for caught_as in (kseq.KseqError, builtin):
        with pytest.raises(caught_as):
            raise pickle.loads(pickle.dumps(family("a.h5: row 5 is not in [0, 5)")))
    assert str(family("a.h5: row 5 is not in [0, 5)")) == "a.h5: row 5 is not in [0, 5)"


def no_h5py(*_: object, **__: object) -> None:
    raise AssertionError("h5py was called on the way of a batch")


@pytest.mark.parametrize("most", [1, 64])
def test_no_h5py_call_is_on_the_way_of_a_batch(
    numbered: Path, raw_images: np.ndarray, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("kseq.reading.shard_cache.most_maps", lambda: most)
    dataset = kseq.ShardDataset(numbered)
    dataset.read(range(100))
    for thing in (h5py, h5py.h5f, h5py.h5d):
        for name in ("File", "open", "Dataset", "Group"):
            monkeypatch.setattr(thing, name, no_h5py, raising=False)
    ids = np.random.default_rng(1).integers(0, 100, 300)
    np.testing.assert_array_equal(dataset.read(ids)["image"], raw_images[ids])
    assert len(sample_reader(dataset).collection.shards._open) == min(most, 7)


def read_randomly(dataset: kseq.ShardDataset, serial: np.ndarray, seed: int, reads: int) -> int:
    """Read 50 random samples at a time; returns how many equal the serial read."""
    rng = np.random.default_rng(seed)
    equal = 0
    for _ in range(reads):
        ids = rng.integers(0, len(dataset), 50)
        images = dataset.read(ids)["image"]
        equal += int((images == serial[ids]).all(axis=(1, 2, 3)).sum())
    return equal


@pytest.mark.slow
def test_threads_and_processes_at_once_read_what_one_reads(many_shards: Path) -> None:
    dataset = kseq.ShardDataset(many_shards)
    serial = np.concatenate([dataset.read([number])["image"] for number in range(640)])
    assert numbers_of(serial).tolist() == list(range(640))
    dataset = kseq.ShardDataset(many_shards)
    with ProcessPoolExecutor(4, get_context("spawn")) as processes, ThreadPoolExecutor(16) as threads:
        jobs = [processes.submit(read_randomly, dataset, serial, 100 + seed, 180) for seed in range(4)]
        jobs += [threads.submit(read_randomly, dataset, serial, seed, 80) for seed in range(16)]
        assert sum(job.result(120) for job in jobs) == 100_000


def test_threads_that_close_each_others_shards_read_what_one_reads(many_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.reading.shard_cache.most_maps", lambda: 3)
    dataset = kseq.ShardDataset(many_shards)
    serial = dataset.read(range(640))["image"]
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(read_randomly, dataset, serial, seed, 8) for seed in range(8)]
        assert sum(job.result(60) for job in jobs) == 8 * 8 * 50
    assert len(sample_reader(dataset).collection.shards._open) <= 3


def test_threads_decode_what_one_decodes(packed_photos: Path) -> None:
    serial = [sample["image"] for sample in kseq.ShardDataset(packed_photos)]
    dataset = kseq.ShardDataset(packed_photos)

    def read(number: int) -> bool:
        return bool((dataset[number]["image"] == serial[number]).all())

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(read, np.random.default_rng(3).integers(0, 60, 600).tolist()))


def test_a_pickled_dataset_reads_in_a_process_started_afresh(numbered: Path) -> None:
    val = kseq.ShardDataset(numbered, "val", verify="always")
    val.read(range(20))
    copy = pickle.loads(pickle.dumps(val))
    assert (copy.split, copy.verify, len(copy)) == ("val", "always", 20)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        images = executor.submit(kseq.ShardDataset.read, val, [3, 3, 19]).result(60)["image"]
    np.testing.assert_array_equal(images, val.read([3, 3, 19])["image"])


def test_a_pickle_is_a_path_and_little_else(many_shards: Path) -> None:
    dataset = kseq.ShardDataset(many_shards)
    dataset.read(range(640))
    assert len(pickle.dumps(dataset)) < 400


def test_a_pickled_dataset_is_found_from_another_folder(
    numbered: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(numbered.parent)
    pickled = pickle.dumps(kseq.ShardDataset(numbered.name))
    monkeypatch.chdir(tmp_path)
    assert len(pickle.loads(pickled)) == 100


def test_a_pickle_of_a_dataset_that_was_packed_anew_is_refused(numbered: Path, packed_photos: Path, tmp_path: Path) -> None:
    shutil.copytree(numbered, tmp_path / "packed")
    pickled = pickle.dumps(kseq.ShardDataset(tmp_path / "packed"))
    shutil.rmtree(tmp_path / "packed")
    shutil.copytree(packed_photos, tmp_path / "packed")
    with raises(DamagedError, re.compile("[0-9a-f]{32}.*[0-9a-f]{32}")):
        pickle.loads(pickled)


FORKS = """
import os, sys, threading
import numpy as np
import numpy.random  # numpy loads it when first used, under a lock that a child may inherit held
import kseq, kseq.reading.shard_cache
from tests.helpers.photos import numbers_of

def check(dataset, seed, reads):
    rng = np.random.default_rng(seed)
    for _ in range(reads):
        ids = rng.integers(0, 640, 40)
        assert numbers_of(dataset.read(ids)["image"]).tolist() == ids.tolist()

def fail_loudly(dataset, seed):
    try:
        while not done.is_set():
            check(dataset, seed, 1)
    except BaseException:
        failed.append(seed)
        raise

def child(dataset):
    threads = [threading.Thread(target=check, args=(dataset, seed, 2)) for seed in range(4)]
    for thread in threads:
        thread.start()
    check(dataset, 9, 2)
    for thread in threads:
        thread.join()
    check(kseq.ShardDataset(sys.argv[1]), 10, 1)
    dataset.close()

if len(sys.argv) > 2:
    # So few that the threads open files, under the locks, all the time.
    kseq.reading.shard_cache.most_maps = lambda: 4
dataset = kseq.ShardDataset(sys.argv[1])
done, failed = threading.Event(), []
threads = [threading.Thread(target=fail_loudly, args=(dataset, seed)) for seed in range(4)]
for thread in threads:
    thread.start()
for _ in range(4):
    process = os.fork()
    if process == 0:
        status = 1
        try:
            child(dataset)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(process, 0)[1] == 0
done.set()
for thread in threads:
    thread.join()
assert not failed
check(dataset, 11, 20)
"""


IMPORTS = """
import sys
import kseq, kseq.reading.shard_cache
if sys.argv[3] == "few":
    kseq.reading.shard_cache.most_maps = kseq.reading.shard_cache.most_descriptors = lambda: 4
dataset = kseq.ShardDataset(sys.argv[1], read=sys.argv[2])
batches = kseq.Batches(dataset, batch_size=8, input_shape=(8, 8, 3), interpolation="area", workers=2)
before = set(sys.modules)
dataset.read(range(30))
for batch in batches.epoch(0):
    pass
assert set(sys.modules) == before, set(sys.modules) - before
"""


@pytest.mark.parametrize("few", ["few", "all"])
@pytest.mark.parametrize("read", ["map", "pread"])
@pytest.mark.parametrize("kind", ["many_shards", "packed_photos"])
def test_reading_imports_nothing_on_the_way(
    kind: str, read: str, few: str, request: pytest.FixtureRequest, run_python: RunPython
) -> None:
    # A child that is forked while a thread imports a module waits for ever once it needs that module itself.
    run_python(IMPORTS, request.getfixturevalue(kind), read, few)


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("arguments", [(), ("few",)], ids=["all-open", "few-open"])
def test_a_forked_child_reads_while_threads_of_its_parent_read(
    many_shards: Path, run_python: RunPython, arguments: tuple
) -> None:
    run_python(FORKS, many_shards, *arguments, timeout=200)


@needs_fork
def test_a_forked_child_may_close_while_the_lock_of_its_parent_is_held(many_shards: Path, run_python: RunPython) -> None:
    code = """
import os, sys
import kseq
from kseq.reading.dataset import sample_reader
dataset = kseq.ShardDataset(sys.argv[1])
with sample_reader(dataset).collection.shards._lock:
    process = os.fork()
    if process == 0:
        dataset.close()
        os._exit(0)
assert os.waitpid(process, 0)[1] == 0
assert len(dataset.read([5])["image"]) == 1
"""
    run_python(code, many_shards, timeout=100)


def test_reads_more_shards_than_files_may_be_open(many_shards: Path, run_python: RunPython) -> None:
    code = """
import os, resource, sys
import numpy as np
import kseq
from tests.helpers.photos import numbers_of
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
dataset = kseq.ShardDataset(sys.argv[1])
for seed in range(5):
    ids = np.random.default_rng(seed).permutation(640)
    assert numbers_of(dataset.read(ids)["image"]).tolist() == ids.tolist()
print(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)
"""
    assert int(run_python(code, many_shards).stdout) < 40


def test_reading_imports_no_keras(numbered: Path, run_python: RunPython) -> None:
    code = f"""
import sys, kseq
kseq.ShardDataset(sys.argv[1], "val").read(range(20))
kseq.verify(sys.argv[1])
print([name for name in {BACKENDS} if name in sys.modules])
"""
    assert run_python(code, numbered).stdout.strip() == "[]"


def test_opening_starts_no_thread_and_opens_no_shard(numbered: Path) -> None:
    before = threading.active_count()
    dataset = kseq.ShardDataset(numbered)
    assert threading.active_count() == before
    assert not sample_reader(dataset).collection.shards._open
