"""A new format is one module and one line of registration: the recipe in `kseq/sources/base.py` is enough to write one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kseq
from kseq.errors import ArgumentError, SourceError
from kseq.sources import formats, registry
from tests.helpers.messages import assert_says, raises
from tests.helpers.photos import numbers_of, write_numbered
from tests.helpers.sqlite_source import SQLITE, write_database


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of ten images, and two rows that cannot be packed; its format is registered."""
    all_formats = (*formats.load_formats(), SQLITE)
    monkeypatch.setattr(registry, "load_formats", lambda: all_formats)
    write_numbered(tmp_path / "photos", {"daisy": 6, "rose": 4})
    files = sorted((tmp_path / "photos").rglob("*.png"))
    rows: list[tuple[str, bytes | None, str]] = [(file.name, file.read_bytes(), file.parent.name) for file in files]
    write_database(tmp_path / "photos.sqlite", [*rows, ("empty.png", None, "rose"), ("broken.png", b"no image", "rose")])
    return tmp_path / "photos.sqlite"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_format_that_was_registered_is_recognised_and_packed(database: Path, tmp_path: Path, workers: int) -> None:
    report = kseq.pack(database, tmp_path / "packed", workers=workers)
    assert (report.num_found, report.num_samples) == (12, 10)
    reasons = {rejected.path: rejected.reason for rejected in report.rejected}
    assert reasons.keys() == {b"empty.png", b"broken.png"}
    assert_says(reasons[b"empty.png"], "row 11")
    with kseq.ShardDataset(tmp_path / "packed") as dataset:
        np.testing.assert_array_equal(numbers_of(np.stack(dataset.read(range(10))["image"])), np.arange(10))
        assert [dataset.source(number) for number in (0, 9)] == ["00000.png", "00009.png"]


def test_what_a_format_does_not_take_is_refused(database: Path, tmp_path: Path) -> None:
    with raises(ArgumentError, "root=", "sqlite"):
        kseq.pack(database, tmp_path / "packed", root=tmp_path)


def test_a_file_of_another_kind_under_the_name_is_refused(database: Path, tmp_path: Path) -> None:
    database.write_bytes(b"no database at all" * 100)
    with raises(SourceError, "photos.sqlite"):
        kseq.pack(database, tmp_path / "packed")
