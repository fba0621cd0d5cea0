"""Fixtures of the tests of sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.photos import write_photos


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos in train, seven in val, six in test, of sizes that differ."""
    root = tmp_path_factory.mktemp("sources") / "photos"
    for number, split in enumerate(("train", "val", "test")):
        write_photos(root / split, {"cat": 5 - number, "dog": 3})
    return root
