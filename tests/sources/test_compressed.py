"""Tars and records that are compressed as a whole: unpacked for the packing, with all that can go wrong."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

import kseq
from kseq.errors import ArgumentError, SourceError, WriteError
from kseq.sources import compressed
from tests.helpers.messages import assert_says, raises
from tests.helpers.records import example, png, write_records
from tests.helpers.writers import write_tar

# Python has its own from 3.14 on, which the package is not needed for.
zstandard = pytest.importorskip("zstandard", reason="files that end in .zst are written by zstandard")

Compress = Callable[[bytes], bytes]
WAYS: dict[str, Compress] = {
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstandard.ZstdCompressor().compress,
    # Of another name, and of several streams.
    ".tar": gzip.compress,
    ".tar.GZ": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
}
COLOURS = {"a": 1, "b": 2, "c": 3}


def tar(tmp_path: Path, first: int = 0) -> bytes:
    members = {}
    for name, colour in COLOURS.items():
        members |= {f"{name}{first}.png": png((colour, first, 0)), f"{name}{first}.cls": b"%d" % colour}
    return write_tar(tmp_path / "plain", members).read_bytes()


def left_files(*folders: Path) -> list[str]:
    return [name for folder in folders for name in os.listdir(folder) if name.startswith(".kseq-tmp-")]


@pytest.mark.parametrize("suffix", WAYS)
def test_a_compressed_tar_is_packed_as_the_tar_is(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"train{suffix}").write_bytes(WAYS[suffix](tar(tmp_path)))
    report = kseq.pack(tmp_path / f"train{suffix}", tmp_path / "packed", workers=2 if suffix == ".tar.zst" else 0)
    assert (report.splits, report.rejected) == ({"train": 3}, [])
    assert_says(report.notes[-1], 1, f"{len(tar(tmp_path)):,}")
    dataset = kseq.ShardDataset(tmp_path / "packed")
    assert [dataset.class_names[dataset[number]["label"]] for number in range(3)] == ["1", "2", "3"]
    assert [int(dataset[number]["image"][0, 0, 0]) for number in range(3)] == [1, 2, 3]
    assert left_files(tmp_path / "packed", tmp_path) == []
    assert dataset.source(0) == f"train{suffix}/a0"


def test_several_shards_are_unpacked_each_and_damaged_ones_listed(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "train", "val")):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{split}-{number:06d}.tar.gz").write_bytes(gzip.compress(tar(tmp_path, number)))
    (tmp_path / "in" / "train-000007.tar").write_bytes(tar(tmp_path, 7))
    (tmp_path / "in" / "train-000008.tar.gz").write_bytes(b"\x1f\x8b no gzip at all")
    report = kseq.pack(tmp_path / "in", tmp_path / "packed", workers=0)
    assert report.splits == {"train": 9, "val": 3}
    assert [rejected.path for rejected in report.rejected] == [b"train-000008.tar.gz"]
    assert report.num_samples + len(report.rejected) == report.num_found
    assert_says(report.notes[-1], 3)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_of_a_stream_that_breaks_off_what_comes_before_is_packed(tmp_path: Path, suffix: str) -> None:
    # Noise, which cannot be compressed, so that the first images lie before the break.
    noise = {f"{number}.jpg": png((number, 0, 0)) + os.urandom(150_000) for number in range(12)}
    members = {**noise, **{f"{number}.cls": b"1" for number in range(12)}}
    ordered = {name: members[name] for name in sorted(members, key=lambda name: (int(name.partition(".")[0]), name))}
    whole = WAYS[suffix](write_tar(tmp_path / "plain", ordered).read_bytes())
    (tmp_path / f"x{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
    report = kseq.pack(tmp_path / f"x{suffix}", tmp_path / "packed", workers=0, images=kseq.ImageSettings(check=False))
    assert 1 <= report.num_samples < 12
    assert len(report.rejected) == 1
    (tmp_path / f"x{suffix}").write_bytes(whole[:9])
    with raises(SourceError, tmp_path / f"x{suffix}"):
        kseq.pack(tmp_path / f"x{suffix}", tmp_path / "other", workers=0)


def test_damage_in_the_checksum_alone_is_said(tmp_path: Path) -> None:
    # What is unpacked together with the checksum is lost: the noise at the end.
    members = {"a.png": png(), "a.cls": b"1", "z.noise": os.urandom(20_000)}
    data = bytearray(gzip.compress(write_tar(tmp_path / "plain", members).read_bytes()))
    data[-6] ^= 1
    (tmp_path / "x.tar.gz").write_bytes(data)
    report = kseq.pack(tmp_path / "x.tar.gz", tmp_path / "packed", workers=0)
    assert (report.num_samples, len(report.rejected)) == (1, 1)


def test_a_bomb_and_a_disk_without_room_end_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(tar(tmp_path) + bytes(1 << 20))
    (tmp_path / "x.tar.gz").write_bytes(bomb)
    monkeypatch.setattr(compressed, "_BOMB_BYTES", 1 << 18)
    monkeypatch.setattr(compressed, "_BOMB_RATIO", 20)
    with raises(SourceError, tmp_path / "x.tar.gz", 20, f"{len(bomb):,}", f"gunzip {tmp_path / 'x.tar.gz'}"):
        kseq.pack(tmp_path / "x.tar.gz", tmp_path / "packed")
    monkeypatch.setattr(compressed, "_BOMB_RATIO", 10_000)
    monkeypatch.setattr(compressed, "_free_bytes", lambda folder: 65 << 20)
    with raises(WriteError, tmp_path / "x.tar.gz", f"{65 << 20:,}"):
        kseq.pack(tmp_path / "x.tar.gz", tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    assert left_files(tmp_path) == []


def test_without_the_package_zstandard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tar.zst").write_bytes(WAYS[".tar.zst"](tar(tmp_path)))
    for name in ("zstandard", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with raises(ArgumentError, tmp_path / "x.tar.zst", "kseq[zstd]"):
        kseq.pack(tmp_path / "x.tar.zst", tmp_path / "packed", workers=0)


def test_a_packing_of_compressed_tars_goes_on_and_notices_other_ones(tmp_path: Path) -> None:
    source = tmp_path / "x.tar.gz"
    source.write_bytes(gzip.compress(tar(tmp_path)))
    kseq.pack(source, tmp_path / "packed", workers=0, shard_bytes=200)
    index = (tmp_path / "packed" / "index.h5").read_bytes()
    (tmp_path / "packed" / "index.h5").unlink()
    report = kseq.pack(source, tmp_path / "packed", workers=0, shard_bytes=200, resume=True)
    assert report.num_resumed == report.num_shards == 3
    assert (tmp_path / "packed" / "index.h5").read_bytes() == index
    assert kseq.pack(source, tmp_path / "dry", dry_run=True).num_samples == 3
    assert kseq.append(tmp_path / "packed", source, again=True, workers=0).num_samples == 3
    assert left_files(tmp_path / "packed") == []


def test_compressed_records_are_unpacked_and_those_of_zlib_named(tmp_path: Path) -> None:
    records = write_records(tmp_path / "plain", *(example({"image": [png()], "label": [label]}) for label in (1, 2)))
    (tmp_path / "x.tfrecord.gz").write_bytes(gzip.compress(records.read_bytes()))
    report = kseq.pack(tmp_path / "x.tfrecord.gz", tmp_path / "packed", workers=2)
    assert (report.num_samples, report.class_names) == (2, ("1", "2"))
    assert kseq.ShardDataset(tmp_path / "packed").source(1) == "x.tfrecord.gz/1"
    (tmp_path / "y.tfrecord").write_bytes(zlib.compress(records.read_bytes()))
    with raises(SourceError, tmp_path / "y.tfrecord", "compressed"):
        kseq.pack(tmp_path / "y.tfrecord", tmp_path / "other")
    (tmp_path / "z.tfrecord.gz").write_bytes(gzip.compress(records.read_bytes())[:60])
    with raises(SourceError, tmp_path / "z.tfrecord.gz"):
        kseq.pack(tmp_path / "z.tfrecord.gz", tmp_path / "other")


def test_zeros_behind_a_compressed_tar_are_no_damage(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar(tmp_path)) + bytes(20_480))
    report = kseq.pack(tmp_path / "x.tar.gz", tmp_path / "packed", workers=0)
    assert (report.num_samples, report.rejected) == (3, [])
