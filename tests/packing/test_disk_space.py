"""Room on the disk: a packing that cannot fit is refused before it begins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import kseq
from kseq.errors import WriteError
from tests.helpers.messages import raises


@pytest.mark.parametrize(
    ("options", "share"),
    [({"images": kseq.ImageSettings("raw", (50, 50))}, 0.9), ({}, 0.9), ({"images": kseq.ImageSettings("jpeg")}, 0.25)],
    ids=str,
)
def test_a_disk_that_cannot_hold_it_is_refused_at_once_and_one_that_might_is_not(
    source: Path, tmp_path: Path, options: dict[str, Any], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = kseq.pack(source, tmp_path / "packed", dry_run=True, **options).num_bytes
    free = int(planned * share) - 100
    monkeypatch.setattr("kseq.packing.disk_space.free_bytes", lambda _: free)
    with raises(WriteError, tmp_path / "packed", f"{planned:,}", f"{free:,}"):
        kseq.pack(source, tmp_path / "packed", workers=0, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    monkeypatch.setattr("kseq.packing.disk_space.free_bytes", lambda _: free + 200)
    assert kseq.pack(source, tmp_path / "packed", workers=0, **options).num_samples == 30


def test_a_file_system_that_does_not_tell_its_size_is_tried(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((512, 512, 0, 0, 0, 0, 0, 0, 0, 255)))
    report = kseq.pack(source, tmp_path / "packed", workers=0)
    assert (report.num_samples, report.num_bytes_free) == (30, 0)


def test_files_that_will_be_another_form_are_not_held_against_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    Image.new("RGB", (400, 400)).save(tmp_path / "photos/a/large.bmp")
    monkeypatch.setattr("kseq.packing.disk_space.free_bytes", lambda _: 100_000)
    assert kseq.pack(tmp_path / "photos", tmp_path / "packed", workers=0).num_bytes < 100_000
