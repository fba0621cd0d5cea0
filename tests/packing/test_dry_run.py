"""Dry runs: they tell what a run would do, and write nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import kseq
from kseq.errors import ArgumentError, DatasetExistsError, SourceError
from kseq_tools.main import main
from tests.helpers.datasets import files
from tests.helpers.messages import raises
from tests.helpers.photos import write_numbered
from tests.helpers.unfinished import SHARD_BYTES, begin, resume


def test_a_dry_run_tells_what_a_run_then_does_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "images": kseq.ImageSettings("raw", (20, 30)),
        "val": 0.2,
        "shard_bytes": SHARD_BYTES,
        "workers": 0,
    }
    planned = kseq.pack(source, tmp_path / "packed", dry_run=True, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    packed = kseq.pack(source, tmp_path / "packed", **options)
    counts = ("num_found", "num_samples", "num_shards", "num_resumed")
    for name in ("path", "class_names", "splits", "class_counts", "rejected", *counts):
        assert getattr(planned, name) == getattr(packed, name), name
    assert abs(planned.num_bytes - packed.num_bytes) < 1000 * (packed.num_shards + 1)
    assert planned.num_bytes_free > 0


def test_a_dry_run_lists_what_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 2})
    (tmp_path / "table.csv").write_text("image,label\nphotos/a/00000.png,a\nphotos/a/00001.png,\n")
    report = kseq.pack(tmp_path / "table.csv", tmp_path / "packed", dry_run=True)
    assert (report.num_found, report.num_samples, [rejection.path for rejection in report.rejected]) == (
        2,
        1,
        [b"photos/a/00001.png"],
    )


def test_a_dry_run_lists_files_that_are_missing(tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"a": 1})
    table = tmp_path / "table.csv"
    table.write_text("image,label\nphotos/a/00000.png,a\nphotos/a/gone.png,a\n")
    report = kseq.pack(table, tmp_path / "packed", dry_run=True)
    assert report.num_samples == 1
    assert [(rejection.path, rejection.reason.split(":")[0]) for rejection in report.rejected] == [
        (b"photos/a/gone.png", "cannot be read")
    ]
    with raises(SourceError, "photos", 2, "photos/a/00000.png"):
        kseq.pack(table, tmp_path / "packed", root=tmp_path / "photos", dry_run=True)


def test_a_dry_run_refuses_what_a_run_would(source: Path, tmp_path: Path) -> None:
    before = begin(source, tmp_path / "packed")
    with raises(DatasetExistsError, tmp_path / "packed"):
        kseq.pack(source, tmp_path / "packed", dry_run=True)
    with raises(DatasetExistsError, "encoding", "'keep'"):
        resume(source, tmp_path / "packed", dry_run=True, images=kseq.ImageSettings("jpeg"))
    assert resume(source, tmp_path / "packed", dry_run=True).num_resumed == 2
    with raises(ArgumentError, "dry_run=True"):
        kseq.pack([], tmp_path / "new", dry_run=True)
    assert files(tmp_path / "packed") == before


def test_the_command_shows_the_plan(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pack", str(source), str(tmp_path / "packed"), "--val", "0.2", "--dry-run"]
    assert main(arguments) == 0
    found = capsys.readouterr().out.splitlines()
    assert [line.split() for line in found[:4]] == [
        ["class", "train", "val"], ["cat", "16", "4"], ["dog", "8", "2"], ["all", "24", "6"],
    ]  # fmt: skip
    words = (
        rf"30 images would be packed into {tmp_path}/packed: 1 shard, about [0-9.]+ KiB, of [0-9.]+ [GT]iB that are free there"
    )
    assert re.fullmatch(words, found[5])
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
