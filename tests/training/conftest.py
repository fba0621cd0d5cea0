"""A dataset of photos with masks and boxes, kept as PNG files and as raw pixels."""

from __future__ import annotations

from pathlib import Path

import pytest

import kseq
from kseq.training import waiting
from tests.helpers.objects import HEIGHT, WIDTH, pack_objects, write_objects


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_objects(tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="session")
def kept(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_objects(table, tmp_path_factory.mktemp("packed") / "kept")


@pytest.fixture(scope="session")
def raw(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_objects(table, tmp_path_factory.mktemp("packed") / "raw", images=kseq.ImageSettings("raw", (HEIGHT, WIDTH)))


@pytest.fixture
def told_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no wait be told of: on a busy machine processes take longer to start than the five seconds after which it is."""
    monkeypatch.setattr(waiting, "_TELL_AFTER", 500.0)
