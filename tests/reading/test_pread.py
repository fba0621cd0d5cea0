"""Reading without a map: the same samples, and a file that fails is an exception that names shard and sample."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

import kseq
from kseq.errors import ArgumentError, DamagedError
from kseq.platforms.files import is_remote, read_into
from kseq.storage.array_location import ArrayLocation
from kseq.storage.index import Index
from kseq.storage.opener import choose_read
from kseq.storage.pread_array import OpenDescriptor, PreadArray
from tests.helpers.messages import assert_says, raises
from tests.helpers.objects import pack_objects, write_objects
from tests.helpers.paths import ROOT
from tests.helpers.preloaded import build_library


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, masks, boxes and their labels, as they are, in several shards."""
    root = tmp_path_factory.mktemp("objects")
    pack_objects(write_objects(root), root / "packed")
    return root / "packed"


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.array_equal(one, other)) and np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.parametrize("kind", ["numbered", "packed_photos", "objects"])
@pytest.mark.parametrize("verify", ["first", "never"])
def test_samples_are_those_of_a_map(kind: str, verify: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(kind)
    mapped = kseq.ShardDataset(path, verify=verify, read="map")
    other = kseq.ShardDataset(path, verify=verify, read="pread")
    rng = np.random.default_rng(0)
    for position in range(len(mapped)):
        one, two = mapped[position], other[position]
        assert one.keys() == two.keys()
        assert all(same(one[name], two[name]) for name in one)
    if kind == "numbered":
        for _ in range(20):
            positions = rng.integers(0, len(mapped), rng.integers(0, 40))
            one, two = mapped.read(positions), other.read(positions)
            assert all(same(one[name], two[name]) for name in one)


def test_a_split_a_selection_and_a_concatenation_are_those_of_a_map(numbered: Path, second: Path) -> None:
    def select(read: str, other_read: str) -> list[Any]:
        one = kseq.ShardDataset(numbered, "val", read=read).where("label=b")
        both = one.concat(kseq.ShardDataset(second, read=other_read))
        values = both.read(range(len(both)))
        return [values["image"], values["label"], [both.source(position) for position in range(len(both))]]

    expected = select("map", "map")
    assert same(select("pread", "pread"), expected)
    assert same(select("pread", "map"), expected)


def test_a_copy_in_another_process_reads_in_the_same_way(numbered: Path) -> None:
    copy = pickle.loads(pickle.dumps(kseq.ShardDataset(numbered, read="pread")))
    assert "pread" in repr(copy)
    assert "pread" not in repr(kseq.ShardDataset(numbered))


def test_another_way_is_refused(numbered: Path) -> None:
    with raises(ArgumentError, "read=", "'mmap'", "auto", "map", "pread"):
        kseq.ShardDataset(numbered, read="mmap")


def test_what_is_on_a_plain_disk_is_mapped(numbered: Path) -> None:
    assert not is_remote(str(numbered))
    assert choose_read(str(numbered), "auto") == "map"


def test_what_lies_on_a_file_system_that_may_fail_is_not_mapped(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.storage.opener.is_remote", lambda path: Path(path) == numbered)
    assert "pread" in repr(kseq.ShardDataset(numbered))
    assert "pread" not in repr(kseq.ShardDataset(numbered, read="map"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, PreadArray]:
    array = np.arange(700 * 40, dtype="<i4").reshape(700, 5, 8)
    path = tmp_path_factory.mktemp("rows") / "file"
    path.write_bytes(b"head" + array.tobytes())
    opened = OpenDescriptor(str(path), os.open(path, os.O_RDONLY))
    return array, PreadArray(opened, ArrayLocation(4, "<i4", array.shape))


@given(numbers=st.lists(st.integers(0, 699), max_size=50), start=st.integers(0, 700), stop=st.integers(0, 700))
def test_an_array_is_indexed_as_numpy_indexes(
    rows: tuple[np.ndarray, PreadArray], numbers: list[int], start: int, stop: int
) -> None:
    array, unread = rows
    np.testing.assert_array_equal(unread[start:stop], array[start:stop], strict=True)
    np.testing.assert_array_equal(unread[np.array(numbers, np.int64)], array[np.array(numbers, np.int64)], strict=True)
    out = np.zeros((60, 5, 8), "<i4")
    positions = np.random.default_rng(0).permutation(60)[: len(numbers)]
    unread.read_rows(np.array(numbers, np.int64), out, positions)
    np.testing.assert_array_equal(out[positions], array[np.array(numbers, np.int64)])
    assert not np.delete(out, positions, axis=0).any()


def test_the_whole_array_and_single_rows_are_numpys(rows: tuple[np.ndarray, PreadArray]) -> None:
    array, unread = rows
    np.testing.assert_array_equal(np.asarray(unread), array, strict=True)
    np.testing.assert_array_equal(unread[699], array[699], strict=True)
    np.testing.assert_array_equal(unread[-1], array[-1], strict=True)
    assert (len(unread), unread.size, unread.nbytes) == (700, array.size, array.nbytes)
    for row in (700, -701):
        with pytest.raises(IndexError):
            unread[row]


def test_an_array_that_is_kept_cannot_be_changed_and_its_copy_can(tmp_path: Path) -> None:
    array = np.arange(40, dtype="<i4").reshape(10, 4)
    (tmp_path / "file").write_bytes(array.tobytes())
    opened = OpenDescriptor(str(tmp_path / "file"), os.open(tmp_path / "file", os.O_RDONLY))
    unread = PreadArray(opened, ArrayLocation(0, "<i4", array.shape))
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(unread)[0] = 9
    with pytest.raises(ValueError, match="read-only"):
        unread[0:1][0] = 9
    copy = np.array(unread)
    copy[0] = 9
    np.testing.assert_array_equal(unread[:], array)


def test_neighbours_in_the_file_are_read_in_one_call(
    rows: tuple[np.ndarray, PreadArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def note(descriptor: int, buffers: Any, offset: int) -> int:
        calls.append(len(buffers))
        return read_into(descriptor, buffers, offset)

    monkeypatch.setattr("kseq.storage.pread_array.read_into", note)
    array, unread = rows
    order = np.random.default_rng(0).permutation(700)
    np.testing.assert_array_equal(unread[order], array[order])
    assert calls == [700]


@pytest.mark.parametrize("most", [1, 3, 1024])
def test_calls_that_return_less_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    data = bytes(range(200))
    (tmp_path / "file").write_bytes(data)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    preadv = os.preadv

    def part(number: int, buffers: Any, offset: int) -> int:
        return preadv(number, [buffers[0][:7]], offset)

    monkeypatch.setattr("kseq.platforms.files._MOST_BUFFERS", most)
    monkeypatch.setattr("os.preadv", part)
    buffers = [bytearray(size) for size in (3, 50, 1, 20)]
    assert read_into(descriptor, [memoryview(buffer) for buffer in buffers], 100) == 74
    assert b"".join(buffers) == data[100:174]
    assert read_into(descriptor, [memoryview(bytearray(60)), memoryview(bytearray(80))], 100) == 100
    os.close(descriptor)


def shard_of(path: Path, position: int) -> Path:
    """The shard in which a sample of the numbered dataset lies: 14 or 15 samples each."""
    index = Index.open(str(path))
    return Path(index.shard_path(int(np.searchsorted(index.starts, position, side="right")) - 1))


@pytest.mark.parametrize("name", ["image", "label"])
def test_a_file_that_shrinks_is_named_with_the_sample(packed: Path, name: str) -> None:
    dataset = kseq.ShardDataset(packed, read="pread", verify="never")
    dataset[1]
    shard = shard_of(packed, 60)
    dataset[60]
    os.truncate(shard, 4000)
    with raises(DamagedError, shard, "row", "4000"):
        dataset.read(range(100))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/helpers/failing_reads.c, built."""
    return build_library("failing_reads", tmp_path_factory.mktemp("library"))


FAIL_AMID_THE_EPOCH = """
import ctypes, sys
import kseq
from kseq.storage.index import Index
folder, number, row = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
index = Index.open(folder)
shard = index.shard_path(2)
location = index.entry(2).arrays["image" if "image" in index.entry(2).arrays else "image/bytes"]
first = location.offset + (location.num_bytes // location.shape[0] * (row + 1) - 1 if len(location.shape) > 1 else 0)
dataset = kseq.ShardDataset(folder, read="pread", verify=sys.argv[4])
batches = [range(start, min(start + 10, len(dataset))) for start in range(0, len(dataset), 10)]
if dataset.fields["image"].encoded:
    batches = [[position] for batch in batches for position in batch]
read = (lambda batch: dataset[batch[0]]) if dataset.fields["image"].encoded else dataset.read
read(batches[0])
ctypes.CDLL(None).reads_fail(shard.encode(), ctypes.c_long(first), number)
done, errors = 0, []
for batch in batches:
    try:
        read(batch)
        done += 1
    except kseq.KseqError as error:
        errors.append(error)
print(type(errors[0]).__name__, isinstance(errors[0], OSError), done, len(batches))
print(errors[0])
ctypes.CDLL(None).reads_fail(b"", 0, 0)
for batch in batches:
    read(batch)
print("whole")
"""


@pytest.mark.slow
@pytest.mark.parametrize("verify", ["first", "never"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE], ids=["EIO", "ESTALE"])
@pytest.mark.parametrize("kind", ["numbered", "packed_photos"])
def test_a_disk_that_fails_amid_an_epoch_is_an_exception_and_the_next_try_reads_on(
    kind: str, number: int, verify: str, library: Path, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    environment = dict(os.environ, LD_PRELOAD=str(library), PYTHONPATH=str(ROOT))
    command = [sys.executable, "-c", FAIL_AMID_THE_EPOCH, str(path), str(number), "2", verify]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    kind_of_error, message, whole = done.stdout.splitlines()
    name, is_os_error, read, batches = kind_of_error.split()
    assert (name, is_os_error, whole) == ("ReadError", "True", "whole")
    assert 0 < int(read) < int(batches)
    # Checksums, which are compared first, lie behind the images: those of the first row fail too.
    row = 2 if kind == "numbered" and verify == "never" else 0
    assert_says(message, "shard-00002.h5", f"row {row}", os.strerror(number))


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"workers": 2}, {"workers": 1, "use_multiprocessing": True}], ids=str)
@pytest.mark.parametrize("kind", ["numbered", "packed_photos"])
def test_batches_are_those_of_a_map(kind: str, arguments: dict[str, Any], request: pytest.FixtureRequest) -> None:
    def epoch(read: str) -> list[Any]:
        path = request.getfixturevalue(kind)
        with kseq.Batches(path, "train", batch_size=16, input_shape=(8, 8, 3), read=read, **arguments) as batches:
            return [(images.copy(), labels.copy()) for images, labels in batches.epoch(1)]

    for (images, labels), (other_images, other_labels) in zip(epoch("map"), epoch("pread"), strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.parametrize(
    "arguments", [{"input_shape": (8, 8, 1)}, {"augment": kseq.RandomResizedCrop(8)}], ids=["whole", "crop"]
)
def test_of_a_batch_of_large_images_few_are_in_memory_at_once(tmp_path: Path, arguments: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 1), np.uint8)
    data = simplejpeg.encode_jpeg(noise, 90, "GRAY", "Gray")
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for number in range(8):
        (tmp_path / "photos" / "a" / f"{number}.jpg").write_bytes(data)
    kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0)
    with kseq.Batches(
        tmp_path / "packed", "all", read="pread", workers=0, color_mode="grayscale", label_mode=None, **arguments
    ) as batches:
        tracemalloc.start()
        batches.batch(0, 0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # Two at once while one group of images takes the place of another, and the pixels of one.
    assert most < 5 * len(data) + noise.nbytes < 8 * len(data)


def test_batches_of_a_dataset_are_read_as_the_dataset_unless_told_otherwise(numbered: Path) -> None:
    dataset = kseq.ShardDataset(numbered, "train", read="pread")
    assert "pread" in repr(kseq.Batches(dataset)._dataset)
    assert "pread" not in repr(kseq.Batches(dataset, read="map")._dataset)
