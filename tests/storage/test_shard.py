"""One shard, and the index over them: what goes in comes out, byte for byte, and plain h5py reads it too."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kseq.errors import ArgumentError, DamagedError, DatasetNotFoundError, FormatError, WriteError
from kseq.storage.array_location import ArrayLocation
from kseq.storage.fields import Field, parse_fields, write_fields
from kseq.storage.index import Contents, Index
from kseq.storage.index_schema import check_split_name
from kseq.storage.index_writer import write_index
from kseq.storage.layout import FORMAT_VERSION
from kseq.storage.rejected import Rejected
from kseq.storage.shard_entry import ShardEntry
from kseq.storage.shard_reader import ShardReader
from kseq.storage.shard_schema import shard_schema
from kseq.storage.shard_writer import EncodedImage, ShardWriter
from tests.helpers.messages import raises

DATASET = "0123456789abcdef" * 2
RAW = Field("pixels", "image", False, "|u1", (2, 3, 3))
PHOTO = Field("image", "image", True, "|u1", (None, None, 3))
LABEL = Field("label", "label", False, "<i4", ())
FIELDS = (PHOTO, RAW, LABEL)

paths = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name)
photos = st.builds(
    EncodedImage, st.binary(max_size=40), st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1), orientation=st.integers(1, 8)
)
pixels = st.binary(min_size=18, max_size=18).map(lambda data: np.frombuffer(data, np.uint8).reshape(2, 3, 3))
labels = st.integers(-(2**31), 2**31 - 1).map(np.int32)
samples = st.lists(st.tuples(paths, st.fixed_dictionaries({"image": photos, "pixels": pixels, "label": labels})), max_size=6)
rejections = st.lists(st.builds(Rejected, paths, st.text(st.characters(codec="utf-8"), max_size=10)), max_size=3)

SampleReader = list[tuple[bytes, dict[str, Any]]]


def sample(number: int) -> tuple[bytes, dict[str, Any]]:
    """A source that is not UTF-8, and a value for each field."""
    photo = EncodedImage(bytes(range(number, 2 * number)), number + 1, number + 2, 1 + number % 8)
    return b"\xff%d.jpg" % number, {"image": photo, "pixels": np.full((2, 3, 3), number, np.uint8), "label": np.int32(number)}


def write(
    path: Path, rows: Iterable[tuple[bytes, dict[str, Any]]], rejected: list[Rejected] | None = None, number: int = 3
) -> str:
    with ShardWriter.publishing(str(path), FIELDS, DATASET, number) as writer:
        for source, values in rows:
            writer.add(source, values)
        for rejection in rejected or []:
            writer.reject(rejection.path, rejection.reason)
        writer.finish()
    return str(path)


def read(path: str, entry: ShardEntry | None = None) -> ShardReader:
    return ShardReader(path, FIELDS, entry)


@pytest.fixture
def shard(tmp_path: Path) -> str:
    """A shard of six samples."""
    return write(tmp_path / "shard.h5", [sample(number) for number in range(6)], [Rejected(b"\xfe.jpg", "no image")])


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(rows=samples, rejected=rejections)
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, rows: SampleReader, rejected: list[Rejected]) -> None:
    folder = tmp_path_factory.mktemp("shard")
    reader = read(write(folder / "one.h5", rows, rejected))
    assert reader.num_rows == len(rows)
    assert reader.rejected() == rejected
    for row, (source, values) in enumerate(rows):
        photo = values["image"]
        assert reader.source(row) == source
        assert reader.stored("image", row).tobytes() == photo.data
        assert reader.array("image/size")[row].tolist() == [photo.height, photo.width]
        assert reader.array("image/orientation")[row] == photo.orientation
        np.testing.assert_array_equal(reader.array("pixels")[row], values["pixels"], strict=True)
        np.testing.assert_array_equal(reader.array("label")[row], values["label"], strict=True)
    assert reader.check_all() == []
    assert (folder / "one.h5").read_bytes() == Path(write(folder / "two.h5", rows, rejected)).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["one.h5", "two.h5"]
    assert read(str(folder / "two.h5"), reader.entry(3)).entry(3) == reader.entry(3)


def test_an_empty_shard_can_be_read(tmp_path: Path) -> None:
    reader = read(write(tmp_path / "empty.h5", []))
    assert (reader.num_rows, reader.array("pixels").shape, reader.array("label").shape) == (0, (0, 2, 3, 3), (0,))
    assert reader.check_all() == []


def test_plain_h5py_reads_the_same(shard: str) -> None:
    reader = read(shard)
    with h5py.File(shard, "r") as file:
        np.testing.assert_array_equal(file["pixels"][()], reader.array("pixels"), strict=True)
        np.testing.assert_array_equal(file["label"][()], reader.array("label"), strict=True)
        np.testing.assert_array_equal(file["image/size"][()], reader.array("image/size"), strict=True)
        offsets, sources = file["image/offsets"][()], file["source/offsets"][()]
        for row in range(6):
            data = file["image/bytes"][offsets[row] : offsets[row + 1]].tobytes()
            assert data == reader.stored("image", row).tobytes() == sample(row)[1]["image"].data
            assert file["source/bytes"][sources[row] : sources[row + 1]].tobytes() == b"\xff%d.jpg" % row
        attributes = dict(file.attrs)
        assert {name: attributes[name] for name in ("version", "shard", "rows", "complete")} == {
            "version": FORMAT_VERSION, "shard": 3, "rows": 6, "complete": 1,
        }  # fmt: skip
        assert (attributes["format"], attributes["dataset_id"]) == (b"kseq shard", DATASET.encode())
        arrays: dict[str, np.ndarray] = {}
        file.visititems(lambda name, each: arrays.update({name: each[()]}) if isinstance(each, h5py.Dataset) else None)
        lines = b"".join(
            f"{name} {entry.dtype.str} {entry.shape}\n".encode() + xxhash.xxh3_128(entry.tobytes()).digest()
            for name, entry in sorted(arrays.items())
        )
        assert attributes["digest"] == xxhash.xxh3_128(lines).hexdigest().encode()


def test_plain_h5py_reads_the_same_from_a_packed_raw_dataset(numbered: Path) -> None:
    for entry in sorted(numbered.glob("shard-*.h5")):
        with h5py.File(entry, "r") as file:
            number = int(file.attrs["shard"])
            index = Index.open(str(numbered))
            reader = ShardReader(str(entry), index.fields, index.entry(number))
            for name in ("image", "label"):
                np.testing.assert_array_equal(file[name][()], reader.array(name), strict=True)
            start = int(index.starts[number])
            assert file["image"][:, 0, 0, 0].tolist() == list(range(start, start + reader.num_rows))


def test_a_checksum_is_of_the_stored_bytes_of_all_fields_in_their_order(shard: str) -> None:
    with h5py.File(shard, "r") as file:
        for row in range(6):
            values = sample(row)[1]
            stored = values["image"].data + values["pixels"].tobytes() + values["label"].tobytes()
            assert file["checksum"][row] == xxhash.xxh3_64_intdigest(stored)


def test_every_array_is_contiguous_and_aligned(shard: str) -> None:
    reader = read(shard)
    for name, array in reader._file.arrays.items():
        assert array.flags.c_contiguous, name
        assert array.size == 0 or array.ctypes.data % 64 == 0, name
        assert not array.flags.writeable, name
    with h5py.File(shard, "r") as file:
        for name in reader._file.arrays:
            assert file[name].chunks is None
            assert (file[name].id.get_offset() or 0) % 64 == 0


def test_memory_of_a_writer_does_not_grow_with_the_bytes(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)

    def peak(count: int) -> int:
        tracemalloc.start()
        rows = (
            (b"a", {"image": EncodedImage(bytes(1 << 20), 9, 9), "pixels": pixels, "label": np.int32(0)}) for _ in range(count)
        )
        write(tmp_path / f"{count}.h5", rows)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    few, many = peak(4), peak(64)
    assert (tmp_path / "64.h5").stat().st_size > 64 << 20
    assert many - few < 1 << 20


def test_nothing_is_published_where_the_writer_did_not_finish(tmp_path: Path) -> None:
    with ShardWriter.publishing(str(tmp_path / "a.h5"), FIELDS, DATASET, 0) as writer:
        writer.add(*sample(1))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ShardWriter.publishing(str(tmp_path / "a.h5"), FIELDS, DATASET, 0) as writer:
        writer.add(*sample(1))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_a_write_error(tmp_path: Path) -> None:
    with raises(WriteError, "a.h5", "No such file or directory"):
        write(tmp_path / "missing" / "a.h5", [])


def test_rejects_a_shard_of_another_place(shard: str) -> None:
    with raises(DamagedError, shard, 3, 4):
        read(shard).check_origin(DATASET, 4)


def test_rejects_a_shard_without_a_row_count(shard: str) -> None:
    with h5py.File(shard, "r+") as file:
        del file.attrs["rows"]
    with raises(FormatError, shard, 6):
        read(shard)


def test_rejects_another_number_of_rows_than_the_index_says(shard: str) -> None:
    entry = read(shard).entry(3)
    reader = read(shard, replace(entry, num_rows=5))
    with raises(FormatError, 6, 5):
        reader.check_structure()


def entry_of(number: int, num_rows: int, num_bytes: int, digest: str, fields: Sequence[Field] = FIELDS) -> ShardEntry:
    """What an index says of a shard that need not exist: all arrays that have elements begin at byte 64."""
    shapes = {name: tuple(length or 0 for length in schema.shape) for name, schema in shard_schema(fields, num_rows).items()}
    arrays = {
        name: ArrayLocation(0 if 0 in shapes[name] else 64, schema.dtype, shapes[name])
        for name, schema in shard_schema(fields, num_rows).items()
    }
    return ShardEntry(number, num_rows, num_bytes, digest, 16, arrays)


def write_small_index(path: Path, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "dataset_id": DATASET,
        "fields": FIELDS,
        "class_names": ["cat", "d\udcffg"],
        "shards": [entry_of(0, 5, 1000, "ab" * 16), entry_of(1, 0, 500, "00" * 16), entry_of(2, 7, 2**40, "ff" * 16)],
        "splits": {"train": np.array([11, 0, 3]), "val": np.array([], np.int64)},
        "rejected": [Rejected(b"\xff.jpg", "broken: é")],
        "settings": json.dumps({"encoding": "keep"}),
    }
    write_index(str(path), Contents(**(arguments | changes)))


def test_an_index_comes_back(tmp_path: Path) -> None:
    write_small_index(tmp_path)
    index = Index.open(str(tmp_path))
    assert (index.dataset_id, index.fields, index.class_names) == (DATASET, FIELDS, ("cat", "d\udcffg"))
    assert (index.num_samples, index.num_shards, index.starts.tolist()) == (12, 3, [0, 5, 5, 12])
    assert index.entry(2) == entry_of(2, 7, 2**40, "ff" * 16)
    assert {name: ids.tolist() for name, ids in index.splits.items()} == {"train": [11, 0, 3], "val": []}
    assert index.rejected() == [Rejected(b"\xff.jpg", "broken: é")]
    assert json.loads(index.settings) == {"encoding": "keep"}
    assert index.check_all() == []


def test_an_index_is_written_the_same_twice(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        write_small_index(tmp_path)
        written.append((tmp_path / "index.h5").read_bytes())
    assert written[0] == written[1]
    assert [path.name for path in tmp_path.iterdir()] == ["index.h5"]


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ["cat", "dog"]},
        {"splits": {"train": np.array([11, 0, 4]), "val": np.array([], np.int64)}},
        {"shards": [entry_of(0, 5, 1000, "ac" * 16)]},
        {"rejected": []},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_digest_of_an_index_stands_for_all_it_holds(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_small_index(tmp_path)
    before = Index.open(str(tmp_path)).digest
    write_small_index(tmp_path, **changes)
    assert Index.open(str(tmp_path)).digest != before


def test_an_index_of_many_samples_opens_without_reading_its_splits(tmp_path: Path) -> None:
    write_small_index(tmp_path, splits={"train": np.arange(2_000_000)})
    tracemalloc.start()
    index = Index.open(str(tmp_path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert index.splits["train"].size == 2_000_000
    assert most < 1 << 20


def test_rejects_tables_of_different_lengths(tmp_path: Path) -> None:
    write_small_index(tmp_path)
    with h5py.File(tmp_path / "index.h5", "r+") as file:
        del file["shards/bytes"]
        file["shards/bytes"] = np.zeros(2, "<u8")
    with raises((FormatError, DamagedError), "index.h5"):
        Index.open(str(tmp_path))


def test_there_is_no_index_in_an_empty_folder(tmp_path: Path) -> None:
    with raises(DatasetNotFoundError, tmp_path, "index.h5"):
        Index.open(str(tmp_path))


@pytest.mark.parametrize("name", ["train", "fold0-train", "a.b", "0", "All"])
def test_allows_split_names(name: str) -> None:
    check_split_name(name)


@pytest.mark.parametrize("name", ["", "all", "a/b", "-a", ".", "a b", "ä"])
def test_refuses_split_names(name: str) -> None:
    with raises(ArgumentError, "'all'"):
        check_split_name(name)


def test_fields_come_back() -> None:
    assert parse_fields(write_fields(FIELDS), "a.h5") == FIELDS


@pytest.mark.parametrize(
    "text",
    [
        "", "3", "{}x", '[{"name": "image"}]', '[{"shape": []}]', "[3]",
        write_fields(FIELDS).replace('"image"', '"Image"'), write_fields(FIELDS).replace('"label"', '"mood"'),
    ],
)  # fmt: skip
def test_refuses_what_is_no_list_of_fields(text: str) -> None:
    with raises(FormatError, "a.h5"):
        parse_fields(text, "a.h5")


@pytest.mark.parametrize("name", ["", "Image", "a-b", "1a", "checksum", "source", "a/b", "boxes_mask"])
def test_refuses_field_names(name: str) -> None:
    with raises(ArgumentError):
        Field(name, "image", True, "|u1", (None, None, 3))


def test_refuses_fields_that_are_called_alike_and_a_field_like_the_mask_of_another() -> None:
    image, mask, other = (Field(name, "image", True, "|u1", (None, None, 3)) for name in ("cell", "cell_mask", "lesion_mask"))
    assert parse_fields(write_fields((image, other)), "a.h5") == (image, other)
    for fields, name in (((image, image), "'cell'"), ((image, mask), "'cell_mask'"), ((mask, other, image), "'cell_mask'")):
        with raises(FormatError, "a.h5", name):
            parse_fields(write_fields(fields), "a.h5")


def test_refuses_a_field_of_unknown_kind() -> None:
    with raises(ArgumentError, "'sound'", "image", "label", "mask"):
        Field("image", "sound", True, "|u1", (None, None, 3))


@pytest.mark.parametrize(("channels", "mode"), [(1, "grayscale"), (3, "rgb"), (4, "rgba")])
def test_a_field_knows_its_color_mode(channels: int, mode: str) -> None:
    assert Field("image", "image", True, "|u1", (None, None, channels)).color_mode == mode
