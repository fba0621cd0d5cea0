"""Fixtures of the tests of storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from kseq.storage.hdf5_writer import write_file
from tests.helpers.plain_hdf5 import ARRAYS, ATTRIBUTES


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A small HDF5 file that is as it should be."""
    name = str(tmp_path / "plain.h5")
    write_file(name, ATTRIBUTES, ARRAYS)
    return name
