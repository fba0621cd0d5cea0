"""Damage to a dataset: each is found, and told in one line that names the file and what was expected."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import kseq
from kseq.errors import DamagedError, DatasetNotFoundError, FormatError, KseqError
from kseq.storage.layout import FORMAT_VERSION
from tests.helpers.messages import Parts, assert_says, raises
from tests.helpers.photos import numbered_pixels, write_numbered

BAD_ROW = 18  # the third sample of shard 1, which holds 16 to 31


def change(path: Path, edit: Callable[[h5py.File], object]) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)


def flip_pixel(packed: Path) -> None:
    def flip(file: h5py.File) -> None:
        file["image"][2, 0, 0, 0] ^= 1

    change(packed / "shard-00001.h5", flip)


def truncate(path: Path, keep: int = -1) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def swap_shards(packed: Path) -> None:
    one, two = packed / "shard-00001.h5", packed / "shard-00002.h5"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)


def newer(path: Path) -> None:
    change(path, lambda file: file.attrs.modify("version", np.uint64(FORMAT_VERSION + 1)))


DAMAGES: dict[str, tuple[Callable[[Path], object], type[KseqError], Parts]] = {
    "a truncated shard": (
        lambda p: truncate(p / "shard-00001.h5"),
        DamagedError,
        ("shard-00001.h5", "bytes"),
    ),
    "an empty shard": (
        lambda p: truncate(p / "shard-00001.h5", 0),
        DamagedError,
        ("shard-00001.h5", 0, "bytes"),
    ),
    "a missing shard": (
        lambda p: (p / "shard-00001.h5").unlink(),
        DatasetNotFoundError,
        ("shard-00001.h5",),
    ),
    "swapped shards": (swap_shards, DamagedError, ("shard-00001.h5", "digest")),
    "a flipped bit": (flip_pixel, DamagedError, ("shard-00001.h5", "row 2", "'a/00018.png'", "checksum")),
    "an index of a newer format": (
        lambda p: newer(p / "index.h5"),
        FormatError,
        ("index.h5", "version", FORMAT_VERSION + 1, "newer"),
    ),
    "a truncated index": (
        lambda p: truncate(p / "index.h5", 2000),
        DamagedError,
        ("index.h5", "HDF5"),
    ),
    "a shard for an index": (
        lambda p: shutil.copy(p / "shard-00001.h5", p / "index.h5"),
        FormatError,
        ("index.h5", "'kseq shard'", "'kseq index'"),
    ),
    "a missing index": (lambda p: (p / "index.h5").unlink(), DatasetNotFoundError, ("index.h5",)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_names_what_is_wrong_when_it_reads(damage: str, packed: Path) -> None:
    make, kind, words = DAMAGES[damage]
    make(packed)
    with raises(kind, *words):
        kseq.ShardDataset(packed)[BAD_ROW]


@pytest.mark.parametrize("damage", [name for name in DAMAGES if "index" not in name])
def test_other_shards_are_read_all_the_same(damage: str, packed: Path) -> None:
    DAMAGES[damage][0](packed)
    assert kseq.ShardDataset(packed)[70]["image"][0, 0, 0] == 70


@pytest.mark.parametrize("damage", [name for name in DAMAGES if "index" not in name])
def test_verify_lists_it(damage: str, packed: Path) -> None:
    make, _, words = DAMAGES[damage]
    make(packed)
    report = kseq.verify(packed)
    assert len(report.damaged) == (2 if damage == "swapped shards" else 1)
    assert_says(report.damaged[0], *words)


# A shard is read without its structure, which the index knows: what is wrong with that alone is for `verify` to find.
STRUCTURES: dict[str, tuple[Callable[[h5py.File], object], Parts]] = {
    "a newer format": (
        lambda file: file.attrs.modify("version", np.uint64(FORMAT_VERSION + 1)),
        ("version", FORMAT_VERSION + 1, FORMAT_VERSION),
    ),
    "another number of rows": (lambda file: file.attrs.modify("rows", np.uint64(15)), ("rows", 15, 16)),
    "writing it not finished": (lambda file: file.attrs.modify("complete", np.uint64(0)), ("complete", 0, 1)),
}


@pytest.mark.parametrize("damage", STRUCTURES)
def test_verify_lists_what_is_wrong_with_the_structure_of_a_shard(damage: str, packed: Path) -> None:
    edit, words = STRUCTURES[damage]
    change(packed / "shard-00001.h5", edit)
    assert kseq.ShardDataset(packed)[BAD_ROW]["image"][0, 0, 0] == BAD_ROW
    (line,) = kseq.verify(packed).damaged
    assert_says(line, "shard-00001.h5", *words)


def test_verify_finds_nothing_in_a_whole_dataset(numbered: Path, packed_photos: Path) -> None:
    for path, samples, shards in ((numbered, 100, 7), (packed_photos, 60, 3)):
        report = kseq.verify(path)
        assert (report.num_samples, report.num_shards, report.damaged) == (samples, shards, [])
        assert report.num_bytes == sum(file.stat().st_size for file in path.glob("shard-*.h5"))


def test_a_shard_of_another_dataset_is_refused(packed: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 50, "b": 30, "c": 20})
    Image.fromarray(numbered_pixels(99)).save(tmp_path / "photos/a/00018.png")
    kseq.pack(tmp_path / "photos", tmp_path / "other", images=kseq.ImageSettings("raw", (4, 4)), shard_bytes=800, workers=0)
    shutil.copy(tmp_path / "other/shard-00001.h5", packed / "shard-00001.h5")
    with raises(DamagedError, "shard-00001.h5", "digest"):
        kseq.ShardDataset(packed)[BAD_ROW]


@pytest.mark.parametrize("verify", ["first", "always"])
def test_a_flipped_bit_is_found_every_time(packed: Path, verify: str) -> None:
    flip_pixel(packed)
    dataset = kseq.ShardDataset(packed, verify=verify)
    for _ in range(2):
        with raises(DamagedError, "shard-00001.h5", "row 2", "checksum"):
            dataset.read([3, BAD_ROW])
    assert len(dataset.read([3, BAD_ROW - 1])["image"]) == 2


def test_never_verified_bytes_are_believed(packed: Path) -> None:
    flip_pixel(packed)
    assert kseq.ShardDataset(packed, verify="never")[BAD_ROW]["image"][0, 0, 0] == BAD_ROW ^ 1


def test_what_happens_between_two_reads_is_found_by_always_and_not_by_first(packed: Path) -> None:
    always, first = (kseq.ShardDataset(packed, verify=verify) for verify in ("always", "first"))
    for dataset in (always, first):
        assert dataset[BAD_ROW]["image"][0, 0, 0] == BAD_ROW
    flip_pixel(packed)
    assert first[BAD_ROW]["image"][0, 0, 0] == BAD_ROW ^ 1
    with pytest.raises(DamagedError):
        always[BAD_ROW]


def test_offsets_that_leave_the_bytes_are_an_error(packed_photos: Path, tmp_path: Path) -> None:
    packed = Path(shutil.copytree(packed_photos, tmp_path / "photos"))

    def edit(file: h5py.File) -> None:
        file["image/offsets"][1] = 2**60

    change(packed / "shard-00000.h5", edit)
    with raises(DamagedError, "shard-00000.h5", "image/offsets", "row 0", 0, 1152921504606846976):
        kseq.ShardDataset(packed, verify="never")[0]


@pytest.mark.parametrize(
    "arguments", [{"input_shape": (8, 8, 3)}, {"augment": kseq.RandomResizedCrop(8)}], ids=["whole", "crop"]
)
def test_offsets_that_leave_the_bytes_are_told_with_the_source_of_the_sample(
    packed_photos: Path, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    packed = Path(shutil.copytree(packed_photos, tmp_path / "photos"))

    def edit(file: h5py.File) -> None:
        file["image/offsets"][4] = 2**60

    source = kseq.ShardDataset(packed).source(3)
    change(packed / "shard-00000.h5", edit)
    batches = kseq.Batches(packed, "all", shuffle=False, verify="never", workers=0, **arguments)
    with raises(DamagedError, "shard-00000.h5", "row 3", source, "image/offsets", 1152921504606846976):
        batches.batch(0, 0)


def test_a_sample_id_in_a_split_that_does_not_exist_is_an_error(packed: Path) -> None:
    def edit(file: h5py.File) -> None:
        file["splits/val"][3] = 100

    change(packed / "index.h5", edit)
    with raises(DamagedError, "index.h5", 100):
        kseq.ShardDataset(packed, "val")[3]
    assert len(kseq.verify(packed).damaged) == 2


@pytest.mark.parametrize("which", ["numbered", "packed_photos"])
def test_verify_finds_any_byte_of_an_array_that_changed(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    packed = Path(shutil.copytree(request.getfixturevalue(which), tmp_path / "copy"))
    rng = np.random.default_rng(1)
    for name in ("shard-00000.h5", "index.h5"):
        whole = (packed / name).read_bytes()
        with h5py.File(packed / name) as file:
            places: dict[str, tuple[int, int]] = {}
            file.visititems(
                lambda key, thing, places=places: (
                    places.update({key: (thing.id.get_offset(), thing.id.get_storage_size())})
                    if isinstance(thing, h5py.Dataset) and thing.size
                    else None
                )
            )
        for key, (offset, size) in places.items():
            changed = bytearray(whole)
            changed[offset + int(rng.integers(size))] ^= 1 << int(rng.integers(8))
            (packed / name).write_bytes(changed)
            with contextlib.suppress(KseqError):
                assert kseq.verify(packed).damaged, key
        (packed / name).write_bytes(whole)
