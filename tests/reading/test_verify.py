"""kseq.verify reads every byte: it lists each damage in a line of its own, and nothing where all is whole."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseq
from kseq.errors import DamagedError, DatasetNotFoundError, FormatError
from kseq.platforms.files import read_into
from kseq.storage.checksums import arrays_digest
from kseq.storage.index import Index
from kseq.storage.layout import FORMAT_VERSION
from kseq.storage.opener import opener_for
from kseq.storage.shard_reader import ShardReader
from tests.helpers.messages import assert_says, raises

Stretch = tuple[str, int, int]


def places(path: Path) -> list[Stretch]:
    """The name, first byte and size of every array of a file that has any bytes."""
    found: list[Stretch] = []

    def note(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset) and thing.size:
            found.append((name, thing.id.get_offset(), thing.id.get_storage_size()))

    with h5py.File(path, "r") as file:
        file.visititems(note)
    return found


def flip(path: Path, position: int, bit: int = 0) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        value = file.read(1)[0]
        file.seek(position)
        file.write(bytes([value ^ 1 << bit]))


def flip_in(path: Path, name: str, byte: int = 0) -> None:
    flip(path, next(offset for entry, offset, _ in places(path) if entry == name) + byte)


def test_finds_nothing_in_whole_datasets(numbered: Path, packed_photos: Path) -> None:
    for path, samples in ((numbered, 100), (packed_photos, 60)):
        report = kseq.verify(path)
        shards = list(path.glob("shard-*.h5"))
        assert report.damaged == []
        assert (report.path, report.num_samples, report.num_shards) == (str(path), samples, len(shards))
        assert report.num_bytes == sum(shard.stat().st_size for shard in shards)


def test_tells_how_far_it_is(numbered: Path) -> None:
    calls: list[tuple[int, int]] = []
    kseq.verify(numbered, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(int(start), 100) for start in Index.open(str(numbered)).starts[1:]]


def test_lists_every_damage_in_a_line_of_its_own(packed: Path) -> None:
    shards = sorted(packed.glob("shard-*.h5"))
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    flip_in(shards[2], "image", 0)
    flip_in(shards[2], "image", 3 * 48)
    flip_in(shards[3], "source/bytes")
    shards[4].write_bytes(b"")
    shutil.copy(shards[6], shards[5])
    flip_in(packed / "index.h5", "splits/train")
    lines = kseq.verify(packed).damaged
    assert len(lines) == 8
    assert not any("\n" in line for line in lines)
    expected = [
        f"{packed}/index.h5: the arrays have digest ",
        f"{shards[0]}: there is no such file",
        f"{shards[1]}: has ",
        f"{shards[2]}: row 0 ('a/000",
        f"{shards[2]}: row 3 ('a/000",
        f"{shards[3]}: the arrays have digest ",
        f"{shards[4]}: has 0 bytes, expected are ",
        f"{shards[5]}: ",
    ]
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.slow
@settings(max_examples=150)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["raw", "encoded"])
def test_finds_one_flipped_bit_anywhere_in_the_arrays_of_a_shard(
    kind: str, numbered: Path, packed_photos: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    source = numbered if kind == "raw" else packed_photos
    index = Index.open(str(source))
    path = tmp_path_factory.getbasetemp() / f"flipped-{kind}.h5"
    shutil.copy(source / "shard-00000.h5", path)
    name, offset, size = data.draw(st.sampled_from(places(path)))
    flip(path, offset + data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 7)))
    found = ShardReader(str(path), index.fields, index.entry(0)).check_all()
    assert found, name
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in found)


@pytest.mark.slow
@settings(max_examples=150)
@given(data=st.data())
def test_a_flipped_bit_anywhere_in_a_shard_is_found_or_changes_no_sample(
    numbered: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    index = Index.open(str(numbered))
    path = tmp_path_factory.getbasetemp() / "flipped-anywhere.h5"
    shutil.copy(numbered / "shard-00001.h5", path)
    whole = ShardReader(str(path), index.fields, index.entry(1)).array("image").tobytes()
    flip(path, data.draw(st.integers(0, path.stat().st_size - 1)), data.draw(st.integers(0, 7)))
    try:
        reader = ShardReader(str(path), index.fields, index.entry(1))
    except kseq.KseqError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert reader.check_all() or reader.array("image").tobytes() == whole


@pytest.mark.parametrize("name", ["splits/train", "splits/val"])
def test_finds_a_flipped_bit_in_a_split(packed: Path, name: str) -> None:
    flip_in(packed / "index.h5", name, 8)
    damaged = kseq.verify(packed).damaged
    assert damaged and damaged[0].startswith(f"{packed}/index.h5: the arrays have digest ")


@pytest.mark.parametrize(
    "name", ["shards/number", "shards/rows", "shards/bytes", "shards/digest", "class_names/bytes", "class_names/offsets"]
)
@pytest.mark.parametrize("read", [kseq.ShardDataset, kseq.verify])
def test_a_flipped_bit_in_the_tables_of_the_index_is_found_when_it_is_opened(
    packed: Path, name: str, read: Callable[[Path], object]
) -> None:
    flip_in(packed / "index.h5", name)
    with raises(DamagedError, packed / "index.h5"):
        read(packed)


def test_a_row_count_that_changed_does_not_shift_the_samples(packed: Path) -> None:
    with h5py.File(packed / "index.h5", "r+") as file:
        rows = file["shards/rows"][()]
        file["shards/rows"][...] = rows - np.array([1] + [0] * (len(rows) - 1), "<u8")
    with raises(DamagedError, "index.h5"):
        kseq.ShardDataset(packed)


@pytest.mark.parametrize("name", ["rejected_path/offsets", "rejected_reason/offsets"])
def test_finds_a_flipped_bit_in_what_was_rejected(packed: Path, name: str) -> None:
    flip_in(packed / "index.h5", name)
    assert len(kseq.verify(packed).damaged) == 1


def test_says_that_there_is_no_dataset(tmp_path: Path) -> None:
    with raises(DatasetNotFoundError, tmp_path, "index.h5"):
        kseq.verify(tmp_path)


def test_refuses_an_index_of_a_newer_format(packed: Path) -> None:
    with h5py.File(packed / "index.h5", "r+") as file:
        file.attrs.modify("version", np.uint64(FORMAT_VERSION + 1))
    with raises(FormatError, "index.h5", FORMAT_VERSION + 1, "newer"):
        kseq.verify(packed)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux what is read")
def test_rows_that_the_disk_cannot_read_are_listed_beside_those_that_changed(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Index.open(str(packed)).entry(2)
    image = entry.arrays["image"]
    row_bytes = image.num_bytes // entry.num_rows
    bad = range(image.offset + 3 * row_bytes, image.offset + 4 * row_bytes)
    with open(packed / "shard-00002.h5", "r+b") as file:
        file.seek(image.offset)
        file.write(b"\xee")

    def fail(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        end = offset + sum(map(len, buffers))
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith("shard-00002.h5") and offset < bad.stop and end > bad.start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_into(descriptor, buffers, offset)

    monkeypatch.setattr("kseq.storage.pread_array.read_into", fail)
    changed, unread = kseq.verify(packed).damaged
    assert_says(changed, "shard-00002.h5", "row 0", "checksum")
    assert_says(unread, "shard-00002.h5", "row 3", os.strerror(errno.EIO))


def test_the_digest_of_a_shard_takes_little_memory(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def note(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        sizes.append(sum(map(len, buffers)))
        return read_into(descriptor, buffers, offset)

    monkeypatch.setattr("kseq.storage.checksums._BYTES_AT_ONCE", 100)
    monkeypatch.setattr("kseq.storage.pread_array.read_into", note)
    index = Index.open(str(packed))
    reader = ShardReader(index.shard_path(0), index.stored_fields, index.entry(0), opener_for(str(packed), "pread"))
    arrays = {"image": reader.array("image")}
    sizes.clear()
    assert arrays_digest(arrays) == arrays_digest({"image": np.asarray(arrays["image"])})
    assert max(sizes[:-1]) <= 100


def test_a_shard_that_shrinks_between_index_and_opening_is_refused(packed: Path) -> None:
    dataset = kseq.ShardDataset(packed)
    shard = packed / "shard-00002.h5"
    with open(shard, "r+b") as file:
        file.truncate(shard.stat().st_size - 4096)
    start = int(Index.open(dataset.path).starts[2])
    assert dataset.read(range(start))["image"].shape[0] == start
    with raises(DamagedError, shard):
        dataset.read([0, start])


def test_a_shard_that_shrinks_while_it_is_closed_is_refused(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kseq.reading.shard_cache.most_maps", lambda: 1)
    dataset = kseq.ShardDataset(packed)
    start = int(Index.open(dataset.path).starts[2])
    dataset.read([start])
    dataset.read([0])
    shard = packed / "shard-00002.h5"
    with open(shard, "r+b") as file:
        file.truncate(shard.stat().st_size - 4096)
    with raises(DamagedError, shard):
        dataset.read([start])


def count_comparisons(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that are compared with their checksums from now on."""
    compared: list[int] = []
    checksum = ShardReader._checksum

    def note(reader: ShardReader, row: int) -> int:
        compared.append(row)
        return checksum(reader, row)

    monkeypatch.setattr(ShardReader, "_checksum", note)
    return compared


@pytest.mark.parametrize(("verify", "expected"), [("first", [0, 1, 2]), ("always", [0, 1, 0, 1, 1, 2]), ("never", [])])
def test_bytes_are_compared_as_often_as_asked(
    numbered: Path, monkeypatch: pytest.MonkeyPatch, verify: str, expected: list[int]
) -> None:
    compared = count_comparisons(monkeypatch)
    dataset = kseq.ShardDataset(numbered, verify=verify)
    for ids in ([0, 1], [0, 1], [1, 2]):
        dataset.read(ids)
    assert compared == expected


def test_a_flipped_offset_is_found_when_its_sample_is_read(packed_photos: Path, tmp_path: Path) -> None:
    packed = Path(shutil.copytree(packed_photos, tmp_path / "packed"))
    flip_in(packed / "shard-00000.h5", "image/offsets", 8)
    for number in (0, 1):
        with raises(DamagedError, "shard-00000.h5", f"row {number}", f"'cat/0000{number}.jpg'"):
            kseq.ShardDataset(packed)[number]
    assert kseq.ShardDataset(packed)[2]["image"].ndim == 3


def test_every_array_of_a_shard_is_among_those_that_are_flipped(numbered: Path) -> None:
    index = Index.open(str(numbered))
    path = numbered / "shard-00000.h5"
    locations = index.entry(0).arrays
    assert {name for name, _, _ in places(path)} == {name for name, array in locations.items() if 0 not in array.shape}
