"""Shards side by side in memory: one call gathers from all of them what the plain way finds, and nothing is left open."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kseq
from kseq.images.crop_decoding import CropDecoder
from kseq.platforms.maps import Span
from kseq.reading.dataset import sample_reader
from kseq.storage.fields import Field
from kseq.storage.index import Contents
from kseq.storage.index_writer import write_index
from kseq.storage.shard_reader import ShardReader
from kseq.storage.shard_writer import ShardWriter
from tests.helpers.photos import numbered_pixels, write_photos
from tests.helpers.processes import RunPython

ROWS = 11
# Of 105 and of 12 bytes: no divisor of a page, nor of each other.
FIELDS = (Field("image", "image", False, "|u1", (5, 7, 3)), Field("label", "label", False, "<i4", ()))
IMAGES = np.stack([numbered_pixels(number, 5, 7) for number in range(4 * ROWS)])


def write_dataset(folder: Path, fields_of: Callable[[int], tuple[Field, ...]] = lambda number: FIELDS) -> Path:
    """Four shards of eleven samples."""
    folder.mkdir()
    entries = []
    for number in range(4):
        path = str(folder / f"shard-{number:05d}.h5")
        with ShardWriter.publishing(path, fields_of(number), "0" * 32, number) as writer:
            for sample_id in range(number * ROWS, (number + 1) * ROWS):
                writer.add(b"", {"image": IMAGES[sample_id], "label": np.array(sample_id % 3, "<i4")})
            writer.finish()
        entries.append(ShardReader(path, FIELDS).entry(number))
    contents = Contents(
        dataset_id="0" * 32, fields=FIELDS, class_names="abc", shards=entries, splits={}, rejected=[], settings="{}"
    )
    write_index(str(folder), contents)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> kseq.ShardDataset:
    return kseq.ShardDataset(write_dataset(tmp_path_factory.mktemp("shards") / "plain"), verify="never")


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> kseq.ShardDataset:
    """As if another program had written the shards: in every second one, the labels lie before the images."""
    folder = tmp_path_factory.mktemp("shards") / "swapped"
    return kseq.ShardDataset(write_dataset(folder, lambda number: FIELDS[:: 1 - 2 * (number % 2)]), verify="never")


numbers = st.lists(st.integers(0, 4 * ROWS - 1), max_size=40)


def gathered(dataset: kseq.ShardDataset, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.zeros((len(ids), 5, 7, 3), np.uint8), np.zeros(len(ids), "<i4")
    samples = sample_reader(dataset).locate(np.array(ids, np.int64))
    samples.gather("image", images)
    samples.gather("label", labels)
    return images, labels


@given(ids=numbers)
def test_rows_of_any_size_are_gathered_from_all_shards(plain: kseq.ShardDataset, ids: list[int]) -> None:
    images, labels = gathered(plain, ids)
    np.testing.assert_array_equal(images, IMAGES[ids])
    assert labels.tolist() == [number % 3 for number in ids]


@given(ids=numbers)
def test_shards_that_are_laid_out_differently_are_read_all_the_same(swapped: kseq.ShardDataset, ids: list[int]) -> None:
    images, labels = gathered(swapped, ids)
    np.testing.assert_array_equal(images, IMAGES[ids])
    assert labels.tolist() == [number % 3 for number in ids]


@given(ids=numbers)
def test_the_one_call_is_the_plain_way(plain: kseq.ShardDataset, ids: list[int]) -> None:
    if not ids:
        return
    shards, rows = np.divmod(np.array(ids), ROWS)
    for name, shape, dtype in (("image", (5, 7, 3), "u1"), ("label", (), "<i4"), ("checksum", (), "<u8")):
        at_once, plainly = np.zeros((len(ids), *shape), dtype), np.ones((len(ids), *shape), dtype)
        sample_reader(plain).collection.shards.take(name, shards, rows, at_once)
        sample_reader(plain).collection.shards._take_plainly(name, shards, rows, plainly)
        np.testing.assert_array_equal(at_once, plainly)


def test_one_call_gathers_from_many_shards(plain: kseq.ShardDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("read shard by shard")

    monkeypatch.setattr(sample_reader(plain).collection.shards, "_take_plainly", refuse)
    np.testing.assert_array_equal(gathered(plain, [40, 3, 17, 25])[0], IMAGES[[40, 3, 17, 25]])


def test_a_system_without_room_for_all_shards_reads_them_one_by_one(
    plain: kseq.ShardDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Span, "reserve", lambda num_bytes: None)
    images, _ = gathered(kseq.ShardDataset(plain.path), [40, 3, 17, 25, 3])
    np.testing.assert_array_equal(images, IMAGES[[40, 3, 17, 25, 3]])


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux what a process has open")
def test_many_threads_read_many_shards_with_few_descriptors(plain: kseq.ShardDataset, run_python: RunPython) -> None:
    code = """
import os, resource, sys
from concurrent.futures import ThreadPoolExecutor
import kseq
import numpy as np
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
dataset = kseq.ShardDataset(sys.argv[1])
before = len(os.listdir("/proc/self/fd"))
with ThreadPoolExecutor(50) as threads:
    reads = list(threads.map(lambda seed: dataset.read(np.random.default_rng(seed).permutation(44))["image"].sum(), range(200)))
assert len(set(reads)) == 1
assert len(os.listdir("/proc/self/fd")) == before
assert any("shard-00000.h5" in line for line in open("/proc/self/maps"))
dataset.close()
assert not any("shard-" in line for line in open("/proc/self/maps"))
"""
    run_python(code, plain.path)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux what a process has mapped")
def test_an_array_outlives_the_dataset_that_it_was_mapped_by(tmp_path: Path) -> None:
    def is_mapped() -> bool:
        with open("/proc/self/maps") as file:
            return any(f"{tmp_path}/own/shard-" in line for line in file)

    dataset = kseq.ShardDataset(write_dataset(tmp_path / "own"))
    pixels = sample_reader(dataset).collection.shards.get(1).array("image")
    dataset.close()
    assert is_mapped()
    np.testing.assert_array_equal(pixels, IMAGES[ROWS : 2 * ROWS])
    del pixels
    assert not is_mapped()


def open_shards(folder: Path) -> int:
    """How many descriptors of shards in a folder this process has."""
    targets = [os.readlink(entry) if os.path.islink(entry) else "" for entry in Path("/proc/self/fd").iterdir()]
    return sum(target.startswith(f"{folder}/shard-") for target in targets)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux what a process has open")
@pytest.mark.parametrize("num_datasets", [1, 3, 9])
def test_all_datasets_together_have_few_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_datasets: int) -> None:
    monkeypatch.setattr("kseq.reading.shard_cache.most_descriptors", lambda: 3)
    # Datasets that other tests have left open would have their share.
    monkeypatch.setattr("kseq.reading.shard_cache._KEEPERS", {})
    folder = write_dataset(tmp_path / "own")
    datasets = [kseq.ShardDataset(folder, read="pread") for _ in range(num_datasets)]
    for _ in range(2):
        for dataset in datasets:
            np.testing.assert_array_equal(dataset.read(range(4 * ROWS))["image"], IMAGES)
            assert 0 < open_shards(folder) <= max(3, num_datasets)
    for dataset in datasets[1:]:
        dataset.close()
    datasets[0].read(range(4 * ROWS))
    assert open_shards(folder) == 3
    datasets[0].close()
    assert open_shards(folder) == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux what a process has open")
def test_a_child_has_descriptors_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.reading.shard_cache.most_descriptors", lambda: 2)
    dataset = kseq.ShardDataset(write_dataset(tmp_path / "own"), read="pread")
    dataset[0]
    cache = sample_reader(dataset).collection.shards
    with cache._lock:
        child = os.fork()
        if child == 0:
            # As if another thread had held the lock at the fork: nobody may wait for it.
            is_same = np.array_equal(dataset.read(range(4 * ROWS))["image"], IMAGES)
            os._exit(0 if is_same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux what a process has open")
def test_decoding_a_batch_keeps_few_shards_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.reading.shard_cache.most_descriptors", lambda: 4)
    write_photos(tmp_path / "photos", {"cat": 20})
    kseq.pack(tmp_path / "photos", tmp_path / "packed", shard_bytes=1000, workers=0)
    opened = []
    plain = CropDecoder.decode

    def note(decoder: CropDecoder, *arguments: Any) -> np.ndarray:
        opened.append(open_shards(tmp_path / "packed"))
        return plain(decoder, *arguments)

    monkeypatch.setattr(CropDecoder, "decode", note)
    with kseq.Batches(tmp_path / "packed", batch_size=20, input_shape=(8, 8, 3), read="pread", workers=0) as batches:
        batches.batch(0, 0)
    assert len(opened) == 20
    # One more is open while it takes the place of another.
    assert max(opened) <= 5
